"""Prefect on SQLite answers 503 now and then ("database is locked"): what people wait for is asked again."""

import asyncio
import json
import re
import time

import httpx
import pytest

from prefect_jobs import (
    JobManager,
    SchedulerSetting,
    aget_scheduler,
    alist_schedulers,
    create_condor_scheduler,
    get_scheduler,
    list_schedulers,
)
from prefect_jobs.local.prefect_server import PrefectServerInfo
from prefect_jobs.monitor import Monitor
from prefect_jobs.runtime.wiring import Runtime
from prefect_jobs.transition import News, Source
from tests.acceptance.conftest import TestApp
from tests.acceptance.test_monitor import running
from tests.support import eventually, log_lines

pytestmark = pytest.mark.prefect

Refused = list[str]


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> Refused:
    """Has the server answer 503 to the first request of each kind; the requests that were refused so. A test may
    clear it: all are refused once more then."""
    found: Refused = []
    send, asend = httpx.HTTPTransport.handle_request, httpx.AsyncHTTPTransport.handle_async_request

    def locked(request: httpx.Request) -> httpx.Response | None:
        # Each block is read by itself, and there may be many of other tests.
        kind = re.sub(r"/name/.*", "/name/…", f"{request.method} {request.url.path}")
        if kind in found:
            return None
        found.append(kind)
        return httpx.Response(503, request=request, content=json.dumps({"exception_message": "database is locked"}))

    def handle(self: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        return locked(request) or send(self, request)

    async def ahandle(self: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
        return locked(request) or await asend(self, request)

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", handle)
    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", ahandle)
    return found


def test_a_server_that_is_busy_now_and_then_is_not_away(
    manager: JobManager, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given many jobs, and a server that refuses every third state
    jobs = [manager.create_job(f"job {number}", "alice", job_type="BASIC") for number in range(40)]
    for job in jobs:
        job.save()
    assert runtime.projector.flush(30)
    send, asked = httpx.HTTPTransport.handle_request, [0]

    def handle(self: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        if "set_state" in request.url.path:
            asked[0] += 1
            if asked[0] % 3 == 0:
                return httpx.Response(503, request=request, content=b'{"exception_message": "database is locked"}')
        return send(self, request)

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", handle)
    # when all of them change
    with log_lines("prefect_jobs.projection") as lines:
        for job in jobs:
            job.handle.apply(News(Source.HAND, "Running"))
        eventually(lambda: not runtime.store.backlog(), "all are shown", 60)
    # then nobody was told that it is away
    assert asked[0] > 50 and not [line for line in lines if "Jobs continue" in line]


def test_schedules(manager: JobManager, refused: Refused) -> None:
    schedule = manager.schedule_job("nightly", "alice", "BASIC", cron="0 3 * * *")
    for steer in (schedule.pause, schedule.resume, schedule.delete):
        refused.clear()
        steer()
        assert any(schedule.deployment_id in kind for kind in refused)


@pytest.fixture
def block(prefect_server: PrefectServerInfo) -> None:
    create_condor_scheduler("busy", "127.0.0.1").save(overwrite=True)


def test_schedulers_and_their_assignment(
    block: None, manager: JobManager, monkeypatch: pytest.MonkeyPatch, refused: Refused
) -> None:
    monkeypatch.setattr(TestApp, "scheduler_settings", lambda self: (SchedulerSetting("main"),))
    assert "busy" in [found.name for found in list_schedulers()]
    refused.clear()
    assert get_scheduler("busy") is not None
    refused.clear()
    TestApp.assign_scheduler("main", "busy")
    refused.clear()
    found = TestApp.get_scheduler("main")
    assert found is not None and found.name == "busy"


def test_schedulers_where_prefect_is_busy_for_a_second(block: None, monkeypatch: pytest.MonkeyPatch) -> None:
    send = httpx.AsyncHTTPTransport.handle_async_request
    until = 0.0

    async def busy(self: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
        if time.monotonic() < until:
            return httpx.Response(503, request=request, content=b"{}")
        return await send(self, request)

    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", busy)
    # in both forms
    until = time.monotonic() + 1
    assert "busy" in [found.name for found in list_schedulers()]
    until = time.monotonic() + 1
    assert "busy" in [found.name for found in asyncio.run(alist_schedulers())]
    until = time.monotonic() + 1
    found = asyncio.run(aget_scheduler("busy"))
    assert found is not None and found.name == "busy"
    assert asyncio.run(aget_scheduler("no such name")) is None


def test_jobs(manager: JobManager, runtime: Runtime, refused: Refused) -> None:
    job = manager.create_job("x", "alice", job_type="BASIC")
    job.save()
    assert job.flow_run_id is not None and runtime.projector.away is None
    assert refused


def test_the_monitor_says_when_prefect_answers_again(manager: JobManager, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with running(Monitor()), log_lines("prefect_jobs.monitor") as lines:
        with monkeypatch.context() as away:
            away.setattr(httpx.HTTPTransport, "handle_request", refuse)
            eventually(lambda: any("cannot be read" in line for line in lines), "the log says that it is away")
        eventually(lambda: any("answers again after" in line for line in lines), "the log says that it is back")
