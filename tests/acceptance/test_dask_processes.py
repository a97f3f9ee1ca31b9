"""DASK jobs between processes, threads and connections: others look, fetch, fork, break off, hang."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import cloudpickle
import distributed
import pytest
from dask.delayed import delayed

from prefect_jobs import DaskJob, JobManager, JobStateError, SchedulerConnectionError, SubmissionError
from prefect_jobs.blocks import DaskScheduler
from prefect_jobs.runtime.wiring import get_runtime
from prefect_jobs.schedulers.connections import connections
from prefect_jobs.schedulers.dask import connection, remote
from prefect_jobs.schedulers.dask.client import DaskClient
from tests.acceptance.conftest import DaskJobs, dask_block
from tests.acceptance.test_dask_faults import submitted
from tests.dask_cluster import DaskCluster
from tests.forks import run_program
from tests.support import eventually

# The workers need not have this module.
cloudpickle.register_pickle_by_value(sys.modules[__name__])
Client: Any = distributed.Client
#: Of connections that were being made when a scheduler was killed, Dask leaves sockets to the collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
LIMIT = 60


def slow(value: Any, seconds: float = 0.0) -> Any:
    time.sleep(seconds)
    return value


def until(path: str, value: Any) -> Any:
    while not Path(path).exists():
        time.sleep(0.02)
    return value


class NotHere:
    """Can be read where ``HERE`` is not set."""

    def __reduce__(self) -> Any:
        return _not_here, ()


def _not_here() -> NotHere:
    if os.environ.get("HERE"):
        raise FileNotFoundError("/models/grid.nc")
    return NotHere()


def note(result: Any) -> None:
    if os.environ.get("DIE"):
        os._exit(9)
    Path(os.environ["NOTES"]).write_text(str(result))


def elsewhere(job: DaskJob, line: str, **env: str) -> str:
    """What a line says in another process, where ``job`` is the job."""
    script = f"""
from tests.acceptance.conftest import TestApp, read
if __name__ == "__main__":
    job = TestApp.get_job_manager().get_job({job.id}); read(job.handle.record.scheduler)
    {line}
