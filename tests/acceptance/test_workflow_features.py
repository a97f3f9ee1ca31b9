"""What DAGMan can do, through the public API on a real pool. The workflows run side by side, since each takes its
time; each test looks at one of them."""

import logging
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from prefect_jobs import (
    CondorWorkflow,
    JobManager,
)
from prefect_jobs.blocks import CondorScheduler
from prefect_jobs.local.prefect_server import PrefectServerInfo
from prefect_jobs.runtime.wiring import get_runtime
from prefect_jobs.settings import get_settings
from tests.acceptance.conftest import TestApp
from tests.acceptance.workflow_cases import BUILD
from tests.acceptance.workflows import workflow_of, written


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
    for name, build in BUILD.items():
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
