# Every target does its own set-up from a bare clone; the stamps make the second time fast.
# Needs git, Python 3.11+, a C compiler and make; the real-broker tests also Java 17 and Maven.

PYTHON ?= python3
ARGS   ?=
VENV   := .venv
BIN    := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
LOCK    := --quiet --upgrade --generate-hashes --no-header --no-annotate --python-platform linux --python-version 3.11
SOURCES := pyproject.toml setup.py $(wildcard src/*.pyx src/*.pxi)

.PHONY: help demo test install lint format bench check-bench accept-bench ratios bench-peers report soak docs dist sbom lock clean
.DELETE_ON_ERROR:

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 16

demo: install  ## Kafka embedded, live data and the console page; ARGS="--listen 127.0.0.1:9000"
	$(BIN)/tailrace demo $(ARGS)

test: $(VENV)/.test-stamp  ## every test but the slow and benchmark ones, against a real Kafka; ARGS="-k name"
	$(PYTEST) -m "not slow and not benchmark" $(ARGS)

install: $(VENV)/.install-stamp  ## .venv with the tailrace command, editable

lint: $(VENV)/.lint-stamp  ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.lint-stamp  ## let ruff put the layout right
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.test-stamp  ## all benchmarks in pytest-benchmark, and the report of them; wants a quiet machine
	@mkdir -p build/report
	$(PYTEST) benchmarks -m benchmark --benchmark-json build/report/bench.json $(ARGS)
	$(BIN)/python benchmarks/report.py

check-bench: $(VENV)/.test-stamp  ## the regression gate: instructions of the core's paths, ratios to a C send loop
	$(BIN)/python benchmarks/check.py $(ARGS)

accept-bench: $(VENV)/.test-stamp  ## what check-bench counts now is the baseline from now on
	$(BIN)/python benchmarks/check.py --accept

ratios: $(VENV)/.test-stamp  ## every scenario beside the C gateway, on a real broker: a table; wants a quiet machine
	$(BIN)/python benchmarks/ratios.py --json build/report/ratios.json $(ARGS); result=$$?; $(BIN)/python benchmarks/report.py; exit $$result

bench-peers: $(VENV)/.test-stamp  ## Tailrace, the C limit and other libraries' gateways side by side; wants a quiet machine
	$(BIN)/python benchmarks/bench_peers.py --json build/report/peers.json $(ARGS); result=$$?; $(BIN)/python benchmarks/report.py; exit $$result

report: $(VENV)/.test-stamp  ## build/report/index.html: plots of what make ratios, bench-peers and bench measured last
	$(BIN)/python benchmarks/report.py

soak: $(VENV)/.test-stamp  ## the tests that take minutes
	$(PYTEST) -m slow --hypothesis-profile=random $(ARGS)

docs: install  ## docs/configuration.md from the code; the others are plain Markdown
	$(BIN)/python -m tailrace.configuration.reference > docs/configuration.md

dist: $(VENV)/.package-stamp  ## sdist and wheel, in dist/
	$(BIN)/python -m build --outdir dist .

sbom: $(VENV)/.package-stamp  ## dist/tailrace.cdx.json: what an installation from the lock consists of (CycloneDX)
	mkdir -p dist
	$(BIN)/cyclonedx-py requirements --pyproject pyproject.toml --mc-type application --output-reproducible --of JSON -o dist/tailrace.cdx.json requirements/runtime.txt

lock: $(VENV)/.package-stamp  ## requirements/*.txt: every dependency pinned, with hashes
	$(BIN)/uv pip compile $(LOCK) -o requirements/runtime.txt pyproject.toml
	$(BIN)/uv pip compile $(LOCK) -o requirements/build.txt requirements/build.in

clean:  ## removes what was made, the downloaded Kafka in .cache excepted
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis src/*.egg-info src/tailrace/*.so

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Tailrace needs Python 3.11 or newer: make PYTHON=python3.x" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.install-stamp: $(SOURCES) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.test-stamp: $(SOURCES) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@ $(VENV)/.install-stamp

$(VENV)/.lint-stamp: $(SOURCES) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,lint]'
	@touch $@ $(VENV)/.install-stamp $(VENV)/.test-stamp

$(VENV)/.package-stamp: $(SOURCES) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[package]'
	@touch $@ $(VENV)/.install-stamp
