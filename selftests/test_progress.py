import subprocess
import sys

IMPORTS_WITH_A_BAR_AT_ONCE = """
import sys
import tqdm
{front_end}


class BarAtOnce(tqdm.tqdm):
    def __init__(self, *args, **options):
        assert "torch" not in sys.modules  # whose import is among those that the bar counts
        super().__init__(*args, **{{**options, "delay": 0}})


tqdm.tqdm = BarAtOnce
import tests
"""


def run_imports(front_end: str) -> str:
    code = IMPORTS_WITH_A_BAR_AT_ONCE.format(front_end=front_end)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stderr == ""
    return run.stdout


def test_a_notebooks_first_import_shows_a_progress_bar():
    assert "3/3" in run_imports("import ipykernel")


def test_an_import_outside_of_notebooks_prints_nothing():
    assert run_imports("") == ""
