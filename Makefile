# Everything a reviewer or a researcher types. `make help` lists it.

# What may be given as NAME=value, taken as it stands, whatever signs are in it. A recipe reads it from its environment: make
# writes no value and no file's content into a command.
ASKED := PYTHON PROFILE FROM EVALUATE KEY CPUS QUICK RECORD GPU PARTS TARGET IMAGE ENGINE WHEELS TORCH_INDEX FOLDER MIB
ASKED += WORKERS GIB SCHEDULER CLUSTER REMOTE CERTIFICATE PLAIN SEEDS NSEEDS HOST TRACK LONG
# The Python to make the environment with; empty: python3, or else python3.12 or python3.11.
PYTHON :=
# The profile to plan, set up or reproduce; empty: the one that params.yaml is.
PROFILE :=
# `make reproduce FROM=scratch` retrains every adapter; otherwise they are fetched and all that follows is re-run.
FROM := adapters
# The DVC remote to publish to or to fetch from; empty: the folder of this repository.
REMOTE :=
KEY :=
PARTS :=
GPU := smollm2
TARGET := cpu
IMAGE :=
# Asked for PyTorch's CPU build only where the machine's own pip configuration does not offer it.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
$(foreach name,$(ASKED),$(if $(filter command,$(origin $(name))),$(eval override export $(name) := $$(value $(name)))))
export PYTHON PROFILE FROM REMOTE KEY PARTS GPU TARGET IMAGE TORCH_INDEX

# The door to the bundle's own environment, whichever is activated; and DVC through it, so that a kill loses nothing.
STAGE := bin/stage
DVC := $(STAGE) record.pipeline
# Many workers, if any are asked for (docs/scale.md).
SPREAD = $${WORKERS:+--workers "$$WORKERS"} $${GIB:+--gib "$$GIB"} $${SCHEDULER:+--scheduler "$$SCHEDULER" --remote "$${REMOTE-}"} \
  $${CLUSTER:+--cluster "$$CLUSTER" --remote "$${REMOTE-}"} $${CERTIFICATE:+--certificate "$$CERTIFICATE"} $${PLAIN:+--plain}
# What a few targets need beside cpu.txt, into its environment.
WITH := bin/python --lock cpu -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r

SHELL := /bin/sh
.SHELLFLAGS := -euc
# one after the other: DVC lets one of them work at a time
.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help setup wheels ready profile machine plan reproduce repro curves scheduler worker fetched verify record publish collect join tables
.PHONY: figures paper site page trace archive export test test-long test-commands test-vllm test-site test-publication test-remotes with-remotes lint
.PHONY: prove prove-workers prove-gpu survey bench rehearse lock clean
.PHONY: image image-sbom reproduce-image test-image

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' Makefile

setup: ## make the profile's environment, every package pinned and hashed; nothing to do until the lock changes
	@sh bin/setup "$$PROFILE"

wheels: ## gather every package that PROFILE needs into FOLDER; without a network, `make setup WHEELS=folder` installs them
	@sh bin/setup --lock cpu
	@sh bin/wheels "$$PROFILE" "$${FOLDER:-wheels}"

# what works on params.yaml as it is, and refuses to be told otherwise
ready:
	@sh bin/profile --is "$$PROFILE"
	@test "$${IN_IMAGE-}" || exec sh bin/setup --lock cpu; sh bin/setup

profile: ## make params.yaml the profile PROFILE; the results of the other one stay
	@sh bin/profile "$$PROFILE"

# before anything is installed
machine:
	@python=$$(sh bin/setup --python "$$PROFILE"); \
	profile=$${PROFILE:-$$(bin/profile)}; "$$python" -I src/persona_collapse/inputs/machine.py "profiles/$$profile.yaml"

plan: ## what each stage of PROFILE costs, and what is cached; or how long WORKERS="1 4" would take with NSEEDS="8 100"; runs nothing
	@test -z "$${SEEDS-}" || { echo "error: SEEDS names seeds, and the plan is of a number of them: allowed is NSEEDS=8" >&2; exit 2; }
	@test "$${IN_IMAGE-}" || sh bin/setup --lock cpu
	@profile=$${PROFILE:-$$(bin/profile)}; if [ "$${WORKERS-}$${NSEEDS-}" ]; then \
	  set -f; $(STAGE) workers.simulate --profile "profiles/$$profile.yaml" $${WORKERS:+--workers $$WORKERS} $${NSEEDS:+--nseeds $$NSEEDS}; \
	  else \
	  bin/python --lock cpu -m persona_collapse.planning.plan --profile "profiles/$$profile.yaml"; fi

