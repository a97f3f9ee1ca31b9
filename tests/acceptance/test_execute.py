"""execute(): what may be executed, and what is told of what may not."""

import os
import sys
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest
from prefect import flow
from sqlalchemy import event

from prefect_jobs import (
    Job,
    JobManager,
    JobStateError,
    SchedulerConnectionError,
    SchedulerEngineMismatch,
    SubmissionError,
)
from prefect_jobs.blocks import CondorScheduler, DaskScheduler
from prefect_jobs.flows.condor_job import condor_job
from prefect_jobs.flows.run_job import run_job
from prefect_jobs.jobs import registry
from prefect_jobs.local.prefect_server import PrefectServerInfo
from prefect_jobs.runtime.wiring import Runtime
from tests.acceptance.conftest import PrefectView, ShellJob
from tests.acceptance.test_monitor import known
from tests.acceptance.test_prefect_away import frozen
from tests.forks import run_program
from tests.support import eventually


class Refusing(Job):
    """Refuses what it is told to refuse."""

    refuses: ClassVar[bool] = True

    def _execute(self, *args: Any, **kwargs: Any) -> None:
        if self.refuses:
            raise ValueError("no such model")


@pytest.fixture
def refusing(manager: JobManager, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.setitem(registry._registered, "REFUSING", Refusing)
    return manager.create_job("x", "alice", job_type="REFUSING")


def test_one_execute_is_three_commits_and_two_reads_at_most(
    shell_job: ShellJob, runtime: Runtime, prefect_server: PrefectServerInfo
) -> None:
    shell_job("true").execute()  # what is read once was read
    mine, engine = threading.get_ident(), runtime.store.database.engine
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any = None, statement: str = "COMMIT", *_rest: Any) -> None:
        if threading.get_ident() == mine:
            seen.append(statement.split()[0])

    event.listen(engine, "before_cursor_execute", note)
    event.listen(engine, "commit", note)
    try:
        shell_job("true").execute()
    finally:
        event.remove(engine, "before_cursor_execute", note)
        event.remove(engine, "commit", note)
    assert seen.count("COMMIT") == 3 and seen.count("SELECT") <= 2, seen


