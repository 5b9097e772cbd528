# make demo | test | check | bench; each sets up .venv first when it is missing or out of date.
PYTHON ?= python3
export UV_SYSTEM_CERTS ?= 1
BIN := .venv/bin
READY := .venv/.ready
.DEFAULT_GOAL := help
.PHONY: help system setup demo test check bench chaos screenshots lock clean

help:
	@echo "make demo    run the main job on embedded data (sets up .venv first)"
	@echo "make test    run the tests, but for the long ones: clusters of several nodes, servers, browsers, studies that are killed"
	@echo "make check   format, lint, types, import layers, every test"
	@echo "make system  install Debian's packages that some tests need, as root; those tests are skipped without"
	@echo "make bench   measure again what of benchmarks/RESULTS.md takes ten minutes in all"
	@echo "make screenshots  draw docs/images again: runs the demo's study, and looks at every page of the dashboard"
	@echo "make chaos   hit a study 100 times and prove that it ends with the same bits"
	@echo "make lock    resolve pyproject.toml into requirements.lock"

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "ccar needs Python 3.11 or newer; this is $$($(PYTHON) --version). Try: make PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9'

# --compile-bytecode: every later process start is 2 to 5 times faster.
$(READY): requirements.lock pyproject.toml | $(BIN)/uv
	$(BIN)/uv pip sync --quiet --require-hashes --compile-bytecode --python $(BIN)/python requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

# PostgreSQL for the team's MLflow, shellcheck for the scripts of cluster/, iproute2 for hosts made of namespaces,
# Chromium for the dashboard, Prometheus for its panels.
DEBIAN := postgresql shellcheck iproute2 chromium prometheus
system:
	@dpkg -s $(DEBIAN) >/dev/null 2>&1 || \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends $(DEBIAN); }

setup: $(READY)

demo: $(READY)
	$(BIN)/ccar run studies/digits_lt.yaml

test: $(READY)
	$(BIN)/pytest -m "not long"

# Real processes, clusters and browsers: a neighbour may have had the processors that a test waited for. What fails
# beside others has to pass by itself; anything but failed tests ends it at once.
BY_ITSELF := -n 0 --last-failed --last-failed-no-failures none

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest --ignore tests/chaos || { [ $$? -eq 1 ] && $(BIN)/pytest --ignore tests/chaos $(BY_ITSELF); }
	$(BIN)/pytest -n 0 tests/chaos  # the storm takes every core, and says how fast a study recovers

bench: $(READY)
	$(BIN)/python -m benchmarks

screenshots: $(READY)
	$(BIN)/python docs/screenshots.py

chaos: $(READY)
	$(BIN)/python -m benchmarks chaos

lock: $(BIN)/uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --extra dev --no-annotate --no-header \
	  pyproject.toml -o requirements.lock

clean:
	rm -rf .venv
