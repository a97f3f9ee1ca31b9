"""What can be told of a DAG before it is sent: names, kinds, fields, edges, circles, folders."""

from collections.abc import Mapping
from typing import Any

import pytest

from prefect_jobs.schedulers.condor.dag import model as dag
from prefect_jobs.schedulers.condor.dag.model import (
    KINDS,
    DagError,
    DagNode,
    check_config,
    check_edge,
    check_graph,
    check_kind,
    check_max_jobs,
    check_name,
    check_node,
    script_arguments,
)

# -- names and kinds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["A", "a-b_c", "7", "_x", "x" * dag.MAX_NAME_LENGTH, "parents", "JOB"])
def test_good_names(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "-a", "a b", "a+b", "a.b", "a/b", "..", "ä", "A\n", "a,b", "$x", "x" * (dag.MAX_NAME_LENGTH + 1), None, 5],
)
def test_bad_names(name: Any) -> None:
    with pytest.raises(DagError, match="cannot be the name of a node: use letters, digits"):
        check_name(name)


@pytest.mark.parametrize("name", ["PARENT", "parent", "Child", "all_nodes"])
def test_reserved_names_in_any_case(name: str) -> None:
    with pytest.raises(DagError, match=rf"'{name}' is a reserved word of DAGMan"):
        check_name(name)


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_in_any_case(kind: str) -> None:
    assert check_kind(kind.lower()) == kind


@pytest.mark.parametrize(
    ("kind", "text"),
    [("DATA", "HTCondor removed them, with Stork"), ("data", "HTCondor removed them"), ("JOBS", "Valid: JOB, FINAL")],
)
def test_kinds_that_are_none(kind: str, text: str) -> None:
    with pytest.raises(DagError, match=text):
        check_kind(kind)


