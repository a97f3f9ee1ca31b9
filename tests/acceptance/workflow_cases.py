"""Workflows that show one feature of DAGMan each."""

from collections.abc import Callable
from pathlib import Path

from prefect_jobs import (
    CondorWorkflow,
    CondorWorkflowFinalNode,
    CondorWorkflowServiceNode,
    CondorWorkflowSpliceNode,
    CondorWorkflowSubdagNode,
)
from tests.acceptance.workflows import diamond, node

Build = Callable[[CondorWorkflow, Path], None]
#: How each is made, by its name.
BUILD: dict[str, Build] = {}

INNER_SUBMIT = """executable = work.sh
arguments = $(who)
transfer_input_files = $(who).in
transfer_output_files = $(who).out
should_transfer_files = YES
log = inner.log
request_memory = 16MB
queue
"""
INNER_DAG = """JOB X work.sub
VARS X who="eks"
JOB Y work.sub
VARS Y who="ypsilon"
PARENT X CHILD Y
"""


def built(build: Build) -> Build:
    """Notes how a workflow is made; it is named after the function."""
    BUILD[build.__name__] = build
    return build


def script(folder: Path, name: str, text: str) -> str:
    """A program in a folder; that it may be executed is seen to by the product."""
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    return str(folder / name)


@built
def success(workflow: CondorWorkflow, folder: Path) -> None:
    (folder / "with spaces").mkdir()
    (folder / "with spaces" / "data.txt").write_text("local data\n")
    diamond(workflow)
    local = str(folder / "with spaces" / "data.txt")
    line = "cat data.txt > copy.$1; echo process $1"
    node(workflow, "E", line, "D", words=("$(Process)",), num_jobs=2, remote_input_files=[local])


@built
def branch_fails(workflow: CondorWorkflow, folder: Path) -> None:
    (folder / "switch.txt").write_text("exit 3\n")
    diamond(workflow, c="sleep 2; . ./switch.txt")
    failing = workflow.get_job("C")
    assert failing is not None
    failing.remote_input_files = [str(folder / "switch.txt")]
    failing.save()


@built
def all_fail(workflow: CondorWorkflow, folder: Path) -> None:
    node(workflow, "A", "kill -9 $$")
    node(workflow, "B", "true", "A")


@built
def second_try(workflow: CondorWorkflow, folder: Path) -> None:
    line = 'echo try $1; test "$1" -ge 1'
    node(workflow, "A", line, words=("$(try)",), variables={"try": "$(RETRY)"}, retry=2)
    node(workflow, "B", "true", "A")


@built
def no_try_after(workflow: CondorWorkflow, folder: Path) -> None:
    node(workflow, "A", "exit 4", retry=3, retry_unless_exit_value=4)


@built
def aborted_as_failure(workflow: CondorWorkflow, folder: Path) -> None:
    node(workflow, "A", "true")
    node(workflow, "B", "exit 5", "A", abort_dag_on=5, abort_dag_on_return_value=1)
    node(workflow, "C", "sleep 60", "A")


@built
def aborted_as_success(workflow: CondorWorkflow, folder: Path) -> None:
    node(workflow, "A", "true")
    node(workflow, "B", "exit 6", "A", abort_dag_on=6, abort_dag_on_return_value=0)
    node(workflow, "C", "true", "B")


@built
def aborted_with_its_own_code(workflow: CondorWorkflow, folder: Path) -> None:
    # 3 is how DAGMan asks to be started again
    node(workflow, "A", "exit 3", abort_dag_on=3)
    node(workflow, "B", "sleep 60")


@built
def aborted_with_a_large_code(workflow: CondorWorkflow, folder: Path) -> None:
    node(workflow, "A", "exit 5", abort_dag_on=5, abort_dag_on_return_value=77)
    node(workflow, "B", "true", "A")


@built
def scripts(workflow: CondorWorkflow, folder: Path) -> None:
    make = script(folder, "make.sh", 'echo "made for $1 $2" > made.txt')
    look = script(folder, "look.sh", 'echo "$1 returned $2" > post.txt; exit "$3"')
    skip = script(folder, "skip.sh", "exit 9")
    commands = {"transfer_input_files": "made.txt"}
    node(workflow, "PRE", "cat made.txt > seen.txt", commands=commands, pre_script=make, pre_script_args=["$JOB", "x"])
    node(workflow, "FORGIVEN", "exit 7", post_script=look, post_script_args="$JOB $RETURN 0")
    node(workflow, "BLAMED", "true", post_script=look, post_script_args="$JOB $RETURN 8")
    node(workflow, "SKIPPED", "exit 1", pre_script=skip, pre_skip=9)
    node(workflow, "AFTER", "true", "FORGIVEN SKIPPED PRE")


@built
def inner_dags(workflow: CondorWorkflow, folder: Path) -> None:
    for name in ("splice", "subdag"):
        place = folder / name
        place.mkdir()
        (place / "work.sh").write_text('#!/bin/sh\necho "$1 from $(cat "$1.in")" > "$1.out"\n')
        (place / "work.sub").write_text(INNER_SUBMIT)
        (place / "inner.dag").write_text(INNER_DAG)
        for who in ("eks", "ypsilon"):
            (place / f"{who}.in").write_text(name)
    inputs = {name: [str(folder / name / f"{who}.in") for who in ("eks", "ypsilon")] for name in ("splice", "subdag")}
    CondorWorkflowSpliceNode("P", workflow, folder / "splice" / "inner.dag", inputs["splice"]).save()
    subdag = CondorWorkflowSubdagNode("S", workflow, folder / "subdag" / "inner.dag", inputs["subdag"])
    splice = workflow.get_job("P")
    assert splice is not None
    subdag.add_parent(splice)
    subdag.save()
    commands = {"transfer_input_files": "../P/eks.out, ../S/ypsilon.out"}
    node(workflow, "END", "cat *.out > both.txt", "S", commands=commands)


@built
def final_and_service(workflow: CondorWorkflow, folder: Path) -> None:
    node(workflow, "A", "exit 2")
    node(workflow, "OK", "true")
    node(workflow, "LAST", "echo cleaned > cleaned.txt", kind=CondorWorkflowFinalNode)
    node(workflow, "BESIDE", "sleep 600", kind=CondorWorkflowServiceNode)


@built
def throttled(workflow: CondorWorkflow, folder: Path) -> None:
    workflow.add_max_jobs_throttle("one", 1)
    for name in ("A", "B", "C"):
        node(workflow, name, "date +%s%N > began; sleep 0.5; date +%s%N > ended", category="one")


@built
def empty_nodes(workflow: CondorWorkflow, folder: Path) -> None:
    node(workflow, "N", "exit 1", noop=True)
    node(workflow, "DONE", "exit 1", done=True)
    node(workflow, "A", "true", "N DONE", dir="else/where")
    node(workflow, "LATE", "true", "A", noop=True)


@built
def odd_texts(workflow: CondorWorkflow, folder: Path) -> None:
    # In a list of arguments of the new syntax, single quotes hold words together and a double one is doubled.
    value = r"""'two  words' back\slash ""quoted"" 1;2,3 $5"""
    commands = {"arguments": "\"-c 'for word in $@; do echo $word; done > said; echo $# >> said' sh $(said)\""}
    node(workflow, "A", commands=commands, variables={"said": value})
