"""Workflows that are stopped, held, killed and found again."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from prefect_jobs import CondorWorkflow, JobManager, SubmissionError
from prefect_jobs.blocks import CondorScheduler
from prefect_jobs.jobs.polling import poll_once
from prefect_jobs.local.condor_pool import PersonalPool
from tests.acceptance.workflows import crash_when_submitted, diamond, node, workflow_of, written
from tests.support import eventually


def polled(workflow: CondorWorkflow) -> dict[str, str]:
    """The nodes' statuses, asked for now."""
    poll_once(workflow)
    return workflow.node_statuses


def until(workflow: CondorWorkflow, **wanted: str) -> None:
    """Waits until nodes have these statuses."""
    eventually(lambda: {name: polled(workflow)[name] for name in wanted} == wanted, f"{workflow} has {wanted}", 60, 0.3)


def in_queue(workflow: CondorWorkflow, which: str = "true") -> list[dict[str, Any]]:
    """Jobs of the workflow, DAGMan's among them."""
    cluster = workflow.cluster_id
    mine = f"(ClusterId == {cluster} || DAGManJobId == {cluster}) && {which}"
    return workflow.engine.client().query(mine, ("ClusterId", "DAGNodeName", "JobStatus"))


def runs_of(workflow: CondorWorkflow) -> list[str]:
    """The names of nodes, once for each job of theirs that ended in the present run."""
    found = workflow.engine.client().history(f"DAGManJobId == {workflow.cluster_id}", ("ClusterId", "DAGNodeName"))
    return sorted(str(ad["DAGNodeName"]) for ad in found)


@pytest.fixture
def workflow(manager: JobManager, alice: CondorScheduler) -> CondorWorkflow:
    return workflow_of(manager, alice, "a workflow {id}")


def test_a_stop_in_mid_flight_leaves_no_node_in_the_queue_and_loses_nothing(workflow: CondorWorkflow) -> None:
    # given
    diamond(workflow, b="sleep 600", c="sleep 600")
    workflow.execute()
    until(workflow, A="Complete", B="Running", C="Running")
    # when
    workflow.stop()
    # then
    assert in_queue(workflow) == []
    assert workflow.cached_status == "Aborted"
    assert workflow.status_message == "Stopped. 1 of 4 nodes is done; resubmit() continues from there."
    assert workflow.node_statuses == {"A": "Complete", "B": "Aborted", "C": "Aborted", "D": "Pending"}
    assert written(workflow, "A/a.txt") == "from A\n"
    # when it goes on, without what took so long
    for name in "BC":
        found = workflow.get_job(name)
        assert found is not None
        found.set_attribute("arguments", ["-c", f"cat a.txt > {name}.txt"])
    workflow.resubmit()
    workflow.wait(90)
    # then
    assert workflow.cached_status == "Complete", workflow.status_message
    assert written(workflow, "D/all.txt") == "from A\nfrom A\n"
    assert runs_of(workflow) == ["B", "C", "D"]


def test_a_workflow_on_hold_starts_no_nodes_and_lets_running_ones_end(workflow: CondorWorkflow) -> None:
    # given
    node(workflow, "A", "sleep 3")
    node(workflow, "B", "true", "A")
    workflow.execute()
    until(workflow, A="Running")
    # when
    workflow.pause()
    # then
    assert workflow.cached_status == "Paused"
    assert workflow.status_message == (
        "On hold: no new nodes are started. 1 at work continue to their end. Call resume() to continue."
    )
    until(workflow, A="Complete")
    assert workflow.cached_status == "Paused"
    assert [ad["ClusterId"] for ad in in_queue(workflow)] == [workflow.cluster_id]
    # when
    workflow.resume()
    workflow.wait(60)
    # then
    assert workflow.cached_status == "Complete", workflow.status_message
    assert runs_of(workflow) == ["A", "B"]


def test_why_a_node_is_held_reaches_the_workflow(workflow: CondorWorkflow) -> None:
    # given a node that does not write what it should, beside one that runs on
    node(workflow, "HELD", "true", commands={"transfer_output_files": "never.txt"})
    node(workflow, "BUSY", "sleep 4")
    workflow.execute()
    # when
    until(workflow, HELD="Held", BUSY="Running")
    # then
    assert workflow.cached_status == "Various"
    assert workflow.status_message.startswith("Node HELD: Held by HTCondor (code 12)")
    assert workflow.statuses["Held"] == 1
    # when nothing else runs any more
    until(workflow, BUSY="Complete")
    eventually(lambda: polled(workflow) and workflow.cached_status == "Held", "the workflow is held", timeout=20)
    assert "Node HELD" in workflow.status_message
    # and it is stopped
    workflow.stop()
    assert workflow.cached_status == "Aborted"
    assert in_queue(workflow) == []


def test_a_dagman_that_was_killed_is_started_again_and_runs_nothing_twice(
    workflow: CondorWorkflow, condor_pool: PersonalPool
) -> None:
    # given
    diamond(workflow, b="sleep 3", c="sleep 3")
    workflow.execute()
    until(workflow, A="Complete", B="Running")
    # when
    os.kill(_dagman_of(workflow, condor_pool), signal.SIGKILL)
    workflow.wait(90)
    # then
    assert workflow.cached_status == "Complete", workflow.status_message
    assert runs_of(workflow) == ["A", "B", "C", "D"]
    assert written(workflow, "D/all.txt") == "from A\nfrom B\nfrom A\nfrom C\n"


