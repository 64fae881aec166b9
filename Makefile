# Everything here sets up what it needs and can be run again at any time.
PYTHON_BIN := .venv/bin/python
# Two files of tests at a time: most of them wait for processes of their own.
PARALLEL := -n 2 --dist loadfile
export DO_NOT_TRACK := 1
export HF_HUB_OFFLINE := 1

.PHONY: demo test test-all lint bench up setup setup-dev clean

demo: setup-dev
	.venv/bin/millrace demo

setup:
	@bash infra/setup/install.sh dev

setup-dev: setup
	@bash infra/setup/system.sh
	-@$(PYTHON_BIN) -m infra.kenlm_tools >/dev/null

test: setup-dev lint
	$(PYTHON_BIN) -m pytest -m "not heavy" $(PARALLEL)

test-all: setup-dev lint
	$(PYTHON_BIN) -m pytest $(PARALLEL)

lint: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-cache

bench: setup-dev
	$(PYTHON_BIN) -m tests.bench

up: setup-dev
	$(PYTHON_BIN) -m infra.server up

clean:
	rm -rf .venv build *.egg-info
