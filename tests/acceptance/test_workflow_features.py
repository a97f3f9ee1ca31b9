"""What DAGMan can do, through the public API on a real pool. The workflows run side by side, since each takes its
time; each test looks at one of them."""

import logging
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from prefect_jobs import (
    CondorWorkflow,
    CondorWorkflowFinalNode,
    CondorWorkflowServiceNode,
    CondorWorkflowSpliceNode,
    CondorWorkflowSubdagNode,
    JobManager,
)
from prefect_jobs.blocks import CondorScheduler
from prefect_jobs.local.prefect_server import PrefectServerInfo
from prefect_jobs.runtime.wiring import get_runtime
from prefect_jobs.settings import get_settings
from tests.acceptance.conftest import TestApp
from tests.acceptance.workflows import diamond, node, workflow_of, written

Build = Callable[[CondorWorkflow, Path], None]
_BUILD: dict[str, Build] = {}

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
    _BUILD[build.__name__] = build
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


@pytest.fixture(scope="module")
def ended(
    tmp_path_factory: pytest.TempPathFactory, prefect_server: PrefectServerInfo, alice: CondorScheduler
) -> Iterator[dict[str, CondorWorkflow]]:
    """All the workflows, at their end, by name."""
    folder = tmp_path_factory.mktemp("features")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_JOBS_DATABASE_URL", f"sqlite:///{folder / 'jobs.db'}")
        patch.setenv("PREFECT_JOBS_WORKSPACE", str(folder / "workspace"))
        patch.setenv("PREFECT_JOBS_POLL_INTERVAL", "0.5")
        get_settings.cache_clear()
        runtime = get_runtime()
        manager = TestApp.get_job_manager()
        yield _run_all(manager, alice, folder)
        runtime.close()
    get_settings.cache_clear()


def _run_all(manager: JobManager, alice: CondorScheduler, folder: Path) -> dict[str, CondorWorkflow]:
    made: dict[str, CondorWorkflow] = {}
    for name, build in _BUILD.items():
        (folder / name).mkdir()
        made[name] = workflow_of(manager, alice, name)
        build(made[name], folder / name)
        made[name].execute()
    for workflow in made.values():
        workflow.wait(180)
        logging.getLogger(__name__).info("%s: %s", workflow, workflow.status_message)
    return made


def test_outputs_pass_from_node_to_node_and_come_back(ended: dict[str, CondorWorkflow]) -> None:
    # given
    workflow = ended["success"]
    # then
    assert workflow.cached_status == "Complete", workflow.status_message
    assert set(workflow.node_statuses.values()) == {"Complete"}
    assert written(workflow, "D/all.txt") == "from A\nfrom B\nfrom A\nfrom C\n"
    assert [written(workflow, f"E/copy.{number}") for number in (0, 1)] == ["local data\n"] * 2
    last = workflow.get_job("E")
    assert last is not None
    assert last.exit_codes == {0: 0, 1: 0}
    assert "exit code 0 on slot" in last.status_message
    assert workflow.num_jobs == 6
    assert workflow.statuses["Completed"] == 5


def test_logs_have_an_entry_for_the_workflow_and_one_for_each_node(ended: dict[str, CondorWorkflow]) -> None:
    # when
    logs = ended["success"].get_logs()
    # then
    assert set(logs) == {"the workflow", "A", "B", "C", "D", "E"}
    assert "EXITING WITH STATUS 0" in logs["the workflow"]["dagman"]
    assert logs["E"]["output of process 1"]() == "process 1\n"
    assert "Job terminated" in logs["A"]["log"]()


def test_a_branch_that_fails_makes_it_various_complete(ended: dict[str, CondorWorkflow]) -> None:
    # given
    workflow = ended["branch_fails"]
    # then
    assert workflow.cached_status == "Various-Complete"
    assert workflow.node_statuses == {"A": "Complete", "B": "Complete", "C": "Error", "D": "Pending"}
    assert "C: Exit code 3 on " in workflow.status_message
    assert "2 of 4 nodes are done" in workflow.status_message
    assert workflow.handle.backend.nodes.nodes(workflow.handle.record.id)[3].message.startswith("Not run: ")


def test_it_goes_on_from_the_rescue_dag_once_inputs_are_mended(
    ended: dict[str, CondorWorkflow], tmp_path_factory: pytest.TempPathFactory
) -> None:
    # given
    workflow = ended["branch_fails"]
    failing = workflow.get_job("C")
    assert failing is not None
    Path(failing.remote_input_files[0]).write_text("true\n")
    # when
    workflow.resubmit()
    statuses = workflow.node_statuses
    workflow.wait(120)
    # then
    assert statuses == {"A": "Complete", "B": "Complete", "C": "Pending", "D": "Pending"}
    assert workflow.cached_status == "Complete", workflow.status_message
    assert written(workflow, "D/all.txt") == "from A\nfrom B\nfrom A\nfrom C\n"
    assert len(list(Path(workflow.initial_dir, "A/logs").glob("*.out"))) == 1
    assert len(list(Path(workflow.initial_dir, "C/logs").glob("*.out"))) == 2
    assert [workflow.get_job(name).tries for name in "ABCD"] == [1, 1, 1, 1]  # type: ignore[union-attr]


