"""The lab's widgets and their events. All runs of the model are on one thread of their own, one after another."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import plotly.graph_objects as go
from IPython.core.getipython import get_ipython
from jaxtyping import Float
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from utils.errors import WorkbookError
from utils.lab_widgets.cells import Cell, Effect, cell_at, effect_table, patch_cell, read_cell
from utils.lab_widgets.maps import (
    DIRECTIONS,
    METRICS,
    Choice,
    Runs,
    Stopped,
    code,
    compute_map,
    draw,
    number_of_runs,
    run_pairs,
)
from utils.lab_widgets.prompts import FIELDS, FieldError, Pairs, read_pairs, token_table
from utils.sweep_specs import BLOCK_COMPONENTS, HEAD_COMPONENTS

MOST_PINNED = 2


class Lab:
    """The lab of one model; `widget` is what a notebook shows."""

    def __init__(
        self, model: TransformerBridge, fields: dict[str, str], runs: Runs, result: Float[Tensor, "layer *axes"]
    ) -> None:
        self.model, self.pairs, self.runs, self.result, self.choice = model, runs.pairs, runs, result, Choice()
        self.effect: Effect | None = None
        self.pinned: list[Effect] = []
        self.turn = 0  # of the map that is wanted; the computation of another one stops
        self.loading = False
        self.worker = ThreadPoolExecutor(1, thread_name_prefix="lab")
        self.inputs = self._make_inputs(fields)
        self.buttons = {name: widgets.Button(description=name) for name in ("Stop", "Pin", "Unpin", "Save", "Load")}
        self.sentences = {name: widgets.HTML() for name in (*FIELDS, "map", "cell", "file")}
        self.tokens = widgets.HTML(token_table(runs.pairs))
        self.bar = widgets.FloatProgress(max=1.0)
        self.map = go.FigureWidget()
        self.effects = widgets.HBox(layout={"flex_flow": "row wrap", "grid_gap": "2em"})
        self.code = widgets.Textarea(rows=8, description="Code", layout={"width": "62em"})
        self.widget = self._arrange()
        self._listen()
        self._set_running(False)
        self._show_map()

    def _make_inputs(self, fields: dict[str, str]) -> dict[str, Any]:
        """Return the fields and the choices; those of the cell and the file come last."""
        options = {"layout": {"width": "44em"}, "style": {"description_width": "9em"}}
        prompt, answer = partial(widgets.Textarea, rows=2, **options), partial(widgets.Text, **options)
        kinds = zip(FIELDS.items(), (prompt, prompt, answer, answer), strict=True)
        return {
            **{name: kind(fields[name], description=label) for (name, label), kind in kinds},
            "component": widgets.Dropdown(options=[*BLOCK_COMPONENTS, *HEAD_COMPONENTS], description="Patch"),
            "by_position": widgets.Checkbox(True, description="by position", disabled=True, layout={"width": "auto"}),
            "direction": widgets.Dropdown(options=[*DIRECTIONS], description="Direction"),
            "metric": widgets.Dropdown(options=[(text, name) for name, text in METRICS.items()], description="Metric"),
            "cell": widgets.Text(description="Cell", continuous_update=False),
            "file": widgets.Text("lab.json", description="File"),
        }

    def _arrange(self) -> widgets.VBox:
        inputs, button, sentence = self.inputs, self.buttons, self.sentences
        rows = [
            *([inputs[name], sentence[name]] for name in FIELDS),
            [self.tokens],
            [inputs[name] for name in asdict(self.choice)],
            [button["Stop"], self.bar, sentence["map"]],
            [self.map],
            [inputs["cell"], button["Pin"], button["Unpin"], sentence["cell"]],
            [self.effects],
            [self.code],
            [inputs["file"], button["Save"], button["Load"], sentence["file"]],
        ]
        return widgets.VBox([widgets.HBox(row, layout={"flex_flow": "row wrap"}) for row in rows])

    def _listen(self) -> None:
        changes = {name: self._read_fields for name in FIELDS} | dict.fromkeys(asdict(self.choice), self._recompute)
        for name, action in (changes | {"cell": self._read_cell}).items():
            self.inputs[name].observe(lambda _, action=action: self.loading or action(), "value")
        for button in self.buttons.values():
            button.on_click(lambda pressed: getattr(self, f"_{pressed.description.lower()}")())

    def wait(self) -> None:
        """Wait until everything that was asked for is computed."""
        self.worker.submit(lambda: None).result()

    def _say(self, where: str, sentence: object = "") -> None:
        self.sentences[where].value = escape(str(sentence))

    # Prompts and maps

    def _read_fields(self) -> None:
        """Read the fields; write a sentence beside the one that cannot be used, or else compute the map."""
        for name in FIELDS:
            self._say(name)
        try:
            self.pairs = read_pairs(self.model, {name: self.inputs[name].value for name in FIELDS})
        except FieldError as error:
            self._say(error.field, error)
            self._say("map", "This is still the map of the last prompts.")
            return
        self.tokens.value = token_table(self.pairs)
        self._recompute()

    def _recompute(self) -> None:
        self.turn += 1
        choice = Choice(**{name: self.inputs[name].value for name in asdict(self.choice)})
        self.inputs["by_position"].disabled = not choice.has_heads
        self.worker.submit(self._compute, self.turn, self.pairs, choice)

    def _stop(self) -> None:
        self.turn += 1

    def _compute(self, turn: int, pairs: Pairs, choice: Choice) -> None:
        """Compute and show a map, unless another one is wanted by now."""
        if turn != self.turn:
            return
        self._set_running(True)
        try:
            runs = self.runs if pairs is self.runs.pairs else run_pairs(self.model, pairs)
            result = compute_map(self.model, runs, choice, self._observer(turn, pairs, choice))
            self.runs, self.result, self.choice = runs, result, choice
            self._show_map()
        except Stopped:
            self._say("map", "Stopped. This is still the last map.")
        except Exception as error:  # on a thread, nothing else would show it
            self._say("map", error if isinstance(error, WorkbookError) else f"{type(error).__name__}: {error}")
        self._set_running(False)

    def _set_running(self, running: bool) -> None:
        self.buttons["Stop"].disabled = not running
        self.bar.value, self.bar.layout.visibility = 0.0, "visible" if running else "hidden"

    def _observer(self, turn: int, pairs: Pairs, choice: Choice) -> Callable[[], None]:
        """Return what is called for each patched run: it stops those that are not wanted, and moves the bar."""
        total, done = number_of_runs(self.model, pairs, choice), 0

        def on_run() -> None:
            nonlocal done
            done += 1
            if turn != self.turn:
                raise Stopped
            if done / total > self.bar.value + 0.02:  # not a message for each run
                self.bar.value = min(1.0, done / total)

        return on_run

    def _show_map(self) -> None:
        pairs, (patched, source) = self.runs.pairs, DIRECTIONS[self.choice.direction]
        figure = draw(self.result, self.choice, pairs.labels)
        self.map.layout.annotations = ()  # the layout that follows is merged with this one
        with self.map.batch_update():
            self.map.data = ()
            self.map.layout = figure.layout
            self.map.add_traces(figure.data)
        for trace in self.map.data:
            trace.on_click(self._clicked)
        shell = get_ipython()
        self.code.value = code(self.model, pairs, self.choice, shell.user_ns if shell else {})
        self._say("map", f"Activations of the {source} run are patched into the {patched} run.")
        self._read_cell()

    # Cells

    def _clicked(self, trace: object, points: Any, _: object) -> None:
        for row, column in points.point_inds:
            cell = cell_at(self.choice, points.trace_index, row, column)
            self.inputs["cell"].value = cell.name(self.runs.pairs.labels)

    def _read_cell(self) -> None:
        text = self.inputs["cell"].value
        if not text:
            self._say("cell", "Click a cell of the map, or write its name and press Enter.")
            return
        try:
            cell = read_cell(text, self.model, self.choice, self.runs.pairs.labels)
        except WorkbookError as error:
            self._say("cell", error)
        else:
            self.worker.submit(self._patch, self.choice, cell)

    def _patch(self, choice: Choice, cell: Cell) -> None:
        try:
            self.effect = patch_cell(self.model, self.runs, choice, cell)
        except Exception as error:  # on a thread, nothing else would show it
            self._say("cell", f"{type(error).__name__}: {error}")
        else:
            self._say("cell")
            self._show_effects()

    def _pin(self) -> None:
        if self.effect and self.effect not in self.pinned:
            self.pinned = [*self.pinned, self.effect][-MOST_PINNED:]
            self._show_effects()

    def _unpin(self) -> None:
        self.pinned = []
        self._show_effects()

    def _show_effects(self) -> None:
        """Show the pinned cells and the last one side by side."""
        shown = list(dict.fromkeys([*self.pinned, *([self.effect] if self.effect else [])]))
        pins = {effect: "Pinned: " if effect in self.pinned else "" for effect in shown}
        self.effects.children = [widgets.HTML(pins[effect] + effect_table(effect)) for effect in shown]

    # Files

    def _save(self) -> None:
        """Write the fields, the choices and the pinned cells to a JSON file."""
        state = {name: widget.value for name, widget in self.inputs.items()}
        pinned = [[asdict(effect.choice), effect.cell] for effect in self.pinned]
        try:
            Path(state.pop("file")).write_text(json.dumps({"inputs": state, "pinned": pinned}, indent=1), "utf-8")
        except (OSError, ValueError) as error:
            self._say("file", f"Not saved: {error}.")
        else:
            self._say("file", f"Saved to {self.inputs['file'].value}.")

    def _load(self) -> None:
        """Restore what was saved; a sentence says why a file cannot be used, which then changes nothing."""
        before = {name: widget.value for name, widget in self.inputs.items()}
        self.loading = True
        try:
            state = json.loads(Path(before["file"]).read_text("utf-8"))
            pinned = [(Choice(**choice), Cell(*cell)) for choice, cell in state["pinned"]]
            for name in before.keys() - {"file"}:
                self.inputs[name].value = state["inputs"][name]
        except OSError as error:
            self._say("file", f"Not loaded: {error}.")
        except Exception:  # the file's, the choice's and the widgets' errors have no common class
            self._say("file", f"The lab has not saved {before['file']}.")
            for name, value in before.items():
                self.inputs[name].value = value
        else:
            self.loading = False
            self._say("file", f"Loaded from {before['file']}.")
            self.effect, self.pinned = None, []
            self._read_fields()
            for choice, cell in pinned:
                self.worker.submit(self._patch, choice, cell)
                self.worker.submit(self._pin)
        self.loading = False
