"""Time `python -m grading` and nbgrader's own `nbgrader autograde` on one class: `python -m bench.grading`.

The class is the demo's four students, repeated under new names. Both sides grade the same submissions, each in a
course folder of its own, one side after the other; their scores are compared cell by cell. The checks'
references are computed and cached on disk before either side starts. Run it on an otherwise idle machine.
"""

import argparse
import csv
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.__main__ import describe_machine
from grading.classroom import Classroom
from grading.course import read_settings
from grading.demo import demo_class as demo
from tests.exercises import NOTEBOOKS

RESULTS = Path(__file__).parent / "grading_results.md"
FULL = "all_right"
"""The student who has answered everything, whose notebooks take longest."""
POLL_SECONDS = 0.5
MIB = 2**20

Scores = dict[str, dict[str, demo.Cells]]


@dataclass
class Side:
    """The measurements of one way of grading."""

    name: str
    submissions: int
    seconds: float
    full_seconds: list[float]
    """Duration of each full submission, from start to end."""
    memory: "PeakMemory"
    scores: Scores

    @property
    def seconds_each(self) -> float:
        return self.seconds / self.submissions

    @property
    def full_seconds_each(self) -> float:
        return sum(self.full_seconds) / len(self.full_seconds)


def main(arguments: list[str] | None = None) -> int:
    """Grade the class on both sides and write the results file; return 1 if any score differs."""
    parser = argparse.ArgumentParser(prog="python -m bench.grading", description=__doc__.splitlines()[0])
    parser.add_argument("--submissions", type=int, default=24, help="how many; the default is 24")
    parser.add_argument("--sequential", type=int, help="let `nbgrader autograde` grade only so many of them")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="by default one a core")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the file to write")
    options = parser.parse_args(arguments)
    part = min(options.sequential or options.submissions, options.submissions)
    if part < min(len(demo.CLASS), options.submissions) or options.submissions < 1:
        parser.error(f"nbgrader must grade {len(demo.CLASS)} or more, so that each kind's scores can be compared")
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        names = class_of(options.submissions)
        ours, theirs = make_courses(Path(temporary), names, part)
        print("Computing the checks' references ...", flush=True)
        Classroom.of(read_settings(ours), demo.COURSE).prepare()
        sequential = measure_sequential(theirs, names[:part])
        parallel = measure_parallel(ours, names, options.workers)
    different = differences(sequential.scores, parallel.scores)
    text = describe(sequential, parallel, different)
    print(text)
    options.out.write_text(text, encoding="utf-8")
    return 1 if different else 0


# The class.


def class_of(submissions: int) -> list[str]:
    """Return the students' names: the demo's four in turn, numbered, so that any first few are mixed too."""
    kinds = demo.CLASS
    return [f"{index // len(kinds):02d}_{kinds[index % len(kinds)]}" for index in range(submissions)]


def kind_of(name: str) -> str:
    """Return the demo's student with the same submission."""
    return name.partition("_")[2]


def make_courses(folder: Path, names: list[str], part: int) -> tuple[Path, Path]:
    """Create two course folders, with all submissions and with the first `part` of them."""
    ours, theirs, kinds = folder / "ours", folder / "theirs", folder / "kinds"
    demo.make_course(ours)
    for kind in demo.CLASS:
        demo.hand_in(kind, ours)
    (ours / "submitted").rename(kinds)
    shutil.copytree(ours, theirs)
    for course, students in ((ours, names), (theirs, names[:part])):
        for name in students:
            shutil.copytree(kinds / kind_of(name), course / "submitted" / name)
    return ours, theirs


# The two sides.


def measure_sequential(course: Path, names: list[str]) -> Side:
    """Measure one nbgrader command that grades all students, one after another."""
    command = ["-m", "nbgrader", "autograde", demo.COURSE, f"--course-dir={course}"]
    started, seconds, memory = run(command, f"nbgrader autograde, {len(names)} submissions")
    return Side(
        name="nbgrader autograde",
        submissions=len(names),
        seconds=seconds,
        full_seconds=seconds_from_files(course, names, started),
        memory=memory,
        scores=read_scores(course, names),
    )


