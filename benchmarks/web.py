"""Pages: the time of the server for one, and what many open ones cost."""

import os
import resource
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median

import anyio
import httpx
import uvicorn
from sqlalchemy import delete
from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection

from benchmarks.monitoring import _insert
from benchmarks.parts import Parts, check
from benchmarks.results import Row
from prefect_jobs import App, clock, statuses
from prefect_jobs.jobs.base import Job
from prefect_jobs.local.processes import LOOPBACK, free_port
from prefect_jobs.records import JobRecord, NodeRecord, StatusState
from prefect_jobs.store.tables import JOBS
from prefect_jobs.web import create_app, graph

AMONG = (10_000, 100_000)
PAGES = int(os.environ.get("BENCH_PAGES", "200"))
ACTIVE = int(os.environ.get("BENCH_WEB_ACTIVE", "500"))
#: Pages of each user.
OWN = 8
SECONDS = float(os.environ.get("BENCH_WEB_SECONDS", "30"))
#: As in the measurement of the peer.
VIEWERS, NODES = 8, 26
REPEATS = 20
_OVER = StatusState(status_code="COM", status=statuses.COMPLETE, status_class="t:COMPLETED", attempt=1)
_RUNS = StatusState(status_code="RUN", status=statuses.RUNNING, status_class="ran:RUNNING", attempt=1)


class Paged(App):
    """The app of the jobs on the pages."""

    name, package = "Paged", "benchmarks_web"


class _ByHeader(AuthenticationBackend):
    """Visitors say who they are."""

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, SimpleUser] | None:
        return AuthCredentials(["authenticated"]), SimpleUser(conn.headers.get("x-user", "alice"))


