"""Runs that Prefect starts: how soon the monitor submits them, by how many requests, and what it costs while they wait;
beside it Prefect's process worker."""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import httpx
import psutil

from benchmarks.parts import PATIENCE, Parts, check
from benchmarks.proxy import Proxy, proxy
from benchmarks.results import Row
from benchmarks.submissions import _remove, monitor
from prefect_jobs.store.filters import JobQuery

RUNS = int(os.environ.get("BENCH_RUNS", "500"))
SINGLE, PROCESSES = 5, 5
#: Runs made by one request. Prefect's server checks the parameters of each with the database locked.
_BULK = 10
#: Seconds until the runs are due, for each and in all: they are made before.
_AHEAD_EACH, _AHEAD = 0.08, 10.0
#: Requests that do not grow with the number of runs.
_POLLS = ("get_scheduled_flow_runs", "POST flow_runs filter", "POST deployments filter", "GET health")


def runs(given: Parts) -> list[Row]:
    """Runs of a deployment without a work pool, whose jobs wait in the queue."""
    api_url = os.environ["PREFECT_API_URL"]
    deployment = _deployment(given)
    rows: list[Row] = []
    with proxy(api_url) as counting:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PREFECT_API_URL": counting.url}
        with monitor(environment) as process, httpx.Client(base_url=api_url, timeout=60) as api:
            _made(api, deployment, 1)  # the block is read, and the helper process starts
            _submitted(given, 1)
            late = []
            for number in range(SINGLE):
                began = time.monotonic()
                _made(api, deployment, 1)
                _submitted(given, number + 2)
                late.append(time.monotonic() - began)
            what = "Run in Prefect until its job is in the queue, polls every 2 s"
            rows.append(Row(f"{what}: median of {SINGLE}", median(late), target=3, detail=f"worst {max(late):.2f} s"))
            rows += _many(given, api, counting, process.pid, deployment)
    _remove(given)
    return rows


def _many(given: Parts, api: httpx.Client, counting: Proxy, pid: int, deployment: str) -> list[Row]:
    """Many runs at once."""
    found: list[Row] = []
    _shown(given)
    given.runtime.projector.close()  # only the monitor shows them, and is counted
    counting.take()
    before = SINGLE + 1
    ahead = _AHEAD + RUNS * _AHEAD_EACH
    due, began = datetime.now(UTC) + timedelta(seconds=ahead), time.monotonic()
    _made(api, deployment, RUNS, due)
    made = time.monotonic() - began
    check(made < ahead, f"{RUNS} runs are made before they are due")
    _submitted(given, before + RUNS)
    taken = time.monotonic() - began - ahead
    _shown(given)
    shown = time.monotonic() - began - ahead
    counted = counting.take()
    what = f"{RUNS} runs that are due at once"
    told = f"all shown after {shown:.0f} s; Prefect had made them in {made:.0f} s"
    found.append(Row(f"{what}, until all jobs are in the queue", taken, target=62, detail=told))
    own = Counter({kind: number for kind, number in counted.items() if not any(poll in kind for poll in _POLLS)})
    told = ", ".join(f"{number} {kind}" for kind, number in own.most_common())
    found.append(
        Row(
            f"{what}: requests to Prefect for each, until it is shown",
            own.total() / RUNS,
            "",
            target=2.5,
            detail=told,
            reason="A state, name and tags, and labels are a request each; a busy Prefect (503) is asked again.",
        )
    )
    memory = _memory(pid)
    found.append(
        Row(
            f"{what}, waiting: resident memory of the monitor and its processes",
            sum(memory),
            "MiB",
            target=300 * 1e6 / 2**20,
            detail=_processes(memory),
        )
    )
    return found


def _memory(pid: int) -> list[float]:
    """The resident memory of a process and of those that it has started, in MiB."""
    whole = psutil.Process(pid)
    return [each.memory_info().rss / 2**20 for each in [whole, *whole.children(recursive=True)]]


def _processes(memory: list[float]) -> str:
    return f"{len(memory)} processes: {', '.join(f'{one:.0f}' for one in memory)} MiB"


def runs_of_a_pool(given: Parts) -> list[Row]:
    """Runs of a deployment with a work pool of our type, whose worker has a monitor in its process."""
    deployment, number = _deployment(given), RUNS // 5
    with (
        httpx.Client(base_url=os.environ["PREFECT_API_URL"], timeout=60) as api,
        _worker(api, deployment, "prefect-jobs") as process,
    ):
        _made(api, deployment, 1)
        _submitted(given, 1)
        began = time.monotonic()
        _made(api, deployment, number)
        made = time.monotonic() - began
        _submitted(given, number + 1)
        taken = time.monotonic() - began
        _shown(given)
        memory = _memory(process.pid)
        _remove(given)
    what = f"{number} runs of a pool, by a worker of our type"
    return [
        Row(f"{what}, until their jobs are in the queue", taken, detail=f"Prefect had made them in {made:.1f} s"),
        Row(f"{what}, waiting: resident memory of the worker, its monitor and their processes", sum(memory), "MiB",
            target=300 * 1e6 / 2**20, detail=_processes(memory)),
    ]  # fmt: skip


