# make run    set up, and run the node on its default configuration
# make test   set up, and run every check: lint, types, import contracts, tests
# make demo   set up, and watch a node work on sample images

PYTHON ?= python3
BIN := .venv/bin

.PHONY: run demo test lint unit peers lock clean

run: .venv/ready
	$(BIN)/venturi run -c config/venturi.yaml

demo: .venv/ready
	$(BIN)/venturi demo

test: lint peers
	$(BIN)/pytest

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: .venv/ready
	$(BIN)/pytest tests/unit tests/conformance

peers:
	./.ci/peers

.venv/ready: requirements.lock pyproject.toml .ci/venv
	PYTHON=$(PYTHON) ./.ci/venv
	touch $@

# Needs uv: https://docs.astral.sh/uv/
lock:
	uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes \
		--no-header --no-annotate --no-emit-index-url --upgrade -o requirements.lock

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
