"""Preprocessors by which no page that shows a graded notebook runs a student's scripts: Formgrader, feedback.

nbgrader's pages show markdown, HTML and names as they are. What is graded is cleaned before it is saved, and its
figures are drawn by our own scripts.
"""

import html
import sys
from functools import partial
from typing import Any

import jinja2
from nbformat import NotebookNode
from nbgrader.preprocessors import NbGraderPreprocessor

from grading.safe_figures import figure_in
from grading.safe_html import clean, clean_markdown, render_markdown

PASSED_ON = ("text/plain", "text/latex", "image/png", "image/jpeg", "image/svg+xml")
"""Types of output that a page escapes or shows as a picture."""
LANGUAGE = {"name": "python", "pygments_lexer": "ipython3"}
NAMES = ("student", "first_name", "last_name", "notebook_path")


class CleanText(NbGraderPreprocessor):
    """Clean the text between the code cells, before the notebook runs: its process may be killed."""

    def preprocess_cell(self, cell: NotebookNode, resources: dict, index: int) -> tuple[NotebookNode, dict]:
        if cell.cell_type == "markdown":
            cell.source = clean_markdown(cell.source, cell.get("attachments"))
        elif cell.cell_type == "raw":
            cell.source = clean(cell.source)
        return cell, resources


class CleanOutputs(NbGraderPreprocessor):
    """Clean outputs, and what the kernel has said of itself, after the scores are saved."""

    def preprocess(self, nb: NotebookNode, resources: dict) -> tuple[NotebookNode, dict]:
        nb.metadata = NotebookNode(kernelspec=nb.metadata.get("kernelspec", {}), language_info=NotebookNode(LANGUAGE))
        loaded: set[str] = set()
        for output in (output for cell in nb.cells for output in cell.get("outputs", ())):
            if "data" in output:
                output.data = NotebookNode(clean_data(output.data, loaded))
                output.metadata = NotebookNode()
        return nb, resources


def clean_data(data: dict[str, Any], loaded: set[str]) -> dict[str, str]:
    """Return an output's data by type: pictures and text as they are, HTML cleaned, and figures drawn."""
    texts = {kind: value for kind, value in data.items() if isinstance(value, str)}
    kept = {kind: texts[kind] for kind in PASSED_ON if kind in texts}
    if figure := figure_in(data, loaded):
        return kept | {"text/html": figure}
    if "text/html" in texts:
        return kept | {"text/html": clean(texts["text/html"])}
    if "text/markdown" in texts:
        return kept | {"text/html": render_markdown(texts["text/markdown"])}
    return kept


class EscapeNames(NbGraderPreprocessor):
    """Escape the names of students on Formgrader's page of a notebook, which prints them as they are."""

    def preprocess(self, nb: NotebookNode, resources: dict) -> tuple[NotebookNode, dict]:
        resources.update({name: html.escape(resources[name]) for name in NAMES if resources.get(name)})
        return nb, resources


def escape_formgrader() -> None:
    """Have Formgrader, where this process is its server, escape what it prints into its other pages."""
    if formgrader := sys.modules.get("nbgrader.server_extensions.formgrader.formgrader"):
        vars(formgrader)["Environment"] = partial(jinja2.Environment, autoescape=True)
