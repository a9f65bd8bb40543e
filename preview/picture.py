"""The README's picture, drawn again: `python -m preview.picture`."""

import re
from pathlib import Path

from utils import published_beside, published_patching

FILE = Path(__file__).parents[1] / "docs" / "resid_pre.svg"


def picture() -> str:
    """The published heat map of resid_pre as SVG, in a grey that can be read on white and on dark pages."""
    shown = published_beside(published_patching("resid_pre"), "resid_pre").data
    return re.search("<svg.*</svg>", shown, re.DOTALL)[0].replace("color: inherit", "color: #808080", 1) + "\n"


if __name__ == "__main__":
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(picture(), encoding="utf-8")
