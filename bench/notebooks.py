"""Time the solutions notebooks, cell by cell: `python -m bench.notebooks`.

Each runs alone, top to bottom, in a fresh kernel, the first with nothing kept on disk, as in a reader's first session.
With `--size gpt2-small` the model is one of gpt2-small's size with random weights, which take as long as trained ones.
"""

import argparse
import os
import re
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from bench.__main__ import save_random_gpt2

TIME_OF_A_BAR = re.compile(r"\[\d+:\d\d[<,]")
WIDGET = "application/vnd.jupyter.widget-view+json"
SOLUTIONS = sorted((Path(__file__).parents[1] / "solutions/activation_patching").glob("*.ipynb"))


@dataclass
class Wait:
    """How long one cell took."""

    cell: str
    seconds: float
    is_bonus: bool
    has_bar: bool


def main(arguments: list[str] | None = None) -> None:
    """Run the notebooks and print a table in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m bench.notebooks", description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=("ioi-mini", "gpt2-small"), default="ioi-mini")
    options = parser.parse_args(arguments)
    print("| notebook | all cells | longest wait | longest wait of the bonus exercises | over 2 s without a bar |")
    print("| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["IOI_CACHE"] = f"{temporary}/cache"
        os.environ["IOI_MODEL"] = options.size
        if options.size == "gpt2-small":
            folder = Path(temporary) / "gpt2-small"
            folder.mkdir()
            os.environ["IOI_MODEL"] = str(save_random_gpt2(folder))
        for notebook in SOLUTIONS:
            print(line(notebook.stem, run(notebook)), flush=True)


def run(path: Path) -> list[Wait]:
    """Execute a notebook; a cell that fails, as checks and claims may on random weights, does not stop it."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=None, allow_errors=True, record_timing=True).execute()
    return [wait_of(cell) for cell in notebook.cells if "execution" in cell.metadata]


def wait_of(cell: nbformat.NotebookNode) -> Wait:
    """Read how long a cell took, and whether it showed a progress bar, from an executed notebook."""
    times = cell.metadata.execution
    started, ended = (datetime.fromisoformat(times[key]) for key in ("iopub.execute_input", "iopub.status.idle"))
    grade_id = cell.metadata.get("nbgrader", {}).get("grade_id", "")
    return Wait(cell.id, (ended - started).total_seconds(), grade_id.endswith("_bonus"), any(map(is_bar, cell.outputs)))


def is_bar(output: nbformat.NotebookNode) -> bool:
    """Whether an output is a progress bar: a widget where there are widgets, or else text."""
    return bool(TIME_OF_A_BAR.search(output.get("text", ""))) or WIDGET in output.get("data", {})


def line(name: str, waits: list[Wait]) -> str:
    """One row of the table."""
    required = max((wait for wait in waits if not wait.is_bonus), key=lambda wait: wait.seconds)
    bonus = max((wait for wait in waits if wait.is_bonus), key=lambda wait: wait.seconds, default=None)
    silent = [wait for wait in waits if wait.seconds > 2 and not wait.has_bar]
    return (
        f"| {name} | {sum(wait.seconds for wait in waits):.0f} s | {named(required)} | {named(bonus) if bonus else ''} "
        f"| {', '.join(map(named, silent))} |"
    )


def named(wait: Wait) -> str:
    return f"{wait.seconds:.1f} s ({wait.cell})"


if __name__ == "__main__":
    main()
