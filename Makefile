# Each target is a line or two that calls a real tool; the README gives the same commands for machines without make.

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

.PHONY: lab test lint bench bench-grading hostile mutations bank release grade report demo preview screenshots model model-report verify-gpt2

lab: $(VENV)/.workbook
	$(BIN)/jupyter lab exercises/$(COURSE)/$(FIRST) --LabApp.default_url=/lab/tree/$(FIRST) $(AS_ROOT) $(LAB_ARGS)

# Two processes of one thread each: threads of several processes on the same cores wait for one another.
test: $(VENV)/.workbook
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist loadfile $(TEST_ARGS)

lint: $(VENV)/.workbook
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# The fast sweeps beside transformer_lens.patching's, written to bench/results.md; on an otherwise idle machine.
bench: $(VENV)/.workbook
	$(BIN)/python -m bench $(BENCH_ARGS)

# nbgrader's own grading beside `make grade`, on a class of 24, written to bench/grading_results.md: about half an hour.
bench-grading: $(VENV)/.workbook
	$(BIN)/python -m bench.grading $(BENCH_ARGS)

# All hostile submissions, graded as one class beside honest ones, in about 6 minutes; the suite grades half of them.
hostile: $(VENV)/.workbook
	HOSTILE=all OMP_NUM_THREADS=1 $(BIN)/pytest selftests/test_hostile_grading.py

# The checks tried on mutants of the solutions, in about a minute.
mutations: $(VENV)/.workbook
	OMP_NUM_THREADS=1 $(BIN)/python -m selftests.mutations

# The checks tried on the mutants and on all answers of the bank, nbgrader and `make grade` on these: about an hour.
bank: mutations
	OMP_NUM_THREADS=1 $(BIN)/python -m selftests.bank

release: $(VENV)/.workbook
	$(BIN)/nbgrader generate_assignment $(COURSE) --create --force

# Every submission under submitted/, in parallel; what is graded already is left alone. `make release` comes first.
grade: $(VENV)/.workbook
	$(BIN)/python -m grading $(GRADE_ARGS)

# The graded class on one page, and nbgrader's table of its grades.
report: $(VENV)/.workbook
	$(BIN)/python -m grading.class_report $(REPORT_ARGS)

demo: $(VENV)/.workbook
	$(BIN)/python -m grading.demo.__main__

# The workbook as pages that need no network; two notebooks run at a time, on one thread each.
preview: $(VENV)/.workbook
	OMP_NUM_THREADS=1 $(BIN)/python -m preview

# A picture of all that the browser tests look at, in screenshots/: JupyterLab and, light and dark, the preview.
screenshots: $(VENV)/.workbook
	SCREENSHOTS=screenshots OMP_NUM_THREADS=1 $(BIN)/pytest selftests/test_browser.py selftests/test_preview.py

# Train ioi-mini again, into $(MODEL_OUT), in about 20 minutes. report --write-card then puts its figures into the card.
MODEL_OUT ?= utils/ioi_mini/model
model: $(VENV)/.workbook
	$(BIN)/python -m training.train --out $(MODEL_OUT)

model-report: $(VENV)/.workbook
	$(BIN)/python -m training.report

# For whoever has gpt2-small's weights: do its maps equal the published ones?
verify-gpt2: $(VENV)/.workbook
	$(BIN)/python -m training.verify_gpt2 $(VERIFY_ARGS)

$(VENV)/.workbook: requirements.txt pyproject.toml
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --requirement requirements.txt
	touch $@
