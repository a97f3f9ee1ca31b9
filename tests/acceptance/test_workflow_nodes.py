"""Nodes of workflows as people make them, before anything is submitted."""

from pathlib import Path
from typing import Any

import pytest

import prefect_jobs
from prefect_jobs import (
    CondorWorkflow,
    CondorWorkflowFinalNode,
    CondorWorkflowJobNode,
    CondorWorkflowNode,
    CondorWorkflowServiceNode,
    CondorWorkflowSpliceNode,
    CondorWorkflowSubdagNode,
    JobManager,
    SubmissionError,
)
from prefect_jobs.blocks import CondorScheduler
from tests.acceptance.workflows import diamond, node, node_of, shell, workflow_of


@pytest.fixture
def workflow(manager: JobManager, alice: CondorScheduler) -> CondorWorkflow:
    return workflow_of(manager, alice, "a workflow {id}")


@pytest.fixture
def saved(workflow: CondorWorkflow) -> CondorWorkflow:
    workflow.save()
    return workflow


def again(manager: JobManager, workflow: CondorWorkflow) -> CondorWorkflow:
    """The workflow as another process reads it."""
    assert workflow.id is not None
    found = manager.get_job(workflow.id)
    assert isinstance(found, CondorWorkflow)
    assert found is not workflow
    return found


def parents(node: CondorWorkflowNode) -> list[str]:
    return [parent.name for parent in node.parents]


# -- edges -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("save", [False, True])
def test_a_circle_is_named_at_once(workflow: CondorWorkflow, save: bool) -> None:
    # given
    if save:
        workflow.save()
    diamond(workflow)
    a, b, d = (node_of(workflow, name) for name in "ABD")

    # when, then
    with pytest.raises(ValueError, match=r"'D' cannot be a parent of 'A'.* form a cycle, A → (B|C) → D → A\."):
        a.add_parent(d)
    with pytest.raises(ValueError, match=r"A → B → A\."):
        a.add_parent(b)
    assert a.parents == []
    d.add_parent(a)
    d.add_parent(b)
    assert parents(d) == ["B", "C", "A"]


def test_parents_that_cannot_be(manager: JobManager, alice: CondorScheduler, workflow: CondorWorkflow) -> None:
    # given
    a, last = node(workflow, "A"), node(workflow, "F", kind=CondorWorkflowFinalNode)
    service = node(workflow, "S", kind=CondorWorkflowServiceNode)
    foreign = node(workflow_of(manager, alice, "another"), "X")
    child = CondorWorkflowJobNode("C", workflow, shell("true"))

    # when, then
    wrong: list[tuple[CondorWorkflowNode, Any, str]] = [
        (child, foreign, r"'X' is a node of .*another.* and cannot be a parent of 'C'"),
        (
            child,
            CondorWorkflowJobNode("U", workflow),
            r"The parent 'U' of the node 'C' is not saved\. Call save\(\) first",
        ),
        (a, a, "The node 'A' cannot be its own parent"),
        (child, last, "'F' is the FINAL one.*no children"),
        (last, a, "'F' is the FINAL one.*no parents"),
        (child, service, "'S' is a SERVICE.*no children"),
        (service, a, "'S' is a SERVICE.*no parents"),
        (child, "A", "The parent of the node 'C' must be a node, not 'A'"),
    ]
    for below, above, text in wrong:
        with pytest.raises(ValueError, match=text):
            below.add_parent(above)
    assert child.parents == []


def test_another_object_of_the_same_workflow_gives_parents_too(manager: JobManager, saved: CondorWorkflow) -> None:
    # given
    node(saved, "A")
    a = again(manager, saved).get_job("A")
    assert a is not None

    # when
    child = CondorWorkflowJobNode("B", saved, shell("true"))
    child.add_parent(a)
    child.save()

    # then
    assert parents(node_of(again(manager, saved), "B")) == ["A"]


