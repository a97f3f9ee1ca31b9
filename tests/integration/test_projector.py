"""What the projector tells those who wait, where Prefect or the database fails it."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from uuid import uuid4

import pytest

from prefect_jobs.projection.prefect_api import NewRun, PrefectApi, PrefectAway
from prefect_jobs.projection.projector import Projector
from prefect_jobs.projection.run_faces import Form
from prefect_jobs.records import JobRecord
from prefect_jobs.store import Database, DatabaseError, Store
from tests.support import draft, eventually

FLOW = "prefect_jobs.flows.basic_job:basic_job"


class Fault:
    """Whether Prefect is away, and whether the database fails."""

    prefect = False
    database = False


class FakeApi(PrefectApi):
    """Prefect, as far as jobs that are new need it."""

    def __init__(self, fault: Fault) -> None:
        super().__init__()
        self._fault = fault

    def check(self) -> None:
        if self._fault.prefect:
            raise PrefectAway("Prefect is away.")

    def create_run(self, run: NewRun) -> tuple[str, str | None, str | None]:
        self.check()
        return str(uuid4()), str(uuid4()), run.face.name


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
def projector(store: FaultyStore, fault: Fault) -> Iterator[Projector]:
    """What shows the jobs of the store."""
    made = Projector(store, lambda _: Form(FLOW, {}), lambda: FakeApi(fault))
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
