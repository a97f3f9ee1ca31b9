"""The flows: run directly, as a part of another flow, retried, and by a worker as people start them in the UI."""

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.states import Scheduled

from prefect_jobs import JobManager
from prefect_jobs.blocks import CondorScheduler
from prefect_jobs.flows.basic_job import basic_job
from prefect_jobs.flows.condor_job import condor_job
from prefect_jobs.flows.results import CondorResult
from prefect_jobs.flows.run_job import JobFailed
from prefect_jobs.local.prefect_server import PrefectServerInfo
from prefect_jobs.projection.prefect_api import PrefectApi, retried
from prefect_jobs.records import Change
from prefect_jobs.runtime.wiring import Runtime
from tests.acceptance.conftest import PrefectView
from tests.forks import Program, run_forking, run_program
from tests.support import eventually

pytestmark = pytest.mark.prefect

LIMIT = 120
SHELL: dict[str, Any] = {"executable": "/bin/sh", "attributes": {"transfer_executable": False}, "app": "test_app"}


def test_a_flow_run_is_the_face_of_its_job(
    manager: JobManager, alice: CondorScheduler, prefect_view: PrefectView
) -> None:
    result: Any = condor_job(
        "from a flow", arguments=["-c", "echo hi > out.txt"], scheduler=alice.name, user="alice", timeout=LIMIT, **SHELL
    )
    job = manager.get_job(result["job_id"])
    assert job is not None and job.cached_status == "Complete"
    assert result["status"] == "Complete" and result["exit_codes"] == {"0": 0}
    assert any(path.endswith("/out.txt") for path in result["outputs"])
    assert result.keys() == CondorResult.__annotations__.keys() and result["job_id"] == job.id
    run = prefect_view.run(job)
    assert run["name"] == "from a flow" and run["state"]["type"] == "COMPLETED"
    assert run["labels"]["prefect-jobs.job-id"] == job.id
    assert "Running" in prefect_view.states(job)
    assert run["run_count"] == 1


def test_a_flow_fails_when_its_job_fails(
    manager: JobManager, alice: CondorScheduler, prefect_view: PrefectView
) -> None:
    with pytest.raises(JobFailed, match="Exit code 3"):
        condor_job("failing", arguments=["-c", "exit 3"], scheduler=alice.name, timeout=LIMIT, **SHELL)
    (job,) = manager.list_jobs(filters={"name": "failing"})
    assert job.cached_status == "Error"
    assert prefect_view.state(job)[0] == "FAILED" and "Exit code 3" in prefect_view.state(job)[2]


def test_as_a_part_of_another_flow(manager: JobManager, alice: CondorScheduler, prefect_view: PrefectView) -> None:
    @flow
    def season() -> list[Any]:
        return [
            condor_job(f"year {year}", arguments=["-c", "exit 0"], scheduler=alice.name, timeout=LIMIT, **SHELL)
            for year in (1, 2)
        ]

    results = season()
    assert [result["status"] for result in results] == ["Complete", "Complete"]
    jobs = manager.list_jobs()
    assert len({job.flow_run_id for job in jobs}) == 2
    assert all(prefect_view.run(job)["parent_task_run_id"] for job in jobs)


def test_a_parent_that_is_retried_keeps_its_jobs(manager: JobManager, alice: CondorScheduler) -> None:
    found: list[Any] = []

    @flow(retries=1)
    def season() -> Any:
        found.append(condor_job("a year", arguments=["-c", "exit 0"], scheduler=alice.name, timeout=LIMIT, **SHELL))
        if len(found) == 1:
            raise RuntimeError("a fault after the job")
        return found[-1]

    result: Any = season()
    assert result["status"] == "Complete"
    assert found[0]["job_id"] == found[1]["job_id"]
    (job,) = manager.list_jobs()
    assert job.handle.record.state.attempt == 1


def test_a_job_without_scheduler_is_stopped_by_its_time_limit(manager: JobManager) -> None:
    with pytest.raises(TimeoutError):
        basic_job("waiting", timeout=1, app="test_app")
    (job,) = manager.list_jobs()
    assert (job.cached_status, job.status_message[:10]) == ("Error", "Timed out:")


def test_a_stopped_job_cancels_its_flow_run(manager: JobManager, prefect_view: PrefectView) -> None:
    import threading

    def stop() -> None:
        jobs = eventually(lambda: manager.list_jobs(filters={"status": "Submitted"}), "the job is there", LIMIT)
        jobs[0].stop()

    thread = threading.Thread(target=stop)
    thread.start()
    state = basic_job("to be stopped", app="test_app", timeout=LIMIT, return_state=True)
    thread.join()
    assert state.type.value == "CANCELLED"
    (job,) = manager.list_jobs()
    assert prefect_view.state(job)[0] == "CANCELLED"