def _dagman_of(workflow: CondorWorkflow, pool: PersonalPool) -> int:
    """The process of the workflow's DAGMan, by the folder it works in."""
    spool = f"cluster{workflow.cluster_id}.proc0"
    for process in psutil.process_iter(["name"]):
        try:
            if (
                process.info["name"] == "condor_dagman"
                and spool in process.cwd()
                and str(pool.layout.directory) in process.cwd()
            ):
                return int(process.pid)
        except psutil.Error:
            continue
    raise AssertionError("DAGMan does not run")


def test_a_workflow_that_was_submitted_before_a_crash_is_found_again(
    workflow: CondorWorkflow, manager: JobManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a process that dies when the access point has the workflow and nobody has written so
    node(workflow, "A", "true")
    crash_when_submitted(workflow, monkeypatch)
    found = manager.get_job(workflow.id or 0)
    assert isinstance(found, CondorWorkflow)
    # when
    found.wait(60)
    # then
    assert found.cached_status == "Complete", found.status_message
    assert found.node_statuses == {"A": "Complete"}
    assert runs_of(found) == ["A"]


def test_a_dag_that_dagman_does_not_take_is_an_error_with_its_words(
    manager: JobManager, alice: CondorScheduler
) -> None:
    # given a DAGMan that takes warnings for errors, and a log where it warns of one
    log = "/tmp/@(DAG_FILE).nodes.log"  # noqa: S108 (it is not written)
    config: dict[str, Any] = {"DAGMAN_USE_STRICT": 3, "DAGMAN_DEFAULT_NODE_LOG": log}
    workflow = workflow_of(manager, alice, "too strict", config=config)
    node(workflow, "A", "true")
    # when
    workflow.execute()
    workflow.wait(60)
    # then
    assert workflow.cached_status == "Error"
    assert workflow.status_message.startswith("DAGMan could not run the DAG (exit code 1). ")
    assert "default node log file" in workflow.status_message
    assert workflow.node_statuses == {"A": "Pending"}


def test_deleting_a_workflow_at_work_removes_all_of_it(workflow: CondorWorkflow) -> None:
    # given
    node(workflow, "A", "sleep 600")
    workflow.clean_on_delete = True
    workflow.execute()
    until(workflow, A="Running")
    client, cluster, directory = workflow.engine.client(), workflow.cluster_id, Path(workflow.initial_dir)
    # when
    workflow.delete()
    # then
    assert client.query(f"ClusterId == {cluster} || DAGManJobId == {cluster}", ("ClusterId",)) == []
    assert not directory.exists()


def test_logs_of_a_workflow_at_work_come_without_its_outputs(workflow: CondorWorkflow) -> None:
    # given
    node(workflow, "A", "echo done; echo large > large.dat")
    node(workflow, "B", "echo begun; sleep 600", "A", commands={"stream_output": True})
    workflow.execute()
    until(workflow, A="Complete", B="Running")
    # when
    logs = workflow.get_logs()
    # then
    assert logs["A"]["output"]() == "done\n"
    assert "DAG Node: B" in logs["B"]["log"]()
    assert "Submitting HTCondor Node B" in logs["the workflow"]["dagman"]
    assert not (Path(workflow.initial_dir) / "A" / "large.dat").exists()
    # and nothing is missing at the end
    workflow.stop()
    assert written(workflow, "A/large.dat") == "large\n"


def test_a_workflow_that_cannot_be_run_is_refused_with_the_reason(workflow: CondorWorkflow) -> None:
    # given
    node(workflow, "A", commands={"transfer_input_files": "nowhere.txt"})
    # when
    with pytest.raises(SubmissionError, match=r"The node 'A': The file 'nowhere.txt' .* does not exist"):
        workflow.execute()
    # then
    assert workflow.cached_status == "Error"
    assert workflow.cluster_id is None


def test_without_a_scheduler_this_machines_htcondor_is_used(
    manager: JobManager, condor_pool: PersonalPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given HTCondor configured on this machine
    monkeypatch.setenv("CONDOR_CONFIG", condor_pool.env()["CONDOR_CONFIG"])
    workflow = manager.create_job("here", "alice", job_type="CONDORWORKFLOW")
    assert isinstance(workflow, CondorWorkflow)
    node(workflow, "A", "echo from A > a.txt")
    node(workflow, "B", "cat a.txt > b.txt", "A", commands={"transfer_input_files": "../A/a.txt"})
    # when
    workflow.execute()
    workflow.wait(60)
    # then
    assert workflow.cached_status == "Complete", workflow.status_message
    assert written(workflow, "B/b.txt") == "from A\n"


def test_two_processes_that_look_at_the_same_time(workflow: CondorWorkflow, manager: JobManager) -> None:
    # given
    diamond(workflow)
    workflow.execute()
    other = manager.get_job(workflow.id or 0)
    assert isinstance(other, CondorWorkflow)
    # when
    with ThreadPoolExecutor() as pool:
        ends = [pool.submit(job.wait, 90) for job in (workflow, other)]
        # then
        assert [end.result() for end in ends] == ["Complete", "Complete"]
    assert written(workflow, "D/all.txt") == "from A\nfrom B\nfrom A\nfrom C\n"
    assert set(other.node_statuses.values()) == {"Complete"}
