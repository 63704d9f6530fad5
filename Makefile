# make run    set up, and run the node on its default configuration
# make test   set up, and run every check: lint, types, import contracts, tests
# make demo   set up, and watch a node work on sample images
# make bench-transcode   set up, and measure venturi compress beside the bare codecs and a script: docs/performance.md
# make bench-ingest      set up, and measure C-STORE in to rendition stored, beside Orthanc: docs/performance.md
# make fuzz   set up, and send a million streams of garbage through an association: FUZZ="--inputs 10000000"
# make bench-receive     set up, and measure receiving beside DCMTK, Orthanc and pynetdicom: docs/performance.md
# make bench-send        set up, and measure sending beside DCMTK and pynetdicom: benchmarks/README.md
# make bench-queue       set up, and measure the queue with a million deliveries that wait
# make docs   set up, and try every kind of image in every syntax: the table in docs/transcoding.md

PYTHON ?= python3
BIN := .venv/bin

.PHONY: run demo test lint unit fuzz docs peers bench-transcode bench-ingest bench-receive bench-send bench-queue lock clean

run: .venv/ready
	$(BIN)/venturi run -c config/venturi.yaml

demo: .venv/ready
	$(BIN)/venturi demo

test: lint peers unit
	$(BIN)/pytest -n 3 --dist loadfile --durations 15 -m together tests/integration
	$(BIN)/pytest --durations 15 -m "not together" tests/integration

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: .venv/ready
	$(BIN)/pytest -n auto tests/unit tests/conformance

fuzz: .venv/ready
	$(BIN)/python tests/fuzz/receive.py $(FUZZ)

docs: .venv/ready
	$(BIN)/venturi codecs --try --markdown > .venv/table.md
	sed -i -e '/markdown: begin -->/,/markdown: end -->/{/markdown: begin -->/!{/markdown: end -->/!d}}' \
		-e '/markdown: begin -->/r .venv/table.md' docs/transcoding.md

peers:
	./.ci/peers

bench-transcode: .venv/ready
	$(BIN)/python benchmarks/transcode.py $(BENCH)

bench-ingest: .venv/ready
	$(BIN)/python benchmarks/ingest.py $(BENCH)

bench-receive: .venv/ready
	$(BIN)/python benchmarks/receive.py $(BENCH)

bench-send: .venv/ready
	$(BIN)/python benchmarks/send.py $(BENCH)

bench-queue: .venv/ready
	$(BIN)/python benchmarks/queued.py $(BENCH)

.venv/ready: requirements.lock pyproject.toml .ci/venv
	PYTHON=$(PYTHON) ./.ci/venv
	touch $@

# Needs uv: https://docs.astral.sh/uv/
lock:
	uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes \
		--no-header --no-annotate --no-emit-index-url --upgrade -o requirements.lock

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
