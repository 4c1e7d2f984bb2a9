# Every command sets itself up: the first one creates .venv and installs into it, later ones need no network.
#
#   PYTHON       which Python to create .venv with, 3.10 or newer (otherwise the first one found)
#   TORCH_INDEX  address of the package index to take PyTorch from, for example one that has builds without CUDA
#   SEED         seed of `make demo`
#   ARGS         more arguments for the command that is run: make test ARGS="-k vote", make demo ARGS="--model PATH"

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --quiet
STAMP := $(VENV)/.installed
USABLE := 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))'
CANDIDATES = $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python3.10)
# A second thread makes the small tensors of the tests slower, several times so beside another busy process.
TEST_ENVIRONMENT := OMP_NUM_THREADS=$(or $(OMP_NUM_THREADS),1)
PYTEST := $(TEST_ENVIRONMENT) $(PY) -m pytest

.DEFAULT_GOAL := help
.PHONY: help install demo test test-fast test-all lint format docs sandbox-model clean distclean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' Makefile

install: $(STAMP) ## create .venv and install everything into it

demo: $(STAMP) ## watch a frozen model get better at its own problems (SEED=3 for another stream)
	@$(PY) examples/math_agent.py $(if $(SEED),--seed $(SEED)) $(ARGS)

test: $(STAMP) ## every test
	@$(PYTEST) -m "not network" $(ARGS)

test-fast: $(STAMP) ## every test that takes no more than a few seconds
	@$(PYTEST) -m "not network and not slow" $(ARGS)

test-all: $(STAMP) ## every test, those that need a network too
	@$(PYTEST) $(ARGS)

lint: $(STAMP) ## ruff, formatting, pyright
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m pyright

format: $(STAMP) ## sort imports, mend what ruff can, format
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

docs: $(STAMP) ## write docs/cli.md and the tables of docs/real-models.md anew
	@$(PY) tests/cli_reference.py
	@$(PY) tests/real_models_reference.py

sandbox-model: $(STAMP) ## train the embedded model from scratch; goes on where it was stopped
	@$(PY) -m latent_memory_plugin.sandbox.train $(ARGS)

clean: ## remove what builds, tests and the demo leave behind
	@rm -rf build dist demo.png demo.json .pytest_cache .ruff_cache .hypothesis
	@find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +

distclean: clean ## the same, and .venv
	@rm -rf $(VENV)

# The stamp is written last, so an interrupted installation is taken up again.
$(STAMP): pyproject.toml constraints.txt $(wildcard integrations/*/pyproject.toml)
	@set -e; found=; $(PY) -m pip --version >/dev/null 2>&1 && exit 0; \
	for candidate in $(CANDIDATES); do \
	    if $$candidate -c $(USABLE) >/dev/null 2>&1; then found=$$candidate; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	    echo "No usable Python among: $(CANDIDATES). Wanted is 3.10 or newer with its venv module" >&2; \
	    echo "(Debian, Ubuntu: apt-get install python3-venv). Name another one: make PYTHON=/path/to/python3.12 ..." >&2; \
	    exit 1; \
	fi; \
	echo "Creating $(VENV) with $$($$found --version)."; \
	$$found -m venv --clear $(VENV)
	@echo "Installing PyTorch, then the rest; the first time this takes some minutes."
	$(if $(TORCH_INDEX),@$(PIP) install --index-url $(TORCH_INDEX) --no-deps -c constraints.txt torch)
	@$(PIP) install -c constraints.txt torch hatchling
	@$(PIP) install -c constraints.txt --no-build-isolation -e '.[dev]' \
	    -e 'integrations/langchain[agents,classic]' -e integrations/llama_index
	@touch $@
