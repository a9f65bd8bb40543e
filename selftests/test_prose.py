"""The notebooks and the documents as texts: spelling, links, headings, words, times, and the direction of patching."""

import importlib.util
import itertools
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlparse

import nbformat
import pytest
from nbgrader.utils import is_grade

import preview.picture
from grading.written_answers import is_optional
from selftests import REPOSITORY
from selftests.prose import markdown_cells, notebooks
from tests import exercises as registry

# By the names that messages give them: README.md, docs/instructors.md and so on.
DOCUMENTS = {
    str(path.relative_to(REPOSITORY)): path
    for path in [*sorted(REPOSITORY.glob("*.md")), *sorted((REPOSITORY / "docs").glob("*.md"))]
}
EXERCISES = REPOSITORY / "exercises" / "activation_patching"
SOLUTIONS = REPOSITORY / "solutions" / "activation_patching"


@pytest.fixture(scope="module")
def texts() -> list[tuple[str, str]]:
    """All prose that a reader meets: where it stands, and its markdown."""
    return [*((name, path.read_text(encoding="utf-8")) for name, path in DOCUMENTS.items()), *markdown_cells()]


# Spelling


def misspelt(*paths: Path) -> str:
    """What codespell complains about in files and folders; data such as tokenizers are left out."""
    command = [sys.executable, "-m", "codespell_lib", "--skip", "*.json", "--builtin", "clear,rare", *map(str, paths)]
    return subprocess.run(command, capture_output=True, text=True).stdout


def test_spelling(texts, tmp_path: Path) -> None:
    for number, (where, text) in enumerate(texts):
        (tmp_path / f"{number:03} {re.sub('[,/]', '', where)}.md").write_text(text, encoding="utf-8")
    assert misspelt(tmp_path, REPOSITORY / "utils", REPOSITORY / "tests") == ""


def test_a_misspelt_word_is_found(tmp_path: Path) -> None:
    (tmp_path / "text.md").write_text("The rec" + "ieved wisdom.", encoding="utf-8")
    assert "==> received" in misspelt(tmp_path)


# Links and pictures

LINK = re.compile(r"(!?)\[([^]]*)\]\(([^)\s]*)\)")


def bad_links(where: str, text: str, folder: Path) -> list[str]:
    """Links and pictures whose form is wrong, or whose file is not there; no network is asked."""
    found = []
    for picture, label, target in LINK.findall(text):
        address = urlparse(target)
        if not label.strip():
            found.append(f"{where}: {target} has no {'alt text' if picture else 'label'}")
        if address.scheme:
            if picture:
                found.append(f"{where}: the picture {target} needs a network")
            elif address.scheme != "https" or "." not in address.netloc:
                found.append(f"{where}: {target} is no address")
        elif not address.path or not (folder / address.path).exists():
            found.append(f"{where}: there is no {target}")
    for tag in re.findall(r"<(?:img|iframe|script|link)\b[^>]*>", text):
        if "alt=" not in tag or "//" in tag:
            found.append(f"{where}: {tag} has no alt text or needs a network")
    return found


@pytest.mark.parametrize("folder", [SOLUTIONS, EXERCISES], ids=lambda folder: folder.parent.name)
def test_links_in_notebooks(folder: Path) -> None:
    assert [bad for where, text in markdown_cells() for bad in bad_links(where, text, folder)] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_in_documents(name: str) -> None:
    path = DOCUMENTS[name]
    assert bad_links(name, path.read_text(encoding="utf-8"), path.parent) == []


def commands(text: str, pattern: str) -> set[str]:
    """What a pattern finds in a text's code, inline and in blocks."""
    code = re.findall(r"^```.*?^```|`[^`\n]*`", text, flags=re.DOTALL | re.MULTILINE)
    return {found for piece in code for found in re.findall(pattern, piece)}


def test_commands_in_documents_exist() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in DOCUMENTS.values())
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.M))
    assert targets - commands(text, r"\bmake ([a-z0-9-]+)") <= {"mutations"}
    assert commands(text, r"\bmake ([a-z0-9-]+)") - targets == set()
    modules = commands(text, r"\bpython -m ([\w.]+)") - {"pip", "venv"}
    assert modules and [module for module in modules if importlib.util.find_spec(module) is None] == []


