"""Each part away in the middle of work, and back: statuses stay, and say since when; then everything catches up."""

import os
import signal
import threading
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import psutil
import pytest
from dask.delayed import delayed

from prefect_jobs import (
    CondorWorkflow,
    CondorWorkflowJobNode,
    JobManager,
    SubmissionError,
    Submitted,
    clock,
)
from prefect_jobs.blocks import CondorScheduler
from prefect_jobs.errors import DatabaseError, PrefectJobsError
from prefect_jobs.jobs.base import Job
from prefect_jobs.jobs.condor import spooling
from prefect_jobs.local.condor_pool import PersonalPool
from prefect_jobs.local.prefect_server import PrefectServerInfo
from prefect_jobs.local.processes import read_record
from prefect_jobs.monitor import Monitor
from prefect_jobs.monitor.watch import LEASE
from prefect_jobs.records import GRACE
from prefect_jobs.runtime.wiring import Runtime
from prefect_jobs.schedulers.condor import observation
from prefect_jobs.schedulers.condor.client import Cluster, CondorClient
from tests.acceptance.conftest import DaskJobs, PrefectView, ShellJob, dask_block
from tests.acceptance.test_monitor import becomes, known, running
from tests.acceptance.test_prefect_away import frozen
from tests.dask_cluster import DaskCluster
from tests.support import PostgresServer, eventually

