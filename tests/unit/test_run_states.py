"""The states that show jobs whose runs Prefect has started, and their events."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from prefect_jobs.noted import PROCS
from prefect_jobs.projection.events import of_change, of_scheduler
from prefect_jobs.projection.states import Face, face_of, job_of_pid, pid_of
from prefect_jobs.records import JobRecord, StatusState
from tests.support import draft

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
FAILED = StatusState("ERR", "Error", "t:FAILED", "exit code 3", attempt=1, completion_time=NOON)


def job(**more: Any) -> JobRecord:
    return replace(draft(flow_run_id="the run", **more), id=7)


def test_a_job_that_is_to_be_retried_awaits_that() -> None:
    face = face_of(job(state=FAILED, retries=2, retry_delay=30.0))
    assert (face.type, face.name, face.due) == ("SCHEDULED", "AwaitingRetry", NOON + timedelta(seconds=30))
    assert face.message == "Retry 1 of 2, since it ended as Error. exit code 3" and not face.terminal
    assert face.details == {"scheduled_time": "2026-03-01T12:00:30+00:00"}


@pytest.mark.parametrize(
    "record",
    [
        job(state=FAILED),
        job(state=replace(FAILED, attempt=3), retries=2),
        job(state=FAILED, retries=2, engine_run=True),
        job(state=replace(FAILED, status_code="ABT", status="Aborted", status_class="t:CANCELLED"), retries=2),
        job(state=replace(FAILED, status_code="COM", status="Complete", status_class="t:COMPLETED"), retries=2),
        job(state=StatusState("RUN", "Running", "ran:RUNNING", attempt=1), retries=2),
    ],
)
def test_others_are_not_retried(record: JobRecord) -> None:
    assert record.retry_due is None and face_of(record).name != "AwaitingRetry"


def test_a_job_with_a_place_in_a_limit_is_not_shown_as_paused() -> None:
    held = StatusState("OTH", "Held", "an:PAUSED", "no memory", attempt=1)
    assert face_of(job(state=held)).type == "PAUSED"
    face = face_of(job(state=held, concurrency_lease="a lease"))
    assert (face.type, face.name, face.details) == ("RUNNING", "Held", {"deployment_concurrency_lease_id": "a lease"})


def test_what_executes_a_run_names_the_job_and_its_database() -> None:
    assert job_of_pid(pid_of("store", 7), "store") == 7
    for other in (pid_of("another", 7), "host:123", "", "prefect-jobs:store:seven"):
        assert job_of_pid(other, "store") is None


def test_a_hold_is_told_once_with_its_code() -> None:
    held = StatusState("OTH", "Held", "an:PAUSED", "no memory", attempt=1, last_status_update=NOON)
    native = {PROCS: [{"state": "Idle"}, {"state": "Held", "hold_code": 34}], "cluster": 12}
    record = job(state=held, native=native, face_seq=4)
    (event,) = of_change("store", record, "Running", Face("PAUSED", "Held", ""))
    assert event["event"] == "prefect-jobs.job.held" and event["payload"]["reason"] == "no memory"
    assert event["resource"]["prefect.resource.id"] == "prefect-jobs.job.store.7"
    assert (event["resource"]["prefect-jobs.hold-code"], event["resource"]["prefect-jobs.cluster"]) == ("34", "12")
    # computed again, it is the same one; after another hold, it is not
    assert of_change("store", record, "Running", Face("PAUSED", "Held", ""))[0]["id"] == event["id"]
    again = of_change("store", replace(record, face_seq=9), "Running", Face("PAUSED", "Held", ""))
    assert again[0]["id"] != event["id"]
    assert of_change("store", record, "Held", Face("PAUSED", "Held", "another message")) == []
    (released,) = of_change("store", record, "Held", Face("RUNNING", "Running", ""))
    assert released["event"] == "prefect-jobs.job.released"
    assert of_change("store", record, "Held", Face("CANCELLED", "Cancelled", "")) == []


def test_a_scheduler_that_answers_again() -> None:
    event = of_scheduler("pool", "htcondor", reachable=False, since=NOON, why="no answer")
    assert (event["event"], event["occurred"]) == ("prefect-jobs.scheduler.unreachable", "2026-03-01T12:00:00+00:00")
    assert of_scheduler("pool", "htcondor", reachable=True, since=NOON, why="")["id"] != event["id"]
