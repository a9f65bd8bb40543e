"""The cells of the solutions, as the claims' tests run them: what they leave behind, and whom a position belongs to."""

import ast

import nbformat
import plotly.graph_objects as go
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from selftests.claim_maps import ioi_mini
from selftests.notebook_cells import NotebookRun, run_cell
from selftests.prose import notebooks


@pytest.fixture
def notebook() -> nbformat.NotebookNode:
    check = {"nbgrader": {"grade": True, "solution": False}}
    answer = {"nbgrader": {"grade": True, "solution": True}}
    return new_notebook(
        cells=[
            new_code_cell("a = 1\nprint(a)", id="first"),
            new_markdown_cell("a = 5", id="text"),
            new_code_cell("raise AssertionError", id="check", metadata=check),
            new_code_cell("a += 1", id="second", metadata=answer),
            new_code_cell("a / 0", id="last"),
        ]
    )


def test_a_cell_runs_after_those_before_it_and_once(notebook) -> None:
    run = NotebookRun(notebook)
    second = run.to("second")
    assert run.to("second") is second
    assert second.variables["a"] == 2
    assert run.to("first").variables["a"] == 1
    assert run.to("first").printed == "1\n"


def test_a_cell_that_is_not_there_is_an_error(notebook) -> None:
    notebook.cells.pop()
    with pytest.raises(KeyError, match="no cell 'check'"):
        NotebookRun(notebook).to("check")


def test_figures_and_the_last_value_are_collected() -> None:
    variables = {"figure": go.Figure()}
    assert run_cell("figure.show()\n3", variables) == ("", [variables["figure"], 3])
    assert run_cell("3;", variables) == run_cell("x = 3", variables) == run_cell("print", {"print": None}) == ("", [])


# A position of one prompt is not that of all prompts

SAME_IN_ALL_PROMPTS = ("S2", "END")


class PositionFinder(ast.NodeVisitor):
    """Finds where code takes the position of one prompt outside a loop over prompts; a hook would use it for all."""

    def __init__(self):
        self.found: list[str] = []
        self.kinds: dict[str, str] = {}
        """Names of the dictionary ("by name"), of positions by prompt ("by prompt") and of numbers ("number")."""
        self.loop_names: set[str] = set()

    def kind(self, node: ast.expr) -> str:
        match node:
            case ast.Name(name):
                return "" if name in self.loop_names else self.kinds.get(name, "")
            case ast.Constant(int()) | ast.UnaryOp(_, ast.Constant(int())):
                return "number"
            case ast.Attribute(_, "positions"):
                return "by name"
            case ast.Subscript(value, key) if self.kind(value) == "by name":
                return "" if isinstance(key, ast.Constant) and key.value in SAME_IN_ALL_PROMPTS else "by prompt"
            case ast.Call(ast.Attribute(value, "items" | "values")) if self.kind(value) == "by name":
                return "several by prompt"
            case ast.Call(ast.Attribute(value)) | ast.Call(_, [value]) if self.kind(value) == "by prompt":
                return "by prompt"  # .tolist(), list(...)
        return ""

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if self.kind(node.value) == "by prompt" and self.kind(node.slice) == "number":
            self.found.append(ast.unparse(node))
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        self.kinds |= {target.id: self.kind(node.value) for target in node.targets if isinstance(target, ast.Name)}

    def visit_For(self, node: ast.For) -> None:
        self.visit_loops(node, [node])

    def visit_ListComp(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> None:
        self.visit_loops(node, node.generators)

    visit_SetComp = visit_GeneratorExp = visit_DictComp = visit_ListComp

    def visit_loops(self, node: ast.AST, loops: list) -> None:
        outer = self.loop_names
        for loop in loops:
            names = [name.id for name in ast.walk(loop.target) if isinstance(name, ast.Name)]
            if self.kind(loop.iter) == "several by prompt":
                self.kinds[names.pop()] = "by prompt"
            self.loop_names = self.loop_names | set(names)
        self.generic_visit(node)
        self.loop_names = outer


def positions_of_one_prompt(source: str) -> list[str]:
    finder = PositionFinder()
    finder.visit(ast.parse(source))
    return finder.found


@pytest.mark.parametrize("name", notebooks())
def test_no_notebook_uses_a_position_of_one_prompt_for_all(name: str) -> None:
    code = [cell.source for cell in notebooks()[name].cells if cell.cell_type == "code"]
    assert positions_of_one_prompt("\n".join(code)) == []


@pytest.mark.parametrize(
    "source",
    [
        'position = int(data.positions["S1"][0])',
        'for name in ("S1", "S2", "END"):\n    position = int(data.positions[name][0])',
        "s1 = data.positions['S1']\nhook = partial(zero_position, pos=s1[0])",
        "prompt = 3\npos = data.positions['IO'][prompt].item()",
        "places = {name: positions[0] for name, positions in data.positions.items()}",
        "last = [positions.tolist()[-1] for positions in data.positions.values()]",
        "where = data.positions\npos = list(where['S1+1'])[0]",
        "def zero(activation, hook, pos=data.positions['S1'][0]):\n    activation[:, pos] = 0",
    ],
)
def test_a_position_of_one_prompt_is_found(source: str) -> None:
    assert len(positions_of_one_prompt(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "for prompt in range(8):\n    pos = data.positions['S1'][prompt]",
        "marks = [{p[prompt]: name for name, p in data.positions.items()} for prompt in (0, 1)]",
        "activation[range(8), data.positions['S1']] = 0",
        "first_four = data.positions['S1'][:4]",
        "pos = data.positions['S2'][0]",
        "names = data.answers[0]",
    ],
)
def test_positions_that_are_right_are_not_found(source: str) -> None:
    assert positions_of_one_prompt(source) == []


def test_some_positions_are_the_same_in_all_prompts() -> None:
    _, data = ioi_mini()
    same = {name for name, positions in data.positions.items() if len(positions.unique()) == 1}
    assert same == set(SAME_IN_ALL_PROMPTS)