def seconds_from_files(course: Path, names: list[str], started: float) -> list[float]:
    """Return how long each full submission took, from the previous submission's last write to its own."""
    written = {}
    for name in names:
        notebooks = (course / "autograded" / name / demo.COURSE).glob("*.ipynb")
        written[name] = max(notebook.stat().st_mtime for notebook in notebooks)
    seconds = []
    for name in sorted(names, key=written.__getitem__):
        if kind_of(name) == FULL:
            seconds.append(written[name] - started)
        started = written[name]
    return seconds


def measure_parallel(course: Path, names: list[str], workers: int) -> Side:
    """Measure our command, in a sandbox where available."""
    command = [*demo.grading_arguments(course), f"--workers={workers}"]
    _, seconds, memory = run(command, f"python -m grading, {len(names)} submissions")
    with open(course / ".grading" / demo.COURSE / "report.csv", encoding="utf-8", newline="") as stream:
        full = [float(row["seconds"]) for row in csv.DictReader(stream) if kind_of(row["student"]) == FULL]
    where = "without a sandbox" if "--without-sandbox" in command else "in a sandbox"
    return Side(
        name=f"python -m grading, {workers} workers, {where}",
        submissions=len(names),
        seconds=seconds,
        full_seconds=full,
        memory=memory,
        scores=read_scores(course, names),
    )


def run(arguments: list[str], title: str) -> tuple[float, float, "PeakMemory"]:
    """Run Python with these arguments; return when it started, its seconds, and the memory of all its processes."""
    print(f"{title} ...", flush=True)
    with tempfile.TemporaryFile("w+") as log:
        started, clock = time.time(), time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=demo.REPOSITORY, env=environment(), stdout=log, stderr=log
        )
        memory = PeakMemory(process.pid)
        code = process.wait()
        seconds = time.perf_counter() - clock
        memory.stop()
        if code:
            log.seek(0)
            sys.exit(f"{title} exited with code {code}:\n{log.read()[-4000:]}")
    return started, seconds, memory


def environment() -> dict[str, str]:
    """Return this program's environment, without what `bench` sets for itself."""
    return {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}


