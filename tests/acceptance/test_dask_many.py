"""Many DASK jobs at once, on a real cluster: few calls and commits, and one job's trouble is no other's."""

import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from dask.delayed import delayed
from distributed import Client
from sqlalchemy import event

from prefect_jobs import DaskJob, JobManager, ResultUnavailable, SubmissionError
from prefect_jobs.blocks import DaskScheduler
from prefect_jobs.jobs import results_many as fetching
from prefect_jobs.jobs import submission, submission_many
from prefect_jobs.jobs.base import Job
from prefect_jobs.jobs.dask import results_many
from prefect_jobs.monitor import Monitor
from prefect_jobs.records import Change
from prefect_jobs.runtime.wiring import Runtime
from prefect_jobs.schedulers.dask.answer import name_of
from tests.acceptance.conftest import DaskJobs, dask_block
from tests.acceptance.test_monitor import running
from tests.dask_cluster import DaskCluster
from tests.support import eventually

# The workers need not have this module.
cloudpickle.register_pickle_by_value(sys.modules[__name__])
LIMIT = 90
#: Jobs that go together in the tests that count calls; 50 otherwise.
CHUNK = 20


def mark(folder: str, name: int) -> int:
    """Leaves a mark for each time that it is begun."""
    with (Path(folder) / str(name)).open("a") as begun:
        begun.write("x")
    return name


