"""All submissions of a class: find out which must be graded, have workers do it, enter each result as it comes."""

import contextlib
import csv
import dataclasses
import fcntl
import logging
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

from distributed import Client, LocalCluster, as_completed
from nbgrader.api import InvalidEntry
from sqlalchemy.exc import SQLAlchemyError
from tqdm import tqdm
from traitlets.config import Config

from grading import folders, merge, private_gradebook, results, worker
from grading.course import Course, as_text, fingerprint, flaw_in_name, notebooks_of, printable
from grading.errors import GradingError
from grading.kernels import sandbox
from grading.kernels.limits import Limits
from grading.results import Result
from grading.worker import Task

SECONDS_FOR_A_WORKER = 10
"""How long a running scheduler may be without a worker."""


@dataclass(frozen=True)
class Options:
    """How a class is graded."""

    workers: int = field(default_factory=lambda: os.cpu_count() or 1)
    """Processes on this machine; unused where there is a scheduler."""
    scheduler: str | None = None
    """The address of a running scheduler of dask.distributed, whose workers grade."""
    force: bool = False
    """Whether to grade again what is graded."""
    sandboxed: bool = True
    notebook_seconds: int | None = None
    """What one notebook may take; by default, five times what one cell may."""


@dataclass
class Plan:
    """What there is to do."""

    to_grade: list[Task] = field(default_factory=list)
    to_enter: list[Task] = field(default_factory=list)
    """Graded in a run that was stopped before it could enter them."""
    done: list[Task] = field(default_factory=list)
    not_graded: dict[str, str] = field(default_factory=dict)
    """Students whose submissions cannot even be looked at, and why."""


def grade_class(course: Course, settings: Config, students: list[str], options: Options) -> list[str]:
    """Grade the submissions of these students; return the names of those that could not be graded.

    Raises `GradingError` where nothing can be graded.
    """
    course.state.mkdir(parents=True, exist_ok=True)
    with only_run(course):
        plan = make_plan(course, settings, students, options)
        print(
            f"{len(students)} submissions: {len(plan.done)} graded already, {len(plan.to_grade)} to grade.", flush=True
        )
        for student, reason in plan.not_graded.items():
            print(f"{printable(student)}: NOT GRADED ({reason})", flush=True)
        failed = list(plan.not_graded)
        with tqdm(total=len(plan.to_grade) + len(plan.to_enter), unit="submission", smoothing=0.1) as progress:
            failed += [task.student for task in plan.to_enter if not report(course, settings, task, progress)]
            if plan.to_grade:
                clear_scratch(course, options)
                prepare(course, settings)
                private_gradebook.make_template(course, worker.template(course))
                failed += grade_all(course, settings, plan.to_grade, options, progress)
                clear_scratch(course, options)
        write_report(course, students, plan.not_graded)
    return failed


def clear_scratch(course: Course, options: Options) -> None:
    """Remove what killed processes have left on this machine.

    A scheduler's workers outlive a run, and may still be at a submission of one that was killed.
    """
    if not options.scheduler:
        folders.remove(worker.scratch(course))


def prepare(course: Course, settings: Config) -> None:
    """Run what the settings name in `ClassGrading.prepare`, arguments of a call of Python, once for the class.

    Raises `GradingError` where it fails.
    """
    arguments = settings.ClassGrading.get("prepare", [])
    environment = os.environ | worker.ARITHMETIC
    command = [sys.executable, *arguments]
    if arguments and subprocess.run(command, cwd=course.settings_folder, env=environment).returncode:
        raise GradingError(f"`python {' '.join(arguments)}`, to be run before the class is graded, failed.")


def make_plan(course: Course, settings: Config, students: list[str], options: Options) -> Plan:
    """Sort the students' submissions by what is known of them."""
    alike = {
        "course": dataclasses.replace(course, db_url=""),  # which has a password, and workers do not need
        "notebooks": tuple(notebooks_of(course)),
        "limits": Limits(seconds=options.notebook_seconds or 5 * course.cell_timeout),
        "sandboxed": options.sandboxed,
        "preload": settings.ClassGrading.get("preload", ""),
        "run": secrets.token_hex(),
    }
    plan = Plan()
    for student in students:
        if flaw := flaw_in_name(student):
            plan.not_graded[student] = flaw
            continue
        try:
            content = fingerprint(course.submission(student), course.ignore)
        except OSError as error:
            plan.not_graded[student] = f"its folder cannot be read: {error.strerror}"
            continue
        task = Task(student=student, fingerprint=content, **alike)
        if options.force:
            results.forget(course, student)
        if merge.is_entered(course, student, task.fingerprint):
            plan.done.append(task)
        elif has_unentered_result(task):
            plan.to_enter.append(task)
        else:
            results.forget(course, student)
            plan.to_grade.append(task)
    return plan


