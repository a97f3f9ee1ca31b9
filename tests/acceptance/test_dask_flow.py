"""The flow of Dask jobs: calls on a real cluster, as task runs of the flow run that is the job's face."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest
from prefect.client.orchestration import get_client
from prefect.states import Scheduled

from prefect_jobs import JobManager, ResultUnavailable, create_dask_scheduler
from prefect_jobs.blocks import DaskScheduler
from prefect_jobs.flows.dask_job import dask_job
from prefect_jobs.flows.run_job import JobFailed
from prefect_jobs.local.processes import free_port
from prefect_jobs.projection.prefect_api import PrefectApi, retried
from prefect_jobs.runtime.wiring import Runtime
from prefect_jobs.schedulers.connections import connections
from prefect_jobs.schedulers.dask.connection import DaskAccess
from tests.acceptance.conftest import PrefectView
from tests.forks import Program, run_forking
from tests.support import eventually

#: Of connections that were being made when a scheduler was killed, Dask leaves sockets to the collector.
pytestmark = [pytest.mark.prefect, pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")]
LIMIT = 120
WORKER = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "processes", "--run-once", "--type", "process"]
HERE = "tests.acceptance.test_dask_flow"


# -- what the workers call ------------------------------------------------------------------------------------


def add(number: int, *more: int, factor: int = 1) -> int:
    """Of numbers."""
    return (number + sum(more)) * factor


def fails_at(number: int, bad: int) -> int:
    """Raises for one number."""
    if number == bad:
        raise ValueError(f"{number} is bad")
    return number


def fails_while(bad: str, go: str, begun: str) -> str:
    """Raises as long as a file is there, and then waits for another."""
    if Path(bad).exists():
        raise ValueError("not yet")
    return waits_for(go, begun)


def waits_for(path: str, begun: str) -> str:
    """Returns once a file is there, and says that it has begun."""
    with Path(begun).open("a") as file:
        file.write("once\n")
    eventually(Path(path).exists, "the file is there", LIMIT)
    return "seen"


def noted(result: Any) -> None:
    """A results function."""
    Path(os.environ["NOTED"]).write_text(repr(result))


# -- the tests ------------------------------------------------------------------------------------------------


def _run(name: str, function: str, dask: DaskScheduler, **more: Any) -> Any:
    given: dict[str, Any] = {"scheduler": dask.name, "timeout": LIMIT, "app": "test_app", **more}
    return dask_job(name, f"{HERE}.{function}", **given)


def _task_runs(view: PrefectView, job: Any, count: int) -> dict[str, str]:
    """Name and state of a flow run's task runs, once so many are there and none is at work any more."""

    def ended() -> dict[str, str]:
        found = view.post("/task_runs/filter", {"task_runs": {"flow_run_id": {"any_": [job.flow_run_id]}}})
        states = {run["name"]: run["state_type"] for run in found}
        return states if len(states) >= count and not {"PENDING", "RUNNING"} & set(states.values()) else {}

    return eventually(ended, "its task runs have ended")


def test_a_call_is_a_task_run_and_its_value_the_result_of_the_job(
    manager: JobManager, dask: DaskScheduler, prefect_view: PrefectView
) -> None:
    answer = _run("one call", "add", dask, arguments=[1, 2], keyword_arguments={"factor": 10}, user="alice")
    job: Any = manager.get_job(answer["job_id"])
    assert answer["status"] == job.cached_status == "Complete" and job.user == "alice"
    assert job.result == 30
    run = prefect_view.run(job)
    assert run["name"] == "one call" and run["state"]["type"] == "COMPLETED"
    assert run["labels"]["prefect-jobs.job-id"] == job.id
    assert _task_runs(prefect_view, job, 1) == {"add": "COMPLETED"}


