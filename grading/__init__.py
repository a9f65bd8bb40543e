"""Grade a whole class: every submission in parallel, each with nbgrader in a folder and gradebook of its own.

`python -m grading` (or `make grade`) inspects every submission of an assignment, has workers grade those that are new
or changed, and enters the results into the course's gradebook, where nbgrader's other commands find them.

- `course`: the course as nbgrader's settings describe it, and the submissions in it.
- `private_gradebook`: the gradebook that a worker's nbgrader writes to.
- `preflight`: grade a right answer of the course's own first, to see that nothing but a student's answer can fail.
- `worker`: grade one submission; `autograde`: the process in which nbgrader does so.
- `restored_cells`: restore copied, split and deleted cells of a submission before it is graded.
- `kernels.warm_start`: client of `kernel_server`, a process for each submission that forks its kernels;
  `kernel_launcher`: the program that nbgrader starts as a kernel; `sandbox`: what these processes can access;
  `limits`: what they may use.
- `kernels.fork_server_client`: client of `fork_server`, a worker's process with preloaded imports that forks kernel
  servers into sandboxes; `namespaces`: how they enter and cannot leave; `process_control`: how they exit with
  their parents.
- `folders`: measure and remove what a student's code has written.
- `results`: the result of grading a submission, on disk, so that an interrupted run can resume.
- `merge`: enter a result into the course's gradebook.
- `precompute_references`: compute the checks' references once for the class.
- `classroom`: all submissions of a class, scheduled on the workers.
- `collecting`: plugins for `nbgrader zip_collect`, which collects students' archives.
- `written_answers`: leave written answers out of the exercises unless the course wants them.
- `class_report`: the class on one page, `python -m grading.class_report`.
"""
