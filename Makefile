# Dipper. Plain python3 and make are enough: `make demo` shows it, `make test` proves it.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
FONT := /usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc:fonts-noto-cjk

.PHONY: help setup demo up cluster test verify faults lint format bench bench-detect bench-streams agent reference clean

help: ## show what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install the locked packages for development into .venv
	@PYTHON=$(PYTHON) tools/setup.sh dev

demo: ## install, then run a simulated fleet through the whole pipeline and show its pages
	@PYTHON=$(PYTHON) tools/setup.sh server
	$(BIN)/dipper demo

up: ## install, then run gateway, operators, history and pages for real boxes
	@PYTHON=$(PYTHON) tools/setup.sh server
	$(BIN)/dipper up

cluster: setup ## install, then run broker, gateways, worker, sink, pages and a fleet as local processes
	@tools/java.sh
	$(BIN)/python -m tools.cluster

test: setup ## install, then run the tests (under 12 minutes on 2 cores)
	@tools/debian.sh chromium:chromium nginx:nginx-light pdftotext:poppler-utils $(FONT)
	@tools/java.sh
	$(BIN)/python -m pytest -m "not verify" -n 2 --dist loadgroup

verify: setup ## long end-to-end runs with real processes (under 40 minutes)
	@tools/debian.sh chromium:chromium nginx:nginx-light wrk:wrk pdftotext:poppler-utils $(FONT)
	@tools/java.sh
	$(BIN)/python -m pytest -m verify --timeout 1500

faults: setup ## kill every process of a cluster under load and prove that nothing is lost (QUICK=1: once each)
	@tools/java.sh
	$(BIN)/python -m benchmarks.faults $(if $(QUICK),--quick)

lint: setup ## format check, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: setup ## rewrite files in the house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup ## run every benchmark of benchmarks/ and write JSON results
	@tools/debian.sh mtail:mtail chromium:chromium
	@tools/java.sh
	$(BIN)/python -m benchmarks

bench-detect: setup ## 800 faults on held-out seeds: found, how fast, false incidents, causes, beside other detectors
	@PYTHON=$(PYTHON) tools/setup.sh peers
	$(BIN)/python -m benchmarks.detect --seeds 20

bench-streams: setup ## the worker beside bytewax, quixstreams and plain Faust on one topic
	@PYTHON=$(PYTHON) tools/setup.sh peers
	@tools/java.sh
	$(BIN)/python -m benchmarks.streams --seed 1

agent: setup ## build the agent's wheel and zipapp into dist/
	$(BIN)/python tools/build_agent.py

reference: setup ## write docs/ pages that are generated from contracts/
	$(BIN)/python tools/make_reference.py

clean: ## remove what was built and installed
	rm -rf .venv build dist out .mypy_cache .ruff_cache .pytest_cache .hypothesis