def runs_by_processes(given: Parts) -> list[Row]:
    """The same by a process worker, for a few runs."""
    deployment = _deployment(given)
    with (
        httpx.Client(base_url=os.environ["PREFECT_API_URL"], timeout=60) as api,
        _worker(api, deployment, "process") as process,
    ):
        began = time.monotonic()
        _made(api, deployment, PROCESSES)
        _submitted(given, PROCESSES)
        taken = time.monotonic() - began
        family = psutil.Process(process.pid).children(recursive=True)
        memory = [each.memory_info().rss / 2**20 for each in family]
        _remove(given)
        for each in family:
            each.kill()
    what = f"{PROCESSES} runs by a process worker"
    return [
        Row(f"{what} until their jobs are in the queue", taken),
        Row(f"{what}, waiting: resident memory of its processes, for each", sum(memory) / PROCESSES, "MiB",
            detail=f"{len(family)} processes"),
    ]  # fmt: skip


@contextmanager
def _worker(api: httpx.Client, deployment: str, kind: str) -> Iterator["subprocess.Popen[bytes]"]:
    pool = f"of {kind}"
    _asked(api, "POST", "/work_pools/", {"name": pool, "type": kind, "base_job_template": _template(kind)})
    _asked(api, "PATCH", f"/deployments/{deployment}", {"work_pool_name": pool})
    command = [sys.executable, "-m", "prefect", "worker", "start", "--type", kind, "--pool", pool]
    with TemporaryDirectory(prefix="pj-bench-") as folder:
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield process
        finally:
            process.kill()  # started in the background of a shell, it would ignore SIGTERM; nothing of it is needed
            process.wait(30)
            _asked(api, "PATCH", f"/deployments/{deployment}", {"work_pool_name": None})


def _template(kind: str) -> dict[str, Any]:
    from prefect.workers.base import BaseWorker

    found = BaseWorker.get_worker_class_from_type(kind)
    assert found is not None  # noqa: S101
    return dict(found.get_default_base_job_template())


def _deployment(given: Parts) -> str:
    """The deployment of the app for Condor jobs."""
    job = given.manager.create_job("first", "alice", job_type="CONDOR", scheduler=given.scheduler)
    job.save()
    given.settle()
    (found,) = given.runtime.store.deployments()
    given.runtime.store.delete(job.id or 0)
    return found


def _made(api: httpx.Client, deployment: str, number: int, due: datetime | None = None) -> None:
    """Makes runs that are due, now or then."""
    details = {} if due is None else {"state_details": {"scheduled_time": due.isoformat()}}
    run = {
        "state": {"type": "SCHEDULED", **details},
        "parameters": {
            "name": "waits", "executable": "/bin/true", "user": "alice", "app": "benchmarks", "scheduler": "bench",
            "attributes": {"transfer_executable": False, "requirements": "False", "request_memory": "16MB"},
        },
    }  # fmt: skip
    left = number
    while left:
        some = [{**run, "idempotency_key": str(uuid4())} for _ in range(min(left, _BULK))]
        answer = _asked(api, "POST", f"/deployments/{deployment}/create_flow_run/bulk", some)
        left -= sum(each["status"] == "CREATED" for each in answer.json()["results"])


def _asked(api: httpx.Client, method: str, path: str, body: Any) -> httpx.Response:
    """Prefect's answer; on SQLite it answers 503 now and then while it is busy."""
    deadline = time.monotonic() + PATIENCE
    while True:
        answer = api.request(method, path, json=body)
        if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE or time.monotonic() > deadline:
            answer.raise_for_status()
            return answer
        time.sleep(0.5)


def _submitted(given: Parts, number: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while given.runtime.store.count(JobQuery(filters={"status": "Submitted"})) < number:
        check(time.monotonic() < deadline, f"{number} jobs are in the queue")
        time.sleep(0.05)


def _shown(given: Parts) -> None:
    deadline = time.monotonic() + PATIENCE
    while given.runtime.store.backlog():
        check(time.monotonic() < deadline, "Prefect shows all jobs")
        time.sleep(0.2)


BENCHMARKS: list[Callable[[Parts], list[Row]]] = [runs, runs_of_a_pool, runs_by_processes]
