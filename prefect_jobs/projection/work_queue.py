"""What to show in Prefect, and when: the queue between the threads that change jobs and the one that shows them."""

import logging
import threading
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass

log = logging.getLogger(__name__)

#: Seconds between two sweeps.
SWEEP = 15.0
#: Seconds until the first sweep: the jobs that the first calls submit are shown first, many in one call.
_FIRST = 5.0
#: Seconds that log lines may wait, so that several are sent in one call.
LOG_DELAY = 4.0
#: Seconds until a job is shown again that has changed meanwhile, or that another process is showing.
_SOON = 0.25
_BATCH = 100


@dataclass
class _Due:
    """When something is to be done (monotonic)."""

    when: float
    #: Whether the last try failed on our side: no call waits for the next one.
    failed: bool = False
    #: Whether it was just done, and is to be done again after a pause: another process may be doing it.
    again: bool = False


@dataclass(frozen=True)
class Batch:
    """The work that is due now."""

    jobs: list[int]
    #: Whether log lines are due.
    logs: bool
    #: Whether a sweep is due.
    sweep: bool
    #: Whether some runs are to be deleted, after the rest.
    deletions: bool


class WorkQueue:
    """The queue of one projector. Its thread takes work from it; any thread adds to it, and waits."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._jobs: dict[int, _Due] = {}
        #: Jobs with nodes to be shown, in the order of their turns.
        self._nodes: dict[int, _Due] = {}
        self._logs: _Due | None = None
        #: Jobs that may have log lines.
        self._logging: set[int] = set()
        self._next_sweep = 0.0
        self._sweep_asked = False
        #: Whether runs are to be deleted, and how many of them this process has asked for: it waits for so many.
        self._deletions = False
        self._owed = 0
        self._closing = False
        #: The number of calls that wait until nothing is left: everything is due at once.
        self._flushing = 0
        #: Whether a call has waited without success since Prefect answered last.
        self._spent = False
        #: How often Prefect has answered.
        self.answers = 0
        #: Why Prefect cannot be reached, and since when (monotonic); no call waits for it then.
        self.away: tuple[str, float] | None = None

    # -- for threads that change jobs ---------------------------------------------------------------------

    def add(self, job_ids: Iterable[int], delay: float = 0.0) -> None:
        """Requests that jobs are shown, within ``delay`` seconds."""
        with self._changed:
            when = time.monotonic() + delay
            for job_id in job_ids:
                before = self._jobs.get(job_id)
                self._jobs[job_id] = _Due(when if before is None or before.failed else min(when, before.when))
            self._changed.notify_all()

    def wait(self, job_ids: Collection[int], patience: float) -> bool:
        """Waits until jobs are shown, without their nodes; returns whether they are.

        ``False`` at once if Prefect is known to be unreachable; early if showing one of them failed.
        """
        with self._changed:
            # One wait is enough: the next calls wait only after Prefect has answered again.
            if not self._changed.wait_for(lambda: self._spent or self._settled(job_ids), timeout=patience):
                self._spent = True
            return self._jobs.keys().isdisjoint(job_ids)

    def _settled(self, job_ids: Collection[int]) -> bool:
        left = [self._jobs[job_id] for job_id in job_ids if job_id in self._jobs]
        return not left or self.away is not None or any(due.failed for due in left)

    def impatient(self) -> None:
        """Notes that a call has waited for Prefect without success."""
        self._spent = True

    def ask_sweep(self) -> None:
        """Requests a sweep."""
        with self._changed:
            self._next_sweep = time.monotonic()
            self._sweep_asked = True
            self._changed.notify_all()

    def ask_deletions(self, asked: int = 0) -> None:
        """Requests that runs are deleted, some in each turn.

        Args:
            asked: how many of them calls of this process wait for.
        """
        with self._changed:
            self._deletions = True
            self._owed += asked
            self._changed.notify_all()

    @property
    def owed(self) -> int:
        """For how many deletions calls of this process wait."""
        return self._owed

    def wait_for_sweep(self, patience: float) -> bool:
        """Waits for the sweep of :meth:`ask_sweep`; whether it is done. ``False`` at once if Prefect is unreachable."""
        with self._changed:
            if not self._changed.wait_for(
                lambda: not self._sweep_asked or self.away is not None or self._spent, timeout=patience
            ):
                self._spent = True
            return not self._sweep_asked

    def flush(self, patience: float) -> bool:
        """Waits until nothing is left, log lines and nodes included; returns whether it is so.

        ``False`` at once if Prefect is unreachable. What could not be shown is not waited for.
        """
        with self._changed:
            for due in self._nodes.values():
                if not due.failed:
                    due.when = 0.0
            self._flushing += 1
            try:
                self._changed.notify_all()
                self._changed.wait_for(
                    lambda: self.away is not None or self._only_failures_left(),
                    timeout=patience,
                )
            finally:
                self._flushing -= 1
            return self._empty() and self.away is None

    def _all(self) -> list[_Due]:
        return [*self._jobs.values(), *self._nodes.values(), *([self._logs] if self._logs is not None else [])]

    def _only_failures_left(self) -> bool:
        return not (self._sweep_asked or self._owed) and all(due.failed for due in self._all())

    def _empty(self) -> bool:
        return not (self._all() or self._sweep_asked or self._owed)

    def open(self) -> None:
        """Notes that a thread takes work from now on."""
        with self._changed:
            self._closing = False
            if not self._sweep_asked:
                self._next_sweep = time.monotonic() + _FIRST

    def close(self) -> None:
        """Ends the waits of the thread that takes work; it gets nothing more."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    # -- for the thread that shows jobs -------------------------------------------------------------------

    def take(self) -> Batch | None:
        """Waits until something is due; ``None``: the queue was closed."""
        with self._changed:
            self._wait_for_work()
            if self._closing:
                return None
            moment = time.monotonic()
            jobs = [job_id for job_id, due in self._jobs.items() if self._is_due(due, moment)][:_BATCH]
            logs = self._logs is not None and self._is_due(self._logs, moment)
            sweep = moment >= self._next_sweep
            if sweep:
                self._next_sweep = moment + SWEEP
            deletions, self._deletions = self._deletions or sweep, False
            return Batch(jobs, logs, sweep, deletions)

    def wait_for_work(self) -> None:
        """Waits until something is due, or the queue is closed."""
        with self._changed:
            self._wait_for_work()

    def _wait_for_work(self) -> None:
        while not self._closing and (pause := self._pause()) > 0:
            self._changed.wait(pause)  # an addition may have changed the pause

    def _pause(self) -> float:
        if self._deletions:
            return 0.0
        if self._flushing and any(not due.failed and not due.again for due in self._jobs_and_logs()):
            return 0.0
        moments = [self._next_sweep, *(due.when for due in self._all())]
        return max(0.0, min(moments) - time.monotonic())

    def _is_due(self, due: _Due, moment: float) -> bool:
        return due.when <= moment or (self._flushing > 0 and not due.failed and not due.again)

    def _jobs_and_logs(self) -> list[_Due]:
        return [*self._jobs.values(), *([self._logs] if self._logs is not None else [])]

    def pause(self, seconds: float) -> None:
        """Waits for the whole time, even if work is due; less if the queue is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing, timeout=seconds)

    def shown(self, job_ids: Iterable[int], behind: Collection[int]) -> None:
        """Notes that jobs were shown. Some are still behind: they changed again, or another process shows them."""
        with self._changed:
            for job_id in job_ids:
                if job_id in behind:
                    self._jobs[job_id] = _Due(time.monotonic() + _SOON, again=True)
                else:
                    self._jobs.pop(job_id, None)
            self._changed.notify_all()

    def failed(self, batch: Batch) -> None:
        """Makes what is left of a batch due at the next sweep; no call waits for it."""
        with self._changed:
            for job_id in self._jobs.keys() & set(batch.jobs):
                self._jobs[job_id] = _Due(self._next_sweep, failed=True)
            self._logs = _Due(self._next_sweep, failed=True) if self._logging else None
            self._owed = 0
            self._changed.notify_all()

    def swept(self) -> None:
        """Notes that a sweep is done."""
        with self._changed:
            self._sweep_asked = False
            self._changed.notify_all()

    def deleted(self, number: int, *, more: bool) -> None:
        """Notes that some runs were deleted.

        Args:
            number: how many.
            more: whether there are more that this process deletes.
        """
        with self._changed:
            self._deletions = self._deletions or more  # others may have been asked for meanwhile
            self._owed = max(0, self._owed - number) if self._deletions else 0
            self._changed.notify_all()

    def sweep_again(self) -> None:
        """Makes the next sweep due now."""
        with self._changed:
            self._next_sweep = 0.0

    def lost(self, error: Exception) -> None:
        """Notes that Prefect cannot be reached: no call waits for it until it has answered again."""
        with self._changed:
            if self.away is None:
                self.away = (str(error), time.monotonic())
                log.warning("%s Jobs continue; their flow runs are updated later.", error)
            self._changed.notify_all()

    def answered(self) -> None:
        """Notes that Prefect has answered."""
        self._spent = False
        self.answers += 1
        if self.away is not None:
            log.warning("Prefect's API answers again after %.0f s.", time.monotonic() - self.away[1])
            self.away = None

    # -- nodes and log lines ------------------------------------------------------------------------------

    def add_nodes(self, job_ids: Iterable[int]) -> None:
        """Gives jobs a turn in which their nodes are shown."""
        with self._changed:
            moment = time.monotonic()
            for job_id in job_ids:
                before = self._nodes.get(job_id)
                self._nodes[job_id] = _Due(moment if before is None else min(moment, before.when))

    def next_nodes(self) -> int | None:
        """The job that has waited longest for its turn; ``None``: no turn is due."""
        with self._changed:
            moment = time.monotonic()
            return next((job_id for job_id, due in self._nodes.items() if due.when <= moment), None)

    def nodes_shown(self, job_id: int, again: float | None) -> None:
        """Notes that a job had its turn; its next one is in ``again`` seconds, after all others. ``None``: none."""
        with self._changed:
            del self._nodes[job_id]
            if again is not None:
                self._nodes[job_id] = _Due(time.monotonic() + again)
            self._changed.notify_all()

    def nodes_failed(self, job_id: int) -> None:
        """Notes that a job's turn failed; the next one is at the next sweep, and no call waits for it."""
        with self._changed:
            del self._nodes[job_id]
            self._nodes[job_id] = _Due(self._next_sweep, failed=True)
            self._changed.notify_all()

    def add_logs(self, job_ids: Collection[int]) -> None:
        """Requests that the log lines of jobs are sent soon."""
        with self._changed:
            self._logging.update(job_ids)
            if self._logs is None and job_ids:
                self._logs = _Due(time.monotonic() + LOG_DELAY)

    def take_logs(self) -> set[int]:
        """The jobs that may have log lines."""
        with self._changed:
            taken, self._logging = self._logging, set()
            return taken

    def logs_sent(self) -> None:
        """Notes that the log lines of the taken jobs were sent."""
        with self._changed:
            self._logs = _Due(time.monotonic() + LOG_DELAY) if self._logging else None
            self._changed.notify_all()

    def logs_left(self, job_ids: Collection[int]) -> None:
        """Notes that the log lines of the taken jobs could not be sent; they are still due."""
        with self._changed:
            self._logging.update(job_ids)
