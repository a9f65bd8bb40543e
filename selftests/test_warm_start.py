"""The processes that fork kernels: one import for all notebooks, and nothing else in common."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from grading import classroom, worker
from grading.course import read_course
from grading.demo import demo_class as demo
from selftests.random_gpt2 import TINY_GPT2, save_gpt2
from selftests.test_class_grading import (  # noqa: F401  the fixtures
    RIGHT,
    SETTINGS,
    WHY_NO_SANDBOX,
    course,
    empty_course,
    grade,
    hand_in,
    needs_sandbox,
    points,
    remarks,
)

PRELOAD = 'c.ClassGrading.preload = "import time, decimal; decimal.imported_at = time.time()"\n'

# The second notebook gets its points only if nothing of the first is left.
ALONE = f"""
import os
assert "left_over" not in globals() and "LEFT_OVER" not in os.environ
commands = [open(f"/proc/{{pid}}/cmdline").read() for pid in os.listdir("/proc") if pid.isdigit()]
assert not any("sleep\\0" + "1234" in command for command in commands)
{RIGHT}
"""
# nbgrader's own folder for a submission, in which kernels run without a sandbox, keeps files from notebook to notebook.
IN_A_FOLDER_OF_ITS_OWN = """
assert "left_over.txt" not in os.listdir()
"""
LEAVES_THINGS = f"""
import os, subprocess
left_over = os.environ["LEFT_OVER"] = "yes"
open("left_over.txt", "w").write("yes")
subprocess.Popen(["sleep", "1234"], start_new_session=True)
{RIGHT}
"""
IMPORTED_BEFORE = f"""
import sys, time
assert time.time() - sys.modules["decimal"].imported_at > 0
{RIGHT}
"""
SAYS_WHEN = f"""
import decimal
print(decimal.imported_at)
{RIGHT}
"""
KILLS_THE_PROCESS = f"""
import os, signal, time
os.kill(os.getppid(), signal.SIGKILL)
time.sleep(8)  # until it has happened
{RIGHT}
"""


@pytest.fixture
def warm_course(course: Path) -> Path:  # noqa: F811
    (course / "nbgrader_config.py").write_text(SETTINGS + PRELOAD)
    return course


def test_the_preload_is_there_in_every_notebook(warm_course: Path):
    hand_in(warm_course, "ann", {"one": IMPORTED_BEFORE, "two": IMPORTED_BEFORE})
    grade(warm_course)
    assert points(warm_course) == {"ann": 4}


@needs_sandbox
def test_one_import_serves_all_submissions_of_a_worker(warm_course: Path):
    for student in ("ann", "bob"):
        hand_in(warm_course, student, {"one": SAYS_WHEN, "two": SAYS_WHEN})
    grade(warm_course, "--workers", "1")
    assert points(warm_course) == {"ann": 4, "bob": 4}
    graded = [nbformat.read(file, 4) for file in (warm_course / "autograded").rglob("*.ipynb")]
    assert len(graded) == 4
    assert len({notebook.cells[0].outputs[0].text for notebook in graded}) == 1


@pytest.mark.parametrize("options", [(), ("--without-sandbox",)])
def test_a_notebook_finds_nothing_of_the_one_before(warm_course: Path, options: tuple[str, ...]):
    alone = ALONE if options or WHY_NO_SANDBOX else ALONE + IN_A_FOLDER_OF_ITS_OWN
    hand_in(warm_course, "ann", {"one": LEAVES_THINGS, "two": alone})
    grade(warm_course, *options)
    assert points(warm_course) == {"ann": 4}


def test_who_kills_the_process_loses_that_notebook_only(warm_course: Path):
    hand_in(warm_course, "ann", {"one": KILLS_THE_PROCESS, "two": RIGHT})
    hand_in(warm_course, "bob", {"one": RIGHT, "two": RIGHT})
    grade(warm_course)
    assert points(warm_course) == {"ann": 2, "bob": 4}
    assert "one: the kernel died" in remarks(warm_course)["ann"]


def test_a_preload_that_fails_costs_nobody_a_grade(course: Path):  # noqa: F811
    (course / "nbgrader_config.py").write_text(SETTINGS + 'c.ClassGrading.preload = "import no_such_module"\n')
    hand_in(course, "ann", {"one": RIGHT, "two": RIGHT})
    grade(course)
    assert points(course) == {"ann": 4}


# What grading computes before a class, and what its kernels look for.

FIND_THE_ENDS = """
from unittest import mock
from transformer_lens import patching
from utils import load_ioi, load_model, make_ioi_metric
from utils.references import cached_suffixes
from utils.memoized_forward.blocks import memoized_forward

model = load_model()
data = load_ioi(model)
ends = cached_suffixes("get_act_patch_block_every", model, data)
_, clean_cache = model.run_with_cache(data.clean_tokens)
found = []
with mock.patch.object(ends, "find", side_effect=lambda key, find=ends.find: found.append(find(key)) or found[-1]):
    with memoized_forward(model, suffix_cache=ends):
        patching.get_act_patch_block_every(model, data.corrupted_tokens, clean_cache, make_ioi_metric(model, data))
print(len(found), sum(end is None for end in found))
"""


def test_kernels_come_to_the_same_residual_streams_as_the_references_of_the_class(tmp_path, monkeypatch):
    """Bit by bit: else the checks would be right, and slow."""
    (tmp_path / "model").mkdir()
    monkeypatch.setenv("IOI_MODEL", str(save_gpt2(tmp_path / "model", **TINY_GPT2)))
    monkeypatch.chdir(demo.REPOSITORY)
    monkeypatch.setenv("IOI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "2")  # as a lone notebook would have it
    the_course, settings = read_course(demo.COURSE, tmp_path)
    classroom.prepare(the_course, settings)
    kernel = subprocess.run(
        [sys.executable, "-c", settings.ClassGrading.preload + "\n" + FIND_THE_ENDS],
        env=os.environ | worker.ARITHMETIC,
        cwd=demo.REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    asked, unknown = map(int, kernel.stdout.split()[-2:])
    assert asked > 20
    assert unknown == 0
