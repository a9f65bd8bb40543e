"""What is left of students' texts and outputs; `test_pages` looks at the pages themselves."""

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbconvert.filters import markdown2html

from grading.course import read_settings
from grading.preprocessors import AUTOGRADE
from grading.safe_pages import TAGS, CleanOutputs, CleanText, EscapeNames, clean_markdown
from grading.tables import GradesTable
from selftests import REPOSITORY
from selftests.grading.page_payloads import LEAVES, NAMES, OVERLAY, PAYLOADS, Payload

EXERCISES = sorted((REPOSITORY / "exercises").glob("*/*.ipynb"))


@pytest.mark.parametrize("payload", [*PAYLOADS, *LEAVES, OVERLAY], ids=lambda payload: payload.name)
def test_only_harmless_html_is_left(payload: Payload):
    notebook = nbformat.v4.new_notebook(cells=[payload.cell("http://127.0.0.1:1", shown=True)])
    notebook, _ = CleanText().preprocess(notebook, {})
    notebook, _ = CleanOutputs().preprocess(notebook, {})
    (cell,) = notebook.cells
    data = [output.data.get("text/html", "") for output in cell.get("outputs", ())]
    left = BeautifulSoup(data[0] if data else markdown2html(cell.source), "html.parser")
    scripts = [tag.extract() for tag in left.find_all("script")]
    assert not any("127.0.0.1" in script.text for script in scripts if script.get("type") != "application/json")
    assert {tag.name for tag in left.find_all(True)} - {*TAGS} == set()
    attributes = [(name, value) for tag in left.find_all(True) for name, value in tag.attrs.items()]
    assert [name for name, _ in attributes if name.startswith("on")] == []
    assert [value for name, value in attributes if name in ("src", "href", "style") and "127.0.0.1" in value] == []


@pytest.mark.parametrize("path", EXERCISES, ids=lambda path: path.stem)
def test_the_courses_own_text_stays(path):
    texts = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"]
    assert texts
    for text in texts:
        before, after = (BeautifulSoup(markdown2html(each), "html.parser") for each in (text, clean_markdown(text)))
        for tag in [*before.find_all(class_="anchor-link"), *after.find_all(class_="anchor-link")]:
            tag.decompose()
        assert "".join(after.text.split()) == "".join(before.text.split())
        for kind in ("details", "a", "code", "table", "img"):
            assert len(after.find_all(kind)) == len(before.find_all(kind))


@pytest.mark.parametrize("name", NAMES)
def test_names_are_escaped_on_formgraders_page_of_a_notebook(name: str):
    _, resources = EscapeNames().preprocess(nbformat.v4.new_notebook(), {"student": name, "last_name": None})
    assert not set(resources["student"]) & set("<>\"'")
    assert BeautifulSoup(resources["student"], "html.parser").text == name


def test_this_repositorys_settings_clean(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(REPOSITORY)
    settings = read_settings().config
    assert settings.Autograde.autograde_preprocessors == AUTOGRADE
    assert settings.HTMLExporter.preprocessors == [EscapeNames]
    assert settings.ExportApp.plugin_class == f"{GradesTable.__module__}.{GradesTable.__name__}"
