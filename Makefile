# `make demo` and `make test` are all that a newcomer needs: each makes .venv on first use.
# Needs make and a Python 3.11, 3.12 or 3.13 with venv. Another Python: make demo PYTHON=/path/to/python3.12

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

PYTHON ?=
VENV ?= .venv
WORKERS ?= 2
PYTEST_ARGS ?=
DEMO_OUT ?= runs/demo

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.PHONY: help demo test check lint types imports format lock clean

help:  ## Show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*## *(.*)/  make \1\t\2/' | expand -t 18

demo: $(VENV)/.runtime  ## Segment, evaluate, study TTA and train a little; writes runs/demo/report.html
	$(BIN)/python -m cellml.commands.demo --out $(DEMO_OUT)

test: $(VENV)/.dev  ## Run all tests (PYTEST_ARGS="-k tta", WORKERS=0 for one process)
	$(BIN)/python -m pytest -n $(WORKERS) $(PYTEST_ARGS)

check: lint types imports test  ## What CI runs: lint, format, types, import rules, tests

lint: $(VENV)/.dev  ## ruff, and ruff-format without changing files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev  ## pyright
	$(BIN)/pyright

imports: $(VENV)/.dev  ## import-linter: arrows between packages point one way
	$(BIN)/lint-imports

format: $(VENV)/.dev  ## Let ruff fix and format the files
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(VENV)/bin/python  ## Pin the newest allowed versions for Python 3.11 to 3.13
	$(VENV)/bin/python -m venv $(VENV)/uv
	$(VENV)/uv/bin/python -m pip install --quiet 'uv>=0.5'
	$(VENV)/uv/bin/uv pip compile setup.py --universal --python-version 3.11 --upgrade \
	  --prerelease if-necessary-or-explicit --custom-compile-command 'make lock' --no-annotate -o requirements.lock
	$(VENV)/uv/bin/uv pip compile setup.py --extra dev --universal --python-version 3.11 --upgrade \
	  --prerelease if-necessary-or-explicit -c requirements.lock \
	  --custom-compile-command 'make lock' --no-annotate -o requirements-dev.lock

clean:  ## Remove the environment, caches, builds and the demo's output
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .import_linter_cache $(DEMO_OUT)
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment is made again when the lock or setup.py changes; the stamps remember that.
$(VENV)/bin/python:
	@python="$(PYTHON)"; \
	for candidate in $${python:-python3 python3.13 python3.12 python3.11}; do \
	  if "$$candidate" -c '$(SUPPORTED)' 2>/dev/null; then found="$$candidate"; break; fi; \
	done; \
	if [ -z "$${found:-}" ]; then \
	  echo "cellml needs Python 3.11, 3.12 or 3.13: make $(or $(MAKECMDGOALS),test) PYTHON=/path/to/python3.12" >&2; exit 1; \
	fi; \
	echo "Making $(VENV) with $$("$$found" -V)"; \
	"$$found" -m venv $(VENV) || { echo "On Debian and Ubuntu: apt install python3-venv" >&2; rm -rf $(VENV); exit 1; }

$(VENV)/.runtime: $(VENV)/bin/python requirements.lock setup.py pyproject.toml
	$(PIP) install --quiet -r requirements.lock
	$(PIP) install --quiet --no-deps -e .
	touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements-dev.lock
	$(PIP) install --quiet -r requirements-dev.lock
	touch $@
