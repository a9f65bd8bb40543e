"""The error whose message is addressed to the instructor."""


class GradingError(Exception):
    """Grading cannot continue; the message says why, in one sentence."""
