"""The prompts as tokens, the errors of `load_ioi`, and the logit difference."""

import re

import pytest
import torch

import utils
from utils import ANSWERS, PROMPTS, IOIData, PromptError, ioi, load_ioi, logits_to_ave_logit_diff, make_ioi_metric

# Read off the prompts by eye; position 0 is the beginning-of-sequence token.
FIRST_NAME, SECOND_NAME, S2, END = 2, 4, 10, 14
SUBJECT_COMES_FIRST = [True, False, False, True, False, True, False, True]

LONG_NAME = " Zbigniewski"


@pytest.fixture(scope="module")
def model():
    return utils.model_in_use()


@pytest.fixture(scope="module")
def data(model) -> IOIData:
    return load_ioi(model)


def refusal(model, prompts: list[str], answers: list[tuple[str, str]]) -> str:
    """The text of the `PromptError` that `load_ioi` raises: one line that is a sentence."""
    with pytest.raises(PromptError) as caught:
        load_ioi(model, prompts, answers)
    message = str(caught.value)
    assert "\n" not in message
    assert re.fullmatch(r"[A-Z'\"].*\.", message)
    return message


def test_every_prompt_has_15_tokens(data):
    assert data.clean_tokens.shape == (8, 15)
    assert data.clean_tokens.dtype == torch.int64


def test_str_tokens_equal_the_published_ones(data):
    assert data.str_tokens[0] == utils.published_results()["str_tokens_prompt_0"]


def test_str_tokens_join_to_the_prompts(data):
    assert ["".join(row[1:]) for row in data.str_tokens] == PROMPTS


def test_corrupted_tokens_are_the_swapped_pairs(data):
    assert torch.equal(data.corrupted_tokens, data.clean_tokens[[1, 0, 3, 2, 5, 4, 7, 6]])


def test_corrupted_tokens_differ_at_s2_only(data):
    differing = data.clean_tokens != data.corrupted_tokens
    assert differing.nonzero().tolist() == [[row, S2] for row in range(8)]


def test_answer_tokens_are_the_answers(model, data):
    assert [tuple(model.to_string(token[None]) for token in row) for row in data.answer_tokens] == ANSWERS


def test_positions_are_those_read_off_the_prompts(data):
    subjects = [FIRST_NAME if first else SECOND_NAME for first in SUBJECT_COMES_FIRST]
    indirect_objects = [SECOND_NAME if first else FIRST_NAME for first in SUBJECT_COMES_FIRST]
    assert {name: positions.tolist() for name, positions in data.positions.items()} == {
        "S1": subjects,
        "S1+1": [position + 1 for position in subjects],
        "IO": indirect_objects,
        "S2": [S2] * 8,
        "END": [END] * 8,
    }


def test_labels_name_the_tokens_of_prompt_0_and_are_distinct(data):
    assert len(set(data.labels)) == 15
    assert (data.labels[FIRST_NAME], data.labels[S2], data.labels[END]) == ("John 2", "John 10", "to 14")


def test_a_subset_of_the_prompts_gives_that_subset_of_the_data(model, data):
    part = load_ioi(model, PROMPTS[2:6], ANSWERS[2:6])
    assert torch.equal(part.clean_tokens, data.clean_tokens[2:6])
    assert torch.equal(part.corrupted_tokens, data.corrupted_tokens[2:6])
    assert torch.equal(part.positions["IO"], data.positions["IO"][2:6])


def test_the_clean_and_corrupted_runs_differ_in_their_logit_difference(model, data):
    clean = logits_to_ave_logit_diff(model(data.clean_tokens), data.answer_tokens)
    corrupted = logits_to_ave_logit_diff(model(data.corrupted_tokens), data.answer_tokens)
    assert clean > 1 > -1 > corrupted


def test_metric_is_1_on_the_clean_run(model, data):
    metric = make_ioi_metric(model, data)
    torch.testing.assert_close(metric(model(data.clean_tokens)), torch.tensor(1.0, device=data.clean_tokens.device))


def test_metric_is_0_on_the_corrupted_run(model, data):
    metric = make_ioi_metric(model, data)
    torch.testing.assert_close(metric(model(data.corrupted_tokens)), torch.tensor(0.0, device=data.clean_tokens.device))


def test_metric_is_linear_in_between(model, data):
    metric = make_ioi_metric(model, data)
    clean, corrupted = model(data.clean_tokens), model(data.corrupted_tokens)
    quarter = metric(clean / 4 + 3 * corrupted / 4)
    torch.testing.assert_close(quarter, torch.tensor(0.25, device=data.clean_tokens.device), rtol=0, atol=1e-4)


