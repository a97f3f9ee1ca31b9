"""The nodes of a workflow in the store, on both databases: what was wanted and what was observed are written apart,
and no race, no text and no number of them spoils either."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import event

from prefect_jobs.records import Change, JobRecord, NodeRecord
from prefect_jobs.store import JobGone, Store
from tests.support import draft


def full_node(name: str = "build", position: int = 0) -> NodeRecord:
    return NodeRecord(
        name,
        position=position,
        spec={"kind": "job", "parents": ["fetch"], "attributes": {"executable": "run.sh"}},
        status="Running",
        message="since noon",
        native={"cluster": 17, "tries": [1, 2.5, None], "host": "Grüße, 世界"},
        seq=3,
        shown=2,
    )


def workflow(store: Store, *nodes: NodeRecord, **values: Any) -> JobRecord:
    """A job with nodes, whose own face is up to date."""
    job = store.insert(draft("a workflow", **values))
    store.save_nodes(job.id, nodes)
    store.face_shown(job)
    return job


def names(nodes: list[NodeRecord]) -> list[str]:
    return [node.name for node in nodes]


@contextmanager
def statements(store: Store) -> Iterator[list[str]]:
    """The statements that are sent to the database."""
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    event.listen(store.database.engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(store.database.engine, "before_cursor_execute", note)


# -- what was wanted ---------------------------------------------------------------------------------------


def test_every_field_of_a_new_node_is_stored(store: Store) -> None:
    job, other = workflow(store, full_node(), NodeRecord("plain", position=1)), workflow(store)

    assert store.nodes(job.id) == [full_node(), NodeRecord("plain", position=1)]
    assert store.nodes(other.id) == []


def test_nodes_come_by_position_and_then_by_name(store: Store) -> None:
    job = workflow(store, NodeRecord("c", position=1), NodeRecord("z"), NodeRecord("b", position=1), NodeRecord("B"))

    assert names(store.nodes(job.id)) == ["B", "z", "b", "c"]


def test_saving_again_changes_what_was_wanted_and_not_what_was_observed(store: Store) -> None:
    job = workflow(store, full_node(), NodeRecord("other", position=1))
    twin = workflow(store, full_node())
    again = NodeRecord("build", position=2, spec={"kind": "final"}, status="Pending", message="no", seq=9, shown=9)

    store.save_nodes(job.id, [NodeRecord("new", position=3, seq=1), again])

    assert store.nodes(job.id) == [
        NodeRecord("other", position=1),
        replace(full_node(), position=2, spec={"kind": "final"}),
        NodeRecord("new", position=3, seq=1),
    ]
    assert store.nodes(twin.id) == [full_node()]
    found = store.get(job.id)
    assert found is not None
    assert found.version == job.version


def test_nodes_of_a_job_that_does_not_exist_are_refused(store: Store) -> None:
    job = workflow(store, NodeRecord("a"))
    store.delete(job.id)

    for nodes in ([NodeRecord("a")], []):
        with pytest.raises(JobGone, match=f"Job {job.id} "):
            store.save_nodes(job.id, nodes)

    assert store.nodes(job.id) == []


def test_a_node_is_deleted_alone(store: Store) -> None:
    job, other = workflow(store, NodeRecord("a"), NodeRecord("b")), workflow(store, NodeRecord("a"))

    store.delete_node(job.id, "a")
    store.delete_node(job.id, "a")

    assert names(store.nodes(job.id)) == ["b"]
    assert names(store.nodes(other.id)) == ["a"]


def test_a_deleted_job_takes_its_nodes_along(store: Store) -> None:
    job, other = workflow(store, full_node()), workflow(store, full_node())

    store.delete(job.id)

    assert store.nodes(job.id) == []
    assert store.count_nodes_behind(job.id) == 0
    assert store.nodes(other.id) == [full_node()]


# -- what was observed -------------------------------------------------------------------------------------


def test_a_change_of_nodes_alone_is_written_and_raises_the_version(store: Store) -> None:
    job, twin = workflow(store, full_node(), NodeRecord("b", position=1)), workflow(store, full_node())
    before = store.get(job.id)
    assert before is not None
    seen = replace(full_node(), status="Complete", message="", native={"exit_code": 0}, seq=4)

    what = Change(nodes=(replace(seen, position=7, spec={"not": "written"}, shown=0),))
    after = store.update(job.id, lambda _: what).after

    assert after == replace(before, version=before.version + 1)
    assert store.get(job.id) == after
    assert store.nodes(job.id) == [seen, NodeRecord("b", position=1)]
    assert store.nodes(twin.id) == [full_node()]


def test_a_change_of_everything_is_written_as_one(store: Store) -> None:
    job = workflow(store, NodeRecord("a"), NodeRecord("b"))
    nodes = (NodeRecord("b", status="Failed", seq=1), NodeRecord("a", status="Complete", seq=1))

    after = store.update(job.id, lambda _: Change({"description": "new"}, ((20, "said"),), nodes)).after

    assert store.get(job.id) == after
    assert after.description == "new"
    assert [message.text for message in store.messages(job.id)] == ["said"]
    assert [(node.name, node.status) for node in store.nodes(job.id)] == [("a", "Complete"), ("b", "Failed")]


def test_a_lost_race_writes_no_node(store: Store) -> None:
    job = workflow(store, NodeRecord("a"), NodeRecord("b"))
    calls = []

    def slow(fresh: JobRecord) -> Change | None:
        calls.append(fresh.version)
        if len(calls) > 1:
            return None
        store.update(job.id, lambda _: Change(nodes=(NodeRecord("a", status="Running", seq=1),)))
        return Change(nodes=(NodeRecord("a", status="Held", seq=1), NodeRecord("b", status="Held", seq=1)))

    store.update(job.id, slow)

    assert calls == [1, 2]
    assert store.nodes(job.id) == [NodeRecord("a", status="Running", seq=1), NodeRecord("b")]


def test_a_node_that_is_gone_is_not_made_again_by_a_change(store: Store) -> None:
    job = workflow(store, NodeRecord("a"), NodeRecord("b"))
    store.delete_node(job.id, "a")

    store.update(job.id, lambda _: Change(nodes=tuple(NodeRecord(name, seq=1) for name in "ab")))

    assert store.nodes(job.id) == [NodeRecord("b", seq=1)]


# -- values ------------------------------------------------------------------------------------------------


def test_a_text_that_no_database_can_keep_costs_a_character_and_not_the_node(store: Store) -> None:
    job = workflow(store, NodeRecord("a\0b", message="c\ud83cd"))

    store.update(job.id, lambda _: Change(nodes=(NodeRecord("a\0b", status="e\0f", message="g\udcff", seq=2),)))
    assert store.nodes(job.id) == [NodeRecord("a\ufffdb", status="e\ufffdf", message="g\ufffd", seq=2)]

    store.nodes_shown(job.id, {"a\0b": 2})
    assert store.count_nodes_behind(job.id) == 0
    store.delete_node(job.id, "a\0b")
    assert store.nodes(job.id) == []


@pytest.mark.parametrize("value", [float("nan"), object(), "nul \0", "half \ud83c"])
def test_what_json_or_the_database_cannot_keep_is_refused_and_nothing_is_written(store: Store, value: Any) -> None:
    job = workflow(store, NodeRecord("a"))
    before = store.get(job.id)

    with pytest.raises(ValueError, match="node 'b', spec cannot be stored"):
        store.save_nodes(job.id, [NodeRecord("a", position=1), NodeRecord("b", spec={"deep": [value]})])
    with pytest.raises(ValueError, match="node 'a', native cannot be stored"):
        store.update(job.id, lambda _: Change({"name": "new"}, nodes=(NodeRecord("a", native={"deep": [value]}),)))

    assert store.nodes(job.id) == [NodeRecord("a")]
    assert store.get(job.id) == before


# -- what Prefect must still show --------------------------------------------------------------------------


def test_nodes_behind_are_those_that_changed_since_they_were_shown(store: Store) -> None:
    job = workflow(
        store,
        NodeRecord("never", position=0),
        NodeRecord("last", position=3, seq=1),
        NodeRecord("done", position=1, seq=2, shown=2),
        NodeRecord("first", position=2, seq=3, shown=2),
    )
    workflow(store, NodeRecord("other", seq=1))

    assert names(store.nodes_behind(job.id, 10)) == ["first", "last"]
    assert names(store.nodes_behind(job.id, 1)) == ["first"]
    assert store.count_nodes_behind(job.id) == 2


def test_what_was_shown_is_noted_and_what_changed_since_stays_behind(store: Store) -> None:
    nodes = [NodeRecord("a", seq=2), NodeRecord("b", seq=2), NodeRecord("c", seq=2)]
    job, twin = workflow(store, *nodes), workflow(store, *nodes)

    store.nodes_shown(job.id, {"b": 1, "a": 2, "gone": 5})
    store.nodes_shown(job.id, {})

    assert [(node.name, node.shown) for node in store.nodes(job.id)] == [("a", 2), ("b", 1), ("c", 0)]
    assert names(store.nodes_behind(job.id, 10)) == ["b", "c"]
    assert store.nodes(twin.id) == nodes


def test_what_was_shown_is_never_lowered(store: Store) -> None:
    job = workflow(store, NodeRecord("a", seq=3), NodeRecord("b", seq=3))
    store.nodes_shown(job.id, {"a": 3})

    store.nodes_shown(job.id, {"a": 2, "b": 2})

    assert [node.shown for node in store.nodes(job.id)] == [3, 2]


def test_nodes_of_a_deleted_job_may_be_said_to_be_shown(store: Store) -> None:
    job = workflow(store, NodeRecord("a", seq=3))
    store.delete(job.id)

    store.nodes_shown(job.id, {"a": 3})

    assert store.nodes(job.id) == []


def test_a_job_with_a_flow_run_is_claimed_while_nodes_of_it_are_behind(store: Store) -> None:
    job = workflow(store, NodeRecord("a"), NodeRecord("b", position=1), flow_run_id="run-1")
    workflow(store, NodeRecord("a", seq=1))  # has no flow run that could show it
    workflow(store, NodeRecord("a", seq=1, shown=1), flow_run_id="run-2")
    assert store.claim_faces("one", 60, 10) == []

    store.update(job.id, lambda _: Change(nodes=(NodeRecord("a", seq=1), NodeRecord("b", seq=1))))
    assert [found.id for found in store.claim_faces("one", 60, 10)] == [job.id]
    assert store.claim_faces("two", 60, 10) == []

    store.nodes_shown(job.id, {"a": 1})
    assert [found.id for found in store.claim_faces("one", 60, 10)] == [job.id]

    store.nodes_shown(job.id, {"b": 1})
    assert store.claim_faces("one", 60, 10) == []


# -- many --------------------------------------------------------------------------------------------------


def test_a_thousand_nodes_are_read_by_one_statement_and_written_by_few(store: Store) -> None:
    job = workflow(store)
    nodes = [full_node(f"node {number:04}", number) for number in range(1000)]

    with statements(store) as sent:
        store.save_nodes(job.id, nodes)
    # One is for the job: none for each node.
    assert len(sent) == 2 and sum("job_nodes" in statement for statement in sent) == 1

    with statements(store) as sent:
        assert store.nodes(job.id) == nodes
    assert sum("job_nodes" in statement for statement in sent) == 1

    with statements(store) as sent:
        store.update(job.id, lambda _: Change(nodes=tuple(replace(node, seq=4) for node in nodes)))
        store.nodes_shown(job.id, {node.name: 4 for node in nodes})
    assert sum("UPDATE job_nodes" in statement for statement in sent) == 2
    assert store.nodes(job.id) == [replace(node, seq=4, shown=4) for node in nodes]
