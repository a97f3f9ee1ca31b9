"""A DASK job from ``create_job`` to its result, on a real cluster, with its face in a real Prefect server."""

import gc
import os
import sys
import time
from pathlib import Path
from typing import Any

import cloudpickle
import distributed
import pytest
from dask import bag
from dask.delayed import delayed

from prefect_jobs import DaskJob, JobManager, JobStateError, ResultUnavailable, SubmissionError
from prefect_jobs.blocks import DaskScheduler
from prefect_jobs.schedulers.connections import dask_client
from tests.acceptance.conftest import DaskJobs, PrefectView
from tests.dask_cluster import DaskCluster
from tests.forks import run_program
from tests.support import eventually, race

# The workers need not have this module.
cloudpickle.register_pickle_by_value(sys.modules[__name__])
Client: Any = distributed.Client
bags: Any = bag
LIMIT = 60
SEEN: list[Any] = []


def slow(value: Any, seconds: float = 0.0) -> Any:
    time.sleep(seconds)
    return value


def bad(text: str = "no water") -> None:
    raise ValueError(text)


def note(result: Any) -> None:
    SEEN.append(result)


def note_in_file(result: Any) -> None:
    with Path(os.environ["NOTES"]).open("a") as notes:
        notes.write(f"{result}\n")


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    SEEN.clear()


def published(job: DaskJob, token: str = "") -> list[str]:
    """What the cluster keeps of a job."""
    return [name for name in job.client.list_datasets() if (token or job.handle.token) in name]


def leave(job: DaskJob, status: str) -> DaskJob:
    """The job, once it has another status."""
    eventually(lambda: job.status != status, f"it is {status} no more")
    return job


def test_delayed_work_runs_and_prefect_shows_every_status(
    dask_job: DaskJobs, dask: DaskScheduler, prefect_view: PrefectView
) -> None:
    # given
    job = dask_job("a graph {id}", process_results_function=note)
    assert not job.forget
    with pytest.raises(ResultUnavailable, match="Pending"):
        _ = job.result
    # when
    job.execute(delayed(slow)(delayed(slow)(20, 1) + 1, 1))
    assert job.cached_status == "Submitted" and job.key and job.remote_id == job.key
    prefect_view.run(job)
    leave(job, "Submitted")
    assert job.cached_status == "Running"
    prefect_view.run(job)
    assert job.future.key == job.key and job.client is dask.client
    with pytest.raises(ResultUnavailable, match="Running"):
        _ = job.result
    with pytest.raises(JobStateError, match=str(job.key)):
        job.execute(delayed(slow)(1))
    with pytest.raises(NotImplementedError, match="cannot be paused"):
        job.pause()
    assert job.wait(LIMIT) == "Complete" and job.done()
    # then
    assert job.result == 21 and SEEN == [21]
    assert job.start_time and job.completion_time and job.start_time <= job.completion_time
    assert prefect_view.run(job)["name"] == f"a graph {job.id}"
    assert prefect_view.states(job)[-3:] == ["Submitted", "Running", "Completed"]
    assert prefect_view.run(job)["labels"]["prefect-jobs.scheduler"] == "dask-of-all"
    # and nothing of it is left on the cluster
    assert published(job) == []
    with pytest.raises(ResultUnavailable, match="no future"):
        _ = job.future
    assert "scheduler" in job.get_logs() and len(job.get_logs()["workers"]) == 2


def test_the_result_has_the_shape_in_which_the_work_was_given(dask_job: DaskJobs) -> None:
    one = dask_job()
    one.execute({"a": delayed(slow)(1, 0.3), 2: [delayed(slow)(2), (delayed(slow)(3), delayed(slow)(None))], "b": ()})
    other = dask_job()
    other.execute([bags.from_sequence(range(6), npartitions=3).map(lambda x: x * x), bags.range(4, 2).sum()])
    assert one.wait(LIMIT) == other.wait(LIMIT) == "Complete", (one.status_message, other.status_message)
    assert one.result == {"a": 1, 2: [2, (3, None)], "b": ()}
    assert list(one.result) == ["a", 2, "b"]
    assert other.result == [[0, 1, 4, 9, 16, 25], 6]


