"""What befalls DASK jobs: workers, schedulers and processes that die, on real ones."""

import contextlib
import os
import sys
import time
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from dask.delayed import delayed

from prefect_jobs import DaskJob, JobManager, JobStateError, SchedulerConnectionError, SubmissionError
from prefect_jobs.jobs import submission
from prefect_jobs.records import Change
from prefect_jobs.runtime.wiring import Runtime
from prefect_jobs.schedulers.dask.answer import PREFIX
from tests.acceptance.conftest import DaskJobs, PrefectView, dask_block
from tests.dask_cluster import DaskCluster
from tests.forks import run_program
from tests.support import eventually

# The workers need not have this module.
cloudpickle.register_pickle_by_value(sys.modules[__name__])
#: Of connections that were being made when a scheduler was killed, Dask leaves sockets to the collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
LIMIT = 60


def work(folder: str, seconds: float = 0.0) -> str:
    """Leaves a mark for each time that it is begun."""
    with (Path(folder) / "begun").open("a") as begun:
        begun.write("x")
    time.sleep(seconds)
    return "done"


def begun(folder: Path) -> int:
    mark = folder / "begun"
    return len(mark.read_text()) if mark.exists() else 0


def submitted(job: DaskJob, work: Any) -> None:
    """Executes it; again, where a busy machine takes longer over it than the seconds that are given."""

    def done() -> bool:
        with contextlib.suppress(SubmissionError):
            job.execute(work)
            return True
        return False

    eventually(done, "it is submitted", LIMIT)


def running(job: DaskJob) -> DaskJob:
    """The job, once it runs."""
    eventually(lambda: job.status == "Running", "it runs")
    return job


