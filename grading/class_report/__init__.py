"""A graded class on one page, for the instructor: `python -m grading.class_report` (or `make report`).

Whatever can be counted comes from nbgrader's gradebook. The page is one file that needs no network.

- `figures`: what the page shows, read from the gradebook, the kept results and the folders of the class.
- `messages`: what the checks said that did not pass, read from the graded notebooks.
- `page`: the page, made with `page.html`, and nbgrader's own table of grades beside it.
"""
