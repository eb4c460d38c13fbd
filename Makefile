.DEFAULT_GOAL := help
UV := .uv/bin/uv
RUN := $(UV) run --locked

.PHONY: help
help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

$(UV):
	python3 -m pip install -q --upgrade --target .uv uv==0.13.8

.PHONY: setup
setup: $(UV) ## .venv from uv.lock, and the pre-commit hooks
	$(UV) sync --locked
	$(RUN) pre-commit install

.PHONY: check
check: $(UV) ## format, lint, types, tests
	$(RUN) ruff format --check .
	$(RUN) ruff check .
	$(RUN) mypy
	$(RUN) pytest -n auto

.PHONY: quick
quick: $(UV) ## the everyday tests, in under two minutes
	$(RUN) pytest -n auto -m quick

.PHONY: reliability
reliability: $(UV) ## kills, faults and wrong inputs, counted into docs/reliability.md
	$(RUN) pytest -n auto -m reliability --reliability docs/reliability.md tests

.PHONY: bench
bench: $(UV) ## times against the packages and the authors' structures, into docs/performance.md (25 minutes)
	$(RUN) --group bench pytest tests/benchmarks -o addopts= -q --benchmark-json=.uv/performance.json
	$(RUN) python -m tools.performance .uv/performance.json

.PHONY: costs
costs: $(UV) ## what `cure plan` says of the paper run, into docs/reproducing.md and reports/costs.csv (5 minutes)
	$(RUN) python -m tools.costs

.PHONY: docs
docs: $(UV) ## the documentation site, into docs/_build/html; a warning is an error
	$(RUN) sphinx-build -qEW --keep-going docs docs/_build/html

.PHONY: seeds
seeds: $(UV) ## how far robust accuracy moves over seeds in the quickstart, into quickstart/reports/seeds.csv (10 minutes)
	$(RUN) python -m tools.seeds

.PHONY: audit
audit: $(UV) ## known vulnerabilities of the locked dependencies (asks a public database)
	$(UV) export --locked --all-extras --no-emit-project --format requirements-txt -o .uv/requirements.txt --quiet
	$(UV) tool run pip-audit==2.10.1 --strict --disable-pip --require-hashes -r .uv/requirements.txt

.PHONY: quickstart
quickstart: $(UV) ## the embedded default on all cores: digits on a CPU
	$(RUN) --extra grid cure grid quickstart

.PHONY: repro
repro: $(UV) ## the paper: CIFAR-10 on CUDA
	$(RUN) dvc repro

.PHONY: dag
dag: $(UV) ## the pipeline as a mermaid graph
	$(RUN) dvc dag --collapse-foreach-matrix --md
