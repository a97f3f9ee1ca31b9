"""What Prefect starts: deployments, leases of many runs, and what jobs keep of their runs; on both databases."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from prefect_jobs import clock
from prefect_jobs.errors import PrefectJobsError
from prefect_jobs.records import Change, ScheduleRecord, StatusState
from prefect_jobs.store import Store
from tests.support import draft

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_deployments_of_jobs_and_of_schedules(store: Store) -> None:
    assert store.deployments() == []
    for _ in range(2):
        store.note_deployment("b", "app")
    store.save_schedule(ScheduleRecord("app", "alice", "nightly", "CONDOR", deployment_id="a"))
    store.save_schedule(ScheduleRecord("app", "alice", "being made", "CONDOR"))
    assert store.deployments() == ["a", "b"]


def test_a_job_that_nobody_has_begun_to_submit_is_dropped_and_its_run_stays(store: Store) -> None:
    job = store.insert(draft(flow_run_id="a run", face_done=1, face_shown={"offered": ["mine"]}))
    assert not job.behind and store.claim_faces("one", 60, 10) == []
    assert store.drop_unsubmitted(job.id) and not store.drop_unsubmitted(job.id)
    assert store.run_deletions() == []
    begun = store.insert(draft(flow_run_id="a run"))
    store.update(begun.id, lambda fresh: Change({"submission_token": "token", "state": StatusState(attempt=1)}))
    assert not store.drop_unsubmitted(begun.id)


def test_a_run_has_one_job(store: Store) -> None:
    store.insert(draft(flow_run_id="a run"))
    try:
        store.insert(draft(flow_run_id="a run"))
    except PrefectJobsError as error:
        assert "could not be stored" in str(error)
    else:
        raise AssertionError


def test_active_jobs_with_a_timeout_a_limit_or_a_worker(store: Store) -> None:
    over = StatusState(status_code="COM", status="Complete", status_class="t:COMPLETED", execute_time=NOON)
    waits = StatusState(status_code="SUB", status="Submitted", status_class="as:PENDING", execute_time=NOON)
    given: dict[str, Any] = {"timeout": 1.5, "concurrency_lease": "lease", "worker": "one", "deployment_id": "nightly"}
    job = store.insert(draft(state=waits, **given))
    store.insert(draft(state=over, **given))
    store.insert(draft())
    assert store.timed() == [(job.id, NOON, 1.5)]
    assert store.limited() == [(job.id, "lease")]
    assert (store.count_of_worker("one"), store.count_of_worker("two")) == (1, 0)
    assert store.active_of("nightly") == (job.id, "Submitted")
    assert store.active_of("another") is None
    # a job that waits for its retry counts, too
    failed = StatusState(status_code="ERR", status="Error", status_class="t:FAILED", execute_time=NOON, attempt=1)
    again = store.insert(draft(state=failed, deployment_id="weekly", retries=1))
    assert store.active_of("weekly") == (again.id, "Error")
    store.insert(draft(state=failed, deployment_id="yearly"))
    store.insert(draft(state=replace(failed, attempt=2), deployment_id="yearly", retries=1))
    assert store.active_of("yearly") is None
    # but not once its retry has been due for long: its run is gone
    gone = replace(failed, completion_time=NOON)
    late = store.insert(draft(state=gone, deployment_id="monthly", retries=1, retry_delay=600))
    clock.set_clock(lambda: NOON + timedelta(minutes=69))
    assert store.active_of("monthly") == (late.id, "Error")
    clock.set_clock(lambda: NOON + timedelta(minutes=71))
    assert store.active_of("monthly") is None


def test_leases_on_many(store: Store) -> None:
    clock.set_clock(lambda: NOON)
    assert store.claim_leases(["a", "b"], "one", 60) == {"a", "b"}
    assert store.claim_leases(["b", "c"], "two", 60) == {"c"}
    assert store.claim_leases(["a", "b", "c"], "one", 60) == {"a", "b"}
    store.release_leases(["a", "c"], "one")
    assert store.claim_leases(["a", "c"], "two", 60) == {"a", "c"}
    # those that have expired are free
    assert store.claim_leases(["d", "e"], "one", -1) == {"d", "e"}
    assert store.claim_leases(["b", "d", "e"], "three", 60) == {"d", "e"}
