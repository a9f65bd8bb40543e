import subprocess
import sys

import pytest

from utils import progress

IMPORT_WITH_A_BAR_AT_ONCE = """
import sys
import ipykernel
import tqdm


class BarAtOnce(tqdm.tqdm):
    def __init__(self, *args, **options):
        assert "torch" not in sys.modules  # whose import is among those that the bar counts
        super().__init__(*args, **{**options, "delay": 0})


tqdm.tqdm = BarAtOnce
import tests
"""


def test_a_notebooks_first_import_shows_a_progress_bar() -> None:
    run = subprocess.run([sys.executable, "-c", IMPORT_WITH_A_BAR_AT_ONCE], capture_output=True, text=True, check=True)
    assert "3/3" in run.stdout
    assert run.stderr == ""


def test_an_import_outside_of_notebooks_prints_nothing(monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    monkeypatch.setattr(progress, "SECONDS_WITHOUT_A_BAR", 0)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    progress.import_with_a_bar("json")
    assert capfd.readouterr() == ("", "")