"""
    done = run_program(
        [sys.executable, "-c", script],
        timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **env},
    )
    return done.stdout + done.stderr


def tasks(cluster: DaskCluster) -> set[str]:
    """The keys that a scheduler knows."""
    with Client(cluster.address, set_as_default=False) as client:
        found = client.run_on_scheduler(lambda dask_scheduler: [str(key) for key in dask_scheduler.tasks])
    return set(found)


def test_a_result_that_another_process_fetched_is_released(dask_job: DaskJobs, dask_cluster: DaskCluster) -> None:
    # given a process that waits, and so holds futures
    job, key = dask_job(), ""
    job.execute(delayed(slow)(1, 1))
    key = job.key or ""
    job.engine.end()
    assert key in tasks(dask_cluster)
    # when
    assert "Complete" in elsewhere(job, "print(job.wait(60))")
    # then
    assert job.status == "Complete"
    eventually(lambda: key not in tasks(dask_cluster), "the cluster has forgotten it")


def test_a_cluster_on_this_machine_is_found_by_other_processes(manager: JobManager, tmp_path: Path) -> None:
    # given
    job = manager.create_job("local", "alice", job_type="DASK")
    assert isinstance(job, DaskJob)
    try:
        job.execute(delayed(until)(str(tmp_path / "flag"), 7))
        eventually(lambda: job.status == "Running", "it runs")
        # when another one looks, and ends
        assert "Running" in elsewhere(job, "print(job.status, job.status_message)")
        # then
        assert job.status == "Running", job.status_message
        (tmp_path / "flag").touch()
        assert job.wait(LIMIT) == "Complete" and job.result == 7
        # and when its process has gone, nobody waits for it
        (tmp_path / "flag").unlink()
        job.resubmit()
        connections.close()
        said = elsewhere(job, "print(job.wait(30), job.status_message)")
        assert "Error" in said and "has ended. resubmit()" in said
        # and it can be run again, on a cluster of the present process, also once that has a result
        (tmp_path / "flag").touch()
        for _ in range(2):
            job.resubmit()
            assert job.wait(LIMIT) == "Complete" and job.result == 7
            connections.close()
    finally:
        connections.close()


def test_a_connection_that_breaks_while_fetching_is_no_verdict(
    dask_job: DaskJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given
    job = dask_job()
    job.execute(delayed(slow)(5))
    eventually(job.future.done, "the work is over")
    gather = DaskClient._gather
    broken: list[str] = []

    def broken_off(self: DaskClient, names: Any, futures: Any) -> Any:
        if not broken:
            broken.append(names[0])
            self.client.loop.add_callback(self.client.scheduler_comm.comm.abort)
            eventually(lambda: all(future.cancelled() for future in futures), "they are cancelled")
        return gather(self, names, futures)

    def fetched() -> bool:
        job.update_status()  # its answer may be a moment old, and older than the end
        return bool(broken)

    monkeypatch.setattr(DaskClient, "_gather", broken_off)
    # when
    eventually(fetched, "its result is fetched")
    # then
    assert job.cached_status in ("Results-Ready", "Complete"), job.status_message
    assert job.wait(LIMIT) == "Complete" and job.result == 5


def test_after_a_break_the_end_is_told_again(dask_job: DaskJobs, tmp_path: Path) -> None:
    job = dask_job()
    job.execute(delayed(until)(str(tmp_path / "flag"), 5))
    job.engine.end()
    client = job.engine.client()
    client.client.loop.add_callback(client.client.scheduler_comm.comm.abort)
    eventually(lambda: all(future.cancelled() for future in client._futures[job.handle.token]), "it is broken")
    eventually(lambda: client.client.status == "running", "it is mended")
    ended = job.engine.end()
    assert ended is not None and not ended.is_set()
    (tmp_path / "flag").touch()
    assert ended.wait(LIMIT)
    assert job.wait(LIMIT) == "Complete"


def test_a_forgotten_result_is_there_until_the_function_had_it(
    dask_job: DaskJobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a process that dies in the function
    monkeypatch.setenv("NOTES", str(tmp_path / "notes"))
    job = dask_job(process_results_function=note, forget=True)
    job.execute(delayed(slow)(3))
    elsewhere(job, "job.wait(60)", DIE="1")
    record = job.handle.backend.jobs.get(job.id or 0)
    get_runtime().store.release_results(job.id or 0, str(record.results_owner if record else ""))
    # then another one does it
    assert job.wait(LIMIT) == "Complete", job.status_message
    assert (tmp_path / "notes").read_text() == "3"


def test_others_keep_what_they_hold(dask_job: DaskJobs, dask_cluster: DaskCluster, tmp_path: Path) -> None:
    with Client(dask_cluster.address, set_as_default=False) as client:
        # given the same work by a client of somebody's own
        shared = delayed(until)(str(tmp_path / "flag"), 9)
        theirs = client.compute(shared)
        job = dask_job()
        job.execute(shared)
        assert job.key == str(theirs.key)
        # when
        job.stop()
        # then
        assert job.cached_status == "Aborted"
        (tmp_path / "flag").touch()
        assert theirs.result(timeout=30) == 9
        # and a future of theirs outlives a job whose result could not be kept
        given = client.submit(iter, [1], pure=False)
        kept = client.submit(NotHere, pure=False)
        eventually(lambda: given.status == kept.status == "finished", "both are computed")
        failing = dask_job()
        failing.execute(given)
        assert failing.wait(LIMIT) in ("Error", "Complete")
        failing.delete()
        assert given.status == "finished"


def test_stop_ends_futures_that_were_given(dask_job: DaskJobs, dask_cluster: DaskCluster, tmp_path: Path) -> None:
    with Client(dask_cluster.address, set_as_default=False) as client:
        given = client.submit(until, str(tmp_path / "flag"), 1, pure=False)
        job = dask_job()
        job.execute(given)
        job.stop()
        eventually(given.cancelled, "it is cancelled")
        (tmp_path / "flag").touch()


def test_what_cannot_be_read_here_is_not_an_absent_scheduler(
    dask_job: DaskJobs, monkeypatch: pytest.MonkeyPatch, dask_cluster: DaskCluster
) -> None:
    monkeypatch.setenv("HERE", "1")
    job = dask_job()
    job.execute(delayed(_make)())
    key = job.key or ""
    assert job.wait(LIMIT) == "Error"
    assert "cannot be fetched: /models/grid.nc" in job.status_message
    eventually(lambda: key not in tasks(dask_cluster), "nothing of it is left on the cluster")


def _make() -> Any:
    return NotHere()


def test_a_scheduler_that_hangs_holds_nobody_up(dask_job: DaskJobs, own_cluster: DaskCluster) -> None:
    # given
    own_cluster.start(1)
    block = dask_block(own_cluster, "hanging", timeout=1)
    job, other = dask_job(scheduler=block), dask_job(scheduler=block)
    submitted(job, delayed(slow)(1, 60))
    pid = own_cluster._scheduler.pid  # type: ignore[union-attr]
    os.kill(pid, signal.SIGSTOP)
    try:
        # when, then
        for call in (block.check, job.stop, job.get_logs):
            began = time.monotonic()
            with pytest.raises(SchedulerConnectionError, match="does not answer"):
                call()
            assert time.monotonic() - began < 30
        with pytest.raises(SubmissionError, match="does not answer"):
            other.execute(delayed(slow)(2))
        assert other.cached_status == "Pending"
    finally:
        os.kill(pid, signal.SIGCONT)


def test_versions_that_do_not_fit_are_named(
    dask_job: DaskJobs, dask: DaskScheduler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Simulated where it is told; the scheduler really fails to load what is sent to it."""
    job = dask_job()
    job.execute(delayed(until)(str(tmp_path / "flag"), 1))

    def told(client: Any, seconds: float = 0) -> list[str]:
        return connection._differences(
            {
                "client": {"host": {"python": "3.11.7.final.0"}, "packages": {"distributed": "2026.8.0"}},
                "scheduler": {"host": {"python": "3.13.1.final.0"}, "packages": {"distributed": "2026.1.0"}},
                "workers": {"tcp://w1": {"host": {"python": "3.13.1.final.0"}, "packages": {"distributed": None}}},
            }
        )

    with monkeypatch.context() as here:
        here.setattr("prefect_jobs.schedulers.dask.requests.mismatches", told)
        here.setattr(remote, "look", _CannotBeLoaded())
        here.setattr(remote, "missing", _CannotBeLoaded())
        # when, then (the first look may share an answer of a moment ago)
        eventually(lambda: job.status in ("Submitted", "Running") and job.status_message, "it says what is wrong")
        assert "python 3.13 (here 3.11) on the scheduler, worker tcp://w1" in job.status_message
        assert "distributed 2026.1.0 (here 2026.8.0)" in job.status_message
        refused, before = dask_job(), set(dask.client.list_datasets())
        with pytest.raises(SubmissionError, match=r"Install the same ones"):
            refused.execute(delayed(slow)(1))
        assert (refused.cached_status, set(dask.client.list_datasets())) == ("Error", before)
    (tmp_path / "flag").touch()
    assert job.wait(LIMIT) == "Complete"


