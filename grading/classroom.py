"""Grade all submissions of a class: select those to be graded, schedule workers, enter each result as it arrives."""

import contextlib
import dataclasses
import fcntl
import logging
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from dask.system import CPU_COUNT
from distributed import Client, Future, LocalCluster, as_completed
from nbgrader.api import InvalidEntry
from sqlalchemy.exc import SQLAlchemyError
from tqdm import tqdm
from traitlets.config import Config

from grading import folders, merge, preflight, private_gradebook, results, tables, timestamps, worker
from grading.course import (
    Course,
    escape_undecodable,
    fingerprint,
    notebook_names,
    printable,
    why_invalid_name,
    why_too_large,
)
from grading.errors import GradingError
from grading.kernels import sandbox
from grading.kernels.limits import Limits
from grading.results import Result
from grading.worker import Task

FILE_MEGABYTES, SUBMISSION_MEGABYTES = 100, 200
"""The sizes up to which a file and a submission are read, unless the settings have others."""
WORKER_TIMEOUT_SECONDS = 10
"""How long to wait for a running scheduler's first worker."""


@dataclass(frozen=True)
class Options:
    """Options of grading a class."""

    workers: int = CPU_COUNT
    """Processes on this machine, by default one per core that this process may use; unused with a scheduler."""
    scheduler: str | None = None
    """The address of a running scheduler of dask.distributed, whose workers grade."""
    force: bool = False
    """Whether to grade again submissions that are graded already."""
    sandboxed: bool = True
    notebook_seconds: int | None = None
    """The time limit of one notebook; by default, five times that of one cell."""


@dataclass
class Plan:
    """The submissions of a class by what remains to be done for them."""

    to_grade: list[Task] = field(default_factory=list)
    to_enter: list[Task] = field(default_factory=list)
    """Graded in a run that was interrupted before it could enter them."""
    done: list[Task] = field(default_factory=list)
    not_graded: dict[str, str] = field(default_factory=dict)
    """Students whose submissions cannot be read, and why."""


def grade_class(course: Course, settings: Config, students: list[str], options: Options) -> list[str]:
    """Grade the submissions of these students; return the names of those that could not be graded.

    Raises `GradingError` if nothing can be graded.
    """
    course.state.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(course):
        plan = make_plan(course, settings, students, options)
        print(
            f"{len(students)} submissions: {len(plan.done)} graded already, {len(plan.to_grade)} to grade.", flush=True
        )
        for student, reason in plan.not_graded.items():
            print(f"{printable(student)}: NOT GRADED ({reason})", flush=True)
        failed = list(plan.not_graded)
        with tqdm(total=len(plan.to_grade) + len(plan.to_enter), unit="submission", smoothing=0.1) as progress:
            failed += [task.student for task in plan.to_enter if not enter_result(course, settings, task, progress)]
            if plan.to_grade:
                clear_scratch(course, options)
                prepare(course, settings)
                private_gradebook.make_template(course, worker.gradebook_template(course))
                failed += grade_all(course, settings, plan.to_grade, options, progress)
                clear_scratch(course, options)
        write_report(course, students, plan.not_graded)
    return failed


def clear_scratch(course: Course, options: Options) -> None:
    """Remove what killed processes have left on this machine.

    A scheduler's workers outlive a run, and may still be grading a submission for one that was killed.
    """
    if not options.scheduler:
        kill_sandboxes(worker.scratch(course))
        folders.remove(worker.scratch(course))


def kill_sandboxes(scratch: Path) -> None:
    """Kill the sandboxes with files in `scratch`.

    bubblewrap exits with the process that started it, unless that is killed in bubblewrap's first milliseconds.
    """
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):  # it has just exited, or belongs to another user
            command = process.cmdline()
            if command[:1] == ["bwrap"] and any(Path(part).is_relative_to(scratch) for part in command):
                process.kill()