def test_what_is_not_dasks_is_refused_and_changes_nothing(dask_job: DaskJobs) -> None:
    job = dask_job()
    for given in (5, [delayed(slow)(1), "text"], [], {("a",): delayed(slow)(1)}):
        with pytest.raises(ValueError, match=r"execute\(\)|keys of a dict"):
            job.execute(given)
    assert job.id is None


def test_a_future_survives_the_client_that_submitted_it(dask_job: DaskJobs, dask_cluster: DaskCluster) -> None:
    # given
    client = Client(dask_cluster.address, set_as_default=False)
    future = client.submit(slow, 5, 1, pure=False)
    job = dask_job()
    # when
    job.execute(future)
    client.close()
    del future
    # then
    assert job.wait(LIMIT) == "Complete"
    assert job.result == 5
    # and it cannot be run again
    before = job.completion_time
    with pytest.raises(JobStateError, match="it was a future"):
        job.resubmit()
    assert job.cached_status == "Complete" and job.completion_time == before and job.result == 5


def test_a_future_that_is_cancelled_or_failed_already(dask_job: DaskJobs, dask: DaskScheduler) -> None:
    client = dask.client
    cancelled, failed = client.submit(slow, 1, 30, pure=False), client.submit(bad, pure=False)
    cancelled.cancel(force=True)
    job, other = dask_job(), dask_job()
    with pytest.raises(SubmissionError, match="cancelled already: compute it again"):
        job.execute(cancelled)
    assert job.cached_status == "Error"
    other.execute(failed)
    assert other.wait(LIMIT) == "Error" and "no water" in other.status_message
    token = other.handle.token
    other.delete()
    assert published(job, token) == [] and failed.status == "error"


def test_parts_that_differ_are_various(dask_job: DaskJobs, prefect_view: PrefectView) -> None:
    # given
    job = dask_job(process_results_function=note)
    job.execute({"good": delayed(slow)("x"), "bad": [delayed(bad)()], "slow": delayed(slow)("y", 2)})
    # when
    eventually(lambda: job.status == "Various", "some have ended")
    assert prefect_view.state(job)[:2] == ("RUNNING", "Various")
    assert job.wait(LIMIT) == "Various-Complete"
    # then
    assert "ValueError" in job.status_message and "no water" in job.status_message
    assert job.result["good"] == "x" and job.result["slow"] == "y"
    assert isinstance(job.result["bad"][0], ResultUnavailable)
    assert len(SEEN) == 1 and SEEN[0]["good"] == "x"
    assert prefect_view.state(job)[:2] == ("FAILED", "Various-Complete")


def test_none_is_a_result(dask_job: DaskJobs) -> None:
    job = dask_job(process_results_function=note)
    job.execute(delayed(slow)(None))
    assert job.wait(LIMIT) == "Complete"
    assert job.result is None and SEEN == [None]


def test_a_forgotten_result_is_given_to_the_function_alone(
    dask_job: DaskJobs, dask: DaskScheduler, tmp_path: Path
) -> None:
    job = dask_job(forget=True, process_results_function=note)
    job.execute(delayed(slow)("secret words"))
    assert job.wait(LIMIT) == "Complete"
    assert job.forget and SEEN == ["secret words"]
    with pytest.raises(ResultUnavailable, match="forget=True"):
        _ = job.result
    assert published(job) == [] and job.handle.backend.results.get_blob(job.id or 0, "result") is None


