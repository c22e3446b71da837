# `make demo` and `make test` need Python 3.11 or newer and a package registry, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup demo test bench lint clean help

help:
	@echo "make demo    set up, then show the whole story in a mesh on this machine (about 5 minutes)"
	@echo "make test    set up, then run every test"
	@echo "make bench   set up, then measure speed and detection"
	@echo "make lint    set up, then ruff, mypy and the import contracts"

setup: $(STAMP)

$(STAMP): pyproject.toml .ci/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "expected Python 3.11 or newer as $(PYTHON); set PYTHON=/path/to/python3" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
		{ echo "expected Python's venv module (Debian: apt-get install python3-venv)" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c .ci/constraints.txt -e '.[trainer,redis,study,demo,dev]'
	@touch $@

demo: setup
	$(BIN)/python -m demo run

test: setup
	$(BIN)/python -m pytest

bench: setup
	$(BIN)/python -m bench

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) demo/out bench/out build dist *.egg-info
