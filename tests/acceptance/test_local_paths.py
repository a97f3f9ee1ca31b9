"""Where files are here: workspaces last, and relative paths mean what they meant when the job was made."""

from pathlib import Path

import pytest

from prefect_jobs import CondorWorkflow, CondorWorkflowJobNode, JobManager
from prefect_jobs.blocks import CondorScheduler
from prefect_jobs.runtime.wiring import Runtime
from prefect_jobs.store import Store
from tests.acceptance.conftest import ShellJob
from tests.acceptance.workflows import SMALL, workflow_of, written
from tests.support import draft

LIMIT = 90


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The present folder, with a program and data in it."""
    folder = tmp_path / "here"
    (folder / "data").mkdir(parents=True)
    program(folder / "forcing.sh", "cat forcing.txt > out.txt")
    (folder / "data" / "forcing.txt").write_text("here\n")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """Another folder, with other files of the same names."""
    folder = tmp_path / "elsewhere"
    (folder / "data").mkdir(parents=True)
    program(folder / "forcing.sh", "echo elsewhere > out.txt")
    (folder / "data" / "forcing.txt").write_text("elsewhere\n")
    return folder


def program(path: Path, line: str) -> Path:
    """A shell script."""
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)
    return path


def test_a_workspace_is_absolute_from_the_beginning(manager: JobManager, here: Path, tmp_path: Path) -> None:
    default = manager.create_job("a", "alice", job_type="BASIC")
    assert default.workspace == str(tmp_path / "workspace" / "test_app" / "alice")
    job = manager.create_job("a", "alice", job_type="BASIC", workspace="runs")
    assert job.workspace == str(here / "runs")
    job.save()
    job.workspace = "../other"
    job.save()
    found = manager.get_job(job.id or 0)
    assert found is not None and found.workspace == job.workspace == str(tmp_path / "other")
    job.workspace = ""
    job.save()
    assert job.workspace == default.workspace


def test_a_folder_that_a_worker_deletes_is_no_place_for_outputs(
    manager: JobManager, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", "a run")  # as Prefect tells the process that it starts for one
    job = manager.create_job("a", "alice", job_type="BASIC", workspace="runs")
    assert job.workspace == str(tmp_path / "workspace" / "test_app" / "alice" / "runs")


def test_rows_of_earlier_versions_have_a_workspace(
    runtime: Runtime, manager: JobManager, here: Path, tmp_path: Path
) -> None:
    store: Store = runtime.store
    empty = store.insert(draft(label="test_app"))
    relative = store.insert(draft(label="test_app", workspace="runs"))
    spec = {"initial_dir": "/data/runs/job-1", "attributes": {}, "remote_input_files": [], "num_jobs": 1}
    submitted = store.insert(
        draft(label="test_app", type="CONDOR", class_name="CondorJob", workspace="runs", spec=spec)
    )
    found = {job.id: job.workspace for job in manager.list_jobs()}
    assert found[empty.id] == str(tmp_path / "workspace" / "test_app" / "alice")
    assert found[relative.id] == str(here / "runs")
    assert found[submitted.id] == "/data/runs"


def test_a_resubmit_from_another_folder_finds_the_same_files(
    manager: JobManager, shell_job: ShellJob, here: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a job whose program and input are named by relative paths
    attributes = {
        "executable": "forcing.sh",
        "transfer_executable": True,
        "arguments": "",
        "transfer_input_files": "../forcing.txt",
    }
    job = shell_job("", attributes=attributes, remote_input_files=["data/forcing.txt"])
    assert job.remote_input_files == [str(here / "data/forcing.txt")]
    assert job.get_attribute("executable") == "forcing.sh"
    job.execute()
    assert job.wait(LIMIT) == "Complete", job.status_message
    # when it is resubmitted by a process that works elsewhere
    monkeypatch.chdir(elsewhere)
    again = manager.get_job(job.id or 0)
    assert again is not None
    again.resubmit()
    # then it is the same work
    assert again.wait(LIMIT) == "Complete", again.status_message
    assert (Path(job.initial_dir) / "out.txt").read_text() == "here\n"


def test_a_program_that_is_set_elsewhere_is_that_of_the_other_folder(
    manager: JobManager, shell_job: ShellJob, here: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = shell_job(
        "",
        attributes={
            "transfer_executable": True,
            "executable": "forcing.sh",
            "transfer_input_files": ["data/forcing.txt"],
        },
    )
    job.save()
    monkeypatch.chdir(elsewhere)
    job.set_attribute("executable", "forcing.sh")
    job.save()
    assert job.get_attribute("executable") == "forcing.sh"  # as it was: nothing was set
    job.set_attribute("executable", "./forcing.sh")
    job.save()
    assert job.get_attribute("executable") == str(elsewhere / "forcing.sh")
    assert job.get_attribute("transfer_input_files") == ["data/forcing.txt"]


def test_a_workflow_that_starts_over_from_another_folder_finds_the_same_files(
    manager: JobManager, alice: CondorScheduler, here: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(here / "pre.sh", "echo before > pre.txt")
    program(elsewhere / "pre.sh", "echo elsewhere > pre.txt")
    workflow = workflow_of(manager, alice, "flow")
    commands = {**SMALL, "executable": "forcing.sh", "transfer_input_files": "data/forcing.txt"}
    CondorWorkflowJobNode("A", workflow, attributes=commands, pre_script="pre.sh").save()
    workflow.execute()
    assert workflow.wait(LIMIT) == "Complete", workflow.status_message
    monkeypatch.chdir(elsewhere)
    again = manager.get_job(workflow.id or 0)
    assert isinstance(again, CondorWorkflow)
    again.resubmit(fresh=True)
    assert again.wait(LIMIT) == "Complete", again.status_message
    assert written(again, "A/out.txt") == "here\n" and written(again, "A/pre.txt") == "before\n"


def test_what_is_scheduled_means_the_files_of_whoever_schedules_it(
    manager: JobManager, alice: CondorScheduler, here: Path
) -> None:
    schedule = manager.schedule_job(
        "daily",
        "alice",
        "CONDOR",
        interval=3600,
        scheduler=alice,
        workspace="runs",
        attributes={"executable": "forcing.sh", "transfer_input_files": "forcing.txt, https://example.org/x"},
        remote_input_files=["data/forcing.txt"],
    )
    try:
        from uuid import UUID

        from prefect.client.orchestration import get_client

        with get_client(sync_client=True) as client:
            parameters = client.read_deployment(UUID(schedule.deployment_id)).parameters
    finally:
        schedule.delete()
    assert parameters["workspace"] == str(here / "runs")
    assert parameters["remote_input_files"] == [str(here / "data/forcing.txt")]
    assert parameters["attributes"] == {
        "executable": str(here / "forcing.sh"),
        "transfer_input_files": "forcing.txt, https://example.org/x",
    }
