"""A graded class on one page, for the instructor: `python -m grading.class_report` (or `make report`).

All counts come from nbgrader's gradebook. The page is one file that needs no network.

- `class_data`: what the page shows, read from the gradebook, the saved results and the folders of the class.
- `messages`: the messages of failed checks, read from the graded notebooks.
- `page`: render the page from `page.html`, and export nbgrader's table of grades beside it.
"""
