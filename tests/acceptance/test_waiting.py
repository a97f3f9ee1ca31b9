"""Waiting for jobs, and listing them by status: what people are told meanwhile."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from dask.delayed import delayed
from typer.testing import CliRunner

from prefect_jobs import Job, JobManager
from prefect_jobs.blocks import CondorScheduler
from prefect_jobs.cli.root import app
from prefect_jobs.jobs import changes
from prefect_jobs.transition import News, Source
from tests.acceptance.conftest import DaskJobs, ShellJob
from tests.acceptance.workflows import node, workflow_of
from tests.support import eventually

LIMIT = 60


@pytest.fixture
def job(manager: JobManager) -> Job:
    """One that waits for what others say of it."""
    made = manager.create_job("x", "alice", job_type="BASIC")
    made.execute()
    return made


def become(job: Job, status: str, message: str = "") -> None:
    """What another process finds out about the job."""
    job.handle.backend.jobs.update(
        job.handle.record.id, lambda fresh: changes.change_for(fresh, News(Source.SCHEDULER, status, message))
    )


@contextmanager
def meanwhile(act: Callable[[], Any]) -> Iterator[None]:
    thread = threading.Thread(target=act)
    thread.start()
    yield
    thread.join(LIMIT)


def test_progress_says_what_is_awaited_when_it_changes(job: Job) -> None:
    told: list[tuple[str, str]] = []

    def others() -> None:
        eventually(lambda: told, "it says what it waits for")
        become(job, "Held", "Error from slot1: no such directory (code 12)")
        eventually(lambda: len(told) > 1, "it says that it is held")
        become(job, "Running")
        eventually(lambda: len(told) > 2, "it says that it runs")
        become(job, "Aborted")

    with meanwhile(others):
        status = job.wait(LIMIT, progress=lambda job: told.append((job.cached_status, job.status_message)))
    assert status == "Aborted"
    assert told == [("Submitted", ""), ("Held", "Error from slot1: no such directory (code 12)"), ("Running", "")]


def test_the_async_twin_tells_in_its_loop(job: Job) -> None:
    told: list[tuple[str, Any]] = []

    async def tell(job: Job) -> None:
        told.append((job.cached_status, asyncio.get_running_loop()))

    async def waits() -> str:
        return await job.await_completion(LIMIT, progress=tell, until_held=True)

    def others() -> None:
        eventually(lambda: told, "it says what it waits for")
        become(job, "Held")

    with meanwhile(others):
        assert asyncio.run(waits()) == "Held"
    assert [status for status, _ in told] == ["Submitted"]


@pytest.mark.parametrize("status", ["Held", "Paused"])
def test_until_held(job: Job, status: str) -> None:
    become(job, status)
    with pytest.raises(TimeoutError, match=status):
        job.wait(0.1)
    assert job.wait(LIMIT, until_held=True) == status


def test_a_condor_job_that_is_paused(shell_job: ShellJob) -> None:
    job = shell_job("sleep 600")
    job.execute()
    job.pause()
    assert job.wait(LIMIT, until_held=True) == "Paused"
    job.stop()


def test_the_command_says_it_on_standard_error(job: Job) -> None:
    become(job, "Running", "on node 7")
    with meanwhile(lambda: become(job, "Held", "no memory")):
        done = CliRunner().invoke(app, ["wait", str(job.id), "--until-held", "--timeout", "60", "--json"])
    assert done.exit_code == 1
    assert json.loads(done.stdout)["status"] == "Held"
    assert f"job {job.id} is Held: no memory" in done.stderr
    become(job, "Running")
    with meanwhile(lambda: become(job, "Complete")):
        done = CliRunner().invoke(app, ["wait", str(job.id)])
    assert (done.exit_code, done.stdout) == (0, "Complete\n")


def test_jobs_by_status_in_any_case_and_a_mistyped_one(manager: JobManager, job: Job) -> None:
    for number, status in enumerate(["Running", "waiting for Licence", "Held"]):
        one = manager.create_job(f"job {number}", "alice", job_type="BASIC")
        one.status = status

    def listed(*wanted: str) -> set[str]:
        done = CliRunner().invoke(app, ["list", "--json", *(word for text in wanted for word in ("--status", text))])
        assert done.exit_code == 0, done.stderr
        return {row["status"] for row in json.loads(done.stdout)}

    assert listed("running") == listed("RUN") == listed("run") == {"Running"}
    assert listed("Running", "held") == {"Running", "Held"}
    assert listed("Waiting for licence") == {"waiting for Licence"}
    assert listed("other") == {"waiting for Licence", "Held"}
    assert listed("Complete") == set()
    done = CliRunner().invoke(app, ["list", "--status", "Runing"])
    assert done.exit_code == 1 and not done.stdout
    assert "no status 'Runing'" in done.stderr and "Pending, Submitted, Running" in done.stderr
    assert "waiting for Licence" in done.stderr


def test_many_are_waited_for_together(
    manager: JobManager, alice: CondorScheduler, shell_job: ShellJob, dask_job: DaskJobs
) -> None:
    # given jobs of three types
    workflow = workflow_of(manager, alice, "a workflow")
    node(workflow, "only", "echo from the node").save()
    computed = dask_job()
    jobs: list[Job] = [shell_job("echo one"), shell_job("exit 3"), computed, workflow]
    for job in jobs:
        if job is not computed:
            job.execute()
    computed.execute(delayed(pow)(2, 5))
    told: list[tuple[int | None, int]] = []
    # when
    found = manager.wait_jobs(jobs, 90, lambda job, done, total: told.append((job.id, done)))
    # then each is over, told of once, and has what it left behind
    assert found == jobs
    assert [job.cached_status for job in jobs] == ["Complete", "Error", "Complete", "Complete"]
    assert sorted(job_id or 0 for job_id, _ in told) == sorted(job.id or 0 for job in jobs)
    assert [done for _, done in told] == [1, 2, 3, 4]
    assert jobs[0].get_logs()["output"] == "one\n" and computed.result == 32
