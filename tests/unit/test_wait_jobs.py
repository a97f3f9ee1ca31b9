"""Waiting for many jobs, with fake schedulers: what is asked, told, and said."""

import sys
from collections.abc import Callable
from typing import Any

import anyio
import pytest

import prefect_jobs.manager
from prefect_jobs import Job, JobManager, JobStateError, SchedulerConnectionError
from prefect_jobs.jobs import registry, waiting_many
from prefect_jobs.jobs.group import Group
from prefect_jobs.records import Change
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
        if left:
            schedulers.finish(left.pop(0))

    left = running[1:]
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


class Together(Group):
    """A scheduler that is asked for all jobs at once; it may be away."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.asked: list[list[int | None]] = []

    def poll(self, jobs: Any, stop: Any = bool) -> Any:
        self.asked.append([job.id for job in jobs])
        if self.away:
            raise SchedulerConnectionError("gone")
        return super().poll(jobs, stop)


@pytest.fixture
def together(running: list[Job], monkeypatch: pytest.MonkeyPatch) -> Together:
    made = Together()
    monkeypatch.setattr(registry, "group_type", lambda engine: lambda: made)
    monkeypatch.setattr(type(running[0].engine), "asks_freely", False)
    monkeypatch.setattr(waiting_many, "_AWAY", 0.1)
    return made


def test_each_scheduler_is_asked_once_for_all(manager: JobManager, running: list[Job], together: Together) -> None:
    with pytest.raises(TimeoutError, match=rf"3 of 3 jobs are not over after 0\.2 s: {running[0].id} \(Running\), "):
        manager.wait_jobs(running, 0.2)
    assert together.asked and all(ids == [job.id for job in running] for ids in together.asked)


def test_a_scheduler_that_is_away_is_noted_and_the_wait_goes_on(
    manager: JobManager, running: list[Job], schedulers: FakeSchedulers, together: Together
) -> None:
    together.away = True
    with pytest.raises(TimeoutError):
        manager.wait_jobs(running, 0.3)
    assert all("No answer from the scheduler" in job.status_message for job in running)
    assert 1 < len(together.asked) < 5  # not at each round
    together.away = False
    for job in running:
        schedulers.finish(job)
    manager.wait_jobs(running, 20)
    assert [job.cached_status for job in running] == ["Complete"] * 3


def test_a_job_that_vanishes_at_that_moment_does_not_end_the_wait(
    manager: JobManager, running: list[Job], schedulers: FakeSchedulers, together: Together,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    poll = together.poll

    def and_one_is_deleted(jobs: Any, stop: Any = bool) -> Any:
        found = poll(jobs, stop)
        get_runtime().store.delete(running[0].id or 0)
        return found

    monkeypatch.setattr(together, "poll", and_one_is_deleted)
    for job in running:
        schedulers.finish(job)
    manager.wait_jobs(running, 20)
    assert [job.cached_status for job in running[1:]] == ["Complete"] * 2


def test_local_schedulers_of_two_machines_are_two(
    manager: JobManager, running: list[Job], schedulers: FakeSchedulers, together: Together
) -> None:
    get_runtime().jobs.update(
        running[0].id or 0, lambda fresh: Change({"native": {**fresh.native, "host": "elsewhere"}})
    )
    with pytest.raises(TimeoutError):
        manager.wait_jobs(running, 0.1)
    assert [running[0].id] in together.asked and [job.id for job in running[1:]] in together.asked


def test_the_same_job_twice(manager: JobManager, running: list[Job], schedulers: FakeSchedulers) -> None:
    again = manager.get_job(running[0].id or 0)
    assert again is not None
    for job in running:
        schedulers.finish(job)
    told: list[int] = []
    found = manager.wait_jobs([again, *running], 20, lambda job, done, total: told.append(total))
    assert [job.cached_status for job in found] == ["Complete"] * 4 and told == [3, 3, 3]


def test_an_interrupt_says_how_to_go_on(
    manager: JobManager, running: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted:
        def wait(self, seconds: float) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr(prefect_jobs.manager, "Event", Interrupted)
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
    custom = manager.create_job("x", "alice", job_type="BASIC")
    custom.execute()
    custom.update_status("step [/5]")
    with pytest.raises(TimeoutError):
        manager.wait_jobs([custom], 0, True)
    assert "1 step [/5]" in capsys.readouterr().err
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
    told: list[int] = []

    async def progress(job: Job, done: int, total: int) -> None:
        told.append(done)

    assert await manager.await_jobs(running, timeout=20, progress=progress) == running
    assert told == [1, 2, 3]
    with pytest.raises(TypeError, match="timeuot"):
        await manager.await_jobs(running, timeuot=5)  # type: ignore[call-arg]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
