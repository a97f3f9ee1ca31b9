"""The job type of docs/how-to/job-types.md, as it stands there, against a real service."""

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from prefect_jobs import Job, JobManager, JobStateError, SchedulerConnectionError, SubmissionError, clock
from prefect_jobs.jobs import registry
from prefect_jobs.monitor import Monitor
from tests.acceptance.conftest import PrefectView
from tests.acceptance.test_monitor import becomes, running
from tests.batch_service import BatchService
from tests.forks import Program
from tests.support import code_in, eventually

MODULE, USE, STATUSES = code_in("job-types.md")
LIMIT = 60

#: Executes a job in a process of its own.
EXECUTE = """
import sys
import batch_jobs
from prefect_jobs import App

class Tests(App):
    name = package = "test_app"

Tests.get_job_manager().get_job(int(sys.argv[1])).execute()
"""

#: Its class is loaded at run time, from the page.
BatchJobs = Callable[[str], Any]


@pytest.fixture
def service() -> Iterator[BatchService]:
    """The service, which is up."""
    started = BatchService()
    started.start()
    yield started
    started.close()


@pytest.fixture
def folder(service: BatchService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the page's module, which this process has imported."""
    assert MODULE.startswith("# batch_jobs.py\n") and "http://localhost:8080" in MODULE
    (tmp_path / "batch_jobs.py").write_text(MODULE.replace("http://localhost:8080", service.url))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    module = importlib.import_module("batch_jobs")
    monkeypatch.setattr(module.BatchJob, "update_status_interval", timedelta(0))
    yield tmp_path
    sys.modules.pop("batch_jobs")


@pytest.fixture
def batch_job(folder: Path, manager: JobManager) -> BatchJobs:
    """Makes a job that runs a script."""

    def make(script: str) -> Any:
        return manager.create_job("a script", "alice", job_type="BATCH", script=script)

    return make


def waits_for(gate: Path, then: str = "echo done") -> str:
    """A script that waits for a file."""
    return f"while [ ! -e '{gate}' ]; do sleep 0.05; done; {then}"


def test_the_page_runs_as_it_stands(folder: Path, manager: JobManager) -> None:
    names: dict[str, Any] = {"manager": manager}
    exec(USE, names)  # noqa: S102  (our own page)
    job = names["job"]
    assert (job.cached_status, job.extended_properties["output"]) == ("Complete", "hello\n")
    assert job.get_logs() == {"output": "hello\n"}
    exec(STATUSES, {"Job": Job, "job": manager.create_job("x", "alice", job_type="BASIC")})  # noqa: S102


def test_a_job_is_shown_as_the_service_runs_it(batch_job: BatchJobs, tmp_path: Path, prefect_view: PrefectView) -> None:
    # given
    gate = tmp_path / "gate"
    job = batch_job(waits_for(gate))
    # when
    job.execute()
    # then
    assert job.remote_id == "1"
    assert (job.status, job.status_message) == ("Running", "Queue short.")
    gate.touch()
    assert job.wait(LIMIT) == "Complete"
    assert job.start_time is not None and job.completion_time is not None
    assert prefect_view.state(job)[:2] == ("COMPLETED", "Completed")


def test_a_script_that_fails_is_an_error(batch_job: BatchJobs) -> None:
    job = batch_job("exit 3")
    job.execute()
    assert (job.wait(LIMIT), job.status_message) == ("Error", "Exit code 3.")


def test_a_script_that_the_service_refuses_is_an_error(batch_job: BatchJobs) -> None:
    job = batch_job("")
    with pytest.raises(SubmissionError, match="the script is empty"):
        job.execute()
    assert job.cached_status == "Error"


def test_outputs_that_are_not_stored_yet_are_fetched_later(batch_job: BatchJobs, service: BatchService) -> None:
    service.stored = False
    job = batch_job("echo late")
    job.execute()
    eventually(lambda: job.status == "Results-Ready", "the work is over", LIMIT)
    assert "the service still stores the output" in job.status_message
    service.stored = True
    assert job.wait(LIMIT) == "Complete"
    assert job.extended_properties["output"] == "late\n"


def test_the_monitor_runs_it(batch_job: BatchJobs) -> None:
    job = batch_job("echo watched")
    with running(Monitor()):
        job.execute()
        becomes(job, "Complete")


def test_stop_and_delete_reach_the_service(
    batch_job: BatchJobs, service: BatchService, tmp_path: Path, manager: JobManager
) -> None:
    job = batch_job(waits_for(tmp_path / "never"))
    job.execute()
    with pytest.raises(NotImplementedError):
        job.pause()
    job.stop()
    assert job.cached_status == "Aborted"
    eventually(lambda: service.jobs["1"].plain()["state"] == "cancelled", "the script was killed", LIMIT)
    job.delete()
    assert service.jobs == {} and manager.list_jobs() == []


def test_an_unreachable_service_is_not_a_failure(batch_job: BatchJobs, service: BatchService, tmp_path: Path) -> None:
    # given a job at work, and one that was never submitted
    gate = tmp_path / "gate"
    job, waiting = batch_job(waits_for(gate)), batch_job("echo later")
    job.execute()
    assert job.status == "Running"
    # when
    service.stop()
    # then
    assert job.status == "Running" and "does not answer" in job.status_message
    with pytest.raises(SchedulerConnectionError):
        job.stop()
    with pytest.raises(SubmissionError):
        waiting.execute()
    assert waiting.cached_status == "Pending"
    # when it is back
    service.start()
    gate.touch()
    # then
    assert job.wait(LIMIT) == "Complete"
    waiting.execute()
    assert waiting.wait(LIMIT) == "Complete"
    assert len(service.jobs) == 2


def test_work_is_found_again_after_a_crash(batch_job: BatchJobs, service: BatchService, folder: Path) -> None:
    # given a process that is killed after the service took its job
    job = batch_job("echo once")
    job.save()
    service.answers.clear()
    paths = os.pathsep.join([str(folder), *sys.path])
    process = Program([sys.executable, "-c", EXECUTE, str(job.id)], env={**os.environ, "PYTHONPATH": paths})
    try:
        eventually(lambda: service.jobs or process.poll() is not None, "the service has the job", LIMIT)
    finally:
        process.kill()
        process.wait()
    service.answers.set()
    # then others leave the job alone at first
    assert job.status == "Pending"
    with pytest.raises(JobStateError, match="is being submitted by another process"):
        job.execute()
    # and later find the work
    clock.set_clock(lambda: datetime.now(UTC) + timedelta(minutes=1))
    assert job.wait(LIMIT) == "Complete"
    assert (job.remote_id, list(service.jobs)) == ("1", ["1"])


def test_each_submission_has_a_token_of_its_own(batch_job: BatchJobs, service: BatchService) -> None:
    job = batch_job("echo twice")
    job.execute()
    assert job.wait(LIMIT) == "Complete"
    first = job.submission_token
    job.resubmit()
    assert job.wait(LIMIT) == "Complete"
    assert job.submission_token != first
    assert {ran.token for ran in service.jobs.values()} == {first, job.submission_token}
