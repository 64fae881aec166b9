# Everything here sets up what it needs and can be run again at any time.
PYTHON_BIN := .venv/bin/python
# Two files of tests at a time: most of them wait for processes of their own.
# A worker that dies is replaced, but its test is run again: not for ever.
PARALLEL := -n 2 --dist loadfile --max-worker-restart 2
export DO_NOT_TRACK := 1
export HF_HUB_OFFLINE := 1

.PHONY: demo check test test-all lint bench docs lock up setup setup-dev setup-tests clean

demo: setup-dev
	.venv/bin/millrace demo

setup:
	@bash infra/setup/install.sh dev

# First the compilers, with which the set-up builds KenLM's tools.
setup-dev:
	@bash infra/setup/system.sh
	@$(MAKE) --no-print-directory setup

# The tests also drive a browser and an S3 server.
setup-tests: setup-dev
	@bash infra/setup/system.sh tests

# For every change, in under four minutes: what a failure of it would say of a line, not of a whole run.
check: setup lint
	$(PYTHON_BIN) -m pytest -m "quick" $(PARALLEL)

test: setup-tests lint
	$(PYTHON_BIN) -m pytest -m "not heavy" $(PARALLEL)

test-all: setup-tests lint
	$(PYTHON_BIN) -m pytest $(PARALLEL)

lint: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-cache

# Results are recorded in docs/results and rendered into the documents.
bench: setup-dev
	$(PYTHON_BIN) -m tests.bench --record docs/results

docs: setup
	$(PYTHON_BIN) -m tests.bench.render

# Makes infra/setup/lock anew: `make lock`, or `make lock UPGRADE="prefect torch"` for new versions of packages.
lock:
	python3.11 -m infra.setup.lock $(if $(UPGRADE),--upgrade $(UPGRADE))

up: setup-dev
	.venv/bin/millrace up

clean:
	rm -rf .venv build *.egg-info