def has_unentered_result(task: Task) -> bool:
    """Whether there is a result that can still be entered, with its notebooks here or in autograded/ already."""
    folder = results.folder_of(task.course, task.student, task.fingerprint)
    if not (folder / results.RESULT).exists():
        return False
    moved = task.course.autograded(task.student).exists() and not (folder / results.ENTERED).exists()
    return (folder / results.NOTEBOOKS).exists() or moved


def grade_all(course: Course, settings: Config, tasks: list[Task], options: Options, progress: tqdm) -> list[str]:
    """Have workers grade these submissions; enter each result as soon as it is there."""
    failed = []
    with connect(course, options, len(tasks)) as client:
        futures = {client.submit(worker.grade, task, pure=False): task for task in tasks}
        for future in as_completed(futures):
            task = futures[future]
            if future.status != "finished":
                # Without its scheduler, nothing is known of a task.
                reason = "the scheduler is gone" if future.cancelled() else future.exception()
                progress.write(printable(f"{task.student}: NOT GRADED ({reason})"))
                progress.update()
                failed.append(task.student)
            elif not report(course, settings, task, progress):
                failed.append(task.student)
            future.release()
    return failed


@contextlib.contextmanager
def connect(course: Course, options: Options, tasks: int) -> Iterator[Client]:
    """The workers: those of a running scheduler, or processes on this machine that end with the block."""
    if options.scheduler:
        # What it would print, pages of it, of a scheduler that is gone is said in a sentence below.
        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
        try:
            client = Client(options.scheduler, timeout=10)
        except (OSError, ValueError) as error:
            raise GradingError(f"No scheduler answers at {options.scheduler}: {error}") from None
        with client:
            insist_on_workers(client, options.scheduler)
            if options.sandboxed:
                insist_on_sandboxes(client)
            yield client
        return
    with (
        contextlib.closing(
            LocalCluster(
                n_workers=min(options.workers, tasks),
                threads_per_worker=1,
                # nbgrader's processes are not the workers' own memory, and have limits of their own.
                memory_limit=None,
                dashboard_address=None,
                local_directory=str(worker.scratch(course)),
                silence_logs=50,
            )
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def insist_on_workers(client: Client, address: str) -> None:
    """Stop where tasks would wait for a worker for ever."""
    try:
        client.wait_for_workers(1, timeout=SECONDS_FOR_A_WORKER)
    except TimeoutError:
        raise GradingError(
            f"The scheduler at {address} has no workers: start them with `dask worker {address} --nthreads 1`, one for "
            "each core."
        ) from None


def insist_on_sandboxes(client: Client) -> None:
    """Stop where one of the workers would refuse every submission that it gets."""
    # An error is that of a worker that does not find this package.
    for address, reason in client.run(sandbox.is_missing, on_error="return").items():
        if reason:
            raise GradingError(
                f"The worker at {address} cannot keep students' code in a sandbox: {reason}. Mend that, or end this "
                "worker. If you trust all of the code, add --without-sandbox."
            )


def report(course: Course, settings: Config, task: Task, progress: tqdm) -> bool:
    """Enter a result, and print a line on it; return whether that was possible."""
    result = results.read(course, task.student, task.fingerprint)
    entered = True
    try:
        points, most = merge.enter(course, settings, result)
        line = f"{printable(task.student)}: {points:g} of {most:g} points, {result.seconds:.0f} s"
    # Such as a name that is too long for the database, or a timestamp that is no time.
    except (InvalidEntry, SQLAlchemyError, ValueError, OverflowError) as error:
        entered = False
        reason = str(error).strip().split("\n")[0][:200]
        line = printable(f"{task.student}: NOT GRADED (the gradebook does not take the result: {reason})")
    progress.write("; ".join([line, *result.remarks()]))
    progress.update()
    return entered


def write_report(course: Course, students: list[str], not_graded: dict[str, str]) -> None:
    """The class as a table, in report.csv beside the results: points, and whatever is out of the ordinary."""
    with open(course.state / "report.csv", "w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["student", "points", "most", "seconds", "remarks"])
        for student in students:
            if student in not_graded:
                table.writerow([as_text(student), "", "", "", f"not graded: {not_graded[student]}"])
                continue
            result = latest_result(course, student)
            if result is None:
                table.writerow([student, "", "", "", "not graded"])
                continue
            points, most = merge.points(course, student)
            table.writerow([student, points, most, round(result.seconds), "; ".join(result.remarks())])


def latest_result(course: Course, student: str) -> Result | None:
    """The result that was entered last."""
    for entered in (course.state / "results" / student).glob(f"*/{results.ENTERED}"):
        return results.read(course, student, entered.parent.name)
    return None


@contextlib.contextmanager
def only_run(course: Course) -> Iterator[None]:
    """Hold the course's lock. The operating system lets go of it when this process ends, however it ends."""
    with open(course.state / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise GradingError(f"Another run is grading {course.assignment} in {course.root}; wait for it.") from None
        yield
