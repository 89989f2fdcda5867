# Everything is reached from here; `make` alone lists it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WORKERS ?= $(shell $(PYTHON) -c "import os; print(3 * (os.cpu_count() or 2) // 2)") # a third of them waits, for a disk or a timer
export PYTHONDONTWRITEBYTECODE := # compiled once, not anew for every command that the tests start

.DEFAULT_GOAL := help
.PHONY: help setup demo up test lint types bench bench-ledger bench-views bench-compliance bench-ingest soak lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

setup: $(STAMP) ## virtual environment with the pinned packages

$(STAMP): requirements.lock pyproject.toml tests/stock-duckdb.lock
	$(PYTHON) -c 'import sys; sys.exit("Rapport needs Python 3.11 or later; say PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade --target $(VENV)/stock-duckdb --no-deps --require-hashes -r tests/stock-duckdb.lock
	@touch $@

demo: setup ## 2,000 candidates through the whole path, on a temporary data folder
	@$(BIN)/rapport demo

up: setup ## serve on loopback until Ctrl-C
	@exec $(BIN)/rapport up

test: lint types ## everything that must hold; 12 to 20 minutes on two cores
	$(BIN)/pytest -n $(WORKERS) --dist worksteal

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: setup
	$(BIN)/mypy

bench: setup ## speed of the ledger and the views, measured on this machine
	$(BIN)/python -m tests.benchmarks

bench-ledger: setup ## the ledger side by side with UmaDB, PostgreSQL and SQLite
	$(BIN)/python -m tests.benchmarks.side_by_side

bench-views: setup ## the views on a ledger of 5,000,000 events; KEEP=folder keeps it for the next run
	$(BIN)/python -m tests.benchmarks.views $(if $(KEEP),--keep $(KEEP))

bench-compliance: setup ## trails, proofs, erasure and verify on that history; KEEP=folder keeps it for the next run
	$(BIN)/python -m tests.benchmarks.compliance $(if $(KEEP),--keep $(KEEP))

bench-ingest: setup ## webhooks from the door to ledger, views and feed
	$(BIN)/python -m tests.benchmarks.ingest

soak: setup ## the long versions of the tests
	RAPPORT_SOAK=1 $(BIN)/pytest -n $(WORKERS) --dist worksteal

lock: setup ## pin the newest packages that fit pyproject.toml
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --extra dev --extra bench --extra otel --generate-hashes --no-annotate --no-header --upgrade -o requirements.lock pyproject.toml

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
