"""What Prefect starts: deployments, leases of many runs, and what jobs keep of their runs; on both databases."""

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
    given: dict[str, Any] = {"timeout": 1.5, "concurrency_lease": "lease", "worker": "one", "schedule": "nightly"}
    job = store.insert(draft(state=waits, **given))
    store.insert(draft(state=over, **given))
    store.insert(draft())
    assert store.timed() == [(job.id, NOON, 1.5)]
    assert store.limited() == [(job.id, "lease")]
    assert (store.count_of_worker("one"), store.count_of_worker("two")) == (1, 0)
    assert store.active_of(job.label, job.user, "nightly") == (job.id, "Submitted")
    assert store.active_of(job.label, "bob", "nightly") is None


def test_leases_on_many(store: Store) -> None:
    clock.set_clock(lambda: NOON)
    assert store.claim_leases(["a", "b"], "one", 60) == {"a", "b"}
    assert store.claim_leases(["b", "c"], "two", 60) == {"c"}
    assert store.claim_leases(["a", "b", "c"], "one", 60) == {"a", "b"}
    store.release_leases(["a", "c"], "one")
    assert store.claim_leases(["a", "c"], "two", 60) == {"a", "c"}
    clock.set_clock(lambda: NOON + timedelta(seconds=61))
    assert store.claim_leases(["a", "b", "c"], "three", 60) >= ({"a", "b", "c"} if _by_our_clock(store) else set())


def _by_our_clock(store: Store) -> bool:
    """On PostgreSQL, leases expire by the database's clock."""
    return store.database.engine.dialect.name == "sqlite"
