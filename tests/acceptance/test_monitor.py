"""The monitor: jobs end though nobody looks, and what people do in Prefect is done to them."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from dask.delayed import delayed

from prefect_jobs import CondorJob, CondorWorkflow, CondorWorkflowJobNode, JobManager
from prefect_jobs.blocks import CondorScheduler
from prefect_jobs.jobs.base import Job
from prefect_jobs.jobs.condor import group, limits
from prefect_jobs.monitor import Monitor
from prefect_jobs.monitor.metrics import Metrics
from prefect_jobs.monitor.retention import Retention
from prefect_jobs.records import Change
from prefect_jobs.runtime.wiring import Runtime
from prefect_jobs.settings import get_settings
from tests.acceptance.conftest import DaskJobs, PrefectView, ShellJob
from tests.support import eventually, log_lines

pytestmark = pytest.mark.prefect

LIMIT = 60


@contextmanager
def running(monitor: Monitor) -> Iterator[Monitor]:
    thread = threading.Thread(target=monitor.run, name="the monitor of a test")
    thread.start()
    try:
        yield monitor
    finally:
        monitor.stop()
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture
def monitor(manager: JobManager) -> Iterator[Monitor]:
    """One that runs."""
    with running(Monitor()) as made:
        yield made


def known(job: Job) -> Any:
    """The job as SQL has it: nobody is asked."""
    return job.handle.backend.jobs.get(job.handle.record.id)


def becomes(job: Job, status: str) -> None:
    try:
        eventually(lambda: known(job).state.status == status, f"job {job.id} is {status}", LIMIT)
    except pytest.fail.Exception as error:
        queue = job.engine.client().query(f"ClusterId == {job.cluster_id}") if isinstance(job, CondorJob) else None
        pytest.fail(f"{error}\nin SQL: {known(job)}\nin the queue: {queue}")


def leaves_the_queue(job: CondorJob) -> None:
    mine = f"ClusterId == {job.cluster_id}"
    eventually(lambda: not job.engine.client().query(mine, ("ClusterId",)), "it has left the queue")


@pytest.fixture
def press(prefect_view: PrefectView) -> Callable[..., None]:
    """What the buttons of Prefect's UI do."""

    def pressed(job: Job, kind: str, name: str = "") -> None:
        prefect_view.run(job)
        state = {"type": kind, **({"name": name} if name else {})}
        prefect_view.post(f"/flow_runs/{job.flow_run_id}/set_state", {"state": state})

    return pressed


def test_jobs_end_though_nobody_looks(
    monitor: Monitor, shell_job: ShellJob, dask_job: DaskJobs, prefect_view: PrefectView, manager: JobManager
) -> None:
    # given
    good, bad = shell_job("echo hello"), shell_job("exit 3")
    several = shell_job("test $0 != 1", num_jobs=2)
    computed = dask_job()
    for job in (good, bad, several):
        job.execute()
    computed.execute(delayed(pow)(2, 5))
    # then
    becomes(good, "Complete")
    becomes(bad, "Error")
    becomes(several, "Various-Complete")
    becomes(computed, "Complete")
    found = manager.get_job(good.id or 0)
    assert found is not None and (Path(found.initial_dir) / "logs").is_dir()  # type: ignore[attr-defined]
    assert found.get_logs()["output"] == "hello\n"
    assert computed.result == 32
    assert prefect_view.state(good)[:2] == ("COMPLETED", "Completed")
    assert prefect_view.state(bad)[0] == "FAILED" and "Exit code 3" in prefect_view.state(bad)[2]
    assert prefect_view.state(several)[1] == "Various-Complete"


