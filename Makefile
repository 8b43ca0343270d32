# `make demo` and `make test` do everything on a fresh machine with git, make and Python 3.11 or newer.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
COMPILED := $(VENV)/.compiled
MANIFESTS := pyproject.toml baselines/pyproject.toml plugins/anyad/pyproject.toml plugins/anomalib/pyproject.toml plugins/rivals/pyproject.toml constraints.txt

.PHONY: demo test test-all docs lint format clean

$(STAMP): $(MANIFESTS)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[dev]' -e baselines -e plugins/anyad -e plugins/anomalib -e plugins/rivals
	@touch $@

demo: $(STAMP)
	$(BIN)/anyadbench run --method anyad --protocol phantom-7subsets

# Hundreds of processes of the tests import torch, twice as fast from bytecode, which some machines never write.
$(COMPILED): $(STAMP)
	@$(BIN)/python -m compileall -qq -j 2 $(VENV)/lib || true  # packages carry templates that are no Python
	@touch $@

test: $(COMPILED) lint
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow and not browser"

test-all: test docs
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[slurm]' -e plugins/ray || echo "submitit or ray cannot be installed: their tests will be skipped"
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[prepare]' || echo "deepbet cannot be installed: its tests will be skipped"
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[dicom-seg]' || echo "highdicom cannot be installed: its tests will be skipped"
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[lesions-tests]' || echo "picai-eval cannot be installed: its tests will be skipped"
# panoptica refuses pandas 3, which it works with; what else it needs here is named, since --no-deps installs nothing more.
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps panoptica==2.1.7 connected-components-3d==4.1.1 ruamel.yaml==0.19.1 plotly==7.1.0 || echo "panoptica cannot be installed: its tests will be skipped"
	@command -v slurmd >/dev/null || (apt-get update -qq && apt-get install -y -qq slurm-wlm munge) || echo "SLURM cannot be installed: its tests will be skipped"
	@command -v chromium >/dev/null || (apt-get update -qq && apt-get install -y -qq chromium) || echo "chromium cannot be installed: its tests will be skipped"
	$(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder -m "slow or browser"

docs: $(STAMP)
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) runs site .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
