"""Workflows in awkward moments: nothing is lost, nothing stays for ever, nobody's changes are undone."""

from pathlib import Path
from typing import Any

import pytest

from prefect_jobs import CondorWorkflow, CondorWorkflowSubdagNode, JobManager, JobStateError
from prefect_jobs.blocks import CondorScheduler
from prefect_jobs.jobs.condor.ads import constraint
from prefect_jobs.jobs.polling import poll_once
from prefect_jobs.schedulers.condor.dag import reports
from tests.acceptance.test_workflow_steering import in_queue, polled, runs_of, until
from tests.acceptance.workflows import crash_when_submitted, node, workflow_of, written
from tests.support import eventually

INNER_SUBMIT = """executable = /bin/sh
transfer_executable = false
arguments = "-c '$(line)'"
should_transfer_files = YES
request_memory = 16MB
log = inner.log
queue
"""


@pytest.fixture
def workflow(manager: JobManager, alice: CondorScheduler) -> CondorWorkflow:
    return workflow_of(manager, alice, "a workflow {id}")


def subdag(workflow: CondorWorkflow, folder: Path, dag: str, more: str = "") -> None:
    """A node S that is a DAG of its own."""
    (folder / "work.sub").write_text(more + INNER_SUBMIT)
    (folder / "inner.dag").write_text(dag)
    CondorWorkflowSubdagNode("S", workflow, folder / "inner.dag").save()


def same(workflow: CondorWorkflow, manager: JobManager) -> CondorWorkflow:
    """The workflow as another process has it."""
    found = manager.get_job(workflow.id or 0)
    assert isinstance(found, CondorWorkflow)
    return found


def test_a_workflow_that_is_stopped_before_dagman_began(workflow: CondorWorkflow) -> None:
    # given
    node(workflow, "A", "true")
    # when
    workflow.execute()
    workflow.stop()
    eventually(lambda: poll_once(workflow), "it is over")
    # then
    assert workflow.cached_status == "Aborted", workflow.status_message
    assert in_queue(workflow) == []
    # and it can be run after all
    workflow.resubmit()
    workflow.wait(60)
    assert workflow.cached_status == "Complete", workflow.status_message


def test_what_ended_while_the_workflow_was_on_hold_is_done_when_it_is_stopped(workflow: CondorWorkflow) -> None:
    # given
    node(workflow, "A", "sleep 2; echo from A > a.txt")
    node(workflow, "B", "cat a.txt > b.txt", "A", commands={"transfer_input_files": "../A/a.txt"})
    workflow.execute()
    until(workflow, A="Running")
    workflow.pause()
    until(workflow, A="Complete")
    # when
    workflow.stop()
    # then
    assert workflow.cached_status == "Aborted"
    assert workflow.node_statuses == {"A": "Complete", "B": "Pending"}
    # when
    workflow.resubmit()
    workflow.wait(60)
    # then
    assert written(workflow, "B/b.txt") == "from A\n"
    assert runs_of(workflow) == ["B"]


def test_halting_reaches_a_dag_within_the_dag(workflow: CondorWorkflow, tmp_path: Path) -> None:
    # given
    lines = 'JOB X work.sub\nVARS X line="sleep 3"\nJOB Y work.sub\nVARS Y line="true"\nPARENT X CHILD Y\n'
    subdag(workflow, tmp_path, lines)
    workflow.execute()
    inner = "JobUniverse =!= 7"
    client = workflow.engine.client()

    def inside() -> list[str]:
        poll_once(workflow)
        dags = workflow.handle.record.native.get("inner", ())
        wanted = " || ".join(f"DAGManJobId == {number}" for number in dags) or "false"
        return [str(ad["DAGNodeName"]) for ad in client.query(f"{inner} && ({wanted})", ("DAGNodeName", "JobStatus"))]

    eventually(lambda: inside() == ["X"], "the inner DAG has begun")
    # when
    workflow.pause()
    eventually(lambda: inside() == [], "its node has ended")
    # then
    assert workflow.cached_status == "Paused"
    assert all(ad["JobStatus"] == 5 for ad in in_queue(workflow))
    # when
    workflow.resume()
    workflow.wait(90)
    # then
    assert workflow.cached_status == "Complete", workflow.status_message


