"""Nodes of workflows in a real Prefect: the graph, its changes, and what they cost."""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from prefect_jobs.local.prefect_server import PrefectServerInfo
from prefect_jobs.projection import node_faces
from prefect_jobs.projection.projector import Projector
from prefect_jobs.projection.run_faces import Form
from prefect_jobs.records import NodeRecord
from prefect_jobs.store import Database, Store
from tests.integration.node_views import DIAMOND, FLOW, MakeWorkflow, View, Wire, WiredApi, Workflow, node
from tests.support import draft, eventually

pytestmark = pytest.mark.prefect


@pytest.fixture(autouse=True)
def _short_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_faces, "PROGRESS_PAUSE", 1.0)


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
    """The wire of the projector."""
    return Wire()


MakeProjector = Callable[[], Projector]


@pytest.fixture
def make_projector(jobs: Store, wire: Wire, prefect_server: PrefectServerInfo) -> Iterator[MakeProjector]:
    """Makes projectors, as processes have them."""
    made: list[Projector] = []

    def make() -> Projector:
        made.append(Projector(jobs, lambda _: Form(FLOW, {}), lambda: WiredApi(wire)))
        return made[-1]

    yield make
    wire.cut = False
    for projector in made:
        projector.close()


@pytest.fixture
def projector(make_projector: MakeProjector) -> Projector:
    """What shows the jobs of the store."""
    return make_projector()


@pytest.fixture
def make_workflow(jobs: Store, projector: Projector) -> MakeWorkflow:
    """Makes workflows; by default a diamond of four nodes."""

    def make(nodes: list[NodeRecord] = DIAMOND, projector: Projector = projector) -> Workflow:
        return Workflow(jobs, projector, nodes)

    return make


def test_the_nodes_are_drawn_when_the_workflow_is_submitted_and_follow_it(
    make_workflow: MakeWorkflow, view: View
) -> None:
    job = make_workflow([*DIAMOND, node("clean", kind="FINAL"), node("helper", kind="SERVICE")])
    job.projector.flush(10)
    assert view.task_runs(job.run) == []
    job.submit()
    job.shown()
    assert view.graph(job.run) == {
        "fetch": set(),
        "left": {"fetch"},
        "right": {"fetch"},
        "merge": {"left", "right"},
        "clean": {"merge"},
        "helper": set(),
    }
    assert set(view.states(job.run).values()) == {
        ("PENDING", "Pending", f"{name} is Pending") for name in view.graph(job.run)
    }
    job.now("Running", fetch="Submitted", helper="Running")
    job.shown()
    job.now(fetch="Complete", left="Running", right="Held")
    job.shown()
    states = view.states(job.run)
    assert states["fetch"] == ("COMPLETED", "Completed", "fetch is Complete")
    assert states["left"][:2] == ("RUNNING", "Running")
    assert states["right"] == ("PAUSED", "Held", "right is Held")
    assert states["helper"][:2] == ("RUNNING", "Running")
    job.now(left="Error", right="Aborted")
    job.shown()
    states = view.states(job.run)
    assert (states["left"][0], states["right"][0]) == ("FAILED", "CANCELLED")
    # The run itself was written only when the job changed.
    assert view.run_states(job.run) == ["Pending", "Submitted", "Running"]


def test_a_node_costs_four_calls_in_its_life_and_none_between(
    make_workflow: MakeWorkflow, wire: Wire, projector: Projector
) -> None:
    job = make_workflow()
    names = [one.name for one in DIAMOND]
    wire.clear()
    job.submit()
    job.shown()
    for status in ("Submitted", "Running", "Complete"):
        job.now(None, **dict.fromkeys(names, status))
        job.shown()
    assert wire.count("/task_runs/") == 4 * len(names)
    wire.clear()
    for _ in range(5):
        projector.kick(job.id)
        projector.flush(10)
    projector.sweep(10)
    assert wire.requests == []


def test_only_the_latest_state_is_shown(make_workflow: MakeWorkflow, wire: Wire, view: View) -> None:
    job = make_workflow()
    wire.cut = True
    job.submit()
    eventually(lambda: job.projector.away, "Prefect is away")
    job.now("Running", fetch="Running")
    job.now(fetch="Complete")
    wire.cut = False
    job.shown()
    assert wire.count("/task_runs/") == 4
    assert view.states(job.run)["fetch"][0] == "COMPLETED"