def test_mapped_over_a_list(
    manager: JobManager,
    dask: DaskScheduler,
    prefect_view: PrefectView,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NOTED", str(tmp_path / "noted"))
    answer = _run(
        "mapped", "add", dask, map_over=[1, 2, 3], arguments=[10], forget=True,
        process_results_function=f"{HERE}.noted",
    )  # fmt: skip
    job: Any = manager.get_job(answer["job_id"])
    assert (tmp_path / "noted").read_text() == "[11, 12, 13]"
    with pytest.raises(ResultUnavailable, match="forget=True"):
        _ = job.result
    assert _task_runs(prefect_view, job, 3) == {f"add {number}": "COMPLETED" for number in range(3)}


def test_what_the_function_raises_fails_the_run(
    manager: JobManager, dask: DaskScheduler, prefect_view: PrefectView
) -> None:
    with pytest.raises(JobFailed, match="2 is bad"):
        _run("some fail", "fails_at", dask, map_over=[1, 2, 3], arguments=[2])
    (job,) = manager.list_jobs()
    assert job.cached_status == "Various-Complete"
    result = job.result  # type: ignore[attr-defined]
    assert result[0] == 1 and isinstance(result[1], ResultUnavailable) and result[2] == 3
    assert prefect_view.state(job)[0] == "FAILED"
    runs = _task_runs(prefect_view, job, 3)
    assert runs == {"fails_at 0": "COMPLETED", "fails_at 1": "FAILED", "fails_at 2": "COMPLETED"}


def test_a_function_that_the_workers_cannot_import(manager: JobManager, dask: DaskScheduler) -> None:
    with pytest.raises(JobFailed, match=r"No module named 'no_such_module'.*install it on them"):
        dask_job("not there", "no_such_module.function", scheduler=dask.name or "", timeout=LIMIT, app="test_app")
    (job,) = manager.list_jobs()
    assert job.cached_status == "Error"


def test_no_import_path(manager: JobManager) -> None:
    for bad in ("", "function", "module:function", "a..b"):
        with pytest.raises(ValueError, match="import path"):
            dask_job("bad", bad, app="test_app")
    assert manager.list_jobs() == []


def test_a_scheduler_that_is_not_there(manager: JobManager, prefect_view: PrefectView) -> None:
    block = create_dask_scheduler("flow_nowhere", f"127.0.0.1:{free_port()}", timeout=1)
    block.save(overwrite=True)
    # when, then it is tried until the time is over
    with pytest.raises(TimeoutError, match="Cannot reach"):
        _run("nowhere", "add", block, arguments=[1], timeout=4)
    (job,) = manager.list_jobs()
    assert job.cached_status == "Error" and "Pending" in prefect_view.states(job)


def test_stopped_from_elsewhere(
    manager: JobManager, dask: DaskScheduler, prefect_view: PrefectView, tmp_path: Path
) -> None:
    files = [str(tmp_path / "go"), str(tmp_path / "begun")]

    def stop() -> None:
        eventually(Path(files[1]).exists, "it has begun", LIMIT)
        jobs = eventually(lambda: manager.list_jobs(filters={"status": "Running"}), "the job runs", LIMIT)
        jobs[0].stop()

    thread = threading.Thread(target=stop)
    thread.start()
    try:
        state = _run("to be stopped", "waits_for", dask, arguments=files, return_state=True)
    finally:
        thread.join()
        Path(files[0]).touch()
    assert state.type.value == "CANCELLED"
    (job,) = manager.list_jobs()
    assert job.cached_status == "Aborted"
    assert prefect_view.state(job)[0] == "CANCELLED"


def test_out_of_time(manager: JobManager, dask: DaskScheduler, tmp_path: Path) -> None:
    files = [str(tmp_path / "go"), str(tmp_path / "begun")]
    try:
        with pytest.raises(TimeoutError):
            _run("too long", "waits_for", dask, arguments=files, timeout=3)
    finally:
        Path(files[0]).touch()
    (job,) = manager.list_jobs()
    assert job.cached_status == "Error"


def test_on_this_machine(manager: JobManager) -> None:
    try:
        answer = dask_job("here", "operator.add", arguments=[1, 2], timeout=LIMIT, app="test_app")
        job: Any = manager.get_job(answer["job_id"])
        assert job.result == 3
    finally:
        connections.close_dask(DaskAccess())


def test_a_run_started_in_the_ui_is_the_same_job_when_it_is_retried_and_its_calls_outlive_its_process(
    manager: JobManager,
    runtime: Runtime,
    dask: DaskScheduler,
    prefect_view: PrefectView,
    process_pool: Callable[[str], None],
    tmp_path: Path,
) -> None:
    # given a deployment, and a run as Quick run makes it, whose function raises the first time
    api = PrefectApi()
    deployed = retried(partial(api.deploy, "test_app", "prefect_jobs.flows.dask_job:dask_job"), 30)
    api.close()
    name = deployed.name
    process_pool(str(deployed.id))
    assert name == "dask-job/test_app dask"
    bad, go, begun = tmp_path / "bad", tmp_path / "go", tmp_path / "begun"
    bad.touch()
    parameters = {
        "name": "by a worker",
        "function": f"{HERE}.fails_while",
        "arguments": [str(bad), str(go), str(begun)],
        "scheduler": dask.name,
        "app": "test_app",
    }
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name(name)
        schema = deployment.parameter_openapi_schema["properties"]  # type: ignore[index]
        assert schema["function"]["description"].startswith("The function")
        client.create_flow_run_from_deployment(deployment.id, parameters=parameters)
        # when a worker runs it
        _work(tmp_path)
        # then it has failed
        (job,) = manager.list_jobs()
        assert job.cached_status == "Error" and "not yet" in job.status_message
        assert prefect_view.state(job)[0] == "FAILED"
        # when it is retried, its call has begun, and worker and flow are killed
        bad.unlink()
        client.set_flow_run_state(UUID(job.flow_run_id or ""), Scheduled(), force=True)
        with Program(WORKER, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as worker:
            try:
                eventually(begun.exists, "the call has begun", LIMIT)
                running = {"status": "Running"}
                eventually(lambda: manager.list_jobs(filters=running), "the job runs", LIMIT)
            finally:
                # the worker first: it would report the end of the flow
                flow = psutil.Process(worker.pid).children(recursive=True)
                worker.kill()
                for process in flow:
                    process.kill()
        # and it is retried again
        go.touch()
        client.set_flow_run_state(UUID(job.flow_run_id or ""), Scheduled(), force=True)
        _work(tmp_path)
    # then it is the same job, complete, and the one call was waited for
    (job,) = manager.list_jobs()
    assert job.cached_status == "Complete", job.status_message
    assert job.result == "seen"  # type: ignore[attr-defined]
    assert begun.read_text() == "once\n"
    assert prefect_view.state(job)[0] == "COMPLETED"


def test_the_dashboard_is_linked_on_the_runs_page_once(manager: JobManager, prefect_view: PrefectView) -> None:
    link = "http://dask.example.org:8787/status"
    job = manager.create_job("linked", "alice", job_type="BASIC")
    job.save()
    job.handle.apply(None, native={"dashboard": link})
    for status in ("Running", "Paused", "Running", "Complete"):
        job.status = status
        prefect_view.run(job)
    (found,) = prefect_view.post("/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [job.flow_run_id]}}})
    assert link in found["data"] and found["type"] == "markdown"


def _work(folder: Path) -> None:
    """Runs a worker until it has executed what is there."""
    done = run_forking(WORKER, cwd=folder, timeout=LIMIT)
    assert done.returncode == 0, done.stdout + done.stderr
