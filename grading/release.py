"""`python -m grading.release`: name what `nbgrader generate_assignment --force` would delete and did not make.

nbgrader removes the folder of the released notebooks before it writes them again.
"""

import sys
from pathlib import Path

import nbformat
from nbgrader.utils import compute_checksum, is_solution

from grading.course import Course, course_of, printable, read_settings
from grading.submissions import inspect_submission


def main() -> int:
    """Print the files in the way of a release; return 1 if there are any, and otherwise 0."""
    course = course_of(read_settings())
    in_the_way = {**foreign_files(course), **answered_notebooks(course)}
    for path, why in in_the_way.items():
        print(f"{printable(str(path))} {why}.", file=sys.stderr)
    if in_the_way:
        print(
            "Nothing was released, since a release deletes them: move them elsewhere, or delete them.", file=sys.stderr
        )
    return 1 if in_the_way else 0


def foreign_files(course: Course) -> dict[Path, str]:
    """Return the files and links in the folder of the release that have no counterpart in the source."""
    found = inspect_submission(course.release, course.ignore) if course.release.is_dir() else None
    paths = sorted([*found.files, *found.links, *found.unreadable]) if found else []
    return {
        course.release / path: "was not made by a release" for path in paths if not (course.source / path).is_file()
    }


def answered_notebooks(course: Course) -> dict[Path, str]:
    """Return the released notebooks with an answer or an output, by nbgrader's own checksums of their cells."""
    return {path: "has answers or outputs" for path in sorted(course.release.glob("*.ipynb")) if is_answered(path)}


def is_answered(path: Path) -> bool:
    """Return whether a released notebook was answered or run; one that cannot be read was changed somehow."""
    try:
        return any(map(is_changed, nbformat.read(path, as_version=4).cells))
    except Exception:  # from invalid JSON to a broken link
        return True


def is_changed(cell: nbformat.NotebookNode) -> bool:
    """Return whether a cell of a released notebook was answered or run."""
    answered = is_solution(cell) and cell.metadata.nbgrader.get("checksum") != compute_checksum(cell)
    return bool(answered or cell.get("outputs") or cell.get("execution_count"))


if __name__ == "__main__":
    sys.exit(main())