def test_a_workflow_ends_though_nobody_looks(monitor: Monitor, manager: JobManager, alice: CondorScheduler) -> None:
    workflow = manager.create_job("diamond", "alice", job_type="CONDORWORKFLOW", scheduler=alice)
    assert isinstance(workflow, CondorWorkflow)
    quick = {"executable": "/bin/true", "transfer_executable": False, "request_memory": "32MB"}
    first = CondorWorkflowJobNode("first", workflow, attributes=quick)
    first.save()
    second = CondorWorkflowJobNode("second", workflow, attributes=quick)
    second.add_parent(first)
    second.save()
    workflow.execute()
    becomes(workflow, "Complete")
    used = workflow.resources
    assert set(used) == {"total", "first", "second"}
    assert used["second"]["memory"]["requested"] == 32 and used["total"]["memory"]["requested"] == 64
    assert used["first"]["wall_seconds"] is not None and used["first"]["host"]


def test_cancel(monitor: Monitor, shell_job: ShellJob, prefect_view: PrefectView, press: Callable[..., None]) -> None:
    job = shell_job("sleep 300")
    job.execute()
    becomes(job, "Running")
    press(job, "CANCELLING")
    becomes(job, "Aborted")
    assert prefect_view.state(job)[0] == "CANCELLED"
    leaves_the_queue(job)
    eventually(lambda: "Cancel was asked for in Prefect." in prefect_view.logs(job), "the log says so")


def test_cancelled_by_the_server_itself(
    monitor: Monitor, shell_job: ShellJob, prefect_view: PrefectView, press: Callable[..., None]
) -> None:
    job = shell_job("sleep 300")
    job.execute()
    press(job, "CANCELLED")
    becomes(job, "Aborted")
    leaves_the_queue(job)
    assert prefect_view.state(job)[0] == "CANCELLED"


def test_pause_and_resume(
    monitor: Monitor, shell_job: ShellJob, prefect_view: PrefectView, press: Callable[..., None], flag: Path
) -> None:
    job = shell_job(f"while test ! -e '{flag}'; do sleep 0.2; done")
    job.execute()
    becomes(job, "Running")
    press(job, "PAUSED")
    becomes(job, "Paused")
    assert prefect_view.state(job)[:2] == ("PAUSED", "Paused")
    press(job, "RUNNING")
    flag.touch()
    becomes(job, "Complete")
    assert prefect_view.state(job)[0] == "COMPLETED"


def test_what_is_not_possible_is_said_and_undone(
    monitor: Monitor, dask_job: DaskJobs, prefect_view: PrefectView, press: Callable[..., None], tmp_path: Path
) -> None:
    job = dask_job()
    job.execute(delayed(_until)(str(tmp_path / "flag")))
    becomes(job, "Running")
    press(job, "PAUSED")
    eventually(lambda: any("cannot be paused" in line for line in prefect_view.logs(job)), "the log says so", LIMIT)
    eventually(lambda: prefect_view.state(job)[0] == "RUNNING", "it is shown as it is")
    (tmp_path / "flag").touch()
    becomes(job, "Complete")


def test_retry(monitor: Monitor, shell_job: ShellJob, prefect_view: PrefectView, press: Callable[..., None]) -> None:
    # given
    job = shell_job("exit 1")
    job.execute()
    becomes(job, "Error")
    first = known(job).remote_id
    # when
    press(job, "SCHEDULED", "AwaitingRetry")
    # then it runs once more, and once only
    eventually(lambda: known(job).state.attempt == 2, "it was submitted again")
    eventually(lambda: known(job).state.completion_time, "it is over again", LIMIT)
    assert known(job).remote_id != first and known(job).state.attempt == 2
    eventually(lambda: "Retry was asked for in Prefect." in prefect_view.logs(job), "the log says so")


def test_the_run_is_deleted(monitor: Monitor, shell_job: ShellJob, prefect_view: PrefectView) -> None:
    job = shell_job("sleep 300")
    job.execute()
    becomes(job, "Running")
    prefect_view.run(job)
    with log_lines("prefect_jobs.monitor.commands", "prefect_jobs.projection.run_faces") as lines:
        prefect_view._api.delete(f"/flow_runs/{job.flow_run_id}").raise_for_status()
        becomes(job, "Aborted")
        leaves_the_queue(job)
        # and nothing is said that contradicts it
        eventually(lambda: any("which is Aborted, was deleted" in line for line in lines), "the log says so", LIMIT)
    assert any("the job was stopped" in line for line in lines)
    assert not any("goes on" in line for line in lines)