def test_prefect_away_in_the_middle_loses_nothing_and_repeats_nothing(
    make_workflow: MakeWorkflow, wire: Wire, view: View, jobs: Store
) -> None:
    job = make_workflow([node(f"n{number}") for number in range(40)])
    wire.cut_after = ("/task_runs/", 10)
    job.submit()
    eventually(lambda: job.projector.away, "Prefect is away")
    assert 0 < jobs.count_nodes_behind(job.id) < 40
    # Nobody waits for it.
    began = time.monotonic()
    assert not job.projector.wait([job.id], 100)
    assert time.monotonic() - began < 2.5
    wire.cut = False
    job.shown()
    assert len(view.task_runs(job.run)) == 40
    assert wire.count("/task_runs/") == 40


def test_a_lost_answer_makes_nothing_twice(make_workflow: MakeWorkflow, wire: Wire, view: View) -> None:
    job = make_workflow()
    wire.lose = 1
    job.now(None, fetch="Pending")
    eventually(lambda: job.projector.away, "the answer is lost")
    job.now(None, fetch="Running", left="Pending", right="Pending", merge="Pending")
    job.shown()
    assert view.states(job.run)["fetch"] == ("RUNNING", "Running", "fetch is Running")
    assert len(view.task_runs(job.run)) == 4
    assert [kind for kind, _, _ in view.artifacts(job.run)] == ["progress"]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_the_lost_answer_of_an_artifact_makes_none_twice(
    make_workflow: MakeWorkflow, wire: Wire, view: View, number: int
) -> None:
    job = make_workflow([node("one")])
    wire.lose_at = ("/artifacts/", number)
    job.submit()
    eventually(lambda: wire.lost or (not job.behind and job.projector.flush(1)), "the node is shown")
    job.now("Complete", one="Complete")
    job.shown()
    assert wire.lost
    assert [kind for kind, _, _ in view.artifacts(job.run)] == ["markdown", "progress"]


def test_how_far_it_is_and_what_became_of_it_are_said_once_each(
    make_workflow: MakeWorkflow, view: View, wire: Wire
) -> None:
    job = make_workflow([*DIAMOND, node("helper", kind="SERVICE")])
    job.submit()
    job.shown()
    (progress,) = view.artifacts(job.run)
    assert progress[:2] == ("progress", 0.0)
    assert f"(job {job.id})" in progress[2] and "a workflow" in progress[2]
    # It fails …
    job.now("Running", fetch="Complete", left="Error", right="Complete")
    job.now("Error")
    job.shown()
    dag, progress = view.artifacts(job.run)
    assert progress[:2] == ("progress", 50.0)
    assert dag[0] == "markdown" and f"(job {job.id})" in dag[2]
    assert "5 nodes: 2 Pending, 2 Complete, 1 Error." in dag[1] and "```mermaid" in dag[1]
    assert "| left | Error | left is Error |" in dag[1]
    assert view.states(job.run)["merge"][:2] == ("PENDING", "NotReady")
    assert view.run_states(job.run)[-1] == "Failed"
    written = len(view.run_states(job.run))
    # … is looked at, which changes nothing …
    wire.clear()
    job.projector.sweep(10)
    assert wire.requests == []
    # … and is submitted again.
    job.submit(2, "left", "merge")
    job.shown()
    assert view.states(job.run)["merge"][:2] == ("PENDING", "Pending")
    assert "1 Error" in view.artifacts(job.run)[0][1]
    job.now(None, left="Complete", merge="Complete")
    job.now("Complete", helper="Complete")
    job.shown()
    dag, progress = view.artifacts(job.run)
    assert progress[1] == 100.0
    assert "5 nodes: 5 Complete." in dag[1]
    assert len(view.run_states(job.run)) == written + 2


def test_the_progress_waits_but_not_for_ever(
    make_workflow: MakeWorkflow, view: View, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_faces, "PROGRESS_PAUSE", 2.0)
    job = make_workflow()
    job.submit()
    job.shown()
    wire.clear()
    for name in ("fetch", "left", "right"):
        job.now(None, **{name: "Complete"})
        eventually(lambda: not job.behind, "the node is shown", 30)
    assert wire.count("/artifacts/") <= 1
    eventually(lambda: view.artifacts(job.run)[0][1] == 75.0, "the progress is said", 30)
    assert wire.count("/artifacts/") <= 2


