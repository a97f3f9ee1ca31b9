"""From what a schedd says of a cluster to an observation."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from prefect_jobs import clock
from prefect_jobs.jobs.condor_watch import ARRIVAL, observe
from prefect_jobs.records import JobRecord, StatusState
from prefect_jobs.schedulers.condor.client import CondorClient, CondorError
from prefect_jobs.schedulers.condor.observation import HOLD_FORGOTTEN

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

    def __init__(self, *newest_first: dict[str, Any], queue: Sequence[dict[str, Any]] = (), refuses: str = "") -> None:
        self._history = newest_first
        self._queue = queue
        self._refuses = refuses
        self.done: list[tuple[str, str]] = []

    def query(self, _constraint: str, _projection: Sequence[str] = ()) -> list[dict[str, Any]]:
        return list(self._queue)

    def edit(self, _constraint: str, attribute: str, value: str) -> int:
        if self._refuses:
            raise CondorError(self._refuses)
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
WAITING = {"ClusterId": 40, "ProcId": 0, "JobStatus": 5, "HoldReasonCode": 16}


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

    assert [what for what, _ in schedd.done] == ["StageInFinish", "HoldReasonCode", "Release"]
    assert found.status == "Submitted" and "interrupted" in found.messages[0][1]
    assert "forgotten" not in found.native


def test_a_schedd_that_does_not_let_it_go_on_leaves_it_held() -> None:
    schedd = Schedd(queue=[WAITING], refuses="Attributes may not be set.")

    found = observe(accepted(ARRIVAL * 2), cast(CondorClient, schedd), None)

    assert found.status == "Held"
    assert "Attributes may not be set. stop() and resubmit()" in (found.message or "")
