# Everything a reviewer or a researcher types. `make help` lists it.

PYTHON ?= python3
# Asked for PyTorch's CPU build only where the machine's own pip configuration does not offer it.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
# `make reproduce FROM=scratch` retrains every adapter; otherwise they are fetched and all that follows is re-run.
FROM ?= adapters

SYSTEM_PATH := $(PATH)
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PYTHONUNBUFFERED := 1
# Keep freed memory and back it with huge pages: speed alone, no result depends on it.
export GLIBC_TUNABLES := glibc.malloc.mmap_threshold=1073741824:glibc.malloc.trim_threshold=4294967296:glibc.malloc.hugetlb=1

# Threads are many or few as they are asked for: OpenMP giving fewer would cut the work unevenly (docs/reproducibility.md).
export OMP_DYNAMIC := false
unexport OMP_THREAD_LIMIT

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help setup reproduce verify record tables figures test lint prove survey bench lock clean

INSTALLED := .venv/.installed
PIP := .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps
EVALUATE := model evaluate-base evaluate-one evaluate-couple evaluate-after results tables figures

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' Makefile

setup: $(INSTALLED) ## make .venv with every package pinned and hashed; costs nothing until the lock changes

$(INSTALLED): requirements/bootstrap.txt requirements/cpu.txt
	@PATH="$(SYSTEM_PATH)" $(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' \
	  || { echo "error: $(PYTHON) is not Python 3.11 or 3.12; name one with make PYTHON=..." >&2; exit 2; }
	@echo "setup: installing about 150 packages into .venv, 2 minutes or so"
	@rm -rf .venv && PATH="$(SYSTEM_PATH)" $(PYTHON) -m venv .venv
	@$(PIP) --require-hashes -r requirements/bootstrap.txt 2> .venv/pip.log \
	  || $(PIP) --require-hashes -r requirements/bootstrap.txt --extra-index-url $(TORCH_INDEX) 2>> .venv/pip.log \
	  || { tail -n 3 .venv/pip.log >&2; \
	       echo "error: cannot install requirements/bootstrap.txt (torch 2.13.0+cpu, setuptools): neither pip's own" \
	         "configuration nor TORCH_INDEX=$(TORCH_INDEX) offers them" >&2; \
	       exit 2; }
	@$(PIP) --require-hashes --no-build-isolation --use-pep517 -r requirements/cpu.txt
	@$(PIP) --no-build-isolation --editable .
	@touch $@

reproduce: setup ## re-run the pipeline and compare every byte with dvc.lock (FROM=scratch retrains the adapters too)
	@case "$(FROM)" in scratch|adapters) ;; *) \
	  echo "error: FROM=$(FROM): allowed are scratch (retrain) and adapters (the default)" >&2; exit 2;; esac
	@git diff --quiet HEAD -- dvc.lock || echo "note: dvc.lock is not the committed one; comparing with it as it is"
	@mkdir -p run_info && cp dvc.lock run_info/recorded.lock
	@# the record stays what it was, whatever the run makes
	@trap 'cp run_info/recorded.lock dvc.lock' EXIT; start=$$SECONDS; \
	if [ "$(FROM)" = scratch ]; then dvc fetch > /dev/null; dvc repro --force; \
	else echo "fetching adapters and coupling data"; dvc pull > /dev/null; dvc repro --force --single-item $(EVALUATE); fi; \
	echo; echo "== compared with dvc.lock, after $$((SECONDS - start)) s =="; \
	code=0; python -m persona_collapse.verify --recorded run_info/recorded.lock || code=$$?; \
	echo; cat paper/tables/headline.md; echo "figures: figures/*.png, figures/*.pdf"; exit $$code

verify: setup ## compare what is on disk with dvc.lock, running nothing
	@python -m persona_collapse.verify

record: setup ## run what is out of date and make it the record: dvc.lock, the remote, the environment
	@cp dvc.lock run_info/recorded.lock; dvc repro && dvc push
	@cmp -s dvc.lock run_info/recorded.lock || python -m persona_collapse.environment

tables: setup ## rebuild paper/tables/ from eval_results/
	@dvc repro --single-item results tables && ls paper/tables/*

figures: setup ## redraw figures/ from eval_results/
	@dvc repro --single-item results figures && ls figures/*

test: setup ## run the tests
	@python -m pytest

lint: setup ## ruff and mypy
	@ruff check . && ruff format --check . && mypy src

prove: setup ## show that CPU, threads and environment change no byte (QUICK=1, CPUS="Haswell ...", RECORD=1)
	@python proof/prove.py $(if $(QUICK),--quick) $(if $(RECORD),--record) $(if $(filter-out undefined,$(origin CPUS)),--cpus "$(CPUS)")

survey: setup ## look for single operators whose bits depend on the threads or, emulated, on the CPU
	@python proof/survey.py compare

bench: setup ## measure speed against stock transformers, memory and sizes
	@python benchmarks/bench.py

lock: ## re-resolve requirements/*.txt from *.in (needs uv, and torch's CPU build where pip looks)
	uv pip compile requirements/cpu.in --universal --fork-strategy fewest --python-version 3.11 --generate-hashes \
	  --no-emit-package torch --no-emit-package setuptools --no-header --output-file requirements/cpu.txt
	grep -oE '^[a-zA-Z0-9._-]+==[^ ;]+' requirements/cpu.txt | grep -v '^numpy==' > .shared-unfinished-pins
	uv pip compile requirements/cpu-vllm.in --constraint .shared-unfinished-pins --python-platform x86_64-manylinux_2_28 \
	  --python-version 3.11 --generate-hashes $(foreach p,torch torchvision torchaudio torchcodec setuptools,--no-emit-package $(p)) \
	  --no-header --output-file requirements/cpu-vllm.txt

clean: ## remove what can be rebuilt, but not .venv
	rm -rf model adapters data/coupling eval_results/runs run_info/recorded.lock
