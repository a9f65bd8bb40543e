"""Errors that speak to the person at the keyboard."""


class WorkbookError(Exception):
    """Something the reader of a notebook can mend; its text says what was wrong and what to do.

    In a notebook only that text is shown. The traceback would list frames of this package, none of which the
    reader wrote.
    """

    def _render_traceback_(self) -> list[str]:
        """What IPython prints instead of a traceback (see IPython's `InteractiveShell.showtraceback`)."""
        return [f"{type(self).__name__}: {self}"]


class ModelError(WorkbookError):
    """The model asked for cannot be loaded."""


class PromptError(WorkbookError):
    """The prompts asked for cannot be used with this model."""
