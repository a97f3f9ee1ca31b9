"""Looks at jobs that somebody asked for: at their time, once, and not forgotten when nobody answers."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, ClassVar

import pytest

from prefect_jobs import BasicJob, Job, JobManager, SchedulerConnectionError, clock
from prefect_jobs.records import Change
from prefect_jobs.runtime.wiring import Runtime
from tests.support import eventually


class Watched(Job):
    """A job whose scheduler is this class."""

    answers: ClassVar[list[Any]] = []
    looks: ClassVar[list[str]] = []

    def _execute(self, *args: Any, **kwargs: Any) -> None:
        pass

    def _update_status(self) -> Any:
        self.looks.append(threading.current_thread().name)
        answer = self.answers.pop(0) if self.answers else "Complete"
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    Watched.answers, Watched.looks = [], []
    yield


@pytest.fixture
def job(manager: JobManager) -> Job:
    """A job that was submitted, and would be over if somebody looked."""
    job = manager.create_job("a job", "alice", job_type=Watched)
    job.execute()
    Watched.looks.clear()
    return job


def status(runtime: Runtime, job: Job) -> str:
    record = runtime.store.get(job.handle.record.id)
    assert record is not None
    return record.state.status


def test_a_check_is_done_when_it_is_due(runtime: Runtime, job: Job) -> None:
    runtime.store.add_check(job.handle.record.id, clock.now() + timedelta(hours=1))
    left = runtime.checker.run_due()
    assert left is not None and 3590 < left <= 3600 and Watched.looks == []
    runtime.store.add_check(job.handle.record.id, clock.now())
    left = runtime.checker.run_due()
    assert left is not None and left > 3590 and len(Watched.looks) == 1
    assert status(runtime, job) == "Complete"


def test_the_scheduler_is_asked_however_short_ago_it_was(runtime: Runtime, job: Job) -> None:
    Watched.answers = ["Running", "Running"]
    for looks in (1, 2):
        runtime.store.add_check(job.handle.record.id, clock.now())
        assert runtime.checker.run_due() is None and len(Watched.looks) == looks


@pytest.mark.parametrize("error", [SchedulerConnectionError("nobody answers"), RuntimeError("a mistake")])
def test_a_check_in_vain_is_put_off_for_longer_each_time(runtime: Runtime, job: Job, error: Exception) -> None:
    # given a job, asked about in vain
    Watched.answers = [error] * 3
    runtime.store.add_check(job.handle.record.id, clock.now())
    moment = clock.now()
    clock.set_clock(lambda: moment)
    waits = []
    for _ in range(3):
        left = runtime.checker.run_due()
        assert left is not None
        waits.append(left)
        # when nothing is due
        assert runtime.checker.run_due() == left
        moment += timedelta(seconds=left)
    # then it was asked later each time, and the status stays
    assert 3.75 <= waits[0] <= 5 and 7.5 <= waits[1] <= 10 and 15 <= waits[2] <= 20
    assert len(Watched.looks) == 3 and status(runtime, job) == "Submitted"
    # and done as soon as there is an answer
    assert runtime.checker.run_due() is None and status(runtime, job) == "Complete"


def test_of_many_jobs_of_a_scheduler_that_is_away_one_is_asked(runtime: Runtime, manager: JobManager) -> None:
    Watched.answers = [SchedulerConnectionError("nobody answers")]
    for _ in range(5):
        job = manager.create_job("a job", "alice", job_type=Watched)
        job.execute()
        runtime.store.update(job.handle.record.id, lambda _: Change({"scheduler": "far-away"}))
        runtime.store.add_check(job.handle.record.id, clock.now())
    Watched.looks.clear()
    left = runtime.checker.run_due()
    assert len(Watched.looks) == 1 and left is not None and left > 3


def test_a_check_of_a_job_that_is_over_or_gone_is_done(runtime: Runtime, manager: JobManager, job: Job) -> None:
    gone = manager.create_job("gone", "alice", job_type="BASIC")
    gone.save()
    for each in (job, gone):
        runtime.store.add_check(each.handle.record.id, clock.now())
    job.update_status("Aborted")
    gone.delete()
    assert runtime.checker.run_due() is None
    assert Watched.looks == [] and status(runtime, job) == "Aborted"


def test_a_job_of_an_unknown_type_is_left_for_who_knows_it(runtime: Runtime, job: Job) -> None:
    runtime.store.update(job.handle.record.id, lambda _: Change({"type": "nowhere:Nothing"}))
    runtime.store.add_check(job.handle.record.id, clock.now())
    assert runtime.checker.run_due() is not None


def test_who_asks_again_and_again_fills_no_table(runtime: Runtime, job: Job) -> None:
    moment = clock.now()
    clock.set_clock(lambda: moment)
    for _ in range(20):
        runtime.checker.schedule(job.handle.record.id, 30.5)
    with runtime.store.database.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM job_checks").scalar() == 1
    due = runtime.store.next_check()
    assert due is not None and timedelta(seconds=30.5) <= due - moment < timedelta(seconds=31.5)


def test_the_thread_does_what_is_scheduled_and_starts_again(runtime: Runtime, manager: JobManager, job: Job) -> None:
    runtime.checker.schedule(job.handle.record.id, 0.1)
    eventually(lambda: status(runtime, job) == "Complete", "the job was looked at", 10)
    assert Watched.looks == ["prefect-jobs-checker"]
    runtime.checker.close()
    assert "prefect-jobs-checker" not in {thread.name for thread in threading.enumerate()}
    # and what was left meanwhile is taken up at the next start
    other = manager.create_job("another", "alice", job_type=Watched)
    other.execute()
    runtime.store.add_check(other.handle.record.id, clock.now())
    for _ in range(3):
        runtime.checker.start()
    eventually(lambda: status(runtime, other) == "Complete", "the job was looked at", 10)
    assert [thread.name for thread in threading.enumerate()].count("prefect-jobs-checker") == 3


def test_the_thread_survives_that_the_database_is_away(
    runtime: Runtime, job: Job, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # given a database in which nothing is found any more
    with runtime.store.database.writing() as connection:
        connection.exec_driver_sql("ALTER TABLE job_checks RENAME TO moved")
    runtime.checker.start()
    eventually(lambda: "cannot be read; trying again" in caplog.text, "the thread has seen it", 10)
    # when it is there again
    with runtime.store.database.writing() as connection:
        connection.exec_driver_sql("ALTER TABLE moved RENAME TO job_checks")
    runtime.checker.schedule(job.handle.record.id, 0.1)
    # then it goes on
    eventually(lambda: status(runtime, job) == "Complete", "the job was looked at", 20)


def test_jobs_without_a_scheduler_are_left_as_they_are(runtime: Runtime, manager: JobManager) -> None:
    job = manager.create_job("by hand", "alice", job_type="BASIC")
    job.execute()
    assert isinstance(job, BasicJob)
    runtime.store.add_check(job.handle.record.id, clock.now())
    assert runtime.checker.run_due() is None and status(runtime, job) == job.cached_status