#: Seconds for which a part is away: longer in the long form of the soak.
AWAY = 60.0 if os.environ.get("PREFECT_JOBS_SOAK") == "long" else 6.0
LIMIT = 90
NO_ANSWER = "No answer from the scheduler since 20"

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def monitor(manager: JobManager, runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> Iterator[Monitor]:
    """One that runs, and polls each second, so that it shows when it polls less often."""
    monkeypatch.setattr(runtime.settings, "poll_interval", 1)
    with running(Monitor()) as made:
        yield made


def schedds(pool: PersonalPool) -> list[psutil.Process]:
    """The schedd of a pool."""
    return [child for child in master_of(pool).children() if child.name() == "condor_schedd"]


def master_of(pool: PersonalPool) -> psutil.Process:
    """What starts the schedd again."""
    master = read_record(pool.layout.pid)
    assert master is not None
    return psutil.Process(master.pid)


@contextmanager
def stopped(pool: PersonalPool) -> Iterator[None]:
    """A schedd that takes connections and answers nothing."""
    found = schedds(pool)
    assert found
    for schedd in found:
        schedd.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for schedd in found:
            schedd.send_signal(signal.SIGCONT)


@contextmanager
def killed(pool: PersonalPool) -> Iterator[None]:
    """A schedd that was killed, and is started again afterwards."""
    master, found = master_of(pool), schedds(pool)
    assert found
    master.send_signal(signal.SIGSTOP)
    try:
        for schedd in found:
            schedd.kill()
        yield
    finally:
        master.send_signal(signal.SIGCONT)
    # The tests that share the pool find it as it was.
    eventually(lambda: pool.status().answering and schedds(pool) not in ([], found), "the schedd is back", LIMIT)


def polls(monitor: Monitor, scheduler: str) -> float:
    """How often a scheduler was asked."""
    return monitor.metrics.registry.get_sample_value("prefect_jobs_poll_seconds_count", {"scheduler": scheduler}) or 0


def stays_away() -> None:
    """Lets the time pass for which a part is away; nothing is waited for."""
    time.sleep(AWAY)


def execute(job: Job, *work: Any) -> None:
    """Executes it; again, where a busy machine takes longer over it than a call waits."""

    def done() -> bool:
        try:
            job.execute(*work)
        except SubmissionError:
            return False
        return True

    eventually(done, "it is submitted", LIMIT)


def test_the_schedd(
    monitor: Monitor,
    shell_job: ShellJob,
    condor_pool: PersonalPool,
    prefect_view: PrefectView,
    flag: Path,
) -> None:
    # given a job that runs until the schedd was away twice, and two that end while it is away
    waits = f"while test ! -e '{flag}'; do sleep 0.2; done"
    jobs = {
        "Complete": shell_job(f"{waits}; echo late > out.txt"),
        "Error": shell_job("sleep 8; exit 3"),
    }
    for job in jobs.values():
        execute(job)
    for job in jobs.values():
        becomes(job, "Running")
    # when it does not answer
    with stopped(condor_pool):
        stay_as_they_are(jobs.values(), monitor, prefect_view)
    # and it is back, all is as it must be
    becomes(jobs["Error"], "Error")
    eventually(lambda: "No answer" not in known(jobs["Complete"]).state.status_message, "it answers again", LIMIT)
    assert known(jobs["Complete"]).state.status == "Running"
    assert prefect_view.state(jobs["Error"])[0] == "FAILED"
    # and when it is killed
    with killed(condor_pool):
        stay_as_they_are([jobs["Complete"]], monitor, prefect_view)
        flag.touch()
    becomes(jobs["Complete"], "Complete")
    assert "No answer" not in known(jobs["Complete"]).state.status_message
    assert (Path(jobs["Complete"].initial_dir) / "out.txt").read_text() == "late\n"
    assert prefect_view.state(jobs["Complete"])[0] == "COMPLETED"


def stay_as_they_are(jobs: Collection[Job], monitor: Monitor, prefect_view: PrefectView) -> None:
    """The statuses of jobs whose schedd is away, and what is said of them; it is asked less and less often (every 0.3 s
    before)."""
    for job in jobs:
        eventually(lambda job=job: NO_ANSWER in known(job).state.status_message, "it says since when", LIMIT)  # type: ignore[misc]
    said = {job.id: known(job).state.status_message for job in jobs}
    asked = polls(monitor, "htcondor:pool-of-alice")
    stays_away()
    for job in jobs:
        assert known(job).state.status == "Running"
        assert known(job).state.status_message == said[job.id]
        assert prefect_view.state(job)[0] == "RUNNING" and NO_ANSWER in prefect_view.state(job)[2]
    assert polls(monitor, "htcondor:pool-of-alice") - asked <= AWAY / 4 + 2


def test_a_schedd_that_is_killed_as_it_takes_inputs_in(
    manager: JobManager,
    alice: CondorScheduler,
    condor_pool: PersonalPool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # given jobs whose inputs have arrived, which the schedd will note a second later, and a client that it has met
    monkeypatch.setattr(spooling, "ARRIVAL", timedelta(seconds=3))
    given = tmp_path / "given.txt"
    given.write_text("what it needs")
    work = {
        "executable": "/bin/sh",
        "transfer_executable": False,
        "arguments": ["-c", "cat given.txt > out-$0.txt", "$(Process)"],
        "transfer_input_files": str(given),
        "request_memory": "32MB",
    }
    workflow = manager.create_job("cat", "alice", job_type="CONDORWORKFLOW", scheduler=alice)
    assert isinstance(workflow, CondorWorkflow)
    CondorWorkflowJobNode("only", workflow, attributes=work).save()
    looked_at, watched = (
        manager.create_job("cat", "alice", job_type="CONDOR", scheduler=alice, attributes=work, num_jobs=count)
        for count in (1, 3)
    )
    jobs: list[Job] = [workflow, watched, looked_at]
    client = alice.get_client()
    client.query("false")
    client.retrieve("false")
    submit = CondorClient.submit

    def restart() -> None:
        with killed(condor_pool):
            pass

    all_arrived = threading.Barrier(len(jobs), action=restart)

    def and_be_killed(self: CondorClient, text: str, count: int, **more: Any) -> Cluster:
        answer = submit(self, text, count, **more)
        all_arrived.wait(LIMIT)
        return answer

    with monkeypatch.context() as patched, ThreadPoolExecutor(len(jobs)) as threads:
        patched.setattr(CondorClient, "submit", and_be_killed)
        list(threads.map(lambda job: job.execute(), jobs))
    # then a client that it has met asks it as before
    assert client.query("false") == []
    client.retrieve("false")
    # when it is there again, it waits for them
    ids = " || ".join(f"ClusterId == {job.remote_id}" for job in jobs)
    assert client.query(f"({ids}) && {observation.WAITING}", ("ProcId",))
    # then it is told that it has them, and the jobs go on
    assert looked_at.wait(LIMIT) == "Complete"
    with running(Monitor()):
        becomes(watched, "Complete")
        becomes(workflow, "Complete")
    for job, count in zip(jobs, (1, 3, 1), strict=True):
        written = sorted(Path(known(job).spec["initial_dir"]).rglob("out-*.txt"))
        assert [path.read_text() for path in written] == ["what it needs"] * count


def test_a_dask_scheduler(
    monitor: Monitor, dask_job: DaskJobs, own_cluster: DaskCluster, prefect_view: PrefectView
) -> None:
    # given
    own_cluster.start(1)
    block = dask_block(own_cluster, "dask-away")
    good, bad = dask_job(scheduler=block), dask_job(scheduler=block)
    execute(good, _after(10, 1))
    execute(bad, _after(10, 0))
    becomes(good, "Running")
    becomes(bad, "Running")
    # when
    with own_cluster.frozen_scheduler():
        for job in (good, bad):
            eventually(lambda job=job: NO_ANSWER in known(job).state.status_message, "it says since when", LIMIT)  # type: ignore[misc]
        stays_away()
        # then
        for job in (good, bad):
            assert known(job).state.status == "Running" and NO_ANSWER in known(job).state.status_message
            assert prefect_view.state(job)[0] == "RUNNING"
    # and
    becomes(good, "Complete")
    becomes(bad, "Error")
    assert good.result == 42
    assert "division" in known(bad).state.status_message
    assert prefect_view.state(good)[0] == "COMPLETED" and prefect_view.state(bad)[0] == "FAILED"
    block.close()


def test_a_dask_scheduler_that_comes_back_without_memory(
    monitor: Monitor, dask_job: DaskJobs, own_cluster: DaskCluster, prefect_view: PrefectView
) -> None:
    # given
    own_cluster.start(1)
    block = dask_block(own_cluster, "dask-away")
    job = dask_job(scheduler=block)
    execute(job, _after(300, 1))
    becomes(job, "Running")
    # when it is killed
    own_cluster.kill_scheduler()
    own_cluster.kill_workers()
    # then nobody can tell
    eventually(lambda: NO_ANSWER in known(job).state.status_message, "it says since when", LIMIT)
    stays_away()
    assert known(job).state.status == "Running"
    # and when there is one again, which knows nothing of it
    own_cluster.start(1)
    becomes(job, "Error")
    assert "resubmit" in known(job).state.status_message
    assert prefect_view.state(job)[0] == "CRASHED"
    block.close()


def test_prefect(
    monitor: Monitor, shell_job: ShellJob, prefect_server: PrefectServerInfo, prefect_view: PrefectView
) -> None:
    # given
    before = shell_job("sleep 10; exit 4")
    execute(before)
    becomes(before, "Running")
    prefect_view.run(before)
    # when
    with frozen(prefect_server):
        meanwhile = shell_job("echo meanwhile > out.txt")
        meanwhile.execute()
        # then the jobs go on
        becomes(before, "Error")
        becomes(meanwhile, "Complete")
        stays_away()
        assert not known(meanwhile).flow_run_id and known(before).behind
    # and are shown
    assert prefect_view.state(before)[0] == "FAILED" and "Exit code 4" in prefect_view.state(before)[2]
    assert prefect_view.state(meanwhile)[0] == "COMPLETED"


def test_the_database(
    on_postgres: Runtime, server: PostgresServer, manager: JobManager, shell_job: ShellJob, prefect_view: PrefectView
) -> None:
    with running(Monitor()) as monitor:
        # given
        good, bad = shell_job("sleep 10; echo late > out.txt"), shell_job("sleep 10; exit 3")
        for job in (good, bad):
            execute(job)
        becomes(good, "Running")
        becomes(bad, "Running")
        # when
        server.crash()
        with pytest.raises(PrefectJobsError, match="cannot be used"):
            manager.list_jobs()
        time.sleep(LEASE)  # for so long the lease holds that nobody can keep up
        asked = polls(monitor, "htcondor:pool-of-alice")
        stays_away()
        assert polls(monitor, "htcondor:pool-of-alice") - asked <= 1
        server.resume()
        # then
        becomes(good, "Complete")
        becomes(bad, "Error")
        assert (Path(good.initial_dir) / "out.txt").read_text() == "late\n"
        assert "xit code 3" in known(bad).state.status_message
        assert prefect_view.state(good)[0] == "COMPLETED" and prefect_view.state(bad)[0] == "FAILED"
        # and new jobs are done as before
        new = shell_job("true")
        execute(new)
        becomes(new, "Complete")


class Blinking(Job):
    """A job during whose submission or whose fetching the database is away for a moment."""

    blinks: ClassVar[set[str]] = set()

    def _execute(self) -> Submitted:
        self._blink("execute")
        return Submitted("one")

    def _update_status(self) -> str:
        return "Results-Ready"

    def _process_results(self) -> None:
        self._blink("results")

    def _blink(self, what: str) -> None:
        if what in self.blinks:
            self.blinks.remove(what)
            raise DatabaseError("The database cannot be used: it is away.")


def test_a_database_that_is_away_for_a_moment_is_no_verdict_on_a_job(
    manager: JobManager,
) -> None:
    # given
    Blinking.blinks |= {"execute", "results"}
    job = manager.create_job("blinking", "alice", job_type=Blinking)
    # when it is away during the submission, it is not refused: who looks later finds out what became of it
    with pytest.raises(DatabaseError):
        job.execute()
    assert (known(job).state.status, known(job).remote_id) == ("Pending", None) and known(job).submission_token
    moment = clock.now() + GRACE + timedelta(seconds=1)
    clock.set_clock(lambda: moment)
    job.execute()
    # and when it is away while results are fetched, they are fetched again
    with pytest.raises(DatabaseError):
        job.wait(LIMIT)
    assert known(job).state.status == "Results-Ready"
    assert job.wait(LIMIT) == "Complete"


def _after(seconds: float, value: int) -> Any:
    """Work that takes its time and then fails if the value is 0. It travels by value: to import this file would take
    scheduler and workers seconds."""

    def work() -> int:
        time.sleep(seconds)
        return 42 // value

    return delayed(work)()
