"""The lab's widgets and their events. All runs of the model are on one thread of their own, one after another."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import plotly.graph_objects as go
import torch
from IPython.core.getipython import get_ipython
from jaxtyping import Float
from torch import Tensor
from traitlets import TraitError
from transformer_lens.model_bridge import TransformerBridge

from utils.errors import WorkbookError
from utils.lab.cells import Cell, Effect, cell_at, effect_table, patch_cell, read_cell
from utils.lab.maps import (
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
from utils.lab.prompts import FIELDS, FieldError, Pairs, read_pairs, token_table
from utils.plots import heat_map
from utils.sweep_specs import BLOCK_COMPONENTS, HEAD_COMPONENTS

MOST_PINNED = 2


class Lab:
    """The lab of one model; `widget` is what a notebook shows."""

    def __init__(
        self, model: TransformerBridge, fields: dict[str, str], runs: Runs, result: Float[Tensor, "layer *axes"]
    ) -> None:
        self.model, self.runs, self.result, self.choice = model, runs, result, Choice()
        self.pairs = runs.pairs
        self.effect: Effect | None = None
        self.pinned: list[Effect] = []
        self.turn = 0  # of the map that is wanted; the computation of another one stops
        self.loading = False
        self.worker = ThreadPoolExecutor(1, thread_name_prefix="lab")
        self._make_inputs(fields)
        self._make_outputs()
        self._listen()
        self.tokens.value = token_table(runs.pairs)
        self._show_map()

    def _make_inputs(self, fields: dict[str, str]) -> None:
        self.fields: dict[str, Any] = {
            name: (widgets.Textarea if name in ("clean", "corrupted") else widgets.Text)(
                fields[name],
                description=FIELDS[name],
                rows=2,
                layout={"width": "44em"},
                style={"description_width": "9em"},
            )
            for name in FIELDS
        }
        self.choices: dict[str, Any] = {
            "component": widgets.Dropdown(options=[*BLOCK_COMPONENTS, *HEAD_COMPONENTS], description="Patch"),
            "by_position": widgets.Checkbox(True, description="by position", indent=False, disabled=True),
            "direction": widgets.Dropdown(options=list(DIRECTIONS), description="Direction"),
            "metric": widgets.Dropdown(options=[(METRICS[name], name) for name in METRICS], description="Metric"),
        }
        self.cell = widgets.Text(description="Cell", continuous_update=False)
        self.file = widgets.Text("lab.json", description="File")
        self.code = widgets.Textarea(rows=24, layout={"width": "auto"})
        self.buttons = {name: widgets.Button(description=name) for name in ("Stop", "Pin", "Unpin", "Save", "Load")}
        self.buttons["Stop"].disabled = True

    def _make_outputs(self) -> None:
        self.sentences = {name: widgets.HTML() for name in (*FIELDS, "map", "cell", "file")}
        self.tokens = widgets.HTML()
        self.bar = widgets.FloatProgress(max=1.0, layout={"visibility": "hidden"})
        self.map, self.attention = go.FigureWidget(), go.FigureWidget()
        self.effects = widgets.HBox(layout={"flex_flow": "row wrap"})
        button, sentence = self.buttons, self.sentences
        rows = [
            *([self.fields[name], sentence[name]] for name in FIELDS),
            [self.tokens],
            [*self.choices.values()],
            [button["Stop"], self.bar, sentence["map"]],
            [self.map],
            [self.cell, button["Pin"], button["Unpin"], sentence["cell"]],
            [self.effects],
            [self.attention],
            [widgets.Accordion([self.code], titles=["Code"], layout={"width": "100%"})],
            [self.file, button["Save"], button["Load"], sentence["file"]],
        ]
        self.widget = widgets.VBox([widgets.HBox(row, layout={"flex_flow": "row wrap"}) for row in rows])

    def _listen(self) -> None:
        for field in self.fields.values():
            field.observe(lambda _: self._read_fields(), "value")
        for choice in self.choices.values():
            choice.observe(lambda _: self._recompute(), "value")
        self.cell.observe(lambda _: self._read_cell(), "value")
        actions: dict[str, Callable[[], None]] = {
            "Stop": self._stop,
            "Pin": self._pin,
            "Unpin": self._unpin,
            "Save": lambda: self.save(self.file.value),
            "Load": lambda: self.load(self.file.value),
        }
        for name, action in actions.items():
            self.buttons[name].on_click(lambda _, action=action: action())

    def wait(self) -> None:
        """Wait until everything that was asked for is computed."""
        self.worker.submit(lambda: None).result()

    def _say(self, where: str, sentence: object) -> None:
        self.sentences[where].value = escape(str(sentence))

    # Prompts and maps

    def _read_fields(self) -> None:
        """Read the fields; write a sentence beside the one that cannot be used, or else compute the map."""
        if self.loading:
            return
        for name in FIELDS:
            self._say(name, "")
        try:
            self.pairs = read_pairs(self.model, {name: field.value for name, field in self.fields.items()})
        except FieldError as error:
            self._say(error.field, error)
            self._say("map", "This is still the map of the last prompts.")
            return
        self.tokens.value = token_table(self.pairs)
        self._recompute()

    def _recompute(self) -> None:
        if self.loading:
            return
        self.turn += 1
        choice = Choice(**{name: widget.value for name, widget in self.choices.items()})
        self.choices["by_position"].disabled = choice.component in BLOCK_COMPONENTS
        self.worker.submit(self._compute, self.turn, self.pairs, choice)

    def _stop(self) -> None:
        self.turn += 1

    def _compute(self, turn: int, pairs: Pairs, choice: Choice) -> None:
        """Compute and show a map, unless another one is wanted by now."""
        if turn != self.turn:
            return
        self.buttons["Stop"].disabled, self.bar.layout.visibility = False, "visible"
        self._say("map", "Computing.")
        try:
            runs = self.runs if pairs is self.runs.pairs else run_pairs(self.model, pairs)
            on_run = self._observer(turn, number_of_runs(self.model, pairs, choice))
            result = compute_map(self.model, runs, choice, on_run)
        except Stopped:
            self._say("map", "Stopped. This is still the last map.")
        except Exception as error:  # on a thread, nothing else would show it
            self._say("map", error if isinstance(error, WorkbookError) else f"{type(error).__name__}: {error}")
        else:
            self.runs, self.result, self.choice = runs, result, choice
            self._show_map()
        finally:
            self.buttons["Stop"].disabled, self.bar.layout.visibility = True, "hidden"

    def _observer(self, turn: int, total: int) -> Callable[[], None]:
        done = 0

        def on_run() -> None:
            nonlocal done
            if turn != self.turn:
                raise Stopped
            done += 1
            if 50 * done // total > 50 * self.bar.value:  # not a message for each run
                self.bar.value = min(1.0, done / total)

        self.bar.value = 0.0
        return on_run

    def _show_map(self) -> None:
        pairs, (patched, source) = self.runs.pairs, DIRECTIONS[self.choice.direction]
        _replace(self.map, draw(self.result, self.choice, pairs.labels))
        for trace in self.map.data:
            trace.on_click(self._clicked)
        shell = get_ipython()
        self.code.value = code(self.model, pairs, self.choice, shell.user_ns if shell else {})
        self._say("map", f"Activations of the {source} run are patched into the {patched} run.")
        self._read_cell()

    # Cells

    def _clicked(self, trace: Any, points: Any, _: Any) -> None:
        for row, column in points.point_inds:
            self.cell.value = cell_at(self.choice, points.trace_index, row, column).name(self.runs.pairs.labels)

    def _read_cell(self) -> None:
        if not self.cell.value:
            self._say("cell", "Click a cell of the map, or write its name and press Enter.")
            return
        try:
            cell = read_cell(self.cell.value, self.model, self.choice, self.runs.pairs.labels)
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
            self._say("cell", "")
            self._show_effects()

    def _pin(self) -> None:
        if self.effect and self.effect not in self.pinned:
            self.pinned = [*self.pinned, self.effect][-MOST_PINNED:]
            self._show_effects()

    def _unpin(self) -> None:
        self.pinned = []
        self._show_effects()

    def _show_effects(self) -> None:
        shown = [*self.pinned, *([self.effect] if self.effect and self.effect not in self.pinned else [])]
        self.effects.children = [
            widgets.HTML(("Pinned. " if effect in self.pinned else "") + effect_table(effect)) for effect in shown
        ]
        labels = self.runs.pairs.labels
        patterns = {
            f"{e.name}, {run}": e.attention[i]
            for e in shown
            if e.attention is not None
            for i, run in enumerate(DIRECTIONS["noising"])
        }
        patterns = {name: pattern for name, pattern in patterns.items() if len(pattern) == len(labels)}
        figure = go.Figure(layout={"height": 10})
        if patterns:
            figure = heat_map(
                torch.stack([*patterns.values()]), "Attention", labels, labels, "key", "query", [*patterns]
            )
        _replace(self.attention, figure)

    # Files

    def save(self, file: str) -> None:
        """Write the fields, the choice and the pinned cells to a JSON file."""
        state = {
            "fields": {name: field.value for name, field in self.fields.items()},
            "choice": {name: choice.value for name, choice in self.choices.items()},
            "pinned": [[asdict(effect.choice), effect.cell] for effect in self.pinned],
            "cell": self.cell.value,
        }
        try:
            Path(file).write_text(json.dumps(state, indent=1), encoding="utf-8")
        except (OSError, ValueError) as error:
            self._say("file", f"{file} cannot be written: {error}.")
        else:
            self._say("file", f"Saved to {file}.")

    def load(self, file: str) -> None:
        """Restore what `save` wrote; a sentence says why a file cannot be used."""
        before = {name: widget.value for name, widget in (self.fields | self.choices).items()}
        self.loading = True
        try:
            state = json.loads(Path(file).read_text(encoding="utf-8"))
            for name, widget in self.fields.items():
                widget.value = state["fields"][name]
            for name, widget in self.choices.items():
                widget.value = state["choice"][name]
            pinned = [(Choice(**choice), Cell(*cell)) for choice, cell in state["pinned"]]
            cell = str(state["cell"])
        except OSError as error:
            self._say("file", f"{file} cannot be read: {error.strerror}.")
            return
        except (ValueError, KeyError, TypeError, TraitError):
            for name, widget in (self.fields | self.choices).items():
                widget.value = before[name]
            self._say("file", f"{file} is not a file that the lab has saved.")
            return
        finally:
            self.loading = False
        self._say("file", f"Loaded from {file}.")
        self.effect, self.pinned, self.cell.value = None, [], ""
        self._read_fields()
        for choice, pinned_cell in pinned:
            self.worker.submit(self._patch, choice, pinned_cell)
            self.worker.submit(self._pin)
        self.worker.submit(setattr, self.cell, "value", cell)


def _replace(widget: go.FigureWidget, figure: go.Figure) -> None:
    """Show another figure in a widget, whose code is megabytes, instead of making another widget."""
    with widget.batch_update():
        widget.data = ()
        widget.layout = figure.layout
        widget.add_traces(figure.data)
