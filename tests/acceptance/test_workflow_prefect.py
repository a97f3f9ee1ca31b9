"""Workflows as people see them in Prefect: the graph, each node's state, the artifacts; and started from there."""

from typing import Any

import pytest

from prefect_jobs import CondorWorkflow, JobManager
from prefect_jobs.blocks import CondorScheduler
from prefect_jobs.flows.condor_workflow import condor_workflow
from prefect_jobs.flows.run_job import JobFailed
from prefect_jobs.jobs.polling import poll_once
from tests.acceptance.conftest import PrefectView
from tests.acceptance.workflows import diamond, node, shell, workflow_of, written
from tests.support import eventually

pytestmark = pytest.mark.prefect

LIMIT = 120


def graph(view: PrefectView, workflow: Any) -> dict[str, set[str]]:
    """The graph that Prefect draws: node → its parents."""
    found = view.get(f"/flow_runs/{workflow.flow_run_id}/graph-v2")
    nodes = [item[1] for item in found["nodes"]]
    names = {item["id"]: item["label"] for item in nodes}
    return {item["label"]: {names[parent["id"]] for parent in item["parents"]} for item in nodes}


def task_states(view: PrefectView, workflow: Any) -> dict[str, tuple[str, str]]:
    """Each node's state: its name and message."""
    wanted = {"flow_runs": {"id": {"any_": [str(workflow.flow_run_id)]}}}
    runs = view.post("/task_runs/filter", wanted)
    return {run["name"]: (run["state"]["name"], run["state"]["message"] or "") for run in runs}


def artifacts(view: PrefectView, workflow: Any) -> dict[str, Any]:
    """The artifacts of the run: type → data."""
    wanted = {"artifacts": {"flow_run_id": {"any_": [str(workflow.flow_run_id)]}}}
    return {item["type"]: item["data"] for item in view.post("/artifacts/filter", wanted)}


def test_prefect_draws_the_workflow_and_follows_it(
    manager: JobManager, alice: CondorScheduler, prefect_view: PrefectView, tmp_path: Any
) -> None:
    # given
    (tmp_path / "switch").write_text("exit 3\n")
    workflow = workflow_of(manager, alice, "diamond {id}")
    diamond(workflow, b="sleep 2", c="sleep 1; . ./switch")
    failing = workflow.get_job("C")
    assert failing is not None
    failing.remote_input_files = [str(tmp_path / "switch")]
    seen: set[str] = set()
    # when
    workflow.execute()
    seen.add(workflow.cached_status)
    while not poll_once(workflow):
        seen.add(workflow.cached_status)
    # then
    assert seen >= {"Submitted", "Various"}
    assert workflow.cached_status == "Various-Complete"
    assert prefect_view.states(workflow)[-1] == "Various-Complete"
    assert prefect_view.state(workflow)[2].startswith("Failed: C: Exit code 3 on ")
    eventually(lambda: task_states(prefect_view, workflow).get("D", ("",))[0] == "NotReady", "the end is shown")
    assert graph(prefect_view, workflow) == {"A": set(), "B": {"A"}, "C": {"A"}, "D": {"B", "C"}}
    states = task_states(prefect_view, workflow)
    assert {name: state for name, (state, _) in states.items()} == {
        "A": "Completed",
        "B": "Completed",
        "C": "Failed",
        "D": "NotReady",
    }
    assert states["A"][1].startswith("Exit code 0 on ")
    eventually(lambda: "markdown" in artifacts(prefect_view, workflow), "the picture is there")
    assert artifacts(prefect_view, workflow)["progress"] == 50
    assert "flowchart TD" in artifacts(prefect_view, workflow)["markdown"]
    # when it goes on
    (tmp_path / "switch").write_text("true\n")
    workflow.resubmit()
    workflow.wait(LIMIT)
    # then the same run shows it
    assert prefect_view.state(workflow)[:2] == ("COMPLETED", "Completed")
    eventually(
        lambda: {state for state, _ in task_states(prefect_view, workflow).values()} == {"Completed"}, "all are done"
    )
    eventually(lambda: artifacts(prefect_view, workflow)["progress"] == 100, "the progress is shown")
    assert len(graph(prefect_view, workflow)) == 4


def test_a_flow_runs_a_workflow_and_goes_on_with_it_when_it_is_retried(
    manager: JobManager, alice: CondorScheduler, prefect_view: PrefectView, tmp_path: Any
) -> None:
    # given nodes as they come from a form or a schedule
    (tmp_path / "switch").write_text("exit 3\n")
    nodes = [
        {"name": "A", "attributes": shell("echo from A > a.txt")},
        {
            "name": "B",
            "parents": ["A"],
            "attributes": shell(". ./switch; cat a.txt > b.txt", transfer_input_files="../A/a.txt"),
            "remote_input_files": [str(tmp_path / "switch")],
        },
    ]
    # when
    with pytest.raises(JobFailed, match="B: Exit code 3"):
        condor_workflow("a season", nodes=nodes, scheduler=str(alice.name), user="alice", timeout=LIMIT, app="test_app")
    # then
    (job,) = manager.list_jobs()
    assert isinstance(job, CondorWorkflow)
    assert job.node_statuses == {"A": "Complete", "B": "Error"}
    assert prefect_view.state(job)[0] == "FAILED"
    # when the job goes on
    (tmp_path / "switch").write_text("true\n")
    job.resubmit()
    job.wait(LIMIT)
    # then
    assert written(job, "B/b.txt") == "from A\n"


def test_a_schedule_of_workflows(manager: JobManager, alice: CondorScheduler) -> None:
    # given
    nodes = [{"name": "A", "attributes": shell("true")}]
    # when
    schedule = manager.schedule_job(
        "each night", "alice", "CONDORWORKFLOW", cron="0 3 * * *", scheduler=alice, nodes=nodes, max_jobs={"big": 2}
    )
    # then
    assert schedule.name == "each night"
    schedule.delete()


def test_a_node_alone_is_drawn(manager: JobManager, alice: CondorScheduler, prefect_view: PrefectView) -> None:
    # given
    workflow = workflow_of(manager, alice, "alone")
    node(workflow, "A", "true")
    # when
    workflow.execute()
    workflow.wait(LIMIT)
    # then
    eventually(lambda: graph(prefect_view, workflow) == {"A": set()}, "the node is drawn")
    assert prefect_view.state(workflow) == ("COMPLETED", "Completed", "Its node is done.")