# -- fields ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        *(
            ({name: value, **more}, f"{name} of the node 'N' is a whole number, not {value!r}")
            for name, more in (
                ("priority", {}),
                ("retry", {}),
                ("retry_unless_exit_value", {"retry": 1}),
                ("pre_skip", {"pre_script": "p"}),
                ("abort_dag_on", {}),
                ("abort_dag_on_return_value", {"abort_dag_on": 1}),
            )
            for value in ("1", 1.5, True)
        ),
        ({"retry": -1}, "retry of the node 'N' is a number of times, not -1"),
        ({"abort_dag_on": 1, "abort_dag_on_return_value": 256}, "abort_dag_on_return_value of the node 'N'"),
        ({"abort_dag_on": 1, "abort_dag_on_return_value": -1}, "exit code from 0 to 255, not -1"),
        ({"pre_script": "p", "pre_skip": 0}, "pre_skip of the node 'N' is an exit code from 1 to 255, not 0"),
        ({"pre_script": "p", "pre_skip": 256}, "pre_skip of the node 'N'"),
        ({"pre_skip": 1}, "The node 'N' has pre_skip but no pre_script"),
        ({"retry_unless_exit_value": 1}, "The node 'N' has retry_unless_exit_value but no retry"),
        ({"abort_dag_on_return_value": 1}, "The node 'N' has abort_dag_on_return_value but no abort_dag_on"),
        ({"pre_script_args": "x"}, "The node 'N' has pre_script_args but no pre_script"),
        ({"post_script_args": ["x"]}, "The node 'N' has post_script_args but no post_script"),
        ({"post_script": "p", "post_script_args": "a\nb"}, "post_script_args of the node 'N' have a line break"),
        ({"pre_script": "p", "pre_script_args": 5}, "pre_script_args of the node 'N' are a text or a list, not 5"),
        ({"category": "a b"}, "'a b' cannot be a category"),
        ({"category": "a+b"}, "cannot be a category"),
        ({"category": "#a"}, "cannot be a category"),
        ({"category": "a\n"}, "cannot be a category"),
        ({"variables": {"1x": 1}}, "'1x' cannot be a variable of the node 'N'"),
        ({"variables": {"a-b": 1}}, "'a-b' cannot be a variable of the node 'N'"),
        ({"variables": {"x\n": 1}}, "cannot be a variable of the node 'N'"),
        ({"variables": {"QueueLength": 1}}, "not 'queue'"),
        ({"variables": {"x": "a\nb"}}, "The variable 'x' of the node 'N' has a line break"),
        ({"dir": "/abs"}, "dir of the node 'N' is a folder in the workflow's directory, not '/abs'"),
        ({"dir": "../x"}, "dir of the node 'N'"),
        ({"dir": "a/../../x"}, "dir of the node 'N'"),
        ({"dir": "."}, "dir of the node 'N'"),
        ({"dir": "a b"}, "dir = 'a b' of the node 'N'"),
        ({"dir": "a\n"}, "of the node 'N'"),
        ({"dir": "workflow.dag"}, "are reserved for DAGMan"),
        ({"dag_file": "x.dag"}, "The node 'N' is a JOB and takes no dag_file"),
        ({"kind": "SUBDAG"}, "The node 'N' is a SUBDAG and needs its dag_file"),
        ({"kind": "SPLICE"}, "The node 'N' is a SPLICE and needs its dag_file"),
        ({"kind": "SUBDAG", "dag_file": "x/a b.dag"}, "dag_file = 'x/a b.dag' of the node 'N'.*white space"),
        ({"kind": "SPLICE", "dag_file": "x", "attributes": {"executable": "x"}}, "it has no submit commands"),
    ],
)
def test_what_is_wrong_with_a_field_names_field_and_node(fields: Mapping[str, Any], text: str) -> None:
    with pytest.raises(DagError, match=text):
        check_node(DagNode("N", **fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"retry": 0},
        {"retry": 3, "retry_unless_exit_value": 0},
        {"abort_dag_on": 0, "abort_dag_on_return_value": 255},
        {"pre_script": "p", "pre_skip": 255, "pre_script_args": []},
        {"pre_script_args": []},
        {"priority": -5},
        {"dir": "a/b.c/d"},
        {"variables": {"x": "", "_y1": 'a "b" \\'}},
        {"kind": "SUBDAG", "dag_file": "a b/x.dag", "retry": 1, "noop": True},
        {"kind": "SERVICE", "retry": 1, "category": "c"},
        {"kind": "FINAL", "noop": True, "pre_script": "p"},
    ],
)
def test_what_a_node_can_have(fields: Mapping[str, Any]) -> None:
    check_node(DagNode("N", **fields))


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("SPLICE", "pre_script post_script variables priority category retry abort_dag_on noop done"),
        ("FINAL", "done category priority retry abort_dag_on"),
        ("SERVICE", "done noop abort_dag_on"),
    ],
)
def test_what_a_kind_cannot_have(kind: str, names: str) -> None:
    texts = {"pre_script": "p", "post_script": "p", "category": "c", "variables": {"x": "1"}, "noop": True}
    for name in names.split():
        value: Any = texts.get(name, True if name == "done" else 0)
        node = DagNode("N", kind=kind, dag_file="x" if kind == "SPLICE" else None, **{name: value})
        with pytest.raises(DagError, match=f"The node 'N' is a {kind}, which cannot have {name}"):
            check_node(node)


@pytest.mark.parametrize(
    ("words", "found"),
    [(None, []), ("", []), (" a  $JOB\tb ", ["a", "$JOB", "b"]), (["a", 1], ["a", "1"]), (('"q"',), ['"q"'])],
)
def test_arguments_of_scripts(words: Any, found: list[str]) -> None:
    assert script_arguments(DagNode("N"), "pre_script", words) == found


@pytest.mark.parametrize("word", ["a b", "", "a\t", "a\n", "\n"])
def test_an_argument_with_white_space_is_refused(word: str) -> None:
    with pytest.raises(DagError, match="pre_script_args of the node 'N': DAGMan splits arguments at white space"):
        script_arguments(DagNode("N"), "pre_script", ["x", word])


