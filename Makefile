# `make demo` and `make test` need nothing but make and Python >= 3.11; both work in virtual environments of their own.
# Another Python: `make demo PYTHON=python3.12`.
PYTHON ?= python3
# An environment is installed again only if what it is made from has changed by content.
ENVIRONMENT = $(PYTHON) .ci/environment.py
# Strict: a link that leads nowhere is an error. Not with --quiet, which also stops counting them.
SITE = NO_MKDOCS_2_WARNING=1 .venv-lint/bin/mkdocs build --strict
PIP = -m pip install --quiet --disable-pip-version-check
PYTEST = -m pytest -q
PASSED = .venv-unit/passed.txt

.PHONY: python demo serve test check announce test-unit test-engines test-cpu lint site examples schemas bench clean cell cell-install cell-conformance cell-demo test-cell

demo: .venv/installed  ## deploy the packaged manifest on real digits
	@.venv/bin/aegisrt run

serve: python  ## serve the packaged manifest over HTTP and gRPC
	@$(ENVIRONMENT) .venv-serve onnx,images,serve
	@.venv-serve/bin/aegisrt serve

test: announce lint test-unit test-engines  ## the whole test command: each test once

announce:
	@echo 'make test: about 17 minutes on two idle cores. The first run installs about 2.6 GB into .venv-lint, .venv-unit and'
	@echo '.venv-cpu, which takes 2 to 5 minutes more. `make check` is the short form: lint, and the tests of what changed.'

check: lint .venv-unit/installed  ## lint, and the tests of what changed since the main branch, without an engine
	files="$$(.venv-unit/bin/python -m tests.structure.changed)"; \
	test -z "$$files" || .venv-unit/bin/python $(PYTEST) -n 2 -m 'not slow' $$files

python:
	@$(PYTHON) -c 'import sys; sys.exit("AegisRT needs Python 3.11 or later, this is %d.%d; name another one: make PYTHON=python3.12" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'

.venv/installed: python
	@$(ENVIRONMENT) .venv onnx,images

# Everything that runs on a CPU.
.venv-cpu/installed: python
	@$(ENVIRONMENT) .venv-cpu onnx,tvm,tensorrt-rtx,images,metrics,bench,plot,test,models,examples,lint,release

# No engine at all.
.venv-unit/installed: python
	@$(ENVIRONMENT) .venv-unit test

# The checkers of the code and of the documentation, and what mypy reads of pytest and of prometheus-client; no engine.
.venv-lint/installed: python
	@$(ENVIRONMENT) .venv-lint lint,docs,test,metrics

# The engines of docs/examples, and no other.
.venv-examples/installed: python
	@$(ENVIRONMENT) .venv-examples examples,test

examples: .venv-examples/installed  ## the backends of docs/examples: their tests, and the conformance kit
	.venv-examples/bin/python $(PYTEST) tests/docs/test_openvino_backend.py

lint: .venv-lint/installed
	.venv-lint/bin/ruff check .
	.venv-lint/bin/ruff format --check .
	.venv-lint/bin/mypy
	.venv-lint/bin/lint-imports
	.venv-lint/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	.venv-lint/bin/zizmor --offline --quiet --persona pedantic .github
	$(SITE)

site: .venv-lint/installed  ## the documentation as a site, in build/site, with every link checked
	$(SITE)

test-unit: .venv-unit/installed
	@! .venv-unit/bin/python -c 'import onnxruntime' 2>/dev/null || { echo 'an engine is installed in .venv-unit'; exit 1; }
	.venv-unit/bin/python $(PYTEST) -n 2 --durations=15 --write-passed=$(PASSED)

# What the environment without an engine could not run, and a smoke test.
test-engines: .venv-cpu/installed
	.venv-cpu/bin/python $(PYTEST) -n 2 --durations=15 --skip-passed=$(PASSED)

test-cpu: .venv-cpu/installed  ## every test that runs on a CPU, in one environment
	.venv-cpu/bin/python $(PYTEST) -n 2 --durations=15

# One cell of the CI matrix, from what `aegisrt ci-matrix` says of it; as it stands here, `cpu-onnx`.
export EXTRAS ?= onnx,images,test
export BACKEND ?= onnx
export DEVICE ?= cpu
export CONFORMANCE ?= ci
export DEMO ?= run
export OVERRIDES ?= models.digits.backend=onnx

cell: cell-install cell-conformance cell-demo test-cell  ## what a cell does, in an environment of its own

cell-install: python
	$(PYTHON) -m venv .venv-cell
	.venv-cell/bin/python $(PIP) -e ".[$$EXTRAS]"

cell-conformance:  # red where the engine or the device is not there
	.venv-cell/bin/aegisrt conformance conformance="$$CONFORMANCE" conformance.require_installed=true \
	  conformance.backend="$$BACKEND" conformance.device="$$DEVICE"

cell-demo:  # `set -f`: an override may hold brackets
	set -f; .venv-cell/bin/aegisrt "$$DEMO" $$OVERRIDES

test-cell:
	.venv-cell/bin/python $(PYTEST) -n 2

schemas: .venv-cpu/installed  ## write again what is made from the code: schemas/, and the tables and the diagram in docs/
	.venv-cpu/bin/aegisrt schema --out schemas
	.venv-cpu/bin/python -m tests.docs.reference
	.venv-cpu/bin/python -m tests.docs.diagram

bench: .venv-cpu/installed  ## what AegisRT adds to a bare engine, as ratios in one run
	.venv-cpu/bin/python -m aegisrt.bench.own.startup
	.venv-cpu/bin/python -m aegisrt.bench.own.dispatch
	.venv-cpu/bin/python -m aegisrt.bench.own.dispatch --rounds 300 --model "$$(.venv-cpu/bin/python -m tests.models.real_models magika)"
	.venv-cpu/bin/python -m tests.measuring.tvm_overhead
	.venv-cpu/bin/python -m aegisrt.bench.own.queueing

clean:
	rm -rf .venv .venv-serve .venv-cpu .venv-unit .venv-lint .venv-examples .venv-cell
