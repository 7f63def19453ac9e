# weightzoo: every entry point of the project. `make demo` and `make test` set up the environment on their own.

PRESET ?= small
MODELS ?= runs/models
# concepts beyond the catalogue, for the weight generator
MORE ?= 8000
VENV := .venv
PYTHON := $(VENV)/bin/python
WEIGHTZOO := $(VENV)/bin/weightzoo
STAMP := $(VENV)/.weightzoo-setup
BOOTSTRAP := $(shell command -v python3.11 || command -v python3)
PIP := $(PYTHON) -m pip --quiet --quiet --disable-pip-version-check  # errors only
PYTEST := OMP_NUM_THREADS=1 $(PYTHON) -m pytest -q
# one process for each core, but each may take 3 GB; one that is done takes tests of the others
WORKERS := -n logical --maxprocesses 4 --dist worksteal

export RAY_USAGE_STATS_ENABLED := 0

.PHONY: help setup setup-browser demo test test-fast test-browser lint types zoo prior programs models embed bench evaluate-full

help:  ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP)  ## create .venv and install weightzoo with everything it needs (once)
# torch first and by its exact version, so that no other package pulls in a different one.
$(STAMP): pyproject.toml constraints.txt
	@test -n "$(BOOTSTRAP)" && "$(BOOTSTRAP)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "make setup needs Python 3.11 or newer (python3.11 or python3 on the PATH)" >&2; exit 1; }
	@test -x $(PYTHON) && $(PYTHON) -m pip --version >/dev/null 2>&1 || "$(BOOTSTRAP)" -m venv --clear $(VENV)
	@echo "setting up $(VENV): about 2 GB of packages, two to three minutes the first time"
	@$(PIP) install -c constraints.txt torch==2.13.0
	@$(PIP) install -c constraints.txt -e ".[all]"
	@touch $(STAMP)

# Debian's own browser: the tests drive it by its path, and download none
setup-browser: $(STAMP)  ## install Debian's chromium for the page's tests; needs root
	@command -v chromium >/dev/null || { apt-get update -qq && apt-get install -y --no-install-recommends chromium; }

demo: $(STAMP)  ## the whole of weightzoo on real photographs, about 25 minutes (PRESET=tiny: under 6)
	@$(WEIGHTZOO) demo --preset $(PRESET)

test: lint types test-fast  ## lint, types, the default tests and the Ray tests
	@echo "ray suite"
	@$(PYTEST) -m "ray and not slow" || { code=$$?; test $$code -eq 5; }

test-fast: $(STAMP)  ## the default tests only
	@$(PYTEST) $(WORKERS)

test-browser: $(STAMP)  ## the page's tests in a real Chromium, after make setup-browser
	@$(PYTEST) -m browser

lint: $(STAMP)  ## ruff
	@$(PYTHON) -m ruff check .

types: $(STAMP)
	@$(PYTHON) -m mypy

zoo: $(STAMP)  ## build the embedded zoo anew (about an hour and a half, resumable)
	@$(WEIGHTZOO) build --preset small --run-dir runs/weightzoo-small

prior: $(STAMP)  ## learn the prior of solved generators anew (about twenty minutes, resumable)
	@$(PYTHON) -m pipeline.fleets.train_prior -o runs/prior

bench: $(STAMP)  ## the benchmarks
	@$(PYTHON) -m benchmarks

programs:
	@command -v convert >/dev/null && command -v ffmpeg >/dev/null \
	  || { echo "make models needs the programs convert and ffmpeg: apt-get install imagemagick ffmpeg" >&2; exit 1; }

# The embedded model is `generated`, then trained to read pairs four times, from the second time on with other programs'
# edits. What the first three give is kept a folder deeper, where `weightzoo evaluate --model $(MODELS)` does not look.
# When the embedded one was made, branches that all edits share were added in the third training, and the fourth saw the
# last 46 groups of edits alone; now the first begins with these branches, and the fourth sees all groups.
models: programs $(STAMP)  ## train all stages of the weight generator, and the controls (about nine hours, resumable)
	@$(WEIGHTZOO) train -o $(MODELS)/generated
	@$(WEIGHTZOO) train --denoiser unet1d -o $(MODELS)/generated_unet1d
	@$(WEIGHTZOO) train --pseudo-labels --more-concepts $(MORE) -o $(MODELS)/labelled
	@$(WEIGHTZOO) polish $(MODELS)/labelled --more-concepts $(MORE) -o $(MODELS)/polished
	@$(WEIGHTZOO) polish $(MODELS)/labelled --more-concepts $(MORE) --random-init -o $(MODELS)/control
	@$(WEIGHTZOO) polish $(MODELS)/generated --more-concepts $(MORE) --pairs --seconds 3000 -o $(MODELS)/first/paired
	@$(WEIGHTZOO) polish $(MODELS)/first/paired --more-concepts $(MORE) --pairs --programs --groups 49 --seconds 3900 \
	  -o $(MODELS)/second/paired
	@$(WEIGHTZOO) polish $(MODELS)/second/paired --more-concepts $(MORE) --pairs --programs --groups 64 --seconds 3900 \
	  -o $(MODELS)/third/paired
	@$(WEIGHTZOO) polish $(MODELS)/third/paired --more-concepts $(MORE) --pairs --programs --groups 110 --seconds 3300 \
	  -o $(MODELS)/paired

embed: models  ## make models, then put the one that reads pairs into the package
	@$(PYTHON) -c 'from weightgen.model_folder import copy_half; copy_half("$(MODELS)/paired", "weightgen/embedded/weightzoo-small")'

evaluate-full: models  ## make models, then the full evaluation grid (about four hours, resumable)
	@$(WEIGHTZOO) evaluate --grid full --choose-rates --model $(MODELS) -o runs/evaluate-full