# -- throttles and configuration ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ([("a", 1)], "max_jobs is a dict"),
        ({"a b": 1}, "'a b' cannot be a category"),
        ({5: 1}, "5 cannot be a category"),
        *(({"a": bad}, f"max_jobs of the category 'a' is a number from 1, not {bad!r}") for bad in (0, -1, True, 1.5)),
    ],
)
def test_bad_throttles(given: Any, text: str) -> None:
    with pytest.raises(DagError, match=text):
        check_max_jobs(given)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("x", "config is a dict"),
        ({"A B": 1}, "'A B' cannot be a configuration macro"),
        ({"A\n": 1}, "cannot be a configuration macro"),
        ({"A": None}, r"config\['A'\] is a text, a number or a boolean, not None"),
        ({"A": "x\ny"}, r"config\['A'\] has a line break"),
        ({"A": "x\0"}, r"config\['A'\] has a line break"),
    ],
)
def test_bad_configuration(given: Any, text: str) -> None:
    with pytest.raises(DagError, match=text):
        check_config(given)


def test_throttles_and_configuration_as_they_are_kept() -> None:
    assert check_max_jobs({"a": 1}) == {"a": 1}
    assert check_config(None) == {}
    given = {"dagman_max_jobs_idle": 5, "DAGMAN.X": True, "Y": 0.5, "Z": "a 'b'"}
    assert check_config(given) == {"DAGMAN_MAX_JOBS_IDLE": "5", "DAGMAN.X": "True", "Y": "0.5", "Z": "a 'b'"}


# -- all together ------------------------------------------------------------------------------------------


def nodes(**parents: str) -> list[DagNode]:
    return [DagNode(name, parents=above.split()) for name, above in parents.items()]


@pytest.mark.parametrize(
    ("graph", "text"),
    [
        ([], "The workflow has no nodes"),
        ([DagNode("A"), DagNode("A")], "Two nodes are named 'A'"),
        (nodes(A="", B="X"), "'X', a parent of the node 'B', is not a node of this workflow"),
        (nodes(A="A"), "The node 'A' cannot be its own parent"),
        (nodes(A="C", B="A", C="B"), "form a cycle: (A → B → C → A|B → C → A → B|C → A → B → C)"),
        ([DagNode("A"), DagNode("F", "FINAL"), DagNode("G", "FINAL")], "more than one FINAL node: F, G"),
        ([DagNode("F", "FINAL"), DagNode("S", "SERVICE")], "it needs a node that does the work"),
        ([DagNode("A"), DagNode("F", "FINAL", parents=["A"])], "'F' is the FINAL one.*has no parents"),
        ([DagNode("F", "FINAL"), DagNode("A", parents=["F"])], "'F' is the FINAL one.*has no children"),
        ([DagNode("A"), DagNode("S", "SERVICE", parents=["A"])], "'S' is a SERVICE.*has no parents"),
        ([DagNode("S", "SERVICE"), DagNode("A", parents=["S"])], "'S' is a SERVICE.*has no children"),
        ([DagNode("A"), DagNode("B", dir="A/b")], "directory 'A/b' of the node 'B' is inside that of the node 'A'"),
        (
            [DagNode("A", dir="x/y/z"), DagNode("B", dir="./x")],
            "'x/y/z' of the node 'A' is inside that of the node 'B'",
        ),
    ],
)
def test_what_is_wrong_with_nodes_together(graph: list[DagNode], text: str) -> None:
    with pytest.raises(DagError, match=text):
        check_graph(graph)


def test_nodes_that_go_together() -> None:
    same = [DagNode("C", dir="x/y"), DagNode("D", dir="x/y"), DagNode("E", dir="x/yy")]
    check_graph([*nodes(A="B", B=""), *same, DagNode("F", "FINAL"), DagNode("S", "SERVICE"), DagNode("T", "SERVICE")])


def test_an_edge_between_two_nodes() -> None:
    check_edge(DagNode("A"), DagNode("B", "SUBDAG"))
    with pytest.raises(DagError, match="its own parent"):
        check_edge(DagNode("A"), DagNode("A"))


def test_a_chain_may_be_longer_than_pythons_stack() -> None:
    check_graph([DagNode(f"n{number}", parents=[f"n{number - 1}"] if number else []) for number in range(20_000)])
