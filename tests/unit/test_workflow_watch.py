"""From what a schedd says of DAGMan and its nodes' jobs to what is seen of the workflow."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from prefect_jobs import clock, statuses
from prefect_jobs.errors import SchedulerConnectionError
from prefect_jobs.jobs.observation import Observation, Todo
from prefect_jobs.jobs.workflow.node_states import progress
from prefect_jobs.jobs.workflow.poll import conclude, marked, newest_in_history, observe
from prefect_jobs.noted import OUTCOME
from prefect_jobs.records import JobRecord, NodeRecord, StatusState
from prefect_jobs.schedulers.condor.client import CondorClient

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
MINE = 'ClusterId == 40 && PrefectJobsToken == "token"'


class Time:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = NOON

    def pass_(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture(autouse=True)
def time() -> Iterator[Time]:
    made = Time()
    clock.set_clock(lambda: made.now)
    yield made
    clock.set_clock(None)


def job(status: str = "Various", message: str = "", **native: Any) -> JobRecord:
    return JobRecord(
        id=1,
        version=7,
        label="app",
        type="CONDORWORKFLOW",
        class_name="CondorWorkflow",
        name="w",
        user="alice",
        creation_time=NOON,
        state=StatusState(status=status, status_message=message),
        native=native,
        remote_id="40",
        submission_token="token",
    )


def nodes(**states: str) -> list[NodeRecord]:
    kinds = {"S": "SERVICE", "F": "FINAL"}
    return [
        NodeRecord(name, spec={"kind": kinds.get(name, "JOB"), "parents": []}, status=status, message="why", seq=1)
        for name, status in states.items()
    ]


def dagman(state: int = 2, **more: Any) -> dict[str, Any]:
    return {"ClusterId": 40, "ProcId": 0, "PrefectJobsToken": "token", "JobStatus": state, **more}


def ad(node: str, cluster: int, state: int, **more: Any) -> dict[str, Any]:
    return {"DAGManJobId": 40, "DAGNodeName": node, "ClusterId": cluster, "ProcId": 0, "JobStatus": state, **more}


def seen(ad: dict[str, Any], known: Sequence[NodeRecord], timeout: float | None = None, **native: Any) -> Observation:
    return conclude(job(**native), known, known, ad, timeout)


# -- DAGMan ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ad", "states", "status", "text"),
    [
        (dagman(1), {"A": "Pending"}, "Submitted", "Waiting for DAGMan."),
        (dagman(2), {"A": "Pending"}, "Submitted", "Waiting for DAGMan."),
        (dagman(2, DAG_NodesQueued=1), {"A": "Pending"}, "Various", ""),
        (dagman(2, DAG_NodesDone=1), {"A": "Pending"}, "Various", ""),
        (dagman(2, DAG_NodesFailed=1), {"A": "Error"}, "Various", "Failed: A: why."),
        (dagman(0), {"A": "Pending"}, "Submitted", "Waiting for DAGMan."),
        (dagman(5, HoldReasonCode=16, HoldReason="Spooling"), {"A": "Pending"}, "Submitted", "Waiting for DAGMan."),
        (dagman(5, HoldReasonCode=1), {"A": "Running"}, "Paused", "1 at work continue to their end. Call resume()"),
        (dagman(5, HoldReasonCode=1), {"A": "Held"}, "Paused", "On hold: no new nodes are started. Call resume()"),
        (dagman(5, HoldReasonCode=13, HoldReason="gone"), {"A": "Running"}, "Held", "gone"),
        (dagman(3, ShadowBday=5), {"A": "Running"}, None, "Being removed: DAGMan ends its nodes."),
        (dagman(3), {"A": "Running"}, "Results-Ready", "outputs are being fetched"),
        (dagman(4, ExitCode=0), {"A": "Complete"}, "Results-Ready", "outputs are being fetched"),
        (dagman(4, ExitCode=0, ShadowBday=5), {"A": "Complete"}, "Results-Ready", "outputs are being fetched"),
        (dagman(6), {"A": "Pending"}, "Submitted", "Waiting for DAGMan."),
    ],
)
def test_what_the_state_of_dagman_means(ad: dict[str, Any], states: dict[str, str], status: str, text: str) -> None:
    found = seen(ad, nodes(**states))

    assert found.status == status
    assert text in (found.message or "")
    assert (found.version, found.nodes, found.messages) == (7, (), ())


def test_the_message_of_the_submission_stays_until_a_node_is_submitted() -> None:
    found = conclude(
        job("Submitted", "Submitted as cluster 40"), nodes(A="Pending"), nodes(A="Pending"), dagman(), None
    )

    assert (found.status, found.message) == (statuses.SUBMITTED, "Submitted as cluster 40")


@pytest.mark.parametrize(
    ("ad", "ended", "outcome"),
    [
        (dagman(4, ExitCode=0), {"removed": False, "exit_code": 0, "reason": None}, "Complete"),
        (dagman(4, ExitCode=1), {"removed": False, "exit_code": 1, "reason": None}, "Complete"),
        (dagman(3, RemoveReason="by me"), {"removed": True, "exit_code": None, "reason": "by me"}, "Aborted"),
        (dagman(3, LastJobStatus=4, ExitCode=0), {"removed": False, "exit_code": 0, "reason": None}, "Complete"),
    ],
)
def test_how_dagman_ended_is_kept(ad: dict[str, Any], ended: dict[str, Any], outcome: str) -> None:
    found = seen({**ad, "JobStartDate": 1_700_000_000, "EnteredCurrentStatus": 1_700_000_100}, nodes(A="Complete"))

    assert found.native["dagman"] == ended
    assert found.native[OUTCOME]["status"] == outcome
    assert found.native[OUTCOME]["ended"] == "2023-11-14T22:15:00+00:00"
    assert found.started == datetime.fromtimestamp(1_700_000_000, UTC)
    assert found.ended == datetime.fromtimestamp(1_700_000_100, UTC)


# -- held nodes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("states", "status"),
    [
        ({"A": "Held"}, "Held"),
        ({"A": "Held", "B": "Complete", "C": "Pending"}, "Held"),
        ({"A": "Held", "B": "Running"}, "Various"),
        ({"A": "Held", "B": "Submitted"}, "Various"),
        ({"A": "Held", "B": "Various"}, "Various"),
        ({"A": "Paused", "B": "Pending"}, "Paused"),
        ({"A": "Paused", "B": "Held"}, "Held"),
        ({"A": "Held", "S": "Running"}, "Held"),
        ({"A": "Pending", "S": "Held"}, "Various"),
        ({"F": "Held", "A": "Complete"}, "Held"),
    ],
)
def test_where_all_that_could_go_on_is_held_the_workflow_is(states: dict[str, str], status: str) -> None:
    found = seen(dagman(DAG_NodesQueued=1), nodes(**states))

    assert found.status == status
    if status != "Various":
        assert "why" in (found.message or "")


@pytest.mark.parametrize("ad", [dagman(DAG_NodesQueued=1), dagman(5, HoldReasonCode=13, HoldReason="why")])
def test_what_is_held_for_too_long_is_given_up(time: Time, ad: dict[str, Any]) -> None:
    # given
    known = nodes(A="Held")
    found = seen(ad, known, 60)
    assert (found.status, found.native["held_since"]) == (statuses.HELD, NOON.isoformat())

    # when: still in time
    time.pass_(60)
    found = seen(ad, known, 60, **found.native)
    assert (found.status, found.native["held_since"]) == (statuses.HELD, NOON.isoformat())
    assert seen(ad, known, None, held_since="2000-01-01T00:00:00+00:00").status == statuses.HELD

    # then
    time.pass_(1)
    given_up = seen(ad, known, 60, **found.native)
    assert given_up.status is None
    assert Todo.GIVE_UP in given_up.todo
    assert given_up.native["gave_up"].startswith("Removed: held for longer than 60 s (HELD_TIMEOUT). ")
    assert "why" in given_up.native["gave_up"]
    assert given_up.messages[-1][1] == given_up.native["gave_up"]


def test_the_time_is_forgotten_once_it_goes_on() -> None:
    assert seen(dagman(DAG_NodesQueued=1), nodes(A="Running"), 1, held_since="2000-01-01T00:00:00+00:00").native == {
        "missing_since": None,
        "missing_polls": None,
        "held_since": None,
    }


def test_what_people_must_know_while_it_runs() -> None:
    assert progress(nodes(A="Pending", B="Running")) == ""
    assert progress(nodes(E="Error", A="Held", B="Paused")) == "Failed: E: why. Node A: why 2 nodes are held."


# -- what changed ------------------------------------------------------------------------------------------


def test_nodes_that_changed_are_told_and_marked_if_they_look_different() -> None:
    # given
    before = nodes(A="Pending", B="Pending", C="Pending", D="Pending")
    before[3] = replace(before[3], seq=0)
    now = [
        replace(before[0], status="Running", message="Executing."),
        before[1],
        replace(before[2], native={"x": 1}),
        replace(before[3], native={"x": 1}),
    ]

    # when
    found = conclude(job(), before, now, dagman(), None)

    # then: D is shown since it never was
    assert [(node.name, node.seq) for node in found.nodes] == [("A", 2), ("C", 1), ("D", 1)]
    assert [text for _, text in found.messages] == ["Node A: Running. Executing."]
    assert marked(before[0], before[0]) == before[0]


def test_many_lines_are_cut() -> None:
    before = nodes(**{f"n{number}": "Pending" for number in range(70)})

    found = conclude(job(), before, [replace(node, status="Running") for node in before], dagman(), None)

    assert len(found.messages) == 51
    assert found.messages[-1][1] == "… and 20 more nodes changed"
    assert len(found.nodes) == 70


# -- asking ------------------------------------------------------------------------------------------------


class Schedd:
    """Answers as it is told to, and notes what it was asked."""

    def __init__(self, queue: Sequence[dict[str, Any]] = (), history: Sequence[dict[str, Any]] = ()) -> None:
        self.queue, self.gone = list(queue), list(history)
        self.asked: list[tuple[Any, ...]] = []

    def query(self, constraint: str, attributes: Sequence[str] = ()) -> list[dict[str, Any]]:
        self.asked.append(("query", constraint))
        return self.queue

    def history(
        self, constraint: str, attributes: Sequence[str] = (), match: int | None = None, since: str | None = None
    ) -> list[dict[str, Any]]:
        self.asked.append(("history", constraint, match, since))
        return self.gone

    def act(self, action: str, constraint: str, reason: str) -> int:
        self.asked.append((action, constraint))
        return 1

    def edit(self, constraint: str, attribute: str, value: str) -> int:
        self.asked.append((attribute, value))
        return 1


def ask(schedd: Schedd, record: JobRecord, known: Sequence[NodeRecord], timeout: float | None = None) -> Observation:
    return observe(record, known, cast(CondorClient, schedd), timeout, lambda *_: None)


def test_a_poll_is_one_query_and_what_is_new_in_the_history() -> None:
    # given
    gone = [ad("B", 43, 4, ExitCode=0), ad("A", 42, 4, ExitCode=0)]
    schedd = Schedd([dagman(), ad("C", 44, 2)], gone)
    known = nodes(A="Running", B="Pending", C="Pending")

    # when
    found = ask(schedd, job(history="ClusterId == 9 && ProcId == 0"), known)

    # then
    assert schedd.asked == [
        ("query", f"({MINE}) || DAGManJobId == 40"),
        ("history", "DAGManJobId == 40", None, "ClusterId == 9 && ProcId == 0"),
    ]
    assert {node.name: node.status for node in found.nodes} == {"A": "Complete", "B": "Complete", "C": "Running"}
    assert found.status == statuses.VARIOUS
    assert found.native["history"] == "ClusterId == 43 && ProcId == 0"  # the newest one comes first


def test_the_cursor_stays_where_nothing_new_came() -> None:
    assert ask(Schedd([dagman()]), job(history="x"), nodes(A="Running")).native["history"] == "x"
    assert newest_in_history(cast(CondorClient, Schedd())) is None
    newest = Schedd(history=[{"ClusterId": 5, "ProcId": 2}])
    assert newest_in_history(cast(CondorClient, newest)) == "ClusterId == 5 && ProcId == 2"


def test_what_is_given_up_is_removed() -> None:
    # given
    schedd = Schedd([dagman(), ad("A", 42, 5, HoldReasonCode=13, HoldReason="gone")])

    # when
    found = ask(schedd, job(held_since=(NOON - timedelta(seconds=61)).isoformat()), nodes(A="Pending"), 60)

    # then
    assert schedd.asked[-1:] == [("Remove", MINE)]
    assert "give_up" not in found.native
    assert "gone" in found.native["gave_up"]
    assert [(node.name, node.status) for node in found.nodes] == [("A", statuses.HELD)]


def test_a_schedd_that_waits_for_files_that_it_has_is_told_so() -> None:
    # given
    schedd = Schedd([dagman(5, HoldReasonCode=16, ServerTime=1_700_000_000)])
    record = job("Submitted")
    record = replace(record, state=replace(record.state, execute_time=NOON - timedelta(seconds=60)))

    # when
    found = ask(schedd, record, nodes(A="Pending"))

    # then
    assert ("StageInFinish", "1699999999") in schedd.asked
    assert schedd.asked[-1][0] == "Release"
    assert found.status == "Submitted" and "spooling the inputs" in found.messages[-1][1]


@pytest.mark.parametrize("queue", [[], [dagman(PrefectJobsToken="another")], [ad("A", 42, 2)]])
def test_what_is_not_found_is_not_given_up_at_once(time: Time, queue: list[dict[str, Any]]) -> None:
    # given
    schedd = Schedd(queue)
    native: dict[str, Any] = {}

    # when: three polls, and twenty seconds
    for seconds in (1, 1, 17):
        found = ask(schedd, job(**native), nodes(A="Running"))
        assert (found.status, found.message, found.nodes) == (None, None, ())
        native = found.native
        time.pass_(seconds)
    time.pass_(1)
    lost = ask(schedd, job(**native), nodes(A="Running"))

    # then
    assert lost.status == statuses.ERROR
    assert lost.crashed
    assert "in neither the queue nor the history" in (lost.message or "")
    assert lost.native["in_queue"] is None


def test_twenty_seconds_are_not_enough_without_three_polls(time: Time) -> None:
    found = ask(Schedd(), job(missing_since=NOON.isoformat(), missing_polls=1), nodes(A="Running"))
    time.pass_(1000)

    assert found.status is None


def test_a_dagman_that_somebody_took_out_of_the_queue() -> None:
    # given
    known = nodes(A="Complete", B="Pending")

    # when
    completed = ask(Schedd(history=[dagman(3, LastJobStatus=4, ExitCode=0)]), job(), known)
    removed = ask(Schedd(history=[dagman(3, RemoveReason="by bob")]), job(), known)

    # then
    assert (completed.status, completed.crashed, completed.native) == (statuses.ERROR, True, {"in_queue": None})
    assert "they are lost" in (completed.message or "")
    assert (removed.status, removed.native) == (statuses.ABORTED, {"in_queue": None})
    assert "by bob" in (removed.message or "")
    assert [(node.name, node.message) for node in removed.nodes] == [
        ("B", "Not run: the workflow was stopped before its turn.")
    ]


def test_where_nobody_can_tell_nothing_is_seen() -> None:
    class Silent(Schedd):
        def history(self, *_: Any, **__: Any) -> list[dict[str, Any]]:
            raise SchedulerConnectionError("no answer")

    with pytest.raises(SchedulerConnectionError):
        ask(Silent([dagman()]), job(), nodes(A="Running"))