# The Python that reaches REMOTE: folders and HTTP need no other than the rest, SSH, S3 and WebDAV one of their own.
define reaching
lock=cpu; test -z "$$REMOTE" || lock=$$($(STAGE) record.remotes -- "$$REMOTE"); \
	test "$${IN_IMAGE-}" || sh bin/setup --lock "$$lock"; bin/python --lock "$$lock" -m
endef

# Curves while stages run, if any are asked for (docs/archive.md).
define tracking
case "$${TRACK-}:$${IN_IMAGE-}" in :*) ;; trackio:) sh bin/setup --lock track;; \
	  *) echo "error: TRACK=$$TRACK: allowed is trackio, outside of a container" >&2; exit 2;; esac
endef

reproduce: machine ## re-run the pipeline and compare every byte with dvc.lock (FROM=scratch retrains, REMOTE=name, SEEDS="42 137")
	@case "$$FROM" in scratch|adapters) ;; *) \
	  echo "error: FROM=$$FROM: allowed are scratch (retrain) and adapters (the default)" >&2; exit 2;; esac
	@$(tracking)
	@test -z "$$PROFILE" || sh bin/profile "$$PROFILE"
	@sh bin/setup
	@test "$${IN_IMAGE-}" || sh bin/setup --lock cpu
	@test -z "$$REMOTE" || { $(reaching) persona_collapse.record.restore --remote="$$REMOTE"; }
	@set -f; set -- $(SPREAD); $(STAGE) record.reproduce --from "$$FROM" $${EVALUATE:+--stages $$EVALUATE} $${SEEDS:+--seeds $$SEEDS} \
	  $${1:+-- "$$@"}

repro: ready ## run what is out of date after a change, on WORKERS=N, SCHEDULER=address or CLUSTER=file (docs/scale.md)
	@$(tracking)
	@if [ "$${WORKERS-}$${SCHEDULER-}$${CLUSTER-}" ]; then $(STAGE) workers.run $(SPREAD); else $(DVC) repro; fi

curves: ## show what runs with TRACK=trackio have logged, in a browser on this machine
	@sh bin/setup --lock track
	@bin/python --lock track -m trackio.cli show --project persona-collapse

scheduler: ready ## start a Dask scheduler that workers of other machines join, encrypted (HOST=name of this machine)
	@$(STAGE) workers.scheduler $${HOST:+--host "$$HOST"}

worker: ready ## have this clone work for a scheduler (SCHEDULER=address CERTIFICATE=file)
	@$(STAGE) workers.worker --scheduler "$${SCHEDULER-}" $${CERTIFICATE:+--certificate "$$CERTIFICATE"} $${PLAIN:+--plain}

# What is recorded and not here is fetched from the remote, a folder of this repository or REMOTE; what is here stays as it is.
fetched: ready
	@$(reaching) persona_collapse.record.restore --remote="$$REMOTE"

verify: fetched ## compare what is on disk with dvc.lock, running nothing
	@$(STAGE) record.verify

record: ready ## run what is out of date and make it the record: dvc.lock, the remote, the environment
	@sh bin/setup
	@$(STAGE) record.update

publish: ready ## push what is recorded to a DVC remote and read every object back (REMOTE=name; docs/remotes.md)
	@$(reaching) persona_collapse.record.publish -- "$$REMOTE"

collect: ready ## pack what is recorded of the active profile (or of SEEDS), but for weights, into files of MIB MiB in FOLDER
	@set -f; $(STAGE) record.parts collect --folder "$${FOLDER:-part}" --mib "$${MIB:-16}" $${SEEDS:+--seeds $$SEEDS}

