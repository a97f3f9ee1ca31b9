"""From what a schedd says of a cluster to an observation."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from prefect_jobs import SchedulerConnectionError, clock
from prefect_jobs.jobs.condor.engine import CondorEngine
from prefect_jobs.jobs.condor.poll import observe
from prefect_jobs.jobs.condor.spooling import ARRIVAL
from prefect_jobs.jobs.handle import Handle
from prefect_jobs.records import JobRecord, StatusState
from prefect_jobs.schedulers.condor.client import CondorClient, CondorRefusal
from prefect_jobs.schedulers.condor.observation import HOLD_FORGOTTEN
from prefect_jobs.schedulers.condor.observation import WAITING as WAITS

RECORD = JobRecord(
    id=1,
    version=7,
    label="app",
    type="CONDOR",
    class_name="CondorJob",
    name="a job",
    user="alice",
    creation_time=datetime(2024, 1, 1, 12, tzinfo=UTC),
    state=StatusState(status="Running"),
    native={"total": 2},
    remote_id="40",
    submission_token="token",
)


class Schedd:
    """A schedd that says what it is to say."""

    def __init__(
        self, *newest_first: dict[str, Any], queue: Sequence[dict[str, Any]] = (), refuses: Exception | None = None
    ) -> None:
        self._history = newest_first
        self._queue = queue
        self._refuses = refuses
        self.others_were_faster = False
        self.done: list[tuple[str, str]] = []

    def query(self, constraint: str, _projection: Sequence[str] = ()) -> list[dict[str, Any]]:
        return [] if self.others_were_faster and WAITS in constraint else list(self._queue)

    def edit(self, _constraint: str, attribute: str, value: str) -> int:
        if self._refuses:
            raise self._refuses
        self.done.append((attribute, value))
        return 1

    def act(self, action: str, constraint: str, _reason: str) -> int:
        self.done.append((action, constraint))
        return 1

    def history(self, _constraint: str, match: int = -1) -> list[dict[str, Any]]:
        return list(self._history if match < 0 else self._history[:match])


def test_a_process_that_is_noted_twice_in_the_history_hides_no_other() -> None:
    first = {"ClusterId": 40, "ProcId": 0, "JobStatus": 4, "ExitCode": 0}
    second = {"ClusterId": 40, "ProcId": 1, "JobStatus": 4, "ExitCode": 0}
    # given a schedd that was killed while it moved the second process to the history, and has done so again
    schedd = Schedd(second, second, first)
    # when
    found = observe(RECORD, cast(CondorClient, schedd), None)
    # then
    assert found.status == "Results-Ready"
    assert found.native["outcome"]["status"] == "Complete"


SUBMITTED = replace(RECORD, native={"total": 1}, state=StatusState(status="Submitted"))
WAITING = {"ClusterId": 40, "ProcId": 0, "JobStatus": 5, "HoldReasonCode": 16, "ServerTime": 1_700_000_000}


def accepted(ago: timedelta) -> JobRecord:
    return replace(SUBMITTED, state=replace(SUBMITTED.state, execute_time=clock.now() - ago))


def test_for_a_moment_a_schedd_may_wait_for_inputs_that_it_has() -> None:
    schedd = Schedd(queue=[WAITING])

    found = observe(accepted(ARRIVAL / 2), cast(CondorClient, schedd), None)

    assert (found.status, schedd.done, found.messages) == ("Submitted", [], ())


@pytest.mark.parametrize("code", [16, HOLD_FORGOTTEN])  # the latter: who told it was interrupted
def test_a_schedd_that_waits_for_inputs_that_it_has_is_told_so(code: int) -> None:
    schedd = Schedd(queue=[{**WAITING, "HoldReasonCode": code}])

    found = observe(accepted(ARRIVAL * 2), cast(CondorClient, schedd), None)

    # by its own clock, and as it does: files that are newer than this are outputs
    assert schedd.done[:2] == [("StageInFinish", "1699999999"), ("HoldReasonCode", str(HOLD_FORGOTTEN))]
    assert schedd.done[2][0] == "Release"
    assert found.status == "Submitted" and "spooling the inputs" in found.messages[0][1]
    assert "forgotten" not in found.native


def test_where_another_one_was_faster_nothing_is_said() -> None:
    schedd = Schedd(queue=[WAITING])
    schedd.others_were_faster = True

    found = observe(accepted(ARRIVAL * 2), cast(CondorClient, schedd), None)

    assert (found.status, schedd.done, found.messages) == ("Submitted", [], ())


def test_a_schedd_that_does_not_let_it_go_on_leaves_it_held() -> None:
    schedd = Schedd(queue=[WAITING], refuses=CondorRefusal("Attributes may not be set."))

    found = observe(accepted(ARRIVAL * 2), cast(CondorClient, schedd), None)

    assert found.status == "Held"
    assert "Attributes may not be set. Call stop(), then resubmit()." in (found.message or "")

    # it stays so, is not told again at once, and is given up as whatever is held
    held = accepted(ARRIVAL * 2)
    held = replace(held, native={**held.native, **found.native}, state=replace(held.state, status="Held"))
    schedd = Schedd(queue=[WAITING])
    assert observe(held, cast(CondorClient, schedd), None).status == "Held"
    assert schedd.done == []
    clock.set_clock(lambda: datetime.now(UTC) + timedelta(seconds=61))
    given_up = observe(held, cast(CondorClient, schedd), 60)
    assert given_up.status == "Error" and "HELD_TIMEOUT" in (given_up.message or "")
    assert schedd.done[0][0] == "Remove"


def test_a_schedd_that_does_not_answer_refuses_nothing() -> None:
    schedd = Schedd(queue=[WAITING], refuses=SchedulerConnectionError("It did not answer within 10 s."))
    with pytest.raises(SchedulerConnectionError, match="within 10 s"):
        observe(accepted(ARRIVAL * 2), cast(CondorClient, schedd), None)


class Queue:
    """An access point at which a submission is looked for."""

    def __init__(self, *looks: list[dict[str, Any]]) -> None:
        self._looks = list(looks)

    def query(self, _constraint: str, _projection: Sequence[str] = ()) -> list[dict[str, Any]]:
        return self._looks.pop(0)

    def act(self, _action: str, _constraint: str, _reason: str) -> int:
        return 0

    def history(self, *_args: Any, **_more: Any) -> list[dict[str, Any]]:
        return []


REMOVED = {"ClusterId": 40, "JobStatus": 3, "LastHoldReasonCode": 16, "StageInStart": 1}
HERE = {"ClusterId": 40, "JobStatus": 1, "LastHoldReasonCode": 16, "StageInStart": 1, "StageInFinish": 1}


@pytest.mark.parametrize(
    ("looks", "there"),
    [
        ([[REMOVED, REMOVED], [REMOVED]], False),  # being removed already, one after the other
        ([[WAITING], []], False),
        ([[WAITING, WAITING], [HERE, HERE]], True),  # they arrive between the look and the removal
        ([[HERE]], True),
    ],
)
def test_what_never_arrived_is_not_taken_for_submitted(looks: list[list[dict[str, Any]]], there: bool) -> None:
    record = replace(RECORD, workspace="/work", spec={"attributes": {}})
    engine = CondorEngine(Handle(cast(Any, None), record, lambda record: record.workspace))

    assert (engine.found(cast(CondorClient, Queue(*looks))) is not None) is there