def test_a_program_that_ends_after_execute_leaves_a_run(
    runtime: Runtime, tmp_path: Path, prefect_view: PrefectView
) -> None:
    program = """
from prefect_jobs import App
class Tests(App):
    name = package = "test_app"
job = Tests.get_job_manager().create_job("short", "alice", job_type="BASIC")
job.execute()
print(job.id)
"""
    command = [sys.executable, "-c", program]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = run_program(command, env=env, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr
    record = runtime.store.get(int(done.stdout))
    assert record is not None and record.flow_run_id and not record.behind
    assert prefect_view.get(f"/flow_runs/{record.flow_run_id}")["state"]["name"] == "Submitted"


@pytest.mark.parametrize("end", ["Complete", "Error", "Various-Complete", "Aborted", "done by hand"])
def test_a_job_that_is_over_is_not_executed_again(manager: JobManager, end: str) -> None:
    Job.add_custom_terminal_status("done by hand")
    job = manager.create_job("x", "alice", job_type="BASIC")
    job.execute()
    job.status = end
    with pytest.raises(JobStateError, match=r"is over.*resubmit\(\)"):
        job.execute()
    problems: list[Any] = []
    manager.execute_jobs([job], progress=lambda _, problem: problems.append(problem))
    assert [type(problem) for problem in problems] == [JobStateError]
    assert job.cached_status == end and job.handle.record.state.attempt == 1
    job.resubmit()
    assert job.cached_status == "Submitted" and job.handle.record.state.attempt == 2


def test_many_that_are_over(manager: JobManager, shell_job: ShellJob) -> None:
    # (Condor jobs are submitted together)
    done = shell_job("exit 0")
    done.execute()
    assert done.wait(60) == "Complete"
    cluster, fresh = done.cluster_id, shell_job("exit 0")
    manager.execute_jobs([done, fresh])
    assert (done.cached_status, done.cluster_id) == ("Complete", cluster)
    assert fresh.cluster_id is not None
    fresh.stop()


def test_a_job_of_which_nothing_ever_ran_may_be_executed(
    manager: JobManager, refusing: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SubmissionError, match="no such model"):
        refusing.execute()
    assert refusing.cached_status == "Error"
    monkeypatch.setattr(Refusing, "refuses", False)
    refusing.execute()
    assert refusing.cached_status == "Submitted"
    never = manager.create_job("never submitted", "alice", job_type="BASIC")
    never.save()
    never.stop()
    never.execute()
    assert never.cached_status == "Submitted"


def test_a_job_that_another_process_ran_meanwhile_is_not_run_twice(manager: JobManager) -> None:
    # given two objects of a job that was not submitted yet, of which one runs it between the other's look and intent
    mine = manager.create_job("x", "alice", job_type="BASIC")
    mine.save()
    other = manager.get_job(mine.id or 0)
    assert other is not None

    def prepare() -> None:
        other.execute()
        other.status = "Complete"

    mine.engine.prepare = prepare  # type: ignore[method-assign]
    with pytest.raises(JobStateError, match="another process"):
        mine.execute()
    assert other.handle.backend.jobs.get(mine.handle.record.id).state.attempt == 1  # type: ignore[union-attr]


# -- schedulers -----------------------------------------------------------------------------------------------------


def test_a_mistyped_scheduler_is_found_when_the_job_is_made(
    manager: JobManager, alice: CondorScheduler, dask: DaskScheduler, runtime: Runtime
) -> None:
    for job_type, right in (
        ("CONDOR", "'pool-of-alice'"),
        ("CONDORWORKFLOW", "'pool-of-alice'"),
        ("DASK", "'dask-of-all'"),
    ):
        with pytest.raises(ValueError, match=f"no scheduler 'pol-of-alice'.*{right}"):
            manager.create_job("x", "alice", job_type=job_type, scheduler="pol-of-alice")
    with pytest.raises(
        SchedulerEngineMismatch, match=r"'dask-of-all' is a dask one.*needs htcondor.*'pool-of-alice'"
    ) as wrong:
        manager.create_job("x", "alice", job_type="CONDOR", scheduler="dask-of-all")
    assert isinstance(wrong.value, ValueError)
    with pytest.raises(ValueError, match="no scheduler 'nowhere'"):
        manager.schedule_job("x", "alice", "CONDOR", cron="0 3 * * *", scheduler="nowhere")
    # and one that was read not long ago costs no call
    manager.create_job("x", "alice", job_type="CONDOR", scheduler="pool_of_alice")
    runtime.prefect.lookup.find = None  # type: ignore[method-assign, assignment]
    manager.create_job("x", "alice", job_type="CONDOR", scheduler="pool_of_alice")


def test_where_prefect_is_away_the_name_is_taken_and_checked_at_execute(
    manager: JobManager, prefect_server: PrefectServerInfo, prefect_view: PrefectView, runtime: Runtime
) -> None:
    with frozen(prefect_server):
        for _ in range(2):  # (patience is spent once)
            began = time.monotonic()
            program = {"executable": "/bin/true"}
            job = manager.create_job("x", "alice", job_type="CONDOR", attributes=program, scheduler="mistyped")
            assert time.monotonic() - began < 4
            job.save()
        assert time.monotonic() - began < 2
    with pytest.raises(SubmissionError, match=r"refused.*no scheduler 'mistyped'"):
        eventually(lambda: runtime.projector.away is None, "Prefect answers again")
        job.execute()
    assert job.cached_status == "Error"
    assert prefect_view.state(job)[0] == "FAILED"


# -- runs that a worker executes ------------------------------------------------------------------------------------


class Away(Job):
    """Its scheduler is away, or refuses it."""

    problem: ClassVar[Exception | None] = None

    def _execute(self, *args: Any, **kwargs: Any) -> None:
        if self.problem is not None:
            raise self.problem


@flow(name="away")
def away() -> Any:
    """What a flow of such a type would be."""
    return run_job("AWAY", app="test_app", name="x", user="alice", timeout=60, options={})


@pytest.fixture
def away_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._registered, "AWAY", Away)


def test_a_run_whose_scheduler_is_away_says_so_as_its_job_does_and_goes_on(
    manager: JobManager, away_type: None, prefect_view: PrefectView, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Away, "problem", SchedulerConnectionError("Nobody is there."))
    ended: list[Any] = []
    thread = threading.Thread(target=lambda: ended.append(away()))
    thread.start()
    try:
        (job,) = eventually(manager.list_jobs, "the job is there")
        eventually(lambda: "Nobody is there" in prefect_view.state(job)[2], "the run says so")
        assert prefect_view.state(job)[:2] == ("RUNNING", "Pending")
        job.handle.refresh()
        assert job.cached_status == "Pending" and "Nobody is there" in job.status_message
    finally:
        monkeypatch.setattr(Away, "problem", None)
    eventually(lambda: known(job).state.status == "Submitted", "it is submitted", 90)
    job.status = "Complete"
    thread.join(60)
    assert [result["status"] for result in ended] == ["Complete"]


def test_a_run_that_is_refused_has_one_truth(
    manager: JobManager, away_type: None, prefect_view: PrefectView, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Away, "problem", ValueError("no such model"))
    with pytest.raises(SubmissionError, match="no such model"):
        away()
    (job,) = manager.list_jobs()
    assert job.cached_status == "Error" and job.status_message == "no such model"
    assert prefect_view.state(job)[0] == "FAILED" and "no such model" in prefect_view.state(job)[2]
    # and with a mistyped scheduler there is no job at all
    with pytest.raises(ValueError, match="no scheduler 'mistyped'"):
        condor_job("y", executable="/bin/true", scheduler="mistyped", app="test_app")
    assert len(manager.list_jobs()) == 1
