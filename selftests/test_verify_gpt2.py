"""`make verify-gpt2`, proved on a file in the published format made from ioi-mini."""

import json
from pathlib import Path

import pytest

import utils
from training import verify_gpt2
from utils.sweep_specs import PUBLISHED_SWEEPS


@pytest.fixture(scope="module")
def published_for_ioi_mini(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the published file would hold if somebody had published ioi-mini's results on the first two prompts."""
    model = utils.load_model("ioi-mini", device="cpu")
    prompts, answers = utils.PROMPTS[:2], utils.ANSWERS[:2]
    data = utils.load_ioi(model, prompts, answers)
    logit_diff = utils.logits_to_ave_logit_diff(model(data.clean_tokens), data.answer_tokens, per_prompt=True)
    maps = {
        name: {
            "axes": utils.published_results()["patching"][name]["axes"],
            "values": verify_gpt2.published_layout(
                name, utils.reference_sweep(PUBLISHED_SWEEPS[name].name, model, data)
            ).tolist(),
        }
        for name in ("resid_pre", "head_out_all_pos")
    }
    file = tmp_path_factory.mktemp("published") / "ioi_mini.json"
    content = {
        "prompts": prompts,
        "answers": answers,
        "per_prompt_logit_diff": logit_diff.tolist(),
        "patching": maps | {verify_gpt2.LONG_SWEEP: {}},
    }
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


def test_equal_results_pass(published_for_ioi_mini: Path, capsys: pytest.CaptureFixture) -> None:
    assert verify_gpt2.main(["--model", "ioi-mini", "--published", str(published_for_ioi_mini)]) == 0
    printed = capsys.readouterr().out
    assert "MORE THAN" not in printed
    assert [line.split()[1] for line in printed.splitlines() if line.startswith(("resid", "head_out"))] == [
        "180",
        "144",
    ]


@pytest.mark.parametrize("difference", [0.003, float("nan")])
def test_a_difference_fails_and_is_named(
    published_for_ioi_mini: Path, tmp_path: Path, capsys: pytest.CaptureFixture, difference: float
) -> None:
    content = json.loads(published_for_ioi_mini.read_text(encoding="utf-8"))
    content["patching"]["head_out_all_pos"]["values"][9][6] += difference
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(content), encoding="utf-8")
    assert verify_gpt2.main(["--model", "ioi-mini", "--published", str(changed)]) == 1
    (named,) = (line for line in capsys.readouterr().out.splitlines() if "MORE THAN" in line)
    assert named.startswith("head_out_all_pos")
    assert "layer 9, head 6" in named


def test_positions_and_heads_are_laid_out_as_published() -> None:
    published = utils.published_patching(verify_gpt2.LONG_SWEEP)
    as_transformer_lens = published.transpose(-1, -2)
    assert verify_gpt2.published_layout(verify_gpt2.LONG_SWEEP, as_transformer_lens).equal(published)


def test_a_model_that_is_not_there_gets_a_sentence(capsys: pytest.CaptureFixture) -> None:
    assert verify_gpt2.main(["--model", "no such model"]) == 1
    assert "no such model" in capsys.readouterr().err
