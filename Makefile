# Everything that people, agents and CI do here is a target; bare `make` lists them.
# Needs GNU make, a POSIX shell and Python 3.11 or newer; everything else is installed into $(VENV).

PYTHON ?= python3
VENV ?= .venv
TORTURE_SEEDS ?= 200
# How many processes share the files of `make test` that mind no company, in their order: small ones come last.
WORKERS ?= 3
IN_PARALLEL = --numprocesses=$(WORKERS) --dist=loadfile --no-loadscope-reorder

# Another corpus for `make guard-report`: a directory with .jsonl files and the .sql files of their database.
CORPUS ?= tests/corpus
VERSIONS ?= 15 17
# What `make bench` passes on, such as BENCH="--only startup --rounds 5".
BENCH ?=
# `make test-wheel WHEEL=dist/x.whl` tests that wheel; without WHEEL one is built first.
WHEEL ?=
# `make test-wheel ENGINE=` does not start an engine (macOS and Windows runners have none).
ENGINE ?= engine

ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif
STAMP := $(VENV)/.stamp
VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' dev_postgres_mcp/__init__.py)
PIP_INSTALL := -m pip --disable-pip-version-check install --quiet
PYTEST = $(BIN)/python -m pytest
TEST_JUNIT = build/junit-together.xml build/junit-alone.xml
# Ends a recipe of tests: says what passed, and fails on a skip in CI.
SUMMARY = $(PYTHON) tools/summary.py

.DEFAULT_GOAL := help
.SUFFIXES:
.DELETE_ON_ERROR:
.PHONY: help setup engine services demo demo-docker format lint test test-unit test-contract test-docker torture bench guard-report inspect \
	contracts lock wheel test-wheel checksums notes check-tag publish release clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-14s %s\n", $$1, $$2 }' Makefile

# --- set up ----------------------------------------------------------------------------------------

setup: $(STAMP) ## create .venv with the locked dependencies and this package (instant when nothing changed)

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, not " + sys.version.split()[0] + "; try: make PYTHON=python3.13" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP_INSTALL) --require-hashes -r requirements.lock
	$(BIN)/python $(PIP_INSTALL) --no-deps --no-build-isolation -e .
	@touch $(STAMP)

engine: ## make sure that a Docker Engine with a postgres image answers (may install one, as root)
	tools/engine up

services: ## install what the registry, podman and switch tests run (as root, on Debian or Ubuntu)
	tools/test-services

demo: setup ## the main job, visibly: an MCP client creates a server, works in it and drops it; with or without Docker
	$(BIN)/python tools/demo.py

demo-docker: setup engine ## the same on a Docker Engine, which this may install, as root
	DEV_POSTGRES_MCP_RUNTIME=docker $(BIN)/python tools/demo.py

# --- check -----------------------------------------------------------------------------------------

format: setup ## rewrite the code in the house style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# All checks run, so that one round shows everything; any failure counts.
lint: setup ## style, types, import contracts, workflows
	@status=0; \
	$(BIN)/ruff check . || status=1; \
	$(BIN)/ruff format --check . || status=1; \
	$(BIN)/mypy || status=1; \
	$(BIN)/lint-imports || status=1; \
	$(BIN)/zizmor --offline --persona=pedantic --no-progress .github || status=1; \
	exit $$status

# Lint does not stop the tests; its verdict counts at the end. First what minds no company, in several processes,
# then the rest. The last line says how many tests passed.
test: setup engine services ## lint and every test but `torture`, on a real engine, with coverage
	@rm -f $(TEST_JUNIT) .coverage .coverage.*; status=0; \
	$(MAKE) --no-print-directory lint || status=1; \
	$(BIN)/coverage run -m pytest -m "not torture and not alone" $(IN_PARALLEL) \
		--junitxml=$(word 1,$(TEST_JUNIT)) || status=1; \
	$(BIN)/coverage run -m pytest -m "not torture and alone" --junitxml=$(word 2,$(TEST_JUNIT)) || status=1; \
	$(BIN)/coverage combine --quiet || status=1; \
	$(BIN)/coverage report || status=1; \
	$(SUMMARY) $(TEST_JUNIT) || status=1; \
	exit $$status

test-unit: setup ## the unit tests: no engine, seconds
	@status=0; $(PYTEST) tests/unit --junitxml=build/junit-unit.xml || status=1; \
	$(SUMMARY) build/junit-unit.xml || status=1; exit $$status