# -- making ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "fields", "error", "text"),
    [
        ("A B", {}, ValueError, "'A B' cannot be the name of a node"),
        ("parent", {}, ValueError, "a reserved word of DAGMan"),
        ("A", {"retries": 1}, TypeError, r"A node takes no 'retries'\. Valid: attributes,.*parents by add_parent"),
        ("A", {"parents": ["B"]}, TypeError, "takes no 'parents'"),
        ("A", {"retry": "1"}, ValueError, "retry of the node 'A' is a whole number"),
        ("A", {"variables": ["x"]}, ValueError, "variables must be a dict"),
        ("A", {"num_jobs": 0}, ValueError, "number of processes is a whole number from 1"),
        ("A", {"condorpy_template_name": "x"}, ValueError, "There is no template 'x'"),
        ("A", {"attributes": {"x y": 1}}, ValueError, "'x y' is not the name of a submit command"),
    ],
)
def test_what_a_node_cannot_be(
    workflow: CondorWorkflow, name: str, fields: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        CondorWorkflowJobNode(name, workflow, **fields)
    with pytest.raises(TypeError, match="Create a CondorWorkflowJobNode"):
        CondorWorkflowNode("A", workflow)


def test_a_name_is_given_once(saved: CondorWorkflow) -> None:
    # given
    first = node(saved, "A")

    # when, then
    with pytest.raises(ValueError, match=r"has a node 'A' already\. Call get_job\('A'\) to get it"):
        node(saved, "A")
    first.save()
    assert saved.nodes == [first]


def test_a_bad_field_is_refused_when_it_is_saved(saved: CondorWorkflow) -> None:
    made = node(saved, "A")
    made.retry = -1

    with pytest.raises(ValueError, match="retry of the node 'A'"):
        made.save()


@pytest.mark.parametrize("save", [False, True])
def test_nodes_are_there_in_another_process_as_they_were_made(
    manager: JobManager, workflow: CondorWorkflow, save: bool, tmp_path: Path
) -> None:
    # given: a workflow that is saved before its nodes, or with them
    if save:
        workflow.save()
    names = ["z", "A", "m-1", "b", "F", "S", "D", "P"]
    options: dict[str, Any] = {"retry": 2, "variables": {"x": 1}, "dir": tmp_path.relative_to("/") / "d", "priority": 0}
    first = node(workflow, "z", num_jobs=3, **options)
    for name in names[1:4]:
        node(workflow, name, after="z")
    node(workflow, "F", kind=CondorWorkflowFinalNode)
    node(workflow, "S", kind=CondorWorkflowServiceNode)
    CondorWorkflowSubdagNode("D", workflow, tmp_path / "x.dag", [tmp_path / "in"]).save()
    CondorWorkflowSpliceNode("P", workflow, "y.dag").save()
    workflow.add_max_jobs_throttle("big", 2)
    workflow.save()

    # when
    found = again(manager, workflow)

    # then
    assert [made.name for made in found.nodes] == names
    assert [type(made) for made in found.nodes] == [type(made) for made in workflow.nodes]
    assert [made.spec for made in found.nodes] == [made.spec for made in workflow.nodes]
    z = found.get_job("z")
    assert z is not None
    assert (z.retry, z.variables, z.priority, z.num_jobs, z.noop) == (2, {"x": "1"}, 0, 3, False)
    assert z.attributes == first.attributes
    assert (found.num_jobs, found.max_jobs) == (10, {"big": 2})
    assert node_of(found, "D").remote_input_files == [str(tmp_path / "in")]
    assert set(found.node_statuses.values()) == {"Pending"}
    assert (found.statuses["Unexpanded"], sum(found.statuses.values())) == (8, 8)
    assert (z.status, z.tries, z.exit_codes) == ("Pending", 0, {})
    assert found.get_job("nobody") is None


def test_submit_commands_of_a_node(manager: JobManager, saved: CondorWorkflow) -> None:
    # given
    made = node(saved, "A")

    # when
    made.set_attribute("Request_Memory", "64MB")
    made.set_attribute("arguments", None)
    made.post_script = "/bin/true"
    made.save()

    # then
    found = node_of(again(manager, saved), "A")
    assert found.get_attribute("request_memory") == "64MB"
    assert found.get_attribute("arguments") is None
    assert found.post_script == "/bin/true"
    with pytest.raises(ValueError, match="not the name of a submit command"):
        made.set_attribute("a b", 1)


@pytest.mark.parametrize("save", [False, True])
def test_nodes_are_taken_out_again(manager: JobManager, workflow: CondorWorkflow, save: bool) -> None:
    # given
    if save:
        workflow.save()
    diamond(workflow)

    # when, then
    with pytest.raises(ValueError, match=r"The node 'A' has children: B, C\. Delete them first"):
        node_of(workflow, "A").delete()
    for name in "DB":
        node_of(workflow, name).delete()
    node(workflow, "E", after="C")
    workflow.save()
    assert [made.name for made in again(manager, workflow).nodes] == ["A", "C", "E"]


# -- nodes as dicts ----------------------------------------------------------------------------------------


def test_nodes_may_be_given_with_the_workflow(manager: JobManager, alice: CondorScheduler) -> None:
    # given
    given = [
        {"name": "A", "attributes": shell("true"), "retry": 1},
        {"name": "C", "parents": ["B", "A", "B"], "attributes": shell("true")},
        {"name": "B", "parents": "A", "kind": "subdag", "dag_file": "x.dag"},
        {"name": "F", "kind": "FINAL"},
    ]

    # when
    workflow = workflow_of(manager, alice, "w", nodes=given)
    workflow.save()

    # then
    found = again(manager, workflow)
    assert [(made.name, made.kind, parents(made)) for made in found.nodes] == [
        ("A", "JOB", []),
        ("C", "JOB", ["B", "A"]),
        ("B", "SUBDAG", ["A"]),
        ("F", "FINAL", []),
    ]
    assert "nodes" not in found.spec
    with pytest.raises(ValueError, match="would form a cycle"):
        node_of(found, "A").add_parent(node_of(found, "C"))


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"nodes": ["A"]}, "A node must be a dict with a name, not 'A'"),
        ({"nodes": [{"kind": "JOB"}]}, "A node must be a dict with a name"),
        ({"nodes": [{"name": "A", "kind": "DATA"}]}, "DATA nodes are not possible: HTCondor removed them"),
        ({"nodes": [{"name": "A", "colour": 1}]}, "The node 'A': A node takes no 'colour'"),
        ({"nodes": [{"name": "A", "kind": "SPLICE"}]}, "The node 'A': .*dag_file"),
        ({"nodes": [{"name": "A"}, {"name": "A"}]}, "Two nodes are named 'A'"),
        ({"nodes": [{"name": "A", "parents": ["X"]}]}, "'X', a parent of the node 'A', is not a node"),
        ({"nodes": [{"name": "A", "parents": "B"}, {"name": "B", "parents": "A"}]}, "form a cycle"),
        ({"max_jobs": {"a b": 1}}, "'a b' cannot be a category"),
        ({"max_jobs": {"a": 0}}, "max_jobs of the category 'a' is a number from 1, not 0"),
        ({"config": {"A B": 1}}, "'A B' cannot be a configuration macro"),
        ({"config": "x"}, "config is a dict"),
    ],
)
def test_a_workflow_that_cannot_be_is_not_made(
    manager: JobManager, alice: CondorScheduler, more: dict[str, Any], text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        workflow_of(manager, alice, "w", **more)


def test_throttles_and_configuration(workflow: CondorWorkflow) -> None:
    with pytest.raises(ValueError, match="category"):
        workflow.add_max_jobs_throttle("a", 0)
    workflow.add_max_jobs_throttle("a", 1)
    workflow.add_max_jobs_throttle("a", 2)

    assert workflow.max_jobs == {"a": 2}
    assert workflow.config == {}


# -- before the submission ---------------------------------------------------------------------------------


def test_what_was_made_wrong_by_hand_is_refused_before_it_is_submitted(
    manager: JobManager, alice: CondorScheduler
) -> None:
    # given
    workflow = workflow_of(manager, alice, "a circle made by hand")
    diamond(workflow)
    node_of(workflow, "A").spec["parents"] = ["D"]

    # when
    with pytest.raises(SubmissionError, match=r"The nodes form a cycle: .*A.* → .*Remove one of these"):
        workflow.execute()

    # then
    assert workflow.cached_status == "Error"
    assert "cycle" in workflow.status_message
    assert workflow.cluster_id is None
    assert workflow.engine.client().query('JobBatchName == "a-circle-made-by-hand"', ("ClusterId",)) == []
    assert set(workflow.node_statuses.values()) == {"Pending"}


def test_a_workflow_without_nodes_is_refused(workflow: CondorWorkflow) -> None:
    with pytest.raises(SubmissionError, match=r"The workflow has no nodes\. Create some and call their save\(\)"):
        workflow.execute()


def test_names_are_exported() -> None:
    kinds = ("", "Node", "JobNode", "FinalNode", "ServiceNode", "SubdagNode", "SpliceNode")
    for name in (f"CondorWorkflow{kind}" for kind in kinds):
        assert name in prefect_jobs.__all__
        assert getattr(prefect_jobs, name).__name__ == name
