# One command a job. `make` prints the list; CONTRIBUTING.md says when to use which.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# What `make run` starts, and what is handed on: make test PYTEST_ARGS="-k book", make bench ARGS=--help
RUN ?= $(BIN)/dex demo
ARGS ?=
PYTEST_ARGS ?=
# Installing is one pip run with hashes from wheels alone, then our own roots in place.
INSTALL = $(PIP) install --only-binary=:all: --require-hashes -r
EDITABLE = $(PIP) install --no-deps --no-build-isolation -e gen/python -e sdk/python -e .
PROJECTS := pyproject.toml gen/python/pyproject.toml sdk/python/pyproject.toml
MYPY_ROOTS := $(wildcard core adapters flight node sdk/python tests tools conftest.py)
export PATH := $(CURDIR)/.tools/bin:$(PATH)

.PHONY: help dev run test soak bench sabotage gen lint format lock tools core clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

dev: $(VENV)/.dev tools core ## install what developing needs into the checkout

run: $(VENV)/.run core ## start a node with a live demo market and watch it
	@$(RUN) $(ARGS)

# A file's tests stay together, in order; one lane for each core. A part of the tests is not worth
# minutes of compiling: it runs on what is there.
test: $(VENV)/.dev ## check and test everything
	@$(MAKE) --jobs=3 tools $(if $(PYTEST_ARGS),,core) static
	@$(BIN)/pytest --numprocesses=auto --dist=loadfile $(PYTEST_ARGS)

soak: $(VENV)/.dev core ## run for a long time under load and faults
	@$(BIN)/python -m tests.soak $(ARGS)

bench: $(VENV)/.dev core ## measure the node that `make run` starts; writes build/bench.json
	@$(BIN)/python -m tests.bench $(ARGS)

sabotage: $(VENV)/.dev ## break the code on purpose: a test must turn red for each
	@$(BIN)/python -m tests.sabotage $(ARGS)

gen: $(VENV)/.dev tools ## write gen/ from protos/
	@$(BIN)/python tools/gen.py

lint: $(VENV)/.dev tools ## the checks alone: style, types, layers, contract
	@$(MAKE) static
	@$(BIN)/pytest tests/tidy $(PYTEST_ARGS)

format: $(VENV)/.dev ## rewrite Python and protos to the house format
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format .
	@$(BIN)/buf format -w protos

# uv reads the floors of the pyproject and answers with pins that hold together (ADR 0001). The
# extras are solved with the same pins, so that they stay installable beside them.
LOCK = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
  --no-emit-index-url --no-annotate --custom-compile-command "make lock"
LOCK_OURS = $(LOCK) pyproject.toml --group build --no-emit-package triodex-sdk --no-emit-package triodex-contract
lock: $(VENV)/.dev ## solve requirements/ and tools/package-lock.json again (LOCK_ARGS=--upgrade)
	@$(PIP) install uv==0.13.9
	@$(LOCK_OURS) $(LOCK_ARGS) --output-file requirements/run.txt
	@$(LOCK_OURS) $(LOCK_ARGS) --extra dev --constraint requirements/run.txt --output-file requirements/dev.txt
	@$(LOCK_OURS) --all-extras --constraint requirements/dev.txt --output-file /dev/null
	@$(LOCK) requirements/go.in --output-file requirements/go.txt
	@$(LOCK) requirements/node.in --output-file requirements/node.txt
	@$(LOCK) requirements/fuzz.in --output-file requirements/fuzz.txt
	@$(LOCK) requirements/compile.in --constraint requirements/dev.txt --output-file requirements/compile.txt
	@$(LOCK) requirements/bench-peers.in --constraint requirements/run.txt --output-file requirements/bench-peers.txt
	@cd tools && npm install --package-lock-only --ignore-scripts --omit-lockfile-registry-resolved --no-audit --no-fund

tools: $(VENV)/.dev # programs the tests use and PyPI does not install
	@$(BIN)/python tools/bootstrap.py

# The same sources run interpreted where this cannot be done: it says why, and is no error (ADR 0016).
core: $(VENV)/.run # the core compiled by mypyc
	@if $(BIN)/python tools/compile_core.py --can; then $(INSTALL) requirements/compile.txt || true; fi
	@$(BIN)/python tools/compile_core.py

clean: ## remove everything the checkout did not bring
	@rm -rf $(VENV) .tools build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: static
static:
	@echo "lint: ruff, mypy"
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check . || { echo "mend: make format"; exit 1; }
	@$(BIN)/mypy $(MYPY_ROOTS)

# A stamp is newer than the pins it was made from, so nothing is installed twice.
$(VENV)/.made:
	@command -v $(PYTHON) >/dev/null || { echo "Triodex needs Python 3.11, 3.12 or 3.13 with venv: apt-get install python3 python3-venv, or make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || { echo "Triodex needs Python 3.11, 3.12 or 3.13 and found $$($(PYTHON) --version): make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) lacks venv: apt-get install python3-venv"; exit 1; }
	@echo "install: Python environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.run: requirements/run.txt $(PROJECTS) | $(VENV)/.made
	@echo "install: what the node needs (requirements/run.txt)"
	@$(INSTALL) requirements/run.txt
	@$(EDITABLE)
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.run
	@echo "install: what tests and checks need (requirements/dev.txt)"
	@$(INSTALL) requirements/dev.txt
	@touch $@
