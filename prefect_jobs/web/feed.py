"""The event streams of open pages: one read of SQL serves all of them."""

import asyncio
import json
import logging
import time
import weakref
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from anyio.to_thread import run_sync
from starlette.responses import Response, StreamingResponse

from prefect_jobs.errors import PrefectJobsError
from prefect_jobs.records import JobRecord
from prefect_jobs.runtime.wiring import Runtime, get_runtime
from prefect_jobs.web import looks
from prefect_jobs.web.problems import Problem
from prefect_jobs.web.visits import Visit

log = logging.getLogger(__name__)

#: Seconds between two reads; between two heartbeats of a stream; until a stream ends, and the browser asks again,
#: with the session that it has then; between two events with totals of one stream.
_READ, _ALIVE, _LONGEST, _TOTALS = 0.5, 15.0, 900.0, 3.0
#: Streams of one visitor in one process.
_MOST = 8
_feeds: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Feed]" = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class Deleted:
    """A job that is not there any more."""

    user: str
    label: str


News = Mapping[int, JobRecord | Deleted]


@dataclass(eq=False)
class Stream:
    """The news of one page."""

    name: str
    #: What it was not told yet.
    news: dict[int, JobRecord | Deleted] = field(default_factory=dict)
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
        #: Job that is not over → the version that was seen, its user and app.
        self._seen: dict[int, tuple[int, str, str]] | None = None

    def open(self, name: str) -> Stream:
        """A new stream.

        Raises:
            Problem: 429, the visitor has too many.
        """
        if sum(stream.name == name for stream in self._streams) >= _MOST:
            raise Problem(429, f"There are {_MOST} streams of yours already. Close some pages.")
        stream = Stream(name)
        self._streams.add(stream)
        if self._task is None or self._task.done():
            self._seen = None
            self._task = asyncio.create_task(self._run(), name="prefect-jobs-feed")
        return stream

    def close(self, stream: Stream) -> None:
        """Forgets a stream."""
        self._streams.discard(stream)

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
            for stream in tuple(self._streams) if news else ():
                stream.tell(news)
            await asyncio.sleep(_READ)

    def _changes(self, runtime: Runtime) -> News:
        """What has changed since the last read. A job that is over is read once more, and then left alone."""
        now = runtime.store.versions()
        before, self._seen = self._seen, now
        if before is None:
            return {}
        changed = [job_id for job_id, seen in now.items() if before.get(job_id) != seen]
        ended = [job_id for job_id in before if job_id not in now]
        found: dict[int, JobRecord | Deleted] = {job_id: Deleted(*before[job_id][1:]) for job_id in ended}
        found.update({record.id: record for record in runtime.store.records([*changed, *ended])})
        return found


def feed() -> Feed:
    """The feed of the present event loop."""
    loop = asyncio.get_running_loop()
    found = _feeds.get(loop)
    if found is None:
        found = _feeds[loop] = Feed()
    return found


async def events(visit: Visit) -> Response:
    """``GET /events``: the changes of the jobs that the visitor may see."""
    stream = feed().open(visit.visitor.name)
    headers = {"X-Accel-Buffering": "no"}
    return StreamingResponse(_told(visit, stream), media_type="text/event-stream", headers=headers)


async def _told(visit: Visit, stream: Stream) -> AsyncIterator[str]:
    began = time.monotonic()
    totals_due, changed = 0.0, False
    try:
        yield "retry: 2000\n\n: here\n\n"
        while (now := time.monotonic()) - began < _LONGEST:
            try:
                await asyncio.wait_for(stream.arrived.wait(), max(0.0, totals_due - now) if changed else _ALIVE)
            except TimeoutError:
                if changed:
                    totals_due, changed = time.monotonic() + _TOTALS, False
                    yield _event("totals", await run_sync(get_runtime().store.totals, await visit.query()))
                else:
                    yield ": here\n\n"
                continue
            lines = [line for job_id, one in stream.take().items() if (line := await _line(visit, job_id, one))]
            if lines:
                changed = True
                yield "".join(lines)
    finally:
        feed().close(stream)


async def _line(visit: Visit, job_id: int, news: JobRecord | Deleted) -> str:
    labels = visit.rules.labels
    if labels is not None and news.label not in labels:
        return ""
    if isinstance(news, Deleted):
        mine = news.user == visit.visitor.name or await visit.sees_all()
        return _event("deleted", {"id": job_id}) if mine else ""
    if not await visit.may("view", get_runtime().job(news)):
        return ""
    record = news
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
