"""Lists among many jobs: SQLite finds those of the usual questions in an index, and reads only rows that it lists."""

from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from sqlalchemy import event, text

from prefect_jobs import clock, statuses
from prefect_jobs.records import Change, StatusState
from prefect_jobs.store import Store
from prefect_jobs.store.filters import JobQuery
from tests.support import draft

RUNNING = StatusState(status_code="RUN", status=statuses.RUNNING, status_class="ran:RUNNING", attempt=1)
DAY = datetime(2026, 3, 1, tzinfo=UTC)


def said(store: Store, work: Any) -> list[tuple[str, Any]]:
    """The statements of some work, with their values."""
    found: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, values: Any, *_: Any) -> None:
        found.append((statement, values))

    event.listen(store.database.engine, "before_cursor_execute", note)
    try:
        work()
    finally:
        event.remove(store.database.engine, "before_cursor_execute", note)
    return found


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("index", "asked"),
    [
        ("label_user_creation_time", {"user": "bob", "order_by": "-creation_time"}),
        ("label_status", {"user": "bob", "filters": {"status": "Running"}, "order_by": "-creation_time"}),
        ("label_status", {"user": "bob", "filters": {"status": "Running"}}),
        ("label_status", {"filters": {"status__in": ["Running", "Held"]}, "order_by": "-creation_time"}),
        ("label_status", {"filters": {"status_code": "RUN"}, "order_by": "-id"}),
        ("label_execute_time", {"order_by": "-execute_time"}),
        ("label_completion_time", {"order_by": "completion_time"}),
        ("label_completion_time", {"filters": {"completion_time__gte": DAY}, "order_by": "-completion_time"}),
        ("label_name", {"order_by": "name"}),
        ("label_name", {"order_by": "name", "user": "bob"}),
        ("label_name", {"filters": {"name": "flood"}}),
        ("label_name", {"filters": {"name__startswith": "flo"}}),
        ("label_schedule", {"filters": {"schedule": "nightly"}, "order_by": "-id"}),
        ("remote_id", {"filters": {"remote_id": "12"}, "order_by": "-id"}),
        ("remote_id", {"filters": {"remote_id__in": ["12", "13"]}}),
    ],
    ids=str,
)
def test_the_usual_questions_are_answered_by_an_index(store: Store, index: str, asked: dict[str, Any]) -> None:
    query = JobQuery(label="an_app", limit=50, **asked)
    *_, (statement, values) = said(store, lambda: store.find(query))

    with store.database.reading() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()

    assert any(f"COVERING INDEX ix_jobs_{index} " in step.detail for step in plan), plan


def _always(change: Change, _: Any) -> Change:
    return change


def test_a_list_with_a_limit_is_that_part_of_the_whole_list(store: Store) -> None:
    for number in range(7):
        made = store.insert(draft(f"job {number % 3}"))
        if number % 2:
            change = Change({"state": RUNNING, "remote_id": str(number % 3)})
            store.update(made.id, partial(_always, change))
    for order_by in ("id", "-creation_time", "name", "-execute_time", ("name", "-remote_id")):
        for filters in ({}, {"status": "Running"}, {"name__startswith": "job 1"}, {"remote_id__in": ["1", None]}):
            whole = store.find(JobQuery(label="an_app", order_by=order_by, filters=filters))
            assert store.find(JobQuery(order_by=order_by, filters=filters, limit=2, offset=1)) == whole[1:3]
    for codes in (["RUN"], iter(["OTH", "RUN"]), (code for code in ("RUN", None))):
        assert len(store.find(JobQuery(filters={"status_code__in": codes}, limit=50))) == 3


def test_a_status_that_is_written_again_leaves_the_indexes_of_its_times_alone(store: Store) -> None:
    made = store.insert(draft(state=RUNNING))
    seen = StatusState(**{**vars(RUNNING), "last_status_update": clock.now()})

    (statement, _), *_ = said(store, lambda: store.update(made.id, lambda _: Change({"state": seen}), known=made))

    assert statement.startswith("UPDATE")
    assert "last_status_update" in statement
    assert "execute_time" not in statement
    assert "status_code" not in statement
    found = store.get(made.id)
    assert found is not None
    assert found.state == seen


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_postgresql_lists_the_newest_first_by_an_index(store: Store) -> None:
    with store.database.reading() as connection:
        found = connection.execute(text("SELECT indexdef FROM pg_indexes WHERE tablename = 'jobs'")).scalars().all()

    for time in ("execute_time", "completion_time"):
        assert any(f"(label, {time} DESC NULLS LAST, id DESC, username)" in one for one in found), found
