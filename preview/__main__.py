"""Write the workbook as a site of static pages into a folder: `make preview`.

In the current folder, `solutions/` is run, two notebooks at a time; `exercises/` is shown as it is.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import nbformat
from plotly.offline import get_plotlyjs

from preview.contents import Entry, contents, entry
from preview.pages import run, write

COURSE = "activation_patching"
NOTES = {
    "solutions": "",
    "exercises": "This page is for reading. Nothing on it has been run, so the figures are missing: they appear in "
    "the notebook itself, and on the page of the solutions.",
}
NOTEBOOKS_AT_A_TIME = 2


def write_site(folder: Path) -> None:
    """Write the contents page, the pages of both versions, and plotly.js, which they share."""
    for version in NOTES:
        (folder / version).mkdir(parents=True, exist_ok=True)
    (folder / "plotly.min.js").write_text(get_plotlyjs(), encoding="utf-8")
    files = sorted(Path("solutions", COURSE).glob("*.ipynb"))
    entries = [entry(file.stem, nbformat.read(file, as_version=4)) for file in files]
    write(contents(entries), folder / "index.html", root="")
    with ProcessPoolExecutor(NOTEBOOKS_AT_A_TIME) as pool:
        pages = [
            pool.submit(write_page, folder, version, entries, number)
            for version in NOTES
            for number in range(len(entries))
        ]
        for page in pages:
            print(page.result())


def write_page(folder: Path, version: str, entries: list[Entry], number: int) -> Path:
    """Write one notebook's page, run before if it is a solution, with links to its neighbours and its other version."""
    name = entries[number].name
    source = Path(version, COURSE, f"{name}.ipynb")
    notebook = nbformat.read(source, as_version=4)
    notebook.metadata["title"] = f"{entries[number].title} ({version})"
    if version == "solutions":
        run(notebook, source.parent)
    other = "exercises" if version == "solutions" else "solutions"
    page = folder / version / f"{name}.html"
    write(
        notebook,
        page,
        root="../",
        note=NOTES[version],
        previous=link(entries[number - 1]) if number > 0 else None,
        next=link(entries[number + 1]) if number + 1 < len(entries) else None,
        other={"link": f"../{other}/{name}.html", "title": f"{other.capitalize()} of this notebook"},
    )
    return page


def link(entry: Entry) -> dict[str, str]:
    return {"link": f"{entry.name}.html", "title": entry.title}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m preview", description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=Path("preview_site"), help="the folder to write into (default: preview_site)"
    )
    write_site(parser.parse_args().out)