def test_a_large_result_goes_to_prefects_storage(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    # given
    monkeypatch.setenv("PREFECT_JOBS_RESULT_SIZE_LIMIT", "1000")
    make: DaskJobs = request.getfixturevalue("dask_job")
    job = make()
    # when
    what = tmp_path / "what"
    what.write_bytes(b"x" * 100_000)
    job.execute(delayed(Path.read_bytes)(what))
    assert job.wait(LIMIT) == "Complete", job.status_message
    # then
    kept = job.handle.record.native["result"]
    storage = Path(os.environ["PREFECT_HOME"]) / "storage"
    assert kept["storage"] == f"folder:{storage}"
    assert kept["where"] == "prefect" and job.handle.backend.results.get_blob(job.id or 0, "result") is None
    assert job.result == b"x" * 100_000
    assert (storage / kept["path"]).exists()
    # when a later result is small
    what.write_bytes(b"1")
    job.resubmit()
    assert job.wait(LIMIT) == "Complete" and job.result == b"1"
    assert not (storage / kept["path"]).exists()
    # when its storage cannot be read any more
    what.write_bytes(b"y" * 100_000)
    job.resubmit()
    assert job.wait(LIMIT) == "Complete"
    (storage / kept["path"]).unlink()
    with pytest.raises(ResultUnavailable, match="removed"):
        _ = job.result
    gc.collect()


def test_an_error_comes_with_its_traceback_and_runs_again(
    dask_job: DaskJobs, dask: DaskScheduler, prefect_view: PrefectView, tmp_path: Path
) -> None:
    # given work that fails the first time
    flag = tmp_path / "flag"

    def once(path: str) -> str:
        if not Path(path).exists():
            Path(path).touch()
            raise ValueError("no water")
        return "well"

    job = dask_job(process_results_function=note)
    # when
    job.execute(delayed(slow)(delayed(once)(str(flag))))
    # then
    assert job.wait(LIMIT) == "Error"
    assert "ValueError('no water')" in job.status_message and "in once" in job.status_message
    assert prefect_view.state(job)[:2] == ("FAILED", "Failed")
    with pytest.raises(ResultUnavailable, match="no water"):
        _ = job.result
    assert SEEN == []
    # and when
    job.retry()
    assert job.wait(LIMIT) == "Complete", job.status_message
    assert job.result == "well" and SEEN == ["well"] and published(job) == []


def test_a_script_of_its_own_and_a_reader_after_it(dask_job: DaskJobs, manager: JobManager) -> None:
    # given a script that executes a function and returns an object, both of which only it has
    script = """
import sys
import dask
from tests.acceptance.conftest import TestApp
class Point:
    def __init__(self, x): self.x = x
def work(x): return Point(x)
if __name__ == "__main__":
    job = TestApp.get_job_manager().create_job("a", "alice", job_type="DASK", scheduler="dask-of-all")
    job.execute(dask.delayed(work)(7))
    print(job.id, flush=True)
    if "wait" in sys.argv: print(job.wait(60), job.result.x)
"""
    for waits in ([], ["wait"]):
        done = run_program(
            [sys.executable, "-c", script, *waits],
            timeout=120,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        # when another process looks
        assert done.returncode == 0, done.stderr
        job = manager.get_job(done.stdout.split()[0])
        assert isinstance(job, DaskJob)
        assert job.wait(LIMIT) == "Complete", job.status_message
        # then it has the object, for Dask sends along what is in a script
        assert job.result.x == 7


def test_stop_and_delete_leave_nothing_on_the_cluster(
    dask_job: DaskJobs, dask: DaskScheduler, prefect_view: PrefectView, manager: JobManager
) -> None:
    stopped, deleted = dask_job(), dask_job()
    for job in (stopped, deleted):
        job.execute([delayed(slow)(1, 5), delayed(slow)(2, 5)])
        leave(job, "Submitted")
    stopped.stop()
    assert not stopped.handle.record.noted.left  # nobody need ask the cluster any more
    assert stopped.cached_status == "Aborted" and prefect_view.state(stopped)[0] == "CANCELLED"
    identifier, token, keys = deleted.id, deleted.handle.token, [*stopped.handle.record.native["keys"], deleted.key]
    deleted.delete()
    assert manager.get_job(identifier or 0) is None
    assert published(stopped) == published(stopped, token) == []
    known = dask.client.run_on_scheduler(lambda dask_scheduler: [str(key) for key in dask_scheduler.tasks])
    assert not set(keys) & set(known)
    with pytest.raises(JobStateError):
        stopped.stop()
    stopped.resubmit()
    assert stopped.wait(LIMIT) == "Complete" and stopped.result == [1, 2]


def test_work_that_somebody_else_cancels_is_aborted(dask_job: DaskJobs, dask_cluster: DaskCluster) -> None:
    job = dask_job()
    job.execute(delayed(slow)(1, 5))
    leave(job, "Submitted")
    with Client(dask_cluster.address, set_as_default=False) as other:
        name = next(name for name in other.list_datasets() if job.handle.token in name)
        other.cancel([other.get_dataset(name)], force=True)
    assert job.wait(LIMIT) == "Aborted"
    assert "Cancelled on the cluster" in job.status_message


def test_the_results_function_is_called_once_by_two_processes(
    dask_job: DaskJobs, dask: DaskScheduler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given
    monkeypatch.setenv("NOTES", str(tmp_path / "notes"))
    job = dask_job(process_results_function=note_in_file)
    job.execute(delayed(slow)(3))
    eventually(lambda: bool(job.future.done()), "the work is over")
    # when
    script = """
from tests.acceptance.conftest import TestApp
job = TestApp.get_job_manager().get_job(os.environ["JOB"])
go()
print(job.wait(60), job.result)
"""
    outputs = race(script, JOB=str(job.id), PYTHONPATH=os.pathsep.join(sys.path))
    # then
    assert [output.split("\n")[-2] for output in outputs] == ["Complete 3"] * 2
    assert (tmp_path / "notes").read_text() == "3\n"
    assert job.status == "Complete" and job.result == 3


def test_the_end_is_noticed_long_before_the_next_poll(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    # given polls every 30 seconds
    monkeypatch.setenv("PREFECT_JOBS_POLL_INTERVAL", "30")
    job: DaskJob = request.getfixturevalue("dask_job")()
    job.execute(delayed(slow)(1, 2))
    began = time.monotonic()
    # when
    assert job.wait(LIMIT) == "Complete"
    # then
    assert time.monotonic() - began < 15


def test_many_jobs_cost_few_calls_and_leave_nothing_open(dask_job: DaskJobs, dask: DaskScheduler) -> None:
    # given
    import psutil

    process = psutil.Process()
    warm = dask_job()
    warm.execute(delayed(slow)(0))
    warm.wait(LIMIT)
    files, threads = process.num_fds(), process.num_threads()
    jobs = [dask_job(f"job {number}") for number in range(80)]
    # when
    for number, job in enumerate(jobs):
        job.execute(delayed(slow)(number))
    client = dask_client(dask.access())
    polls = client.polls
    eventually(lambda: [job.status for job in jobs].count("Complete") == 80, "all are complete", 120)
    # then
    assert client.polls - polls < 80
    assert [job.result for job in jobs] == list(range(80))
    assert not any(published(job) for job in jobs[:3])
    kept = {job.handle.token for job in jobs}
    assert not kept & client._futures.keys() and not kept & client._ends.keys()
    eventually(lambda: process.num_fds() < files + 20 and process.num_threads() < threads + 20, "nothing is left open")


@pytest.mark.anyio
async def test_the_async_twins(dask_job: DaskJobs) -> None:
    job = dask_job()
    await job.aexecute(delayed(slow)([1, 2]))
    assert await job.await_completion(LIMIT) == "Complete"
    assert await job.aresult() == [1, 2]
    await job.adelete()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