class _CannotBeLoaded:
    def __reduce__(self) -> Any:
        return compile, ("(", "another version's code", "exec")


def test_adopting_takes_none_of_the_works_modules(
    dask_job: DaskJobs, dask: DaskScheduler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given work of a module that only the submitter and the workers have
    (tmp_path / "doubles.py").write_text("def double(x):\n    return 2 * x\n")
    dask.client.upload_file(str(tmp_path / "doubles.py"))
    monkeypatch.syspath_prepend(str(tmp_path))
    import doubles  # type: ignore[import-not-found]

    job = dask_job()
    job.execute(delayed(doubles.double)(4))
    # when the process died before it noted that, and one looks that does not have it
    job.handle.apply(None, values={"remote_id": None, "native": {}, "submitting_since": None})
    job.handle.backend.jobs.update(job.id or 0, _pending)
    sys.path.remove(str(tmp_path))
    # then
    assert "Complete 8" in elsewhere(job, "print(job.wait(60), job.result)")


def _pending(record: Any) -> Any:
    from dataclasses import replace

    from prefect_jobs.records import Change, StatusState

    return Change({"state": replace(StatusState(), attempt=record.state.attempt), "native": {}})


def test_work_on_a_future_is_not_computed_again(dask_job: DaskJobs, dask_cluster: DaskCluster) -> None:
    with Client(dask_cluster.address, set_as_default=False) as client:
        job = dask_job()
        job.execute(delayed(slow)(client.submit(slow, 4)))
        assert job.wait(LIMIT) == "Complete" and job.result == 4
    with pytest.raises(JobStateError, match="it was a future"):
        job.resubmit()


def test_a_future_of_the_event_loop(dask_job: DaskJobs, dask_cluster: DaskCluster) -> None:
    async def both() -> None:
        async with Client(dask_cluster.address, asynchronous=True, set_as_default=False) as client:
            job = dask_job()
            with pytest.raises(ValueError, match="await aexecute"):
                job.execute(client.submit(slow, 3))
            assert job.id is None
            await job.aexecute(client.submit(slow, 33))
            assert await job.await_completion(LIMIT) == "Complete"
            assert await job.aresult() == 33

    asyncio.run(both())


def test_in_a_forked_child_connections_are_its_own(dask: DaskScheduler, tmp_path: Path) -> None:
    _ = dask.client
    said = tmp_path / "said"
    child = os.fork()
    if child == 0:
        try:
            said.write_text(str(dask.client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.id)))
        finally:
            os._exit(0)
    eventually(lambda: os.waitpid(child, os.WNOHANG)[0] == child, "the child has ended")
    assert said.read_text() == dask.client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.id)