def test_a_result_outlives_client_workers_and_scheduler(
    dask_job: DaskJobs, own_cluster: DaskCluster, tmp_path: Path
) -> None:
    # given
    own_cluster.start(1)
    job = dask_job(scheduler=dask_block(own_cluster, "mortal-result", 5))
    submitted(job, {"words": delayed(work)(str(tmp_path)), "numbers": [delayed(sum)([1, 2])]})
    assert job.wait(LIMIT) == "Complete"
    # when everything is gone
    job.scheduler.close()
    own_cluster.stop()
    # then a new process reads it
    script = f"""
from tests.acceptance.conftest import TestApp
job = TestApp.get_job_manager().get_job({job.id})
print(job.status, job.result)
"""
    done = run_program(
        [sys.executable, "-c", script],
        timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout.strip() == "Complete {'words': 'done', 'numbers': [3]}", done.stderr


def test_a_worker_that_dies_is_replaced_and_the_job_goes_on(
    dask_job: DaskJobs, own_cluster: DaskCluster, tmp_path: Path
) -> None:
    # given
    own_cluster.start(1)
    job = dask_job(scheduler=dask_block(own_cluster, "mortal-worker", 5))
    submitted(job, delayed(work)(str(tmp_path), 2))
    running(job)
    eventually(lambda: begun(tmp_path) == 1, "it was begun")
    # when
    own_cluster.kill_workers()
    eventually(lambda: job.status and "no workers" in job.status_message, "that there are no workers is told")
    assert job.cached_status in ("Submitted", "Running")
    own_cluster.start(1)
    # then
    assert job.wait(LIMIT) == "Complete", job.status_message
    assert job.result == "done" and begun(tmp_path) == 2


def test_a_result_that_is_lost_before_it_was_fetched_is_computed_again(
    dask_job: DaskJobs, own_cluster: DaskCluster, tmp_path: Path
) -> None:
    own_cluster.start(1)
    job = dask_job(scheduler=dask_block(own_cluster, "mortal-memory", 5))
    submitted(job, delayed(work)(str(tmp_path)))
    eventually(lambda: bool(job.future.done()), "the work is over")
    own_cluster.kill_workers()
    job.update_status()
    assert job.cached_status in ("Results-Ready", "Submitted", "Running")
    own_cluster.start(1)
    assert job.wait(LIMIT) == "Complete", job.status_message
    assert job.result == "done" and begun(tmp_path) == 2


def test_a_result_that_a_restart_took_before_it_was_fetched_is_an_error(
    dask_job: DaskJobs, own_cluster: DaskCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a job whose result could not be fetched at first
    from prefect_jobs.schedulers.dask.client import DaskClient

    own_cluster.start(1)
    job = dask_job(scheduler=dask_block(own_cluster, "mortal-fetch", 1))
    submitted(job, delayed(work)(str(tmp_path)))
    monkeypatch.setattr(DaskClient, "gather", _away)
    eventually(lambda: job.status == "Results-Ready", "the work is over")
    assert "could not be fetched yet" in job.status_message
    monkeypatch.undo()
    # when
    own_cluster.kill_scheduler()
    own_cluster.start(0)
    # then
    assert job.wait(LIMIT) == "Error"
    assert "restarted and has forgotten" in job.status_message


def _away(*_: Any) -> None:
    raise SchedulerConnectionError("away")


def test_work_for_which_there_is_not_enough_memory_says_so(
    dask_job: DaskJobs, own_cluster: DaskCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given workers of 300 MiB
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "0")
    own_cluster.start(1, nanny=True)

    def greedy() -> int:
        import time

        kept = []
        for _ in range(100):
            kept.append(b"x" * 20_000_000)
            time.sleep(0.05)
        return len(kept)

    job = dask_job(scheduler=dask_block(own_cluster, "small", 5))
    # when
    submitted(job, delayed(greedy)())
    # then
    assert job.wait(LIMIT) == "Error"
    assert "KilledWorker" in job.status_message and "give them more, or split" in job.status_message


def test_a_scheduler_that_is_down_takes_nothing_and_the_job_can_be_executed_later(
    dask_job: DaskJobs, own_cluster: DaskCluster, tmp_path: Path, prefect_view: PrefectView
) -> None:
    # given
    job = dask_job(scheduler=dask_block(own_cluster, "down-at-first", 1))
    # when
    began = time.monotonic()
    with pytest.raises(SubmissionError, match=r"was not submitted.*within 1 s"):
        job.execute(delayed(work)(str(tmp_path)))
    # then
    assert time.monotonic() - began < 8
    assert job.cached_status == "Pending" and "Not submitted" in job.status_message
    assert prefect_view.state(job)[0] in ("PENDING", "SCHEDULED")
    # and when it is up
    own_cluster.start(1)
    submitted(job, delayed(work)(str(tmp_path)))
    assert job.wait(LIMIT) == "Complete", job.status_message
    assert begun(tmp_path) == 1


def test_a_scheduler_that_forgot_the_work_is_an_error_and_the_work_runs_again(
    dask_job: DaskJobs, own_cluster: DaskCluster, tmp_path: Path, prefect_view: PrefectView
) -> None:
    # given
    own_cluster.start(1)
    job = dask_job(scheduler=dask_block(own_cluster, "mortal", 1))
    submitted(job, delayed(work)(str(tmp_path), 1))
    running(job)
    # when it is away
    own_cluster.kill_scheduler()
    eventually(lambda: job.status and "No answer from the scheduler since" in job.status_message, "it is told")
    assert job.cached_status == "Running" and prefect_view.state(job)[1] == "Running"
    with pytest.raises(TimeoutError, match="No answer from the scheduler since"):
        job.wait(1)
    # and comes back empty
    own_cluster.start(0)
    assert job.wait(LIMIT) == "Error"
    assert "restarted and has forgotten the work" in job.status_message
    assert prefect_view.state(job)[:2] == ("CRASHED", "Crashed")
    # then
    own_cluster.kill_workers()
    own_cluster.start(1)
    job.resubmit()
    assert job.wait(LIMIT) == "Complete", job.status_message
    assert job.result == "done"
    job.delete()


def test_delete_while_the_scheduler_is_away_changes_nothing(
    dask_job: DaskJobs, own_cluster: DaskCluster, tmp_path: Path, manager: JobManager
) -> None:
    own_cluster.start(1)
    job = dask_job(scheduler=dask_block(own_cluster, "away", 1))
    submitted(job, delayed(work)(str(tmp_path), 30))
    running(job)
    own_cluster.kill_scheduler()
    for act in (job.stop, job.delete):
        with pytest.raises(SchedulerConnectionError):
            act()
    assert manager.get_job(job.id or 0) is not None and job.cached_status == "Running"


def test_a_module_that_the_cluster_lacks_is_an_error_that_says_so(
    dask_job: DaskJobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given
    (tmp_path / "only_here.py").write_text("def work():\n    return 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    import only_here  # type: ignore[import-not-found]

    # when the scheduler cannot read the graph, or a worker the function's own import
    job, other = dask_job(), dask_job()
    with pytest.raises(SubmissionError, match=r"No module named 'only_here'.*install them"):
        job.execute(delayed(only_here.work)())
    assert job.cached_status == "Error"

    def importing() -> Any:
        import only_here

        return only_here.work()

    other.execute(delayed(importing)())
    # then
    assert other.wait(LIMIT) == "Error"
    assert "only_here" in other.status_message and "install it on them" in other.status_message
    token = other.handle.token
    other.delete()
    assert not [name for name in job.client.list_datasets() if token in name]


def test_work_that_cannot_be_pickled_is_refused(dask_job: DaskJobs) -> None:
    import threading

    lock = threading.Lock()
    job = dask_job()
    with pytest.raises(SubmissionError, match=r"cannot be sent.*can be pickled"):
        job.execute(delayed(str)(lock))
    assert job.cached_status == "Error"


def test_work_that_is_too_large_to_be_kept_says_so_in_the_log(
    dask_job: DaskJobs, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prefect_jobs.jobs.dask.submitting.GRAPH_LIMIT", 1000)
    job = dask_job()
    job.execute(delayed(len)(b"x" * 2000))
    assert job.wait(LIMIT) == "Complete"
    messages = runtime.jobs.messages(job.handle.record.id)
    assert any("resubmit() cannot run it again: it is 0.0 MiB large" in message.text for message in messages)
    with pytest.raises(JobStateError, match="not kept"):
        job.resubmit()


def test_a_result_that_cannot_be_pickled_is_an_error_that_says_so(dask_job: DaskJobs) -> None:
    job = dask_job()

    def locked() -> Any:
        import threading

        return threading.Lock()

    job.execute(delayed(locked)())
    assert job.wait(LIMIT) == "Error"
    assert "pickle" in job.status_message, job.status_message


@pytest.mark.parametrize("parts", [1, 3])
def test_a_submission_that_a_crash_cut_off_is_found_again_and_not_doubled(
    dask_job: DaskJobs, manager: JobManager, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, parts: int
) -> None:
    # given a process that dies when the scheduler has the work and nobody has written so
    job = dask_job()
    monkeypatch.setattr(submission, "accepted", _die)
    with pytest.raises(KeyboardInterrupt):
        job.execute([delayed(work)(str(tmp_path), 0.5) for _ in range(parts)])
    monkeypatch.undo()
    # when
    found = _interrupted(manager, job)
    # then
    assert found.wait(LIMIT) == "Complete", found.status_message
    assert found.result == ["done"] * parts and begun(tmp_path) == parts


def test_a_submission_that_got_through_in_part_is_taken_back(
    dask_job: DaskJobs, manager: JobManager, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # given a process that dies when the scheduler keeps one of two parts
    job = dask_job()
    monkeypatch.setattr(submission, "accepted", _die)
    with pytest.raises(KeyboardInterrupt):
        job.execute([delayed(work)(str(tmp_path)) for _ in range(2)])
    monkeypatch.undo()
    job.client.unpublish_dataset(f"{PREFIX}{job.handle.record.submission_token}-1")
    # when
    found = _interrupted(manager, job)
    found.update_status()
    # then it was not submitted, and can be
    assert found.cached_status == "Pending"
    assert not [name for name in job.client.list_datasets() if str(job.handle.record.submission_token) in name]
    found.execute(delayed(work)(str(tmp_path)))
    assert found.wait(LIMIT) == "Complete"


def _die(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def _interrupted(manager: JobManager, job: DaskJob) -> DaskJob:
    """The job as another process finds it after the grace time."""
    job.handle.backend.jobs.update(job.handle.record.id, lambda fresh: Change({"submitting_since": None}))
    found = manager.get_job(job.id or 0)
    assert isinstance(found, DaskJob) and found.cached_status == "Pending"
    return found
