# Each target is a line or two that calls a real tool; the README gives those of a student for machines without make.

PYTHON ?= python3
# The environment that is active, or else one of our own.
VENV ?= $(or $(VIRTUAL_ENV),.venv)
BIN := $(abspath $(VENV)/bin)
# nbgrader calls alembic, and finds it only there.
export PATH := $(BIN):$(PATH)
COURSE := activation_patching
FIRST := 00_introduction.ipynb
# JupyterLab refuses to start as root unless told otherwise; containers are often run as root.
AS_ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)
# Two environments in one place: what a student needs, and with it what everything but `make lab` needs.
STUDENT := $(VENV)/.workbook
DEV := $(VENV)/.workbook-dev

.PHONY: lab test test-slow test-all lint bench bench-grading hostile mutations bank release grade report demo preview \
	screenshots model model-report verify-gpt2 clear-cache

# JupyterLab's settings for a student lie in lab_settings/: no question about news, no side bar for making assignments.
lab: $(STUDENT)
	$(BIN)/jupyter lab exercises/$(COURSE)/$(FIRST) --LabApp.app_settings_dir=lab_settings \
		--LabApp.default_url=/lab/tree/$(FIRST) $(AS_ROOT) $(LAB_ARGS)

# Of one thread each: threads of several processes on the same cores wait for one another.
CORES := $(shell getconf _NPROCESSORS_ONLN)
# The shapes in the signatures are checked at run time.
SHAPES := --jaxtyping-packages=utils,tests.checks,selftests.check_types
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses $(CORES) --dist worksteal $(SHAPES) $(TEST_ARGS)

# What guards a student's and an instructor's result, in minutes.
test: $(DEV)
	$(PYTEST) -m "not slow"

# By files: their tests share graded classes and executed notebooks.
test-slow: $(DEV)
	$(PYTEST) --dist loadfile -m slow

test-all: test test-slow

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The fast sweeps beside transformer_lens.patching's, written to bench/results.md; on an otherwise idle machine.
bench: $(DEV)
	$(BIN)/python -m bench $(BENCH_ARGS)

# nbgrader's own grading beside `make grade`, on a class of 24, written to bench/grading_results.md: about half an hour.
bench-grading: $(DEV)
	$(BIN)/python -m bench.grading $(BENCH_ARGS)

# All hostile submissions, graded as one class beside honest ones, in about 6 minutes; the suite grades half of them.
hostile: $(DEV)
	HOSTILE=all OMP_NUM_THREADS=1 $(BIN)/pytest selftests/grading/test_hostile_grading.py

# The checks tried on mutants of the solutions, in about a minute.
mutations: $(DEV)
	OMP_NUM_THREADS=1 $(BIN)/python -m selftests.mutations

# The checks tried on the mutants and on all answers of the bank, nbgrader and `make grade` on these: about an hour.
bank: mutations
	OMP_NUM_THREADS=1 $(BIN)/python -m selftests.bank

release: $(DEV)
	$(BIN)/nbgrader generate_assignment $(COURSE) --create --force

# Every submission under submitted/, in parallel; what is graded already is left alone. `make release` comes first.
grade: $(DEV)
	$(BIN)/python -m grading $(GRADE_ARGS)

# The graded class on one page, and nbgrader's table of its grades.
report: $(DEV)
	$(BIN)/python -m grading.class_report $(REPORT_ARGS)

demo: $(DEV)
	$(BIN)/python -m grading.demo

# The workbook as pages that need no network; two notebooks run at a time, on one thread each.
preview: $(DEV)
	OMP_NUM_THREADS=1 $(BIN)/python -m preview

# A picture of all that the browser tests look at, in screenshots/: JupyterLab and, light and dark, the preview.
screenshots: $(DEV)
	SCREENSHOTS=screenshots OMP_NUM_THREADS=1 $(BIN)/pytest selftests/test_browser.py selftests/test_first_start.py selftests/test_preview.py

# Train ioi-mini again, into $(MODEL_OUT), in about 20 minutes. report --write-card then puts its figures into the card.
MODEL_OUT ?= utils/ioi_mini/model
model: $(DEV)
	$(BIN)/python -m training.train --out $(MODEL_OUT)

model-report: $(DEV)
	$(BIN)/python -m training.report

# Where gpt2-small's weights can be had: do its maps equal the published ones?
verify-gpt2: $(DEV)
	$(BIN)/python -m training.verify_gpt2 $(VERIFY_ARGS)

# Delete the references that the checks have computed and cached on disk, and nothing else in that folder.
clear-cache: $(STUDENT)
	$(BIN)/python -c "from utils.references import *; [f.unlink() for f in cache_folder().glob('get_act_patch_*.safetensors')]"

$(STUDENT): requirements.txt pyproject.toml
	$(INSTALL)

$(DEV): requirements-dev.txt requirements.txt pyproject.toml
	$(INSTALL)

define INSTALL
test -d $(VENV) || $(PYTHON) -m venv $(VENV)
$(BIN)/python -m pip install --requirement $<
touch $@
endef
