"""Which jobs have been over for long, and their removal with all of their rows; on both databases."""

import logging
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from prefect_jobs import clock
from prefect_jobs.records import Change, JobRecord, NodeRecord, StatusState
from prefect_jobs.store import Store, retention
from prefect_jobs.store.retention import OldJobs
from prefect_jobs.store.tables import BLOBS, CHECKS, GROUPS, JOBS, MESSAGES, NODES
from tests.support import draft

DAY = timedelta(days=1)
BEFORE = clock.now() - 30 * DAY
LONG_AGO, LATELY = BEFORE - DAY, BEFORE + DAY
COMPLETE = {"status_code": "COM", "status": "Complete", "status_class": "t:COMPLETED"}
FAILED = {"status_code": "ERR", "status": "Error", "status_class": "t:FAILED"}
SUBMITTED: dict[str, Any] = {"status_code": "SUB", "status": "Submitted", "status_class": "as:PENDING"}


def ended(status: dict[str, str], **values: Any) -> StatusState:
    return StatusState(**{"completion_time": LONG_AGO, "attempt": 1, **status, **values})


def job(store: Store, state: StatusState, **values: Any) -> JobRecord:
    return store.insert(draft(**{"creation_time": LONG_AGO, "state": state, **values}))


@pytest.mark.parametrize(
    ("state", "values", "old"),
    [
        (ended(COMPLETE), {}, True),
        (ended(COMPLETE, completion_time=LATELY), {}, False),
        (ended(COMPLETE, completion_time=None, last_status_update=LONG_AGO), {}, True),
        (ended(COMPLETE, completion_time=None), {}, True),
        (ended(COMPLETE, last_status_update=LONG_AGO), {}, True),
        # nobody had asked the scheduler for a month
        (ended(COMPLETE, last_status_update=LATELY), {}, False),
        (ended(SUBMITTED), {}, False),
        (ended(FAILED), {}, True),
        (ended(FAILED), {"retries": 1}, False),
        (ended(FAILED, completion_time=LONG_AGO - DAY), {"retries": 1, "retry_delay": 60}, True),
        (ended(FAILED, completion_time=LONG_AGO - DAY), {"retries": 1, "retry_delay": 86400}, False),
        (ended(FAILED, attempt=2), {"retries": 1}, True),
        (ended(COMPLETE), {"retries": 1}, True),
        (ended(COMPLETE), {"results_owner": "a process", "results_until": clock.now() + DAY}, False),
        (ended(COMPLETE), {"results_owner": "a dead one", "results_until": LATELY}, True),
    ],
)  # fmt: skip
def test_a_job_is_old_once_nothing_more_happens(
    store: Store, state: StatusState, values: dict[str, Any], old: bool
) -> None:
    # given
    found = job(store, state, **values)
    # then
    assert OldJobs(store.database).page(BEFORE, 0).old == ([found.id] if old else [])
    assert OldJobs(store.database).remove([found.id], BEFORE) == int(old)
    assert (store.get(found.id) is None) is old


def test_pages_end_where_jobs_are_young(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    # given
    monkeypatch.setattr(retention, "PAGE", 2)
    first, _, third = job(store, ended(COMPLETE)), job(store, ended(SUBMITTED)), job(store, ended(COMPLETE))
    job(store, ended(SUBMITTED), creation_time=LATELY)
    job(store, ended(SUBMITTED), creation_time=LATELY)
    jobs = OldJobs(store.database)
    # when
    page = jobs.page(BEFORE, 0)
    following = jobs.page(BEFORE, page.last or 0)
    # then
    assert page.old == [first.id] and page.last is not None
    assert following == retention.Page([third.id], None)


def test_all_rows_of_a_job_go_and_its_run_is_noted_for_deletion(store: Store) -> None:
    # given
    gone = job(store, ended(COMPLETE), groups=("a group",), flow_run_id="its run")
    stays = job(store, ended(COMPLETE, completion_time=LATELY), groups=("a group",), flow_run_id="another run")
    for each in (gone, stays):
        store.save_nodes(each.id, [NodeRecord("N")])
        store.put_blob(each.id, "result", b"data")
        store.add_check(each.id, clock.now())
        store.update(each.id, lambda fresh: Change({}, messages=((logging.INFO, "said"),)))
    # when
    assert OldJobs(store.database).remove([gone.id, stays.id], BEFORE) == 1
    # then
    assert store.run_deletions() == ["its run"]
    tables = (NODES, BLOBS, CHECKS, MESSAGES, GROUPS)
    with store.database.reading() as connection:
        left = [connection.execute(select(func.count()).select_from(table)).scalar_one() for table in tables]
        assert connection.execute(select(JOBS.c.id)).scalars().all() == [stays.id]
    assert left == [1] * len(tables)


def test_a_job_that_was_submitted_again_meanwhile_stays(store: Store) -> None:
    # given
    jobs = OldJobs(store.database)
    again = job(store, ended(COMPLETE))
    old = jobs.page(BEFORE, 0).old
    # when
    store.update(again.id, lambda fresh: Change({"state": StatusState(**SUBMITTED)}))
    # then
    assert jobs.remove(old, BEFORE) == 0
    assert store.get(again.id) is not None
