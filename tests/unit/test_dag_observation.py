"""What ads and DAGMan's reports mean for nodes, and nodes for the workflow."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_jobs import statuses
from prefect_jobs.jobs.workflow.node_ends import finish, outcome_of
from prefect_jobs.jobs.workflow.node_states import apply_ads, count, tries_of
from prefect_jobs.records import NodeRecord

IDLE: dict[str, Any] = {"JobStatus": 1}
RUNNING: dict[str, Any] = {"JobStatus": 2, "RemoteHost": "host"}
HELD: dict[str, Any] = {"JobStatus": 5, "HoldReasonCode": 13, "HoldReason": "no file"}
HELD_BY_USER = {"JobStatus": 5, "HoldReasonCode": 1, "HoldReason": "by me"}
DONE: dict[str, Any] = {"JobStatus": 4, "ExitCode": 0}
REMOVED: dict[str, Any] = {"JobStatus": 3, "LastJobStatus": 2, "RemoveReason": "by alice"}


def failed(code: int) -> dict[str, Any]:
    return {"JobStatus": 4, "ExitCode": code}


def ad(node: str, cluster: int, state: dict[str, Any], proc: int = 0, total: int = 1) -> dict[str, Any]:
    return {"DAGNodeName": node, "ClusterId": cluster, "ProcId": proc, "TotalSubmitProcs": total, **state}


def record(name: str = "N", status: str = "Pending", parents: str = "", message: str = "", **spec: Any) -> NodeRecord:
    return NodeRecord(
        name, spec={"kind": "JOB", "parents": parents.split(), **spec}, status=status, message=message, seq=1
    )


Poll = tuple[Sequence[dict[str, Any]], Sequence[dict[str, Any]]]


def polled(nodes: list[NodeRecord], *polls: Poll) -> list[NodeRecord]:
    """The nodes after polls: what is in the queue, and what is new in the history."""
    for queued, gone in polls:
        nodes = apply_ads(nodes, queued, gone)
    return nodes


def look(*polls: Poll, **spec: Any) -> tuple[str, str]:
    """Status and message of a single node after polls."""
    (found,) = polled([record(**spec)], *polls)
    return found.status, found.message


# -- one node, poll by poll --------------------------------------------------------------------------------


def test_from_the_queue_to_the_history() -> None:
    # given
    nodes, seen = [record()], []
    queue: list[Poll] = [([], []), ([ad("N", 7, IDLE)], []), ([ad("N", 7, RUNNING)], []), ([], [])]

    # when
    for poll in [*queue, ([], [ad("N", 7, DONE)])]:
        nodes = apply_ads(nodes, *poll)
        seen.append((nodes[0].status, nodes[0].message))

    # then
    assert seen == [
        ("Pending", ""),
        ("Submitted", "Idle in the queue."),
        ("Running", "Executing on host."),
        ("Running", "Executing on host."),
        ("Complete", "Exit code 0."),
    ]
    assert apply_ads(nodes, [], [ad("N", 7, DONE)]) == nodes  # the same record once more
    assert apply_ads(nodes, [ad("N", 7, RUNNING)], []) == nodes  # an older answer that came late


FAIL: Poll = ([], [ad("N", 7, failed(3))])


@pytest.mark.parametrize(
    ("polls", "spec", "status", "message"),
    [
        ([FAIL], {}, "Error", "Exit code 3."),
        ([FAIL], {"retry": 2}, "Submitted", "Exit code 3. Try 1 of 3; it is tried again."),
        ([FAIL, ([ad("N", 8, IDLE)], [])], {"retry": 2}, "Submitted", "Idle in the queue. Try 2 of 3."),
        ([FAIL, ([ad("N", 9, RUNNING)], [])], {"retry": 2}, "Running", "Executing on host. Try 2 of 3."),
        ([FAIL, ([], [ad("N", 8, DONE)])], {"retry": 1}, "Complete", "Exit code 0. Try 2 of 2."),
        ([FAIL, ([], [ad("N", 8, failed(4))])], {"retry": 1}, "Error", "Exit code 4. Try 2 of 2."),
        ([([], [ad("N", 8, DONE), *FAIL[1]])], {"retry": 1}, "Complete", "Exit code 0. Try 2 of 2."),
        ([([], [*FAIL[1], ad("N", 8, DONE)])], {"retry": 1}, "Complete", "Exit code 0. Try 2 of 2."),
        ([([ad("N", 8, RUNNING)], []), FAIL], {"retry": 1}, "Running", "Executing on host. Try 2 of 2."),
        ([FAIL], {"retry": 2, "retry_unless_exit_value": 3}, "Error", "Exit code 3."),
        (
            [FAIL],
            {"retry": 2, "retry_unless_exit_value": 4},
            "Submitted",
            "Exit code 3. Try 1 of 3; it is tried again.",
        ),
        ([FAIL], {"retry": 2, "abort_dag_on": 3}, "Error", "Exit code 3."),
        ([([], [ad("N", 7, DONE)])], {"abort_dag_on": 0}, "Complete", "Exit code 0."),
        ([FAIL], {"post_script": "p"}, "Running", "Exit code 3. Its post script is run."),
        ([([], [ad("N", 7, DONE)])], {"post_script": "p"}, "Running", "Exit code 0. Its post script is run."),
        ([([], [ad("N", 7, REMOVED)])], {}, "Aborted", "Removed: by alice."),
        ([([ad("N", 7, HELD_BY_USER)], [])], {}, "Paused", "By me."),
        ([([ad("N", 7, HELD_BY_USER)], []), ([ad("N", 7, IDLE)], [])], {}, "Submitted", "Idle in the queue."),
        ([([ad("N", 7, RUNNING)], [])], {"kind": "SUBDAG"}, "Running", "Its DAG runs, as cluster 7."),
        ([FAIL], {"kind": "SUBDAG", "retry": 1}, "Submitted", "Exit code 3. Try 1 of 2; it is tried again."),
        ([FAIL], {"kind": "SERVICE"}, "Error", "Exit code 3."),
        ([([ad("M", 7, RUNNING), {"ClusterId": 8, "JobStatus": 2}], [])], {}, "Pending", ""),
    ],
)
def test_a_node_of_one_process(polls: list[Poll], spec: dict[str, Any], status: str, message: str) -> None:
    assert look(*polls, **spec) == (status, message)


def test_a_node_that_the_system_holds_says_why() -> None:
    status, message = look(([ad("N", 7, HELD)], []))

    assert status == statuses.HELD
    assert "no file" in message


def test_tries_are_counted_once_each() -> None:
    # given
    polls: list[Poll] = [([ad("N", 8, RUNNING)], [ad("N", 7, failed(1))]), ([], [ad("N", 8, failed(1))])]

    # when
    (node,) = polled([record(retry=5)], *polls, *polls, ([ad("N", 11, IDLE)], []))

    # then
    assert tries_of(node) == 3
    assert node.message == "Idle in the queue. Try 3 of 6."


@pytest.mark.parametrize(
    ("states", "spec", "status", "text"),
    [
        ([DONE, RUNNING, IDLE], {}, "Various", "1 completed, 1 idle, 1 running"),
        ([DONE, DONE, HELD], {}, "Held", "no file"),
        ([HELD_BY_USER, HELD_BY_USER, DONE], {}, "Paused", "By me"),
        ([HELD, RUNNING, IDLE], {}, "Various", "Process 0: Held by HTCondor"),
        ([DONE, failed(2), REMOVED], {}, "Error", "process 1: exit code 2"),
        ([REMOVED, failed(2), REMOVED], {"retry": 1}, "Submitted", "it is tried again"),
        ([REMOVED, failed(2), REMOVED], {"retry": 1, "retry_unless_exit_value": 2}, "Error", "exit code 2"),
        ([REMOVED, failed(2), REMOVED], {"retry": 1, "abort_dag_on": 2}, "Error", "exit code 2"),
        ([REMOVED, REMOVED, REMOVED], {}, "Aborted", "by alice"),
    ],
)
def test_a_node_of_several_processes(
    states: list[dict[str, Any]], spec: dict[str, Any], status: str, text: str
) -> None:
    # given
    ads = [ad("N", 7, state, number, total=3) for number, state in enumerate(states)]
    over = [found for found in ads if found["JobStatus"] in (3, 4)]
    there = [found for found in ads if found not in over]

    # when
    found = look((there, over), **spec)
    later = look((there, []), ([], over[:1]), (there, over[1:]), **spec)

    # then
    assert found[0] == later[0] == status
    assert text in found[1]


def test_it_is_not_over_until_all_processes_are_known() -> None:
    assert look(([], [ad("N", 7, DONE, 0, total=2)])) == ("Running", "")


# -- nodes that say nothing themselves ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"noop": True}, "Done without a job."),
        ({"pre_script": "p", "pre_skip": 3}, "Skipped: its pre script said that it is done."),
    ],
)
def test_nodes_before_one_that_has_begun_are_done(spec: dict[str, Any], message: str) -> None:
    # given
    nodes = [record("A", **spec), record("B", parents="A", noop=True), record("C", parents="B"), record("D", noop=True)]

    # when
    found = polled(nodes, ([ad("C", 9, IDLE)], []))

    # then
    assert [node.status for node in found] == ["Complete", "Complete", "Submitted", "Pending"]
    assert found[0].message == message


def test_a_post_script_is_over_once_something_after_it_begins() -> None:
    # given
    nodes = polled([record("A", post_script="p"), record("B", parents="A")], ([], [ad("A", 7, failed(1))]))
    assert nodes[0].status == statuses.RUNNING

    # when
    nodes = polled(nodes, ([ad("B", 8, IDLE)], []))

    # then: also when its record comes once more
    assert (nodes[0].status, nodes[0].message) == ("Complete", "Exit code 1.")
    assert polled(nodes, ([], [ad("A", 7, failed(1))])) == nodes


def test_a_node_done_from_the_start_says_nothing_of_those_before_it() -> None:
    # given
    nodes = [record("A"), record("B", status="Complete", parents="A", done=True), record("C", parents="B")]

    # when
    found = polled(nodes, ([ad("A", 7, RUNNING), ad("C", 8, RUNNING)], []), ([], [ad("A", 7, failed(1))]))

    # then
    assert [node.status for node in found] == ["Error", "Complete", "Running"]


def test_a_splice_is_at_work_until_what_comes_after_it_begins() -> None:
    # given
    nodes = [record("S", kind="SPLICE"), record("B", parents="S")]
    polls: list[Poll] = [
        ([ad("S+X", 7, IDLE)], []),
        ([ad("S+X", 7, HELD)], []),
        ([ad("S+X", 7, HELD), ad("S+T+Y", 8, RUNNING)], []),
        ([], [ad("S+X", 7, DONE), ad("S+T+Y", 8, DONE)]),
        ([ad("B", 9, IDLE)], []),
    ]

    # when
    seen = []
    for queued, gone in polls:
        nodes = apply_ads(nodes, queued, gone)
        seen.append(nodes[0].status)

    # then
    assert seen == ["Submitted", "Held", "Running", "Running", "Complete"]
    assert nodes[0].message == "Of its jobs: 2 completed."


# -- the end -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "details", "removed", "status", "message"),
    [
        (0, "", False, "Pending", "Not run: a node before it failed, or the DAG was aborted."),
        (1, "", True, "Pending", "Not run: the workflow was stopped before its turn."),
        (3, "", True, "Aborted", "Removed with the workflow."),
        (4, "", False, "Aborted", "Removed with the workflow."),
        (5, "", False, "Complete", "Done without a job."),
        (6, "Job proc (7.0.0) failed with signal 9", False, "Error", "Killed by signal 9."),
        (6, "PRE script failed with status 4", False, "Error", "Its pre script failed with exit code 4."),
        (6, "Job failed. POST Script failed with signal 9 (x)", True, "Error", "Its post script failed with signal 9."),
        (7, "", False, "Pending", "Not run: a node before it failed, or the DAG was aborted."),
    ],
)
def test_a_node_without_a_job_ends_as_dagman_says(
    code: int, details: str, removed: bool, status: str, message: str
) -> None:
    (found,) = finish([record()], {"N": (code, details), "M": (5, "")}, removed=removed)

    assert (found.status, found.message) == (status, message)


@pytest.mark.parametrize(
    ("polls", "spec", "line", "status", "message"),
    [
        ([([], [ad("N", 7, DONE)])], {}, (5, ""), "Complete", "Exit code 0."),
        ([FAIL], {"post_script": "p"}, (5, ""), "Complete", "Exit code 3."),
        ([FAIL], {}, (6, "Job proc (7.0.0) failed"), "Error", "Exit code 3."),
        ([([], [ad("N", 7, DONE)])], {"post_script": "p"}, (6, "POST script failed with status 2"), "Error", "2."),
        ([FAIL, ([], [ad("N", 8, failed(4))])], {"retry": 1}, (6, "x"), "Error", "Exit code 4. It was tried 2 times."),
        ([([], [ad("N", 7, REMOVED)])], {}, (6, "x"), "Aborted", "Removed: by alice."),
        (
            [([], [ad("N", 7, {**REMOVED, "RemoveReason": "DAG Abort: X"})])],
            {},
            (6, "x"),
            "Aborted",
            "Removed with the workflow.",
        ),
        ([([], [ad("N", 7, REMOVED, 0, 2), ad("N", 7, failed(3), 1, 2)])], {}, (6, "x"), "Error", "Exit code 3."),
        ([([ad("N", 7, RUNNING)], [])], {}, (3, ""), "Aborted", "Removed with the workflow."),
        ([([ad("N", 7, RUNNING)], [])], {}, None, "Aborted", "Removed with the workflow."),
        ([([], [ad("N", 7, DONE)])], {}, None, "Complete", "Exit code 0."),
        ([FAIL], {}, None, "Error", "Exit code 3."),
        ([([ad("N", 7, RUNNING)], [])], {"kind": "SERVICE"}, None, "Complete", "Ended with the workflow"),
        ([([], [ad("N", 7, REMOVED)])], {"kind": "SERVICE"}, (6, ""), "Complete", "Ended with the workflow"),
        ([FAIL], {"kind": "SERVICE"}, (5, ""), "Error", "Exit code 3."),
    ],
)
def test_a_node_with_jobs_ends(
    polls: list[Poll], spec: dict[str, Any], line: tuple[int, str] | None, status: str, message: str
) -> None:
    nodes = polled([record(**spec)], *polls)

    (found,) = finish(nodes, {} if line is None else {"N": line}, removed=False)

    assert found.status == status
    assert message in found.message


@pytest.mark.parametrize(
    ("codes", "status", "message"),
    [
        ([5, 5], "Complete", "All 2 of its nodes are done."),
        ([5, 6], "Error", "n1: Why not."),
        ([5, 3], "Aborted", "Removed with the workflow."),
        ([5, 7], "Aborted", "1 of its 2 nodes were done."),
        ([0, 7], "Pending", "Not run: a node before it failed, or the DAG was aborted."),
    ],
)
def test_a_splice_ends_as_its_nodes_do(codes: list[int], status: str, message: str) -> None:
    report = {f"S+n{number}": (code, "why not" if code == 6 else "") for number, code in enumerate(codes)}

    (found,) = finish([record("S", kind="SPLICE")], report, removed=False)

    assert (found.status, found.message) == (status, message)


# -- the workflow ------------------------------------------------------------------------------------------

ABORT: dict[str, Any] = {"abort_dag_on": 3, "abort_dag_on_return_value": 0}


@pytest.mark.parametrize(
    ("nodes", "code", "removed", "status", "text"),
    [
        ([record(status="Complete")], 0, False, "Complete", "Its node is done."),
        ([record(status="Complete")] * 2, 0, False, "Complete", "All 2 nodes are done."),
        ([record(status="Complete")], 0, True, "Aborted", "1 of 1 nodes is done."),
        ([record()], None, True, "Aborted", "0 of 1 nodes are done; resubmit() continues from there."),
        (
            [record(status="Error", message="Bad."), record()],
            1,
            False,
            "Error",
            "Failed: N: Bad. 0 of 2 nodes are done",
        ),
        ([record(status="Error"), record(status="Complete")], 1, False, "Various-Complete", "1 of 2 nodes is done"),
        ([record(status="Complete"), record("F", "Error", kind="FINAL")], 1, False, "Various-Complete", "Failed: F"),
        ([record(status="Complete"), record("S", "Error", kind="SERVICE")], 0, False, "Complete", "Its node is done."),
        ([record(status="Error", **ABORT), record()], 0, False, "Complete", "Ended early by N, by ABORT-DAG-ON"),
        ([record(status="Error", abort_dag_on=3), record()], 3, False, "Error", "Failed: N"),
        (
            [record("A", "Complete", **{**ABORT, "abort_dag_on": 0}), record("B", "Aborted"), record("C", "Complete")],
            0,
            False,
            "Complete",
            "Ended early by A, by ABORT-DAG-ON with a return value of success; 2 of 3 nodes are done.",
        ),
        ([record("A", "Complete"), record("B", "Aborted")], 1, False, "Various-Complete", "Failed: B"),
        ([record(f"n{n}", "Error") for n in range(7)], 1, False, "Error", "; n4: ; and 2 more. 0 of 7"),
    ],
)
def test_what_the_workflow_is(nodes: list[NodeRecord], code: int | None, removed: bool, status: str, text: str) -> None:
    found, message = outcome_of(nodes, code, removed=removed)

    assert found == status
    assert text in message


ENDS = ("Complete", "Error", "Aborted", "Pending", "Running", "Submitted", "Held")


@st.composite
def ends(draw: st.DrawFn) -> NodeRecord:
    kind = draw(st.sampled_from(["JOB", "JOB", "SUBDAG", "SPLICE", "FINAL", "SERVICE"]))
    spec: dict[str, Any] = draw(st.sampled_from([{}, ABORT, {**ABORT, "abort_dag_on": 0}, {"abort_dag_on": 3}]))
    return record(draw(st.sampled_from("ABCD")), draw(st.sampled_from(ENDS)), kind=kind, **spec)


@given(st.lists(ends()), st.sampled_from([None, 0, 1, 3]), st.booleans())
def test_it_is_complete_only_if_all_are_done_or_it_was_meant_to_end(
    nodes: list[NodeRecord], code: int | None, removed: bool
) -> None:
    status, message = outcome_of(nodes, code, removed=removed)

    work = [node for node in nodes if node.spec["kind"] not in ("FINAL", "SERVICE")]
    done = sum(node.status == "Complete" for node in work)
    errors = [node for node in nodes if node.status == "Error" and node.spec["kind"] != "SERVICE"]
    all_well = done == len(work) and not errors and all(node.status != "Aborted" for node in nodes)
    ends = [node for node in nodes if node.spec.get("abort_dag_on_return_value") == 0]
    meant = code == 0 and bool(ends) and all(node in ends for node in errors)
    assert (status == "Aborted") == removed
    if not removed:
        assert (status == "Complete") == (all_well or meant)
        assert (status == "Error") == (not all_well and not meant and done == 0)
        assert status in ("Complete", "Error", "Various-Complete")
    assert message.endswith(".")


def test_nodes_are_counted_by_their_last_try() -> None:
    # given
    states = {"idle": IDLE, "running": RUNNING, "held": HELD, "done": DONE, "removed": REMOVED}
    nodes = polled([record(name) for name in states], ([ad(name, 7, state) for name, state in states.items()], []))

    # when
    found = count([*nodes, record("new"), record("noop", "Complete"), record("script", "Error")])
    # then
    counted = {"Unexpanded": 1, "Idle": 1, "Running": 1, "Held": 1, "Completed": 2, "Removed": 1, "Submission_err": 1}
    assert found == counted
