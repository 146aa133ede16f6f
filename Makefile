# Every target sets up what it needs: on a bare machine with Python >= 3.10, `make demo` or `make test` is all there is to type.
.DEFAULT_GOAL := help
SHELL := bash
unexport PYTHONDONTWRITEBYTECODE # half of every start would be compiling what was compiled before

PYTHON ?= python3# the interpreter that .venv is made from
BIN := .venv/bin
STAMP := .venv/.installed# newer than pyproject.toml and constraints.txt: nothing to install
BENCHMARKS := docvqa,chartqa,infovqa

.PHONY: help setup demo eval benchmark report test test-slow test-cluster test-serve check docs format base bench bench-full bench-gpu export-demo clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## create .venv and install docvlm with its tools (uv where it can be had, else pip)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "error: docvlm needs Python >= 3.10, which $(PYTHON) is not: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || \
		{ rm -rf .venv; echo "error: $(PYTHON) -m venv failed: install the venv package of your system (Debian: apt install python3-venv)" >&2; exit 1; }
	@if command -v uv >/dev/null; then uv pip install --python $(BIN)/python --constraint constraints.txt --editable '.[dev]'; \
	elif $(BIN)/python -m pip install --quiet uv; then $(BIN)/uv pip install --python $(BIN)/python --constraint constraints.txt --editable '.[dev]'; \
	else $(BIN)/python -m pip install --constraint constraints.txt --editable '.[dev]'; fi
	@touch $@

demo: $(STAMP) ## both ablations on the embedded checkpoints, evaluation, report; CPU is enough, nothing is downloaded
	$(BIN)/python -m docvlm.demo

eval: $(STAMP) ## zero-shot baseline and the best run of each family on the three benchmarks
	$(BIN)/python -m docvlm.evaluate best=true baseline=true benchmarks=[$(BENCHMARKS)]

benchmark: $(STAMP) ## latency, memory, cost per 1 000 pages and accuracy at three page sizes, of the best run of each family
	$(BIN)/python -m docvlm.benchmark best=true

export-demo: $(STAMP) ## train a small run, export it in every format that a CPU can have, one table; nothing is downloaded
	grep -qs '"status": "finished"' outputs/export-demo/result.json || \
		$(BIN)/python -m docvlm.train model=qwen2vl lora.r=16 scale=tiny hydra.run.dir=outputs/export-demo
	$(BIN)/python -m docvlm.export run=outputs/export-demo scale=tiny

report: $(STAMP) ## all results under outputs/ and multirun/ as one page, tables and figures: outputs/report/index.html
	$(BIN)/python -m docvlm.report

test: $(STAMP) ## the tests that need neither a GPU nor long
	$(BIN)/python -m pytest -m "not slow and not gpu" -n 2 --dist loadfile --no-loadscope-reorder

test-slow: $(STAMP) ## the long tests: sweeps, wheel, real pages where they are at hand
	$(BIN)/python -m pytest -m "slow and not gpu and not cluster"
	DOCVLM_THOROUGH=1 $(BIN)/python -m pytest tests/repository/test_what_goes_in.py

test-cluster: $(STAMP) ## sweeps through Slurm, whose daemons it starts (Debian: apt-get install slurmctld slurmd slurm-client munge)
	$(BIN)/python -m pytest -m cluster

test-serve: $(STAMP) ## runs served by vLLM, for which it makes an environment in ~/.cache/docvlm, once (6 GB)
	$(BIN)/python -m tests.support.vllm
	$(BIN)/python -m pytest tests/vllm

check: $(STAMP) ## lint, format, the floors of the imports, and types, as CI asks for them
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

docs: $(STAMP) ## the pages of docs/ as a site, site/index.html; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

format: $(STAMP) ## let ruff mend and format what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

base: $(STAMP) ## train the embedded checkpoints again (long; resumable)
	for family in qwen2vl florence2; do \
		$(BIN)/python -m pretraining $$family --out outputs/base/$$family || exit 1; \
		cp outputs/base/$$family/checkpoint/* docvlm/vlms/embedded/$$family/; \
	done

bench: $(STAMP) ## speed and memory against others' trainers, central cells; 12 minutes on two cores
	$(BIN)/python -m bench

bench-full: $(STAMP) ## every cell of the benchmark suite, which takes hours; `python -m bench --full --write` keeps the figures
	$(BIN)/python -m bench --full

bench-gpu: $(STAMP) ## time, MFU and memory at full size on one CUDA GPU, in at most 9 minutes (figures in outputs/bench-gpu)
	$(BIN)/python -m bench.gpu

clean: ## remove caches, stored features, streamed pages and builds; runs under outputs/ and multirun/ stay
	rm -rf build dist site .features .pages .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find docvlm pretraining bench tests -name __pycache__ -prune -exec rm -rf {} +
