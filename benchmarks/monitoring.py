"""Watching many Condor jobs: polls, the monitor's CPU and memory, how soon an end is shown; and lists of many jobs."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any
from uuid import UUID

import httpx
import psutil
from sqlalchemy import delete, event, update

from benchmarks.bare import bare
from benchmarks.listed import vacuum
from benchmarks.parts import PATIENCE, Parts, check
from benchmarks.results import Row
from benchmarks.submissions import _deployment, _remove, monitor
from prefect_jobs import App, CondorJob, JobManager, clock, statuses
from prefect_jobs.jobs import polling
from prefect_jobs.jobs.base import Job
from prefect_jobs.jobs.condor.group import CondorGroup
from prefect_jobs.local.processes import LOOPBACK, free_port
from prefect_jobs.records import JobRecord, StatusState
from prefect_jobs.store.tables import JOBS

LISTED = (100, 10_000)
ACTIVE = int(os.environ.get("BENCH_ACTIVE", "1000"))
WATCHED = int(os.environ.get("BENCH_WATCHED", "5000"))
MINUTE = float(os.environ.get("BENCH_MINUTE", "60"))
ENDING = int(os.environ.get("BENCH_ENDING", "100"))
LONGEST = int(os.environ.get("BENCH_LONGEST", "60"))
REPEATS, ASKED = 20, 50
#: Asks condorpy for the status of each cluster given; prints seconds for each.
CONDORPY = """
import sys, time
from condorpy import Job
for cluster in sys.argv[1:]:
    job = Job("asked")
    object.__setattr__(job, "_cluster_id", int(cluster))
    began = time.perf_counter()
    assert job.status in ("Idle", "Held"), job.status
    print(time.perf_counter() - began)
"""


def lists(given: Parts) -> list[Row]:
    """list_jobs(limit=50) among few and among many jobs."""
    rows: list[Row] = []
    for number in LISTED:
        app = type("Listed", (App,), {"name": f"Listed {number}", "package": f"benchmarks_listed_{number}"})
        manager = JobManager(app)
        over = StatusState(status_code="COM", status=statuses.COMPLETE, status_class="t:COMPLETED")
        names = [f"job {one}" for one in range(number)]
        _insert(
            given,
            [JobRecord(0, 0, manager.label, "CONDOR", "CondorJob", name, "alice", clock.now(), over) for name in names],
        )
        for order in ("id", "-creation_time"):
            taken: list[float] = []
            with statements_of(given) as said:
                for _ in range(REPEATS):
                    began = time.perf_counter()
                    found = manager.list_jobs(limit=50, order_by=order)
                    taken.append((time.perf_counter() - began) * 1000)
            check(len(found) == 50, "50 jobs are listed")
            rows.append(
                Row(
                    f"list_jobs(limit=50, order_by={order!r}) among {number} jobs",
                    median(taken),
                    "ms",
                    target=10,
                    detail=f"{len(said) / REPEATS:g} SQL statements; worst {max(taken):.1f} ms",
                )
            )
    with given.runtime.store.database.writing() as connection:
        connection.execute(delete(JOBS).where(JOBS.c.label.like("benchmarks_listed_%")))
    return rows


def polls(given: Parts) -> list[Row]:
    """One poll of many active jobs, and what is made of the answer; bare: condorpy's question about each of them."""
    jobs = active(given, ACTIVE)
    changed, full = CondorGroup(), CondorGroup()
    time.sleep(10)  # what was submitted just now counts as changed
    rows: list[tuple[str, list[float]]] = [("what has changed", []), ("everything in the queue", [])]
    for _ in range(2):  # what is known of them is written down
        _apply(changed, jobs)
    for _ in range(REPEATS):
        rows[0][1].append(_apply(changed, jobs))
        full.look_again()
        rows[1][1].append(_apply(full, jobs))
    each, how = _condorpy(given, jobs)
    _remove(given)
    what = f"Status of {len(jobs)} active jobs by one poll"
    found = [
        Row(f"{what}, {name}; bare: {how}", median(taken), bare=each * len(jobs), detail=f"worst {max(taken):.2f} s")
        for name, taken in rows
    ]
    times = each * len(jobs) / median(rows[1][1])
    found.append(
        Row(
            f"{what}, everything: part of the time of {how}",
            100 / times,
            "%",
            target=0.5,
            detail=f"{times:.0f} times faster",
        )
    )
    return found