def prepare(course: Course, settings: Config) -> None:
    """Run Python with the arguments in the setting `ClassGrading.prepare`, once for the class.

    Raises `GradingError` if it fails.
    """
    arguments = settings.ClassGrading.get("prepare", [])
    environment = os.environ | worker.NUMERICS
    command = [sys.executable, *arguments]
    if arguments and subprocess.run(command, cwd=course.settings_folder, env=environment).returncode:
        raise GradingError(f"`python {' '.join(arguments)}`, to be run before the class is graded, failed.")
    sandbox.show(sandbox.reference_cache(environment))


def make_plan(course: Course, settings: Config, students: list[str], options: Options) -> Plan:
    """Sort the students' submissions by their saved results."""
    common = {
        "course": dataclasses.replace(course, db_url=""),  # contains a password; workers do not need it
        "notebooks": tuple(notebook_names(course)),
        "limits": Limits(seconds=options.notebook_seconds or 5 * course.cell_timeout),
        "sandboxed": options.sandboxed,
        "preload": settings.ClassGrading.get("preload", ""),
        "run": secrets.token_hex(),
    }
    limits = settings.ClassGrading
    sizes = limits.get("file_megabytes", FILE_MEGABYTES), limits.get("submission_megabytes", SUBMISSION_MEGABYTES)
    plan = Plan()
    for student in students:
        if reason := why_invalid_name(student):
            plan.not_graded[student] = reason
            continue
        timestamps.set_aside(course.submission(student))
        try:
            if reason := why_too_large(course.submission(student), course.ignore, *sizes):
                plan.not_graded[student] = reason
                continue
            content = fingerprint(course.submission(student), course.ignore)
        except OSError as error:
            plan.not_graded[student] = f"its folder is unreadable: {error.strerror}"
            continue
        task = Task(student=student, fingerprint=content, **common)
        if options.force:
            results.delete(course, student)
        if merge.is_entered(course, student, task.fingerprint):
            plan.done.append(task)
        elif has_unentered_result(task):
            plan.to_enter.append(task)
        else:
            results.delete(course, student)
            plan.to_grade.append(task)
    return plan


def has_unentered_result(task: Task) -> bool:
    """Return whether there is a saved result to enter, with its notebooks beside it or in autograded/ already."""
    folder = results.result_folder(task.course, task.student, task.fingerprint)
    if not (folder / results.RESULT).exists():
        return False
    moved = task.course.autograded(task.student).exists() and not (folder / results.ENTERED).exists()
    return (folder / results.NOTEBOOKS).exists() or moved


def grade_all(course: Course, settings: Config, tasks: list[Task], options: Options, progress: tqdm) -> list[str]:
    """Have workers grade these submissions; enter each result as soon as it arrives."""
    failed = []
    with connect(course, options, len(tasks)) as client:
        grade_right_answer(client, tasks[0])
        futures = {client.submit(worker.grade, task, pure=False): task for task in tasks}
        for future in as_completed(futures):
            task = futures[future]
            if future.status != "finished":
                progress.write(printable(f"{task.student}: NOT GRADED ({why_failed(future)})"))
                progress.update()
                failed.append(task.student)
            elif not enter_result(course, settings, task, progress):
                failed.append(task.student)
            future.release()
    return failed


def grade_right_answer(client: Client, task: Task) -> None:
    """Have every worker grade a right answer. Raises `GradingError` if one of them cannot."""
    answer = preflight.right_answer(task.course, task.notebooks)
    # A worker that is killed meanwhile has another name when it is back.
    where = [{"workers": [address], "allow_other_workers": True} for address in client.nthreads()]
    futures = [client.submit(preflight.run, task, answer, pure=False, **each) for each in where]
    for future in as_completed(futures):
        if future.status != "finished":
            raise GradingError(f"No submission was graded: {why_failed(future)}")


def why_failed(future: Future) -> str:
    """Return why a worker has not finished its task; without the scheduler, the task's state is unknown."""
    return "the connection to the scheduler was lost" if future.cancelled() else str(future.exception())


