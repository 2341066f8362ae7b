# The one entry. `make test` is what CI runs; `make help` lists the rest.
.DEFAULT_GOAL := help
.PHONY: help setup demo lab test lint format test-rust test-python test-wasm test-lab test-ui test-wheel wheel fuzz-repeat fuzz-sessions bench-ui bench-analysis bench-verdicts bench-corpus bench-checkpoint bench-store bench-planning bench-workloads screenshots clean

comma := ,

help: ## Say what there is
	@sed -nE 's/^([a-z-]+):.*## (.*)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

setup: ## Install what is missing; quick when nothing is
	@tools/setup.sh all

demo: ## Run the jobs on both demo notebooks, in the terminal and in JupyterLab, and print the tables
	@tools/setup.sh native
	@.build/venv/bin/python demo/run.py --work .build/demo $(DEMO)
	@tools/demo_lab.sh

lab: ## Open JupyterLab on a copy of the demo notebooks
	@tools/setup.sh lab
	@mkdir -p .build/lab && cp -n demo/*.ipynb .build/lab/ 2>/dev/null || true
	@.build/venv/bin/jupyter lab --ServerApp.root_dir=.build/lab --LabApp.default_url=/lab/tree/climate.ipynb $(LAB)

test: ## Everything below, as CI does
	@tools/test.sh

lint: ## Formatters, clippy, ruff, mypy, repository rules
	@tools/test.sh lint

format: ## Let the formatters rewrite
	@tools/setup.sh python
	cargo fmt --all
	.build/venv/bin/ruff format
	.build/venv/bin/ruff check --fix
	@tools/setup.sh lab
	.build/venv/bin/jlpm format

test-rust: ## Rust: lints and tests
	@tools/test.sh rust

test-python: ## Python: lints, types and tests with real kernels and a real cluster
	@tools/test.sh python

test-wasm: ## Build the browser face and run the cases through it
	@tools/test.sh wasm

test-lab: ## Front end: lints, types, unit tests against the real WASM
	@tools/test.sh lab

test-ui: ## Stories in a real browser; STORY=text runs those with this in their titles
	@tools/setup.sh lab
	@tools/setup.sh browser
	@PATH=$(CURDIR)/.build/venv/bin:$$PATH jlpm test:ui $(if $(STORY),--grep "$(STORY)")

test-wheel: ## Build the wheel, install it into an empty environment, run the demo from it
	@tools/test.sh wheel

wheel: ## dist/*.whl
	@tools/wheel.sh

fuzz-repeat: ## Generated notebooks, SEEDS=1000 of them FROM=0: repeat against a run from scratch
	@tools/setup.sh native
	@.build/venv/bin/python -m tests.python.generated --seeds $(or $(SEEDS),1000) --from $(or $(FROM),0)

fuzz-sessions: ## Generated sessions, SEEDS=100 of them FROM=0: runs, restores and replays in one kernel, against the truth
	@tools/setup.sh native
	@.build/venv/bin/python -m tests.python.generated --sessions --seeds $(or $(SEEDS),100) --from $(or $(FROM),0)

bench-checkpoint: setup ## What audit mode costs, beside a plain kernel; KISHU=python with kishu and dill to compare
	@for workload in tables objects large long rounds-1 rounds-8 rounds-80; do \
		.build/venv/bin/python bench/checkpoint/run.py $$workload \
			$(if $(KISHU),--with plain$(comma)nbrewind$(comma)kishu$(comma)dill --kishu-python $(KISHU)); \
	done
	@.build/venv/bin/python bench/checkpoint/again.py

bench-store: setup ## Durable put beside dd and blake3; writes docs/bench/store.md
	@.build/venv/bin/python bench/store/run.py --write

bench-workloads: setup ## The five workloads of the paper, about half an hour; writes docs/bench/workloads.md
	@.build/venv/bin/python -m bench.workloads --write $(WORKLOADS)

bench-analysis: ## Edits among a thousand cells, natively and in WASM; PEERS=python with marimo and ipyflow to compare
	@tools/setup.sh native
	@tools/setup.sh wasm
	@.build/venv/bin/python bench/analysis/run.py --write $(if $(PEERS),--peers $(PEERS))

bench-verdicts: setup ## What cells do and what edits change, beside the verdicts; writes docs/bench/verdicts.md
	@.build/venv/bin/python -m bench.verdicts --generated 40 --write

bench-corpus: ## Names as CPython resolves them, over all Python code that is installed
	@tools/setup.sh native
	@.build/venv/bin/python bench/corpus/scopes.py

bench-planning: setup ## What the task cache needs for planning; writes docs/bench/planning.md
	@.build/venv/bin/python bench/planning/run.py --write

bench-ui: ## Keystroke to badge on 300 cells, in a real browser; writes docs/bench/ui.md
	@tools/setup.sh lab
	@tools/setup.sh browser
	@PATH=$(CURDIR)/.build/venv/bin:$$PATH NBREWIND_UI_TESTS=bench/ui jlpm test:ui

screenshots: ## The pictures of the README, of the real thing; writes docs/images
	@tools/setup.sh lab
	@tools/setup.sh browser
	@PATH=$(CURDIR)/.build/venv/bin:$$PATH NBREWIND_UI_TESTS=ui-tests jlpm test:ui screenshots

clean: ## Remove all that was built
	rm -rf .build dist lib node_modules pkg target nbrewind/_native*.so
	rm -rf data/data/share/jupyter/labextensions tsconfig.tsbuildinfo
	rm -rf .mypy_cache .pytest_cache .ruff_cache
	find nbrewind tests demo -name __pycache__ -type d -prune -exec rm -rf {} +
