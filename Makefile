# One word for each task; every task sets up what it needs. Python 3.11 or newer and make are enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: setup demo test unicode chaos fuzz bench lock clean

setup: $(VENV)/ready

$(VENV)/ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

demo: setup
	$(BIN)/postroom demo

test: setup node_modules/ready
	$(BIN)/python -m pytest

# All of Unicode through names, subjects, cells and file names; takes an hour.
unicode: setup node_modules/ready
	POSTROOM_CASES=100000 $(BIN)/python -m pytest tests/test_unicode.py --numprocesses=0

# Campaigns killed with kill -9 at random moments and resumed until done; RUNS and SEED may be given, the seed is printed.
chaos: RUNS ?= 200
chaos: setup
	POSTROOM_CHAOS_RUNS=$(RUNS) POSTROOM_CHAOS_SEED=$(SEED) $(BIN)/python -m pytest tests/test_chaos.py --timeout=0

# Every target by coverage (atheris, where it has a wheel) for SECONDS, then by hypothesis for a tenth of that.
fuzz: SECONDS ?= 600
fuzz: setup
	$(BIN)/pip install --quiet --disable-pip-version-check atheris || echo "atheris has no wheel here: hypothesis alone"
	$(BIN)/python fuzz/run.py $(SECONDS)

# postroom beside what people use instead; ROWS says which (see benchmarks/compare.py). Needs Postfix from Debian and root; best on a quiet machine.
bench: setup benchmarks/.peers/ready
	$(BIN)/python benchmarks/compare.py $(ROWS)

benchmarks/.peers/ready: benchmarks/clients/requirements.txt benchmarks/clients/package-lock.json
	$(PYTHON) -m venv benchmarks/.peers
	benchmarks/.peers/bin/pip install --quiet --disable-pip-version-check --require-hashes -r benchmarks/clients/requirements.txt
	if command -v npm >/dev/null; then npm ci --silent --no-audit --no-fund --prefix benchmarks/clients; fi
	touch $@

# The second MIME parser of the tests is not Python's; without Node its tests are skipped by name.
node_modules/ready: package.json
	if command -v npm >/dev/null; then npm install --silent --no-audit --no-fund --no-save; fi
	mkdir -p node_modules && touch $@

lock:
	uv pip compile --universal --generate-hashes --no-header --python-version 3.11 --extra test pyproject.toml -o requirements.lock
	uv pip compile --universal --generate-hashes --no-header --python-version 3.11 benchmarks/clients/requirements.in -o benchmarks/clients/requirements.txt

clean:
	rm -rf $(VENV) node_modules benchmarks/.peers benchmarks/clients/node_modules postroom-demo .pytest_cache .hypothesis
