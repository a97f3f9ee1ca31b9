"""What the projector tells those who wait, where Prefect or the database fails it."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import insert

from prefect_jobs import clock
from prefect_jobs.projection.prefect_api import DELETED_AT_ONCE, NewRun, PrefectApi, PrefectAway
from prefect_jobs.projection.projector import Projector
from prefect_jobs.projection.run_faces import Form
from prefect_jobs.records import JobRecord
from prefect_jobs.store import Database, DatabaseError, Store
from prefect_jobs.store.tables import RUN_DELETIONS
from tests.support import draft, eventually

FLOW = "prefect_jobs.flows.basic_job:basic_job"


class Fault:
    """Whether Prefect is away, and whether the database fails."""

    prefect = False
    database = False


class Calls:
    """What Prefect was asked for, and what a test does at the first deletion."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.at_first: Callable[[], object] = bool


class FakeApi(PrefectApi):
    """Prefect, as far as jobs that are new need it."""

    def __init__(self, fault: Fault, calls: Calls | None = None) -> None:
        super().__init__()
        self._fault = fault
        self._calls = calls or Calls()

    def check(self) -> None:
        if self._fault.prefect:
            raise PrefectAway("Prefect is away.")

    def create_run(self, run: NewRun) -> tuple[str, str | None, str | None]:
        self.check()
        self._calls.made.append("shown")
        return str(uuid4()), str(uuid4()), run.face.name

    def delete_runs(self, run_ids: Sequence[str]) -> None:
        self.check()
        self._calls.made.append("deleted")
        if self._calls.made.count("deleted") == 1:
            self._calls.at_first()


class FaultyStore(Store):
    """A store whose database may fail."""

    fault: Fault

    def claim_faces(self, owner: str, seconds: float, limit: int, only: Sequence[int] | None = None) -> list[JobRecord]:
        if self.fault.database:
            raise DatabaseError("The database is away.")
        return super().claim_faces(owner, seconds, limit, only)


@pytest.fixture
def fault() -> Fault:
    """Nothing fails at first."""
    return Fault()


@pytest.fixture
def store(tmp_path: Path, fault: Fault) -> Iterator[FaultyStore]:
    """An empty store."""
    database = Database(f"sqlite:///{tmp_path / 'jobs.db'}")
    made = FaultyStore(database)
    made.fault = fault
    yield made
    database.dispose()


@pytest.fixture
def calls() -> Calls:
    """None at first."""
    return Calls()


@pytest.fixture
def projector(store: FaultyStore, fault: Fault, calls: Calls) -> Iterator[Projector]:
    """What shows the jobs of the store."""
    made = Projector(store, lambda _: Form(FLOW, {}), lambda: FakeApi(fault, calls))
    yield made
    fault.prefect = fault.database = False
    made.close()


def at_once(ask: Callable[[], bool]) -> bool:
    """The answer, which comes long before patience ends."""
    began = time.monotonic()
    answer = ask()
    assert time.monotonic() - began < 20
    return answer


def test_all_is_shown(store: FaultyStore, projector: Projector) -> None:
    job = store.insert(draft())
    assert projector.wait([job.id], 30)
    assert projector.flush(30)
    assert not store.behind([job.id])


def test_not_all_is_shown_while_prefect_is_away(store: FaultyStore, projector: Projector, fault: Fault) -> None:
    fault.prefect = True
    job = store.insert(draft())
    projector.kick(job.id)
    assert not at_once(lambda: projector.flush(60))
    assert not at_once(lambda: projector.wait([job.id], 60))
    assert store.behind([job.id])
    # when it is back
    fault.prefect = False
    eventually(lambda: projector.wait([job.id]), "the job is shown")
    assert projector.flush(30)


def test_nothing_is_called_shown_that_an_unexpected_error_kept_back(
    store: FaultyStore, projector: Projector, fault: Fault
) -> None:
    fault.database = True
    job = store.insert(draft())
    assert not at_once(lambda: projector.wait([job.id], 60))
    assert not at_once(lambda: projector.flush(60))
    assert store.behind([job.id])
    # when it is over
    fault.database = False
    eventually(lambda: projector.wait([job.id]), "the job is shown")
    assert not store.behind([job.id])


# -- runs that are to be deleted ---------------------------------------------------------------------------


def to_delete(store: Store, count: int) -> None:
    rows = [{"flow_run_id": str(uuid4()), "asked": clock.now()} for _ in range(count)]
    with store.database.writing() as connection:
        connection.execute(insert(RUN_DELETIONS), rows)


def test_jobs_are_shown_while_many_runs_are_deleted(store: FaultyStore, projector: Projector, calls: Calls) -> None:
    # given
    to_delete(store, 20 * DELETED_AT_ONCE)
    calls.at_first = lambda: projector.kick(store.insert(draft()).id)
    # when
    projector.sweep(30)
    eventually(lambda: not store.run_deletions(), "they are deleted")
    # then
    assert calls.made == ["deleted", "shown", *["deleted"] * 19]


def test_a_program_that_ends_leaves_deletions_to_others(store: FaultyStore, projector: Projector, calls: Calls) -> None:
    # given
    to_delete(store, 200 * DELETED_AT_ONCE)
    begun = threading.Event()
    calls.at_first = begun.set
    projector.sweep(30)
    # when
    assert begun.wait(30)
    projector.close()
    # then
    assert store.run_deletions(1)
    # and the next one goes on at once
    projector.delete_runs_soon()
    eventually(lambda: not store.run_deletions(1), "they are deleted")


def test_a_program_that_ends_deletes_the_runs_of_the_jobs_that_it_deleted(
    store: FaultyStore, projector: Projector
) -> None:
    count = 2 * DELETED_AT_ONCE + 1
    to_delete(store, count)
    for _ in range(count):
        projector.delete_runs_soon(1)
    projector.close()
    assert store.run_deletions() == []


def test_one_of_several_processes_deletes_runs(
    store: FaultyStore, projector: Projector, fault: Fault, calls: Calls
) -> None:
    # given
    to_delete(store, 2 * DELETED_AT_ONCE)
    idle = Calls()
    other = Projector(store, lambda _: Form(FLOW, {}), lambda: FakeApi(fault, idle))

    def also() -> None:
        other.delete_runs_soon(1)
        assert other.flush(30)  # it deletes its own run, and does not wait for what the first one does

    calls.at_first = also
    # when
    projector.delete_runs_soon()
    eventually(lambda: not store.run_deletions(1), "they are deleted")
    other.close()
    # then
    assert len(calls.made) == 2 and idle.made == ["deleted"]


def test_who_cannot_reach_prefect_leaves_deletions_to_others(
    store: FaultyStore, projector: Projector, fault: Fault
) -> None:
    # given
    to_delete(store, 1)
    fault.prefect = True
    projector.delete_runs_soon(1)
    assert not at_once(lambda: projector.flush(60))
    # when
    other = Projector(store, lambda _: Form(FLOW, {}), lambda: FakeApi(Fault()))
    other.delete_runs_soon(1)
    # then
    assert other.flush(30) and store.run_deletions() == []
    other.close()
