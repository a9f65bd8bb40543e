"""The libraries that draw figures, in files beside a student's pages instead of in each of them.

A page that came alone, through nbgrader's exchange, loads them from the network.
"""

import base64
import hashlib
from importlib.metadata import version

from nbconvert import HTMLExporter
from nbformat import NotebookNode
from nbgrader.preprocessors import NbGraderPreprocessor

from grading.safe_figures import LIBRARIES, library

GLOBAL = {"plotly": "Plotly", "circuitsvis": "CircuitsVis"}
"""The variable that a library defines."""


class FeedbackExporter(HTMLExporter):
    """nbconvert's exporter under another name, so that our template is not Formgrader's too."""


class ShareFigures(NbGraderPreprocessor):
    """Move the libraries out of the outputs, into files that nbconvert writes beside the page."""

    def preprocess(self, nb: NotebookNode, resources: dict) -> tuple[NotebookNode, dict]:
        resources["libraries"] = []
        outputs = [output.data for cell in nb.cells for output in cell.get("outputs", ()) if "data" in output]
        for name in LIBRARIES:
            tag = library(name, set())
            holders = [data for data in outputs if tag and tag in data.get("text/html", "")]
            for data in holders:
                data["text/html"] = data["text/html"].replace(tag, "")
            if holders:
                script = tag.removeprefix("<script>").removesuffix("</script>").encode()
                resources.setdefault("outputs", {})[f"{name}.js"] = script
                resources["libraries"].append(
                    {"file": f"{name}.js", "defines": GLOBAL[name], "url": address(name), "hash": digest(script)}
                )
        return nb, resources


def address(name: str) -> str:
    """Return where the same file is in the network."""
    if name == "plotly":
        from plotly.offline import get_plotlyjs_version  # a slow import, which other nbgrader commands do not need

        return f"https://cdn.plot.ly/plotly-{get_plotlyjs_version()}.min.js"
    return f"https://unpkg.com/{name}@{version(name)}/dist/cdn/iife.js"


def digest(script: bytes) -> str:
    """Return what a browser compares a file from the network with."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode()}"
