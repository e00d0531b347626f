# `make demo` and `make test` are all that a newcomer needs. Both set up .venv first, which takes
# minutes once and no time afterwards (see scripts/setup.sh).
BIN := .venv/bin

.PHONY: help setup demo test test-newest test-vllm test-transformers-serve lint clean

help:  ## Show what there is to make
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 26

setup:  ## Create .venv with everything in it, or bring it up to date
	@bash scripts/setup.sh

demo: setup  ## Segment a small sample dataset with the embedded model (ARGS="--fresh" starts over)
	@$(BIN)/python -m fiftyone_revseg.cli demo $(ARGS)

test: setup  ## Run the tests (ARGS="-m 'not slow'" skips the slow ones)
	@$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

test-newest: setup  ## Run the tests on the newest FiftyOne and transformers, in .venv-newest
	@bash scripts/test_newest.sh $(ARGS)

test-vllm: setup  ## Compare the embedded model in vLLM with itself here (2.5 GB in .venv-vllm)
	@bash scripts/test_server.sh vllm $(ARGS)

test-transformers-serve: setup  ## The same with transformers serve, in .venv-transformers
	@bash scripts/test_server.sh transformers $(ARGS)

lint: setup  ## Check style, format, and types
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy fiftyone_revseg

clean:  ## Remove what tests, tools and demo leave behind; keeps .venv
	rm -rf build dist runs *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache
	find fiftyone_revseg tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +
