"""Runs that people start in Prefect become jobs by the monitor alone, without a flow engine."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from prefect_jobs import App, CondorWorkflow, JobManager, SchedulerSetting
from prefect_jobs.blocks import CondorScheduler, DaskScheduler
from prefect_jobs.jobs.base import Job
from prefect_jobs.monitor import Monitor
from prefect_jobs.runtime.wiring import Runtime
from tests.acceptance.conftest import PrefectView, ShellJob
from tests.acceptance.test_monitor import monitor
from tests.acceptance.workflows import node, workflow_of
from tests.support import eventually

__all__ = ["monitor"]
pytestmark = pytest.mark.prefect

LIMIT = 120
HERE = "tests.acceptance.test_pickup"
ATTRIBUTES = {"transfer_executable": False, "request_memory": "32MB"}
Press = Callable[..., str]


def add(number: int, *more: int, factor: int = 1) -> int:
    """What the workers of the cluster call."""
    return (number + sum(more)) * factor


@pytest.fixture
def press_run(prefect_view: PrefectView) -> Press:
    """The button Run of a deployment; returns the run's id."""

    def press(deployment: str, parameters: dict[str, Any], **more: Any) -> str:
        body = {"state": {"type": "SCHEDULED"}, "parameters": parameters, **more}
        return str(prefect_view.post(f"/deployments/{deployment}/create_flow_run", body)["id"])

    return press


def deployment_of(view: PrefectView, job: Job) -> str:
    """The deployment that was made on the way."""
    return str(view.run(job)["deployment_id"])


def job_of(manager: JobManager, run_id: str) -> Any:
    """The job of a run, once there is one."""
    found = eventually(lambda: manager.list_jobs(filters={"flow_run_id": run_id}), "the run has a job", LIMIT)
    return found[0]


def ends(view: PrefectView, run_id: str, kind: str) -> dict[str, Any]:
    """The run once it has ended, which must be so."""
    final = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")

    def over() -> dict[str, Any]:
        run: dict[str, Any] = view.get(f"/flow_runs/{run_id}")
        return run if run["state_type"] in final else {}

    run = eventually(over, f"the run {run_id} ends", LIMIT)
    assert run["state_type"] == kind, run["state"]
    return run


@pytest.fixture
def deployed(manager: JobManager, prefect_view: PrefectView) -> Callable[[str], str]:
    """The deployment of a job type, made on the way by a job."""

    def make(job_type: str) -> str:
        job = manager.create_job("first", "alice", job_type=job_type)
        job.save()
        return deployment_of(prefect_view, job)

    return make


def test_run_becomes_a_job_of_the_monitor(
    manager: JobManager,
    monitor: Monitor,
    alice: CondorScheduler,
    prefect_view: PrefectView,
    deployed: Callable[[str], str],
    press_run: Press,
    runtime: Runtime,
) -> None:
    parameters = {
        "name": "pressed",
        "user": "bob",
        "app": "test_app",
        "executable": "/bin/sh",
        "arguments": ["-c", "echo hello > out.txt"],
        "attributes": ATTRIBUTES,
        "scheduler": alice.name,
        "description": "by hand",
        "extended_properties": {"basin": 7},
    }
    deployment = deployed("CONDOR")
    # when Run is pressed with all of it, and with a mistake
    run_id = press_run(deployment, parameters, tags=["mine"])
    wrong = press_run(deployment, {**parameters, "num_jobs": 0, "colour": "red"}, enforce_parameter_schema=False)
    nowhere = press_run(deployment, {**parameters, "scheduler": "nowhere"})
    later = press_run(
        deployment,
        parameters,
        state={
            "type": "SCHEDULED",
            "state_details": {"scheduled_time": (datetime.now(UTC) + timedelta(hours=1)).isoformat()},
        },
    )
    # then it is a job like those of the app
    job: Any = job_of(manager, run_id)
    assert (job.name, job.user, job.description, job.extended_properties) == ("pressed", "bob", "by hand", {"basin": 7})
    run = ends(prefect_view, run_id, "COMPLETED")
    job = manager.get_job(job.id)
    assert job.cached_status == "Complete" and (Path(job.initial_dir) / "out.txt").read_text() == "hello\n"
    assert run["name"] == "pressed" and run["run_count"] == 1
    assert {"mine", "prefect-jobs", "app:test_app", "user:bob"} <= set(run["tags"])
    assert run["labels"]["prefect-jobs.job-id"] == job.id
    assert run["infrastructure_pid"] == f"prefect-jobs:{runtime.store.identity}:{job.id}"
    states = prefect_view.states(job)
    assert states[:2] == ["Scheduled", "Pending"] and "Submitted" in states and not {"Crashed", "Late"} & set(states)
    # and mistakes are the user's, with the field's name
    message = ends(prefect_view, wrong, "FAILED")["state"]["message"]
    assert "num_jobs: Input should be greater than or equal to 1" in message and "colour" in message
    assert "There is no scheduler 'nowhere'" in ends(prefect_view, nowhere, "FAILED")["state"]["message"]
    with pytest.raises(httpx.HTTPStatusError, match="Client error"):
        press_run(deployment, {**parameters, "num_jobs": "three"})
    # and what is due later waits
    assert prefect_view.get(f"/flow_runs/{later}")["state_type"] == "SCHEDULED"
    assert len(manager.list_jobs()) == 2
    prefect_view.request("DELETE", f"/flow_runs/{later}")


