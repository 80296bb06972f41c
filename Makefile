# Two commands are enough on a fresh machine with Python 3.11 or newer:  make serve  and  make test
# `make` alone lists the others. Variables go on the command line: make serve PHOTOS=~/Pictures PORT=9000

PYTHON  ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)
VENV    ?= .venv
HOST    ?= 127.0.0.1
PORT    ?= 8000
PHOTOS  ?=
# faiss-gpu exists only for 64-bit Linux. Other systems search on the CPU, and so does a machine whose driver does not answer.
EXTRA   ?= $(shell [ "$$(uname -sm)" = "Linux x86_64" ] && nvidia-smi -L >/dev/null 2>&1 && echo gpu || echo cpu)
ENGINE  ?= $(shell command -v docker || command -v podman || command -v buildah)
IMAGE   ?= sketchseek:$(EXTRA)
# Tests run in so many processes, two more than there are cores and at most four, since they often wait; 0 takes one that a debugger
# can stop.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print(min(4, 2 + (os.cpu_count() or 1)))')

# Tables of `make bench`; none named means all. SIZE is quick or full. DATA and CATEGORIES add what needs real photos.
BENCH      ?=
SIZE       ?= full
OUT        ?= benchmarks/results/raw
DATA       ?=
CATEGORIES ?=

SAMPLE  := .sample
BIN     := $(VENV)/bin
PIP     := $(BIN)/python -m pip install --constraint constraints.txt
OTHER   := $(if $(filter gpu,$(EXTRA)),cpu,gpu)
LISTEN  := --host "$(HOST)" --port "$(PORT)" --log-format console
PINS    := pyproject.toml constraints.txt
RUN     := $(VENV)/.for-serving-on-$(EXTRA)
DEV     := $(VENV)/.for-testing-on-$(EXTRA)
AUDIT   := $(VENV)/audit
# Each test process gets one thread of torch, so that they do not compete for cores. tests/conftest.py orders the files.
PYTEST   = $(if $(filter-out 0,$(WORKERS)),OMP_NUM_THREADS=1 )$(BIN)/python -m pytest --numprocesses=$(WORKERS) --dist=loadfile --no-loadscope-reorder
comma   := ,
# Some shells leave a tilde after "PHOTOS=" as it is.
FOLDER  := $(patsubst ~/%,$(HOME)/%,$(PHOTOS))
GALLERY ?= $(if $(PHOTOS),gallery/$(shell printf '%s' "$(FOLDER)" | cksum | cut -d' ' -f1),$(SAMPLE)/gallery)

export OMP_WAIT_POLICY ?= PASSIVE
export PIP_DISABLE_PIP_VERSION_CHECK ?= 1
# Without bytecode every process compiles torch and all the rest again, which takes it ten seconds and more.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help serve sample test lint types tests long format bench gpu fuzz fuzz-inputs soak milvus ray scale image sbom licences audit clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' Makefile

serve: $(RUN) ## serve the sample gallery, or PHOTOS=FOLDER, at http://127.0.0.1:8000 (PORT=...)
ifeq ($(strip $(PHOTOS)),)
	@$(MAKE) --no-print-directory sample
	@exec $(BIN)/sketchseek serve --gallery "$(GALLERY)" --watch "$(SAMPLE)/photos" $(LISTEN)
else
	@exec $(BIN)/sketchseek serve --gallery "$(GALLERY)" --watch "$(FOLDER)" $(LISTEN)
endif

sample: $(RUN) ## fetch the pictures of the sample gallery
	@[ -f $(SAMPLE)/sample.json ] || command -v npm >/dev/null || $(PIP) --quiet --editable ".[sample]"
	@$(BIN)/sketchseek sample $(SAMPLE) >/dev/null

# Types are checked beside the tests, which leave a core idle now and then.
test: lint ## lint, types and tests, what every change has to pass
	@$(MAKE) --no-print-directory --jobs=2 types tests

lint: $(DEV) ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(DEV) ## mypy --strict
	$(BIN)/mypy

tests: $(DEV) ## pytest, without the slow tests; ARGS="-k name" runs some
	$(PYTEST) $(ARGS)

long: $(DEV) ## the slow tests, which make test leaves out: three minutes; ARGS="-k name"
	$(PYTEST) -m slow $(ARGS)

