"""The project's own tests: what the notebooks rely on, from the loader to the pages in a browser."""

from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
