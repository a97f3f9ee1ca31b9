"""Notes why jobs wait for a machine, once they have waited for a while."""

import heapq
import logging
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from queue import SimpleQueue

from prefect_jobs import clock, statuses
from prefect_jobs.errors import PrefectJobsError
from prefect_jobs.jobs import changes
from prefect_jobs.jobs.group import Group
from prefect_jobs.jobs.type_hooks import AnyJob
from prefect_jobs.noted import WAITS
from prefect_jobs.records import Change, JobRecord

log = logging.getLogger(__name__)

#: Seconds after its submission until it is asked why a job waits, and until it is asked again while nothing of it runs.
FIRST, AGAIN = 60.0, 600.0
#: Seconds between two requests, and the number of jobs in one.
PAUSE, AT_ONCE = 30.0, 20
#: Seconds after which an answer is not told any more: another monitor had the scheduler meanwhile.
OLD = 60.0
_COUNTS = re.compile(r"\d[\d,.]*")


@dataclass(frozen=True)
class _Answer:
    #: When it was asked for (monotonic).
    asked: float
    #: Job → its attempt at that time, and why it waits.
    reasons: Mapping[int, tuple[int, str]]


def _in_a_thread(call: Callable[[], None]) -> None:
    threading.Thread(target=call, name="prefect-jobs-reasons", daemon=True).start()


class Reasons:
    """The reasons at one scheduler: of some jobs in each turn. It is asked in a thread, since it may take seconds."""

    def __init__(self, group: Group, begin: Callable[[Callable[[], None]], None] = _in_a_thread) -> None:
        """
        Args:
            group: polls the jobs.
            begin: calls a function while others go on.
        """
        self._group = group
        self._begin = begin
        #: Whether it is being asked, and the answers that nobody was told yet.
        self._asking = False
        self._answers: SimpleQueue[_Answer] = SimpleQueue()
        #: When the next request is made, and, for each job, when it is asked about again (monotonic).
        self._next = 0.0
        self._due: dict[int, float] = {}

    def found(
        self, since: Mapping[int, datetime], read: Callable[[Iterable[int]], Sequence[AnyJob]]
    ) -> Iterator[tuple[AnyJob, str]]:
        """Jobs and why they wait, where that is news, by what was asked for in an earlier call.

        Args:
            since: jobs of which a part may wait, and since when their scheduler has them.
            read: reads jobs.
        """
        if not self._asking and time.monotonic() >= self._next and not self._group.catching_up:
            self._ask(since, read)
        while not self._answers.empty():
            yield from self._news(self._answers.get(), read)

    def _news(
        self, answer: "_Answer", read: Callable[[Iterable[int]], Sequence[AnyJob]]
    ) -> Iterator[tuple[AnyJob, str]]:
        if time.monotonic() > answer.asked + OLD:
            return
        for job in read(answer.reasons):
            record = job.handle.record
            attempt, text = answer.reasons[record.id]
            if attempt != record.state.attempt:
                continue
            # Of a job that runs in part, the reason may be another one soon; if nothing is idle, the answer costs
            # little.
            if text and _waits_wholly(record):
                self._due[record.id] = answer.asked + AGAIN
            if text != record.noted.waits(attempt):
                yield job, text

    def _ask(self, since: Mapping[int, datetime], read: Callable[[Iterable[int]], Sequence[AnyJob]]) -> None:
        """Begins to ask for the jobs whose turn it is."""
        now = time.monotonic()
        latest = clock.now() - timedelta(seconds=FIRST)
        self._due = {job_id: due for job_id, due in self._due.items() if job_id in since}
        due = (job_id for job_id, at in since.items() if at <= latest and self._due.get(job_id, 0.0) <= now)
        asked = heapq.nsmallest(AT_ONCE, due, key=self._order)
        if not asked:
            return
        self._next = now + PAUSE
        self._due.update(dict.fromkeys(asked, now + FIRST))
        waiting = {
            job.handle.record.id: job
            for job in read(asked)
            if job.engine.may_wait(job.handle.record) and _is_asked(job.handle.record)
        }
        if waiting:
            attempts = {job_id: job.handle.record.state.attempt for job_id, job in waiting.items()}
            self._asking = True
            try:
                self._begin(lambda: self._answer(list(waiting.values()), attempts, now))
            except RuntimeError as error:  # no more threads can be started now
                self._asking = False
                log.warning("Why jobs wait is not known: %s", error)

    def _answer(self, waiting: Sequence[AnyJob], attempts: Mapping[int, int], asked: float) -> None:
        try:
            reasons = self._group.why_waiting(waiting)
            self._answers.put(_Answer(asked, {each: (attempts[each], text) for each, text in reasons.items()}))
        except PrefectJobsError as error:  # the collector, perhaps; the schedd has just answered a poll
            log.info("Why jobs wait is not known: %s", error)
        except Exception:
            log.exception("Why jobs wait is not known")
        finally:
            self._asking = False

    def _order(self, job_id: int) -> tuple[float, int]:
        return self._due.get(job_id, 0.0), job_id


def _waits_wholly(record: JobRecord) -> bool:
    return record.state.status == statuses.SUBMITTED


def _is_asked(record: JobRecord) -> bool:
    """Whether its scheduler has had it for a while, and answers."""
    state = record.state
    if state.status not in (statuses.SUBMITTED, statuses.VARIOUS) or state.execute_time is None:
        return False
    if record.noted.unreachable_since is not None:
        return False
    return (clock.now() - state.execute_time).total_seconds() >= FIRST


def waits(text: str) -> Callable[[JobRecord], Change | None]:
    """The change that notes why a job waits."""

    def change(fresh: JobRecord) -> Change | None:
        attempt = fresh.state.attempt
        before = fresh.noted.waits(attempt)
        if not _is_asked(fresh) or text == before:
            return None
        native = {WAITS: {"attempt": attempt, "text": text} if text else None}
        if is_like(text, before):  # numbers of slots and users change all the time
            return changes.change_for(fresh, None, native=native)
        said = ((logging.INFO, f"It waits for a machine. {text}"),) if text else ()
        shown = {"face_seq": fresh.face_seq + 1}  # its run's page has the reason, too
        return changes.change_for(fresh, None, native=native, values=shown, messages=said)

    return change


def is_like(one: str, other: str) -> bool:
    """Whether two reasons differ in numbers alone."""
    return _COUNTS.sub("#", one) == _COUNTS.sub("#", other)
