"""The error whose text is meant for the instructor."""


class GradingError(Exception):
    """Grading cannot go on; the text says why, in one sentence."""
