"""From what a schedd says of a cluster to an observation."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, cast

from prefect_jobs.jobs.condor_watch import observe
from prefect_jobs.records import JobRecord, StatusState
from prefect_jobs.schedulers.condor.client import CondorClient

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
    """A schedd whose queue is empty."""

    def __init__(self, *newest_first: dict[str, Any]) -> None:
        self._history = newest_first

    def query(self, _constraint: str, _projection: Sequence[str] = ()) -> list[dict[str, Any]]:
        return []

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
