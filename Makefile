# Every target works on a fresh Debian or Ubuntu machine; `make help` lists them.
SHELL := /bin/bash
VENV  := .venv
BIN   := $(VENV)/bin
# Processes that share the tests: most tests wait rather than compute.
WORKERS ?= 2
PYTHON ?= python3
SOURCES := $(wildcard raftkv/_native/*.pyx raftkv/_native/*.pxd bench/native/*.pyx bench/native/*.pxd raftkv/raft/*.py raftkv/raft/*.pxd)
PROTOS  := $(wildcard proto/*/*.proto)

.PHONY: help build system up down test check lint types layers format bench bench-smoke bench-micro client-suites clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

system:  ## install the system packages (apt, as root), or say what to install
	@tools/install-system

.stamps/venv: pyproject.toml | system
	@mkdir -p .stamps
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "==> Python packages (about a minute the first time)"
	@$(BIN)/pip install -q --disable-pip-version-check -U pip setuptools wheel
	@$(BIN)/python tools/requirements.py > .stamps/requirements.txt
	@$(BIN)/pip install -q --disable-pip-version-check -r .stamps/requirements.txt
	@touch $@

# The first build installs the package in place, which compiles; later ones compile what changed.
.stamps/build: .stamps/venv setup.py tools/generate.py $(SOURCES) $(PROTOS) $(wildcard tools/kubernetes_schemas.py)
	@echo "==> generated code and native modules (one to three minutes the first time)"
	@$(BIN)/python tools/generate.py
	@if [ -x $(BIN)/raftkv ]; then $(BIN)/python setup.py -q build_ext --inplace; \
	else $(BIN)/pip install -q --disable-pip-version-check --no-build-isolation --no-deps -e .; \
	fi > .stamps/build.log 2>&1 || { tail -40 .stamps/build.log; exit 1; }
	@touch $@

build: .stamps/build  ## the virtual environment, generated code and native modules

up: build  ## three raftkv members, the control plane, one node, and examples/hello.yaml
	@$(BIN)/python -m orchestrator.quickstart up

down:  ## stop what `make up` started and clean up
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m orchestrator.quickstart down; fi

test: build  ## the test suite
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations=25
	RAFTKV_PLAIN_CORE=1 $(BIN)/python -m pytest -q -n $(WORKERS) --dist load tests/raftkv

lint: build
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: build
	$(BIN)/mypy

layers: build
	$(BIN)/lint-imports

check: lint types layers test bench-smoke  ## what CI runs

format: build  ## rewrite the sources in the house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: build  ## raftkv and etcd, measured by the same load (about half an hour)
	$(BIN)/python -m bench compare

bench-smoke: build
	$(BIN)/python -m bench compare --smoke

bench-micro: build  ## the native parts beside their plain twins
	$(BIN)/python -m pytest -q bench/micro -o python_files='bench_*.py' -o python_functions='bench_*' \
	    --benchmark-columns=median,iqr,rounds --benchmark-sort=name

client-suites: build  ## the tests of other etcd clients, from PyPI, against three members (minutes)
	$(BIN)/python tools/client_suites.py

clean:  ## remove everything that was built
	rm -rf build .stamps $(VENV) raftkv/_native/*.c raftkv/_native/*.so bench/native/*.c bench/native/*.so
