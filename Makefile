# Every target makes and fills .venv when it is missing, and is quick when it is not.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
EXTRAS := edge,plot,train,faiss,service,uvloop,postgres,onnx,http,parquet,langchain,llama-index,lancedb,qdrant,milvus,chroma,redis,ray,otel,docs,bench,dev,dev-servers,dev-frameworks,dev-web

.PHONY: demo demo-page test test-long test-slow test-frameworks check lock format house docs dist bench clean
.DEFAULT_GOAL := test

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# Two stamps: the demo needs neither torch nor the developer's tools.
$(VENV)/.demo: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[edge,plot,service]'
	@touch $@

$(VENV)/.dev: pyproject.toml requirements.lock | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[$(EXTRAS)]'
	@touch $@ $(VENV)/.demo

demo: $(VENV)/.demo  ## upgrade a live gallery of real drawings, killed once on the way
	$(BIN)/python -m demo

demo-page: $(VENV)/.demo  ## try a query on the demo's gallery, half of it upgraded
	OMP_NUM_THREADS=1 $(BIN)/python -m demo.page

# One thread of arithmetic in each of the two processes: more would only wait for each other.
test: $(VENV)/.dev  ## the default suite
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m 'not slow and not long'

test-long: $(VENV)/.dev  ## more stores, servers, browsers: CI runs them after the default suite
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m 'long and not slow'

test-slow: $(VENV)/.dev  ## everything, the long campaigns too
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

# LlamaIndex's PGVectorStore wants an older SQLAlchemy than the rest: it lives apart. Of pgai's worker,
# whose extra brings gigabytes to read documents with, this is what a vectorizer of texts needs.
$(VENV)-frameworks/.done:
	$(PYTHON) -m venv $(VENV)-frameworks
	$(VENV)-frameworks/bin/pip install --quiet --disable-pip-version-check 'llama-index-vector-stores-postgres==0.9.0' 'sqlalchemy==2.0.58' \
	  'pgai==0.12.1' 'ollama<0.6' pgvector tiktoken tokenizers ijson 'filetype==1.2.0'
	@touch $@

test-frameworks: $(VENV)/.dev $(VENV)-frameworks/.done  ## collections made by the frameworks' own classes
	HOTFILL_FRAMEWORKS_PYTHON=$(VENV)-frameworks/bin/python OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/scenarios/frameworks tests/examples/test_howto_frameworks.py

check: $(VENV)/.dev  ## formatting, lint, strict types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

lock: $(VENV)/.dev  ## write down the versions that are installed
	@(sed '/^[^#]/d' requirements.lock; $(BIN)/pip freeze --exclude-editable | sed 's/+cpu$$//') > requirements.new
	@mv requirements.new requirements.lock

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

house: $(VENV)/.dev  ## how the house stands, in figures
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.architecture.house

docs: $(VENV)/.dev  ## the pages as a site: build/site/index.html
	$(BIN)/mkdocs build --strict --quiet

dist: $(VENV)/.dev  ## a wheel and its source, checked as a package index would
	$(BIN)/pip install --quiet --disable-pip-version-check build twine
	$(BIN)/python -m build --outdir build/dist
	$(BIN)/twine check --strict build/dist/*

bench: $(VENV)/.dev  ## every benchmark, quick form; `make bench ARGS=--data=DIR` passes arguments on
	@for run in benchmarks/*/run.py; do echo "== $$run"; $(BIN)/python $$run --quick $(ARGS) || exit 1; done

clean:
	rm -rf $(VENV) $(VENV)-frameworks build demo-report .pytest_cache .mypy_cache .ruff_cache
