"""The event streams of open pages: one read of SQL serves all of them."""

import asyncio
import json
import logging
import time
import weakref
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any

from anyio.to_thread import run_sync
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from prefect_jobs.errors import PrefectJobsError
from prefect_jobs.records import JobRecord
from prefect_jobs.runtime.wiring import Runtime, get_runtime
from prefect_jobs.store.filters import JobQuery
from prefect_jobs.store.watched import WatchedJobs
from prefect_jobs.web import looks, shown
from prefect_jobs.web.problems import Problem
from prefect_jobs.web.visits import Visit

log = logging.getLogger(__name__)

#: Seconds between two reads; between two searches for jobs that were deleted; between two heartbeats of a stream; until
#: a stream ends, and the browser asks again, with the session that it has then; for which totals are told to others.
_READ, _GONE, _ALIVE, _LONGEST, _TOTALS = 0.5, 3.0, 15.0, 900.0, 3.0
#: Streams of one visitor, and of all, in one process; lines that are read at once.
_MOST, _ALL, _LINES = 8, 1_000, 2_000
#: Lines that are read again.
_AGAIN = 100
_feeds: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Feed]" = weakref.WeakKeyDictionary()

#: Job → its record; ``None``: it was deleted.
News = Mapping[int, JobRecord | None]


@dataclass(eq=False)
class Stream:
    """The news of one page."""

    name: str
    news: dict[int, JobRecord | None] = field(default_factory=dict)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, news: News) -> None:
        """Adds news; newer ones about the same job replace those that were not sent yet."""
        self.news.update(news)
        self.arrived.set()

    def take(self) -> News:
        """The news that were not sent yet."""
        self.arrived.clear()
        found, self.news = self.news, {}
        return found


class Feed:
    """The streams of one event loop. It reads SQL only while there are any."""

    def __init__(self) -> None:
        self._streams: set[Stream] = set()
        self._task: asyncio.Task[None] | None = None
        #: Jobs that are not over, and those that have changed since the last read.
        self._jobs: WatchedJobs | None = None
        self._changed: set[int] = set()
        #: The newest line that was read.
        self._line = 0
        self._read: set[int] = set()
        self._gone_due = 0.0
        #: Jobs that were deleted, as of the last search.
        self._told: set[int] = set()
        #: Query → when its totals were read, and these.
        self._totals: dict[str, tuple[float, Mapping[str, int]]] = {}

    def open(self, name: str) -> Stream:
        """A new stream. It counts from now on, until it is closed.

        Raises:
            Problem: 429, there are too many streams.
        """
        if len(self._streams) >= _ALL or sum(stream.name == name for stream in self._streams) >= _MOST:
            raise Problem(429, f"There are too many open pages ({_MOST} for each user). Close some.")
        stream = Stream(name)
        self._streams.add(stream)
        if self._task is None or self._task.done():
            self._jobs = None
            self._task = asyncio.create_task(self._run(), name="prefect-jobs-feed")
        return stream

    def close(self, stream: Stream) -> None:
        """Forgets a stream."""
        self._streams.discard(stream)

    async def totals(self, query: JobQuery) -> Mapping[str, int]:
        """Status → number of jobs; shared by the streams that ask for the same."""
        key, now = repr(query), time.monotonic()
        self._totals = {name: kept for name, kept in self._totals.items() if now - kept[0] < _TOTALS / 2}
        if key not in self._totals:
            self._totals[key] = (now, await run_sync(get_runtime().store.totals, query))
        return self._totals[key][1]

    async def _run(self) -> None:
        while self._streams:
            try:
                news = await run_sync(self._changes, get_runtime())
            except PrefectJobsError as error:  # the database is away
                log.warning("Pages are not up to date: %s", error)
                news = {}
            except Exception:
                log.exception("Pages are not up to date")
                news = {}
            if news:
                self._totals.clear()
            for stream in tuple(self._streams) if news else ():
                stream.tell(news)
            await asyncio.sleep(_READ)

    def _changes(self, runtime: Runtime) -> News:
        """What has changed since the last read, jobs that are over included."""
        store = runtime.store
        if self._jobs is None:
            self._jobs = WatchedJobs(store)
            self._jobs.read()
            self._line = store.last_message()
            self._read = {number for number, _ in store.told_since(self._line - _AGAIN, _LINES)}
            return {}
        # Lines of transactions that overlap appear in any order: the last ones are read again.
        lines = [line for line in store.told_since(self._line - _AGAIN, _LINES) if line[0] not in self._read]
        for jobs in self._jobs.read():  # those that were written, and those that are over or deleted
            self._changed |= {job.id for job in jobs}
        wanted = sorted(self._changed | {job_id for _, job_id in lines})
        found: dict[int, JobRecord | None] = {record.id: record for record in store.records(wanted)}
        found.update(dict.fromkeys(self._changed - found.keys()))
        found.update(dict.fromkeys(self._gone(runtime)))
        # Noted at last: what could not be read is read again.
        self._changed, self._line = set(), max([self._line, *(number for number, _ in lines)])
        self._read = {number for number in self._read if number > self._line - _AGAIN} | {number for number, _ in lines}
        return found

    def _gone(self, runtime: Runtime) -> set[int]:
        """Jobs on open pages that were deleted."""
        if time.monotonic() < self._gone_due:
            return set()
        self._gone_due = time.monotonic() + _GONE
        shown.forget(self._told)  # the streams have been told meanwhile
        there = sorted(shown.of({stream.name for stream in self._streams}))
        gone: set[int] = set()
        for start in range(0, len(there), 500):
            gone |= runtime.store.missing(there[start : start + 500])
        self._told = gone
        return gone