def test_a_hold_in_a_dag_within_the_dag_is_told_and_can_be_released(workflow: CondorWorkflow, tmp_path: Path) -> None:
    # given
    dag = 'JOB X work.sub\nVARS X line="true"\n'
    subdag(workflow, tmp_path, dag, "transfer_output_files = never.txt\n")
    workflow.execute()
    # when
    eventually(lambda: polled(workflow) and workflow.cached_status == "Held", "it is held")
    # then
    assert workflow.node_statuses == {"S": "Held"}
    assert "In its DAG, node X: Held by HTCondor (code 12)" in workflow.status_message
    # when
    workflow.resume()
    # then
    eventually(lambda: polled(workflow) and workflow.cached_status in ("Various", "Held"), "it was released")
    workflow.stop()
    assert workflow.cached_status == "Aborted"
    assert in_queue(workflow) == []


def test_what_was_lost_with_dagman_is_run_again(workflow: CondorWorkflow) -> None:
    # given a node that is done, and DAGMan taken out of the queue with what it had written
    node(workflow, "A", "echo from A > a.txt")
    node(
        workflow,
        "B",
        "test -f wait || cat a.txt > b.txt; sleep 600",
        "A",
        commands={"transfer_input_files": "../A/a.txt"},
    )
    workflow.execute()
    until(workflow, A="Complete", B="Running")
    client, mine = workflow.engine.client(), constraint(workflow.handle.record)
    client.act("Remove", mine, "by somebody else")
    gone = f"({mine}) && ShadowBday =?= undefined"
    eventually(lambda: client.query(gone, ("ClusterId",)), "DAGMan has ended")
    client.act("RemoveX", mine, "by somebody else")
    # when
    eventually(lambda: poll_once(workflow), "it is over")
    # then
    assert workflow.cached_status == "Aborted"
    assert workflow.node_statuses["A"] == "Pending"
    # when
    last = workflow.get_job("B")
    assert last is not None
    last.set_attribute("arguments", ["-c", "cat a.txt > b.txt"])
    workflow.resubmit()
    workflow.wait(60)
    # then
    assert workflow.cached_status == "Complete", workflow.status_message
    assert written(workflow, "B/b.txt") == "from A\n"


def test_a_late_look_does_not_undo_what_is_fetched(
    workflow: CondorWorkflow, manager: JobManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given another process that looks while outputs are fetched, when DAGMan is out of the queue already
    node(workflow, "A", "echo from A > a.txt")
    workflow.execute()
    late = same(workflow, manager)
    read_status = reports.read_status

    def slowly(directory: Path, name: str) -> Any:
        poll_once(late)
        return read_status(directory, name)

    monkeypatch.setattr(reports, "read_status", slowly)
    # when
    workflow.wait(60)
    # then
    assert workflow.cached_status == "Complete", workflow.status_message
    assert same(workflow, manager).cached_status == "Complete"


def test_a_workflow_that_is_found_again_has_its_logs(
    workflow: CondorWorkflow, manager: JobManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a crash between submission and commit
    node(workflow, "A", "echo said")
    crash_when_submitted(workflow, monkeypatch)
    # when
    found = same(workflow, manager)
    found.wait(60)
    # then
    assert found.cached_status == "Complete", found.status_message
    assert found.get_logs()["A"]["output"]() == "said\n"


def test_nobody_undoes_what_another_has_done_to_a_node(workflow: CondorWorkflow, manager: JobManager) -> None:
    # given two who have the workflow
    for name in "AB":
        node(workflow, name, "true")
    workflow.save()
    other = same(workflow, manager)
    theirs, mine = other.get_job("A"), workflow.get_job("B")
    assert theirs is not None and mine is not None
    # when one changes A and adds C, and the other changes B
    theirs.retry = 5
    theirs.save()
    node(other, "C", "true", "A")
    mine.retry = 7
    workflow.description = "changed"
    workflow.save()
    # then
    found = same(workflow, manager)
    assert [made.retry for made in found.nodes] == [5, 7, None]
    # and a submission takes all of it
    workflow.execute()
    workflow.wait(60)
    assert workflow.node_statuses == {"A": "Complete", "B": "Complete", "C": "Complete"}


def test_nodes_of_a_workflow_at_work_stay_as_they_are(workflow: CondorWorkflow) -> None:
    # given
    node(workflow, "A", "sleep 600")
    workflow.execute()
    # when, then
    with pytest.raises(JobStateError, match="cannot get the node 'LATE' now"):
        node(workflow, "LATE", "true")
    first = workflow.get_job("A")
    assert first is not None
    with pytest.raises(JobStateError, match="cannot lose the node 'A' now"):
        first.delete()
    workflow.stop()