@dataclass
class Cost:
    """What a monitor costs whose jobs do not change."""

    #: Seconds of CPU for each poll: of all its processes, and of the thread that polls.
    spent: list[float]
    asking: list[float]
    mean: float
    #: Bytes of memory of all its processes, in the course of time, and MiB of each at the end.
    memory: list[float]
    processes: str
    polls: float
    seconds: float
    #: Seconds until each job was looked at.
    start: float


def cost_of_watching(minute: float) -> Cost:
    """Runs a monitor; measures it for so many seconds once everything was looked at."""
    port = free_port()
    address = f"http://{LOOPBACK}:{port}/metrics"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    found = Cost([], [], 0.0, [], "", 0.0, 0.0, 0.0)
    started = time.monotonic()
    with monitor(environment, "--metrics-port", str(port)) as process, httpx.Client() as client:
        whole = psutil.Process(process.pid)

        def read() -> tuple[float, float]:
            """Polls and the CPU time of the threads that poll, so far."""
            values, name = told(), "prefect_jobs_poll_cpu_seconds"
            return values.get(f"{name}_count", 0.0), values.get(f"{name}_sum", 0.0)

        def told() -> dict[str, float]:
            lines = client.get(address, timeout=30).text.splitlines()
            return {line.split("{")[0]: float(line.rsplit(" ", 1)[1]) for line in lines if 'heduler="htcondor' in line}

        deadline = time.monotonic() + PATIENCE
        while told().get("prefect_jobs_scheduler_catching_up", 1.0):
            check(time.monotonic() < deadline, "the monitor polls")
            time.sleep(0.5)
        found.start = time.monotonic() - started
        time.sleep(15)
        end = time.monotonic() + minute
        (number, thread), cpu = read(), _cpu(whole)
        first, began = (number, cpu), time.monotonic()
        while time.monotonic() < end:
            time.sleep(0.1)
            now = read()
            found.memory.append(memory_of(whole))
            if now[0] > number:
                used = _cpu(whole)
                found.spent.append((used - cpu) / (now[0] - number))
                found.asking.append((now[1] - thread) / (now[0] - number))
                (number, thread), cpu = now, used
        found.seconds, found.polls = time.monotonic() - began, number - first[0]
        found.mean = (_cpu(whole) - first[1]) / found.polls
        found.processes = ", ".join(f"{_mib(one):.0f}" for one in [whole, *whole.children(recursive=True)])
    return found


def watching(given: Parts) -> list[Row]:
    """A monitor of many active jobs of which none changes."""
    active(given, WATCHED)
    cost = cost_of_watching(MINUTE)
    _remove(given)
    what = f"Monitor of {WATCHED} active jobs"
    told = f"{cost.polls:g} polls in {cost.seconds:.0f} s"
    return [
        Row(f"{what}: CPU of all its processes for each poll, median", median(cost.spent), target=0.3, detail=told),
        Row(f"{what}: CPU of all its processes for each poll, mean", cost.mean),
        Row(f"{what}: CPU of all its processes for each poll, worst", max(cost.spent), target=0.5, reason=_WORST),
        Row(
            f"{what}: CPU of the thread that polls, median",
            median(cost.asking),
            detail=f"worst {max(cost.asking):.2f} s",
        ),
        Row(
            f"{what}: resident memory of all its processes, most",
            max(cost.memory),
            "MiB",
            target=250 * 1e6 / 2**20,
            detail=f"at the end {cost.processes} MiB",
        ),
    ]


