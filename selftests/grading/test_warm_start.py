"""Kernels forked from a process with preloaded imports start warm, and share nothing else."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from grading import worker
from grading.classroom import Classroom
from grading.course import read_settings
from grading.demo import demo_class as demo
from selftests.grading.tiny_class import COURSE, RIGHT, SETTINGS, WHY_NO_SANDBOX, grade, hand_in, points, remarks
from selftests.random_gpt2 import TINY_GPT2, save_gpt2

pytestmark = pytest.mark.slow

PRELOAD = "c.ClassGrading.preload = 'preloaded'\n"
MODULE = "import time, decimal\n\ndef warm_up():\n    decimal.imported_at = time.time()\n"

PRELOADED = f"""
import sys, time
assert time.time() - sys.modules["decimal"].imported_at > 0
{RIGHT}
"""
PRINTS_IMPORT_TIME = f"""
import decimal
print(decimal.imported_at)
{RIGHT}
"""
LEAVES_THINGS = f"""
import os, subprocess
left_over = os.environ["LEFT_OVER"] = "yes"
open("left_over.txt", "w").write("yes")
subprocess.Popen(["sleep", "1234"], start_new_session=True)
{RIGHT}
"""
# The second notebook gets its points only if nothing of the first is left.
FINDS_NOTHING = f"""
import os
assert "left_over" not in globals() and "LEFT_OVER" not in os.environ
commands = [open(f"/proc/{{pid}}/cmdline").read() for pid in os.listdir("/proc") if pid.isdigit()]
assert not any("sleep\\0" + "1234" in command for command in commands)
{RIGHT}
"""
# Without a sandbox, kernels run in nbgrader's own folder for a submission, which notebooks share.
FINDS_NO_FILE = """
assert "left_over.txt" not in os.listdir()
"""
KILLS_THE_KERNEL_SERVER = f"""
import os, signal, time
os.kill(os.getppid(), signal.SIGKILL)
time.sleep(600)  # until it has died
{RIGHT}
"""


def write_settings(course: Path) -> None:
    (course / "nbgrader_config.py").write_text(SETTINGS + PRELOAD)
    (course / "preloaded.py").write_text(MODULE)


@pytest.fixture(scope="module")
def warm_course(empty_course: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A course with preloaded imports, graded by one worker; each student tests one property."""
    course = shutil.copytree(empty_course, tmp_path_factory.mktemp("warm") / "a course")
    write_settings(course)
    hand_in(course, "preloaded", {"one": PRELOADED, "two": PRELOADED})
    hand_in(course, "prints", {"one": PRINTS_IMPORT_TIME, "two": PRINTS_IMPORT_TIME})
    finds_nothing = FINDS_NOTHING if WHY_NO_SANDBOX else FINDS_NOTHING + FINDS_NO_FILE
    hand_in(course, "leaves things", {"one": LEAVES_THINGS, "two": finds_nothing})
    hand_in(course, "kills", {"one": KILLS_THE_KERNEL_SERVER, "two": RIGHT})
    grade(course)
    return course


def test_imports_are_preloaded_in_every_notebook(warm_course: Path):
    assert points(warm_course)["preloaded"] == 4


def test_all_notebooks_of_a_submission_share_the_imports(warm_course: Path):
    assert points(warm_course)["prints"] == 4
    graded = [nbformat.read(file, 4) for file in (warm_course / "autograded").glob("prints/*/*.ipynb")]
    assert len(graded) == 2
    assert len({notebook.cells[0].outputs[0].text for notebook in graded}) == 1


def test_nothing_of_a_notebook_is_left_for_the_next(warm_course: Path):
    assert points(warm_course)["leaves things"] == 4


def test_killing_the_kernel_server_costs_that_notebook_only(warm_course: Path):
    assert points(warm_course)["kills"] == 2
    assert "one: the kernel died" in remarks(warm_course)["kills"]


def test_nothing_of_a_notebook_is_left_for_the_next_without_a_sandbox(course: Path):
    write_settings(course)
    hand_in(course, "ann", {"one": LEAVES_THINGS, "two": FINDS_NOTHING})
    (course / "solutions" / COURSE / "beside.py").write_text(RIGHT)
    hand_in(course, "bob", {"one": PRELOADED, "two": "from beside import answer"})
    grade(course, "--without-sandbox")
    assert points(course) == {"ann": 4, "bob": 4}


# Kernels find the references precomputed for the class.

FIND_THE_ENDS = """
from unittest import mock
from transformer_lens import patching
from utils import load_ioi, load_model, make_ioi_metric
from utils.references import cached_suffixes
from utils.memoized_forward import memoized_forward

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


def test_kernels_compute_the_same_bits_as_the_precomputed_references(tmp_path, monkeypatch):
    """With other bits the checks would be correct, but slow: they would find nothing in the cache."""
    (tmp_path / "model").mkdir()
    monkeypatch.setenv("IOI_MODEL", str(save_gpt2(tmp_path / "model", **TINY_GPT2)))
    monkeypatch.chdir(demo.REPOSITORY)
    monkeypatch.setenv("IOI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "2")  # as a lone notebook would have it
    classroom = Classroom.of(read_settings(tmp_path), demo.COURSE)
    classroom.prepare()
    kernel = subprocess.run(
        [sys.executable, "-c", f"import {classroom.settings.preload}\n{FIND_THE_ENDS}"],
        env=os.environ | worker.NUMERICS,
        cwd=demo.REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    asked, unknown = map(int, kernel.stdout.split()[-2:])
    assert asked > 20
    assert unknown == 0
