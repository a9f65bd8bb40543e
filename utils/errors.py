"""Errors that a notebook shows as one sentence."""

import reprlib


class WorkbookError(Exception):
    """An error that the reader of a notebook can fix; the message says what was wrong and what to do.

    A notebook shows only the message: the traceback would consist of frames of this package.
    """

    def _render_traceback_(self) -> list[str]:
        """Return what IPython prints instead of a traceback (see IPython's `InteractiveShell.showtraceback`)."""
        return [f"{type(self).__name__}: {self}"]


class ModelError(WorkbookError):
    """The requested model cannot be loaded."""


class PromptError(WorkbookError):
    """The prompts or answers cannot be used with this model."""


def shown(value: object) -> str:
    """Return what a reader wrote as one short line, for a message."""
    try:
        return " ".join(reprlib.repr(value).split()).replace("Ellipsis", "...")
    except Exception:  # an object's __repr__ may fail
        return f"an object of type {type(value).__name__}"