test-contract: setup ## unit tests and the runtime contract on the in-memory runtime: no engine
	@status=0; $(PYTEST) tests/unit tests/contract -m "not docker" --junitxml=build/junit-contract.xml || status=1; \
	$(SUMMARY) build/junit-contract.xml || status=1; exit $$status

test-docker: setup engine services ## only the tests that need a real engine
	@status=0; $(PYTEST) -m "docker and not torture" --junitxml=build/junit-docker.xml || status=1; \
	$(SUMMARY) build/junit-docker.xml || status=1; exit $$status

torture: setup engine ## the tests that need many seeds (TORTURE_SEEDS=200), for minutes
	@status=0; TORTURE_SEEDS=$(TORTURE_SEEDS) $(PYTEST) -m torture --junitxml=build/junit-torture.xml || status=1; \
	$(SUMMARY) build/junit-torture.xml || status=1; exit $$status

bench: setup engine ## measure everything that has a target (BENCH="--write" keeps the table; half an hour)
	$(BIN)/python -m benchmarks $(BENCH)

guard-report: setup ## judge the corpus (CORPUS=dir) by real servers (VERSIONS=15 17) and run what the guard admits
	$(BIN)/python -m tests.guard.report --corpus $(CORPUS) $(VERSIONS)

inspect: setup engine ## the MCP Inspector against our server over stdio: list, create, drop (needs npm)
	tools/inspector/run $(BIN)/dev-postgres-mcp

# --- generated files -------------------------------------------------------------------------------

contracts: setup ## write docs/contracts/tools.json from the server
	$(BIN)/python tools/contracts.py

lock: setup ## write requirements.lock from pyproject.toml (hashes, no addresses); LOCK=--upgrade takes newer ones
	$(BIN)/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes \
		--no-annotate --custom-compile-command "make lock" --quiet $(LOCK) --output-file requirements.lock

# --- package and release ---------------------------------------------------------------------------

wheel: setup ## build sdist and wheel into dist/
	rm -rf dist
	$(BIN)/hatchling build --directory dist

# The tests run in a copy of the checkout that lacks the package, so that only the wheel can be imported.
test-wheel: $(if $(WHEEL),,wheel) $(ENGINE) ## test the built wheel in a fresh environment, not the checkout
	rm -rf build/wheel && mkdir -p build/wheel/checkout
	$(PYTHON) -m venv build/wheel/$(VENV)
	build/wheel/$(BIN)/python $(PIP_INSTALL) --require-hashes -r requirements.lock
	build/wheel/$(BIN)/python $(PIP_INSTALL) --no-deps $(or $(WHEEL),dist/*.whl)
	git ls-files --cached --others --exclude-standard | grep -v '^dev_postgres_mcp/' \
		| tar -cf - -T - | tar -xf - -C build/wheel/checkout
	@status=0; cd build/wheel/checkout; \
	PYTHONSAFEPATH=1 ../$(BIN)/python -m pytest tests/unit --junitxml=../unit.xml || status=1; \
	PYTHONSAFEPATH=1 ../$(BIN)/python -m pytest tests/acceptance \
		-m "wheel $(if $(ENGINE),,and not docker)" --junitxml=../acceptance.xml || status=1; \
	$(SUMMARY) ../unit.xml ../acceptance.xml || status=1; exit $$status

checksums: ## write dist/SHA256SUMS
	cd dist && rm -f SHA256SUMS && { command -v sha256sum >/dev/null && sha256sum * || shasum -a 256 *; } > ../SHA256SUMS.tmp
	mv SHA256SUMS.tmp dist/SHA256SUMS
	@cat dist/SHA256SUMS

notes: ## print what CHANGELOG.md says about this version
	@awk -v v="$(VERSION)" '/^## / { on = index($$2, v) } on && !/^## / { print; n++ } END { exit !n }' CHANGELOG.md

check-tag: ## fail unless TAG names this version
	@test "v$(VERSION)" = "$(TAG)" || { echo "tag '$(TAG)' is not version $(VERSION)" >&2; exit 1; }

publish: setup ## upload dist/ to the package index as the trusted publisher (only in the release workflow)
	$(BIN)/uv publish --trusted-publishing always dist/*.whl dist/*.tar.gz

release: check-tag ## create the GitHub release of this version with dist/ and the notes (only in the release workflow)
	@mkdir -p build
	$(MAKE) --no-print-directory --silent notes > build/notes.md
	gh release create "$(TAG)" --verify-tag --title "$(TAG)" --notes-file build/notes.md dist/*

clean: ## remove what was built and measured; .venv stays
	rm -rf build dist .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .benchmarks
