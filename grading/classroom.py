"""Grade all submissions of a class: select those to be graded, schedule workers, enter each result as it arrives."""

import contextlib
import dataclasses
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Executor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from nbgrader.api import InvalidEntry
from nbgrader.apps import NbGrader
from sqlalchemy.exc import SQLAlchemyError
from tqdm import tqdm
from traitlets import TraitError

from grading import executors, folders, gradebooks, preflight, results, submissions, tables, worker
from grading.course import Course, course_of, escape_undecodable, printable, why_invalid_name
from grading.errors import GradingError
from grading.executors import Executors
from grading.gradebooks import CourseGradebook
from grading.kernels import sandbox
from grading.settings import ClassGrading
from grading.worker import Task


@dataclass
class Plan:
    """The submissions of a class by what remains to be done for them."""

    to_grade: list[Task] = field(default_factory=list)
    to_enter: list[Task] = field(default_factory=list)
    """Graded in a run that was interrupted before it could enter them."""
    done: list[Task] = field(default_factory=list)
    not_graded: dict[str, str] = field(default_factory=dict)
    """Students whose submissions cannot be read, and why."""


@dataclass(frozen=True)
class Classroom:
    """A class: the course, its gradebook, and how it is graded."""

    course: Course
    gradebook: CourseGradebook
    settings: ClassGrading

    @classmethod
    def of(cls, app: NbGrader, assignment: str | None = None) -> "Classroom":
        """Return the class in an application's settings. Raises `GradingError` if there are none, or an invalid one."""
        try:
            return cls(course_of(app, assignment), CourseGradebook.of(app), ClassGrading(parent=app))
        except TraitError as error:
            raise GradingError(f"A setting is invalid: {error}") from None

    def grade(self, students: list[str]) -> list[str]:
        """Grade the submissions of these students; return the names of those that could not be graded.

        Raises `GradingError` if nothing can be graded.
        """
        self.course.state.mkdir(parents=True, exist_ok=True)
        with self._exclusive_lock():
            plan = self.plan(students)
            print(
                f"{len(students)} submissions: {len(plan.done)} graded already, {len(plan.to_grade)} to grade.",
                flush=True,
            )
            for student, reason in plan.not_graded.items():
                print(f"{printable(student)}: NOT GRADED ({reason})", flush=True)
            failed = list(plan.not_graded)
            with tqdm(total=len(plan.to_grade) + len(plan.to_enter), unit="submission", smoothing=0.1) as progress:
                failed += [task.student for task in plan.to_enter if not self.enter(task, progress)]
                if plan.to_grade:
                    self._clear_scratch()
                    self.prepare()
                    template = worker.gradebook_template(self.course)
                    gradebooks.make_template(self.gradebook, self.course.assignment, template)
                    failed += self._grade_all(plan.to_grade, progress)
                    self._clear_scratch()
            self._write_report(students, plan.not_graded)
        return failed

    def plan(self, students: list[str]) -> Plan:
        """Sort the students' submissions by their saved results."""
        notebooks = tuple(self.gradebook.notebooks(self.course.assignment))
        plan = Plan()
        for student in students:
            content, reason = self._read(student)
            if reason:
                plan.not_graded[student] = reason
                continue
            task = Task(
                course=self.course,
                student=student,
                fingerprint=content,
                notebooks=notebooks,
                limits=self.settings.limits(),
                sandboxed=self.settings.sandboxed,
                preload=self.settings.preload,
            )
            if self.settings.force:
                results.delete(self.course, student)
            if gradebooks.is_entered(self.gradebook, self.course, student, task.fingerprint):
                plan.done.append(task)
            elif results.is_unentered(self.course, student, task.fingerprint):
                plan.to_enter.append(task)
            else:
                results.delete(self.course, student)
                plan.to_grade.append(task)
        return plan

    def _read(self, student: str) -> tuple[str, str]:
        """Return a submission's fingerprint, and why it cannot be graded; empty if it can."""
        if reason := why_invalid_name(student):
            return "", reason
        folder, ignore = self.course.submission(student), self.course.ignore
        sizes = self.settings.file_megabytes, self.settings.submission_megabytes
        submissions.set_timestamp_aside(folder)
        try:
            reason = submissions.why_too_large(folder, ignore, *sizes)
            return "" if reason else submissions.fingerprint(folder, ignore), reason
        except OSError as error:
            return "", f"its folder is unreadable: {error.strerror}"

    def prepare(self) -> None:
        """Run the module in the setting `prepare`, once for the class. Raises `GradingError` if it fails."""
        environment = os.environ | worker.NUMERICS
        if module := self.settings.prepare:
            command = [sys.executable, "-m", module]
            if subprocess.run(command, cwd=self.course.settings_folder, env=environment).returncode:
                raise GradingError(f"`python -m {module}`, to be run before the class is graded, failed.")
        sandbox.show(sandbox.reference_cache(environment))

    def _clear_scratch(self) -> None:
        """Remove what killed processes have left on this machine.

        A scheduler's workers outlive a run, and may still be grading a submission for one that was killed.
        """
        if not self.settings.scheduler:
            kill_sandboxes(worker.scratch(self.course))
            folders.remove(worker.scratch(self.course))

    def _grade_all(self, tasks: list[Task], progress: tqdm) -> list[str]:
        """Have workers grade these submissions; enter each result as soon as it arrives."""
        failed = []
        with self._connect(len(tasks)) as (workers, each_worker):
            grade_right_answer(each_worker, tasks[0])
            futures = {workers.submit(worker.grade, task): task for task in tasks}
            for future in as_completed(futures):
                task = futures[future]
                if reason := executors.why_failed(future):
                    progress.write(printable(f"{task.student}: NOT GRADED ({reason})"))
                    progress.update()
                    failed.append(task.student)
                elif not self.enter(task, progress):
                    failed.append(task.student)
        return failed

    def _connect(self, tasks: int) -> contextlib.AbstractContextManager[Executors]:
        """Return the workers: those of a running scheduler if one is set, else threads here."""
        if address := self.settings.scheduler:
            return executors.scheduler(address, self.settings.sandboxed)
        return executors.threads(min(self.settings.workers, tasks))

    def enter(self, task: Task, progress: tqdm) -> bool:
        """Enter a result, and print a line on it; return whether all of it could be graded and entered."""
        result = results.load(self.course, task.student, task.fingerprint)
        problem = ""
        if result is None:
            problem = f"its worker saved no result in {self.course.state}, a folder that all workers must share"
        else:
            try:
                points = gradebooks.enter(self.gradebook, self.course, self.settings.config, result)
                line = f"{printable(task.student)}: {points}, {result.seconds:.0f} s"
            # Such as a name too long for the database, or an invalid timestamp.
            except (InvalidEntry, SQLAlchemyError, ValueError, OverflowError) as error:
                reason = str(error).strip().split("\n")[0][:200]
                problem = f"the gradebook rejected the result: {reason}"
        if problem:
            line = printable(f"{task.student}: NOT GRADED ({problem})")
        progress.write("; ".join([line, *(result.remarks() if result else ())]))
        progress.update()
        return not problem and not (result and result.grader_failed)

    def _write_report(self, students: list[str], not_graded: dict[str, str]) -> None:
        """Write report.csv, a table of the class beside the results, with points and remarks."""
        with open(self.course.state / "report.csv", "w", encoding="utf-8", newline="") as stream:
            table = tables.Writer(stream)
            table.writerow(["student", "points", "max_points", "bonus", "seconds", "remarks"])
            for student in students:
                if student in not_graded:
                    table.writerow([escape_undecodable(student), "", "", "", "", f"not graded: {not_graded[student]}"])
                    continue
                result = results.latest(self.course, student)
                if result is None:
                    table.writerow([student, "", "", "", "", "not graded"])
                    continue
                points = dataclasses.astuple(gradebooks.points(self.gradebook, self.course, student))
                table.writerow([student, *points, round(result.seconds), "; ".join(result.remarks())])

    @contextlib.contextmanager
    def _exclusive_lock(self) -> Iterator[None]:
        """Hold the course's lock, which the operating system releases when this process exits for any reason."""
        with open(self.course.state / "lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise GradingError(
                    f"Another run is grading {self.course.assignment} in {self.course.root}; wait for it to finish."
                ) from None
            yield


def kill_sandboxes(scratch: Path) -> None:
    """Kill the sandboxes with files in `scratch`.

    bubblewrap exits with the process that started it, unless that is killed in bubblewrap's first milliseconds.
    """
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):  # it has just exited, or belongs to another user
            command = process.cmdline()
            if command[:1] == ["bwrap"] and any(Path(part).is_relative_to(scratch) for part in command):
                process.kill()


def grade_right_answer(workers: list[Executor], task: Task) -> None:
    """Have each of these grade a right answer. Raises `GradingError` if one of them cannot."""
    answer = preflight.right_answer(task.course, task.notebooks)
    for future in as_completed([each.submit(preflight.run, task, answer) for each in workers]):
        if reason := executors.why_failed(future):
            raise GradingError(f"No submission was graded: {reason}")
