"""Users and names of any kind: folders, tags, runs and files that work everywhere."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_jobs import JobManager
from prefect_jobs.blocks import CondorScheduler
from prefect_jobs.flows.condor_job import condor_job
from prefect_jobs.naming import folder_name
from tests.acceptance.conftest import PrefectView
from tests.acceptance.workflows import node, workflow_of

LIMIT = 90
#: Names of schedules that are alike where they are cut, or where Prefect takes no character of theirs.
ALIKE = ["河" * 1024, "河" * 1023, "a/b", "a-b", "a%b"]
USERS = ["jane.m.doe", "jane@example.org", "u" * 150, "ü" * 150, "河流 模型", "../..", "-rf", ".", "a/b:c%2F$(Cluster)"]


# (threads of other tests may draw random numbers meanwhile)
@pytest.mark.filterwarnings("ignore:Do not use the .random. module inside strategies")
@given(st.lists(st.text(min_size=1, max_size=300), unique=True, min_size=2))
def test_no_two_users_have_the_same_folder(names: list[str]) -> None:
    made = [folder_name(name) for name in names]
    assert len(set(made)) == len(names)
    for name in made:
        assert len(name) <= 100 and name.isascii() and Path(name).name == name and name not in (".", "..")


@pytest.mark.parametrize(
    ("one", "other"),
    [("a@b", "a-b"), ("a b", "a-b"), ("u" * 60, "u" * 61), ("ü", "ö"), ("é", "e\u0301"), ("..", "job"), ("-a", "a")],
)
def test_names_that_look_alike_are_told_apart(manager: JobManager, one: str, other: str) -> None:
    first, second = (manager.create_job("a", who, job_type="BASIC").workspace for who in (one, other))
    assert first != second
    assert Path(first).parent == Path(second).parent


def test_plain_names_stay_as_they_are() -> None:
    assert [folder_name(name) for name in ("alice", "a.b-c_D9")] == ["alice", "a.b-c_D9"]


@pytest.mark.parametrize("user", USERS)
def test_a_job_of_any_user(manager: JobManager, prefect_view: PrefectView, user: str) -> None:
    job = manager.create_job("a", user, job_type="BASIC")
    job.save()
    assert f"user:{user}" in prefect_view.run(job)["tags"]
    Path(job.workspace).mkdir(parents=True)
    assert [found.id for found in manager.list_jobs(user=user)] == [job.id]


@pytest.mark.parametrize("name", ["x{id} " + "n" * 1018, "河" * 1024])
def test_the_longest_names_work_on_the_pool_and_in_prefect(
    manager: JobManager, alice: CondorScheduler, prefect_view: PrefectView, name: str
) -> None:
    job = manager.create_job(
        name,
        "ü.b@example.org" * 10,
        job_type="CONDOR",
        scheduler=alice,
        attributes={
            "executable": "/bin/sh",
            "transfer_executable": False,
            "arguments": ["-c", "echo hi; echo kept > out.txt"],
            "request_memory": 32,
        },
    )
    job.execute()
    assert job.wait(LIMIT) == "Complete", job.status_message
    assert (Path(job.initial_dir) / "out.txt").read_text() == "kept\n"  # type: ignore[attr-defined]
    assert job.get_logs()["output"] == "hi\n"
    assert prefect_view.run(job)["name"] == job.name == name.replace("{id}", str(job.id))
    assert all(len(part.encode()) <= 255 for path in Path(job.workspace).rglob("*") for part in path.parts)


def test_a_workflow_with_the_longest_names(
    manager: JobManager, alice: CondorScheduler, prefect_view: PrefectView
) -> None:
    workflow = workflow_of(manager, alice, "河" * 1024)
    node(workflow, "n" * 200, "echo hi > out.txt")
    workflow.execute()
    assert workflow.wait(LIMIT) == "Complete", workflow.status_message
    assert (Path(workflow.initial_dir) / ("n" * 200) / "out.txt").exists()
    assert prefect_view.run(workflow)["name"] == workflow.name


def test_a_flow_and_a_schedule_with_the_longest_names(
    manager: JobManager, alice: CondorScheduler, prefect_view: PrefectView
) -> None:
    name = "河" * 1024
    attributes = {"transfer_executable": False}
    condor_job(
        name,
        executable="/bin/true",
        attributes=attributes,
        scheduler=str(alice.name),
        user="jane@example.org",
        timeout=LIMIT,
        app="test_app",
    )
    (job,) = manager.list_jobs()
    assert job.cached_status == "Complete" and prefect_view.run(job)["name"] == name
    schedules = [manager.schedule_job(other, "jane@example.org", "BASIC", interval=3600) for other in ALIKE]
    assert len({schedule.deployment_id for schedule in schedules}) == len(ALIKE)
    for schedule in schedules:
        assert manager.get_schedule(schedule.name) == schedule
        assert len(prefect_view.get(f"/deployments/{schedule.deployment_id}")["name"]) <= 255
        schedule.delete()
