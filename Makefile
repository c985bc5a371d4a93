# One entry for both languages. `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUST := Cargo.toml Cargo.lock $(shell find crates -name '*.rs' -o -name '*.proto' -o -name Cargo.toml)
EXTRAS := sklearn,xgboost,lightgbm

export CARGO_TERM_COLOR ?= never

.PHONY: help setup run test test-rust test-python check fix wheel bench soak fuzz clean
.DEFAULT_GOAL := help

help: ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */\1\t/' | expand -t 14

$(BIN)/uv:
	@scripts/toolchain $(PYTHON)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv

# The package, built in place: Python files are used from src/, only Rust needs a new build.
$(VENV)/.built: $(BIN)/uv pyproject.toml $(RUST)
	$(BIN)/uv pip install --quiet --python $(BIN)/python 'maturin>=1.9,<2'
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/maturin develop --release --uv --quiet --extras $(EXTRAS)
	touch $@

$(VENV)/.tested: $(VENV)/.built requirements-test.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements-test.txt
	touch $@

setup: $(VENV)/.built ## Build everything; the command is then .venv/bin/modelport

run: setup ## Serve a real scikit-learn model and ask it (CHECK=1: end after that)
	@$(BIN)/python examples/first_run.py

test: test-rust test-python ## All tests that need Python and Rust only

test-rust: $(BIN)/uv
	cargo test --quiet --workspace --exclude modelport-python

test-python: $(VENV)/.tested
	$(BIN)/python -m pytest $(PYTEST)

check: $(VENV)/.tested ## Formats, lints, types and import contracts
	$(BIN)/ruff format --check src tests examples benchmarks
	$(BIN)/ruff check src tests examples benchmarks
	$(BIN)/pyright
	$(BIN)/lint-imports
	cargo fmt --check
	cargo clippy --quiet --workspace --all-targets -- -D warnings

fix: $(VENV)/.tested ## Put formats right
	$(BIN)/ruff check --fix src tests examples benchmarks
	$(BIN)/ruff format src tests examples benchmarks
	cargo fmt

# For another Linux, such as TARGET=aarch64-unknown-linux-gnu, zig links, against the glibc of manylinux2014.
CROSS = $(if $(TARGET),--zig --target $(TARGET) --compatibility manylinux2014 --interpreter python3.11)

wheel: $(BIN)/uv ## Build the wheel into dist/, for this platform or for TARGET
	$(BIN)/uv pip install --quiet --python $(BIN)/python 'maturin>=1.9,<2' $(if $(TARGET),'ziglang<1')
	$(if $(TARGET),rustup target add $(TARGET))
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/maturin build --release --quiet --out dist $(CROSS)
	@ls -1t dist/*.whl | head -1

bench: setup ## Measure beside KServe and Triton, each installed into an environment of its own
	cargo build --quiet --release -p modelport-load
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python benchmarks/run.py --modelport-env $(VENV) $(BENCH)

soak: setup ## Two million requests, one in a hundred malformed: nothing fails, memory stays flat
	$(BIN)/python benchmarks/soak.py --out benchmarks/soak.json

fuzz: ## Fuzz every decoder for an hour each
	scripts/fuzz 3600

clean: ## Remove what was built
	rm -rf target $(VENV) dist
