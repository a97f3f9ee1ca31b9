"""Condor jobs: what create_job() and execute() add to HTCondor and Prefect, and how often Prefect is called."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from uuid import UUID

from benchmarks.bare import bare
from benchmarks.meters import requests
from benchmarks.parts import PATIENCE, Parts, check
from benchmarks.proxy import Proxy, proxy
from benchmarks.results import Row
from prefect_jobs import CondorJob
from prefect_jobs.local.processes import read_record
from prefect_jobs.schedulers.condor.submit import description, outputs

REPEATS = 20
MANY = int(os.environ.get("BENCH_MANY", "1000"))
SCRIPT = "#!/bin/sh\nsleep 6\necho done\n"
_SMALL = {"request_memory": "16MB", "request_disk": "1MB"}
#: A process of its own, so that all of its requests go to the counting server: one job to warm up, and another.
CLIENT = """
import sys
from prefect_jobs import App
from prefect_jobs.runtime.wiring import get_runtime
class Bench(App):
    name = "Benchmarks"
    package = "benchmarks"
manager, watched = Bench.get_job_manager(), "monitor" in sys.argv
for line in sys.stdin:
    job = manager.create_job("calls", "alice", job_type="CONDOR", scheduler="bench", attributes={
        "executable": "job.sh", "request_memory": "16MB", "request_disk": "1MB"}, remote_input_files=[line.strip()])
    job.execute()
    if not watched:
        job.wait(600)
    else:
        while get_runtime().jobs.get(job.id).state.completion_time is None:
            __import__("time").sleep(0.2)
    get_runtime().projector.flush(60)
    print(job.id, flush=True)
"""
BARE_FLOW = """
import subprocess
from prefect import flow
@flow(log_prints=True)
def run(program: str):
    subprocess.run([program], check=True)
    print("done")
"""


def calls(given: Parts) -> list[Row]:
    """Requests of all processes to Prefect over the life of a job that runs for some seconds."""
    script = _script(given)
    with proxy(os.environ["PREFECT_API_URL"]) as counting:
        alone, _ = _life(given, counting, script, watched=False)
        watched, looks = _life(given, counting, script, watched=True)
        plain, polls = _plain(given, counting, script)
    what = "Requests to Prefect over the life of a Condor job of 6 s"
    return [
        Row(
            f"{what}, execute() and wait(); bare: a flow that runs the same program, on a worker",
            alone.total(),
            "",
            target=6,
            bare=plain.total(),
            detail=f"{_told(alone)}; bare: {_told(plain)}, beside {polls} polls of the worker",
        ),
        Row(
            f"{what}, watched by a monitor",
            watched.total(),
            "",
            target=6,
            detail=f"{_told(watched)}, beside {looks} looks of the monitor at what people did, for all jobs at once",
            reason="The one who submits and the monitor send the log lines that they have written, each by itself, and "
            "the monitor asks for runs that were started in Prefect, of all deployments at once.",
        ),
    ]


def execute(given: Parts) -> list[Row]:
    """create_job() and execute() of a job with a spooled script; bare: submit, spool, three commits to a database of
    the same kind."""
    script = _script(given)
    whole: list[float] = []
    plain: list[float] = []
    database = given.bare_url
    with bare(given) as engine, TemporaryDirectory(prefix="pj-bench-") as links:
        _job(given, script).execute()
        text = _text(given, script, Path(links))
        engine.ask("job", text=text, database=database)
        for _ in range(REPEATS):
            given.settle()
            with requests() as asked:
                began = time.perf_counter()
                job = _job(given, script)
                job.execute()
                whole.append(time.perf_counter() - began)
            given.settle()
            plain.append(engine.ask("job", text=text, database=database))
    _remove(given)
    ratio = median(mine / theirs for mine, theirs in zip(whole, plain, strict=True))
    what = "create_job() and execute() of a Condor job"
    return [
        Row(f"{what}", median(whole), bare=median(plain), detail=f"{REPEATS} times; {_told(asked) or 'no request'}"),
        Row(
            f"{what} / submit, spool, and 3 commits: ratio, median",
            ratio,
            "",
            target=1.3,
            reason="SQLAlchemy writes a row of 50 columns three times, 3 ms; the job is checked and described, 2 ms, "
            "and has folders, 1 ms. The limit is submit and spool: 12 ms.",
        ),
    ]


def many(given: Parts) -> list[Row]:
    """Many jobs by execute_jobs(); bare: a submit and spool for each, and Prefect's bulk calls."""
    script = _script(given)
    with bare(given) as engine, TemporaryDirectory(prefix="pj-bench-") as links:
        warm = _job(given, script)
        warm.execute()
        deployment = _deployment(given, warm)
        texts = [_text(given, script, Path(links)) for _ in range(MANY)]
        plain = engine.ask("many", texts=texts, deployment=deployment)
        _remove(given)
        whole, late, asked = _many(given, script)
        frozen = read_record(given.folder / "prefect" / "server.pid")
        check(frozen is not None, "there is a Prefect server")
        os.kill(frozen.pid, signal.SIGSTOP)  # type: ignore[union-attr]
        away = _many(given, script, lambda: os.kill(frozen.pid, signal.SIGCONT))  # type: ignore[union-attr]
    what, bare_one = f"{MANY} Condor jobs by execute_jobs()", plain["all"] - plain["runs"]
    return [
        Row(f"{what}; bare: submit and spool of each", whole, bare=bare_one, detail=_told(asked)),
        Row(
            f"{what}: ratio",
            whole / bare_one,
            "",
            target=1.5,
            reason=f"Prefect makes their runs meanwhile, on the same cores; {away[0] / bare_one:.2f} without it.",
        ),
        Row(
            f"{what}: until all are shown; bare: Prefect's bulk calls",
            whole + late,
            bare=plain["runs"],
            detail=f"{late:.1f} s after execute_jobs()",
        ),
        Row(f"{what}: until all are shown / Prefect's bulk calls", (whole + late) / plain["runs"], "", target=1.2),
        Row(
            f"{what}: while Prefect does not answer / while it does",
            away[0] / whole,
            "",
            target=1.1,
        ),
        Row(f"{what}: all shown after Prefect answers again", away[1], target=60),
    ]


