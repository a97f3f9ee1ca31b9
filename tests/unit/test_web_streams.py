"""The event streams of pages: what they tell, and how many there are."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.requests import ClientDisconnect, Request

from prefect_jobs import Job, JobManager
from prefect_jobs.runtime.wiring import get_runtime
from prefect_jobs.web import create_app, feed, shown
from prefect_jobs.web.problems import Problem
from prefect_jobs.web.visits import Rules, Visit, Visitor
from tests.acceptance.browser import served
from tests.support import eventually
from tests.unit.test_lifecycle import schedulers
from tests.unit.test_web_access import MIDDLEWARE, Floods, make, manager

__all__ = ["make", "manager", "schedulers"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def test_what_has_changed_is_found_also_of_jobs_that_are_over(make: Callable[..., Job]) -> None:
    active, over, soon_gone = make("active"), make("over"), make("gone")
    for job in (over, soon_gone):
        job.update_status("Complete")
    shown.note("watcher", [job.id or 0 for job in (active, over, soon_gone)])
    made = feed.Feed()
    made._streams.add(feed.Stream("watcher"))
    runtime = get_runtime()
    assert made._changes(runtime) == {} == made._changes(runtime)
    over.update_status("Error", message="by hand")
    active.execute()
    brief = make("brief")
    brief.update_status("Complete")
    soon_gone.delete()
    made._gone_due = 0.0
    news = made._changes(runtime)
    assert {job_id: record and record.state.status for job_id, record in news.items()} == {
        over.id: "Error", active.id: "Submitted", brief.id: "Complete", shown_id(news): None,
    }  # fmt: skip
    made._gone_due = 0.0
    assert made._changes(runtime) == {}  # nothing is told twice
    assert made._changes(runtime) == {}


def shown_id(news: feed.News) -> int:
    (gone,) = [job_id for job_id, record in news.items() if record is None]
    return gone


@pytest.mark.anyio
async def test_a_stream_of_a_quiet_user_stays_alive(make: Callable[..., Job], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "_ALIVE", 0.05)
    foreign = make("other", "bob").handle.record
    visit = Visit(Request({"type": "http", "headers": []}), Rules(frozenset({"floods"})), Visitor("alice"))
    stream = feed.Stream("alice")
    told = feed._told(visit, stream)
    await anext(told)
    assert (await anext(told)).startswith("event: totals")
    found = []
    for _ in range(3):
        pending = asyncio.ensure_future(anext(told))
        while not pending.done():
            stream.tell({foreign.id: foreign})
            await asyncio.sleep(0.01)
        found.append(await pending)
    await told.aclose()
    assert all(text.startswith(": here") for text in found)


async def opened(url: str, number: int) -> list[int]:
    """The statuses of streams that are opened at once, when the last one is there; then all are closed."""
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(httpx.AsyncClient(headers={"x-user": "alice"}, timeout=30))
        asked = [stack.enter_async_context(client.stream("GET", f"{url}/events")) for _ in range(number)]
        answers = await asyncio.gather(*asked)
        return sorted(answer.status_code for answer in answers)


def none_is_left() -> bool:
    return not any(each._streams for each in tuple(feed._feeds.values()))


def test_a_user_has_eight_streams_however_they_are_opened(manager: JobManager) -> None:
    with served(create_app(Floods, middleware=MIDDLEWARE)) as url:
        for _ in range(5):
            assert asyncio.run(opened(url, 30)) == [200] * 8 + [429] * 22
            eventually(none_is_left, "the streams have ended", 30)
        place = urlsplit(url)
        for _ in range(30):  # whose clients go away before the first byte
            with socket.create_connection((str(place.hostname), place.port or 0)) as client:
                client.sendall(b"GET /events HTTP/1.1\r\nHost: x\r\nX-User: alice\r\n\r\n")
        eventually(lambda: asyncio.run(opened(url, 8)) == [200] * 8, "nothing is left of them", 30)


@pytest.mark.anyio
async def test_a_stream_counts_from_its_request_to_the_end_of_its_answer(manager: JobManager) -> None:
    async def broken(*_: object) -> Any:
        raise OSError("the client has gone away")

    visit = Visit(Request({"type": "http", "headers": []}), Rules(None), Visitor("alice"))
    answers = [await feed.events(visit) for _ in range(8)]
    with pytest.raises(Problem, match="too many open pages"):
        await feed.events(visit)
    for answer in answers:
        with pytest.raises(ClientDisconnect):
            await answer({"type": "http", "asgi": {"spec_version": "2.4"}}, broken, broken)
    assert not feed.feed()._streams