def test_a_run_started_in_the_ui_is_executed_by_a_worker_and_retried_as_the_same_job(
    manager: JobManager,
    runtime: Runtime,
    alice: CondorScheduler,
    prefect_view: PrefectView,
    prefect_server: PrefectServerInfo,
    process_pool: Callable[[str], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # given no workspace but the default one, and a worker, which has a temporary folder for each run
    monkeypatch.delenv("PREFECT_JOBS_WORKSPACE")
    # and a deployment, and a run as Quick run makes it, whose program fails the first time
    api = PrefectApi()
    deployed = retried(partial(api.deploy, "test_app", "prefect_jobs.flows.condor_job:condor_job"), 30)
    api.close()
    name = deployed.name
    assert name == "condor-job/test_app condor"
    process_pool(str(deployed.id))
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name(name)
        schema = deployment.parameter_openapi_schema["properties"]  # type: ignore[index]
        assert schema["executable"]["description"].startswith("The program")
        run = client.create_flow_run_from_deployment(
            deployment.id,
            parameters={
                "name": "by a worker",
                "executable": "/bin/sh",
                "arguments": ["-c", "echo kept > out.txt; exit 5"],
                "attributes": {"transfer_executable": False},
                "scheduler": alice.name,
                "app": "test_app",
            },
        )
        # when a worker runs it, and it is retried after the job was mended
        _work(tmp_path)
        (job,) = manager.list_jobs()
        assert job.flow_run_id == str(run.id) and job.cached_status == "Error"
        assert prefect_view.state(job)[0] == "FAILED"
        # then its outputs are where they stay
        home = Path(os.environ["PREFECT_HOME"])
        assert job.workspace == str(home / "prefect-jobs-workspace" / "test_app" / "prefect")
        assert (Path(job.initial_dir) / "out.txt").read_text() == "kept\n"  # type: ignore[attr-defined]
        job.set_attribute("arguments", ["-c", "exit 0"])  # type: ignore[attr-defined]
        job.save()
        client.set_flow_run_state(UUID(job.flow_run_id or ""), Scheduled(), force=True)
        _work(tmp_path, run_forking)  # the first time has shown that it runs in a new Python
    # then it is the same job, complete
    (job,) = manager.list_jobs()
    assert job.cached_status == "Complete", job.status_message
    assert prefect_view.state(job)[0] == "COMPLETED"


SEASON = """
from prefect import flow
from prefect_jobs.flows.condor_job import condor_job

@flow
def season(scheduler: str):
    attributes = {"transfer_executable": False, "request_memory": "16MB"}
    condor_job("a year", "/bin/sleep", ["600"], scheduler=scheduler, attributes=attributes, app="test_app")
"""


def test_a_job_is_cancelled_with_the_flow_that_it_is_a_part_of(
    manager: JobManager, alice: CondorScheduler, prefect_view: PrefectView, tmp_path: Path
) -> None:
    # given a flow of a person, which a worker runs, and whose job runs
    (tmp_path / "season.py").write_text(SEASON)
    prefect_view.post("/work_pools/", {"name": "seasons", "type": "process"})
    deployment = prefect_view.post(
        "/deployments/",
        {
            "name": "season", "flow_id": prefect_view.post("/flows/", {"name": "season"})["id"],
            "entrypoint": "season.py:season", "path": str(tmp_path), "work_pool_name": "seasons",
            "parameters": {"scheduler": alice.name},
        },
    )["id"]  # fmt: skip
    body = {"state": {"type": "SCHEDULED"}}
    parent = f"/flow_runs/{prefect_view.post(f'/deployments/{deployment}/create_flow_run', body)['id']}"
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "seasons", "--type", "process"]
    output: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with Program(command, cwd=tmp_path, **output) as worker:
        try:
            (job,) = eventually(lambda: manager.list_jobs(filters={"status": "Running"}), "its job runs", LIMIT)
            # when Cancel is pressed on it
            prefect_view.post(f"{parent}/set_state", {"state": {"type": "CANCELLING"}})
            # then both end, and nothing is left in the queue
            eventually(lambda: prefect_view.get(parent)["state_type"] == "CANCELLED", "the flow is cancelled", LIMIT)
            eventually(lambda: prefect_view.state(job)[0] == "CANCELLED", "its part is, too", LIMIT)
        finally:
            family = psutil.Process(worker.pid).children(recursive=True)
            for process in (worker, *family):
                process.kill()
    assert manager.get_job(job.id or 0).cached_status == "Aborted"  # type: ignore[union-attr]
    assert not alice.get_client().query(f"ClusterId == {job.remote_id}", ("ClusterId",))


def _work(folder: Path, run: Callable[..., "subprocess.CompletedProcess[str]"] = run_program) -> None:
    """Runs a worker until it has executed what is there."""
    command = [
        sys.executable,
        "-m",
        "prefect",
        "worker",
        "start",
        "--pool",
        "processes",
        "--run-once",
        "--type",
        "process",
    ]
    done = run(command, cwd=folder, timeout=LIMIT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("after", "shown"), [(["RUNNING"], "CANCELLED"), (["SCHEDULED", "RUNNING"], "RUNNING")])
def test_an_end_that_a_late_state_of_its_job_has_hidden_is_shown(
    manager: JobManager, runtime: Runtime, prefect_view: PrefectView, after: list[str], shown: str
) -> None:
    # given a run that the flow engine executes, and which has ended; a retry begins with another state
    job = manager.create_job("a job", "alice", job_type="BASIC")
    job.save()
    prefect_view.run(job)
    runtime.store.update(job.id or 0, lambda _: Change({"engine_run": True}))
    for kind in ("RUNNING", "CANCELLED", *after):
        prefect_view.post(f"/flow_runs/{job.flow_run_id}/set_state", {"state": {"type": kind}, "force": True})
    # when
    job.update_status("Aborted")
    # then
    assert prefect_view.run(job)["state"]["type"] == shown
