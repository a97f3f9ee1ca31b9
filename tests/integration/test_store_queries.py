"""Finding jobs, on both databases alike: whose, in which order, page by page, and what that costs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select

from prefect_jobs.records import StatusState
from prefect_jobs.store import Database, Store
from prefect_jobs.store.filters import JobQuery, conditions, order
from prefect_jobs.store.tables import JOBS
from tests.support import draft

DAY = datetime(2026, 3, 1, tzinfo=UTC)


def names(store: Store, **query: Any) -> list[str]:
    return [job.name for job in store.find(JobQuery(**query))]


def matches(store: Store, **filters: Any) -> set[str]:
    """The names of the jobs that a filter finds; ``count`` must agree."""
    query = JobQuery(filters=filters)
    found = [job.name for job in store.find(query)]
    assert store.count(query) == len(found) == len(set(found))
    return set(found)


@contextmanager
def statements(store: Store) -> Iterator[list[str]]:
    """What is sent to the database meanwhile."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        seen.append(statement)

    store.identity  # noqa: B018 (the schema is there before anything is counted)
    event.listen(store.database.engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(store.database.engine, "before_cursor_execute", note)


# -- whose jobs --------------------------------------------------------------------------------------------


def test_jobs_are_found_by_app_user_and_group(store: Store) -> None:
    store.insert(draft("1", label="one", user="alice", groups=("a", "b")))
    store.insert(draft("2", label="one", user="bob", groups=("b",)))
    store.insert(draft("3", label="two", user="alice"))

    assert names(store) == ["1", "2", "3"]
    assert names(store, label="one") == ["1", "2"]
    assert names(store, label="one", user="alice") == ["1"]
    assert names(store, groups=("b",)) == ["1", "2"]
    assert names(store, groups=("a", "b")) == ["1", "2"]
    assert names(store, groups=("c",)) == []
    assert names(store, groups=()) == []
    assert matches(store, groups="a") == {"1"}
    assert matches(store, groups__contains="b") == {"1", "2"}
    assert matches(store, groups__in=["a", "c"]) == {"1"}


# -- order and pages ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ordered(new_store: Callable[[], Store]) -> Store:
    store = new_store()
    for name, start, user in (("a", 2, "x"), ("b", None, "x"), ("c", 1, "y"), ("d", None, "y"), ("e", 2, "y")):
        time = None if start is None else DAY + timedelta(days=start)
        store.insert(draft(name, user=user, state=StatusState(start_time=time)))
    return store


@pytest.mark.parametrize(
    ("order_by", "expected"),
    [
        ("id", "abcde"),
        ("-id", "edcba"),
        ((), "abcde"),
        ("start_time", "caebd"),
        ("-start_time", "eacdb"),
        (("user", "-name"), "baedc"),
        (("-user", "start_time"), "cedab"),
        (["-start_time", "id"], "aecbd"),
        ("user", "abcde"),
        ("-user", "edcba"),
    ],
)
def test_jobs_come_in_order_with_nulls_last_and_ties_by_id(ordered: Store, order_by: Any, expected: str) -> None:
    assert "".join(names(ordered, order_by=order_by)) == expected


def test_pages_follow_each_other_without_gap_or_overlap(ordered: Store) -> None:
    everything = names(ordered, order_by="user")

    pages = [names(ordered, order_by="user", limit=2, offset=start) for start in range(0, 6, 2)]

    assert [name for page in pages for name in page] == everything
    assert names(ordered, offset=3) == ["d", "e"]
    assert names(ordered, limit=0) == []
    assert names(ordered, limit=10**30) == everything
    assert names(ordered, offset=10**30) == []
    assert ordered.count(JobQuery(limit=1, offset=4)) == 5


@pytest.mark.parametrize("order_by", ["nonsense", "--id", "", "-", "extended_properties", ("id", "nonsense"), 5, (5,)])
def test_an_order_that_makes_no_sense_is_refused_by_name(ordered: Store, order_by: Any) -> None:
    with pytest.raises(ValueError, match="order"):
        ordered.find(JobQuery(order_by=order_by))


@pytest.mark.parametrize("page", [{"limit": -1}, {"offset": -1}, {"limit": 1.5}, {"limit": "3"}, {"limit": True}])
def test_a_page_that_makes_no_sense_is_refused(ordered: Store, page: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="whole number from 0"):
        ordered.find(JobQuery(**page))


# -- what it costs -----------------------------------------------------------------------------------------


def test_finding_jobs_takes_the_same_statements_however_many_there_are(store: Store) -> None:
    def sent(limit: int) -> list[str]:
        with statements(store) as seen:
            found = store.find(JobQuery(label="an_app", order_by="-creation_time", limit=limit))
        assert len(found) == limit
        assert all(job.groups == (f"group {job.name}",) for job in found)
        return seen

    for number in range(510):
        store.insert(draft(str(number), groups=(f"group {number}",)))

    few, many = sent(3), sent(510)

    assert len(few) == len(many) <= 3
    with statements(store) as seen:
        store.count(JobQuery(label="an_app"))
    assert len(seen) <= 2


@pytest.mark.parametrize("order_by", ["id", "-id", "-creation_time"])
def test_a_page_of_an_apps_jobs_is_read_in_order_without_sorting_all(tmp_path: Path, order_by: str) -> None:
    # PostgreSQL's plans depend on what it knows of the tables; SQLite's do not.
    database = Database(f"sqlite:///{tmp_path / 'jobs.db'}")
    query = JobQuery(label="an_app", order_by=order_by, limit=50)
    statement = select(JOBS.c.id, JOBS.c.name).where(*conditions(query, "sqlite")).order_by(*order(order_by)).limit(50)
    text = statement.compile(database.engine, compile_kwargs={"literal_binds": True})

    with database.reading() as connection:
        plan = " ".join(row[-1] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}"))
    database.dispose()

    assert "USING INDEX" in plan
    assert "TEMP B-TREE" not in plan


def test_what_prefect_does_not_show_yet_is_found_without_reading_all_jobs(tmp_path: Path) -> None:
    store = Store(Database(f"sqlite:///{tmp_path / 'jobs.db'}"))
    with statements(store) as seen:
        assert store.claim_faces("one", 60, 10) == []
    (asked,) = [statement for statement in seen if "face_owner" in statement]

    with store.database.reading() as connection:
        values = ("one", DAY.isoformat(), 10, 0)
        plan = [row[-1] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {asked}", values)]
    store.database.dispose()

    # The table is not gone through, but found by ids, and these by the partial indexes.
    assert not [step for step in plan if step.startswith("SCAN") and "INDEX" not in step]
    assert {"ix_jobs_behind", "ix_job_messages_unlogged", "ix_job_nodes_behind"} <= set(" ".join(plan).split())


def test_what_many_jobs_have_alike_is_in_memory_once(store: Store) -> None:
    for number in range(2):
        store.insert(draft(str(number), scheduler="a pool", native={"procs": [{"state": "Idle"}], "cluster": number}))

    first, second = store.find(JobQuery())

    assert first.scheduler is second.scheduler
    assert first.native["procs"][0]["state"] is second.native["procs"][0]["state"]
    assert next(iter(first.native)) is next(iter(second.native))
