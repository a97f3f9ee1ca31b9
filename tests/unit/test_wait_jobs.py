"""Waiting for many jobs, with fake schedulers: what is asked, told, and said."""

import sys
import threading
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from prefect_jobs import Job, JobManager, JobStateError
from prefect_jobs.jobs import registry
from prefect_jobs.jobs.group import Group
from prefect_jobs.runtime.wiring import get_runtime
from prefect_jobs.testing import FakeSchedulers
from tests.unit.test_lifecycle import schedulers
from tests.unit.test_web_access import make, manager

__all__ = ["make", "manager", "schedulers"]


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(get_runtime().settings, "poll_interval", 0.05)


@pytest.fixture
def running(make: Callable[..., Job], schedulers: FakeSchedulers) -> list[Job]:
    """Three jobs at work."""
    jobs = [make(f"job {number}") for number in range(3)]
    for job in jobs:
        job.execute()
        schedulers.run(job)
    return jobs


def test_all_are_over_and_each_is_told_once(
    manager: JobManager, running: list[Job], schedulers: FakeSchedulers, make: Callable[..., Job]
) -> None:
    told: list[tuple[int, int]] = []

    def progress(job: Job, done: int, total: int) -> None:
        told.append((done, total))
        left = [each for each in running if each.id != job.id and not each.handle.record.final]
        if left:
            schedulers.finish(left[0])

    schedulers.finish(running[0], exit_code=3)
    basic = manager.create_job("of another type", "alice", job_type="BASIC")
    basic.save()
    basic.execute()
    basic.update_status("Complete")
    jobs = [*running, basic]
    assert manager.wait_jobs(jobs, 20, progress) == jobs
    assert [job.cached_status for job in jobs] == ["Error", "Complete", "Complete", "Complete"]
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert manager.wait_jobs([], 1) == []


def test_each_scheduler_is_asked_once_for_all(
    manager: JobManager, running: list[Job], schedulers: FakeSchedulers, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    class Counting(Group):
        def poll(self, jobs: Any, stop: Any = bool) -> Any:
            asked.append(len(jobs))
            return super().poll(jobs, stop)

    monkeypatch.setattr(registry, "group_type", lambda engine: Counting)
    monkeypatch.setattr(type(running[0].engine), "asks_freely", False)
    with pytest.raises(TimeoutError, match=rf"3 of 3 jobs are not over after 0\.2 s: {running[0].id} \(Running\), "):
        manager.wait_jobs(running, 0.2)
    assert asked and set(asked) == {3}


def test_what_others_do_is_seen(manager: JobManager, running: list[Job], schedulers: FakeSchedulers) -> None:
    def progress(job: Job, done: int, total: int) -> None:
        if done == 1:  # another process deletes one, and ends one
            get_runtime().store.delete(running[1].id or 0)
            other = manager.get_job(running[2].id or 0)
            assert other is not None
            other.stop()

    schedulers.finish(running[0])
    manager.wait_jobs(running, 20, progress)
    assert running[2].cached_status == "Aborted"


def test_a_scheduler_that_is_away_is_noted_and_the_wait_goes_on(
    manager: JobManager, running: list[Job], schedulers: FakeSchedulers, monkeypatch: pytest.MonkeyPatch
) -> None:
    with schedulers.away("gone"), pytest.raises(TimeoutError):
        manager.wait_jobs(running, 0.2)
    assert "No answer from the scheduler" in running[0].status_message
    for job in running:
        schedulers.finish(job)
    manager.wait_jobs(running, 20)
    assert [job.cached_status for job in running] == ["Complete"] * 3


def test_an_interrupt_says_how_to_go_on(
    manager: JobManager, running: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Event, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt, match=r"3 of 3 jobs continue: .*wait_jobs\(\) again"):
        manager.wait_jobs(running)


def test_what_cannot_be_waited_for(manager: JobManager) -> None:
    unsaved = manager.create_job("x", "alice", job_type="BASIC")
    with pytest.raises(JobStateError, match="never saved"):
        manager.wait_jobs([unsaved])
    with pytest.raises(TypeError, match="takes jobs, not 7"):
        manager.wait_jobs([7])  # type: ignore[list-item]


def test_a_bar_shows_how_many_are_over(
    manager: JobManager, running: list[Job], schedulers: FakeSchedulers, capsys: pytest.CaptureFixture[str]
) -> None:
    for job in running:
        schedulers.finish(job)
    manager.wait_jobs(running, 20, True)
    assert "3/3" in capsys.readouterr().err
    manager.wait_jobs(running, 20)
    assert capsys.readouterr().err == "" and not sys.stderr.isatty()


@pytest.mark.anyio
async def test_the_async_twin_ends_when_it_is_cancelled(
    manager: JobManager, running: list[Job], schedulers: FakeSchedulers
) -> None:
    with anyio.move_on_after(0.2) as scope:
        await manager.await_jobs(running)
    assert scope.cancelled_caught
    for job in running:
        schedulers.finish(job)
    assert await manager.await_jobs(running, timeout=20) == running


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
