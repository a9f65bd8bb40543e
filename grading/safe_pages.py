"""By this no page that shows a graded notebook runs a student's scripts: Formgrader, feedback.

nbgrader's pages show markdown, HTML and names as they are. What is graded is cleaned before it is saved: reduced to
what cannot run, load or cover anything, with figures drawn by our own scripts.
"""

import base64
import html
import re
import sys
from functools import partial
from typing import Any

import jinja2
from bleach import Cleaner
from bleach.css_sanitizer import CSSSanitizer
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode
from nbgrader.preprocessors import NbGraderPreprocessor

from grading.safe_figures import figure_in

PASSED_ON = ("text/plain", "text/latex", "image/png", "image/jpeg", "image/svg+xml")
"""Types of output that a page escapes or shows as a picture."""
LANGUAGE = {"name": "python", "pygments_lexer": "ipython3"}
NAMES = ("student", "first_name", "last_name", "notebook_path")

MAX_LETTERS, MAX_TAGS, MAX_MARKDOWN = 200_000, 5_000, 50_000
"""The longest HTML that is cleaned, besides diagrams, which takes seconds if all tags are nested, and markdown."""

TAGS = """
a abbr b blockquote br caption code col colgroup dd del details div dl dt em h1 h2 h3 h4 h5 h6 hr i img ins kbd li ol p
pre q s samp small span strong sub summary sup table tbody td tfoot th thead tr tt u ul var
""".split()
STYLES = """
background-color border-collapse color font-size font-style font-weight text-align text-decoration vertical-align
white-space
""".split()
LINK = re.compile(r"(https?://|mailto:|#)[^\s\x00-\x1f]*", re.IGNORECASE)
PICTURE = re.compile(r"data:image/(png|jpeg|gif|svg\+xml);base64,[A-Za-z0-9+/=\s]*")
SVG = re.compile(r"<svg\b.*?(?:</svg\s*>|\Z)", re.IGNORECASE | re.DOTALL)
UNSEEN = re.compile(r"<(script|style)\b.*?(?:</\1\s*>|\Z)", re.IGNORECASE | re.DOTALL)
"""Elements whose text the cleaner would otherwise show."""
MAKES_HTML = re.compile(r"<|\]\(|\]:")
"""What every HTML tag, link and picture in markdown contains."""
HIGHLIGHTED = re.compile(r"highlight|dataframe|diagram|[a-z]{1,3}\d?")
"""The classes of highlighted code, pandas' tables and our diagrams; those of the page itself could cover it."""


def is_allowed(tag: str, name: str, value: str) -> bool:
    """Return whether an attribute is harmless; ids and names would stand for the page's own elements and variables."""
    if name in ("href", "src"):
        wanted = {("a", "href"): LINK, ("img", "src"): PICTURE}.get((tag, name))
        return bool(wanted and wanted.fullmatch(value))
    if name == "class":
        return bool(HIGHLIGHTED.fullmatch(value))
    return name in ("alt", "colspan", "rowspan", "style", "title", "start", "scope")


CLEANER = Cleaner(
    tags=TAGS,
    attributes=is_allowed,
    protocols=["http", "https", "mailto", "data"],
    strip=True,
    css_sanitizer=CSSSanitizer(allowed_css_properties=STYLES, allowed_svg_properties=[]),
)


def clean(source: str) -> str:
    """Reduce HTML to allowed tags and attributes; an SVG becomes a picture, in which no script runs."""
    seen = UNSEEN.sub("", source)
    rest = SVG.sub("", seen)
    if len(rest) > MAX_LETTERS or rest.count("<") > MAX_TAGS:
        return "<p>HTML that is too long is not shown.</p>"
    try:
        return CLEANER.clean(SVG.sub(lambda match: picture(match[0]), seen))
    except RecursionError:
        return "<p>HTML nested too deeply is not shown.</p>"


def picture(svg: str) -> str:
    data = base64.b64encode(svg.encode(errors="replace")).decode()
    return f'<img alt="a diagram" src="data:image/svg+xml;base64,{data}">'


def render_markdown(source: str, attachments: dict | None = None) -> str:
    """Return a text's clean HTML; a text that cannot be rendered is shown as it was typed."""
    try:
        renderer = IPythonRenderer(escape=False, exclude_anchor_links=True, attachments=attachments)
        if len(source) <= MAX_MARKDOWN:
            return clean(MarkdownWithMath(renderer=renderer).render(source))
    except Exception:  # such as a missing attachment, or brackets nested too deeply
        pass
    return f"<pre>{html.escape(source)}</pre>"


def clean_markdown(source: str, attachments: dict | None = None) -> str:
    """Return a text whose HTML is clean: the text itself, or else its HTML, on one line, which markdown copies."""
    if not MAKES_HTML.search(source):
        return source
    return f"<div>{render_markdown(source, attachments)}</div>".replace("\r", "").replace("\n", "&#10;")


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
