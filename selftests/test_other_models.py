"""The workbook on models of other families, sizes and tokenizers: the data set, the checks, and all notebooks."""

import contextlib
import io
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from unittest.mock import patch

import pytest
from plotly.basedatatypes import BaseFigure
from transformer_lens.model_bridge import TransformerBridge

from selftests.answer_bank import RIGHT, exercise_of, notebook_variables, refusal
from selftests.other_models import llama, pythia, save_other_model
from selftests.prose import notebooks
from tests.checks.cases import one_thread
from utils import models

FAMILIES = {"llama": (llama, None), "pythia": (pythia, "<|begin|>")}
"""The builder of a model, and its tokenizer's beginning-of-sequence token; None where it has none."""
OF_EACH_EXERCISE = list({exercise_of(answer): answer for answer in RIGHT}.values())


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    build, bos = FAMILIES[request.param]
    return save_other_model(tmp_path_factory.mktemp(request.param), build, bos)


@pytest.fixture(scope="module")
def model(folder: Path) -> Iterator[TransformerBridge]:
    """A tiny model of another family, in use in this module's tests."""
    with in_use(folder), one_thread():
        yield models.model_in_use()


@contextlib.contextmanager
def in_use(folder: Path) -> Iterator[None]:
    """Load a model, as with `IOI_MODEL`, and restore the one that was in use."""
    with patch.dict(os.environ, IOI_MODEL=str(folder), IOI_DEVICE="cpu"), patch.object(models, "_in_use", None):
        models.load_model()
        yield


@pytest.fixture(scope="module")
def notebook(model: TransformerBridge) -> dict[str, object]:
    return notebook_variables()


@pytest.mark.parametrize("answer", OF_EACH_EXERCISE, ids=lambda answer: answer.stem)
def test_a_right_answer_to_each_exercise_is_accepted_on_every_family(answer: Path, notebook) -> None:
    assert refusal(answer, notebook) is None


@pytest.mark.slow
@pytest.mark.parametrize("answer", [a for a in RIGHT if a not in OF_EACH_EXERCISE], ids=lambda answer: answer.stem)
def test_every_right_answer_is_accepted_on_every_family(answer: Path, notebook) -> None:
    assert refusal(answer, notebook) is None


LARGE = {
    "30 layers, 9 heads, 3 heads of keys and values": (partial(llama, n_layers=30, n_heads=9, n_kv_heads=3), None),
    "pythia": (partial(pythia, n_layers=2, n_heads=2), "<|begin|>"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_all_notebooks_run_on_another_model(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IOI_CACHE", str(tmp_path / "cache"))
    build, bos = LARGE[name]
    with in_use(save_other_model(tmp_path / "model", build, bos)):
        for notebook in notebooks():
            run(notebook)


def run(name: str) -> str:
    """Run all code cells of a notebook, checks too, and return what they print."""
    variables: dict[str, object] = {}
    with contextlib.redirect_stdout(io.StringIO()) as printed, patch.object(BaseFigure, "show", lambda *_, **__: None):
        for cell in notebooks()[name].cells:
            if cell.cell_type == "code":
                exec(compile(cell.source, f"{name}, {cell.id}", "exec"), variables)
    return printed.getvalue()
