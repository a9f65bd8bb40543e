"""How many figures the notebooks of the solutions show, in whatever front end."""

from typing import NamedTuple


class Figures(NamedTuple):
    """How many figures of each kind a notebook shows."""

    heat_maps: int
    """Bar charts too."""
    attention_views: int
    diagrams: int
    published_maps: int


FIGURES = {
    "00_introduction": Figures(0, 0, 3, 0),
    "01_ioi_metric": Figures(1, 0, 0, 0),
    "02_residual_stream": Figures(7, 0, 0, 2),
    "03_attention_heads": Figures(2, 0, 0, 1),
    "04_attention_patterns": Figures(6, 1, 1, 1),
    "05_circuit": Figures(5, 1, 3, 0),
    "06_testing_the_circuit": Figures(4, 0, 0, 0),
    "07_testing_the_evidence": Figures(5, 0, 0, 0),
    "08_mystery_model": Figures(5, 0, 1, 0),
    "09_fast_sweeps": Figures(0, 0, 1, 0),
    "10_lab": Figures(1, 0, 0, 0),
}
