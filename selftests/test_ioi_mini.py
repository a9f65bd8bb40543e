"""ioi-mini: its card says what its report measures, and its training code makes such a folder."""

import dataclasses
from pathlib import Path

import pytest

import utils
from training import report, train
from utils.models import IOI_MINI_FOLDER

# The model and the code that trains it rarely change.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def rows() -> list[report.Row]:
    return report.report_rows(IOI_MINI_FOLDER)


def test_ioi_mini_clears_every_bar(rows: list[report.Row]) -> None:
    assert [row.figure for row in rows if row.passed is False] == []
    assert sum(row.passed is not None for row in rows) > 40


def test_the_card_shows_what_the_report_measures(rows: list[report.Row], tmp_path: Path) -> None:
    """The figures' names, bars and verdicts; the last digits may differ from one machine to another."""
    shown = (IOI_MINI_FOLDER / "README.md").read_text(encoding="utf-8")
    (tmp_path / "README.md").write_text(shown, encoding="utf-8")
    report.write_card(tmp_path / "README.md", rows)
    assert table(tmp_path / "README.md") == table(IOI_MINI_FOLDER / "README.md")


def table(card: Path) -> list[list[str]]:
    figures = card.read_text(encoding="utf-8").partition("<!-- figures -->")[2].partition("<!-- end of figures -->")[0]
    cells = [line.split("|") for line in figures.splitlines() if line.startswith("| ")]
    return [[figure, bar, cleared] for _, figure, _, bar, cleared, _ in cells]


def test_training_writes_a_folder_that_the_loader_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """All phases, two steps each: the model knows nothing yet, but it is whole."""
    monkeypatch.setattr(train, "PHASES", [dataclasses.replace(phase, steps=2) for phase in train.PHASES])
    monkeypatch.setattr("sys.argv", ["train", "--out", str(tmp_path / "model"), "--seed", "0"])
    train.main()
    printed = capsys.readouterr().out
    assert all(f"phase {phase.name}" in printed for phase in train.PHASES)
    model = utils.load_model(tmp_path / "model", device="cpu")
    assert (model.cfg.n_layers, model.cfg.n_heads) == (12, 12)
    assert utils.load_ioi(model).clean_tokens.shape == (8, 15)
