# The few words of this project. Each sets up what it needs, in `.venv` of this clone.
#
#     make test ARGS="tests/unit -k digest"     some of the tests; ARGS="-n0 --pdb" for one process
#     make install PYTHON=python3.12            another Python than the newest at hand

.DEFAULT_GOAL := help
.PHONY: help install demo test lint bench fuzz clean

PYTHON ?= $(shell scripts/find_python)
READY := .venv/.ready
# More than a few only wait for one another's containers and disk. Files go to them in the order of tests/conftest.py:
# pytest-xdist's own leaves those with the fewest tests to the end, and they are the slowest.
PROCESSES := $(shell n=$$(getconf _NPROCESSORS_ONLN); echo $$((n < 4 ? n : 4)))

help:
	@echo "make install | demo | test | lint | bench | fuzz | clean"

install: $(READY)

demo: $(READY)
	@scripts/system_packages mmdebstrap
	@.venv/bin/python -m scripts.demo

test: $(READY)
	@scripts/system_packages mmdebstrap dockerd docker-registry bwrap skopeo umoci htpasswd faketime initdb redis-server chromium chromedriver npm
	.venv/bin/python -m pytest --numprocesses=$(PROCESSES) --dist=loadfile --no-loadscope-reorder $(ARGS)

lint: $(READY)
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

# ARGS=--quick for three minutes, ARGS="--only first,version --runs 3" for some parts.
bench: $(READY)
	@scripts/system_packages mmdebstrap dockerd docker-registry htpasswd
	@PYTHONPATH=tests .venv/bin/python -m scripts.bench $(ARGS)

# TIME=60 for a minute; with the group `fuzz` installed, ARGS=--coverage.
TIME ?= 3600

fuzz: $(READY)
	@.venv/bin/python -W error -m scripts.fuzz --seconds $(TIME) $(ARGS)

clean:
	rm -rf .venv .venvs .cache .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache dist

$(READY): pyproject.toml scripts/create_venv
	@scripts/create_venv .venv "$(PYTHON)"
	@touch $@