format: $(DEV) ## rewrite the code in our format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(DEV) ## measure this machine: every table, with JSON and plots; SIZE=quick, BENCH="recall build" picks some
	@$(BIN)/python benchmarks/all.py $(BENCH) --size $(SIZE) --out "$(OUT)" \
		$(if $(DATA),--data "$(DATA)") $(if $(CATEGORIES),--categories "$(CATEGORIES)") $(ARGS)

gpu: $(DEV) ## on a machine with a GPU: tests/gpu and its benchmarks in eight minutes; ARGS="--json FILE"
	@$(BIN)/python -m benchmarks.gpu $(ARGS)

fuzz: $(DEV) ## thousands of requests, right and wrong, against the live service (schemathesis); ARGS="--examples 50"
	$(BIN)/python -m tests.app.http.fuzz $(ARGS)

fuzz-inputs: $(DEV) ## ten minutes of damaged uploads, strokes, galleries and checkpoints each; ARGS="--seconds 60 strokes"
	@$(BIN)/python -c "import atheris" 2>/dev/null || $(PIP) --quiet --editable ".[fuzz]"
	$(BIN)/python -m tests.fuzz $(ARGS)

soak: $(DEV) ## twenty minutes of load and mishaps against the live service; ARGS="--minutes 2"
	$(BIN)/python -m tests.fault.soak $(ARGS)

milvus: $(DEV) ## recall on a real Milvus server, which is also killed: three minutes
	$(BIN)/python -m pytest -m "" tests/index_builder/index/test_milvus_server.py tests/index_builder/index/milvus_long.py $(ARGS)

ray: $(DEV) ## a build on two nodes of a Ray cluster, one of which is killed: three minutes
	$(BIN)/python -m pytest -m "" $(wildcard tests/index_builder/distributed/test_*.py) tests/index_builder/distributed/cluster_long.py $(ARGS)

scale: $(DEV) ## several machines played by processes: bucket, Ray, Milvus, replicas, kills: ten minutes; ARGS="--photos 120 --kills 3"
	$(BIN)/python -m tests.scale.whole $(ARGS)

image: ## build the container image with docker, podman or buildah (EXTRA=cpu or gpu)
	@[ -n "$(ENGINE)" ] || { echo "Building an image needs docker, podman or buildah." >&2; exit 1; }
	$(ENGINE) build --build-arg EXTRA=$(EXTRA) --tag $(IMAGE) .

sbom: $(RUN) $(AUDIT)/.installed ## write sbom.cdx.json: every installed package (CycloneDX)
	$(AUDIT)/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --of JSON -o sbom.cdx.json $(BIN)/python

licences: $(RUN) $(AUDIT)/.installed ## list the licence of every installed package
	$(AUDIT)/bin/pip-licenses --python $(BIN)/python --from mixed --order license --format markdown

audit: $(RUN) $(AUDIT)/.installed ## look for known vulnerabilities (asks a public advisory database)
	$(AUDIT)/bin/pip-audit --strict --requirement constraints.txt --no-deps --disable-pip

clean: ## remove what make made here: environment, sample gallery, caches
	rm -rf $(VENV) $(SAMPLE) build .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info sbom.cdx.json

$(BIN)/python:
	@[ -n "$(PYTHON)" ] || { echo "Python 3.11 or newer is needed. Name it: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# faiss-cpu and faiss-gpu own the same folder, so the other one has to go first. The first import writes bytecode: a tenth of
# what pip would compile.
define install
	@$(BIN)/python -m pip uninstall --quiet --yes faiss-$(OTHER) 2>/dev/null
	@rm -f $(VENV)/.for-*-on-$(OTHER)
	$(PIP) --no-compile --editable ".[$(1)]"
endef

$(RUN): $(PINS) | $(BIN)/python
	$(call install,$(EXTRA)$(comma)heic$(comma)jxl$(comma)raw$(comma)text$(comma)object-storage)
	@touch $@

$(DEV): $(PINS) | $(BIN)/python
	$(call install,$(EXTRA)$(comma)heic$(comma)jxl$(comma)raw$(comma)text$(comma)object-storage$(comma)clip$(comma)train$(comma)otel$(comma)milvus$(comma)dev)
	@touch $(RUN) $@

$(AUDIT)/.installed: $(PINS) | $(BIN)/python
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip install --quiet --constraint constraints.txt cyclonedx-bom pip-audit pip-licenses
	@touch $@
