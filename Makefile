# The two that a newcomer needs: make demo, make test.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := $(CURDIR)/.venv
export PATH := $(VENV)/bin:$(PATH)
# Named, because Ansible ignores the ansible.cfg of a folder that everybody may write to.
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
# Ansible refuses to start in a locale that is not UTF-8.
export LC_ALL := C.UTF-8

MODULES := $(basename $(notdir $(wildcard library/*.py)))
ROLES := $(notdir $(wildcard roles/*))
REPORT := reports/latest/report.html
# Tests of a file share what is costly to make, so they stay together; the longest files are collected first.
PYTEST := pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.PHONY: help
help:  ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 22

.PHONY: demo
# How a run is shown: docs/console.md.
demo: export ANSIBLE_STDOUT_CALLBACK ?= rollout
demo: application  ## run the main job on the embedded database, beside a running application
	ansible-playbook apply.yml -i inventory/sandbox
	@test -f $(REPORT) || { echo "The run left no $(REPORT)." >&2; exit 1; }
	@echo
	@echo "Done: the embedded database stands at roles/schema/migrations; changed= in the recap above says how much was to do."
	@echo "Report of this run: $(CURDIR)/$(REPORT)"
	@echo "Look inside:        PGSERVICEFILE=$(CURDIR)/sandbox/run/pg_service.conf psql service=sandbox"
	@echo "Again:              make demo (nothing will change)    Stop: make sandbox-down"

.PHONY: test
test: lint  ## run the linters and all tests, four Molecule scenarios among them; PYTEST_ARGS='-k name' selects
	$(PYTEST) $(PYTEST_ARGS)

.PHONY: test-all
test-all: export MOLECULE_SCENARIOS := all
test-all: lint  ## the same with every Molecule scenario
	$(PYTEST) $(PYTEST_ARGS)

.PHONY: molecule
molecule: export MOLECULE_SCENARIOS := $(or $(SCENARIO),all)
molecule: venv  ## run every Molecule scenario, or SCENARIO=name; PG_VERSION=15, 17 or 18 chooses the server
	pytest tests/molecule $(PYTEST_ARGS)

.PHONY: test-unit
test-unit: venv  ## run the tests that need no database
	pytest tests/unit $(PYTEST_ARGS)

.PHONY: lint
lint: venv  ## run the linters and build the documentation of modules and roles
	ruff check .
	ruff format --check .
	mypy
	mypy --python-version 3.10 typings/ansible/module_utils/rollout library
	yamllint --strict .
	ansible-lint --offline --profile production
	ansible-doc --type module $(MODULES) > /dev/null
	ansible-doc --type role $(ROLES) > /dev/null

.PHONY: bench
bench: venv  ## measure, and write docs/performance.md
	python -m benchmarks

.PHONY: screenshots
screenshots: venv  ## make the pictures of the README, from a sandbox of its own
	python -m sandbox.screenshots

.PHONY: record-postgrest
record-postgrest: venv  ## record the answers of supabase-js and PostgREST anew (npm, x86-64)
	python -m tests.postgrest_recording

.PHONY: sandbox
sandbox: venv  ## start the embedded database
	python -m sandbox up

.PHONY: application
application: venv  ## start the embedded database and the application that uses it
	python -m sandbox up --application

.PHONY: sandbox-down
sandbox-down: venv  ## stop the embedded database and the application
	python -m sandbox down

.PHONY: clean
clean:  ## stop the sandbox and remove everything that make made
	test ! -d sandbox/run || ! test -x $(VENV)/bin/python || python -m sandbox down
	rm -rf sandbox/run .venv .cache .ansible .hypothesis reports
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: venv
venv:
	@.ci/venv
