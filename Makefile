# The one entry. `make test` is what CI runs; `make help` lists the rest.
.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format test-rust test-python test-wasm test-wheel wheel clean

help: ## Say what there is
	@sed -nE 's/^([a-z-]+):.*## (.*)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

setup: ## Install what is missing; quick when nothing is
	@tools/setup.sh all

demo: ## Run the jobs on both demo notebooks and print the tables
	@tools/setup.sh native
	@.build/venv/bin/python demo/run.py --work .build/demo $(DEMO)

test: ## Everything below, as CI does
	@tools/test.sh

lint: ## Formatters, clippy, ruff, mypy, repository rules
	@tools/test.sh lint

format: ## Let the formatters rewrite
	@tools/setup.sh python
	cargo fmt --all
	.build/venv/bin/ruff format
	.build/venv/bin/ruff check --fix

test-rust: ## Rust: lints and tests
	@tools/test.sh rust

test-python: ## Python: lints, types and tests with real kernels and a real cluster
	@tools/test.sh python

test-wasm: ## Build the browser face and run the cases through it
	@tools/test.sh wasm

test-wheel: ## Build the wheel, install it into an empty environment, run the demo from it
	@tools/test.sh wheel

wheel: ## dist/*.whl
	@tools/wheel.sh

clean: ## Remove all that was built
	rm -rf .build dist pkg target nbrewind/_native*.so
	rm -rf .mypy_cache .pytest_cache .ruff_cache
	find nbrewind tests demo -name __pycache__ -type d -prune -exec rm -rf {} +
