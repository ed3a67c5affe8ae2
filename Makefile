# Everything a reviewer or a researcher types. `make help` lists it.

PYTHON ?= python3
# The profile to work with, by default the one that params.yaml is.
PROFILE ?= $(shell sed -n 's/^profile: *//p' params.yaml)
# Asked for PyTorch's CPU build only where the machine's own pip configuration does not offer it.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
# `make reproduce FROM=scratch` retrains every adapter; otherwise they are fetched and all that follows is re-run.
FROM ?= adapters

# What a profile needs installed: a lock in requirements/, in an environment of its own. cuda is CUDA 13 with vLLM.
LOCK_qwen7b := cuda
LOCK := $(or $(LOCK_$(PROFILE)),cpu)
VENV := .venv$(if $(filter-out cpu,$(LOCK)),-$(LOCK))
BOOTSTRAP := $(if $(filter cuda,$(LOCK)),bootstrap-cuda,bootstrap)

SYSTEM_PATH := $(PATH)
# Inside one of the images, IN_IMAGE names the locks it was made from, and its environment is on the path already.
export PATH := $(if $(IN_IMAGE),,$(CURDIR)/$(VENV)/bin:)$(PATH)
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
.PHONY: help setup profile machine plan reproduce verify record tables figures paper site trace
.PHONY: test test-vllm test-site lint prove prove-gpu prove-gpu-here survey bench lock clean
.PHONY: image image-setup reproduce-image test-image

INSTALLED := $(VENV)/.installed
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps
EVALUATE := model evaluate-base evaluate-one evaluate-couple evaluate-after likelihood-base likelihood-one likelihood-couple likelihood-after \
  results claims lengths tables numbers figures paper site

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' Makefile

setup: $(if $(IN_IMAGE),image-setup,$(INSTALLED)) ## make the profile's environment, every package pinned and hashed; nothing to do until the lock changes