join: ready ## take in a part that was made elsewhere, the files of FOLDER; `make tables paper site` follow
	@$(STAGE) record.parts join "$${FOLDER:-part}"/*

# What follows from the counts, without a model: a stage is run if what it reads has changed.
COUNTED := results contrasts collapse shapes readings lengths claims metrics
tables: fetched ## rebuild paper/tables/ from eval_results/, and what README.md and docs/ quote of them
	@$(DVC) repro --single-item $(COUNTED) tables quoted
	@$(STAGE) report.documents
	@ls "paper/tables/$$(bin/profile)"/*

figures: fetched ## redraw figures/ from eval_results/
	@$(DVC) repro --single-item $(COUNTED) figures
	@ls "figures/$$(bin/profile)"/*

paper: fetched ## set paper/<profile>/report.pdf, every number of it read from the results
	@$(DVC) repro --single-item $(COUNTED) tables quoted figures paper
	@ls "paper/$$(bin/profile)/report.pdf"

page: site
site: fetched ## write paper/<profile>/report.html, one file with the tables, the claims and every completion
	@$(DVC) repro --single-item $(COUNTED) tables quoted figures page
	@ls "paper/$$(bin/profile)/report.html"

trace: fetched ## where a number of the paper comes from (KEY=headline.B.assistant; none lists all keys)
	@$(STAGE) record.provenance $${KEY:+"$$KEY"} || test $$? = 141 # its reader has read enough

archive: ready ## pack the commit and its record into one file in dist/, the same bytes each time
	@$(WITH) requirements/archive.txt
	@$(STAGE) publication.archive

export: fetched ## write a data set, model cards and inspect_ai logs into dist/ (PARTS="dataset cards logs")
	@set -f; for part in $${PARTS:-dataset cards logs}; do case "$$part" in \
	  dataset|cards) $(STAGE) "publication.$$part";; \
	  logs) sh bin/setup --lock inspect; bin/python --lock inspect -m persona_collapse.publication.logs;; \
	  *) echo "error: PARTS=$$part: allowed are dataset, cards and logs" >&2; exit 2;; esac; done

# A process for each core and one more, since some tests wait, with a thread each: two in each would wait for each other.
TESTS := PYTEST_XDIST_AUTO_NUM_WORKERS=$$(($$(nproc) + 1)) OMP_NUM_THREADS=1 bin/python --lock cpu -m pytest -n auto --dist loadfile --no-loadscope-reorder
test: ready ## run the tests, but for the long ones (LONG=1: with them) and those of the page in a browser
	@which="not browser"; test "$${LONG-}" || which="not long and $$which"; $(TESTS) -m "$$which"

test-long: ready ## run the long ones: whole pipelines, interruptions, and of remotes and archive what is installed
	@$(TESTS) -m long

test-commands: ready ## type every command that README.md and docs/ print, in a new clone; those left out are listed with the reason
	@COMMANDS=1 bin/python --lock cpu -m pytest -s tests/test_documents_commands.py

lint: ready ## ruff, mypy
	@bin/python --lock cpu -m ruff check . && bin/python --lock cpu -m ruff format --check . && bin/python --lock cpu -m mypy src

prove: ready ## show that CPU, threads and environment change no byte (QUICK=1, CPUS="Haswell ...", RECORD=1)
	@bin/python --lock cpu proof/prove.py $${QUICK:+--quick} $${RECORD:+--record} $${CPUS+--cpus} $${CPUS+"$$CPUS"}

prove-workers: ready ## a run on many workers gives the lock of one, and survives what it says it does (QUICK=1; root for its Slurm)
	@PROVE_WORKERS=1 bin/python --lock cpu -m pytest -rs tests/test_workers_faults.py $${QUICK:+-k slurm}

# On a GPU of so many GiB, or as a profile asks for, which is asked before anything is installed.
with_gpu = python=$$(sh bin/setup --python --lock cuda); "$$python" -I src/persona_collapse/inputs/machine.py $(1); \
	sh bin/setup --lock cuda; bin/python --lock cuda

prove-gpu: ## train and sample twice on the GPU and compare every byte (GPU=7b: speed and memory at the 7B model's shape)
	@case "$$GPU" in 7b) gib=40;; *) gib=4;; esac; $(call with_gpu,$$gib) proof/gpu.py --shape "$$GPU"

test-vllm: ready ## the tests that need vLLM, with its CPU build in .venv-cpu-vllm
	@sh bin/setup --lock cpu-vllm
	@VLLM_PYTHON="$$PWD/.venv-cpu-vllm/bin/python" bin/python --lock cpu -m pytest tests/test_vllm.py tests/test_qwen.py

test-site: ready ## the page in a real browser: Chromium, driven by requirements/browser.txt
	@$(WITH) requirements/browser.txt
	@CI_BROWSER=1 bin/python --lock cpu -m pytest -n auto -m browser tests/test_page.py

test-publication: ready ## the archive and what is exported, with the packages that they need beside cpu.txt (QUICK=1: no inspect_ai)
	@$(WITH) requirements/archive.txt
	@test "$${QUICK-}" || sh bin/setup --lock inspect
	@test "$${QUICK-}" || export CI_PUBLICATION=1; bin/python --lock cpu -m pytest tests/test_archive.py tests/test_export.py

test-remotes: with-remotes ## remotes over SSH, S3, WebDAV and HTTP, against servers on loopback; says which are not installed
	@bin/python --lock cpu -m pytest -rs tests/test_remotes.py

# what those tests need of Python; the servers themselves are Debian's
with-remotes: ready
	@sh bin/setup --lock remotes
	@bin/python --lock remotes -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/emulator.txt

survey: ready ## look for single operators whose bits depend on the threads or, emulated, on the CPU
	@bin/python --lock cpu proof/survey.py compare

bench: ready ## measure speed against stock transformers and TRL, memory and sizes (PARTS="generate train cost vllm matmul targets beside start")
	@set -f; bin/python benchmarks/bench.py $$PARTS

rehearse: ## the qwen7b profile in small, with random weights of the 7B model's shape, beside what `make plan` says (needs its GPU)
	@$(call with_gpu,profiles/qwen7b.yaml) proof/rehearse.py

image: ## build a container image (TARGET=cpu|cuda, IMAGE=name, WHEELS=folder for no network; docs/image.md)
	@image/build.sh "$$TARGET" "$${IMAGE:-persona-collapse:$$TARGET}"

image-sbom: ready ## list what the image holds and was made from, into dist/ (TARGET, IMAGE, ENGINE; CycloneDX)
	@$(WITH) requirements/archive.txt
	@image/sbom.sh "$$TARGET" "$${IMAGE:-persona-collapse:$$TARGET}"

reproduce-image: ## make reproduce inside the image (TARGET, IMAGE, FROM, PROFILE, EVALUATE, ENGINE=docker|podman)
	@case "$$TARGET" in cuda) profile=$${PROFILE:-qwen1_5b};; *) profile=$${PROFILE:-smollm2};; esac; \
	image/run.sh "$$TARGET" "$${IMAGE:-persona-collapse:$$TARGET}" make reproduce FROM="$$FROM" PROFILE="$$profile" \
	  $${EVALUATE:+EVALUATE="$$EVALUATE"}

test-image: ready ## build the image TARGET (cpu: twice, and compare) with buildah, use it (root on Debian or Ubuntu)
	@image/test.sh

lock: ## re-resolve requirements/*.txt from *.in (needs uv, and torch's CPU build where pip looks)
	uv pip compile requirements/cpu.in --universal --fork-strategy fewest --python-version 3.11 --generate-hashes \
	  --no-emit-package torch --no-emit-package setuptools --no-header --output-file requirements/cpu.txt
	grep -oE '^[a-zA-Z0-9._-]+==[^ ;]+' requirements/cpu.txt | grep -v '^numpy==' > .shared-unfinished-pins
	uv pip compile requirements/cpu-vllm.in --constraint .shared-unfinished-pins --python-platform x86_64-manylinux_2_28 \
	  --python-version 3.11 --generate-hashes $(foreach p,torch torchvision torchaudio torchcodec setuptools,--no-emit-package $(p)) \
	  --no-header --output-file requirements/cpu-vllm.txt
	grep -oE '^[a-zA-Z0-9._-]+==[^ ;]+' requirements/cpu.txt | grep -vE '^(numpy|cloudpickle|transformers|huggingface-hub|tokenizers|hf-xet)==' \
	  > .shared-unfinished-pins
	uv pip compile requirements/cuda.in --constraint .shared-unfinished-pins --python-platform x86_64-manylinux_2_28 \
	  --python-version 3.11 --generate-hashes --no-emit-package setuptools --no-header --output-file requirements/cuda.txt
	grep -oE '^[a-zA-Z0-9._-]+==[^ ;]+' requirements/cpu.txt > .shared-unfinished-pins
	uv pip compile requirements/archive.in --constraint .shared-unfinished-pins --python-platform x86_64-manylinux_2_28 \
	  --python-version 3.11 --generate-hashes --no-emit-package setuptools --no-header --output-file requirements/archive.txt \
	  $$(sed 's/==.*//; s/^/--no-emit-package /' .shared-unfinished-pins)
	uv pip compile requirements/inspect.in --python-platform x86_64-manylinux_2_28 --python-version 3.11 --generate-hashes \
	  --no-emit-package setuptools --no-header --output-file requirements/inspect.txt
	uv pip compile requirements/track.in --python-platform x86_64-manylinux_2_28 --python-version 3.11 --generate-hashes \
	  --no-emit-package setuptools --no-header --output-file requirements/track.txt
	grep -oE '^[a-zA-Z0-9._-]+==[^ ;]+' requirements/cpu.txt | grep -vE '^(numpy|python-dateutil)==' > .shared-unfinished-pins
	uv pip compile requirements/remotes.in --constraint .shared-unfinished-pins --universal --python-version 3.11 \
	  --generate-hashes --no-emit-package setuptools --no-header --output-file requirements/remotes.txt
	grep -oE '^[a-zA-Z0-9._-]+==[^ ;]+' requirements/remotes.txt > .shared-unfinished-pins
	uv pip compile requirements/emulator.in --constraint .shared-unfinished-pins --universal --python-version 3.11 \
	  --generate-hashes --no-emit-package setuptools --no-header --output-file requirements/emulator.txt

clean: ## remove what can be rebuilt, but not .venv
	rm -rf model adapters data/coupling data/fetched data/prepared eval_results/*/runs eval_results/*/training
