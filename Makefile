# Every command a contributor or a newcomer needs. `make help` lists them.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# what a model folder needs on a CPU; the weights for torch are twice as large
SHIPPED := encoder.xml encoder.bin linker.xml linker.bin tokenizer.json spanlake.json
FOLDS := ../shared/corpora/mtsamples_kiwi/folds.tsv
FROM = $(if $(CHECKPOINT),--set model=$(CHECKPOINT))
# more options of all the trainings, as SET="--set resume=false" where older models may be replaced
SET :=
FROM_LARGE = $(if $(TEACHER),--set model=$(TEACHER))
ONE_FOLD = $(BIN)/python jobs/crossvalidate.py --folds $(FOLDS) --only 0
TEACH = $(ONE_FOLD) --config conf/train_folds.yml --set max_packed_sentences=5 --set max_tokens_per_batch=272 --set output_dir
SOURCES := $(shell find lib -name '*.py')

.DEFAULT_GOAL := help
.PHONY: help setup setup-light model-small model-base demo test test-slow test-long check format docs dist smoke clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is needed: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# Stamps: an environment is set up again only when setup.py has changed.
$(VENV)/light: setup.py conf/spark/find-spark-home | $(BIN)/python
	@command -v java >/dev/null || { echo "Java 17 is needed (Spark runs on it)"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[spark,cpu]'
	cp conf/spark/find-spark-home $(BIN)/find-spark-home
	touch $@

$(VENV)/full: setup.py $(VENV)/light
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[spark,llama,notebook,dev]'
	touch $@

setup-light: $(VENV)/light ## Spark and Delta into .venv, no torch

setup: $(VENV)/full ## everything into .venv: torch, tests, tools

model-small: $(VENV)/full ## make the default model anew (CHECKPOINT=path of MiniLM, TEACHER=of MPNet) and put it into the package
	$(BIN)/python studies/pretrain_encoder.py --config conf/pretrain_minilm.yml $(FROM) $(SET)
	$(TEACH)=build/folds/notes --out build/folds/notes --set model=build/models/minilm-notes $(SET)
	$(TEACH)=build/folds/plain --out build/folds/plain $(FROM) $(SET)
	$(ONE_FOLD) --config conf/train_base.yml --out build/folds/mpnet $(FROM_LARGE) --set output_dir=build/folds/mpnet $(SET)
	$(BIN)/python jobs/distil.py --config conf/distil_small.yml $(SET)
	$(ONE_FOLD) --config conf/train_small.yml --out build/folds/small --set output_dir=build/folds/small $(SET)
	$(BIN)/python jobs/train.py --config conf/train_small.yml $(SET)
	mkdir -p lib/spanlake/weights/small
	cp $(addprefix build/models/small/,$(SHIPPED)) lib/spanlake/weights/small/

model-base: $(VENV)/full ## train the larger model (CHECKPOINT=path of the encoder) into build/models/base
	$(BIN)/python jobs/train.py --config conf/train_base.yml $(FROM) $(SET)

demo: $(VENV)/light ## the main job on the bundled notes: tables in build/demo
	$(BIN)/spark-submit jobs/demo.py

test: $(VENV)/full ## all tests but the slow ones
	$(BIN)/python -m pytest

test-slow: $(VENV)/full ## the slow tests
	$(BIN)/python -m pytest -m 'slow and not long'

test-long: $(VENV)/full ## tests that CI does not run: a kill at every commit
	$(BIN)/python -m pytest -m long

check: $(VENV)/full ## lint, format, types, import layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/full ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/full ## write the reference pages that are made from the code
	$(BIN)/python docs/generate.py

dist: dist/spanlake.zip ## the wheel, and the zip for --py-files, from the same tree

dist/spanlake.zip: $(VENV)/full setup.py $(SOURCES)
	rm -rf dist build/lib build/bdist.*
	$(BIN)/python -m build --quiet --wheel --outdir dist .
	cp dist/spanlake-*.whl $@

smoke: dist/spanlake.zip ## what we ship works: the wheel outside the checkout, a job with the zip
	tests/smoke.sh

clean: ## remove what was built; the environment stays
	rm -rf build dist .pytest_cache .ruff_cache .mypy_cache spark-warehouse
