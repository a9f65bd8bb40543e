"""Grade a whole class: every submission in parallel, each with nbgrader in a folder and gradebook of its own.

`python -m grading` (or `make grade`) inspects every submission of an assignment, has workers grade those that are new
or changed, and enters the results into the course's gradebook, where nbgrader's other commands find them.

What is graded, and how:

- `settings`: the settings of `make grade`; `course`: the course as nbgrader's settings describe it.
- `classroom`: all submissions of a class, scheduled on the workers; `submissions`: what students handed in.
- `preflight`: grade a right answer of the course's own first, to see that nothing but a student's answer can fail.
- `worker`: grade one submission; `autograde`: the process in which nbgrader does so.
- `kernels.warm_kernels`: kernels for that process, forked by `kernel_server` in a `sandbox` without some
  `system_calls`, within `limits`, which `control_groups` enforce where possible; `preload`: what they import first.
- `results`: the result of grading a submission, on disk, so that an interrupted run can resume; `gradebooks`: the
  course's gradebook, into which results are entered, and the workers' own.

What nbgrader does to a notebook, by this repository's nbgrader_config.py:

- `preprocessors`: the list; `restored_cells`: copied, split and deleted cells; `safe_pages` and `safe_figures`: no page
  that shows the notebook runs a student's scripts; `bonus`: points beyond the maximum; `written_answers`.

And around it: `release`, `collecting` (plugins for `nbgrader zip_collect`), `tables` (of grades), `feedback`,
`class_report` (the class on one page, `python -m grading.class_report`), `demo`.
"""
