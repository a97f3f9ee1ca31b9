"""``prefect worker start --type prefect-jobs``: the runs of a work pool become jobs, without a process for each."""

import gc
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest
from prefect.client.orchestration import get_client

from prefect_jobs import JobManager
from prefect_jobs.blocks import CondorScheduler
from prefect_jobs.runtime.wiring import Runtime
from prefect_jobs.worker import PrefectJobsWorker
from tests.acceptance.conftest import PrefectView
from tests.acceptance.test_pickup import deployed, ends, job_of, press_run
from tests.forks import Program
from tests.support import eventually

__all__ = ["deployed", "press_run"]
pytestmark = pytest.mark.prefect

LIMIT = 120
POOL = "batch"
#: Prefect's command line. Programs in the background of a shell ignore SIGINT, and a worker then ignores SIGTERM, too.
WORKER = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("prefect", run_name="__main__", alter_sys=True)
"""


@pytest.fixture
def pool(prefect_view: PrefectView) -> Iterator[str]:
    """A work pool of our type, with a default for its job variables."""
    template = PrefectJobsWorker.get_default_base_job_template()
    template["variables"]["properties"]["request_memory"]["default"] = "48MB"
    prefect_view.post("/work_pools/", {"name": POOL, "type": "prefect-jobs", "base_job_template": template})
    yield POOL
    prefect_view.request("DELETE", f"/work_pools/{POOL}")


@pytest.fixture
def worker(runtime: Runtime, tmp_path: Path) -> Iterator[Callable[..., "subprocess.Popen[bytes]"]]:
    """Starts workers."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*more: str, pool: str = POOL, kind: str = "prefect-jobs") -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-c", WORKER, "worker", "start", "--pool", pool, "--type", kind, *more]
        environment = {
            **os.environ,
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        log = (tmp_path / f"worker {len(started)}.log").open("wb")
        with log:
            started.append(
                Program(command, cwd=tmp_path, env=environment, stdout=log, stderr=log, start_new_session=True)
            )
        return started[-1]

    yield start
    for process in started:
        family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        for child in family:
            if child.is_running():
                child.kill()


def log_of(folder: Path, number: int = 0) -> str:
    return (folder / f"worker {number}.log").read_text()


def in_pool(view: PrefectView, deployment: str, pool: str = POOL) -> str:
    """What people do in the form of a deployment: it gets a work pool."""
    view.request("PATCH", f"/deployments/{deployment}", {"work_pool_name": pool})
    return deployment


def test_runs_of_a_pool_become_jobs(
    manager: JobManager,
    pool: str,
    worker: Callable[..., "subprocess.Popen[bytes]"],
    alice: CondorScheduler,
    prefect_view: PrefectView,
    deployed: Callable[[str], str],
    press_run: Callable[..., str],
    tmp_path: Path,
    flag: Path,
) -> None:
    # given a deployment in the pool, another flow there, and a worker with room for two jobs
    deployment = in_pool(prefect_view, deployed("CONDOR"), pool)
    with get_client(sync_client=True) as client:
        foreign = client.create_deployment(
            flow_id=client.create_flow_from_name("foreign"), name="foreign", entrypoint="foreign.py:flow",
            work_pool_name=pool,
        )  # fmt: skip
    given = {
        "executable": "/bin/sh",
        "arguments": ["-c", f"while test ! -e '{flag}'; do sleep 0.2; done"],
        "attributes": {"transfer_executable": False},
        "app": "test_app",
    }
    variables = {"scheduler": alice.name, "user": "carol", "workspace": str(tmp_path / "there")}
    process = worker("--limit", "2", "--name", "one")
    try:
        runs = [
            press_run(deployment, {**given, "name": f"job {number}"}, job_variables=variables) for number in range(3)
        ]
        wrong = press_run(str(foreign), {})
        jobs = [job_of(manager, run) for run in runs[:2]]
        # then two are jobs, as the variables of the pool and of the run say
        for job in jobs:
            assert (job.user, job.handle.record.scheduler) == ("carol", str(alice.name).replace("_", "-"))
            assert job.get_attribute("request_memory") == "48MB" and job.workspace == str(tmp_path / "there")
        message = ends(prefect_view, wrong, "FAILED")["state"]["message"]
        assert message.startswith("This work pool runs the flows of prefect-jobs")
        eventually(lambda: manager.get_job(jobs[0].id).cached_status == "Running", "it runs", LIMIT)  # type: ignore[union-attr]
        assert prefect_view.get(f"/flow_runs/{runs[2]}")["state_type"] == "SCHEDULED"
        # no process waits for them
        family = psutil.Process(process.pid).children(recursive=True)
        assert not [each for each in family if "prefect.flow_engine" in " ".join(each.cmdline())]
        # when they end, the third one begins
        flag.touch()
        for run in runs:
            ends(prefect_view, run, "COMPLETED")
        # and a Cancel reaches the job
        flag.unlink()
        _cancelled(
            manager, prefect_view, press_run(deployment, {**given, "name": "cancelled"}, job_variables=variables)
        )
    except BaseException:
        sys.stderr.write(log_of(tmp_path))
        raise
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0


def _cancelled(manager: JobManager, view: PrefectView, run: str) -> None:
    job = job_of(manager, run)
    eventually(lambda: manager.get_job(job.id).cached_status == "Running", "it runs", LIMIT)  # type: ignore[union-attr]
    view.post(f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}, "force": True})
    ends(view, run, "CANCELLED")
    assert manager.get_job(job.id).cached_status == "Aborted"  # type: ignore[union-attr]


