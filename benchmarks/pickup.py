"""Runs that Prefect starts: how soon the monitor submits them, by how many requests, and what it costs while they wait;
beside it Prefect's process worker."""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from tempfile import TemporaryDirectory
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
_BULK = 100
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
    rows += _with_processes(given, api_url, deployment)
    return rows


def _many(given: Parts, api: httpx.Client, counting: Proxy, pid: int, deployment: str) -> list[Row]:
    """Many runs at once."""
    found: list[Row] = []
    _shown(given)
    given.runtime.projector.close()  # only the monitor shows them, and is counted
    counting.take()
    before = SINGLE + 1
    began = time.monotonic()
    _made(api, deployment, RUNS)
    made = time.monotonic() - began
    _submitted(given, before + RUNS)
    taken = time.monotonic() - began
    _shown(given)
    counted = counting.take()
    what = f"{RUNS} runs at once"
    found.append(
        Row(
            f"{what}, from the last one until all jobs are in the queue",
            taken - made,
            target=62,
            detail=f"after {made:.1f} s in which they were made, while the monitor picked them up",
        )
    )
    own = Counter({kind: number for kind, number in counted.items() if not any(poll in kind for poll in _POLLS)})
    told = ", ".join(f"{number} {kind}" for kind, number in own.most_common())
    found.append(
        Row(
            f"{what}: requests to Prefect for each, until it is shown",
            own.total() / RUNS,
            "",
            target=2.5,
            detail=told,
        )
    )
    whole = psutil.Process(pid)
    family = [whole, *whole.children(recursive=True)]
    memory = [each.memory_info().rss / 2**20 for each in family]
    parts = ", ".join(f"{one:.0f}" for one in memory)
    found.append(
        Row(
            f"{what}, waiting: resident memory of the monitor and its processes",
            sum(memory),
            "MiB",
            target=300 * 1e6 / 2**20,
            detail=f"{len(family)} processes: {parts} MiB",
        )
    )
    return found


def _with_processes(given: Parts, api_url: str, deployment: str) -> list[Row]:
    """The same by a process worker, for a few runs."""
    with httpx.Client(base_url=api_url, timeout=60) as api, _worker(given, api, deployment) as process:
        began = time.monotonic()
        _made(api, deployment, PROCESSES)
        _submitted(given, PROCESSES)
        taken = time.monotonic() - began
        family = psutil.Process(process.pid).children(recursive=True)
        memory = [each.memory_info().rss / 2**20 for each in family]
        _remove(given)
        for each in family:
            each.kill()
    api_call = f"{PROCESSES} runs by a process worker"
    return [
        Row(f"{api_call} until their jobs are in the queue", taken),
        Row(f"{api_call}, waiting: resident memory of its processes, for each", sum(memory) / PROCESSES, "MiB",
            detail=f"{len(family)} processes"),
    ]  # fmt: skip


@contextmanager
def _worker(given: Parts, api: httpx.Client, deployment: str) -> Iterator["subprocess.Popen[bytes]"]:
    api.post("/work_pools/", json={"name": "processes", "type": "process"}).raise_for_status()
    api.patch(f"/deployments/{deployment}", json={"work_pool_name": "processes"}).raise_for_status()
    command = [sys.executable, "-m", "prefect", "worker", "start", "--type", "process", "--pool", "processes"]
    with TemporaryDirectory(prefix="pj-bench-") as folder:
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield process
        finally:
            process.kill()  # started in the background of a shell, it would ignore SIGTERM; nothing of it is needed
            process.wait(30)
            api.patch(f"/deployments/{deployment}", json={"work_pool_name": None}).raise_for_status()


def _deployment(given: Parts) -> str:
    """The deployment of the app for Condor jobs."""
    job = given.manager.create_job("first", "alice", job_type="CONDOR", scheduler=given.scheduler)
    job.save()
    given.settle()
    (found,) = given.runtime.store.deployments()
    given.runtime.store.delete(job.id or 0)
    return found


def _made(api: httpx.Client, deployment: str, number: int) -> None:
    """Makes runs that are due."""
    run = {
        "state": {"type": "SCHEDULED"},
        "parameters": {
            "name": "waits", "executable": "/bin/true", "user": "alice", "app": "benchmarks", "scheduler": "bench",
            "attributes": {"transfer_executable": False, "requirements": "False", "request_memory": "16MB"},
        },
    }  # fmt: skip
    left = number
    while left:
        some = [{**run, "idempotency_key": str(uuid4())} for _ in range(min(left, _BULK))]
        answer = api.post(f"/deployments/{deployment}/create_flow_run/bulk", json=some)
        answer.raise_for_status()
        left -= sum(each["status"] == "CREATED" for each in answer.json()["results"])


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


BENCHMARKS: list[Callable[[Parts], list[Row]]] = [runs]
