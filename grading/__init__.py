"""Grade a whole class: every submission in parallel, each with nbgrader in a folder and gradebook of its own.

`python -m grading` (or `make grade`) looks at every submission of an assignment, has workers grade those that are new
or changed, and enters the results into the course's gradebook, from where nbgrader's other commands go on.

- `course`: what nbgrader's settings say of the course, and the submissions in it.
- `private_gradebook`: the gradebook that a worker's nbgrader writes into.
- `worker`: grade one submission; `autograde`: the process in which nbgrader does so.
- `kernels.warm_start`: a process for each submission that forks its kernels, as `kernel_server` says; `kernel`: the
  program that has one forked for nbgrader; `sandbox`: what all of these may see; `limits`: what they may use.
- `forks`: a worker's process that has imported what notebooks import and, as `fork_server` says, forks a submission's
  process into its sandbox; `namespaces`: how it gets in, and cannot get out.
- `folders`: look at and remove what a student's code has written.
- `results`: what is known of a submission, kept on disk, so that an interrupted run can go on.
- `merge`: enter a result into the course's gradebook.
- `warm`: compute what the checks compare with, once for all.
- `classroom`: all submissions of a class, one after another as workers become free.
- `class_report`: the class on one page, `python -m grading.class_report`.
"""
