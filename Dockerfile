# Two stages: the compiler stays behind, and what runs has no shell user and no root.
FROM python:3.11-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY pyproject.toml setup.py MANIFEST.in README.md LICENSE ./
COPY src ./src
RUN python -m venv /opt/tailrace && /opt/tailrace/bin/pip install --no-cache-dir .

FROM python:3.11-slim
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin tailrace
COPY --from=build /opt/tailrace /opt/tailrace
USER 10001
EXPOSE 8080 8081
# SIGTERM drains; give it longer than shutdown.timeout (30 s) before it is killed.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=5s CMD ["/opt/tailrace/bin/python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8081/livez', timeout=2)"]
ENTRYPOINT ["/opt/tailrace/bin/tailrace"]
CMD ["serve"]
