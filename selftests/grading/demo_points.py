"""The points of the real course's checks, and those that each student of the demo gets."""

from grading.demo.demo_class import PASSED
from tests.exercises import EXERCISES, NOTEBOOKS

POINTS = {
    notebook: {exercise.check_cell: exercise.points for exercise in EXERCISES if exercise.notebook == notebook}
    for notebook in NOTEBOOKS
}


def expected_points(student: str) -> dict[str, dict[str, tuple[float, float]]]:
    """Return a student's points and the maximum of each check, by notebook."""
    return {
        notebook: {check: (points if check in PASSED[student] else 0, points) for check, points in checks.items()}
        for notebook, checks in POINTS.items()
    }