def test_the_readme_links_to_every_other_document() -> None:
    linked = {target for _, _, target in LINK.findall(DOCUMENTS["README.md"].read_text(encoding="utf-8"))}
    assert set(DOCUMENTS) - linked == {"README.md"}


def test_the_readme_is_short_and_its_picture_is_up_to_date() -> None:
    assert len(DOCUMENTS["README.md"].read_text(encoding="utf-8").splitlines()) <= 90
    assert preview.picture.FILE.read_text(encoding="utf-8") == preview.picture.picture()


@pytest.mark.parametrize(
    "text",
    [
        "[](00_introduction.ipynb)",
        "[a](no_such.ipynb)",
        "[a]()",
        "[a](http://example.org)",
        "[a](https://example)",
        "![](00_introduction.ipynb)",
        "![a picture](https://example.org/picture.png)",
        '<img src="00_introduction.ipynb">',
        '<img alt="a" src="https://example.org/picture.png">',
    ],
)
def test_a_bad_link_is_found(text: str) -> None:
    assert len(bad_links("here", text, SOLUTIONS)) == 1


# Headings and folded parts


def bad_headings(levels: list[int]) -> bool:
    """Whether a page does not begin with its one title, or a heading skips a level."""
    skips = [lower > upper + 1 for upper, lower in itertools.pairwise(levels)]
    return levels[:1] != [1] or levels.count(1) > 1 or any(skips)


def levels_of(text: str) -> list[int]:
    without_code = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return [len(marks) for marks in re.findall(r"^(#+) ", without_code, flags=re.MULTILINE)]


def test_headings_descend_one_level_at_a_time() -> None:
    pages = {name: path.read_text(encoding="utf-8") for name, path in DOCUMENTS.items()}
    for name, notebook in notebooks().items():
        pages[name] = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert [name for name, text in pages.items() if bad_headings(levels_of(text))] == []


@pytest.mark.parametrize("levels", [[], [2], [1, 1], [1, 3], [1, 2, 4]])
def test_wrong_headings_are_found(levels: list[int]) -> None:
    assert bad_headings(levels)


def bad_folds(text: str) -> bool:
    """Whether a folded part is not closed in its cell, has no summary, or lacks the blank line after it.

    Without that line Jupyter shows the markdown in it as it is written.
    """
    counts = {text.count(f"<{tag}>") for tag in ("details", "/details", "summary", "/summary")}
    return len(counts) > 1 or len(re.findall(r"<details>\n<summary>.+</summary>\n\n", text)) not in counts


def test_folded_parts_are_whole(texts) -> None:
    assert [where for where, text in texts if bad_folds(text)] == []
    assert any("<details>" in text for _, text in texts)


@pytest.mark.parametrize(
    "text",
    [
        "<details>\n<summary>Hint</summary>\n\nText.",
        "<details>\n\nText.\n\n</details>",
        "<details>\n<summary>Hint</summary>\nText.\n\n</details>",
    ],
)
def test_a_broken_fold_is_found(text: str) -> None:
    assert bad_folds(text)


def test_hints_and_answers_belong_to_questions_and_exercises(texts) -> None:
    for where, text in texts:
        if re.search(r"<summary>(Hint.*|Answer)</summary>", text):
            assert "**Question.**" in text or "xercise: `" in text or where.endswith("my-circuit-text"), where


def test_comments_end_a_line_of_text(texts) -> None:
    """At the beginning of a line a comment would make the rest of the line HTML, and a `**` in it stars."""
    for where, text in texts:
        assert not re.search(r"^\s*<!--|<!--[^>]*$", text, flags=re.MULTILINE), where
        assert not re.search(r"<!--(?! claim: [^<>]+ -->)", text), where


# Words

INSTEAD_OF = {
    r"\b[Ll]ogit[- ]diffs?\b": "logit difference",
    r"\bresidual-stream\b": "residual stream",
    r"\b(de-noising|un-?corrupted|noised run)\b": "denoising, clean, and the run's own name",
    r"\bL\d+H\d+\b|\b[Hh]ead \d+ (of|in) layer\b": "layer.head, as in 9.9",
    r"\bMLP\d+\b": "MLP 0",
    r"\b(s1|s2|io|S_?[12]\+ ?2)\b": "S1, S1+1, S2, IO",
    r"\bend position\b|\bfinal token position\b": "END",
    r"\bpatched-in\b|\bablation patch": "patch",
    r"\ba bit( of)?\b|\bsort of\b|\bkind of (a|an|like)\b": "how much, measured or with its source",
}