def marks(folder: Path) -> dict[str, str]:
    """What was begun, and how often."""
    return {path.name: path.read_text() for path in folder.iterdir()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for marks alone."""
    made = tmp_path / "marks"
    made.mkdir()
    return made


class Told:
    """What the callback was told."""

    def __init__(self) -> None:
        self.errors: dict[str, Exception] = {}

    def __call__(self, job: Job, error: Exception | None) -> None:
        if error is not None:
            self.errors[job.name] = error


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, runtime: Runtime) -> Iterator["Counter[str]"]:
    """The calls of this process to Dask schedulers, by method, and the commits of this thread to SQL."""
    found: Counter[str] = Counter()
    me = threading.get_ident()

    def counted(name: str) -> Callable[..., Any]:
        call = getattr(Client, name)

        def count(self: Client, *args: Any, **kwargs: Any) -> Any:
            found[name] += 1
            return call(self, *args, **kwargs)

        return count

    for name in ("publish_dataset", "get_dataset", "unpublish_dataset", "run_on_scheduler", "gather"):
        monkeypatch.setattr(Client, name, counted(name))

    def commit(connection: Any) -> None:
        if connection.get_execution_options().get("write") and threading.get_ident() == me:
            found["commit"] += 1

    engine = runtime.store.database.engine
    event.listen(engine, "commit", commit)
    try:
        yield found
    finally:
        event.remove(engine, "commit", commit)


def test_many_are_submitted_by_one_call_and_few_commits(
    dask_job: DaskJobs, manager: JobManager, folder: Path, calls: "Counter[str]", monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a job that connects
    assert submission_many.CHUNK == 50
    monkeypatch.setattr(submission_many, "CHUNK", CHUNK)
    dask_job().execute(delayed(pow)(2, 2))
    calls.clear()
    jobs = [dask_job(f"job {number}") for number in range(2 * CHUNK)]
    # when
    told = Told()
    assert manager.execute_jobs(jobs, told, [delayed(mark)(str(folder), number) for number in range(len(jobs))]) == jobs
    # then for each twenty: insert, intent and graph, outcome; the last two once more if some are shown meanwhile
    assert not told.errors
    assert 6 <= calls.pop("commit") < 18
    assert calls == {"publish_dataset": 2, "run_on_scheduler": 2}
    assert {job.cached_status for job in jobs} == {"Submitted"} and all(job.key for job in jobs)
    manager.wait_jobs(jobs, LIMIT)
    assert [job.result for job in jobs] == list(range(len(jobs)))
    assert marks(folder) == {str(number): "x" for number in range(len(jobs))}
    # and can be run again
    jobs[0].resubmit()
    assert jobs[0].wait(LIMIT) == "Complete" and marks(folder)["0"] == "xx"


def test_each_bad_one_is_told_of_and_keeps_no_other(
    dask_job: DaskJobs, manager: JobManager, dask: DaskScheduler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given work that cannot be pickled, that the scheduler cannot read, that is none, that is cancelled, and none
    (tmp_path / "only_at_home.py").write_text("def work():\n    return 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    import only_at_home  # type: ignore[import-not-found]

    lock = threading.Lock()
    cancelled = dask.client.submit(pow, 3, 3, pure=False)
    cancelled.cancel()
    given = dask.client.submit(pow, 2, 5, pure=False)
    work: dict[str, Any] = {
        "first": delayed(pow)(2, 3),
        "unpicklable": delayed(lambda: lock)(),
        "unknown": delayed(only_at_home.work)(),
        "wrong": 5,
        "cancelled": cancelled,
        "nothing": None,
        "future": given,
        "list": [delayed(pow)(2, 4), delayed(pow)(3, 4)],
        "last": delayed(pow)(2, 6),
    }
    jobs = [dask_job(name) for name in work]
    deleted = dask_job("deleted")
    deleted.save()
    other = manager.get_job(deleted.id or 0)
    assert other is not None
    other.delete()
    told = Told()
    # when
    manager.execute_jobs([*jobs, deleted], told, [*work.values(), delayed(pow)(1, 1)])
    # then
    kinds = {name: type(error).__name__ for name, error in told.errors.items()}
    assert kinds == {
        "unpicklable": "SubmissionError",
        "unknown": "SubmissionError",
        "wrong": "ValueError",
        "cancelled": "SubmissionError",
        "nothing": "TypeError",
        "deleted": "JobStateError",
    }
    assert "can be pickled" in str(told.errors["unpicklable"])
    assert "No module named 'only_at_home'" in str(told.errors["unknown"])
    good = {job.name: job for job in jobs if job.name not in told.errors}
    manager.wait_jobs(good.values(), LIMIT)
    assert {name: job.result for name, job in good.items()} == {"first": 8, "future": 32, "list": [16, 81], "last": 64}
    assert [job.id for job in jobs if job.name in ("wrong", "nothing")] == [None, None]


def test_work_that_is_large_goes_in_portions(
    dask_job: DaskJobs, manager: JobManager, monkeypatch: pytest.MonkeyPatch, calls: "Counter[str]"
) -> None:
    dask_job().execute(delayed(pow)(2, 2))
    calls.clear()
    monkeypatch.setattr(submission_many, "BYTES", 250_000)
    jobs = [dask_job(f"job {number}") for number in range(6)]
    manager.execute_jobs(jobs, work=[delayed(len)(bytes([number]) * 100_000) for number in range(6)])
    assert calls["publish_dataset"] == 2
    manager.wait_jobs(jobs, LIMIT)
    assert [job.result for job in jobs] == [100_000] * 6


@pytest.mark.parametrize("sent", [True, False])
def test_killed_in_the_middle_nothing_is_lost_or_run_twice(
    dask_job: DaskJobs, manager: JobManager, folder: Path, monkeypatch: pytest.MonkeyPatch, sent: bool
) -> None:
    # given a process that dies after the intents, when the scheduler has the work or before
    jobs = [dask_job(f"job {number}") for number in range(5)]
    work = [delayed(mark)(str(folder), number) for number in range(5)]

    def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        where = (submission, "acceptance") if sent else (submission_many, "_hand_over")
        patched.setattr(*where, die)
        manager.execute_jobs(jobs, work=work)
    for job in jobs:
        job.handle.backend.jobs.update(job.handle.record.id, lambda fresh: Change({"submitting_since": None}))
    # when another process finds them, and executes again what was not submitted
    found = [one for one in manager.list_jobs() if one.id in {job.id for job in jobs}]
    told = Told()
    again = [one for one in found if one.status == "Pending"]
    assert len(again) == (0 if sent else 5)
    manager.execute_jobs(again, told, [work[int(one.name.split()[1])] for one in again])
    # then
    assert not told.errors
    assert [one.wait(LIMIT) for one in found] == ["Complete"] * 5
    assert sorted(one.result for one in found if isinstance(one, DaskJob)) == list(range(5))
    assert marks(folder) == {str(number): "x" for number in range(5)}


def test_a_scheduler_that_is_away_takes_none_and_all_can_be_executed_later(
    dask_job: DaskJobs, manager: JobManager, own_cluster: DaskCluster
) -> None:
    block = dask_block(own_cluster, "away-for-many", 2)
    jobs, told = [dask_job(f"job {number}", scheduler=block) for number in range(3)], Told()
    work = [delayed(pow)(number, 2) for number in range(3)]
    manager.execute_jobs(jobs, told, work)
    assert {type(error) for error in told.errors.values()} == {SubmissionError} and len(told.errors) == 3
    assert all(job.cached_status == "Pending" and "Not submitted" in job.status_message for job in jobs)
    own_cluster.start(1)
    again = Told()
    manager.execute_jobs(jobs, again, work)
    assert not again.errors
    manager.wait_jobs(jobs, LIMIT)
    assert [job.result for job in jobs] == [0, 1, 4]
    block.close()


def test_one_work_for_each_job(dask_job: DaskJobs, manager: JobManager) -> None:
    with pytest.raises(ValueError, match="1 items and 2 jobs"):
        manager.execute_jobs([dask_job(), dask_job()], work=[delayed(pow)(1, 1)])


# -- results --------------------------------------------------------------------------------------------------------


def ended(jobs: list[DaskJob]) -> None:
    """Returns when the work of all is over; nothing is noted of it."""

    def over() -> bool:
        states = jobs[0].engine.client().ask().jobs
        return all(states[name_of(job.handle.token, 0)]["state"] in ("memory", "erred") for job in jobs)

    eventually(over, "their work is over", LIMIT)


def test_many_results_are_kept_by_one_call_and_few_commits(
    dask_job: DaskJobs, manager: JobManager, calls: "Counter[str]", monkeypatch: pytest.MonkeyPatch
) -> None:
    # given
    assert fetching.CHUNK == 50
    monkeypatch.setattr(fetching, "CHUNK", CHUNK)
    jobs = [dask_job(f"job {number}") for number in range(2 * CHUNK)]
    manager.execute_jobs(jobs, work=[delayed(pow)(number, 2) for number in range(len(jobs))])
    ended(jobs)
    calls.clear()
    # when
    manager.wait_jobs(jobs, LIMIT)
    # then in all one question and a commit of the answers; for each twenty: lease, outcomes, release, end of the lease
    assert calls["get_dataset"] == calls["gather"] == calls["unpublish_dataset"] == 2
    assert calls["run_on_scheduler"] == 3 and 9 <= calls["commit"] < 20  # outcomes and releases once more if need be
    assert {job.cached_status for job in jobs} == {"Complete"}
    assert [job.result for job in jobs] == [number**2 for number in range(len(jobs))]
    tokens = [job.handle.token for job in jobs]
    assert not [name for name in jobs[0].client.list_datasets() if any(token in name for token in tokens)]
    assert all(job.engine.state.released for job in jobs)


def doubled(result: int) -> int:
    """A results function that returns something."""
    return result * 2


def angry(result: int) -> None:
    """A results function that fails."""
    raise RuntimeError(f"not {result}")


def fails() -> None:
    """Work that fails."""
    raise RuntimeError("no luck")


def secret() -> Any:
    """A value that no process but its own can read."""

    class Bomb:
        def __reduce__(self) -> Any:
            return eval, ("1 / 0",)

    return Bomb()


def test_results_that_cannot_be_kept_keep_no_other(
    dask_job: DaskJobs, manager: JobManager, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given results of all kinds
    work: dict[str, Any] = {
        "first": delayed(pow)(2, 3),
        "unreadable": delayed(secret)(),
        "failed": delayed(fails)(),
        "doubled": delayed(pow)(2, 4),
        "angry": delayed(pow)(2, 5),
        "forgotten": delayed(pow)(2, 6),
        "large": delayed(bytes)(2_000_000),
        "last": delayed(pow)(2, 7),
    }
    functions = {"doubled": doubled, "angry": angry}
    jobs = {
        name: dask_job(name, process_results_function=functions.get(name), forget=name == "forgotten") for name in work
    }
    monkeypatch.setattr(runtime.results, "_size_limit", 1_000_000)
    manager.execute_jobs(jobs.values(), work=work.values())
    # when
    manager.wait_jobs(jobs.values(), LIMIT)
    # then
    found = {name: job.cached_status for name, job in jobs.items()}
    bad = {"unreadable": "Error", "failed": "Error", "angry": "Error"}
    assert found == {name: bad.get(name, "Complete") for name in work}
    assert "cannot be fetched" in jobs["unreadable"].status_message
    assert "no luck" in jobs["failed"].status_message and "not 32" in jobs["angry"].status_message
    assert {name: jobs[name].result for name in ("first", "doubled", "angry", "last")} == {
        "first": 8,
        "doubled": 32,
        "angry": 32,
        "last": 128,
    }
    assert jobs["large"].result == bytes(2_000_000) and jobs["large"].engine.state.result["where"] == "prefect"  # type: ignore[index]
    with pytest.raises(ResultUnavailable):
        _ = jobs["forgotten"].result


def test_large_results_are_gathered_in_portions(
    dask_job: DaskJobs, manager: JobManager, monkeypatch: pytest.MonkeyPatch, calls: "Counter[str]"
) -> None:
    monkeypatch.setattr(results_many, "BYTES", 250_000)
    jobs = [dask_job(f"job {number}") for number in range(6)]
    manager.execute_jobs(jobs, work=[delayed(bytes)(100_000 + number) for number in range(6)])
    ended(jobs)
    calls.clear()
    manager.wait_jobs(jobs, LIMIT)
    assert calls["gather"] == 3
    assert [len(job.result) for job in jobs] == [100_000 + number for number in range(6)]


def test_killed_before_the_outcomes_results_are_fetched_again(
    dask_job: DaskJobs, manager: JobManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [dask_job(f"job {number}") for number in range(5)]
    manager.execute_jobs(jobs, work=[delayed(pow)(number, 2) for number in range(5)])
    ended(jobs)

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("prefect_jobs.jobs.results_many._change", die)
        manager.wait_jobs(jobs, LIMIT)
    found = [one for one in manager.list_jobs() if one.id in {job.id for job in jobs}]
    assert {one.cached_status for one in found} == {"Results-Ready"}
    manager.wait_jobs(found, LIMIT)
    assert sorted(one.result for one in found if isinstance(one, DaskJob)) == [0, 1, 4, 9, 16]


def test_the_monitor_keeps_them_together(
    dask_job: DaskJobs, manager: JobManager, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "CHUNK", CHUNK)
    jobs = [dask_job(f"job {number}") for number in range(25)]
    manager.execute_jobs(jobs, work=[delayed(pow)(number, 2) for number in range(25)])
    ended(jobs)
    with running(Monitor()):
        ids = [job.handle.record.id for job in jobs]
        eventually(lambda: {r.state.status for r in runtime.store.records(ids)} == {"Complete"}, "they end", LIMIT)
    assert [job.result for job in jobs] == [number**2 for number in range(25)]
