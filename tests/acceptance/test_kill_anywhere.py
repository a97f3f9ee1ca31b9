"""``kill -9`` between any two things that a submission does: the job is submitted once, and ends."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta

import pytest

from prefect_jobs import CondorJob, JobManager, records
from prefect_jobs.blocks import CondorScheduler
from prefect_jobs.monitor import Monitor
from tests.acceptance.conftest import ShellJob
from tests.acceptance.test_away_and_back import execute
from tests.acceptance.test_monitor import running
from tests.forks import Program
from tests.support import eventually

LIMIT = 90
#: More than a submission has of them.
STEPS = 60

#: Executes a job in a child of its own, which is killed at the given one of its dealings with database and HTCondor.
SCRIPT = """
import contextlib, os, signal, sys
import prefect.client.orchestration, prefect.context
from prefect_jobs import App
from prefect_jobs.flows import condor_job
from prefect_jobs.schedulers.condor.process import HelperProcess
from prefect_jobs.store.database import Database

class Tests(App):
    name = package = "test_app"

def execute(job_id, left):
    def step():
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def calling(self, *args, call=HelperProcess.call):
        step()
        try:
            return call(self, *args)
        finally:
            step()

    @contextlib.contextmanager
    def writing(self, write=Database.writing):
        with write(self) as connection:
            yield connection
            step()
        step()

    HelperProcess.call, Database.writing = calling, writing
    Tests.get_job_manager().get_job(job_id).execute()

print("ready", flush=True)
for line in sys.stdin:
    job_id, number = map(int, line.split())
    child = os.fork()
    if child == 0:
        try:
            execute(job_id, number)
            os._exit(0)
        finally:
            os._exit(1)
    print(os.waitpid(child, 0)[1], flush=True)
"""


class Executor:
    """Executes jobs, and is killed at it."""

    def __init__(self) -> None:
        self.process = Program(
            [sys.executable, "-c", SCRIPT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert self._line() == "ready"

    def execute(self, job: CondorJob, killed_at: int) -> bool:
        """Whether it was killed."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{job.id} {killed_at}\n")
        self.process.stdin.flush()
        status = int(self._line())
        assert status in (0, 9), f"it failed at step {killed_at}: {status}"
        return status == 9

    def close(self) -> None:
        self.process.communicate(timeout=30)

    def _line(self) -> str:
        assert self.process.stdout is not None
        return str(self.process.stdout.readline().strip())


@pytest.fixture
def executor(manager: JobManager) -> Iterator[Executor]:
    made = Executor()
    yield made
    made.close()


def test_killed_at_any_step_it_is_submitted_once(
    executor: Executor,
    shell_job: ShellJob,
    manager: JobManager,
    alice: CondorScheduler,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # given jobs whose processes were killed, each at another step
    jobs: list[CondorJob] = []
    for step in range(1, STEPS):
        jobs.append(shell_job("echo once", name=f"killed at step {step}"))
        jobs[-1].save()
        if not executor.execute(jobs[-1], step):
            break
    assert 6 < len(jobs) < STEPS - 1, "there are so many steps"
    # when a monitor, which need not wait to know that they have died, finds what got through
    with monkeypatch.context() as known, running(Monitor()):
        known.setattr(records, "GRACE", timedelta(0))
        eventually(lambda: all(_settled(job) for job in jobs), "it is known of each whether it was submitted", LIMIT)
    # and the user executes again what did not
    again = [job for job in jobs if job.cached_status == "Pending"]
    assert 2 < len(again) < len(jobs) - 2, "some were killed before, some after they had got through"
    for job in again:
        execute(job)
    assert [job.wait(LIMIT) for job in jobs] == ["Complete"] * len(jobs)
    # then each ran once, whatever was found half-sent and replaced
    client = alice.get_client()
    clusters = [manager.get_job(job.id or 0).remote_id for job in jobs]  # type: ignore[union-attr]
    assert len(set(clusters)) == len(jobs)
    first = min(int(cluster or 0) for cluster in clusters)
    ran = client.history(
        f"ClusterId >= {first} && CompletionDate > 0 && NumJobStarts > 0", ("ClusterId", "NumJobStarts")
    )
    assert sorted(ad["ClusterId"] for ad in ran) == sorted(int(cluster or 0) for cluster in clusters)
    assert not client.query(f"ClusterId >= {first}", ("ClusterId",))
    assert all(job.get_logs()["output"] == "once\n" for job in jobs)


def _settled(job: CondorJob) -> bool:
    """Whether it is at work, over, or known not to have been submitted."""
    job.handle.refresh()
    return job.cached_status != "Pending" or job.handle.record.submission_token is None