class PeakMemory(threading.Thread):
    """The peak memory of a process and its descendants, polled in a thread.

    Of pages that several processes share, each process counts its part (PSS), so that the sum counts them once. RSS
    counts them in full in each process.
    """

    def __init__(self, process: int) -> None:
        super().__init__(daemon=True)
        self._process = psutil.Process(process)
        self._stopped = threading.Event()
        self.pss = self.rss = self.processes = 0
        self.without_pss = 0
        """The number of polls of a process whose PSS was not accessible, so that its RSS was used."""
        self.start()

    def run(self) -> None:
        while not self._stopped.wait(POLL_SECONDS):
            self._poll()

    def stop(self) -> None:
        self._stopped.set()
        self.join()

    def _poll(self) -> None:
        try:
            processes = [self._process, *self._process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        sizes = [size for process in processes if (size := self._size(process))]
        self.pss = max(self.pss, sum(pss for pss, _ in sizes))
        self.rss = max(self.rss, sum(rss for _, rss in sizes))
        self.processes = max(self.processes, len(sizes))

    def _size(self, process: psutil.Process) -> tuple[int, int] | None:
        """Return a process's PSS and RSS; None if it has exited."""
        try:
            rss = process.memory_info().rss
            try:
                return process.memory_full_info().pss, rss
            except (psutil.AccessDenied, AttributeError):
                self.without_pss += 1
                return rss, rss
        except psutil.NoSuchProcess:
            return None


# The scores.


def read_scores(course: Path, names: list[str]) -> Scores:
    return {name: demo.read_points(course, name) for name in names}


def differences(sequential: Scores, parallel: Scores) -> list[str]:
    """Describe every cell with points other than nbgrader's for the same submission."""
    by_kind = {kind_of(name): scores for name, scores in sequential.items()}
    found = []
    for name, notebooks in parallel.items():
        expected = demo.in_all(sequential.get(name) or by_kind[kind_of(name)])
        cells = demo.in_all(notebooks)
        for cell in sorted(cells.keys() | expected.keys()):
            if cells.get(cell) != expected.get(cell):
                found.append(f"{name}, {cell}: {cells.get(cell)} instead of {expected.get(cell)}")
    return found


# The table.

HEADER = """
| | submissions | all of them | seconds per submission | one full submission | peak memory, PSS (RSS) | processes |
| --- | --- | --- | --- | --- | --- | --- |
""".strip()


def describe(sequential: Side, parallel: Side, different: list[str]) -> str:
    """Format the results in Markdown."""
    *_, machine = describe_machine().strip().split("\n\n")  # what comes before is another benchmark's heading
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("nbgrader", "distributed"))
    threads = environment().get("OMP_NUM_THREADS", "not set")
    cells = sum(len(demo.in_all(notebooks)) for notebooks in parallel.scores.values())
    paragraphs = [
        "# Grading a class, beside nbgrader's own command",
        "Written by `make bench-grading`. One run, both sides, one after the other.",
        f"{machine} {versions}. OMP_NUM_THREADS: {threads}.",
        f"{parallel.submissions} submissions of {len(NOTEBOOKS)} notebooks: {count_kinds(parallel)}.",
        "\n".join([HEADER, row(sequential), row(parallel), times_faster(sequential, parallel)]),
        *notes(sequential, parallel),
        failure(different) if different else f"All {cells} scores are equal, cell by cell.",
    ]
    return "\n\n".join(paragraphs) + "\n"


def row(side: Side) -> str:
    memory = side.memory
    return (
        f"| {side.name} | {side.submissions} | {side.seconds:.0f} s | {side.seconds_each:.1f} s "
        f"| {side.full_seconds_each:.1f} s | {memory.pss / MIB:,.0f} MiB ({memory.rss / MIB:,.0f} MiB) "
        f"| {memory.processes} |"
    )


def times_faster(slow: Side, fast: Side) -> str:
    all_of_them, full = slow.seconds_each / fast.seconds_each, slow.full_seconds_each / fast.full_seconds_each
    return f"| times faster | | | **{all_of_them:.1f}** | {full:.1f} | | |"


def count_kinds(side: Side) -> str:
    """Format the number of submissions of each kind."""
    kinds = [kind_of(name) for name in side.scores]
    return ", ".join(f"{kinds.count(kind)} {kind}" for kind in demo.CLASS)


def notes(sequential: Side, parallel: Side) -> list[str]:
    """Explain how the figures were measured."""
    texts = [
        f"A full submission is one of {FULL}; its time goes from its start to its end. `python -m grading` grades "
        "others meanwhile, and records whole seconds.",
        f"Peak memory is the sum over all processes of a side, polled {1 / POLL_SECONDS:g} times a second. "
        "PSS counts shared pages once, RSS once in each process.",
    ]
    if sequential.submissions < parallel.submissions:
        texts.append(
            f"nbgrader autograde was timed on a part, {count_kinds(sequential)}. Scaled up, all "
            f"{parallel.submissions} would take it {sequential.seconds_each * parallel.submissions:.0f} s. The others' "
            "scores are compared with those that it gave the same notebooks."
        )
    if denied := sequential.memory.without_pss + parallel.memory.without_pss:
        texts.append(f"A process's PSS was not accessible {denied} times; its RSS was used instead.")
    return texts


def failure(different: list[str]) -> str:
    return "\n".join([f"**{len(different)} SCORES DIFFER:**", "", *(f"- {each}" for each in different)])


if __name__ == "__main__":
    sys.exit(main())