@contextmanager
def served() -> Iterator[str]:
    middleware = [Middleware(AuthenticationMiddleware, backend=_ByHeader())]
    port = free_port()
    app = create_app(Paged, middleware=middleware)
    config = uvicorn.Config(app, host=LOOPBACK, port=port, log_config=None, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    try:
        yield f"http://{LOOPBACK}:{port}"
    finally:
        server.should_exit = True
        thread.join()


def _records(number: int, state: StatusState, user: str = "alice", kind: str = "CONDOR") -> list[JobRecord]:
    now = clock.now()
    cls = {"CONDOR": "CondorJob", "CONDORWORKFLOW": "CondorWorkflow"}[kind]
    there = {"state": state, "scheduler": "pool", "workspace": f"{Path.home()}/benchmarks_web/alice"}
    return [
        JobRecord(0, 0, "benchmarks_web", kind, cls, f"job {one}", user, now, remote_id=str(one), **there)  # type: ignore[arg-type]
        for one in range(number)
    ]


@contextmanager
def _jobs(given: Parts, records: list[JobRecord]) -> Iterator[None]:
    _insert(given, records)
    try:
        yield
    finally:
        with given.runtime.store.database.writing() as connection:
            connection.execute(delete(JOBS).where(JOBS.c.label == "benchmarks_web"))


def first_page(given: Parts) -> list[Row]:
    """The page of 50 jobs among many: time until it is answered, and bytes with style and script."""
    rows: list[Row] = []
    for number in AMONG:
        with _jobs(given, _records(number, _OVER)), served() as url, httpx.Client(trust_env=False) as client:
            taken = []
            for _ in range(REPEATS):
                began = time.perf_counter()
                answer = client.get(url)
                taken.append((time.perf_counter() - began) * 1000)
            check(answer.text.count("job-row") >= 50, "50 jobs are shown")
            parts = [answer, *(client.get(f"{url}/static/x/{name}") for name in ("jobs.css", "jobs.js"))]
            target = 30 if number == AMONG[0] else 60
            detail = f"worst {max(taken):.0f} ms"
            rows.append(Row(f"The page of 50 jobs among {number:,}", median(taken), "ms", target=target, detail=detail))
            if number == AMONG[0]:
                wire = sum(int(part.headers["content-length"]) for part in parts) / 1000
                detail = f"{sum(len(part.content) for part in parts) / 1000:.0f} kB unpacked"
                rows.append(
                    Row("The page with its style and script, on the wire", wire, "kB", target=100, detail=detail)
                )
    return rows


def open_pages(given: Parts) -> list[Row]:
    """Many open pages with many active jobs: the CPU of the server, and how soon a change is told."""
    with _jobs(given, _records(ACTIVE, _RUNS)), served() as url:
        cpu, delays = anyio.run(_listen, given, url)
    return [
        Row(f"{PAGES} open pages, {ACTIVE} active jobs: CPU of a core", cpu * 100, "%", target=30),
        Row("From the commit of a change until all pages are told: median", median(delays), "s", target=1),
        Row("From the commit of a change until all pages are told: worst", max(delays), "s", target=1),
    ]


class _Told:
    """Waits until some pages are told of a change."""

    def __init__(self) -> None:
        self.all = anyio.Event()
        self._left = 0

    def start(self, pages: int) -> None:
        """The next change is awaited."""
        self.all, self._left = anyio.Event(), pages

    def one(self) -> None:
        """A page is told."""
        self._left -= 1
        if self._left == 0:
            self.all.set()


async def _listen(given: Parts, url: str) -> tuple[float, list[float]]:
    """CPU and delays. The pages listen in this process, too, so the CPU is more than the server's."""
    told = _Told()
    delays: list[float] = []
    limits, timeout = httpx.Limits(max_connections=PAGES + 10), httpx.Timeout(60)
    async with (
        httpx.AsyncClient(trust_env=False, timeout=timeout, limits=limits) as client,
        anyio.create_task_group() as group,
    ):

        async def page(number: int) -> None:
            headers = {"x-user": "alice" if number < OWN else f"viewer {number // OWN}"}
            async with client.stream("GET", f"{url}/events", headers=headers) as stream:
                async for line in stream.aiter_lines():
                    if line.startswith("event: job"):
                        told.one()

        for number in range(PAGES):
            group.start_soon(page, number)
        await anyio.sleep(5)
        before, began = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
        jobs = await anyio.to_thread.run_sync(_active, given)
        for job in jobs[: int(SECONDS / 2)]:
            told.start(OWN)
            changed = time.monotonic()
            await anyio.to_thread.run_sync(partial(job.update_status, "Running", f"at {changed}"))
            with anyio.move_on_after(10):
                await told.all.wait()
            delays.append(time.monotonic() - changed)
            await anyio.sleep(max(0.0, 2 - (time.monotonic() - changed)))
        after = resource.getrusage(resource.RUSAGE_SELF)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        group.cancel_scope.cancel()
    return used / (time.monotonic() - began), delays


def _active(given: Parts) -> list[Job]:
    return Paged.get_job_manager().list_jobs(user="alice", filters={"status": statuses.RUNNING})


def workflows(given: Parts) -> list[Row]:
    """Eight viewers of workflows of 26 nodes: one redraw of the rows of all of them; and the graph of a large one."""
    with _jobs(given, _records(VIEWERS, _RUNS, kind="CONDORWORKFLOW")), served() as url:
        jobs = _active(given)
        specs = [{"kind": "JOB", "parents": [f"n{one - 1}"] if one else []} for one in range(NODES)]
        nodes = [NodeRecord(f"n{one}", one, spec) for one, spec in enumerate(specs)]
        for job in jobs:
            given.runtime.store.save_nodes(job.id or 0, nodes)
        with httpx.Client(trust_env=False) as client:
            table = client.get(url).text.split('data-table="')[1].split('"')[0]
            ids = ",".join(str(job.id) for job in jobs)
            taken = []
            for _ in range(REPEATS):
                began = time.perf_counter()
                answer = client.get(f"{url}/rows", params={"table": table, "ids": ids})
                taken.append((time.perf_counter() - began) * 1000)
            check(answer.text.count("<progress") == VIEWERS, "the progress of all is shown")
    large = [NodeRecord(f"n{one}", one, {"parents": [f"n{one // 2}"] if one else []}) for one in range(graph.MOST)]
    began = time.perf_counter()
    graph.svg(large, str)
    drawn = (time.perf_counter() - began) * 1000
    return [
        Row(f"{VIEWERS} workflows of {NODES} nodes: one redraw of all", median(taken), "ms", target=50),
        Row(f"The graph of a workflow of {graph.MOST} nodes", drawn, "ms", target=300),
    ]


BENCHMARKS = [first_page, open_pages, workflows]
