"""DASK jobs: what execute() adds to Dask and Prefect, how soon a result is there, what 1,000 of them cost."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any
from uuid import UUID

import psutil

from benchmarks.commits import commits
from benchmarks.meters import requests
from benchmarks.parts import Parts
from benchmarks.results import Row
from prefect_jobs import DaskJob
from prefect_jobs.local.processes import LOOPBACK, free_port
from prefect_jobs.runtime.wiring import installed, own_runtime

WARM, REPEATS, RESULTS, MANY = 5, 20, 30, int(os.environ.get("BENCH_MANY", "1000"))
PATIENCE = 120.0
#: Tells when each result could be read, in another process than the one that waits for it.
READER = """
import sys, time
from prefect_jobs import App, ResultUnavailable
class Bench(App):
    name = "Benchmarks"
    package = "benchmarks"
manager = Bench.get_job_manager()
print("ready", flush=True)
for line in sys.stdin:
    job = manager.get_job(line.strip())
    while True:
        try:
            ended = job.result
            break
        except ResultUnavailable:
            time.sleep(0.02)
    print(time.time() - ended, flush=True)
"""


def work(path: str) -> float:
    """Waits until there is a file; when that was."""
    while not Path(path).exists():
        time.sleep(0.05)
    return time.time()


def soon(seconds: float) -> float:
    """Takes some time; when it was over."""
    time.sleep(seconds)
    return time.time()


@contextmanager
def _cluster(folder: Path) -> Iterator[Any]:
    """A scheduler and a worker, and a saved block of it."""
    from prefect_jobs import create_dask_scheduler

    port = free_port()
    address = f"tcp://{LOOPBACK}:{port}"
    root = str(Path(__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": root}
    commands = (
        ["scheduler", "--host", LOOPBACK, "--port", str(port), "--no-dashboard"],
        ["worker", address, "--nthreads", "4", "--no-nanny", "--no-dashboard"],
    )
    processes: list[subprocess.Popen[bytes]] = []
    try:
        with tempfile.TemporaryFile() as log:
            for command in commands:
                processes.append(
                    subprocess.Popen(
                        [sys.executable, "-m", "dask", *command], cwd=folder, env=environment, stdout=log, stderr=log
                    )
                )
        block = create_dask_scheduler(f"bench-dask-{port}", address, timeout=60)
        block.save(overwrite=True)
        block.client.wait_for_workers(1, timeout=PATIENCE)
        yield block
        block.close()
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait()


def _job(given: Parts, block: Any, name: str = "dask") -> DaskJob:
    job = given.manager.create_job(name, "alice", job_type="DASK", scheduler=block)
    if not isinstance(job, DaskJob):
        raise TypeError(job)
    return job


def execute(given: Parts) -> list[Row]:
    """execute() of a tiny delayed until it returns, when Prefect shows it; bare: client.compute, and the creation of a
    flow run as ours, which is the one call to Prefect that must be made until then."""
    from dask.delayed import delayed
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.objects import State, StateType

    whole: list[float] = []
    bare: list[float] = []
    with _cluster(given.folder) as block, get_client(sync_client=True) as api:
        warm = _job(given, block)
        warm.execute(delayed(pow)(1, 1))
        warm.wait(PATIENCE)
        deployment = api.read_flow_run(UUID(warm.flow_run_id)).deployment_id
        if deployment is None:
            raise RuntimeError("The run has no deployment.")
        for number in range(REPEATS):
            job, tiny = _job(given, block), delayed(pow)(number, 2)
            with requests() as asked:
                began = time.perf_counter()
                job.execute(tiny)
                whole.append(time.perf_counter() - began)
            job.wait(PATIENCE)
            given.runtime.projector.flush()
            tiny = delayed(pow)(number, 3)
            began = time.perf_counter()
            future = block.client.compute(tiny)
            state = State[None](type=StateType.PENDING, name="Submitted")
            made = api.create_flow_run_from_deployment(
                deployment,
                state=state,
                name="bare",
                tags=["prefect-jobs", "app:benchmarks", "user:alice", "type:DASK"],
                idempotency_key=f"bare-{number}-{began}",
                parameters={"name": "bare", "app": "benchmarks"},
                labels={"prefect-jobs.job": number},
            )
            bare.append(time.perf_counter() - began)
            future.result(PATIENCE)
            api.delete_flow_run(made.id)
    ratio = median(mine / theirs for mine, theirs in zip(whole, bare, strict=True))
    said = ", ".join(f"{count} {what}" for what, count in asked.items())
    what = "execute() of a tiny delayed / client.compute and the creation of a run"
    return [
        Row("execute() of a tiny delayed", median(whole), bare=median(bare), detail=f"{REPEATS} times; {said}"),
        Row(f"{what}: ratio, median", ratio, unit="", target=1.3, reason=_WHY),
    ]


def added(given: Parts) -> list[Row]:
    """create_job() and execute(), without the wait for Prefect; bare: compute, publish, and three commits of a row of
    the same size to the same kind of database."""
    from dask.delayed import delayed

    whole: list[float] = []
    plain: list[float] = []
    runtime = own_runtime()
    with _cluster(given.folder) as block, installed(runtime), _bare(given, block) as (client, row):
        for number in range(WARM + REPEATS):
            began = time.perf_counter()
            job, tiny = _job(given, block), delayed(pow)(number, 2)
            job.execute(tiny)
            whole.append(time.perf_counter() - began)
            job.wait(PATIENCE)
            runtime.projector.flush()
            began = time.perf_counter()
            future = _plainly(client, row, delayed(pow)(number, 3), f"bare-{number}")
            plain.append(time.perf_counter() - began)
            future.result(PATIENCE)
            runtime.projector.flush()
    runtime.close()
    whole, plain = whole[WARM:], plain[WARM:]
    ratio = median(mine / theirs for mine, theirs in zip(whole, plain, strict=True))
    what = "create_job() and execute() of a tiny delayed, without the wait for Prefect"
    return [
        Row(what, median(whole), bare=median(plain), detail=f"{REPEATS} times"),
        Row(
            f"{what} / client.compute, publish and 3 commits: ratio, median",
            ratio,
            unit="",
            target=1.3,
            reason="The job is checked, and SQLAlchemy writes its row of 50 columns three times.",
        ),
    ]


@contextmanager
def _bare(given: Parts, block: Any) -> Iterator[tuple[Any, Callable[[str, str], None]]]:
    """A client as Dask makes it, and what writes a row, and commits, in a new database like ours."""
    from distributed import Client

    with (
        commits(given.bare_url) as write,
        Client(block.host, set_as_default=False) as client,  # type: ignore[no-untyped-call]
    ):
        yield client, write


def _plainly(client: Any, row: Callable[[str, str], None], work: Any, name: str) -> Any:
    """What is done of a job without us; the future."""
    row(name, "new")
    row(name, "being submitted")
    future = client.compute(work)
    client.publish_dataset(future, name=name)
    row(name, "submitted")
    return future


_WHY = "Besides these calls the job and its graph are committed to SQL, and its future is published on the cluster."


def results(given: Parts) -> list[Row]:
    """From the end of the work until another process can read the result; polls every 2 s, as is the default."""
    from dask.delayed import delayed

    late: list[float] = []
    with _cluster(given.folder) as block:
        reader = subprocess.Popen(
            [sys.executable, "-c", READER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            if reader.stdin is None or reader.stdout is None:
                raise RuntimeError("The reader has no pipes.")
            reader.stdout.readline()
            for number in range(RESULTS):
                job = _job(given, block)
                job.execute(delayed(soon)(0.3 + number / 20))
                reader.stdin.write(f"{job.id}\n")
                reader.stdin.flush()
                job.wait(PATIENCE)
                late.append(float(reader.stdout.readline()))
        finally:
            reader.kill()
            reader.communicate()
    what = "End of the work on Dask until another process reads the result"
    return [
        Row(f"{what}: median", median(late), target=1.0, detail=f"{RESULTS} jobs"),
        Row(f"{what}: worst", max(late)),
    ]


def many(given: Parts) -> list[Row]:
    """1,000 jobs at work, watched by one process; bare: compute, publish and three commits for each, and each result
    with a commit."""
    from dask.delayed import delayed

    flag = given.folder / "go"
    process = psutil.Process()
    with _cluster(given.folder) as block, _bare(given, block) as (client, row):
        warm = [_job(given, block) for _ in range(20)]
        given.manager.execute_jobs(warm, work=[delayed(pow)(number, 2) for number in range(20)])
        given.manager.wait_jobs(warm, PATIENCE, lambda *_: None)
        memory, files, threads = process.memory_info().rss, process.num_fds(), process.num_threads()
        jobs = [_job(given, block, f"many {number}") for number in range(MANY)]
        began = time.perf_counter()
        given.manager.execute_jobs(
            jobs, work=[delayed(work)(str(flag), dask_key_name=f"work-{n}") for n in range(MANY)]
        )
        executed = time.perf_counter() - began
        given.settle()
        polled, cpu, polls = _poll_all(jobs)
        grown = (process.memory_info().rss - memory) / MANY
        flag.touch()
        began = time.perf_counter()
        given.manager.wait_jobs(jobs, PATIENCE, lambda *_: None)
        ended = time.perf_counter() - began
        leaked = (process.num_fds() - files, process.num_threads() - threads)
        given.settle()
        plain = _many_plainly(client, row)
    what, each = f"{MANY} Dask jobs", "client.compute, publish and 3 commits for each"
    return [
        Row(f"{what} by execute_jobs(); bare: {each}", executed, bare=plain[0]),
        Row(f"{what} by execute_jobs(): ratio", executed / plain[0], unit="", target=1.2),
        Row(f"{what} at work: calls to the scheduler for a poll of all", polls, unit="", target=1),
        Row(f"{what} at work: a poll of all", polled, detail=f"{cpu:.2f} s of CPU"),
        Row(f"{what} at work: memory of the process, for each", grown / 1024, unit="KiB", target=50),
        Row(f"{what}: until all results are kept, by wait_jobs(); bare: result(), a commit and unpublish of each",
            ended, bare=plain[1]),
        Row(f"{what}: until all results are kept: ratio", ended / plain[1], unit="", target=1.2),
        Row(f"{what}: file descriptors left open afterwards", leaked[0], unit="", target=10),
        Row(f"{what}: threads left afterwards", leaked[1], unit="", target=10),
    ]  # fmt: skip


def _poll_all(jobs: Sequence[DaskJob]) -> tuple[float, float, int]:
    """Seconds, seconds of CPU, and requests of a poll of all."""
    client = jobs[0].engine.client()
    polls, began, cpu = client.polls, time.perf_counter(), time.process_time()
    answer = client.ask()
    found = [job.engine.judge(answer.of(job.handle.token, 1)).status for job in jobs]
    if set(found) - {"Submitted", "Running"}:
        raise RuntimeError(f"The jobs are {set(found)}.")
    return time.perf_counter() - began, time.process_time() - cpu, client.polls - polls


def _many_plainly(client: Any, row: Callable[[str, str], None]) -> tuple[float, float]:
    """Seconds to submit as many without us, and to keep their results when they are there."""
    from dask.delayed import delayed

    began = time.perf_counter()
    futures = [_plainly(client, row, delayed(pow)(number, 5), f"bare-{number}") for number in range(MANY)]
    submitted = time.perf_counter() - began
    client.gather(futures)
    began = time.perf_counter()
    for number, future in enumerate(futures):
        future.result(PATIENCE)
        row(f"bare-{number}", "over")
        client.unpublish_dataset(f"bare-{number}")
    return submitted, time.perf_counter() - began


BENCHMARKS = [execute, added, results, many]