def wrong_words(text: str) -> list[str]:
    """Words for which the workbook has one of its own; code and addresses may say what they like."""
    prose = re.sub(r"^```.*?^```|`[^`]*`|\]\([^)]*\)|<!--.*?-->", "", text, flags=re.DOTALL | re.MULTILINE)
    return [
        f"{found[0]} instead of {word}" for wrong, word in INSTEAD_OF.items() for found in re.finditer(wrong, prose)
    ]


def test_one_word_for_each_thing(texts) -> None:
    assert {where: wrong for where, text in texts if (wrong := wrong_words(text))} == {}


@pytest.mark.parametrize(
    "text", ["The logit diff.", "L9H9 writes.", "Noise MLP0.", "At s2.", "Head 9 of layer 9.", "It uses a bit of both."]
)
def test_a_wrong_word_is_found(text: str) -> None:
    assert len(wrong_words(text)) == 1


def test_the_terms_of_the_course_are_all_taught(texts) -> None:
    everything = "\n".join(text for _, text in texts)
    terms = (
        "IOI (indirect object identification",
        "**clean** and a **corrupted**",
        "**denoising**",
        "**noising**",
        "**sufficient**",
        "**necessary**",
        "**patch**",
        "**logit difference**",
        "residual stream",
        *("`resid_pre`", "`attn_out`", "`mlp_out`", "query `q`", "key `k`", "value `v`", "attention `pattern`"),
        *("**S1**", "**S1+1**", "**IO**", "**S2**", "**END**", "layer.head", "ROME", "HookedTransformer"),
    )
    assert [term for term in terms if term not in everything] == []


# The direction of patching


def reversed_patches(cell_id: str, source: str) -> bool:
    """Whether a code cell that is not the noising experiment patches from the corrupted run, or into the clean one."""
    if cell_id.startswith("noising"):
        return False
    from_corrupted = re.search(r"clean_cache=corrupted_cache|corrupted_cache\[hook\.name\]", source)
    runs_clean = re.search(r"(run_with_hooks\(|get_act_patch\w+\(model, )(data\.)?clean_tokens", source)
    into_clean = runs_clean and "clean_cache" in source
    return bool(from_corrupted or into_clean)


def test_only_the_noising_experiment_patches_from_the_corrupted_run() -> None:
    reverse = []
    for name, notebook in notebooks().items():
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        reverse += [f"{name}, {cell.id}" for cell in code if reversed_patches(cell.id, cell.source)]
    assert reverse == []
    experiment = [cell.source for cell in notebooks()["03_attention_heads"].cells if cell.id == "noising"]
    assert reversed_patches("elsewhere", *experiment)


@pytest.mark.parametrize(
    "source",
    [
        "partial(patch_head_vector, head_index=9, clean_cache=corrupted_cache)",
        "hook = partial(f, clean_cache=clean_cache)\nmodel.run_with_hooks(clean_tokens, fwd_hooks=[(name, hook)])",
        "patching.get_act_patch_resid_pre(model, data.clean_tokens, clean_cache, ioi_metric)",
    ],
)
def test_a_reversed_patch_is_found(source: str) -> None:
    assert reversed_patches("own-map", source)


def confused(text: str) -> list[str]:
    """Sentences that say the one of denoising and noising and describe the other."""
    sentences = re.split(r"(?<=[.?:])\s+", re.sub(r"<!--.*?-->|\*", "", text))
    found = []
    for sentence in sentences:
        denoising, noising = re.search(r"\bdenois", sentence, re.I), re.search(r"\bnois", sentence, re.I)
        noises = re.search(r"corrupted (activation|value|output)s? (goes |go |is |are )?(patched )?into", sentence)
        denoises = re.search(r"clean (activation|value|output)s? (goes |go |is |are )?(patched )?into", sentence)
        wrong = (noises or re.search(r"necessary", sentence)) and denoising and not noising
        wrong = wrong or ((denoises or re.search(r"sufficient", sentence)) and noising and not denoising)
        if wrong:
            found.append(sentence)
    return found


def test_denoising_and_noising_are_not_confused(texts) -> None:
    assert {where: wrong for where, text in texts if (wrong := confused(text))} == {}