def test_a_job_without_a_scheduler_is_what_prefect_says(
    monitor: Monitor, manager: JobManager, prefect_view: PrefectView, press: Callable[..., None]
) -> None:
    job = manager.create_job("by hand", "alice", job_type="BASIC")
    job.save()
    for kind, status in (
        ("RUNNING", "Running"),
        ("PAUSED", "Paused"),
        ("RUNNING", "Running"),
        ("COMPLETED", "Complete"),
    ):
        press(job, kind)
        becomes(job, status)


def test_two_monitors_share(manager: JobManager, shell_job: ShellJob) -> None:
    with running(Monitor()), running(Monitor()):
        jobs = [shell_job("true") for _ in range(3)]
        for job in jobs:
            job.execute()
        for job in jobs:
            becomes(job, "Complete")
    # and after both have gone, a third one finds the leases free
    with running(Monitor()):
        job = shell_job("true")
        job.execute()
        becomes(job, "Complete")


def test_many_change_at_once(monitor: Monitor, manager: JobManager, shell_job: ShellJob, runtime: Runtime) -> None:
    # given
    jobs = [shell_job("sleep 300", attributes={"request_memory": "8MB"}) for _ in range(6)]
    manager.execute_jobs(jobs)
    becomes(jobs[0], "Running")
    clusters = " || ".join(f"ClusterId == {job.cluster_id}" for job in jobs)
    client = jobs[0].engine.client()
    # when a person holds all of them, of which one has lost its row
    runtime.store.delete(jobs[0].id or 0)
    client.act("Hold", clusters, "for a while")
    # then
    for job in jobs[1:]:
        becomes(job, "Paused")
    client.act("Release", clusters, "it goes on")
    # there is room for four of them at once
    again = {"Submitted", "Running"}
    eventually(lambda: {known(job).state.status for job in jobs[1:]} <= again, "they go on", LIMIT)
    client.act("Remove", clusters, "enough")
    for job in jobs[1:]:
        becomes(job, "Aborted")


def test_a_job_that_was_removed_behind_our_back(monitor: Monitor, shell_job: ShellJob) -> None:
    job = shell_job("sleep 300")
    job.execute()
    becomes(job, "Running")
    job.engine.client().act("Remove", f"ClusterId == {job.cluster_id}", "by somebody else")
    becomes(job, "Aborted")


def test_a_job_that_vanished_is_an_error_that_says_so(
    monitor: Monitor, shell_job: ShellJob, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MISSING_TIME", timedelta(seconds=1))
    monkeypatch.setattr(group, "FULL", 2.0)  # what vanished is found by looks at everything, and three of them
    job, other = shell_job("sleep 300"), shell_job("true")
    job.execute()
    becomes(job, "Running")
    cluster = job.cluster_id
    # given that the schedd knows nothing of it
    runtime.store.update(job.id or 0, lambda _: Change({"remote_id": "999999", "submission_token": "unknown"}))
    other.execute()
    becomes(other, "Complete")
    eventually(lambda: known(job).state.status == "Error", "it is an error", 2 * LIMIT)
    assert "neither the queue nor the history" in known(job).state.status_message
    job.engine.client().act("Remove", f"ClusterId == {cluster}", "the test is over")


def test_a_job_that_is_held_for_too_long_is_given_up(
    manager: JobManager, shell_job: ShellJob, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_JOBS_HELD_TIMEOUT", "1")
    get_settings.cache_clear()
    with running(Monitor()):
        job = shell_job("exit 0", attributes={"transfer_output_files": "never-written.txt"})
        job.execute()
        becomes(job, "Error")
        leaves_the_queue(job)
    assert "held for longer than 1 s" in known(job).state.status_message
    # and when it is old
    Retention(runtime, timedelta(microseconds=1), Metrics()).round()
    # then nothing keeps it
    assert known(job) is None


def _until(path: str) -> None:
    import time

    while not Path(path).exists():
        time.sleep(0.02)
