# make demo, make test: each sets up all it needs from nothing, with python3, pip and make.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
EXPERIMENTS := grammar recovery words names speed captions digits harmony spelling chapter transcribe pronounce peers infill queries sketch forecast latent chorales missing vowels stream calibration reliability fuzz mutation pages

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test lint types smoke coverage docs dist clean

help:  ## Show this list.
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s  %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(READY)  ## Train a small model of English words and show what it can be asked.
	$(BIN)/python experiments/words/run.py --demo

test: lint types  ## Run every check, then the tests.
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n 2

lint: $(READY)  ## Check style, format, and who imports whom.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports

types: $(READY)  ## Check types.
	$(BIN)/pyright

smoke: $(READY)  ## Run each experiment on a small scale.
	@for name in $(EXPERIMENTS); do \
	  echo "$(BIN)/python experiments/$$name/run.py --smoke"; \
	  $(BIN)/python experiments/$$name/run.py --smoke || exit 1; \
	done

coverage: $(READY)  ## Run the tests, and say which lines and branches of the library they reach.
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n 2 --cov=probseq --cov-branch --cov-report=term:skip-covered

docs: $(READY)  ## Build the documentation, and run the commands that it shows.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict -q -d site
	$(BIN)/python .ci/blocks.py docs/cli.md sh > /dev/null
	$(BIN)/python .ci/blocks.py docs/start.md sh > /dev/null

dist: $(READY)  ## Build the wheel and the sdist, and run the five-minute start from the wheel in a new environment.
	rm -rf dist build
	$(BIN)/python -m build -q
	$(PYTHON) -m venv build/clean
	build/clean/bin/python -m pip install -q -c constraints.txt torch
	build/clean/bin/python -m pip install -q -c constraints.txt dist/probseq-*.whl
	cd build && clean/bin/python ../.ci/blocks.py ../docs/start.md

clean:  ## Remove the environment, caches and build outputs.
	rm -rf .venv .pytest_cache .ruff_cache .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is written last: a set-up that was cut off is taken up again.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "probseq needs Python 3.11 or newer; got $(PYTHON): $$($(PYTHON) --version 2>&1)." >&2; \
	  echo "Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; \
	  exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -c constraints.txt torch
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[experiments,test,docs]'
	@touch $@
