"""The text of a DAG file, line by line, and what a DAG file that people wrote names."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_jobs.schedulers.condor.dag.file import submit_file, write_dag
from prefect_jobs.schedulers.condor.dag.model import DagNode
from prefect_jobs.schedulers.condor.dag.references import files_of

STATUS = "NODE_STATUS_FILE dag/workflow.status 30"


def lines_of(*nodes: DagNode, max_jobs: Mapping[str, int] | None = None, **scripts: str) -> list[str]:
    """The lines, but for the one that is always the last; scripts are given as ``N_PRE=path``."""
    named = {(name, which): path for (name, _, which), path in ((key.rpartition("_"), scripts[key]) for key in scripts)}
    text = write_dag(nodes, max_jobs or {}, named)
    assert text.endswith("\n")
    lines = text.splitlines()
    assert lines.pop() == STATUS
    return lines


# -- written -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({}, "JOB N N.sub DIR dag/N"),
        ({"dir": "a/b"}, "JOB N N.sub DIR dag/a/b"),
        ({"noop": True}, "JOB N N.sub DIR dag/N NOOP"),
        ({"done": True}, "JOB N N.sub DIR dag/N DONE"),
        ({"noop": True, "done": True}, "JOB N N.sub DIR dag/N NOOP DONE"),
        ({"kind": "FINAL"}, "FINAL N N.sub DIR dag/N"),
        ({"kind": "FINAL", "noop": True}, "FINAL N N.sub DIR dag/N NOOP"),
        ({"kind": "SERVICE"}, "SERVICE N N.sub DIR dag/N"),
        ({"kind": "SUBDAG", "dag_file": "some where/x.dag"}, "SUBDAG EXTERNAL N x.dag DIR dag/N"),
        ({"kind": "SUBDAG", "dag_file": "x.dag", "done": True}, "SUBDAG EXTERNAL N x.dag DIR dag/N DONE"),
        ({"kind": "SPLICE", "dag_file": "/a/x.dag", "dir": "d"}, "SPLICE N x.dag DIR dag/d"),
    ],
)
def test_the_line_that_declares_a_node(fields: Mapping[str, Any], line: str) -> None:
    assert lines_of(DagNode("N", **fields)) == [line]


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"retry": 0}, "RETRY N 0"),
        ({"retry": 2}, "RETRY N 2"),
        ({"retry": 2, "retry_unless_exit_value": 0}, "RETRY N 2 UNLESS-EXIT 0"),
        ({"priority": 0}, "PRIORITY N 0"),
        ({"priority": -3, "kind": "SUBDAG", "dag_file": "x"}, "PRIORITY N -3"),
        ({"category": "big"}, "CATEGORY N big"),
        ({"abort_dag_on": 0}, "ABORT-DAG-ON N 0 RETURN 0"),
        ({"abort_dag_on": 3}, "ABORT-DAG-ON N 3 RETURN 1"),
        ({"abort_dag_on": 4, "abort_dag_on_return_value": 200}, "ABORT-DAG-ON N 4 RETURN 200"),
        ({"abort_dag_on": 3, "abort_dag_on_return_value": 0}, "ABORT-DAG-ON N 3 RETURN 0"),
        ({"pre_skip": 7}, "PRE_SKIP N 7"),
        ({"variables": {"a": 1, "b": "x y"}}, 'VARS N a="1" b="x y"'),
        ({"variables": {"a": 'say "hi" \\'}}, r'VARS N a="say \"hi\" \\"'),
    ],
)
def test_the_line_of_an_option(fields: Mapping[str, Any], line: str) -> None:
    assert lines_of(DagNode("N", **fields))[1:] == [line]


def test_the_lines_of_scripts() -> None:
    # given
    node = DagNode("N", pre_script="p", pre_script_args="$JOB  $RETRY", post_script="q", post_script_args=["$RETURN"])

    # when, then
    assert lines_of(node, N_PRE="../../inputs/0/p", N_POST="../../inputs/1/q")[1:] == [
        "SCRIPT PRE N ../../inputs/0/p $JOB $RETRY",
        "SCRIPT POST N ../../inputs/1/q $RETURN",
    ]


def test_children_of_the_same_parents_share_a_line() -> None:
    # given
    tree = {"A": [], "B": ["A"], "C": ["A"], "D": ["B", "C"], "E": ["B", "C"], "F": ["A", "B"]}

    # when
    lines = lines_of(*(DagNode(name, parents=parents) for name, parents in tree.items()))

    # then
    assert lines[6:] == ["PARENT A CHILD B C", "PARENT B C CHILD D E", "PARENT A B CHILD F"]


def test_throttles_are_at_the_end() -> None:
    assert lines_of(DagNode("N"), max_jobs={"a": 1, "b": 20})[1:] == ["MAXJOBS a 1", "MAXJOBS b 20"]
    assert submit_file(DagNode("N", dir="x")) == "N.sub"


@given(st.dictionaries(st.sampled_from("abcd"), st.text(st.characters(exclude_characters="\r\n")), min_size=1))
def test_values_of_variables_can_be_read_back(variables: dict[str, str]) -> None:
    text = write_dag([DagNode("N", variables=variables)], {}, {})

    line = text.split("\n")[1]
    found = re.findall(r'(\w+)="((?:[^"\\]|\\["\\])*)"(?: |$)', line.removeprefix("VARS N "))
    assert {name: re.sub(r"\\(.)", r"\1", value) for name, value in found} == variables


# -- what a DAG file names ---------------------------------------------------------------------------------


def made(folder: Path, *names: str, **texts: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    for name, text in texts.items():
        (folder / name.replace("__", "/")).write_text(text)


def named(folder: Path, text: str, *names: str, dag: str = "x.dag") -> set[str]:
    """What is found, the DAG file apart, where files of these names are there."""
    made(folder, *names)
    (folder / dag).write_text(text)
    found = files_of(folder / dag)
    assert found.pop(dag) == folder / dag
    assert all(found[name] == folder / name for name in found)
    return set(found)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("JOB A a.sub", "a.sub"),
        ("job A a.sub noop", "a.sub"),
        ("Final A a.sub", "a.sub"),
        ("SERVICE A a.sub", "a.sub"),
        ("  JOB   A\ta.sub  ", "a.sub"),
        ("JOB A a.sub DIR d", "d/a.sub"),
        ("JOB A a.sub NOOP dir d", "d/a.sub"),
        ("JOB A d/a.sub", "d/a.sub"),
        ("JOB A \\\n  a.sub", "a.sub"),
        ("JOB A a.sub\r\nJOB B b.sub\r\n", "a.sub b.sub"),
        ("SUBDAG EXTERNAL S a.sub", "a.sub"),
        ("SUBDAG EXTERNAL S a.sub DIR d DONE", "d/a.sub"),
        ("SPLICE S a.sub DIR d", "d/a.sub"),
        ("CONFIG a.sub", "a.sub"),
        ("INCLUDE a.sub", "a.sub"),
        ("SCRIPT PRE A s.sh x y\nJOB A a.sub DIR d", "d/s.sh d/a.sub"),
        ("JOB A gone.sub\nSCRIPT POST A s.sh", "s.sh"),
        ("SCRIPT DEFER 4 120 POST A s.sh 1", "s.sh"),
        ("script debug out.txt ALL DEFER 4 120 pre A s.sh", "s.sh"),
        ("SCRIPT HOLD A s.sh", "s.sh"),
        ("JOB A gone.sub DIR d\nSCRIPT PRE ALL_NODES s.sh", "s.sh d/s.sh"),
        ("JOB A a.sub\nJOB B a.sub", "a.sub"),
        ("# JOB A a.sub\n#JOB B b.sub\n   # SCRIPT PRE A s.sh", ""),
        ("JOB A gone.sub\nJOB\nJOB A\nSUBDAG EXTERNAL S\nSCRIPT PRE A\nCONFIG\n\n\\", ""),
        ("JOB A ../up.sub\nJOB B a.sub DIR ..\nJOB C d/../../up.sub\nCONFIG /etc/hostname", ""),
        ("JOB A d\nSPLICE S d", "d"),
        ('PARENT a.sub CHILD b.sub\nVARS A x="a.sub"', ""),
    ],
)
def test_what_the_lines_of_a_dag_file_name(tmp_path: Path, text: str, found: str) -> None:
    folder = tmp_path / "w"
    made(tmp_path, "up.sub")

    assert named(folder, text, "a.sub", "b.sub", "s.sh", "d/a.sub", "d/s.sh") == set(found.split())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("executable = run.sh\nINPUT=in.txt\nqueue", "run.sh in.txt"),
        ("Transfer_Input_Files = in.txt, d/x.txt,data/ , gone", "in.txt d/x.txt data"),
        ("transfer_input_files = in.txt, \\\n  run.sh", "in.txt run.sh"),
        ("initialdir = d\nexecutable = run.sh\ninput = y.txt\ntransfer_input_files = x.txt", "run.sh d/y.txt d/x.txt"),
        ("executable = /bin/sh\ntransfer_input_files = $(who).in, ../up.sub, http://x/y, in.txt", "in.txt"),
        ("#executable = run.sh\n# input = in.txt", ""),
        ("queue who from in.txt", "in.txt"),
        ("queue from (\nin.txt\n)", ""),
        ("queue who in (in.txt)", ""),
    ],
)
def test_what_submit_files_name_is_relative_to_the_nodes_folder(tmp_path: Path, text: str, found: str) -> None:
    # given
    files = ("run.sh", "in.txt", "d/x.txt", "d/y.txt", "data/1")
    made(tmp_path / "w", *files, "sub/a.sub", *(f"sub/{name}" for name in files), sub__a=text, a=text)

    # when, then
    assert named(tmp_path / "w", "JOB A a") == {"a", *found.split()}
    assert named(tmp_path / "w", "JOB A a DIR sub") == {"sub/a", *(f"sub/{name}" for name in found.split())}


def test_dags_in_dags_are_followed_from_their_own_folders(tmp_path: Path) -> None:
    # given
    made(tmp_path, "one/two/a.sub", "one/b.sub", "c.sub")
    made(
        tmp_path, one__one="SUBDAG EXTERNAL T two DIR two\nJOB B b.sub", one__two__two="JOB A a.sub", more="JOB C c.sub"
    )

    # when, then
    text = "SPLICE S one DIR one\nINCLUDE more"
    assert named(tmp_path, text) == {"one/one", "one/two/two", "one/two/a.sub", "one/b.sub", "more", "c.sub"}


@pytest.mark.timeout(20)
def test_dags_that_name_each_other_are_followed_to_an_end(tmp_path: Path) -> None:
    # given: each names the other, and itself, many times
    lines = "".join(f"INCLUDE x.dag\nSPLICE S{number} y.dag\nINCLUDE y.dag\n" for number in range(10))
    (tmp_path / "y.dag").write_text(lines)
    (tmp_path / "loop").symlink_to(tmp_path)

    # when, then
    assert named(tmp_path, lines + "JOB A a.sub", "a.sub") == {"y.dag", "a.sub", "x.dag"} - {"x.dag"}
    deep = named(tmp_path, "SPLICE S x.dag DIR loop\nJOB A a.sub")
    assert {"a.sub", "loop/x.dag", "loop/a.sub"} <= deep
