"""Draw students' heat maps and attention views with our own copies of plotly and circuitsvis, from data that are JSON.

The scripts in an output are never copied: the figure's data are read out of it, checked, and handed to a library.
"""

import importlib.util
import json
import math
import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PLOTLY = "application/vnd.plotly.v1+json"
MAX_LETTERS = 5_000_000
"""The longest JSON of a figure that is drawn."""
LIBRARIES = {"plotly": "package_data/plotly.min.js", "circuitsvis": "dist/cdn/iife.js"}

PLOT = re.compile(r'Plotly\.newPlot\(\s*"[^"]*",\s*')
VIEW = re.compile(r'render\(\s*"circuits-vis-[\w-]*",\s*(?:CircuitsVis\.)?AttentionHeads,\s*')
COMMA = re.compile(r"\s*,\s*")

TRACES = """
bar box contour heatmap histogram histogram2d histogram2dcontour pie scatter scatter3d scattergl surface table violin
""".split()
"""The types of plotly's traces that load nothing, unlike maps and pictures."""
LOADING = ("images", "geo", "map", "mapbox", "source", "sliders", "updatemenus", "__proto__")
"""Beginnings of names in a plotly figure that load something, or change the figure to what does."""

FIGURE = """<div{look}><script type="application/json">{data}</script><div id="{name}"></div><script>{{
const data = JSON.parse(document.currentScript.parentNode.firstChild.textContent);
{call}
}}</script></div>"""
PLOT_CALL = 'Plotly.newPlot("{name}", data.data, data.layout, {{displaylogo: false}});'
VIEW_CALL = 'CircuitsVis.render("{name}", CircuitsVis.AttentionHeads, data);'
VIEW_LOOK = ' style="max-width: 760px; background: white; color: black"'


def figure_in(data: Mapping[str, Any], loaded: set[str]) -> str | None:
    """Return the HTML of the figure that an output's data hold, if any; add its library if it is not in `loaded`."""
    source = data.get("text/html", "")
    try:
        if (figure := data.get(PLOTLY) or plot_in(source)) and (plot := checked_plot(figure)):
            return library("plotly", loaded) + draw(PLOT_CALL, plot)
        if (values := json_values(VIEW, source, 1)) and (view := checked_view(values[0])):
            return library("circuitsvis", loaded) + draw(VIEW_CALL, view, VIEW_LOOK)
    except (ValueError, RecursionError, AttributeError, TypeError, LookupError):
        pass  # not a figure's data after all
    return None


def plot_in(source: str) -> dict | None:
    values = json_values(PLOT, source, 2)
    return dict(zip(("data", "layout"), values, strict=True)) if values else None


def json_values(call: re.Pattern[str], source: str, count: int) -> list[Any]:
    """Return `count` arguments, written as JSON, of the last such call in a page. Raises `ValueError` if they are not.

    `call` is a pattern for the call up to the first of these arguments.
    """
    values: list[Any] = []
    for place in [match.end() for match in call.finditer(source)][-1:]:
        while len(values) < count:
            value, place = json.JSONDecoder().raw_decode(source, place)
            values.append(value)
            comma = COMMA.match(source, place)
            place = comma.end() if comma else place
    return values


def checked_plot(figure: dict) -> dict | None:
    """Return a plotly figure without what loads anything; None if a trace has another type."""
    traces = figure["data"]
    if not all(trace.get("type", "scatter") in TRACES for trace in traces):
        return None
    return {"data": without_loading(traces), "layout": without_loading(figure.get("layout") or {})}


def without_loading(value: Any) -> Any:
    """Copy JSON without names in `LOADING`, and with None for numbers that JSON does not have."""
    if isinstance(value, dict):
        return {name: without_loading(part) for name, part in value.items() if not name.startswith(LOADING)}
    if isinstance(value, list):
        return [without_loading(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def checked_view(props: dict[str, Any]) -> dict[str, Any] | None:
    """Return the attention, tokens and names of heads in a view's properties; None if they have other types."""
    view: dict[str, Any] = {name: props.get(name) for name in ("attention", "tokens", "attentionHeadNames")}
    numbers = [number for head in view["attention"] for row in head for number in row]
    texts = [*view["tokens"], *(view["attentionHeadNames"] or [])]
    fits = all(isinstance(number, int | float) for number in numbers) and all(isinstance(text, str) for text in texts)
    return {name: part for name, part in without_loading(view).items() if part is not None} if fits else None


def draw(call: str, data: dict, look: str = "") -> str:
    """Return HTML that hands data to a library. Raises `ValueError` if they are too large."""
    text = json.dumps(data).replace("<", "\\u003c")  # nothing in it can end the script
    if len(text) > MAX_LETTERS:
        raise ValueError("a figure too large")
    name = f"circuits-vis-{uuid.uuid4()}"
    return FIGURE.format(data=text, name=name, call=call.format(name=name), look=look)


def library(name: str, loaded: set[str]) -> str:
    """Return a script with the installed package's JavaScript, the first time for a page."""
    spec = importlib.util.find_spec(name)
    if name in loaded or spec is None or spec.origin is None:
        return ""
    loaded.add(name)
    script = (Path(spec.origin).parent / LIBRARIES[name]).read_text(encoding="utf-8")
    return f"<script>{script.replace('</script>', '')}</script>"
