"""Waiting for a job: how long, and what is reported meanwhile."""

import time
from collections.abc import Callable
from typing import Any

from prefect_jobs import statuses
from prefect_jobs.jobs import polling
from prefect_jobs.jobs.type_hooks import AnyJob

#: Called with the job when its status or message changes; plain or ``async def``.
Progress = Callable[[Any], Any]
_HELD = (statuses.HELD, statuses.PAUSED)


class Waiting:
    """One wait for a job; see :meth:`Job.wait`."""

    def __init__(self, job: AnyJob, timeout: float | None, progress: Progress | None, until_held: bool) -> None:
        self._job = job
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._progress = progress
        self._until_held = until_held
        self._told: tuple[str, str] | None = None

    def over(self) -> bool:
        """Polls the job; returns whether the wait has ended."""
        return polling.poll_once(self._job) or (self._until_held and self._job.handle.status.text in _HELD)

    def tell(self) -> Any:
        """Reports the job, if its status or message has changed.

        Returns:
            The return value of the callable.
        """
        state = self._job.handle.record.state
        now = (state.status, state.status_message)
        if self._progress is None or now == self._told:
            return None
        self._told = now
        return self._progress(self._job)

    def pause(self) -> float:
        """Seconds to the next poll.

        Raises:
            TimeoutError: the deadline has passed.
        """
        handle = self._job.handle
        interval = handle.backend.site.poll_interval
        if self._deadline is None:
            return interval
        left = self._deadline - time.monotonic()
        if left <= 0:
            state = handle.record.state
            why = f": {state.status_message}" if state.status_message else ""
            raise TimeoutError(f"{handle.title} is still {state.status!r}{why}. It continues; wait again.")
        return min(interval, left)