_WORST = "Every 15 s everything in the queue is asked for, and every 30 s all runs are asked for in Prefect."


def ends(given: Parts) -> list[Row]:
    """From the end of a job, by its own clock, until Prefect says that it is complete."""
    from prefect.client.orchestration import get_client

    path = given.folder / "ending.sh"
    path.write_text("#!/bin/sh\nsleep $1\ndate +%s.%N\n")
    path.chmod(0o755)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    late: list[float] = []
    with monitor(environment), get_client(sync_client=True) as api:
        jobs = [_ending(given, path, random.uniform(5, LONGEST)) for _ in range(ENDING)]  # noqa: S311
        given.manager.execute_jobs(jobs)
        deadline, store = time.monotonic() + PATIENCE, given.runtime.store
        while any(record.state.completion_time is None or record.behind for record in _records(given, jobs)):
            check(time.monotonic() < deadline, "all jobs are over, and shown")
            time.sleep(1)
        for job in jobs:
            job.handle.take(store.get(job.handle.record.id) or job.handle.record)
            check(job.cached_status == statuses.COMPLETE, f"it is complete: {job.status_message}")
            ended = float(str(job.get_logs()["output"]).split()[-1])
            state = api.read_flow_run(UUID(job.flow_run_id)).state
            check(state is not None and state.is_completed(), f"Prefect says so: {state}")
            late.append(state.timestamp.timestamp() - ended if state is not None else 0.0)
    for job in jobs:
        store.delete(job.handle.record.id)
    what = f"End of a Condor job until it is Completed in Prefect, polls every 2 s, {ENDING} jobs"
    ordered = sorted(late)
    return [
        Row(
            f"{what}: median",
            median(late),
            target=1.3,
            reason="Half of the interval is 1 s of it; the schedd notes the end, and outputs are fetched in turn.",
        ),
        Row(
            f"{what}: worst", ordered[-1], target=4, detail=f"95 of 100 within {ordered[int(0.95 * ENDING) - 1]:.1f} s"
        ),
    ]


BENCHMARKS: list[Callable[[Parts], list[Row]]] = [lists, polls, watching, ends]


def active(given: Parts, number: int, *, runs: bool = True) -> list[Job]:
    """Jobs that wait in the queue, as if each had been submitted by execute(); with or without flow runs."""
    warm = given.manager.create_job("warm", "alice", job_type="CONDOR", scheduler=given.scheduler,
        attributes={"executable": "/bin/sleep", "transfer_executable": False, "requirements": "False",
                    "request_memory": "16MB", "request_disk": "1MB"})  # fmt: skip
    if not isinstance(warm, CondorJob):
        raise TypeError(warm)
    warm.execute()
    deployment = _deployment(given, warm) if runs else ""
    deadline = time.monotonic() + PATIENCE
    while [proc["state"] for proc in warm.handle.record.native.get("procs", ())] != ["Idle"]:  # as the others are
        check(time.monotonic() < deadline, "a job waits in the queue")
        polling.poll_once(warm)
    with bare(given) as engine:
        made = engine.ask("idle", count=number, deployment=deployment)
    _remove_one(given, warm)
    pattern, now = warm.handle.record, clock.now()
    _insert(
        given,
        [
            replace(
                pattern,
                name=f"active {cluster}",
                creation_time=now,
                native={**pattern.native, "cluster": cluster, "spool": False},
                remote_id=str(cluster),
                submission_token=token,
                flow_run_id=run or None,
                flow_state_id=state or None,
                face_shown={"name": f"active {cluster}", "remote_id": str(cluster)},
            )
            for token, cluster, run, state in made
        ],
    )
    store = given.runtime.store
    found: list[Job] = []
    for record in store.records([job_id for job_id, *_ in store.watched()]):
        found.append(given.runtime.job(record))
    check(len(made) == number, f"there are {number} jobs: {len(made)}")
    return found


