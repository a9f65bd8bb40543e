"""`pytest tests --notebooks FOLDER`, as a student runs it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from selftests import REPOSITORY
from tests.conftest import EXERCISES

ONLY_HOOKS = "ioi_metric or patch_residual_component or patch_head_vector or patch_attn_patterns"


class Finished(NamedTuple):
    returncode: int
    stdout: str


def run_pytest_as_a_student(folder: str) -> Finished:
    command = [sys.executable, "-m", "pytest", "tests", "--notebooks", folder]
    done = subprocess.run(command, cwd=REPOSITORY, env=os.environ | {"COLUMNS": "200"}, capture_output=True, text=True)
    return Finished(done.returncode, done.stdout)


@pytest.fixture
def run_pytest(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Callable[[Path, str], Finished]:
    """The same in this process, which has imported everything already, on the checks that `wanted` selects."""
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setenv("COLUMNS", "200")

    def run(folder: Path, wanted: str) -> Finished:
        code = pytest.main(["tests", "--notebooks", str(folder), "-k", wanted, "-p", "no:cacheprovider"])
        return Finished(int(code), capsys.readouterr().out)

    return run


@pytest.fixture
def copy_of_solutions(tmp_path: Path) -> Path:
    """A student's folder, far from the repository, with a space in its name."""
    folder = tmp_path / "my copy"
    shutil.copytree(REPOSITORY / "solutions", folder)
    return folder


def edit(notebook: Path, old: str, new: str) -> None:
    source = notebook.read_text(encoding="utf-8")
    assert old in source
    notebook.write_text(source.replace(old, new), encoding="utf-8")


def test_exercises_are_reported_as_not_implemented_in_one_line_each() -> None:
    finished = run_pytest_as_a_student("exercises")
    lines = [line for line in finished.stdout.splitlines() if "is not implemented yet" in line]
    assert sorted(line.split()[0] for line in lines) == sorted(EXERCISES)
    assert f"{len(EXERCISES)} not implemented yet" in finished.stdout
    assert "Traceback" not in finished.stdout
    assert finished.returncode == 1


def test_a_wrong_answer_is_reported_by_its_message_alone(copy_of_solutions: Path, run_pytest: Callable) -> None:
    notebook = copy_of_solutions / "activation_patching" / "02_residual_stream.ipynb"
    edit(notebook, "corrupted_residual_component[:, pos, :] = ", "corrupted_residual_component[:, pos:, :] = ")
    finished = run_pytest(copy_of_solutions, "patch_residual_component")
    assert "changed too" in finished.stdout or "RuntimeError" in finished.stdout
    assert "tests/checking.py" not in finished.stdout
    assert finished.returncode == 1


@pytest.mark.slow
def test_any_copy_of_the_solutions_passes_also_with_a_helper_in_another_cell(
    copy_of_solutions: Path, run_pytest: Callable
) -> None:
    notebook = copy_of_solutions / "activation_patching" / "01_ioi_metric.ipynb"
    edit(
        notebook,
        "logit_diff = utils.logits_to_ave_logit_diff(logits, answer_tokens)",
        "logit_diff = my_helper(logits, answer_tokens)",
    )
    edit(
        notebook,
        "per_prompt = [\\n",
        "def my_helper(*arguments):\\n    return utils.logits_to_ave_logit_diff(*arguments)\\n\\nper_prompt = [\\n",
    )
    finished = run_pytest(copy_of_solutions, ONLY_HOOKS)
    assert finished.returncode == 0, finished.stdout
    assert "4 passed" in finished.stdout


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda folder: None, "There is no notebook in"),
        (lambda folder: (folder / "01.ipynb").write_text("no JSON"), "is not a valid notebook"),
    ],
    ids=["empty folder", "not a notebook"],
)
def test_a_folder_that_cannot_be_used_gets_one_sentence(
    tmp_path: Path, run_pytest: Callable, prepare: Callable, message: str
) -> None:
    prepare(tmp_path)
    finished = run_pytest(tmp_path, "ioi_metric")
    assert message in finished.stdout
    assert "Traceback" not in finished.stdout
    assert finished.returncode == 1


def test_a_broken_notebook_or_cell_costs_its_own_checks_only(copy_of_solutions: Path, run_pytest: Callable) -> None:
    folder = copy_of_solutions / "activation_patching"
    (folder / "01_ioi_metric.ipynb").write_text("not JSON")
    edit(folder / "02_residual_stream.ipynb", "def patch_residual_component(", "def patch_residual_component((")
    edit(folder / "03_attention_heads.ipynb", "def patch_head_vector(", '%%time\\n",\n"def patch_head_vector(')
    edit(folder / "04_attention_patterns.ipynb", "import torch\\n", 'import torch\\n",\n"files = !ls\\n')
    finished = run_pytest(copy_of_solutions, ONLY_HOOKS)
    assert "2 passed" in finished.stdout and "2 errors" in finished.stdout, finished.stdout
    assert "01_ioi_metric.ipynb is not a valid notebook" in finished.stdout
    assert "02_residual_stream.ipynb, code cell" in finished.stdout and "fails: SyntaxError" in finished.stdout


@pytest.mark.slow
def test_a_scratch_cell_that_fails_is_listed_as_a_warning(copy_of_solutions: Path, run_pytest: Callable) -> None:
    notebook = copy_of_solutions / "activation_patching" / "01_ioi_metric.ipynb"
    edit(notebook, "per_prompt = [\\n", 'import no_such_package\\n",\n"per_prompt = [\\n')
    finished = run_pytest(copy_of_solutions, "ioi_metric")
    assert finished.returncode == 0, finished.stdout
    assert "CellWarning" in finished.stdout and "No module named 'no_such_package'" in finished.stdout
