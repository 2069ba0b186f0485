# Everything below sets itself up: a virtual environment, the packages, the dashboard.
# A fresh Debian or Ubuntu with git, make and Python 3.10 or newer is enough.

PYTHON ?= python3
ARGS ?=
COVERAGE ?=
# More than there are cores: much of a test is waiting for a process.
WORKERS ?= 3
BIN := .venv/bin
DASHBOARD_SOURCES := $(shell find ui -type f -not -path '*/node_modules/*' 2>/dev/null)
PACKAGE_SOURCES := pyproject.toml $(wildcard hatch_build.py) $(DASHBOARD_SOURCES)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo test test-alone test-frameworks bench lint ui clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/.demo ## Train a real federation of 20 clients here and watch it (ARGS="--rounds 10")
	@$(BIN)/fedsight demo $(ARGS)

test: .venv/.dev servers ## Run all tests (ARGS="-k journal"; COVERAGE=1 measures what they cover, and takes half as long again)
	$(BIN)/pytest -n $(WORKERS) --dist loadfile -m "not alone and not frameworks" $(if $(COVERAGE),--cov --cov-report=term --cov-fail-under=90) $(ARGS)
	cd ui && PATH="$(CURDIR)/$(BIN):$$PATH" npm test

test-alone: .venv/.dev servers ## Run the tests that want a quiet machine: real switches, an MLflow server, forks
	$(BIN)/pytest -m alone $(ARGS)

test-frameworks: .venv/.dev ## Run real federations of NVFLARE, Flower and APPFL, in environments of their own
	$(BIN)/pytest -n 2 --dist loadfile -m frameworks $(ARGS)

bench: .venv/.dev ## Measure, and compare with peers
	$(BIN)/python bench/run.py $(ARGS)

lint: .venv/.dev ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict
	cd ui && PATH="$(CURDIR)/$(BIN):$$PATH" npm run check

ui: .venv/.dev ## Build the dashboard into the package
	$(BIN)/python hatch_build.py

clean: ## Remove what was built (journals in runs/ stay)
	rm -rf .venv .venvs build dist ui/node_modules src/fedsight/web/dist .coverage .coverage.* htmlcov
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ── set-up ────────────────────────────────────────────────────────────────────────────────────

# The editable install builds the dashboard too, with a Node.js that comes from PyPI.
.venv/.demo: .venv/.made $(PACKAGE_SOURCES)
	$(BIN)/pip install --quiet --editable '.[demo]'
	@touch $@

.venv/.dev: .venv/.demo
	$(BIN)/pip install --quiet --editable '.[all]' --group dev
	@touch $@

.venv/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "Fedsight needs Python 3.10 or newer. Name one: make PYTHON=python3.12 …" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || $(MAKE) --no-print-directory python3-venv
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	@touch $@

.PHONY: python3-venv
python3-venv:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -q && apt-get install -y -q --no-install-recommends python3-venv; \
	else \
		echo "Python's venv module is missing. Install it with: sudo apt-get install python3-venv" >&2; exit 1; \
	fi

# The programs that tests drive for real, and Debian's packages of them. Elsewhere than on Debian as root,
# a test whose program is missing is skipped and says so.
SERVERS := chromium:chromium prometheus:prometheus promtool:prometheus prometheus-pushgateway:prometheus-pushgateway \
	redis-server:redis-server influxd:influxdb victoria-metrics:victoria-metrics ovs-vsctl:openvswitch-switch \
	iperf3:iperf3 ip:iproute2 ping:iputils-ping ethtool:ethtool openssl:openssl \
	docker-compose:docker-compose systemd-analyze:systemd

.PHONY: servers
servers:
	@missing=$$(for each in $(SERVERS); do command -v "$${each%%:*}" >/dev/null || echo "$${each#*:}"; done | sort -u); \
	if [ -n "$$missing" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $$missing; \
	fi