@pytest.mark.parametrize(
    "text",
    [
        "Patching corrupted activations into a clean run is called **denoising**.",
        "Patching clean activations into a corrupted run is called **noising**.",
        "Denoising asks what is necessary.",
        "Noising asks what is sufficient.",
    ],
)
def test_a_confusion_is_found(text: str) -> None:
    assert confused(text)
    assert not confused(text.replace("denoising", "X").replace("noising", "denoising").replace("X", "noising")) or (
        text[0] in "DN"
    )


def added_effects(text: str) -> list[str]:
    """Statements that effects of patches add up; what components write does, and a question may ask."""
    sentences = re.split(r"(?<=[.?:;])\s+", re.sub(r"<!--.*?-->|\*", "", text))
    adds = re.compile(r"\beffects?\b.*\b(add(s|ed)?|sum)\b|\bsum of\b.*\beffects?\b", re.I | re.DOTALL)
    hedged = re.compile(r"\b(not|no|whether|nearly)\b|\?", re.I)
    return [sentence for sentence in sentences if adds.search(sentence) and not hedged.search(sentence)]


def test_no_text_says_that_effects_add_up(texts) -> None:
    assert {where: wrong for where, text in texts if (wrong := added_effects(text))} == {}


@pytest.mark.parametrize(
    "text",
    [
        "A logit is linear, so that effects of the same kind can be compared and added.",
        "The effects of two heads add up.",
        "Patching both gives the sum of their effects.",
    ],
)
def test_a_sum_of_effects_is_found(text: str) -> None:
    assert added_effects(text)


# Times and points

READING = re.compile(r"^\*Reading: about (\d+) minutes\. Exercises: (none|about (\d+) minutes(?:, (.*))?)\.\*$", re.M)
EXERCISE = re.compile(
    r"^## (?:Bonus e|E)xercise: `\w+`\n\n"
    r"> Difficulty: ●{1,5}○{0,4} · Importance: ●{1,5}○{0,4} · about (\d+) minutes · about \d+ lines(?: · bonus)?\n\n"
    r"(?P<why>[A-Z][^\n]*(?:\n[^\n]+)*)\n\n",
    re.M,
)
FORM = """\
## Exercise: `name`

> Difficulty: ●●○○○ · Importance: ●●●○○ · about 8 minutes · about 2 lines

One sentence on why it matters.

What to write."""
WORDS_A_MINUTE = 90
OPTIONAL_NOTEBOOKS = ("09_fast_sweeps", "10_lab")


def times(notebook: nbformat.NotebookNode) -> tuple[int, int]:
    """The minutes of reading and of exercises that the first cell of a notebook states."""
    stated = READING.search(notebook.cells[0].source)
    assert stated, notebook.cells[0].source
    return int(stated[1]), int(stated[3] or 0)


def exercises_in(notebook: nbformat.NotebookNode) -> list[str]:
    return [cell.source for cell in notebook.cells if re.search(r"^## .*xercise: ", cell.source, re.M)]


def opening(source: str) -> re.Match[str]:
    """The beginning of an exercise's text: its heading, what it takes, and why it matters."""
    found = EXERCISE.search(source)
    if not found:
        pytest.fail(
            f"An exercise's text has the form\n\n{FORM}\n\nand this one has not:\n\n{source[:300]}", pytrace=False
        )
    return found


def minutes_of_exercises(notebook: nbformat.NotebookNode, only: str = "") -> int:
    """The sum of the minutes that the exercises' texts state, or of those in whose text a word stands."""
    return sum(int(opening(source)[1]) for source in exercises_in(notebook) if only in source)


@pytest.mark.parametrize("name", notebooks())
def test_every_exercise_says_what_it_takes_and_why_it_matters(name: str) -> None:
    for source in exercises_in(notebooks()[name]):
        assert len(re.findall(r"[.!?](?=\s|$)", opening(source)["why"])) == 1, "one sentence on why it matters"
        circles = re.findall("[●○]+", source)
        assert [len(rating) for rating in circles[:2]] == [5, 5]


@pytest.mark.parametrize("name", notebooks())
def test_every_exercise_has_three_folded_hints(name: str) -> None:
    text = "\n\n".join(cell.source for cell in notebooks()[name].cells if cell.cell_type == "markdown")
    for source in re.split(r"^## (?:Bonus e|E)xercise: ", text, flags=re.M)[1:]:
        hints = re.findall(r"<summary>(Hint \d)</summary>", source)
        assert hints == ["Hint 1", "Hint 2", "Hint 3"], source[:40]


