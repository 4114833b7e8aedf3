# The commands of the project. Every one sets up what it needs; a second set-up is instant.
.DEFAULT_GOAL := help
SHELL := /bin/bash
BIN := .venv/bin
OUT ?= demo
PYTEST_ARGS ?=
N_PROCS ?= $(shell nproc 2>/dev/null || echo 1)
# One thread per process: two processes' OpenMP threads that wait for each other on two cores make streamline
# registration 100 times slower. It is read when the libraries are loaded, hence here.
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1

.PHONY: slurm-test help demo test lint format types contracts check bench image-test locks boutiques clean setup-core setup-test setup-bench

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: setup-core ## set up and run the embedded cohort through participant, group and report, into $(OUT)
	@$(BIN)/spectra-bids demo $(OUT)

test: setup-test ## the test suite
	@$(BIN)/python -m pytest -n $(N_PROCS) $(PYTEST_ARGS)

lint: setup-test ## ruff: rules and formatting
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

format: setup-test ## let ruff rewrite what it can
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

types: setup-test ## mypy --strict
	@$(BIN)/mypy

contracts: setup-test ## import-linter: who may import whom
	@$(BIN)/lint-imports

check: lint types contracts test ## everything that CI runs

slurm-test: setup-core ## a real Slurm on this machine runs the demo cohort (root; installs slurm-wlm)
	@scripts/slurm_test.sh

bench: setup-bench ## the benchmarks, each beside its peers (long)
	@set -e; for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python "$$script"; done

image-test: ## build the container images and run them under restrictions (as root, 8-20 min; not in CI)
	@scripts/image_test.sh

locks: ## make the lock files again (needs uv, see locks/regenerate.sh)
	@locks/regenerate.sh

boutiques: setup-core ## make boutiques.json again, after a change of the command line
	@$(BIN)/spectra-bids --bids-exec-spec >boutiques.json.new && mv boutiques.json.new boutiques.json

clean: ## remove what can be made again
	@rm -rf .venv demo dist build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .benchmarks
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

setup-core:
	@scripts/setup.sh core

setup-test:
	@scripts/setup.sh test

setup-bench:
	@scripts/setup.sh bench
