# Every task of the project, each of them the whole of it: `make help` prints this list.
# Works on a fresh Debian or Ubuntu machine as root, or as a user who may sudo without a password.

.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
AS_ROOT := $(shell [ "$$(id -u)" = 0 ] || echo sudo -n)
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check
# The lock files name everything: without --no-deps pip would resolve anew, and take a newer release for an extra.
INSTALL_LOCKED := $(INSTALL) --no-deps --require-hashes -r
INSTALL_SELF := $(INSTALL) --no-deps --no-build-isolation -e .
APT_INSTALL := $(AS_ROOT) deploy/apt-install
TESTS := $(BIN)/pytest -n 3 --dist worksteal --durations=40

.PHONY: help setup demo test coverage check format lock migration bench chaos clean packages-runtime packages-test borg-1.4

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: packages-runtime $(VENV)/runtime.stamp ## make .venv/bin/locutus work: borg, a Redis, and the locked packages

demo: setup ## run a first backup of real files and show its thread
	@deploy/demo

test: packages-test $(VENV)/development.stamp ## run every test against real borg, Redis and PostgreSQL
	$(TESTS)

# Of its own, as counting branches takes as long again as the tests of Python alone do.
coverage: packages-test $(VENV)/development.stamp ## the same tests, and which lines and branches none of them takes
	$(TESTS) --cov --cov-report=term:skip-covered --cov-fail-under=90

check: $(VENV)/development.stamp ## lint, types, import layers, documentation
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q -p no:cacheprovider tests/unit/test_docs.py

format: $(VENV)/development.stamp ## put the code into its form
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: packages-test $(VENV)/development.stamp ## measure what docs/performance.md quotes, each figure beside its anchor
	$(BIN)/python -m benchmarks

MINUTES ?= 15
chaos: packages-test $(VENV)/development.stamp ## kill everything at random under load, and count: make chaos MINUTES=15
	$(BIN)/python -m benchmarks.chaos --minutes $(MINUTES)

lock: $(VENV)/development.stamp ## resolve the dependencies anew, with hashes
	$(BIN)/uv pip compile -q --universal --generate-hashes --upgrade --group build pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile -q --universal --generate-hashes --group dev -c requirements.lock pyproject.toml -o requirements-dev.lock

migration: $(VENV)/development.stamp ## write a migration for what changed in jobs/models/: make migration NAME=...
	PYTHONPATH=. $(BIN)/tortoise -c jobs.database.development.CONFIGURATION makemigrations -n $(NAME)

clean: ## remove what was built or measured, but no data directory
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .import_linter_cache

packages-runtime:
	@command -v borg >/dev/null || $(APT_INSTALL) borgbackup
	@command -v ssh >/dev/null || $(APT_INSTALL) openssh-client
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || $(APT_INSTALL) python3-venv

# Of BorgBackup 1.4 there is no Debian package: it is built once, and its tests are left out where that can't be.
BORG_1_4 := .borg-1.4
BORG_1_4_NEEDS := gcc libc6-dev libacl1-dev libssl-dev liblz4-dev libzstd-dev libxxhash-dev pkg-config python3-dev
borg-1.4:
	@$(BORG_1_4)/bin/borg --version >/dev/null 2>&1 || { \
	  $(APT_INSTALL) $(BORG_1_4_NEEDS) && $(PYTHON) -m venv $(BORG_1_4) && \
	  $(BORG_1_4)/bin/pip install --quiet --disable-pip-version-check borgbackup==1.4.5; \
	} || echo "BorgBackup 1.4 could not be built, so its tests are left out."

packages-test: packages-runtime borg-1.4
	@command -v redis-server >/dev/null || $(APT_INSTALL) redis-server
	@[ -x /usr/sbin/sshd ] || $(APT_INSTALL) openssh-server
	@command -v sudo >/dev/null || $(APT_INSTALL) sudo
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || $(APT_INSTALL) postgresql

$(VENV)/runtime.stamp: requirements.lock pyproject.toml | packages-runtime
	$(PYTHON) -m venv $(VENV)
	$(INSTALL_LOCKED) requirements.lock
	$(INSTALL_SELF)
	touch $@

$(VENV)/development.stamp: requirements-dev.lock pyproject.toml | packages-runtime
	$(PYTHON) -m venv $(VENV)
	$(INSTALL_LOCKED) requirements-dev.lock
	$(INSTALL_SELF)
	touch $@ $(VENV)/runtime.stamp