def test_a_pool_of_another_type_is_refused(
    worker: Callable[..., "subprocess.Popen[bytes]"], prefect_view: PrefectView, tmp_path: Path
) -> None:
    prefect_view.post("/work_pools/", {"name": "of-processes", "type": "process"})
    try:
        process = worker(pool="of-processes")
        assert process.wait(60) != 0
        assert "is of the type 'process'; this worker is for pools of the type 'prefect-jobs'" in " ".join(
            log_of(tmp_path).split()
        )
    finally:
        prefect_view.request("DELETE", "/work_pools/of-processes")


def test_prefect_may_kill_the_job_of_a_run(
    manager: JobManager, runtime: Runtime, pool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.exceptions import InfrastructureNotAvailable, InfrastructureNotFound

    monkeypatch.setenv("PREFECT_JOBS_WORKER_MONITOR", "0")
    job = manager.create_job("a job", "alice", job_type="BASIC")
    job.execute()
    configuration: Any = None
    store = runtime.store.identity

    async def kill() -> None:
        async with PrefectJobsWorker(work_pool_name=pool) as worker:
            for _ in range(2):  # the second time it is over
                await worker.kill_infrastructure(f"prefect-jobs:{store}:{job.id}", configuration)
            with pytest.raises(InfrastructureNotFound):
                await worker.kill_infrastructure(f"prefect-jobs:{store}:{10**6}", configuration)
            with pytest.raises(InfrastructureNotAvailable):
                await worker.kill_infrastructure(f"prefect-jobs:another:{job.id}", configuration)

    anyio.run(kill)
    job.handle.refresh()
    assert job.cached_status == "Aborted"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_without_our_override_prefect_starts_the_runs_one_by_one(
    manager: JobManager,
    runtime: Runtime,
    pool: str,
    alice: CondorScheduler,
    prefect_view: PrefectView,
    deployed: Callable[[str], str],
    press_run: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # given a worker without the method that takes a whole page
    name = "_submit_scheduled_flow_runs"
    monkeypatch.delattr(PrefectJobsWorker, name)
    deployment = in_pool(prefect_view, deployed("CONDOR"), pool)
    given = {"executable": "/bin/true", "attributes": {"transfer_executable": False}, "app": "test_app"}
    run = press_run(deployment, {**given, "name": "one", "scheduler": alice.name})

    async def once() -> None:
        await PrefectJobsWorker(work_pool_name=pool).start(run_once=True)

    anyio.run(once)
    # Prefect ends the loop while requests of its worker are under way: their connections are closed here.
    gc.collect()
    # then
    job = job_of(manager, run)
    assert job.wait(LIMIT) == "Complete"
    states = prefect_view.states(job)
    assert "Crashed" not in states and states[-1] == "Completed"
