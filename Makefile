# Everything a person does with this checkout. `make` alone lists it.
SHELL := /bin/bash
PYTHON := .venv/bin/python
SETUP := compose/lab/setup.sh
LAB := $(PYTHON) compose/lab/lab.py
# The suite waits more than it computes: more workers than processors. CONTRIBUTING.md says how tests are handed out.
WORKERS ?= 6
PYTEST := $(PYTHON) -m pytest -n $(WORKERS) --dist loadgroup --no-fold-skipped
TESTS ?=
COVERAGE := --cov=fleet --cov=runtime --cov-report=term:skip-covered --cov-report=html:.lab/coverage/html
LAB_CODE := compose/lab images/lab/robot/init.py images/lab/robot/camera.py images/lab/robot/probe.py tests/lab

.DEFAULT_GOAL := help

.PHONY: help
help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: setup lab-start ## the whole road on this machine: a registry, three robots, three releases, and back
	$(PYTHON) compose/lab/demo.py

.PHONY: test
test: setup ## everything, on real parts (brings the lab up; GPU tests are skipped by name without a GPU)
	$(PYTEST) $(TESTS)

.PHONY: test-fast
test-fast: venv testing ## what needs no Docker Engine, in about three minutes; the end names what was left out
	DOCKER_HOST=unix:///no-engine-for-test-fast.sock $(PYTEST) --ignore=tests/lab -m "not docker" $(TESTS)

.PHONY: coverage
coverage: setup ## line coverage of fleet and runtime under TESTS (all of them), subprocesses included; slower than test
	rm -rf .lab/coverage && mkdir -p .lab/coverage
	$(PYTEST) $(COVERAGE) $(TESTS)

.PHONY: test-long
test-long: setup lab-start ## before a release: matrices, soaks and fuzzing, in parts that resume (PART=NAME: one of them)
	$(PYTHON) -m tests.harness.long $(PART)

.PHONY: check
check: check-lint check-types check-imports ## lint, format, types, import rules

.PHONY: check-lint check-types check-imports
check-lint: venv
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
check-types: venv
	.venv/bin/mypy
	MYPYPATH=compose/lab .venv/bin/mypy $(LAB_CODE)
check-imports: venv
	.venv/bin/lint-imports

.PHONY: check-tensorrt
check-tensorrt: venv ## the TensorRT backend against the APIs of 10.13 and 10.16, without a GPU (fetches 50 MB once)
	$(PYTHON) tests/gpu/check_api.py

.PHONY: fmt
fmt: venv ## let ruff put the code in order
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

.PHONY: bench
bench: setup lab-start ## what benchmarks/ measures, against its peers in the same run
	$(PYTHON) -m benchmarks

.PHONY: images
images: setup lab-start ## build the lab's images, and what the example fleet lacks: base images and engines
	.venv/bin/fleet build

.PHONY: lab-up
lab-up: setup lab-start ## a registry and three robots on this machine's Docker Engine (docs/lab.md)

.PHONY: lab-start
lab-start:
	$(LAB) up

.PHONY: lab-status
lab-status: venv ## how every part of the lab is
	@$(LAB) status

.PHONY: lab-reset
lab-reset: setup ## fresh robots and an empty registry
	$(LAB) reset

.PHONY: lab-down
lab-down: venv ## remove robots, registry, network and volumes (ENGINE=1: stop the Engine too, if setup started it)
	$(LAB) down
	@if [ "$(ENGINE)" = 1 ]; then $(SETUP) engine-stop; fi

.PHONY: setup
setup: ## what demo and test need: packages, Docker Engine, .venv, Compose, base image, model
	@$(SETUP)

.PHONY: venv testing
venv:
	@$(SETUP) packages venv
testing:
	@$(SETUP) testing
