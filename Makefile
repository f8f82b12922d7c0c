SHELL := /bin/sh
VENV ?= .venv
BIN := $(VENV)/bin
.DEFAULT_GOAL := help
.PHONY: help setup demo test slow unit lint types check golden notices bench busy ahead lock bundle packages pcluster clean

help:            ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' Makefile

setup:           ## install what the rest needs (pip; apt when root)
	@./.ci/prepare $(VENV)

demo: setup      ## show the whole story on this machine, in under a minute
	@$(BIN)/hpc-agent demo

test: setup      ## run the tests, on real Slurm nodes and a real S3 where they can run
	@$(BIN)/pytest -m 'not slow' --numprocesses 2

slow: setup pcluster  ## run the tests that `make test` leaves out because they take long
	@$(BIN)/pytest -m slow

pcluster: setup  # the schema of ParallelCluster, for `make slow`
	@[ -x $(VENV)/pcluster/bin/python ] || python3 -m venv $(VENV)/pcluster
	@$(VENV)/pcluster/bin/python -m pip install --quiet --disable-pip-version-check --requirement tests/packaging/pcluster.txt

unit: setup      ## run the tests that need nothing but Python
	@$(BIN)/pytest tests/unit

lint: setup      ## check style, format and shell scripts
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@if command -v shellcheck >/dev/null; then shellcheck .ci/run .ci/prepare $$(git ls-files '*.sh'); fi

types: setup     ## check types
	@$(BIN)/mypy

check: lint types test  ## what CI runs

golden: setup    ## write the golden files anew; look at the difference before you commit
	@UPDATE_GOLDEN=1 $(BIN)/pytest -q tests/unit

notices: setup   ## measure 50 notices on a real Slurm node: IMDS to DRAIN
	@$(BIN)/python -m tests.measure.notices

bench: setup     ## what saving and restoring cost, beside s5cmd and aws s3 sync; ARGS="--quick --only W3 --save"
	@[ -x $(VENV)/bench/bin/python ] || python3 -m venv $(VENV)/bench
	@$(VENV)/bench/bin/python -m pip install --quiet --disable-pip-version-check --requirement tests/measure/bench.txt
	@$(BIN)/python -m tests.measure.bench --write $(ARGS)

busy: setup      ## measure IMDS polls and notices while a copy runs flat out, with four busy loops beside it
	@$(BIN)/python -m tests.measure.busy $(ARGS)

ahead: setup     ## measure a rescue of 20 GB that were saved ahead, with a hundredth changed; ARGS="--times-smaller 4"
	@$(BIN)/python -m tests.measure.ahead $(ARGS)

lock: setup      ## pin today's versions of everything in constraints.txt
	@$(BIN)/python -m pip freeze --exclude-editable --disable-pip-version-check >constraints.txt

bundle: setup    ## make dist/hpc-agent-VERSION-ARCH.tar.gz, which installs without network, for both architectures
	@$(BIN)/python packaging/bundle.py --arch x86_64
	@$(BIN)/python packaging/bundle.py --arch aarch64

packages: bundle ## make a deb and an rpm of each bundle
	@for bundle in dist/hpc-agent-*.tar.gz; do PATH="$(CURDIR)/$(BIN):$$PATH" ./packaging/packages.sh $$bundle dist; done

clean:           ## remove the virtual environment and caches
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis dist build
