"""The project's own tests: what the notebooks rely on, from the loader to the pages in a browser."""

from pathlib import Path

from beartype import BeartypeConf, beartype

REPOSITORY = Path(__file__).parents[1]

check_types = beartype(conf=BeartypeConf(is_pep484_tower=True))
"""What the tests check shapes and types with at run time, in `utils` and `tests.checks`; an int is a float to it."""
