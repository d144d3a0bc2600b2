# `make` alone lists the targets. Each sets up what it needs by itself, in a venv of its own.

PYTHON ?= python3
VENV := .venv/$(notdir $(PYTHON))
BIN := $(VENV)/bin
SERVICE := $(VENV)/service
READY := $(VENV)/ready
PEER := .venv/peer
HUB_PORT ?= 8000
JOBS ?= $(shell expr 1 + $$(nproc)) # test processes: some of them always wait

.DEFAULT_GOAL := help
.PHONY: help install demo test check lint docs bench hub clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(READY) ## Set up the venv of the other targets, which they do by themselves too

demo: $(SERVICE) ## One class over HTTP, with nothing to set up; shows what happened
	@$(BIN)/python docs/examples/demo.py

test: $(READY) ## Every test; those whose programs are missing are skipped and say how to get them
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

check: lint ## Lint, format, types, models equal to migrations, import rules, documented names
	$(BIN)/python -m pytest -q tests/test_architecture.py tests/test_docs.py tests/db/test_migrate.py tests/db/test_schema.py

lint: $(READY) ## Lint, format, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(READY) ## Build the documentation into docs/_build; warnings are errors
	$(BIN)/python -m sphinx -W --keep-going -q docs docs/_build
	@echo "Open docs/_build/index.html"

bench: $(READY) $(PEER)/ready ## Measure beside the peer; ARGS="--quick" only sees that it works
	@$(BIN)/python -m benchmarks $(ARGS)

hub: $(READY) ## A real JupyterHub with ngshare and nbgrader, for any name; HUB_PORT=8010 moves it
	@.ci/get-proxy
	@PATH="$$HOME/.cache/ngshare/proxy/node_modules/.bin:$(CURDIR)/$(BIN):$$PATH" \
		NGSHARE_HUB_PORT='$(HUB_PORT)' \
		$(BIN)/jupyterhub -f docs/examples/jupyterhub_config.py --log-level=WARN

clean: ## Remove what the other targets made here, the data of `make hub` too; not ~/.cache/ngshare
	rm -rf .venv build dist docs/_build *.egg-info hub-data benchmarks/results \
		.mypy_cache .pytest_cache .ruff_cache .hypothesis
	find ngshare alembic tests benchmarks docs -name __pycache__ -prune -exec rm -rf {} +

# What ngshare is measured beside: the release before it, which needs the old SQLAlchemy.
$(PEER)/ready:
	@$(PYTHON) -m venv --clear $(PEER)
	@echo "Installing the peer into $(PEER) ..."
	@$(PEER)/bin/python -m pip install --quiet --upgrade pip
	@$(PEER)/bin/python -m pip install --quiet ngshare==0.6.0 'sqlalchemy<2'
	@touch $@

# What the demo needs: a newcomer's first command does not wait for JupyterLab.
$(SERVICE): setup.py pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
		|| { echo "ngshare needs Python 3.10 or newer: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV) \
		|| { echo "There is no venv module: apt-get install python3-venv" >&2; exit 1; }
	@echo "Installing ngshare into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --upgrade pip
	@PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(READY): $(SERVICE)
	@echo "Installing what development needs into $(VENV) ..."
	@PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --editable '.[test,docs,bench]'
	@# An editable installation copies no files, such as this one, which enables an extension of Jupyter.
	@install -D -m 644 ngshare/exchange/server_extension/ngshare.json \
		$(VENV)/etc/jupyter/jupyter_server_config.d/ngshare.json
	@touch $@