def test_a_forked_child_leaves_the_parents_cluster_alone() -> None:
    script = """
import os, sys, time
from prefect_jobs.schedulers.connections import connections
from prefect_jobs.schedulers.dask.connection import DaskAccess
if __name__ == "__main__":
    ours = connections.distributed(DaskAccess())
    before = set(ours.scheduler_info()["workers"])
    child = os.fork()
    if child == 0:
        sys.exit(0)
    began = time.monotonic()
    os.waitpid(child, 0)
    print("same" if set(ours.scheduler_info()["workers"]) == before else "others", time.monotonic() - began < 8)
    print(ours.submit(int, 5).result(timeout=20))
    connections.close()
"""
    command = [sys.executable, "-W", "ignore", "-c", script]
    assert subprocess.check_output(command, text=True, timeout=120) == "same True\n5\n"


def test_many_looks_of_another_process_are_few_questions(dask_job: DaskJobs, tmp_path: Path) -> None:
    jobs = [dask_job() for _ in range(20)]
    for job in jobs:
        job.execute(delayed(until)(str(tmp_path / "flag"), 1))
    looked = elsewhere(
        jobs[0],
        "jobs = TestApp.get_job_manager().list_jobs(); client = jobs[0].engine.client(); before = client.polls; "
        "[client.look(job.handle.token, 1) for job in jobs]; print('questions:', client.polls - before)",
    )
    (tmp_path / "flag").touch()
    assert "questions: 1\n" in looked or "questions: 2\n" in looked, looked
    for job in jobs:
        threading.Thread(target=job.wait, args=(LIMIT,)).start()
    eventually(lambda: all(job.cached_status == "Complete" for job in jobs), "all are over")
