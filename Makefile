# make demo       train, certify, and print the paths of two reports
# make test       the whole test suite, on all cores
# make test-fast  the same without the tests marked slow: runs of the commands, forgeries, signals, trainings to an
#                 accuracy, processes, large networks, and simulations of error rates
# make lint       ruff and mypy
# make docs       the site of docs/ and of the docstrings, in docs/_build/html; a warning is an error
# make docs-links open every address that the pages name (needs a network)
# make audit      known weaknesses and licences of what is installed (needs a network; not part of the checks)
# make sbom       the installed packages as a list in the format CycloneDX, dist/sbom.json
# make denoiser   train the denoiser for photographs that is part of the package again (about an hour)
# make clean      remove the environment, runs/ and the site

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO := runs/demo

.DEFAULT_GOAL := help
.PHONY: help install demo test test-fast lint docs docs-links audit sbom denoiser clean

help:
	@sed -n '1,/^$$/s/^# //p' Makefile

install: $(STAMP)

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "make: $(PYTHON) is too old: Python 3.11 or newer is needed (make PYTHON=python3.12 ...)" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null \
		|| { echo "make: $(PYTHON) cannot create environments: apt-get install python3-venv" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,docs]'
	@touch $@

demo: $(STAMP)
	$(BIN)/python train.py fit --config configs/train/mnist5k_noise.yaml
	$(BIN)/python certify.py run --config configs/certify/mnist5k.yaml
	$(BIN)/python certify.py run --config configs/certify/photographs.yaml
	@printf '\nOpen in a browser:\n  %s\n  %s\n' runs/certify/mnist5k/report.html runs/certify/photographs/report.html

# A worker for each core. The order of the files is kept: the processes that some tests start are begun early.
PYTEST := $(BIN)/python -m pytest -n auto --dist loadgroup --no-loadscope-reorder

test: $(STAMP)
	$(PYTEST)

test-fast: $(STAMP)
	$(PYTEST) -m 'not slow'

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

SPHINX := $(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet

docs: $(STAMP)
	$(SPHINX) -b html docs docs/_build/html

docs-links: $(STAMP)
	$(SPHINX) -b linkcheck docs docs/_build/links

# Of their own, so that they are no part of what they list.
TOOLS := .venv-tools

$(TOOLS)/.installed:
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check \
		'pip-audit>=2.9' 'pip-licenses>=5' 'cyclonedx-bom>=7'
	@touch $@

audit: $(STAMP) $(TOOLS)/.installed
	$(TOOLS)/bin/python .ci/audit.py $(BIN)/python

sbom: $(STAMP) $(TOOLS)/.installed
	@mkdir -p dist
	$(TOOLS)/bin/cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml --mc-type library \
		--output-reproducible --output-file dist/sbom.json
	@printf '%s\n' dist/sbom.json

denoiser: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check mvtb-data==1.6.1
	$(BIN)/python -m benchmarks.denoiser collect data/denoiser
	$(BIN)/python train.py fit --config configs/train/denoiser.yaml --data.init_args.root data/denoiser
	$(BIN)/python -m benchmarks.denoiser export runs/denoiser/checkpoints/best.ckpt

clean:
	rm -rf $(VENV) $(TOOLS) runs docs/_build docs/api