def test_logit_difference_equals_a_slow_loop():
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 4, 11, generator=random)
    answer_tokens = torch.tensor([[3, 7], [0, 10], [10, 0], [4, 5], [9, 1]])
    slow = torch.tensor(
        [logits[row, 3, correct] - logits[row, 3, incorrect] for row, (correct, incorrect) in enumerate(answer_tokens)]
    )
    per_prompt = logits_to_ave_logit_diff(logits, answer_tokens, per_prompt=True)
    average = logits_to_ave_logit_diff(logits, answer_tokens)
    torch.testing.assert_close(per_prompt, slow)
    torch.testing.assert_close(average, slow.mean())
    assert average.dim() == 0


def test_an_answer_of_several_tokens_is_refused(model):
    message = refusal(model, PROMPTS[:2], [(LONG_NAME, " John"), (" John", LONG_NAME)])
    assert repr(LONG_NAME) in message
    assert re.search(r"is \d+ tokens for this model", message)


def test_prompts_of_different_lengths_are_refused(model):
    longer = PROMPTS[1].replace("went to", "were working at")
    message = refusal(model, [PROMPTS[0], longer], ANSWERS[:2])
    assert repr(longer) in message
    assert "has 15" in message


@pytest.mark.parametrize(("old", "new"), [("shops", "moon"), ("John", "Ozymandias"), ("gave", "gives"), (",", " -")])
def test_a_word_that_ioi_mini_does_not_know_is_named(model, old, new):
    message = refusal(model, [prompt.replace(old, new) for prompt in PROMPTS[:2]], ANSWERS[:2])
    assert f"does not know {new.strip()!r}" in message


def test_prompts_of_other_words_that_ioi_mini_knows_are_accepted(model):
    sentence = "While {} and {} were working at the library, {} handed a camera to"
    prompts = [sentence.format("Emma", "Peter", subject) for subject in ("Emma", "Peter")]
    own = load_ioi(model, prompts, [(" Peter", " Emma"), (" Emma", " Peter")])
    assert (logits_to_ave_logit_diff(model(own.clean_tokens), own.answer_tokens, per_prompt=True) > 0).all()


def test_an_odd_number_of_prompts_is_refused(model):
    message = refusal(model, PROMPTS[:3], ANSWERS[:3])
    assert message.startswith("There are 3 prompts")


def test_no_prompts_at_all_are_refused(model):
    message = refusal(model, [], [])
    assert message.startswith("There are 0 prompts")


def test_too_few_answers_are_refused(model):
    message = refusal(model, PROMPTS[:4], ANSWERS[:2])
    assert message.startswith("There are 4 prompts and 2 answer pairs")


def test_prompts_that_are_not_a_pair_are_refused(model):
    message = refusal(model, [PROMPTS[0], PROMPTS[2]], [ANSWERS[0], ANSWERS[2]])
    assert repr(PROMPTS[0]) in message
    assert repr(PROMPTS[2]) in message


def test_the_same_prompt_twice_is_not_a_pair(model):
    assert "not an IOI pair" in refusal(model, [PROMPTS[0], PROMPTS[0]], [ANSWERS[0], ANSWERS[0]])


def test_a_pair_that_differs_in_a_second_word_is_refused(model):
    assert "not an IOI pair" in refusal(model, [PROMPTS[0], PROMPTS[1].replace("shops", "park")], ANSWERS[:2])


def test_an_answer_without_its_leading_space_is_refused(model):
    message = refusal(model, PROMPTS[:2], [("Mary", " John"), ANSWERS[1]])
    assert "'Mary'" in message
    assert "' Mary'" in message


def test_answers_in_the_wrong_order_are_refused(model):
    message = refusal(model, PROMPTS[:2], [ANSWERS[1], ANSWERS[0]])
    assert "the incorrect answer must be the name that occurs twice" in message


def test_other_names_are_three_new_ones_in_each_prompt(model, data):
    tokens = utils.with_other_names(model, data)
    places = torch.stack([data.positions[name] for name in ("S1", "IO", "S2")], dim=1)
    names = tokens.gather(1, places)
    assert names.unique().numel() == names.numel()
    assert not torch.isin(names, data.answer_tokens).any()
    assert torch.equal(tokens.scatter(1, places, 0), data.clean_tokens.scatter(1, places, 0))


def test_prompts_share_names_where_a_tokenizer_has_few(model, data, monkeypatch):
    monkeypatch.setattr(ioi, "NAMES", ["Mary", "Aaron", "Zbigniewski", "Adam", "Alan"])
    tokens = utils.with_other_names(model, data)
    names = tokens.gather(1, torch.stack([data.positions[name] for name in ("S1", "IO", "S2")], dim=1))
    assert len({tuple(sorted(row)) for row in names.tolist()}) == 1
    monkeypatch.setattr(ioi, "NAMES", ["Aaron", "Adam"])
    with pytest.raises(PromptError, match=r"too few of our 2 names as single tokens\.$"):
        utils.with_other_names(model, data)
