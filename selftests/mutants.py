"""Small mistakes in the notebooks' solutions, made by mutmut's operators and a few of this field's own."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import libcst as cst
import libcst.matchers as m
import nbformat
from libcst.metadata import MetadataWrapper
from mutmut.mutation.file_mutation import MutationVisitor
from mutmut.mutation.mutators import mutation_operators
from mutmut.mutation.pragma_handling import IgnoredCode

from selftests import REPOSITORY
from tests.checks.notebooks import find_notebooks

MARK = "### BEGIN SOLUTION"


@dataclass(frozen=True)
class Mutant:
    """A solution cell with one mistake in it."""

    exercise: str
    number: int
    notebook: Path
    original: str
    source: str

    @property
    def name(self) -> str:
        return f"{self.exercise}_{self.number}"

    @property
    def diff(self) -> tuple[str, str]:
        """The line of the solution that was changed, and what it became."""
        before, after = self.original.splitlines(), self.source.splitlines()
        return next((old.strip(), new.strip()) for old, new in zip(before, after, strict=False) if old != new)


def all_mutants(folder: Path = REPOSITORY / "solutions") -> Iterator[Mutant]:
    """The mutants of every function that the notebooks of a folder ask for."""
    for notebook in find_notebooks(folder):
        for cell in nbformat.read(notebook, as_version=4).cells:
            exercise = cell.metadata.get("nbgrader", {}).get("grade_id")
            if f"def {exercise}(" in cell.source and MARK in cell.source:
                for number, source in enumerate(mutate(cell.source), start=1):
                    yield Mutant(exercise, number, notebook, cell.source, source)


def mutate(source: str) -> Iterator[str]:
    """The source again and again, each time with another mistake."""
    visitor = MutationVisitor([*mutation_operators, *OWN_OPERATORS], IgnoredCode(set(), set(), set()))
    module = MetadataWrapper(cst.parse_module(source)).visit(visitor)
    for mutation in visitor.mutations:
        mutated = module.deep_replace(mutation.original_node, mutation.mutated_node).code
        if mutated != source:
            yield mutated


def _leave_out_call(node: cst.SimpleStatementLine) -> Iterator[cst.CSTNode]:
    """`model.reset_hooks()` becomes `pass`."""
    if m.matches(node, m.SimpleStatementLine([m.Expr(m.Call())])):
        yield node.with_changes(body=[cst.Pass()])


def _shorten_range(node: cst.Call) -> Iterator[cst.CSTNode]:
    """`range(n)` becomes `range(1, n)` and `range(n - 1)`."""
    if m.matches(node, m.Call(m.Name("range"), [m.Arg()])):
        end = node.args[0].value
        yield node.with_changes(args=[cst.Arg(cst.Integer("1")), cst.Arg(end)])
        yield node.with_changes(args=[cst.Arg(cst.BinaryOperation(end, cst.Subtract(), cst.Integer("1")))])


def _move_index(node: cst.Subscript) -> Iterator[cst.CSTNode]:
    """`x[:, pos]` becomes `x[pos, :]`: the indices change places with their neighbours, and each is left out."""
    items = [element.slice for element in node.slice]
    for i in range(len(items) - 1):
        yield _subscript(node, [*items[:i], items[i + 1], items[i], *items[i + 2 :]])
    for i, item in enumerate(items):
        if m.matches(item, m.Index()):
            yield _subscript(node, [*items[:i], cst.Slice(lower=None, upper=None), *items[i + 1 :]])


def _subscript(node: cst.Subscript, items: list[cst.BaseSlice]) -> cst.Subscript:
    return node.with_changes(slice=[cst.SubscriptElement(item) for item in items])


OWN_OPERATORS = [
    (cst.SimpleStatementLine, _leave_out_call),
    (cst.Call, _shorten_range),
    (cst.Subscript, _move_index),
]
