# Two commands do everything on a fresh machine with Python 3.11 and make:
#   make demo   sets up, then trains, serves and rolls out three candidates, and says what it did
#   make test   sets up, then passes the tests
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test check fuzz proto bench image lock clean

$(READY): requirements.lock setup.cfg pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

demo: $(READY)
	$(BIN)/python -m examples.demo

test: $(READY)
	$(BIN)/python -m pytest

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Compiles the gRPC service's description; the result is committed, since servers load it.
proto: $(READY)
	$(BIN)/python -m grpc_tools.protoc --proto_path predictor/protocol \
	  --descriptor_set_out predictor/protocol/inference.binpb inference.proto

# FUZZ_SECONDS is for each target. The fuzzer is installed here and not locked: nothing else needs it.
FUZZ_SECONDS ?= 60
fuzz: $(READY)
	$(BIN)/python -m pip install --quiet atheris==3.0.0
	$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS)

bench: $(READY)
	$(BIN)/python -m benchmarks

# The predictor's image, by buildah or docker; VARIANT=cuda, rocm or pipeline, BASE=… and TAG=… as image/build.sh says.
image: $(READY)
	PYTHON=$(BIN)/python image/build.sh

# Resolves every extra afresh in an empty environment and writes the exact versions that came out.
lock:
	rm -rf var/lock && $(PYTHON) -m venv var/lock
	var/lock/bin/python -m pip install --quiet torch==2.13.0
	var/lock/bin/python -m pip install --quiet '.[torch,pipelines,rollout,registry,mlperf,analyzer,study,tracing,dev]' 'setuptools<81'
	{ echo "# Written by 'make lock': every package of every extra, exact."; \
	  var/lock/bin/python -m pip freeze --all --exclude millrace --exclude pip | sed 's/+cpu$$//'; } > requirements.lock
	rm -rf var/lock

clean:
	rm -rf $(VENV) var build *.egg-info