@contextlib.contextmanager
def connect(course: Course, options: Options, tasks: int) -> Iterator[Client]:
    """Connect to the workers of a running scheduler, or to processes on this machine that end with the block."""
    if options.scheduler:
        # It would print pages about a lost scheduler, where one sentence below is enough.
        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
        try:
            client = Client(options.scheduler, timeout=10)
        except (OSError, ValueError) as error:
            raise GradingError(f"No scheduler answers at {options.scheduler}: {error}") from None
        with client:
            require_workers(client, options.scheduler)
            if options.sandboxed:
                require_sandboxes(client)
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


def require_workers(client: Client, address: str) -> None:
    """Raise `GradingError` if the scheduler has no workers, so that tasks would wait forever."""
    try:
        client.wait_for_workers(1, timeout=WORKER_TIMEOUT_SECONDS)
    except TimeoutError:
        raise GradingError(
            f"The scheduler at {address} has no workers: start them with `dask worker {address} --nthreads 1`, one for "
            "each core."
        ) from None


def require_sandboxes(client: Client) -> None:
    """Raise `GradingError` if a worker cannot create a sandbox, so that it would reject every submission."""
    # A worker that cannot import this package returns an error.
    for address, reason in client.run(sandbox.why_unavailable, on_error="return").items():
        if reason:
            raise GradingError(
                f"The worker at {address} cannot sandbox students' code: {reason}. Fix that or stop this worker; "
                "if you trust all of the code, add --without-sandbox."
            )


def enter_result(course: Course, settings: Config, task: Task, progress: tqdm) -> bool:
    """Enter a result, and print a line on it; return whether all of it could be graded and entered."""
    result = results.load(course, task.student, task.fingerprint)
    problem = ""
    if result is None:
        problem = f"its worker saved no result in {course.state}, a folder that all workers must share"
    else:
        try:
            line = f"{printable(task.student)}: {merge.enter(course, settings, result)}, {result.seconds:.0f} s"
        # Such as a name too long for the database, or an invalid timestamp.
        except (InvalidEntry, SQLAlchemyError, ValueError, OverflowError) as error:
            reason = str(error).strip().split("\n")[0][:200]
            problem = f"the gradebook rejected the result: {reason}"
    if problem:
        line = printable(f"{task.student}: NOT GRADED ({problem})")
    progress.write("; ".join([line, *(result.remarks() if result else ())]))
    progress.update()
    return not problem and not (result and result.grader_failed)


def write_report(course: Course, students: list[str], not_graded: dict[str, str]) -> None:
    """Write report.csv, a table of the class beside the results, with points and remarks."""
    with open(course.state / "report.csv", "w", encoding="utf-8", newline="") as stream:
        table = tables.Writer(stream)
        table.writerow(["student", "points", "max_points", "bonus", "seconds", "remarks"])
        for student in students:
            if student in not_graded:
                table.writerow([escape_undecodable(student), "", "", "", "", f"not graded: {not_graded[student]}"])
                continue
            result = latest_result(course, student)
            if result is None:
                table.writerow([student, "", "", "", "", "not graded"])
                continue
            points = dataclasses.astuple(merge.points(course, student))
            table.writerow([student, *points, round(result.seconds), "; ".join(result.remarks())])


def latest_result(course: Course, student: str) -> Result | None:
    """Return the result that was entered last."""
    for entered in (course.state / "results" / student).glob(f"*/{results.ENTERED}"):
        return results.load(course, student, entered.parent.name)
    return None


@contextlib.contextmanager
def exclusive_lock(course: Course) -> Iterator[None]:
    """Hold the course's lock, which the operating system releases when this process exits for any reason."""
    with open(course.state / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise GradingError(
                f"Another run is grading {course.assignment} in {course.root}; wait for it to finish."
            ) from None
        yield
