"""What stands on the page of a job's run in a real Prefect: one text of each kind, whatever is lost or dies."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from prefect_jobs.local.prefect_server import PrefectServerInfo
from prefect_jobs.projection.projector import Projector
from prefect_jobs.projection.run_faces import Form
from prefect_jobs.records import Change, JobRecord
from prefect_jobs.store import Database, Store
from tests.integration.node_views import FLOW, View, Wire, WiredApi, Workflow, node
from tests.support import draft, eventually

pytestmark = pytest.mark.prefect

_PATH = "/artifacts/"
_SEARCH = "/artifacts/filter"

MakeProjector = Callable[[], Projector]


@pytest.fixture
def view(prefect_server: PrefectServerInfo) -> Iterator[View]:
    """Prefect, as people see it."""
    made = View(prefect_server.api_url)
    yield made
    made.close()


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    database = Database(f"sqlite:///{tmp_path / 'jobs.db'}")
    yield Store(database)
    database.dispose()


@pytest.fixture
def wire() -> Wire:
    """The wire of the projectors."""
    return Wire()


@pytest.fixture
def make_projector(jobs: Store, wire: Wire) -> Iterator[MakeProjector]:
    """Makes projectors, as processes have them; the page of a run says which attempt it was."""
    made: list[Projector] = []

    def page(record: JobRecord) -> str:
        return f"This was attempt {record.state.attempt}."

    def make() -> Projector:
        made.append(Projector(jobs, lambda _: Form(FLOW, {}), lambda: WiredApi(wire), page=page))
        return made[-1]

    yield make
    wire.cut, wire.cut_at = False, ()
    for projector in made:
        projector.close()


def texts(view: View, job: Workflow) -> list[str]:
    """What stands on the page of its run."""
    return [data for _, data, _ in view.artifacts(job.run)]


def test_it_is_put_there_without_a_search_and_the_next_attempt_replaces_it(
    jobs: Store, make_projector: MakeProjector, view: View, wire: Wire
) -> None:
    job = Workflow(jobs, make_projector(), [])
    job.submit(1)
    job.now("Complete")
    job.shown()
    assert texts(view, job) == ["This was attempt 1."]
    assert wire.count(_PATH) == 1
    assert wire.count(_SEARCH) <= len(wire.unanswered), "it is searched for if it is not known whether it is there"
    # when it runs again
    job.submit(2)
    job.now("Error")
    job.shown()
    assert texts(view, job) == ["This was attempt 2."]


def test_it_is_there_once_though_the_answer_was_lost(
    jobs: Store, make_projector: MakeProjector, view: View, wire: Wire
) -> None:
    job = Workflow(jobs, make_projector(), [])
    job.submit(1)
    job.shown()
    wire.lose_at = (_PATH, 1)
    job.now("Complete")
    eventually(lambda: wire.lost, "the answer is lost", 30)
    job.shown()
    assert texts(view, job) == ["This was attempt 1."]


def test_it_is_there_once_though_the_process_died_before_it_noted_that(
    jobs: Store, make_projector: MakeProjector, view: View, wire: Wire
) -> None:
    first = make_projector()
    job = Workflow(jobs, first, [])
    job.submit(1)
    job.shown()
    wire.lose_at = (_PATH, 1)
    job.now("Complete")
    eventually(lambda: wire.lost, "the answer is lost", 30)
    wire.cut = True
    first.close()  # its claims are given back, or expire
    wire.cut = False
    # when another process shows it
    job.projector = make_projector()
    job.projector.kick(job.id)
    job.shown()
    assert texts(view, job) == ["This was attempt 1."]


def test_it_is_there_once_for_a_run_of_an_earlier_version(
    jobs: Store, make_projector: MakeProjector, view: View, wire: Wire
) -> None:
    job = Workflow(jobs, make_projector(), [])
    job.submit(1)
    job.now("Complete")
    job.shown()
    before = {key: value for key, value in job.record.face_shown.items() if key != "put"}
    jobs.face_shown(job.record, shown=before)
    # when it runs again
    for attempt in (2, 3):
        job.submit(attempt)
        job.now("Complete")
        job.shown()
        assert texts(view, job) == [f"This was attempt {attempt}."]


def test_how_far_a_workflow_is_stands_there_once_though_the_answer_was_lost(
    jobs: Store, make_projector: MakeProjector, view: View, wire: Wire
) -> None:
    job = Workflow(jobs, make_projector(), [node("one")])
    wire.lose_at = (_PATH, 1)
    job.submit()
    eventually(lambda: wire.lost, "the answer is lost", 30)
    # when the state of the run is shown before the nodes' next turn
    wire.cut_at = (_PATH,)
    job.now("Running")
    eventually(lambda: not job.record.behind, "the state is shown", 60)
    wire.cut_at = ()
    job.shown()
    assert [kind for kind, _, _ in view.artifacts(job.run)] == ["progress"]


def test_what_failed_is_searched_for(jobs: Store) -> None:
    job = jobs.insert(draft())
    (claimed,) = jobs.claim_faces("one", 60, 10)
    assert not claimed.face_tried
    # when it came to an error, and is shown later, by another process, with nodes in between
    jobs.face_shown(claimed, failed=True)
    jobs.update(job.id, lambda record: Change({"face_seq": record.face_seq + 1}))
    (claimed,) = jobs.claim_faces("two", 60, 10)
    assert claimed.face_tried
    jobs.face_shown(replace(claimed, face_seq=claimed.face_done))
    (claimed,) = jobs.claim_faces("three", 60, 10)
    assert claimed.face_tried
    # when it is shown
    jobs.face_shown(claimed)
    jobs.update(job.id, lambda record: Change({"face_seq": record.face_seq + 1}))
    (claimed,) = jobs.claim_faces("four", 60, 10)
    assert not claimed.face_tried
