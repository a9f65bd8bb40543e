"""The fixtures that several test modules share."""

from tests.workbook.browsing import browser, needed_programs

__all__ = ["browser", "needed_programs"]
