"""The progress bar of all sweeps, and of the first import in a notebook."""

import importlib
import sys
from collections.abc import Collection, Iterator
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

# A wait of two seconds shows a bar, even if each of its steps takes half a second.
SECONDS_WITHOUT_A_BAR = 1.5


def progress_bar(total: int | None, wanted: bool = True, unit: str = " runs") -> tqdm:
    """Return a progress bar for `total` patched runs, which appears only if they take some two seconds or more.

    It is written to stdout, because nbgrader treats output on stderr as a failure. `wanted=False` turns it off, and so
    does tqdm's environment variable `TQDM_DISABLE=1`.
    """
    disable = {} if wanted else {"disable": True}  # passing False would override TQDM_DISABLE
    # A saved page shows every state of the bar, so update it once a second only.
    return tqdm(total=total, delay=SECONDS_WITHOUT_A_BAR, mininterval=1.0, file=sys.stdout, unit=unit, **disable)


def with_progress_bar(items: Collection[Item], unit: str = " runs") -> Iterator[Item]:
    """Yield the items, such as the layers of a loop, while a progress bar counts them."""
    with progress_bar(len(items), unit=unit) as bar:
        for item in items:
            yield item
            bar.update()


def import_with_a_bar(*packages: str) -> None:
    """Import packages; in a notebook, with a progress bar if it takes some two seconds or more."""
    with progress_bar(len(packages), wanted="ipykernel" in sys.modules, unit="packages") as bar:
        for package in packages:
            importlib.import_module(package)
            bar.update()