def test_a_copy_of_a_run_is_the_same_job_again(
    manager: JobManager,
    monitor: Monitor,
    alice: CondorScheduler,
    shell_job: ShellJob,
    prefect_view: PrefectView,
    press_run: Press,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # given jobs of an app, with inputs by relative paths
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.txt").write_text("from a file\n")
    job = shell_job(
        "cat in.txt; exit 3", num_jobs=2, remote_input_files=["in.txt"],
        condorpy_template_name="vanilla_transfer_files",
        attributes={"transfer_input_files": ["in.txt"]}, description="the first", workspace=str(tmp_path / "here"),
    )  # fmt: skip
    workflow: CondorWorkflow = workflow_of(manager, alice, "a workflow")
    # saved, and shown, before all of it is set
    workflow.save()
    job.description = "not yet"
    job.save()
    assert prefect_view.run(job)["parameters"]["description"] == "not yet" and prefect_view.run(workflow)
    job.description = "the first"
    node(workflow, "first", "echo one")
    node(workflow, "second", "echo two", after="first")
    manager.execute_jobs([job, workflow])
    monkeypatch.chdir("/")
    # when Copy to new run is pressed: the form has the parameters of the run
    copies = []
    for each in (job, workflow):
        run = prefect_view.run(each)
        copies.append(press_run(run["deployment_id"], run["parameters"]))
    # then
    copy: Any = job_of(manager, copies[0])
    again: Any = job_of(manager, copies[1])
    assert copy.id != job.id and (copy.num_jobs, copy.description, copy.user) == (2, "the first", "alice")
    assert copy.workspace == job.workspace and copy.initial_dir != job.initial_dir
    ends(prefect_view, copies[0], "FAILED")
    copy = manager.get_job(copy.id)
    assert copy.exit_codes == {0: 3, 1: 3}
    assert str(copy.get_logs()).count("from a file") == 2
    ends(prefect_view, copies[1], "COMPLETED")
    again = manager.get_job(again.id)
    assert {each.name: each.status for each in again.nodes} == {"first": "Complete", "second": "Complete"}
    assert [parent.name for parent in again.get_job("second").parents] == ["first"]


def test_functions_on_dask_need_no_task_runner(
    manager: JobManager,
    monitor: Monitor,
    dask: DaskScheduler,
    prefect_view: PrefectView,
    deployed: Callable[[str], str],
    press_run: Press,
) -> None:
    deployment = deployed("DASK")
    given = {"user": "alice", "app": "test_app", "scheduler": dask.name}
    one = press_run(
        deployment,
        {**given, "name": "one", "function": f"{HERE}.add", "arguments": [1, 2], "keyword_arguments": {"factor": 5}},
    )
    many = press_run(
        deployment, {**given, "name": "many", "function": f"{HERE}.add", "map_over": [1, 2], "arguments": [10]}
    )
    absent = press_run(deployment, {**given, "name": "absent", "function": "no.such.module"})
    none = press_run(deployment, {**given, "name": "none"})
    ends(prefect_view, one, "COMPLETED")
    ends(prefect_view, many, "COMPLETED")
    assert (job_of(manager, one).result, job_of(manager, many).result) == (15, [11, 12])
    assert "No module named 'no'" in ends(prefect_view, absent, "FAILED")["state"]["message"]
    assert "must be an import path" in ends(prefect_view, none, "FAILED")["state"]["message"]
    # and it is run again by Retry
    state = {"type": "SCHEDULED", "name": "AwaitingRetry"}
    prefect_view.post(f"/flow_runs/{one}/set_state", {"state": state, "force": True})
    eventually(lambda: job_of(manager, one).handle.record.state.attempt == 2, "it is submitted again", LIMIT)
    ends(prefect_view, one, "COMPLETED")
    assert job_of(manager, one).result == 15


class Assigned(App):
    name = package = "assigned_app"

    def scheduler_settings(self) -> list[SchedulerSetting]:
        return [SchedulerSetting("main"), SchedulerSetting("other"), SchedulerSetting("cluster", SchedulerSetting.DASK)]


def test_the_form_offers_schedulers_and_an_app_has_its_own(
    manager: JobManager,
    monitor: Monitor,
    alice: CondorScheduler,
    bob: CondorScheduler,
    dask: DaskScheduler,
    prefect_view: PrefectView,
    deployed: Callable[[str], str],
    press_run: Press,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("prefect_jobs.runtime.prefect.BLOCK_TTL", 0.0)
    deployment = deployed("CONDOR")
    form = prefect_view.get(f"/deployments/{deployment}")["parameter_openapi_schema"]
    assert form["properties"]["num_jobs"]["title"] == "Number of procs"
    assert form["properties"]["num_jobs"]["description"].startswith("Number of procs; ")
    assert form["definitions"]["CondorScheduler"]["block_type_slug"] == "prefect-jobs-condor-scheduler"
    # when a block is chosen in the form, in both ways in which Prefect's pages write that
    block = prefect_view.get(f"/block_types/slug/prefect-jobs-condor-scheduler/block_documents/name/{_slug(bob)}")
    given = {"executable": "/bin/true", "attributes": ATTRIBUTES, "app": "assigned_app"}
    chosen = [
        press_run(deployment, {**given, "name": "chosen", "scheduler": {"$ref": reference}})
        for reference in (block["id"], {"block_document_id": block["id"]})
    ]
    mine = Assigned.get_job_manager()
    for run in chosen:
        assert job_of(mine, run).handle.record.scheduler == _slug(bob)
    # and the app's one, if it has just one for the engine
    Assigned.assign_scheduler("main", alice)
    Assigned.assign_scheduler("cluster", dask)
    one = press_run(deployment, {**given, "name": "the only one"})
    assert job_of(mine, one).handle.record.scheduler == _slug(alice)
    for run in [*chosen, one]:
        ends(prefect_view, run, "COMPLETED")
    Assigned.assign_scheduler("other", bob)
    several = press_run(deployment, {**given, "name": "several"})
    message = ends(prefect_view, several, "FAILED")["state"]["message"]
    assert (
        message
        == f"scheduler: choose one of those that are assigned to assigned_app: {_slug(alice)!r}, {_slug(bob)!r}."
    )


def _slug(block: CondorScheduler) -> str:
    return str(block.name).replace("_", "-")
