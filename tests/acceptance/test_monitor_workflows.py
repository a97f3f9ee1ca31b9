"""The monitor and workflows: what people do to their flow runs in Prefect is done to DAGMan."""

from collections.abc import Callable, Iterator

import pytest

from prefect_jobs import CondorWorkflow, JobManager
from prefect_jobs.blocks import CondorScheduler
from prefect_jobs.jobs.base import Job
from prefect_jobs.monitor import Monitor
from tests.acceptance.conftest import PrefectView
from tests.acceptance.test_monitor import becomes, known, running
from tests.acceptance.workflows import node, workflow_of
from tests.support import eventually

LIMIT = 90
Press = Callable[..., None]


@pytest.fixture
def monitor(manager: JobManager) -> Iterator[Monitor]:
    """One that runs."""
    with running(Monitor()) as made:
        yield made


@pytest.fixture
def workflow(manager: JobManager, alice: CondorScheduler) -> Callable[[str], CondorWorkflow]:
    """Executes a workflow of two nodes, the first of which runs a line of shell."""

    def make(line: str) -> CondorWorkflow:
        made = workflow_of(manager, alice, "two")
        node(made, "first", line)
        node(made, "second", after="first")
        made.execute()
        return made

    return make


@pytest.fixture
def press(prefect_view: PrefectView) -> Press:
    """What the buttons of Prefect's UI do."""

    def pressed(job: Job, kind: str, name: str = "") -> None:
        prefect_view.run(job)
        state = {"type": kind, **({"name": name} if name else {})}
        prefect_view.post(f"/flow_runs/{job.flow_run_id}/set_state", {"state": state})

    return pressed


def leaves_the_queue(job: CondorWorkflow) -> None:
    mine = f"ClusterId == {job.remote_id} || DAGManJobId == {job.remote_id}"
    eventually(lambda: not job.engine.client().query(mine, ("ClusterId",)), "nothing of it is in the queue", LIMIT)


def first_runs(job: CondorWorkflow) -> None:
    which = f"DAGManJobId == {job.remote_id} && JobStatus == 2"
    eventually(lambda: job.engine.client().query(which, ("ClusterId",)), "its first node runs", LIMIT)


@pytest.mark.parametrize("kind", ["CANCELLING", "CANCELLED"])
def test_cancel(
    monitor: Monitor, workflow: Callable[[str], CondorWorkflow], press: Press, prefect_view: PrefectView, kind: str
) -> None:
    job = workflow("sleep 300")
    first_runs(job)
    press(job, kind)
    becomes(job, "Aborted")
    leaves_the_queue(job)
    assert prefect_view.state(job)[0] == "CANCELLED"
    eventually(lambda: "Cancel was asked for in Prefect." in prefect_view.logs(job), "the log says so", LIMIT)


def test_pause_and_resume(
    monitor: Monitor, workflow: Callable[[str], CondorWorkflow], press: Press, prefect_view: PrefectView
) -> None:
    job = workflow("sleep 8")
    first_runs(job)
    # (Prefect pauses what runs, and nothing else)
    eventually(lambda: prefect_view.state(job)[0] == "RUNNING", "Prefect shows that it runs", LIMIT)
    press(job, "PAUSED")
    eventually(lambda: known(job).state.status == "Paused", "it is paused", LIMIT)
    assert prefect_view.state(job)[0] == "PAUSED"
    press(job, "RUNNING")
    becomes(job, "Complete")
    eventually(lambda: prefect_view.state(job)[0] == "COMPLETED", "Prefect shows it", LIMIT)


def test_retry_goes_on_from_where_it_failed(
    monitor: Monitor, workflow: Callable[[str], CondorWorkflow], press: Press, prefect_view: PrefectView
) -> None:
    job = workflow("exit 1")
    becomes(job, "Error")
    eventually(lambda: prefect_view.state(job)[0] == "FAILED", "Prefect shows it", LIMIT)
    press(job, "SCHEDULED", "AwaitingRetry")
    eventually(lambda: known(job).state.attempt == 2, "it was submitted again", LIMIT)
    becomes(job, "Error")
    assert known(job).state.attempt == 2
    eventually(lambda: "Retry was asked for in Prefect." in prefect_view.logs(job), "the log says so", LIMIT)


def test_its_run_is_deleted(
    monitor: Monitor, workflow: Callable[[str], CondorWorkflow], prefect_view: PrefectView
) -> None:
    job = workflow("sleep 300")
    first_runs(job)
    prefect_view.run(job)
    prefect_view._api.delete(f"/flow_runs/{job.flow_run_id}").raise_for_status()
    becomes(job, "Aborted")
    leaves_the_queue(job)
