"""A notebook as an HTML page, with nbconvert and our template."""

import os
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from nbformat import NotebookNode
from traitlets.config import Config

PLOTLY = "application/vnd.plotly.v1+json"
SECONDS_FOR_A_CELL = 900
FORMULA = re.compile(r"\$(\$?)([^$`]+)\$\1")
LINK_TO_NOTEBOOK = re.compile(r"\]\((\w+)\.ipynb\)")


def run(notebook: NotebookNode, folder: Path) -> None:
    """Run a notebook's cells where it lies; its outputs go into it, heat maps as the data of plotly's figures.

    Leave out progress bars: a page would show each of their states.
    """
    client = NotebookClient(
        notebook,
        timeout=SECONDS_FOR_A_CELL,
        store_widget_state=False,
        extra_arguments=["--IPKernelApp.log_level=ERROR"],  # no warning about TCP
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute(env=os.environ | {"PLOTLY_RENDERER": "plotly_mimetype", "TQDM_DISABLE": "1"})


def write(notebook: NotebookNode, file: Path, **page: Any) -> None:
    """Write a notebook as a page; `page` is what the template wants to know about its neighbours."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = LINK_TO_NOTEBOOK.sub(r"](\1.html)", cell.source)
            cell.source = FORMULA.sub(_mathml, cell.source)
    html, _ = exporter().from_notebook_node(notebook, resources={"page": page})
    file.write_text(html, encoding="utf-8")


def _mathml(formula: re.Match) -> str:
    """Return a LaTeX formula as MathML, which browsers draw without a network."""
    return convert(formula[2].strip(), display="block" if formula[1] else "inline")


def exporter() -> HTMLExporter:
    return HTMLExporter(
        extra_template_basedirs=[str(Path(__file__).parent)],
        template_name="workbook",
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
        config=Config(NbConvertBase={"display_data_priority": [PLOTLY, "text/html", "text/markdown", "text/plain"]}),
    )
