# Everything runs in .venv, which `make setup` makes once; the other targets call it first.

PYTHON ?= python3
# An extra package index to take torch's build from (a CPU or a CUDA one); empty: pip's own.
TORCH_INDEX ?=
WORKERS ?= 2

VENV := .venv
VENV_PYTHON := $(VENV)/bin/python
STAMP := $(VENV)/setup-done
PEERS_STAMP := $(VENV)/peers-done

PYTHON_RANGE = $(shell sed -n 's/^requires-python = "\(.*\)"/\1/p' pyproject.toml)
PYTHON_IN_RANGE = import re, sys; \
	low, high = [(3, int(minor)) for minor in re.findall(r"3\.(\d+)", "$(PYTHON_RANGE)")]; \
	sys.exit(not low <= sys.version_info[:2] < high)

.DEFAULT_GOAL := help
.PHONY: help setup train test test-all lint format settings bench evidence-page constraints docker clean

help: ## list the targets (this list)
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' Makefile

setup: $(STAMP) ## make .venv and install into it, once (PYTHON=python3.11, TORCH_INDEX=URL)

$(STAMP): pyproject.toml constraints.txt
	@rm -f $@
	@$(PYTHON) -c '$(PYTHON_IN_RANGE)' 2>/dev/null || { echo \
		"error: PYTHON=$(PYTHON) is not a Python $(PYTHON_RANGE); name one: make setup PYTHON=python3.11" \
		>&2; exit 2; }
	@PYTHON="$(PYTHON)" scripts/system_packages.sh
	$(PYTHON) -m venv $(VENV)
	$(VENV_PYTHON) -m pip install --disable-pip-version-check \
		$(if $(TORCH_INDEX),--extra-index-url "$(TORCH_INDEX)") -c constraints.txt -e '.[dev]'
	@touch $@

train: setup ## train; settings in ARGS="algo=td3 bn=carebn", without them the quick start
	@exec $(VENV_PYTHON) -m snnrl.train $(or $(ARGS),experiment=quickstart)

test: setup ## run the quick tests (ARGS="-k name" goes to pytest)
	OMP_NUM_THREADS=1 $(VENV_PYTHON) -m pytest -n $(WORKERS) --dist worksteal -m "not slow" $(ARGS)

test-all: setup ## run all tests, the slow ones too
	OMP_NUM_THREADS=1 $(VENV_PYTHON) -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

lint: setup ## check style, format and types
	$(VENV_PYTHON) -m ruff check .
	$(VENV_PYTHON) -m ruff format --check .
	$(VENV_PYTHON) -m mypy snnrl

format: setup ## mend style and format where ruff can
	$(VENV_PYTHON) -m ruff check --fix .
	$(VENV_PYTHON) -m ruff format .

settings: setup ## write what components say of their parameters into settings.json
	$(VENV_PYTHON) -m snnrl.experiment.config.describe

bench: $(PEERS_STAMP) ## measure speed, after equality (ARGS="--only operators,steps --quick")
	@exec $(VENV_PYTHON) -m scripts.bench $(ARGS)

# Without them the benchmark lists them as not installed; the next call tries again.
$(PEERS_STAMP): scripts/bench/requirements.txt | setup
	@if $(VENV_PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps -r $<; \
		then touch $@; else echo "bench: could not install the peers" >&2; fi

evidence-page: setup ## make table, curves and page of results/paper (scripts/evidence.sh collect)
	$(VENV_PYTHON) -m scripts.evidence page

constraints: ## pin the newest versions that pyproject.toml allows (torch stays as pinned)
	PYTHON="$(PYTHON)" TORCH_INDEX="$(TORCH_INDEX)" scripts/refresh_constraints.sh

docker: ## build the image snnrl (TORCH_INDEX=URL chooses torch's build)
	docker build --build-arg TORCH_INDEX="$(TORCH_INDEX)" -t snnrl .

clean: ## remove .venv, builds and caches; results stay
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
