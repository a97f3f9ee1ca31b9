"""Waiting for a job: until when, and what is said meanwhile."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from prefect_jobs import statuses
from prefect_jobs.jobs import lifecycle

if TYPE_CHECKING:
    from prefect_jobs.jobs.base import Job

#: Called with the job when what is awaited changes; plain or ``async def``.
Progress = Callable[["Job"], Any]
_HELD = (statuses.HELD, statuses.PAUSED)


class Waiting:
    """One wait for a job; see :meth:`Job.wait`."""

    def __init__(self, job: "Job", timeout: float | None, progress: Progress | None, until_held: bool) -> None:
        self._job = job
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._progress = progress
        self._until_held = until_held
        self._told: tuple[str, str] | None = None

    def over(self) -> bool:
        """Asks how the job is; whether the wait has ended."""
        return lifecycle.poll_once(self._job) or (self._until_held and self._job.cached_status in _HELD)

    def tell(self) -> Any:
        """Says how the job is, if that has changed.

        Returns:
            What the callable has returned.
        """
        now = (self._job.cached_status, self._job.status_message)
        if self._progress is None or now == self._told:
            return None
        self._told = now
        return self._progress(self._job)

    def pause(self) -> float:
        """Seconds to the next question.

        Raises:
            TimeoutError: the deadline has passed.
        """
        job = self._job
        if self._deadline is None:
            return job._backend.poll_interval
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(
                f"{job._title()} is still {job.cached_status!r}"
                f"{': ' + job.status_message if job.status_message else ''}. It goes on; wait again."
            )
        return min(job._backend.poll_interval, left)
