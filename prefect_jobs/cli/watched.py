"""What ``prefect-jobs watch`` shows of the jobs."""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import islice
from typing import Any

from starlette.datastructures import QueryParams

from prefect_jobs.errors import PrefectJobsError
from prefect_jobs.jobs.base import Job
from prefect_jobs.jobs.log_file import LogFile, LogPart, part_of
from prefect_jobs.jobs.summary import summary
from prefect_jobs.runtime.wiring import get_runtime
from prefect_jobs.store.filters import JobQuery
from prefect_jobs.web import queries
from prefect_jobs.web.logs import names_of

COLUMNS = ("id", "app", "user", "type", "name", "status", "submitted", "run time", "message")
_UNWATCHED = "no monitor runs: as last known (prefect-jobs monitor)"
#: Characters of a message, lines of messages, processes or nodes with logs, and bytes of a log.
_MESSAGE, _LINES, _PARTS, _SIZE = 200, 500, 20, 65_536
#: Words of an address of the jobs page that are no filters.
_OF_PAGES = ("limit", "offset", "page", "order_by", "q")
#: Control characters but tabs, line breaks, and colours.
_CONTROL = re.compile(r"\x1b(?!\[[0-9;]*m)|[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f]")


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
    #: Whether a monitor runs.
    watched: bool

    @property
    def line(self) -> str:
        """The totals, for people."""
        count, shown = sum(self.totals.values()), len(self.rows)
        head = f"{count} job{'' if count == 1 else 's'}" + (f", the newest {shown} shown" if shown < count else "")
        counts = [f"{status} {number}" for status, number in sorted(self.totals.items())]
        return " · ".join([head, *counts, *([] if self.watched else [_UNWATCHED])])


class View:
    """Some of the jobs. Like the jobs page it reads SQL alone: a monitor keeps the rows up to date."""

    def __init__(self, text: str = "", fixed: Sequence[Mapping[str, Any]] = (), limit: int = 200) -> None:
        """
        Args:
            text: what to search for; words with ``=`` are filters, as in the address of the jobs page.
            fixed: more filters, each of which must match.
            limit: the largest number of rows.
        """
        self.text = text
        self._fixed = tuple(fixed)
        self._limit = limit

    def problems(self) -> list[str]:
        """What is wrong with the filter, for people."""
        return self._wanted()[1]

    def read(self) -> Seen:
        """The jobs, as last known.

        Raises:
            DatabaseError: the database does not answer.
        """
        runtime = get_runtime()
        wanted = self._wanted()[0].as_query()
        query = JobQuery(**{**wanted, "required": [*wanted["required"], *self._fixed]}, order_by="-id")
        rows = [_row(runtime.job(record)) for record in runtime.store.find(replace(query, limit=self._limit))]
        # Each scheduler's watch has a lease, and so has what answers people in Prefect.
        watched = any(runtime.store.others_hold(prefix, "") for prefix in ("scheduler:", "prefect-commands"))
        return Seen(rows, runtime.store.totals(query), watched)

    def other(self, text: str) -> "View":
        """The same, with another filter."""
        return View(text, self._fixed, self._limit)

    def _wanted(self) -> tuple[queries.Wanted, list[str]]:
        """What is wanted, and what is wrong with it."""
        words: list[str] = []
        given: list[tuple[str, str]] = []
        problems: list[str] = []
        for word in _split(self.text):
            name, equals, value = word.partition("=")
            if not equals or not name.isidentifier():
                words.append(word)
            elif name in _OF_PAGES:
                problems.append(f"{name}=… is for addresses of pages; a filter is a field, such as status=Held.")
            else:
                # The table shows the type by its name in create_job(), the page by its class.
                given.append(("job_type", value.upper()) if name == "type" else (name, value))
        wanted = queries.read(QueryParams([*given, ("q", " ".join(words))]))
        return wanted, [*problems, *wanted.problems]


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:  # a quotation that is being typed
        return text.split()


def _row(job: Job) -> Row:
    record, found = job.handle.record, summary(job)
    time = found["execute_time"]
    submitted = "" if time is None else f"{time.astimezone():%Y-%m-%d %H:%M:%S}"
    why = record.noted.waits(record.state.attempt) if not record.final else ""
    message = " ".join((found["status_message"] or why).split())
    names = (str(found[name]) for name in ("id", "app", "user", "type", "name", "status"))
    cells = (*names, submitted, _seconds(found["run_time"]), message[:_MESSAGE])
    return Row(record.id, tuple(map(plain, cells)), job.handle.status.kind.state_type or "PENDING")


def _seconds(time: timedelta | str) -> str:
    return str(timedelta(seconds=int(time.total_seconds()))) if isinstance(time, timedelta) else time


def plain(text: str) -> str:
    """A text of other people for a terminal: without what moves its cursor, or sets more than colours."""
    return _CONTROL.sub("\ufffd", text)


def log_of(job: Job) -> Iterator[tuple[str, str]]:
    """The messages and the logs of a job, each with its title; of a long log the end, and of many the first few."""
    lines = [f"{m.time.astimezone():%Y-%m-%d %H:%M:%S} {m.text}" for m in job.handle.backend.jobs.messages(job.id or 0)]
    yield "Messages", plain("\n".join(lines[-_LINES:]))
    try:
        found = job.hooks.log_files(job.engine)
    except (PrefectJobsError, NotImplementedError, OSError) as error:
        yield "Logs", f"They cannot be read: {error}"
        return
    shown = dict(islice(found.items(), _PARTS))
    for name, value in names_of(shown):
        part = value.part(_SIZE) if isinstance(value, LogFile) else _end(value() if callable(value) else value)
        if part.text:
            yield plain(name), plain(("… (its end)\n" if part.start else "") + part.text)
    if len(found) > len(shown):
        yield "Logs", f"… and those of {len(found) - len(shown)} more: prefect-jobs logs {job.id}"


def _end(text: str) -> LogPart:
    return part_of(text, _SIZE, None, None)


def is_over(job: Job) -> bool:
    """Whether nothing more will be in its logs."""
    return job.handle.record.final