def feed() -> Feed:
    """The feed of the present event loop."""
    loop = asyncio.get_running_loop()
    found = _feeds.get(loop)
    if found is None:
        found = _feeds[loop] = Feed()
    return found


async def events(visit: Visit) -> Response:
    """``GET /events``: the changes of the jobs that the visitor may see."""
    return _Events(visit, feed().open(visit.visitor.name))


class _Events(StreamingResponse):
    """The answer with a stream. It closes the stream itself: text that no one reads never begins, and never ends."""

    def __init__(self, visit: Visit, stream: Stream) -> None:
        headers = {"X-Accel-Buffering": "no"}
        super().__init__(_told(visit, stream), media_type="text/event-stream", headers=headers)
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            feed().close(self._stream)


async def _told(visit: Visit, stream: Stream) -> AsyncGenerator[str]:
    began = sent = time.monotonic()
    totals_due, changed = 0.0, True  # they may have changed since the page was made
    yield f"retry: 2000\n{_HEARTBEAT}"
    while (now := time.monotonic()) - began < _LONGEST:
        due = min(sent + _ALIVE, totals_due if changed else sent + _ALIVE)
        try:
            await asyncio.wait_for(stream.arrived.wait(), max(0.0, due - now))
            text = await _lines(visit, stream.take())
            changed = changed or bool(text)
        except TimeoutError:
            text = _HEARTBEAT
            if changed and time.monotonic() >= totals_due:
                totals_due, changed = time.monotonic() + _TOTALS, False
                text = _event("totals", await feed().totals(await visit.query()))
        if not text and time.monotonic() - sent > _ALIVE:  # the news are about jobs of others
            text = _HEARTBEAT
        if text:
            sent = time.monotonic()
            yield text


async def _lines(visit: Visit, news: News) -> str:
    visit.forget()  # what is granted may have changed meanwhile
    return "".join([await _line(visit, job_id, record) for job_id, record in news.items()])


async def _line(visit: Visit, job_id: int, record: JobRecord | None) -> str:
    if record is None:
        return _event("deleted", {"id": job_id}) if shown.sees(visit.visitor.name, job_id) else ""
    if not await visit.sees(get_runtime().job(record)):
        return ""
    state = record.state
    return _event(
        "job",
        {
            "id": job_id,
            "name": record.name,
            "version": record.version,
            "status": state.status,
            "status_class": looks.status_class(state.as_status),
            "status_message": state.status_message,
            "final": record.final,
        },
    )


def _event(name: str, data: Any) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


#: A comment keeps proxies from closing the stream; scripts do not see comments, so they get an event as well.
_HEARTBEAT = f": here\n{_event('alive', {})}"
