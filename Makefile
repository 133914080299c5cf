# `make` or `make help` lists the targets. Settings: make cluster GPUS=4, make images TAG=1.0 …
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
GPUS ?= 2
REGISTRY ?= elastic
TAG ?= dev
BASE_IMAGE ?= auto
PUSH ?=
# `local`: a cluster of our own on this machine. `existing`: the one that KUBECONFIG names, with
# images that it can pull (REGISTRY, TAG).
CLUSTER ?= local
KUBECONFIG_FILE := $(CURDIR)/.cluster/kubeconfig
LOCALCLUSTER := $(PYTHON) -m localcluster

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- a Kubernetes for anyone who has none ------------------------------------------------------

.PHONY: cluster
cluster: ## Start a one-node Kubernetes here (GPUS=2), or do nothing if it runs
	@$(LOCALCLUSTER) up --gpus $(GPUS) --kubeconfig $(KUBECONFIG_FILE)

.PHONY: cluster-down
cluster-down: ## End it; its images are kept (PURGE=1: those too)
	@$(LOCALCLUSTER) down $(if $(PURGE),--purge)

.PHONY: images
images: ## Build what changed, load it into the cluster (REGISTRY, TAG, BASE_IMAGE, PUSH=1)
	@$(LOCALCLUSTER) images --registry $(REGISTRY) --tag $(TAG) --base-image $(BASE_IMAGE) \
		$(if $(PUSH),--push)

# --- environments ------------------------------------------------------------------------------

.PHONY: venv
venv: .venv/.installed .venv-gateway/.installed ## Make .venv and .venv-gateway for development

.venv/.installed: requirements/dev.txt
.venv-gateway/.installed: requirements/gateway-dev.txt
.venv-docs/.installed: requirements/docs.txt
.venv/.installed .venv-gateway/.installed .venv-docs/.installed:
	@echo "making $(@D) from $<"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "error: Python 3.11 or newer is needed; name one with PYTHON=…"; exit 1; }
	@$(PYTHON) -m venv --clear $(@D) \
		|| { echo "error: Python's venv is missing: install the Debian package python3-venv"; exit 1; }
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $< \
		|| { echo "error: packages could not be installed: is pip's package index reachable?"; exit 1; }
	@touch $@

.PHONY: lock
lock: ## Pin the newest versions that requirements/*.in allow (needs uv)
	@command -v uv >/dev/null || { echo "error: uv is missing: pip install uv"; exit 1; }
	@set -e; for name in dev gateway-dev docs build proxy hub gateway notebook kernel job; do \
		echo "requirements/$$name.txt"; \
		(cd requirements && uv pip compile --quiet --upgrade --python-version 3.11 \
			--generate-hashes --no-emit-index-url --no-header --no-annotate $$name.in -o $$name.txt); \
	done
	@command -v npm >/dev/null || { echo "error: npm is missing: install it for images/proxy"; exit 1; }
	@echo "images/proxy/package-lock.json"
	@cd images/proxy && rm -f package-lock.json \
		&& npm install --silent --package-lock-only --omit-lockfile-registry-resolved \
		&& $(PYTHON) -c 'import json, pathlib as p; f = p.Path("package-lock.json"); \
lock = json.loads(f.read_text()); [e.pop("funding", None) for e in lock["packages"].values()]; \
f.write_text(json.dumps(lock, indent=2) + "\n")'

# --- the demo ----------------------------------------------------------------------------------

ifeq ($(CLUSTER),existing)
ON_CLUSTER := REGISTRY=$(REGISTRY) TAG=$(TAG)
EXISTING := --existing
else ifeq ($(CLUSTER),local)
ON_CLUSTER := KUBECONFIG=$(KUBECONFIG_FILE) KUBECTL=$(CURDIR)/.cluster/kubectl REGISTRY=$(REGISTRY) TAG=$(TAG)
OUR_CLUSTER := cluster images
else
$(error CLUSTER=$(CLUSTER): must be local or existing)
endif

.PHONY: demo
demo: .venv/.installed $(OUR_CLUSTER) ## A hub with elastic kernels on that cluster, and a tour of it (CLUSTER=existing: yours)
	@$(ON_CLUSTER) .venv/bin/python -m demo tour $(EXISTING) --registry $(REGISTRY) --tag $(TAG)

.PHONY: demo-down
demo-down: ## End the demo, its cluster, and all that was in it (CLUSTER=existing: the demo only)
ifeq ($(CLUSTER),existing)
	@.venv/bin/python -m demo down --existing
else
	@$(LOCALCLUSTER) down --purge
endif

# Parts of the benchmarks, as in BENCH=burst; empty: all. These need no images:
BENCH ?=
WITHOUT_IMAGES := burst idle readopt

