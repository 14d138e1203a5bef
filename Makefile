# One command each. Only Python >= 3.11, make and pip are needed; everything goes into .venv.

PYTHON ?= python3
PORT ?=
ONCE ?=
STACK ?=
WORKERS ?= 2
ARGS ?=

BIN := .venv/bin
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt
BENCHMARKS ?= $(basename $(notdir $(shell grep -ls '^if __name__ == "__main__"' benchmarks/*.py)))

.PHONY: help demo test check format bench docs clean
.DEFAULT_GOAL := help

help:  ## list these targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## */  make \1\t/' | expand -t 16

demo: .venv/.installed  ## store and serve real data, compare every format; ONCE=1 STACK=folder PORT=n
	$(BIN)/python -m ndlambda.local.demo $(if $(filter-out 0,$(ONCE)),--once) \
	  $(if $(STACK),--stack "$(STACK)") $(if $(PORT),--port $(PORT))

test: .venv/.installed .venv-ndio/.installed  ## run all tests; ARGS="tests/unit -k morton" for some
	$(BIN)/pytest -n $(WORKERS) $(ARGS)

check: .venv/.installed  ## format, lint, types, import contracts, dependencies
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/deptry .

format: .venv/.installed  ## rewrite the code in the house's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/.installed  ## measure beside other libraries; BENCHMARKS=name for one
	@for name in $(BENCHMARKS); do echo "benchmarks.$$name"; $(BIN)/python -m benchmarks.$$name || exit 1; done

docs: .venv/.docs  ## build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:  ## remove everything that can be made again (not nd-data/)
	rm -rf .venv .venv-ndio site build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "ndlambda needs Python >= 3.11; say make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv .venv

.venv/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e '.[test]'
	@touch $@

.venv/.docs: .venv/.installed
	$(INSTALL) -e '.[docs]'
	@touch $@

# The clients that ndstore's users have: ndio 1.1.5, and 1.1.6 beside it in a folder. Nothing is compiled: they pin
# a blosc that has no wheels, so they are installed without their pins, beside the six that they forget to ask for,
# and beside numpy < 1.24 (they use numpy.float) where this Python has a wheel of it.
NDIO_INSTALL := .venv-ndio/bin/pip install --quiet --disable-pip-version-check
NDIO_NEEDS := --only-binary :all: blosc h5py json-spec jsonschema pillow requests six tifffile
.venv-ndio/.installed: Makefile | $(BIN)/python
	@rm -rf .venv-ndio
	$(BIN)/python -m venv .venv-ndio
	@{ { $(NDIO_INSTALL) $(NDIO_NEEDS) 'numpy<1.24' 2>/dev/null || $(NDIO_INSTALL) $(NDIO_NEEDS) numpy; } \
	  && $(NDIO_INSTALL) --no-deps --use-pep517 ndio==1.1.5 \
	  && $(NDIO_INSTALL) --no-deps --use-pep517 --target .venv-ndio/ndio-1.1.6 ndio==1.1.6 && touch $@; } \
	  || { rm -rf .venv-ndio; echo "ndio cannot be installed here (see above): its tests are left out." >&2; }