def _many(given: Parts, script: Path, then: Callable[[], None] = lambda: None) -> tuple[float, float, "Counter[str]"]:
    """Seconds until many jobs are submitted, seconds until all are shown, after ``then``, and the requests."""
    with requests() as asked:
        began = time.perf_counter()
        jobs = [_job(given, script) for _ in range(MANY)]
        given.manager.execute_jobs(jobs)
        whole = time.perf_counter() - began
        then()
        began = time.perf_counter()
        while given.runtime.store.backlog():
            check(time.perf_counter() - began < PATIENCE, "all are shown")
            time.sleep(0.1)
        late = time.perf_counter() - began
    found = Counter(job.cached_status for job in jobs)
    check(set(found) == {"Submitted"}, f"all are submitted: {found}")
    _remove(given)
    return whole, late, asked


BENCHMARKS: list[Callable[[Parts], list[Row]]] = [calls, execute, many]


def _life(given: Parts, counting: Proxy, script: Path, *, watched: bool) -> tuple["Counter[str]", int]:
    """The requests about one job, and the number of those that are the same for any number of jobs."""
    environment = {**os.environ, "PREFECT_API_URL": counting.url, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", CLIENT, *(["monitor"] if watched else [])]
    with monitor(environment) if watched else _nothing():
        client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True)
        try:
            _one(client, script)  # deployments are made, blocks are read
            counting.take()
            number = _one(client, script)
            _shown(given, number)
            found = counting.take()
        finally:
            client.kill()
            client.communicate()
    looks = found.pop("POST flow_runs filter", 0)
    return found, looks


def _one(client: "subprocess.Popen[str]", script: Path) -> int:
    if client.stdin is None or client.stdout is None:
        raise RuntimeError("The client has no pipes.")
    client.stdin.write(f"{script}\n")
    client.stdin.flush()
    return int(client.stdout.readline())