# torch's CPU build comes from where pip looks, or from PyTorch's own index; with CUDA it is in the lock.
$(INSTALLED): requirements/$(BOOTSTRAP).txt requirements/$(LOCK).txt
	@PATH="$(SYSTEM_PATH)" $(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' \
	  || { echo "error: $(PYTHON) is not Python 3.11 or 3.12; name one with make PYTHON=..." >&2; exit 2; }
	@echo "setup: installing requirements/$(LOCK).txt into $(VENV), 2 minutes or so"
	@rm -rf $(VENV) && PATH="$(SYSTEM_PATH)" $(PYTHON) -m venv $(VENV)
	@$(PIP) --require-hashes -r requirements/$(BOOTSTRAP).txt 2> $(VENV)/pip.log \
	  || $(PIP) --require-hashes -r requirements/$(BOOTSTRAP).txt --extra-index-url $(TORCH_INDEX) 2>> $(VENV)/pip.log \
	  || { tail -n 3 $(VENV)/pip.log >&2; \
	       echo "error: cannot install requirements/$(BOOTSTRAP).txt (setuptools, and torch 2.13.0+cpu for a CPU): neither" \
	         "pip's own configuration nor TORCH_INDEX=$(TORCH_INDEX) offers them" >&2; \
	       exit 2; }
	@$(PIP) --require-hashes --no-build-isolation --use-pep517 -r requirements/$(LOCK).txt
	@$(PIP) --no-build-isolation --editable .
	@touch $@

image-setup:
	@grep -q ' requirements/$(LOCK).txt$$' $(IN_IMAGE) \
	  || { echo "error: PROFILE=$(PROFILE) needs the image made with TARGET=$(LOCK), and this is another" >&2; exit 2; }
	@sha256sum --check --status $(IN_IMAGE) \
	  || { echo "error: this image was made from other requirements/ than those mounted: make image" >&2; exit 2; }

profile: ## make params.yaml the profile PROFILE; the results of the other one stay
	@test -f "profiles/$(PROFILE).yaml" \
	  || { echo "error: PROFILE=$(PROFILE): allowed are $(basename $(notdir $(wildcard profiles/*.yaml)))" >&2; exit 2; }
	@active=$$(sed -n 's/^profile: *//p' params.yaml); \
	if [ "$$active" != "$(PROFILE)" ]; then \
	  cmp -s params.yaml "profiles/$$active.yaml" \
	    || { echo "error: params.yaml is not profiles/$$active.yaml: keep your changes elsewhere before you switch" >&2; exit 2; }; \
	  cp "profiles/$(PROFILE).yaml" params.yaml; echo "params.yaml is now the profile $(PROFILE)"; \
	fi

# before anything is installed
machine:
	@test ! -f "profiles/$(PROFILE).yaml" || $(PYTHON) -I src/persona_collapse/inputs/machine.py "profiles/$(PROFILE).yaml"

plan: ## what each stage of PROFILE costs in time, memory and disk, and what is cached; runs nothing
	@test -n "$(IN_IMAGE)" || $(MAKE) --no-print-directory setup PROFILE=smollm2
	@$(if $(IN_IMAGE),,.venv/bin/)python -m persona_collapse.planning.plan --profile "profiles/$(PROFILE).yaml"

reproduce: machine profile setup ## re-run the pipeline and compare every byte with dvc.lock (FROM=scratch retrains the adapters too)
	@case "$(FROM)" in scratch|adapters) ;; *) \
	  echo "error: FROM=$(FROM): allowed are scratch (retrain) and adapters (the default)" >&2; exit 2;; esac
	@python -m persona_collapse.planning.preflight
	@git diff --quiet HEAD -- dvc.lock || echo "note: dvc.lock is not the committed one; comparing with it as it is"
	@mkdir -p run_info && cp dvc.lock run_info/recorded.lock
	@# the record stays what it was, whatever the run makes; a profile without one gets its first
	@recorded=$$(grep -c "^  results@$(PROFILE):" dvc.lock || true); start=$$SECONDS; \
	if [ "$$recorded" = 0 ]; then \
	  echo "$(PROFILE) has no record in dvc.lock yet: everything runs, and dvc.lock will hold what comes out"; \
	  dvc repro; cat paper/tables/$(PROFILE)/headline.md; exit; \
	fi; \
	trap 'cp run_info/recorded.lock dvc.lock' EXIT; \
	if [ "$(FROM)" = scratch ]; then dvc fetch > /dev/null; dvc repro --force; \
	else echo "fetching adapters and coupling data"; dvc pull > /dev/null; dvc repro --force --single-item $(EVALUATE); fi; \
	echo; echo "== compared with dvc.lock, after $$((SECONDS - start)) s =="; \
	code=0; python -m persona_collapse.record.verify --recorded run_info/recorded.lock || code=$$?; \
	echo; cat paper/tables/$(PROFILE)/headline.md; echo "figures: figures/$(PROFILE)/"; exit $$code

verify: setup ## compare what is on disk with dvc.lock, running nothing
	@python -m persona_collapse.record.verify

record: setup ## run what is out of date and make it the record: dvc.lock, the remote, the environment
	@cp dvc.lock run_info/recorded.lock; dvc repro && dvc push
	@cmp -s dvc.lock run_info/recorded.lock || python -m persona_collapse.record.environment

