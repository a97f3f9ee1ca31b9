"""What ``prefect-jobs watch`` shows of the jobs."""

import logging
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from starlette.datastructures import QueryParams

from prefect_jobs import statuses
from prefect_jobs.errors import PrefectJobsError
from prefect_jobs.jobs.base import Job
from prefect_jobs.jobs.log_file import LogFile, LogPart, part_of
from prefect_jobs.jobs.waiting_many import WaitingForAll
from prefect_jobs.runtime.wiring import get_runtime
from prefect_jobs.store.filters import JobQuery
from prefect_jobs.web import queries
from prefect_jobs.web.logs import CHUNK, names_of

log = logging.getLogger(__name__)

COLUMNS = ("id", "app", "user", "type", "name", "status", "submitted", "run time", "message")
#: Characters of a message.
_MESSAGE = 200


@dataclass(frozen=True)
class Row:
    """A job in the table."""

    id: int
    #: The texts of :data:`COLUMNS`.
    cells: tuple[str, ...]
    #: The type of the state that shows it in Prefect, such as ``RUNNING``.
    state_type: str


@dataclass(frozen=True)
class Seen:
    """The jobs of a view, at one time."""

    rows: Sequence[Row]
    #: Status → the number of jobs of the view that have it, also of those beyond its limit.
    totals: Mapping[str, int]

    @property
    def line(self) -> str:
        """The totals, for people."""
        count, shown = sum(self.totals.values()), len(self.rows)
        head = f"{count} job{'' if count == 1 else 's'}" + (f", the newest {shown} shown" if shown < count else "")
        return " · ".join([head, *(f"{status} {number}" for status, number in sorted(self.totals.items()))])


class View:
    """Some of the jobs."""

    def __init__(self, text: str = "", fixed: Mapping[str, Sequence[str]] | None = None, limit: int = 200) -> None:
        """
        Args:
            text: what to search for; words with ``=`` are filters, as in the address of the jobs page.
            fixed: more filters.
            limit: the largest number of rows.
        """
        self.text = text
        self._fixed = dict(fixed or {})
        self._limit = limit
        self._waiting: WaitingForAll | None = None
        self._asked: frozenset[int] = frozenset()

    def problems(self) -> list[str]:
        """What is wrong with the filter, for people."""
        return self._wanted().problems

    def read(self) -> Seen:
        """The jobs, as last known.

        Raises:
            DatabaseError: the database does not answer.
        """
        runtime = get_runtime()
        jobs = self._jobs()
        return Seen([_row(job) for job in jobs], runtime.store.totals(JobQuery(**self._wanted().as_query())))

    def ask_schedulers(self) -> None:
        """Asks the scheduler of each active job for news, once; one that does not answer is noted at its jobs.

        Raises:
            DatabaseError: the database does not answer.
        """
        jobs = [job for job in self._jobs() if not job.handle.record.final and job.handle.record.state.attempt]
        asked = frozenset(job.handle.record.id for job in jobs)
        if self._waiting is None or asked != self._asked:
            self._waiting, self._asked = WaitingForAll(jobs, get_runtime().store.records), asked
        self._waiting.round()

    def other(self, text: str) -> "View":
        """The same, with another filter."""
        return View(text, self._fixed, self._limit)

    def cancel(self) -> None:
        """Ends :meth:`ask_schedulers` soon, from another thread."""
        if self._waiting is not None:
            self._waiting.cancelled = True

    def _jobs(self) -> list[Job]:
        runtime = get_runtime()
        query = JobQuery(**self._wanted().as_query(), order_by="-id", limit=self._limit)
        return [runtime.job(record) for record in runtime.store.find(query)]

    def _wanted(self) -> queries.Wanted:
        words, given = [], [(name, value) for name, values in self._fixed.items() for value in values]
        for word in _split(self.text):
            name, equals, value = word.partition("=")
            if equals and name.isidentifier():
                given.append((name, value))
            else:
                words.append(word)
        return queries.read(QueryParams([*given, ("q", " ".join(words))]))


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:  # a quotation that is being typed
        return text.split()


def _row(job: Job) -> Row:
    record = job.handle.record
    submitted = "" if job.execute_time is None else f"{job.execute_time.astimezone():%Y-%m-%d %H:%M:%S}"
    why = record.noted.waits(record.state.attempt) if not record.final else ""
    message = " ".join((job.status_message or why).split())
    names = (str(record.id), record.label, record.user, record.type, record.name)
    return Row(
        record.id,
        (*names, job.cached_status, submitted, _seconds(job.run_time), message[:_MESSAGE]),
        job.handle.status.kind.state_type or "PENDING",
    )


def _seconds(time: timedelta | str) -> str:
    return str(timedelta(seconds=int(time.total_seconds()))) if isinstance(time, timedelta) else time


def log_of(job: Job) -> Iterator[tuple[str, str]]:
    """The messages and the logs of a job, each with its title; of a long log the end."""
    lines = [f"{m.time.astimezone():%Y-%m-%d %H:%M:%S} {m.text}" for m in job.handle.backend.jobs.messages(job.id or 0)]
    yield "Messages", "\n".join(lines)
    try:
        found = dict(names_of(job.hooks.log_files(job.engine)))
    except (PrefectJobsError, NotImplementedError) as error:
        yield "Logs", f"They cannot be read: {error}"
        return
    for name, value in found.items():
        part = value.part(CHUNK) if isinstance(value, LogFile) else _end(value() if callable(value) else value)
        if part.text:
            yield name, ("… (its end)\n" if part.start else "") + part.text


def _end(text: str) -> LogPart:
    return part_of(text, CHUNK, None, None)


def is_over(job: Job) -> bool:
    """Whether nothing more will be in its logs."""
    return job.handle.record.final or job.cached_status == statuses.PENDING