def test_where_no_node_is_done_it_is_an_error(ended: dict[str, CondorWorkflow]) -> None:
    # given
    workflow = ended["all_fail"]
    # then
    assert workflow.cached_status == "Error"
    assert workflow.node_statuses == {"A": "Error", "B": "Pending"}
    assert "A: Killed by signal 9" in workflow.status_message


def test_a_retry_that_succeeds_the_second_time(ended: dict[str, CondorWorkflow]) -> None:
    # given
    workflow = ended["second_try"]
    first = workflow.get_job("A")
    assert first is not None
    logs = workflow.get_logs()["A"]
    # then
    assert workflow.cached_status == "Complete", workflow.status_message
    assert first.tries == 2
    assert first.status_message.endswith("Try 2 of 3.")
    assert [logs[f"output of try {number}"]() for number in (1, 2)] == ["try 0\n", "try 1\n"]
    assert logs["output"]() == "try 1\n" and logs["error"]() == "" and "Job terminated" in logs["log"]()


def test_no_retry_after_the_exit_code_that_says_so(ended: dict[str, CondorWorkflow]) -> None:
    # given
    workflow = ended["no_try_after"]
    only = workflow.get_job("A")
    assert only is not None
    # then
    assert (workflow.cached_status, only.tries, only.exit_codes) == ("Error", 1, {0: 4})


def test_abort_dag_on_ends_the_workflow_at_once(ended: dict[str, CondorWorkflow]) -> None:
    # given
    workflow = ended["aborted_as_failure"]
    # then
    assert workflow.cached_status == "Various-Complete"
    assert workflow.node_statuses == {"A": "Complete", "B": "Error", "C": "Aborted"}


def test_abort_dag_on_with_a_return_value_of_success_is_one(ended: dict[str, CondorWorkflow]) -> None:
    # given
    workflow = ended["aborted_as_success"]
    # then
    assert workflow.cached_status == "Complete"
    assert workflow.status_message == (
        "Ended early by B, by ABORT-DAG-ON with a return value of success; 1 of 3 nodes is done."
    )
    assert workflow.node_statuses == {"A": "Complete", "B": "Error", "C": "Pending"}


@pytest.mark.parametrize("name", ["aborted_with_its_own_code", "aborted_with_a_large_code"])
def test_an_abort_with_any_exit_code_ends_the_workflow_once(ended: dict[str, CondorWorkflow], name: str) -> None:
    # given
    workflow = ended[name]
    aborting = workflow.get_job("A")
    assert aborting is not None
    # then
    assert workflow.cached_status == "Error", workflow.status_message
    assert aborting.tries == 1
    assert workflow.node_statuses["A"] == "Error"


def test_pre_and_post_scripts_have_their_say(ended: dict[str, CondorWorkflow]) -> None:
    # given
    workflow = ended["scripts"]
    # then
    assert workflow.node_statuses == {
        "PRE": "Complete",
        "FORGIVEN": "Complete",
        "BLAMED": "Error",
        "SKIPPED": "Complete",
        "AFTER": "Complete",
    }
    assert workflow.cached_status == "Various-Complete"
    assert "BLAMED: Its post script failed with exit code 8." in workflow.status_message
    assert written(workflow, "PRE/seen.txt") == "made for PRE x\n"
    assert written(workflow, "FORGIVEN/post.txt") == "FORGIVEN returned 7\n"


def test_a_splice_and_a_dag_of_its_own(ended: dict[str, CondorWorkflow]) -> None:
    # given
    workflow = ended["inner_dags"]
    # then
    assert workflow.cached_status == "Complete", workflow.status_message
    assert workflow.node_statuses == {"P": "Complete", "S": "Complete", "END": "Complete"}
    assert written(workflow, "END/both.txt") == "eks from splice\nypsilon from subdag\n"
    assert written(workflow, "P/ypsilon.out") == "ypsilon from splice\n"


def test_the_final_node_runs_whatever_happened_and_services_end(ended: dict[str, CondorWorkflow]) -> None:
    # given
    workflow = ended["final_and_service"]
    # then
    assert workflow.cached_status == "Various-Complete"
    assert workflow.node_statuses == {"A": "Error", "OK": "Complete", "LAST": "Complete", "BESIDE": "Complete"}
    assert written(workflow, "LAST/cleaned.txt") == "cleaned\n"


def test_a_throttle_really_holds_nodes_back(ended: dict[str, CondorWorkflow]) -> None:
    # given
    workflow = ended["throttled"]
    times = sorted((int(written(workflow, f"{name}/began")), int(written(workflow, f"{name}/ended"))) for name in "ABC")
    # then none began before the one before it had ended
    assert workflow.cached_status == "Complete", workflow.status_message
    assert all(earlier[1] <= later[0] for earlier, later in pairwise(times))


def test_nodes_that_run_nothing(ended: dict[str, CondorWorkflow]) -> None:
    # given
    workflow = ended["empty_nodes"]
    # then
    assert workflow.cached_status == "Complete", workflow.status_message
    assert set(workflow.node_statuses.values()) == {"Complete"}
    assert (Path(workflow.initial_dir) / "else/where/logs").is_dir()


def test_variables_arrive_as_they_were_given(ended: dict[str, CondorWorkflow]) -> None:
    # given
    workflow = ended["odd_texts"]
    # then
    assert workflow.cached_status == "Complete", workflow.status_message
    assert written(workflow, "A/said").split("\n") == [
        "two",
        "words",
        r"back\slash",
        '"quoted"',
        "1;2,3",
        "$5",
        "5",
        "",
    ]
