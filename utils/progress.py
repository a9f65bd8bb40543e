"""Progress bars for work that takes a while, the same everywhere."""

import sys

from tqdm import tqdm

SECONDS_WITHOUT_A_BAR = 2.0


def progress_bar(total: int | None, wanted: bool = True) -> tqdm:
    """A bar for `total` patched runs with the time left, which appears only if they take longer than two seconds.

    It goes to stdout: nbgrader takes anything on stderr for a failure. tqdm's environment variable `TQDM_DISABLE=1`
    turns it off.
    """
    return tqdm(
        total=total,
        delay=SECONDS_WITHOUT_A_BAR,
        mininterval=1.0,  # a saved page shows every state of the bar
        file=sys.stdout,
        unit="run",
        **({} if wanted else {"disable": True}),
    )
