# Everything works from a fresh clone by itself: each target makes what it needs.
# Needs: Python >= 3.11 with venv, GNU make. Go comes as a package where the machine has none of 1.26 or newer.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
JOBS   ?= 2
UV     := $(shell command -v uv 2>/dev/null || echo $(BIN)/uv)
INSTALL = VIRTUAL_ENV=$(CURDIR)/$(VENV) $(UV) pip install --quiet
COMPILE = $(UV) pip compile --quiet --universal --generate-hashes --no-annotate --no-header --extra postgresql --group build pyproject.toml

# What `make check` does, side by side: the types take as long as all others together.
CHECKS = types pages policies style layers chart

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-live mutants fuzz check $(CHECKS:%=check-%) bench bench-webhook bench-inventory estate fmt lock tools tools-fixtures fixtures docs clean

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Assay needs Python 3.11 or newer: make PYTHON=python3.12 …")'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.uv: $(BIN)/python
	@command -v uv >/dev/null 2>&1 || test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@touch $@

$(VENV)/.runtime: requirements.lock pyproject.toml $(VENV)/.uv
	@echo "installing requirements.lock into $(VENV)"
	@$(INSTALL) --require-hashes -r requirements.lock
	@$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.development: requirements-dev.lock pyproject.toml $(VENV)/.uv
	@echo "installing requirements-dev.lock into $(VENV)"
	@$(INSTALL) --require-hashes --compile-bytecode -r requirements-dev.lock
	@$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@ $(VENV)/.runtime

setup: $(VENV)/.development ## Make .venv with everything for development

demo: $(VENV)/.runtime ## Run the main job on recorded images: no cluster, no Go, no Docker
	@$(BIN)/assay demo

tools: $(VENV)/.development ## Build the real programs that the tests run (kube-apiserver, cosign, …), once
	@$(BIN)/python tests/tools/build.py

tools-fixtures: $(VENV)/.development ## Build what only makes fixtures as well (Fulcio, Rekor, timestamp authority)
	@$(BIN)/python tests/tools/build.py --fixtures

fixtures: tools tools-fixtures ## Record the fixtures and the demo's images anew with the real tools
	@$(BIN)/python -m tests.fixtures.record

check: $(VENV)/.development ## Lint, types, layers, chart, generated pages and the policies' own tests
	@# Checks and tests start the program hundreds of times: where bytecode may not be written, each would compile it all.
	@$(BIN)/python -m compileall -q controller tests
	@$(MAKE) --no-print-directory --jobs $(JOBS) $(CHECKS:%=check-%)

check-style: $(VENV)/.development
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .

check-types: $(VENV)/.development
	@$(BIN)/mypy

check-layers: $(VENV)/.development
	@$(BIN)/lint-imports

check-pages: $(VENV)/.development
	@$(BIN)/python docs/generate.py --check
	@$(BIN)/python charts/assay/generate_crds.py --check

check-chart: $(VENV)/.development
	@$(BIN)/python tests/tools/helm.py lint --strict charts/assay

check-policies: $(VENV)/.development
	@$(BIN)/assay policy test --quiet policies

test: check tools ## Run every check and every test, the policies' own too
	@# In the order of the folders: the small files of tests/unit come last, and no long one runs alone at the end.
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

test-live: tools tools-fixtures ## Run a whole Sigstore, both cosigns and Kubernetes' CEL live, and compare their answers with Assay's
	@$(BIN)/python -m pytest tests/live/sigstore.py tests/live/cel.py

mutants: $(VENV)/.development ## Change one decision of the verification at a time: each must make a test fail (hours)
	@$(BIN)/python -m tests.mutation.mutants $(MODULES)

fuzz: $(VENV)/.development ## Fuzz the readers of strangers' bytes, for SECONDS=60
	@$(BIN)/python -m tests.fuzz --seconds $(or $(SECONDS),60)

bench: bench-webhook bench-inventory ## Measure speed and size, of both; prints tables and writes JSON

bench-webhook: $(VENV)/.development ## Measure the webhook: ten minutes
	@$(BIN)/python -m tests.bench

bench-inventory: $(VENV)/.development ## Measure the inventory with a year of an estate of SIZE=0.1 (1: 10 million links; hours)
	@$(BIN)/python -m tests.bench.estate ask --size $(or $(SIZE),0.1)

estate: $(VENV)/.development ## Build an inventory with a year of an estate of SIZE=0.01, in the cache or at DATABASE=URL
	@$(BIN)/python -m tests.bench.estate build --size $(or $(SIZE),0.01) $(if $(DATABASE),--database $(DATABASE))

fmt: $(VENV)/.development ## Format and mend what can be mended by itself
	@$(BIN)/ruff check --fix --quiet .
	@$(BIN)/ruff format .

docs: $(VENV)/.development ## Generate the reference pages from the code
	@$(BIN)/python docs/generate.py

lock: $(VENV)/.uv ## Resolve the locks anew, with hashes and without addresses
	@$(COMPILE) --upgrade --output-file requirements.lock
	@$(COMPILE) --upgrade --group dev --output-file requirements-dev.lock

clean: ## Remove what was made inside the checkout (the tools' cache stays)
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