# What follows from the counts, without a model: a stage is run if what it reads has changed. Where one ends with exit
# code 2 it has said why in one line, and DVC's second line is left out.
COUNTED := results claims lengths
OR_ONE_LINE := 2> >(grep -v '^ERROR: failed to reproduce .* exited with 2$$' >&2) || exit 2
tables: setup ## rebuild paper/tables/ from eval_results/, and what README.md and docs/ quote of them
	@dvc repro --single-item $(COUNTED) tables numbers $(OR_ONE_LINE); \
	python -m persona_collapse.report.documents && ls paper/tables/$(PROFILE)/*

figures: setup ## redraw figures/ from eval_results/
	@dvc repro --single-item results lengths figures $(OR_ONE_LINE); \
	ls figures/$(PROFILE)/*

paper: setup ## set paper/<profile>/report.pdf, every number of it read from the results
	@dvc repro --single-item $(COUNTED) tables numbers figures paper $(OR_ONE_LINE); \
	ls paper/$(PROFILE)/report.pdf

site: setup ## write paper/<profile>/report.html, one file with the tables, the claims and every completion
	@dvc repro --single-item $(COUNTED) tables numbers figures site $(OR_ONE_LINE); \
	ls paper/$(PROFILE)/report.html

trace: setup ## where a number of the paper comes from (KEY=headline.B.assistant; none lists all keys)
	@python -m persona_collapse.record.provenance $(KEY)

test: setup ## run the tests
	@python -m pytest

lint: setup ## ruff and mypy
	@ruff check . && ruff format --check . && mypy src

prove: setup ## show that CPU, threads and environment change no byte (QUICK=1, CPUS="Haswell ...", RECORD=1)
	@python proof/prove.py $(if $(QUICK),--quick) $(if $(RECORD),--record) $(if $(filter-out undefined,$(origin CPUS)),--cpus "$(CPUS)")

GPU ?= smollm2
prove-gpu: ## train and sample twice on the GPU and compare every byte (GPU=7b: speed and memory at the 7B model's shape)
	@$(PYTHON) -I src/persona_collapse/inputs/machine.py $(if $(filter 7b,$(GPU)),40,4)
	@$(MAKE) --no-print-directory LOCK=cuda prove-gpu-here

prove-gpu-here: setup
	@python proof/gpu.py --shape $(GPU)

test-vllm: setup ## the tests that need vLLM, with its CPU build in .venv-cpu-vllm
	@$(MAKE) --no-print-directory setup LOCK=cpu-vllm
	@VLLM_PYTHON="$(CURDIR)/.venv-cpu-vllm/bin/python" python -m pytest tests/test_vllm.py tests/test_qwen.py

test-site: setup ## the page in a real browser: Chromium, driven by requirements/browser.txt
	@python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/browser.txt
	@CI_BROWSER=1 python -m pytest tests/test_site.py

survey: setup ## look for single operators whose bits depend on the threads or, emulated, on the CPU
	@python proof/survey.py compare

bench: setup ## measure speed against stock transformers and TRL, memory and sizes (PARTS="generate train cost vllm matmul targets")
	@python benchmarks/bench.py $(PARTS)

TARGET ?= cpu
IMAGE ?= persona-collapse:$(TARGET)

image: ## build a container image (TARGET=cpu|cuda, IMAGE=name, WHEELS=folder for no network; docs/image.md)
	@PATH="$(SYSTEM_PATH)" TORCH_INDEX="$(TORCH_INDEX)" WHEELS="$(WHEELS)" image/build.sh "$(TARGET)" "$(IMAGE)"

reproduce-image: ## make reproduce inside the image (TARGET, IMAGE, FROM)
	@PATH="$(SYSTEM_PATH)" image/run.sh "$(TARGET)" "$(IMAGE)" make reproduce FROM="$(FROM)" PROFILE="$(PROFILE_$(TARGET))"

PROFILE_cpu := smollm2
PROFILE_cuda := qwen7b

test-image: setup ## build the cpu image twice with buildah, compare the two, run tests inside (root on Debian or Ubuntu)
	@image/test.sh

lock: ## re-resolve requirements/*.txt from *.in (needs uv, and torch's CPU build where pip looks)
	uv pip compile requirements/cpu.in --universal --fork-strategy fewest --python-version 3.11 --generate-hashes \
	  --no-emit-package torch --no-emit-package setuptools --no-header --output-file requirements/cpu.txt
	grep -oE '^[a-zA-Z0-9._-]+==[^ ;]+' requirements/cpu.txt | grep -v '^numpy==' > .shared-unfinished-pins
	uv pip compile requirements/cpu-vllm.in --constraint .shared-unfinished-pins --python-platform x86_64-manylinux_2_28 \
	  --python-version 3.11 --generate-hashes $(foreach p,torch torchvision torchaudio torchcodec setuptools,--no-emit-package $(p)) \
	  --no-header --output-file requirements/cpu-vllm.txt

clean: ## remove what can be rebuilt, but not .venv
	rm -rf model adapters data/coupling data/fetched eval_results/*/runs run_info/recorded.lock
