"""The lab: type two prompts, see every map, click a cell.

`prompts.py` reads the text fields, `maps.py` computes the map of a choice, `cells.py` says what one patch did, and
`view.py` shows all of it as widgets.
"""

import os

from IPython.display import display
from transformer_lens.model_bridge import TransformerBridge

from utils.lab_widgets.maps import Choice, compute_map, draw, number_of_runs, run_pairs
from utils.lab_widgets.prompts import first_fields, read_pairs
from utils.progress import progress_bar
from utils.published_view import map_table

FRONT_ENDS = ("JPY_SESSION_NAME", "VSCODE_PID", "COLAB_NOTEBOOK_ID")
"""Variables of a kernel whose notebook is open: set by Jupyter's server, by VS Code and by Colab."""


def lab(model: TransformerBridge, saved: str = "") -> None:
    """Show the lab: fields for prompts and answers, any map of them, and what each of its patches did.

    `saved` is a file that the lab's Save button wrote, with which it begins. Where no notebook is open, as in grading,
    or without ipywidgets and anywidget, a line says so and the first map is shown.
    """
    fields, choice = first_fields(model), Choice()
    runs = run_pairs(model, read_pairs(model, fields))
    with progress_bar(number_of_runs(model, runs.pairs, choice)) as bar:
        result = compute_map(model, runs, choice, bar.update)
    labels = runs.pairs.labels
    why = "it needs a notebook that is open in a browser" * (not os.environ.keys() & set(FRONT_ENDS))
    try:
        import anywidget  # noqa: F401  (plotly's widget needs it)

        from utils.lab_widgets.view import Lab
    except ImportError as error:
        why = f"{error.name} is missing"
    if why:
        print(f"The lab shows its first map only, because {why}.")
        draw(result, choice, labels).show()
        return
    shown = Lab(model, fields, runs, result)
    if saved:
        shown.inputs["file"].value = saved
        shown.buttons["Load"].click()
    # An exported page has no widgets, and shows this.
    note = "The lab's first map only, because the lab needs a running notebook: patching resid_pre"
    page = map_table(note, result, labels, float(result.abs().max()) or 1.0)
    display(shown.widget._repr_mimebundle_() | {"text/html": page}, raw=True)
