"""A student's feedback pages, as `nbgrader generate_feedback` writes them with this repository's settings.

- `first_screen`: what stands above the notebook: the score, and each exercise with its points and message.
- `shared_figures`: the libraries that draw figures, in files that a student's pages share.
- `page/`: nbconvert's template of a page.
"""
