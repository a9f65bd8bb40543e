"""What runs the tasks of grading a class: threads of this process, or the workers of a running dask scheduler.

Both are executors of Python's `concurrent.futures`. Each comes with further ones for what has to be tried wherever a
task may run: in this process, or on every worker of the scheduler, which may be on a machine of its own.
"""

import contextlib
import logging
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor

from grading.errors import GradingError
from grading.kernels import sandbox

WORKER_TIMEOUT_SECONDS = 10
"""How long to wait for a running scheduler, and for its first worker."""

Executors = tuple[Executor, list[Executor]]
"""The executor of all tasks, and one for each place where they run."""


@contextlib.contextmanager
def threads(count: int) -> Iterator[Executors]:
    """Run tasks in threads, each of which waits for a process of nbgrader's."""
    pool = ThreadPoolExecutor(count)
    try:
        yield pool, [pool]
    finally:
        # After an error, the tasks that have not begun are dropped, and the others are not awaited here.
        pool.shutdown(wait=False, cancel_futures=True)


@contextlib.contextmanager
def scheduler(address: str, sandboxed: bool) -> Iterator[Executors]:
    """Run tasks on the workers of a running scheduler.

    Raises `GradingError` where it does not answer, has no workers, or has one without a sandbox where there must be.
    """
    from distributed import Client  # takes a second, and most classes are graded on one machine

    # It would print pages about a lost scheduler, where one sentence is enough.
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
    try:
        client = Client(address, timeout=WORKER_TIMEOUT_SECONDS)
    except (OSError, ValueError) as error:
        raise GradingError(f"No scheduler answers at {address}: {error}") from None
    with client:
        try:
            client.wait_for_workers(1, timeout=WORKER_TIMEOUT_SECONDS)
        except TimeoutError:
            raise GradingError(
                f"The scheduler at {address} has no workers: start them with `dask worker {address} --nthreads 1`, one "
                "for each core."
            ) from None
        if sandboxed:
            # A worker that cannot import this package returns an error.
            require_sandboxes(client.run(sandbox.why_unavailable, on_error="return"))
        # A worker that is killed meanwhile has another name when it is back.
        each = [{"workers": [worker], "allow_other_workers": True} for worker in client.nthreads()]
        yield client.get_executor(pure=False), [client.get_executor(pure=False, **options) for options in each]


def require_sandboxes(reasons: dict[str, str]) -> None:
    """Raise `GradingError` if a worker cannot create a sandbox, so that it would reject every submission."""
    for address, reason in reasons.items():
        if reason:
            raise GradingError(
                f"The worker at {address} cannot sandbox students' code: {reason}. Fix that or stop this worker; "
                "if you trust all of the code, add --without-sandbox."
            )


def why_failed(future: Future) -> str:
    """Return why a task has failed; empty if it has not. Without the scheduler, that is unknown."""
    if future.cancelled():
        return "the connection to the scheduler was lost"
    return str(error) if (error := future.exception()) else ""
