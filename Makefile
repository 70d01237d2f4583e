# Every way into the project. `make` alone lists them.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
DATA ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-cluster check format bench mutants lock schemas synth layer clean

help: ## list what can be made
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/ready ## .venv with everything, from the locked requirements

.venv/ready: requirements/bootstrap.txt requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null || \
		{ echo "Python 3.11 is needed. Install it, or say where it is: make PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/bootstrap.txt
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements/dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

demo: setup ## the whole way on this machine: make demo [DATA=path.csv]
	@$(BIN)/rssi demo $(if $(DATA),--data "$(DATA)")

test: setup ## the tests alone
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-cluster: setup ## the agent against a real cluster: make test-cluster KUBECONFIG=/path
	@KUBECONFIG="$(KUBECONFIG)" $(BIN)/python -m pytest -p no:xdist tests/cluster

check: setup test ## what CI runs: the tests, lint, types, import contracts, lock freshness
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m ops.dev.lock --check

format: setup ## rewrite the sources in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup ## figures of speed: make bench [DATA=path.csv] [ONLY=drops]
	@$(BIN)/python -m ops.dev.bench $(if $(DATA),--data "$(DATA)") $(if $(ONLY),--only $(ONLY))

mutants: setup ## change the pure rules one operator at a time; an hour at most: make mutants [SECONDS=600]
	@$(BIN)/python -m ops.dev.mutants $(if $(SECONDS),--seconds "$(SECONDS)")

lock: setup ## compile requirements/*.in into locked files with hashes
	$(BIN)/python -m ops.dev.lock

schemas: setup ## write events/schemas/ and docs/state-machine.md anew from the code
	$(BIN)/python -m events.schemas
	$(BIN)/python -m functions.core.state_table

synth: setup ## the CloudFormation template, in cdk.out/
	$(BIN)/python app.py

layer: setup ## the Lambdas' dependency layer, in build/layer/ (needed once before a deployment)
	$(BIN)/python -m cdk.layer

clean: ## remove what was built; the next make sets up again
	rm -rf .venv build cdk.out out .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