def _plain(given: Parts, counting: Proxy, script: Path) -> tuple["Counter[str]", int]:
    """The requests about a run of a plain flow on a worker, and the number of the worker's own polls."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate

    folder = given.folder / "bare-flow"
    folder.mkdir(exist_ok=True)
    (folder / "bare_flow.py").write_text(BARE_FLOW)
    environment = {**os.environ, "PREFECT_API_URL": counting.url, "PREFECT_LOGGING_LEVEL": "INFO"}
    command = [sys.executable, "-m", "prefect", "worker", "start", "--type", "process", "--pool", "bare"]
    with get_client(sync_client=True) as api, (folder / "log").open("wb") as log:
        api.create_work_pool(WorkPoolCreate(name="bare", type="process"))
        deployment = api.create_deployment(
            flow_id=api.create_flow_from_name("run"),
            name="bare",
            entrypoint="bare_flow.py:run",
            work_pool_name="bare",
            pull_steps=[{"prefect.deployments.steps.set_working_directory": {"directory": str(folder)}}],
            parameters={"program": str(script)},
        )
        worker = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            for _ in range(2):
                counting.take()
                # The one who starts it asks once, too.
                body = {"parameters": {"program": str(script)}}
                run = api.request(
                    "POST", "/deployments/{id}/create_flow_run", path_params={"id": str(deployment)}, json=body
                ).json()
                deadline = time.monotonic() + PATIENCE
                while True:
                    state = api.read_flow_run(UUID(run["id"])).state
                    if state is not None and state.is_final():
                        break
                    check(time.monotonic() < deadline, "the bare flow has ended")
                    time.sleep(0.5)
                check(state.is_completed(), f"the bare flow is completed: {state}")
                time.sleep(3)  # its process sends its last log lines, and ends
                found = counting.take()
        finally:
            worker.terminate()
            try:
                worker.wait(10)
            except subprocess.TimeoutExpired:  # it waits for runs of its own
                worker.kill()
                worker.wait()
    found["POST deployments"] += 1
    polls = sum(found.pop(kind) for kind in list(found) if "work_pools" in kind or "events" in kind)
    return found, polls


@contextmanager
def monitor(environment: dict[str, str], *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A monitor's process while the context lasts, from when it has taken up its work."""
    with TemporaryDirectory(prefix="pj-bench-") as folder:
        said = Path(folder) / "log"
        with said.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "prefect_jobs", "monitor", *arguments], env=environment, stdout=log, stderr=log
            )
        try:
            deadline = time.monotonic() + PATIENCE
            while "The monitor watches" not in said.read_text():
                check(process.poll() is None and time.monotonic() < deadline, f"it watches: {said.read_text()}")
                time.sleep(0.1)
            yield process
        finally:
            process.terminate()
            process.wait(30)
            if os.environ.get("BENCH_LOGS"):
                print(json.dumps(said.read_text()[-3000:]))


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def _script(given: Parts) -> Path:
    path = given.folder / "job.sh"
    path.write_text(SCRIPT)
    path.chmod(0o755)
    return path


def _job(given: Parts, script: Path) -> CondorJob:
    """One that waits in the queue."""
    job = given.manager.create_job(
        "submission",
        "alice",
        job_type="CONDOR",
        scheduler=given.scheduler,
        attributes={"executable": script.name, "requirements": "False", **_SMALL},
        remote_input_files=[str(script)],
    )
    if not isinstance(job, CondorJob):
        raise TypeError(job)
    return job


def _text(given: Parts, script: Path, links: Path) -> str:
    """The same for the bindings alone, in a directory of its own."""
    directory = given.folder / "bare" / uuid.uuid4().hex
    directory.mkdir(parents=True)
    wanted = description.describe(
        description.Request(
            name="bare",
            attributes={"executable": script.name, "requirements": "False", **_SMALL},
            directory=directory,
            input_files=[str(script)],
            token=uuid.uuid4().hex,
            links=lambda: links,
        )
    )
    outputs.prepare(directory, 1, wanted.folders)
    return wanted.text


def _deployment(given: Parts, job: CondorJob) -> str:
    from prefect.client.orchestration import get_client

    given.settle()
    job.handle.refresh()
    with get_client(sync_client=True) as api:
        return str(api.read_flow_run(UUID(job.flow_run_id)).deployment_id)


def _shown(given: Parts, job_id: int) -> None:
    deadline = time.monotonic() + PATIENCE
    store = given.runtime.store
    while store.behind([job_id]) or store.unlogged([job_id]):
        check(time.monotonic() < deadline, "Prefect shows the job")
        time.sleep(0.1)


def _remove(given: Parts) -> None:
    """Takes all jobs out of the queue and out of the database."""
    given.scheduler.get_client().act("Remove", "true", "measured")
    given.scheduler.get_client().act("RemoveX", "true", "measured")
    store = given.runtime.store
    for job_id, *_ in store.watched():
        store.delete(job_id)
    for run in store.run_deletions():  # they may stay in Prefect, where deleting many takes its time
        store.run_deleted(run)


def _told(counted: "Counter[str]") -> str:
    return ", ".join(f"{number} {kind}" for kind, number in counted.most_common())
