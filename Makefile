# `make serve` runs the gateway, `make test` the whole suite: on a machine with Python 3.11 and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
# LangChain and LlamaIndex bring an older openai than the suite has; so that is tried there as well.
FRAMEWORKS := $(VENV)-frameworks
WITH_OPENAI := frameworks test_clients_page.py test_openai_python.py test_openai_python_errors.py test_completions.py test_responses.py

.PHONY: help serve test test-models test-frameworks test-browser test-agents lint coverage laws wheel bench bench-check docs clean

help:  ## What there is to make
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 16

serve: $(VENV)/.server  ## Install, and serve on 127.0.0.1:8777 (ARGS="--port 9000" for options)
	@$(BIN)/penstock serve $(ARGS)

test: $(VENV)/.test $(VENV)/.node  ## The whole suite, but for what stands below
	@$(BIN)/python -m pytest $(ARGS)

test-models: $(VENV)/.models  ## Streams from llama.cpp's own server, which comes in a wheel
	@$(BIN)/python -m pytest -m models $(ARGS)

test-frameworks: $(FRAMEWORKS)/.done  ## LangChain, LlamaIndex and the openai package that they bring
	@$(FRAMEWORKS)/bin/python -m pytest -m "not node" $(addprefix tests/clients/,$(WITH_OPENAI)) $(ARGS)

# Debian's Chromium is installed where there is none and root may do it; else the tests say that they were skipped.
test-browser: $(VENV)/.test $(VENV)/.node  ## A page in headless Chromium: CORS, streams, WebSocket
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || test "$$(id -u)" -ne 0 \
		|| { apt-get update -q && apt-get install -qy --no-install-recommends chromium; } || true
	@$(BIN)/python -m pytest -m browser tests/clients/test_browser.py $(ARGS)

test-agents: $(VENV)/.test $(VENV)/.node  ## OpenAI's Codex CLI at work through the Responses API
	@$(BIN)/python tests/clients/nodes.py tests/clients/agents
	@$(BIN)/python -m pytest -m agents tests/clients/test_codex.py $(ARGS)

lint: $(VENV)/.lint  ## Style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

coverage: $(VENV)/.test  ## Every branch of the protocol core, by its own tests
	@$(BIN)/python -m pytest -q tests/protocol tests/laws --cov=penstock.protocol --cov-branch --cov-report=term-missing:skip-covered --cov-fail-under=100 $(ARGS)

laws: $(VENV)/.test  ## A million executions of the core against its laws (ARGS="--seed 2")
	@$(BIN)/python tests/laws/run.py --executions 1000000 $(ARGS)

wheel: $(VENV)/.test $(VENV)/.node  ## Build sdist and wheel, and try the wheels in fresh environments
	@$(BIN)/python -m pytest -m wheel $(ARGS)

bench: $(VENV)/.bench  ## One table: penstock beside its rivals and the floor (ARGS="--quick")
	@$(BIN)/python bench/run.py $(ARGS)

bench-check: $(VENV)/.bench  ## Does the benchmark notice spoilt answers?
	@$(BIN)/python bench/check.py

docs: $(VENV)/.docs  ## Build the pages and the reference into build/docs, and check that they say what the code does
	@$(BIN)/python docs/cases.py
	@$(BIN)/python docs/diagrams.py
	@$(BIN)/python -m sphinx -E -W -n -q --keep-going docs build/docs
	@$(BIN)/python -m pytest -k "docs or cases or configuration_page or limits_page" $(ARGS)

clean:  ## Remove what was built
	rm -rf $(VENV) $(FRAMEWORKS) build dist *.egg-info src/*.egg-info .mypy_cache .ruff_cache .pytest_cache

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade 'pip>=25.1'  # the first that knows dependency groups

$(VENV)/.server: $(VENV)/bin/python pyproject.toml
	$(PIP) install -e '.[server]'
	@touch $@

$(VENV)/.test: $(VENV)/.server
	$(PIP) install --group test
	@touch $@

$(VENV)/.docs: $(VENV)/.test
	$(PIP) install --group docs
	@touch $@

# OpenAI's SDK for Node, and Pyodide; where there is no Node, a wheel brings it.
$(VENV)/.node: $(VENV)/.test tests/clients/node/package.json examples/pyodide/package.json
	command -v node npm >/dev/null || $(PIP) install --group clients
	$(BIN)/python tests/clients/nodes.py
	@touch $@

$(VENV)/.lint: $(VENV)/.test
	$(PIP) install --group lint
	@touch $@

$(VENV)/.models: $(VENV)/.test
	$(PIP) install --group models
	@touch $@

$(FRAMEWORKS)/.done: pyproject.toml
	$(PYTHON) -m venv $(FRAMEWORKS)
	$(FRAMEWORKS)/bin/python -m pip --disable-pip-version-check -q install --upgrade 'pip>=25.1'
	$(FRAMEWORKS)/bin/python -m pip --disable-pip-version-check -q install -e '.[server]' --group frameworks
	@touch $@

$(VENV)/.bench: $(VENV)/.server bench/requirements.txt
	$(PIP) install -r bench/requirements.txt
	@touch $@