@pytest.mark.parametrize("name", notebooks())
def test_a_notebook_states_the_minutes_of_its_exercises_and_of_its_text(name: str) -> None:
    notebook = notebooks()[name]
    reading, exercises = times(notebook)
    assert exercises == minutes_of_exercises(notebook), "minutes at the top of the notebook, and of its exercises"
    assert reading == 5 * round(words_to_read(notebook) / WORDS_A_MINUTE / 5), "minutes of reading at the top"


def words_to_read(notebook: nbformat.NotebookNode) -> int:
    """Count the words of the text and of folded answers, not those of hints, which many readers do not need."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "markdown" and not is_optional(cell)]
    text = "\n\n".join(cell.source for cell in cells)
    text = re.sub(r"<details>\n<summary>Hint.*?</details>|<!--.*?-->", "", text, flags=re.DOTALL)
    return len(text.split())


def points(notebook: nbformat.NotebookNode) -> tuple[int, int]:
    """The points of its check cells, without the bonus, and of the bonus; written answers are off by default."""
    cells = [cell for cell in notebook.cells if is_grade(cell) and not is_optional(cell)]
    bonus = sum(cell.metadata.nbgrader.points for cell in cells if cell.metadata.nbgrader.grade_id.endswith("_bonus"))
    return sum(cell.metadata.nbgrader.points for cell in cells) - bonus, bonus


def table_row(text: str, name: str) -> list[str]:
    """The cells of a notebook's row in the table of the README or of the introduction."""
    (row,) = re.findall(rf"^\| \[?{int(name[:2])}\. .*\|$", text, re.M)
    return [cell.strip() for cell in row.strip("|").split("|")]


def introduction() -> str:
    return "\n".join(cell.source for cell in notebooks()["00_introduction"].cells[:3])


@pytest.mark.parametrize("name", notebooks())
def test_the_readme_states_the_points_of_each_notebook(name: str) -> None:
    required, bonus = points(notebooks()[name])
    expected = ", ".join([str(required)] * (required > 0) + [f"bonus {bonus}"] * (bonus > 0))
    stated = table_row(DOCUMENTS["README.md"].read_text(encoding="utf-8"), name)[-1]
    assert stated == expected, f"points of {name} in the README's table"


@pytest.mark.parametrize("name", registry.NOTEBOOKS)
def test_the_tables_name_the_exercises_of_each_notebook(name: str) -> None:
    tables = {"README.md": DOCUMENTS["README.md"].read_text(encoding="utf-8"), "the introduction": introduction()}
    for exercise in (exercise for exercise in registry.EXERCISES if exercise.notebook == name):
        for where, text in tables.items():
            assert f"`{exercise.name}`" in table_row(text, name)[1], (
                f"what you write in {name}, in the table of {where}"
            )


@pytest.mark.parametrize("name", notebooks())
def test_a_notebook_states_its_points(name: str) -> None:
    required, bonus = points(notebooks()[name])
    stated = READING.search(notebooks()[name].cells[0].source)[4] or ""
    numbers = [f"{required} points" if required else "", f"{bonus} bonus point{'s' * (bonus > 1)}" if bonus else ""]
    assert stated == " and ".join(number for number in numbers if number)


def test_the_session_takes_three_to_four_hours_and_the_introduction_says_so() -> None:
    stated = {name: times(notebook) for name, notebook in notebooks().items()}
    for name, minutes in stated.items():
        in_table = tuple(int(cell or 0) for cell in table_row(introduction(), name)[-2:])
        assert in_table == minutes, f"minutes of reading and of exercises of {name} in the introduction's table"
    reading, exercises = (sum(minutes) for minutes in zip(*stated.values(), strict=True))
    bonus = sum(minutes_of_exercises(notebook, only="· bonus") for notebook in notebooks().values())
    optional = sum(stated[name][0] for name in OPTIONAL_NOTEBOOKS)
    required = reading - optional + exercises - bonus
    left_out = (
        f"bonus exercises ({bonus} minutes), the appendix and the lab ({optional} of reading), {required} minutes"
    )
    assert f"{reading} minutes of reading and {exercises} of exercises." in introduction()
    assert left_out in introduction()
    assert 180 <= required <= 240
