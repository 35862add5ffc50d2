# Set-up, the default run, tests and checks. `make` alone lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Without it, torch's threads spin while they wait, and starve whatever else runs on the same cores.
export OMP_WAIT_POLICY := passive

.PHONY: help setup run test check results lock clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.installed  ## make .venv from the lock file

# The lock is complete, so --no-deps: pip installs exactly what it lists, each file checked against its hash.
$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "moist needs Python 3.11 or newer, this is %s: make PYTHON=python3.11" % sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

run: setup  ## run the whole MoIST pipeline on bundled data and print the table
	@$(BIN)/python pipeline.py run

test: setup  ## the tests that take minutes, not hours
	$(BIN)/python -m pytest

check: setup  ## lint, types, tests: what CI runs first; then .ci/engine
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

results: setup  ## rewrite the README's tables from benchmarks/results
	$(BIN)/python benchmarks/readme.py

lock:  ## rewrite requirements.lock from pyproject.toml (needs uv)
	uv pip compile pyproject.toml --extra train --extra export --extra openvino --extra pipeline --extra dev \
	  --universal --python-version 3.11 --generate-hashes --override overrides.txt \
	  --no-emit-index-url --custom-compile-command 'make lock' -o requirements.lock

clean:  ## remove .venv and what earlier runs left
	rm -rf $(VENV) .moist

include docker/images.mk