def _insert(given: Parts, records: list[JobRecord]) -> None:
    """Writes jobs that Prefect shows as they are, or need not show."""
    made = given.runtime.store.insert_all(records)
    with given.runtime.store.database.writing() as connection:
        connection.execute(update(JOBS).where(JOBS.c.id >= made[0].id).values(face_done=JOBS.c.face_seq))
    vacuum(given.runtime.store)


def _remove_one(given: Parts, job: CondorJob) -> None:
    given.scheduler.get_client().act("Remove", f"ClusterId == {job.cluster_id}", "measured")
    given.runtime.store.delete(job.handle.record.id)


def _apply(group: CondorGroup, jobs: list[Job]) -> float:
    """Seconds for a poll, and for applying what it says, as the monitor does it."""
    began = time.perf_counter()
    found = group.poll(jobs)
    for job in jobs:
        news = found.get(job.handle.record.id)
        if news is None:
            continue
        change = polling.change_by(news, job.handle.record)
        if polling.is_news(job.handle.record, change(job.handle.record)):
            polling.observed(job, news, fetch=False, change=change)
    return time.perf_counter() - began


def _condorpy(given: Parts, jobs: list[Job]) -> tuple[float, str]:
    """Seconds that condorpy takes for the status of one job, and what was run."""
    environment = {**os.environ, **given.pool.env()}
    clusters = [str(job.remote_id) for job in jobs[:ASKED]]
    place = given.folder / "condorpy"
    try:
        subprocess.run([sys.executable, "-m", "venv", place], check=True, capture_output=True)
        subprocess.run([place / "bin/pip", "install", "-q", "condorpy"], check=True, capture_output=True)
        said = subprocess.run(
            [place / "bin/python", "-c", CONDORPY, *clusters],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        )
        return sum(map(float, said.stdout.split())) / len(clusters), f"condorpy, one by one (from {len(clusters)})"
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"condorpy cannot be used: {error} {getattr(error, 'stderr', '')}")
    began = time.perf_counter()
    for cluster in clusters:
        command = (
            f"condor_q {cluster} -format '\"%d\"' JobStatus && condor_history {cluster} -format '\"%d\"' JobStatus"
        )
        subprocess.run(command, shell=True, env=environment, check=True, capture_output=True)  # noqa: S602
    how = f"condorpy's command (condor_q && condor_history), one by one (from {len(clusters)})"
    return (time.perf_counter() - began) / len(clusters), how


def _ending(given: Parts, path: Path, seconds: float) -> CondorJob:
    job = given.manager.create_job(
        "ending",
        "alice",
        job_type="CONDOR",
        scheduler=given.scheduler,
        attributes={
            "executable": path.name,
            "arguments": [f"{seconds:.2f}"],
            "request_memory": "16MB",
            "request_disk": "1MB",
        },
        remote_input_files=[str(path)],
    )
    if not isinstance(job, CondorJob):
        raise TypeError(job)
    return job


def _records(given: Parts, jobs: list[CondorJob]) -> list[JobRecord]:
    return given.runtime.store.records([job.handle.record.id for job in jobs])


@contextmanager
def statements_of(given: Parts) -> Iterator[list[str]]:
    """The SQL statements of this process while the context lasts."""
    said: list[str] = []
    engine = given.runtime.store.database.engine

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        said.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield said
    finally:
        event.remove(engine, "before_cursor_execute", note)


def _cpu(process: psutil.Process) -> float:
    times = [one.cpu_times() for one in [process, *process.children(recursive=True)]]
    return float(sum(one.user + one.system for one in times))


def _mib(process: psutil.Process) -> float:
    return float(process.memory_info().rss / 2**20)


def memory_of(process: psutil.Process) -> float:
    """The resident memory of a process and those that it has started, in MiB."""
    return sum(_mib(one) for one in [process, *process.children(recursive=True)])