.PHONY: bench
bench: venv $(if $(filter-out $(WITHOUT_IMAGES),$(or $(BENCH),all)),$(OUR_CLUSTER),$(filter cluster,$(OUR_CLUSTER))) ## Speed, against floors of the same run; on a quiet machine (BENCH=burst)
	@$(ON_CLUSTER) .venv/bin/python -m benchmarks $(BENCH)

# The page and picture of the documentation are of the day that is made without options.
SIMULATED := $(if $(SEED)$(TRACE)$(SHORT),--plot simulation.svg,--plot docs/images/simulation.svg --page docs/simulation.md)

.PHONY: simulate
simulate: .venv/.installed ## A day of training under several rules, in virtual time (SEED=2, TRACE=day.csv, SHORT=32 GPUs)
	@.venv/bin/python -m simulator $(SIMULATED) $(if $(SEED),--seed $(SEED)) \
		$(if $(TRACE),--trace $(TRACE)) $(if $(SHORT),--gpus $(SHORT))

# --- documentation -----------------------------------------------------------------------------

SPHINX = .venv-docs/bin/python -m sphinx -W --keep-going -n -q -j auto -d docs/_build/doctrees

.PHONY: docs
docs: .venv-docs/.installed ## Build the documentation into docs/_build/html; any warning is an error
	@$(SPHINX) -b html docs docs/_build/html

.PHONY: docs-links
docs-links: .venv-docs/.installed ## Check the links that lead out of it (needs the network)
	@$(SPHINX) -b linkcheck docs docs/_build/links

# --- checks ------------------------------------------------------------------------------------

.PHONY: lint
lint: .venv/.installed ## ruff, mypy, import directions
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports

.PHONY: test-unit
test-unit: venv ## Tests that need no cluster, under a minute
	@.venv/bin/python -m tests.run --no-cluster unit gateway

.PHONY: test-histories
test-histories: .venv/.installed ## Culling over a hundred thousand random histories, minutes (HISTORIES=1000000)
	@HISTORIES=$(or $(HISTORIES),100000) .venv/bin/python -m pytest -q -s tests/unit/culling/test_histories.py

.PHONY: test-modes
test-modes: venv ## End-to-end tests in all modes: gateways shared and per user, namespaces too
	@ALL_MODES=1 LONG_TESTS=too .venv/bin/python -m tests.run end-to-end

.PHONY: test-long
test-long: venv ## The tests that `make test` leaves out as they take long
	@LONG_TESTS=only .venv/bin/python -m tests.run end-to-end

.PHONY: test-kueue
test-kueue: venv ## Kernels in the queues of a real Kueue, which is built from its Go module
	@KUEUE=$(or $(KUEUE),v0.13.2) .venv/bin/python -m tests.run kueue

.PHONY: test
test: lint docs venv ## All tests, on a cluster of their own that ends with them (SUITES="unit integration", CLUSTER=existing)
	@REGISTRY=$(REGISTRY) TAG=$(TAG) .venv/bin/python -m tests.run $(EXISTING) $(SUITES)

.PHONY: faults
faults: lint venv ## Faults while users work: SEED=7 N=200; the last line is JSON (a cluster of its own, an hour)
	@.venv/bin/python -m tests.faults $(if $(SEED),--seed $(SEED)) --faults $(or $(N),200)

.PHONY: attack
attack: .venv/.installed $(OUR_CLUSTER) ## What a hostile user can try, on the demo's hub; the last line is JSON
	@$(ON_CLUSTER) .venv/bin/python -m tests.attack --registry $(REGISTRY) --tag $(TAG)

.PHONY: quota-races
quota-races: venv ## Starts that race for a quota through two gateways: SEEDS=20; the last line is JSON
	@.venv/bin/python -m tests.quota_races --seeds $(or $(SEEDS),20) $(EXISTING)

.PHONY: test-prometheus
test-prometheus: .venv/.installed ## What the service learns of GPUs from a real Prometheus, which is built first (minutes, once)
	@.venv/bin/python -m pytest tests/prometheus

.PHONY: test-z2jh
test-z2jh: venv ## The end-to-end tests on a hub by Zero to JupyterHub's chart (Z2JH_CHART=folder or reference)
	@REGISTRY=$(REGISTRY) TAG=$(TAG) .venv/bin/python -m tests.run $(EXISTING) chart chart-end-to-end

.PHONY: test-hubs
test-hubs: .venv/.installed ## Unit tests on JupyterHub 5.5 and 6.1, with each Python from 3.11 to 3.13 found here
	@.venv/bin/python -m tests.hubs
