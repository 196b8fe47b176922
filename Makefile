# Two commands for a newcomer: `make audit` and `make test`. Each makes .venv first.
PYTHON ?= python3
BIN := .venv/bin
DATA := $(if $(ANTIVENOM_DATA),$(ANTIVENOM_DATA),$(wildcard ../shared/data))
export ANTIVENOM_DATA := $(if $(DATA),$(abspath $(DATA)))

.PHONY: audit test lint docs catalogue claims mutants clean

audit: .venv/installed
	$(BIN)/antivenom audit --out audit-out

test: .venv/installed
	$(BIN)/python -m pytest -q -n 2 --dist worksteal -m "not slow"

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict src
	$(BIN)/lint-imports

docs: .venv/installed-docs
	$(BIN)/python docs/catalogue.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

catalogue: .venv/installed
	$(BIN)/python -m antivenom.auditing.catalogue

claims: .venv/installed
	$(BIN)/python benchmarks/claims/run.py

mutants: .venv/installed-mutants
	$(BIN)/python benchmarks/mutants/run.py

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "expected Python >= 3.11, got %s: set PYTHON=python3.11" % sys.version.split()[0])'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

.venv/installed-docs: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,docs]'
	touch $@

.venv/installed-mutants: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[mutants]'
	touch $@

clean:
	rm -rf .venv audit-out site docs/catalogue
