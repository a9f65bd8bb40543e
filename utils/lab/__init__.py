"""The lab: type two prompts, see every map, click a cell.

`prompts.py` reads the text fields, `maps.py` computes the map of a choice, `cells.py` says what one patch did, and
`view.py` shows all of it as widgets.
"""

import os
from importlib.util import find_spec

from IPython.core.getipython import get_ipython
from IPython.display import display
from transformer_lens.model_bridge import TransformerBridge

from utils.lab.maps import Choice, compute_map, draw, run_pairs
from utils.lab.prompts import first_fields, read_pairs

FRONT_ENDS = ("JPY_SESSION_NAME", "VSCODE_PID", "COLAB_NOTEBOOK_ID")
"""Set where a person reads the notebook: by Jupyter's server for the kernel of an open notebook, VS Code and Colab."""


def lab(model: TransformerBridge, saved: str = "") -> None:
    """Show the lab: fields for prompts and answers, any map of them, and what each of its patches did.

    `saved` is a file that the lab's Save button wrote, with which it begins. Where nobody can click, as in grading, or
    without ipywidgets and anywidget, a line says so and the first map is shown.
    """
    why = _why_static()
    fields, choice = first_fields(model), Choice()
    runs = run_pairs(model, read_pairs(model, fields))
    result = compute_map(model, runs, choice)
    if why:
        print(f"The lab's first map only, for {why}.")
        draw(result, choice, runs.pairs.labels).show()
        return
    from utils.lab.view import Lab

    shown = Lab(model, fields, runs, result)
    if saved:
        shown.load(saved)
    # An exported page, which has no widgets, shows the figure.
    static = draw(result, choice, runs.pairs.labels, "<br>(a picture: the lab itself needs a running notebook)")
    display(static._repr_mimebundle_() | shown.widget._repr_mimebundle_(), raw=True)


def _why_static() -> str:
    """Return why no widgets can be used; empty if they can."""
    missing = [name for name in ("ipywidgets", "anywidget") if _is_missing(name)]
    if missing:
        return f"{' and '.join(missing)} cannot be imported here"
    open_somewhere = any(name in os.environ for name in FRONT_ENDS)
    return "" if open_somewhere and get_ipython() else "its widgets need a notebook that is open in a browser"


def _is_missing(name: str) -> bool:
    try:
        return find_spec(name) is None
    except ValueError:  # imported as None
        return True
