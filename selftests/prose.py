"""The notebooks' prose as the tests read it: cells, blocks of text, and the tags of claims."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import nbformat

from selftests import REPOSITORY
from tests.checks.notebooks import find_notebooks

TAG = re.compile(r"<!-- claim: ([^>]+?) -->")
HEAD = re.compile(r"(?<![\d.])(1?\d)\.(1?\d)(?![\d.]*\d)")
# Layers 7 and 8, layers 9 to 11, layer 10's, MLP 0.
LAYERS = re.compile(r"\b(?:layers?|MLP) (\d+)(?:,? (?:and|to|or) (?:layer )?(\d+)\b|, (\d+) and (\d+))?", re.IGNORECASE)
LIST_ITEM = re.compile(r"^(?:[-*]|\d+\.) ", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A paragraph, an item of a list or a row of a table, with the tags of the claims it makes."""

    where: str
    text: str
    tags: tuple[str, ...]

    @property
    def heads(self) -> set[tuple[int, int]]:
        """The heads it names as layer.head. A value of the metric such as 0.5 looks like a head of layer 0."""
        found = {(int(layer), int(head)) for layer, head in HEAD.findall(self.text)}
        return {(layer, head) for layer, head in found if 0 < layer < 12 and head < 12}

    @property
    def layers(self) -> set[int]:
        """The layers it names by their numbers."""
        return {int(number) for numbers in LAYERS.findall(self.text) for number in numbers if number}


def notebooks() -> dict[str, nbformat.NotebookNode]:
    """The solutions by name, which is their file's without `.ipynb`."""
    found = find_notebooks(REPOSITORY / "solutions")
    return {path.stem: nbformat.read(path, as_version=4) for path in found}


def markdown_cells() -> Iterator[tuple[str, str]]:
    """Every markdown cell: where it stands, for messages, and its source."""
    for name, notebook in notebooks().items():
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                yield f"{name}, {cell.id}", cell.source


def blocks(where: str, source: str) -> Iterator[Block]:
    """The blocks of a markdown cell, without its code and the targets of its links, which name papers by numbers."""
    source = re.sub(r"^```.*?^```", "", source, flags=re.DOTALL | re.MULTILINE)
    source = re.sub(r"`[^`]*`", "", source)
    source = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", source)
    source = LIST_ITEM.sub(r"\n\g<0>", re.sub(r"^\|", "\n|", source, flags=re.MULTILINE))
    for text in re.split(r"\n\s*\n", source):
        tags = tuple(tag for found in TAG.findall(text) for tag in found.split())
        if text.strip():
            yield Block(where, TAG.sub("", text).strip(), tags)


def all_blocks() -> list[Block]:
    return [block for where, source in markdown_cells() for block in blocks(where, source)]