def test_deleted_task_runs_and_artifacts_are_no_fault_of_the_others(
    make_workflow: MakeWorkflow, view: View, caplog: pytest.LogCaptureFixture
) -> None:
    job = make_workflow()
    job.submit()
    job.shown()
    view.delete(f"/task_runs/{next(one['id'] for one in view.task_runs(job.run) if one['name'] == 'fetch')}")
    view.delete(f"/artifacts/{job.record.face_shown['progress']}")
    with caplog.at_level(logging.WARNING):
        job.now("Running", fetch="Running", left="Complete")
        job.shown()
    assert "The node fetch" in caplog.text
    states = view.states(job.run)
    assert "fetch" not in states and states["left"][0] == "COMPLETED"
    job.now("Complete", right="Complete", merge="Complete")
    job.shown()
    assert [kind for kind, _, _ in view.artifacts(job.run)] == ["markdown", "progress"]


def test_a_deleted_flow_run_costs_one_call_and_one_warning(
    make_workflow: MakeWorkflow, view: View, wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    job = make_workflow()
    view.delete(f"/flow_runs/{job.run}")
    wire.clear()
    with caplog.at_level(logging.WARNING):
        job.now(None, **{one.name: "Pending" for one in DIAMOND})
        job.shown()
    assert len(wire.requests) == 1
    assert [line.message for line in caplog.records if line.name.startswith("prefect_jobs")] == [
        f"The flow run of job {job.id} was deleted in Prefect; its nodes are not shown"
    ]
    job.now("Error", fetch="Error")
    job.shown()
    assert view.artifacts(job.run) == []


def test_many_nodes_keep_no_other_job_waiting(
    make_workflow: MakeWorkflow, jobs: Store, projector: Projector, wire: Wire
) -> None:
    job = make_workflow([node(f"n{number}", *([f"n{number - 1}"] if number % 10 else [])) for number in range(300)])
    job.submit()
    # The job itself is shown long before its nodes are, and so are others.
    assert projector.wait([job.id], 10)
    assert jobs.count_nodes_behind(job.id) > 200
    for number in range(3):
        other = jobs.insert(draft(f"other {number}"))
        assert projector.wait([other.id], 10)
        left = jobs.count_nodes_behind(job.id)
        assert left > 0
    eventually(lambda: jobs.count_nodes_behind(job.id) < left, "the nodes go on", 10)
    wire.cut_at = ("/task_runs/",)


def test_two_workflows_take_turns(make_workflow: MakeWorkflow, jobs: Store, wire: Wire) -> None:
    many = 6 * node_faces.TURN_CALLS
    first = make_workflow([node(f"n{number}") for number in range(many)])
    second = make_workflow([node(f"n{number}") for number in range(many)])
    first.submit()
    second.submit()
    eventually(lambda: jobs.count_nodes_behind(second.id) < many, "the second one has had a turn", 30, 0.01)
    assert jobs.count_nodes_behind(first.id) > 0
    wire.cut_at = ("/task_runs/",)


def test_what_a_process_left_behind_is_shown_by_another(
    make_workflow: MakeWorkflow, make_projector: MakeProjector, wire: Wire, view: View, projector: Projector
) -> None:
    # given a workflow whose process shows its end, but ends itself before the end of its nodes is shown
    job = make_workflow()
    job.submit()
    job.shown()
    job.now("Running", fetch="Error")
    job.shown()
    shown = len(view.run_states(job.run))

    wire.cut_at = ("/task_runs/", "/artifacts/")
    job.now("Error")
    eventually(lambda: projector.away, "Prefect is away")
    projector.close()
    assert len(view.run_states(job.run)) == shown + 1
    assert job.behind
    # when another one comes
    wire.cut_at = ()
    job.projector = make_projector()
    job.projector.sweep(10)
    job.shown()
    # then it is shown
    assert view.states(job.run)["left"][:2] == ("PENDING", "NotReady")
    assert [kind for kind, _, _ in view.artifacts(job.run)] == ["markdown", "progress"]


def test_more_workflows_than_a_sweep_takes_hide_nobody(jobs: Store, projector: Projector, wire: Wire) -> None:
    for number in range(60):
        record = jobs.insert(draft(f"workflow {number}"))
        jobs.face_shown(record, flow_run_id=str(uuid4()), shown={"name": record.name, "remote_id": None})
        jobs.save_nodes(record.id, [replace(node("one"), seq=1)])
    last = jobs.insert(draft("the last"))
    assert projector.sweep(30)
    found = jobs.get(last.id)
    assert found is not None and found.flow_run_id
