"""Grade a whole class: every submission in parallel, each with nbgrader in a folder and gradebook of its own.

`python -m grading` (or `make grade`) looks at every submission of an assignment, has workers grade those that are new
or changed, and enters the results into the course's gradebook, from where nbgrader's other commands go on.

- `course`: what nbgrader's settings say of the course, and the submissions in it.
- `private_gradebook`: the gradebook that a worker's nbgrader writes into.
- `worker`: grade one submission; `autograde`: the process in which nbgrader does so.
- `kernel`: the program that starts a kernel; `sandbox`: what that may see; `limits`: what it may use.
- `results`: what is known of a submission, kept on disk, so that an interrupted run can go on.
- `merge`: enter a result into the course's gradebook.
- `warm`: compute what the checks compare with, once for all.
- `classroom`: all submissions of a class, one after another as workers become free.
"""
