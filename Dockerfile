# Two stages: the compiler stays behind, and what runs has no shell user, no root, and writes nothing.
#   docker build -t tailrace .
#   docker run --read-only --cap-drop ALL -p 127.0.0.1:8080:8080 -e TAILRACE_LISTEN__ADDRESS=0.0.0.0:8080 ... tailrace
FROM python:3.11-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /source
# What is pinned first: it changes less often than the source.
COPY requirements ./requirements
RUN python -m venv /opt/build && /opt/build/bin/pip install --no-cache-dir --require-hashes -r requirements/build.txt
RUN python -m venv --without-pip /opt/tailrace \
    && /opt/build/bin/pip --python /opt/tailrace/bin/python install --no-cache-dir --require-hashes -r requirements/runtime.txt
COPY pyproject.toml setup.py MANIFEST.in README.md LICENSE ./
COPY src ./src
RUN /opt/build/bin/pip wheel --no-cache-dir --no-build-isolation --no-deps --wheel-dir /wheels . \
    && /opt/build/bin/pip --python /opt/tailrace/bin/python install --no-cache-dir --no-deps --no-index /wheels/*.whl

FROM python:3.11-slim
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin tailrace
COPY --from=build /opt/tailrace /opt/tailrace
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001
EXPOSE 8080 8081
# SIGTERM drains; give it longer than shutdown.timeout (30 s) before it is killed.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["/opt/tailrace/bin/python", "-I", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8081/livez', timeout=2)"]
ENTRYPOINT ["/opt/tailrace/bin/tailrace"]
CMD ["serve"]
