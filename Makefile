# Each target is a line or two that calls a real tool; the README gives those of a student for machines without make.

PYTHON ?= python3
# The environment that is active, or else one of our own. Quoted in each command: folders have spaces in their names.
VENV ?= $(or $(VIRTUAL_ENV),.venv)
RUN := "$(VENV)/bin/python" -m
# Its programs come first where a command looks for others, as nbgrader does for alembic; it is made with what is outside.
OUTSIDE := $(PATH)
export PATH := $(if $(filter /%,$(VENV)),,$(CURDIR)/)$(VENV)/bin:$(PATH)
INSTALL := PATH="$(OUTSIDE)" $(PYTHON) install.py --environment "$(VENV)"
COURSE := activation_patching
FIRST := 00_introduction.ipynb
# JupyterLab refuses to start as root unless told otherwise; containers are often run as root.
AS_ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)

.PHONY: install install-dev lab test test-slow test-all lint bench bench-grading hostile mutations bank release grade \
	report demo preview screenshots model model-report verify-gpt2 clear-cache

# What a student needs, and with it what everything but `make lab` needs; done in a moment where it is there already.
install:
	@$(INSTALL) requirements.txt

install-dev:
	@$(INSTALL) requirements-dev.txt

# JupyterLab's settings for a student lie in lab_settings/: no question about news, no side bar for making assignments.
lab: install
	$(RUN) jupyterlab exercises/$(COURSE)/$(FIRST) --LabApp.app_settings_dir=lab_settings \
		--LabApp.default_url=/lab/tree/$(FIRST) $(AS_ROOT) $(LAB_ARGS)

# Of one thread each: threads of several processes on the same cores wait for one another.
CORES := $(shell getconf _NPROCESSORS_ONLN)
# The shapes in the signatures are checked at run time; not in memoized_forward, which is called at every step of a check.
, := ,
CHECKED := $(subst /,.,$(basename $(filter-out utils/_% utils/memoized_forward%,$(wildcard utils/*))))
SHAPES := --jaxtyping-packages=$(subst $() ,$(,),$(CHECKED) tests.checks selftests.check_types)
# By files, whose tests share models, graded classes and executed notebooks.
PYTEST := OMP_NUM_THREADS=1 $(RUN) pytest --numprocesses $(CORES) --dist loadfile $(SHAPES) $(TEST_ARGS)

# What guards a student's and an instructor's result, in minutes.
test: install-dev
	$(PYTEST) -m "not slow"

# The longest files, of grading, come first.
test-slow: install-dev
	$(PYTEST) --no-loadscope-reorder -m slow

test-all: test test-slow

lint: install-dev
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy

# The fast sweeps beside transformer_lens.patching's, written to bench/results.md; on an otherwise idle machine.
bench: install-dev
	$(RUN) bench $(BENCH_ARGS)

# nbgrader's own grading beside `make grade`, on a class of 24, written to bench/grading_results.md: about half an hour.
bench-grading: install-dev
	$(RUN) bench.grading $(BENCH_ARGS)

# All hostile submissions, graded as one class beside honest ones, in about 6 minutes; the suite grades half of them.
hostile: install-dev
	HOSTILE=all OMP_NUM_THREADS=1 $(RUN) pytest selftests/grading/test_hostile_grading.py

# The checks tried on mutants of the solutions, in about a minute.
mutations: install-dev
	OMP_NUM_THREADS=1 $(RUN) selftests.mutations

# The checks tried on the mutants and on all answers of the bank, nbgrader and `make grade` on these: about an hour.
bank: mutations
	OMP_NUM_THREADS=1 $(RUN) selftests.bank

# nbgrader deletes the folder of the last release: what it did not make there is named, and nothing is released.
release: install-dev
	$(RUN) grading.release
	$(RUN) nbgrader generate_assignment $(COURSE) --create --force

# Every submission under submitted/, in parallel; what is graded already is left alone. `make release` comes first.
grade: install-dev
	$(RUN) grading $(GRADE_ARGS)

# The graded class on one page, and nbgrader's table of its grades.
report: install-dev
	$(RUN) grading.class_report $(REPORT_ARGS)

demo: install-dev
	$(RUN) grading.demo

# The workbook as pages that need no network; two notebooks run at a time, on one thread each.
preview: install-dev
	OMP_NUM_THREADS=1 $(RUN) preview

# A picture of all that the browser tests look at, in screenshots/: JupyterLab and, light and dark, the preview.
screenshots: install-dev
	SCREENSHOTS=screenshots OMP_NUM_THREADS=1 $(RUN) pytest selftests/test_browser.py selftests/test_first_start.py selftests/test_preview.py

# Train ioi-mini again, into $(MODEL_OUT), in about 20 minutes. report --write-card then puts its figures into the card.
MODEL_OUT ?= utils/ioi_mini/model
model: install-dev
	$(RUN) training.train --out "$(MODEL_OUT)"

model-report: install-dev
	$(RUN) training.report

# Where gpt2-small's weights can be had: do its maps equal the published ones?
verify-gpt2: install-dev
	$(RUN) training.verify_gpt2 $(VERIFY_ARGS)

# Delete the references that the checks have computed and cached on disk, and nothing else in that folder.
clear-cache: install
	"$(VENV)/bin/python" -c "from utils.references import *; [f.unlink() for f in cache_folder().glob('get_act_patch_*.safetensors')]"
