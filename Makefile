# Everything lives in .venv; nothing is installed outside this folder. `make` alone lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup demo console run screenshots test test-long chaos bench lint audit clean lock

PYTHON ?= python3
BIN := .venv/bin
# The stamp carries the folder's path: a moved or copied tree sets itself up again instead of running another tree's code.
READY := .venv/.ready-$(shell pwd -P | cksum | cut -d ' ' -f 1)
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	--no-emit-index-url --no-emit-find-links

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

setup: $(READY)  ## set everything up in .venv
	@:

$(READY): requirements-setup.lock requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "setup: needs Python 3.11 or newer as '$(PYTHON)'; name another with: make setup PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "setup: '$(PYTHON)' lacks its venv module; on Debian or Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@test -e $(READY) && $(BIN)/python -c '' 2>/dev/null || $(PYTHON) -m venv --clear .venv
	@mkdir -p "$${HOME:-/nonexistent}/.cache" 2>/dev/null && test -w "$$HOME/.cache" || \
		export PIP_NO_CACHE_DIR=1 UV_CACHE_DIR=.venv/.uv-cache; \
	index=$${UV_DEFAULT_INDEX:-$${PIP_INDEX_URL:-$$($(BIN)/python -m pip config get global.index-url 2>/dev/null)}}; \
	test -z "$$index" || export UV_DEFAULT_INDEX="$$index"; \
	test ! -e /etc/ssl/certs/ca-certificates.crt || export UV_SYSTEM_CERTS=1; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-setup.lock && \
	UV_LINK_MODE=copy $(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements-dev.lock && \
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $(READY)
	@echo "setup: ready in .venv"

demo: setup  ## show the main job on embedded parts, from signed callbacks to the fate of each file
	@$(BIN)/zego-retention demo

console: setup  ## the demo, and then the web console open on its world, until interrupted
	@$(BIN)/zego-retention demo --serve

run: setup  ## run the service on SQLite until interrupted
	@$(BIN)/zego-retention serve

lint: setup  ## style, types, floors and declared dependencies
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .

test: lint /usr/sbin/pgbouncer /usr/bin/faketime /usr/bin/systemd-analyze $(if $(CHROMIUM),,/usr/bin/chromium)  ## everything that CI runs: lint, then the tests on SQLite and PostgreSQL
	$(BIN)/pytest -n 4 --dist worksteal -q

/usr/sbin/pgbouncer: PACKAGES := pgbouncer
/usr/bin/faketime: PACKAGES := faketime
/usr/bin/chromium: PACKAGES := chromium fonts-wqy-microhei
/usr/sbin/nginx: PACKAGES := nginx-light
/usr/bin/caddy: PACKAGES := caddy
/usr/bin/systemd-analyze: PACKAGES := systemd
/usr/bin/promtool: PACKAGES := prometheus
/usr/sbin/pgbouncer /usr/bin/faketime /usr/bin/chromium /usr/sbin/nginx /usr/bin/caddy /usr/bin/systemd-analyze /usr/bin/promtool:
	@test "$$(id -u)" != 0 || { apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends $(PACKAGES); } >&2 || true

test-long: setup /usr/bin/faketime /usr/sbin/nginx /usr/bin/caddy /usr/bin/systemd-analyze /usr/bin/promtool  ## the long forms: kill matrices whole, 40 days, a million files
	$(BIN)/pytest -n 2 --dist worksteal -q -m long --timeout 3600

chaos: setup /usr/bin/faketime  ## everything fails that can for 15 minutes, on both databases; SEED=7 repeats a run
	$(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED)) $(if $(SECONDS),--seconds $(SECONDS))

bench: setup  ## the benchmarks, as ratios: a table, and JSON in build/bench.json
	$(BIN)/python -m tests.bench

screenshots: setup  ## pictures of every page of the console in build/screenshots
	$(BIN)/python -m tests.console_browser.screenshots

audit: setup  ## known vulnerabilities of the locked dependencies; fails if one cannot be looked up
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && $(PYTHON) -m venv "$$folder" && \
	"$$folder/bin/pip" install --quiet --disable-pip-version-check pip-audit && \
	"$$folder/bin/pip-audit" --strict --disable-pip --require-hashes --progress-spinner off -r requirements.lock

clean:  ## remove the environment, caches and build products (never the data folder)
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist
	find service migrations tests -name __pycache__ -type d -prune -exec rm -rf {} +

lock: setup  ## bring the lock files up to date with pyproject.toml
	$(COMPILE) --upgrade --group setup --output-file requirements-setup.lock
	$(COMPILE) --upgrade pyproject.toml --output-file requirements.lock
	$(COMPILE) --upgrade pyproject.toml --group dev --constraint requirements.lock --output-file requirements-dev.lock
	@! grep -n "//" requirements*.lock
