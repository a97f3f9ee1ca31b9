"""The search for jobs that no machine has taken for long: each has its turn, however many wait."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import chain
from types import SimpleNamespace
from typing import Any

import pytest

from prefect_jobs import clock
from prefect_jobs.jobs.group import Group
from prefect_jobs.monitor import late
from prefect_jobs.monitor.late import AT_ONCE, LateSearch, is_late
from prefect_jobs.noted import LATE
from prefect_jobs.records import StatusState
from tests.support import draft

LIMIT = 60.0


class Scheduler(Group):
    """Knows how long jobs have waited; notes for which it was asked."""

    def __init__(self, **waited: float) -> None:
        super().__init__()
        self.waited = {int(name.removeprefix("job")): seconds for name, seconds in waited.items()}
        self.asked: list[list[int]] = []

    def unmatched(self, jobs: Sequence[Any]) -> dict[int, float]:
        ids = [job.handle.record.id for job in jobs]
        self.asked.append(ids)
        return {job_id: self.waited[job_id] for job_id in ids if job_id in self.waited}


def waiting(job_id: int, **state: Any) -> Any:
    since = clock.now() - timedelta(seconds=2 * LIMIT)
    wanted: dict[str, Any] = {"status": "Submitted", "execute_time": since, "attempt": 1, **state}
    record = replace(draft(state=StatusState(**wanted)), id=job_id)
    return SimpleNamespace(handle=SimpleNamespace(record=record))


def among(jobs: list[Any]) -> tuple[dict[int, Any], Callable[[Iterable[int]], list[Any]]]:
    """Since when the scheduler has jobs, and what reads them."""
    by_id = {job.handle.record.id: job for job in jobs}
    since = {job_id: job.handle.record.state.execute_time for job_id, job in by_id.items()}
    return since, lambda wanted: [by_id[job_id] for job_id in wanted]


def ids(found: Any) -> list[int]:
    return [job.handle.record.id for job, _ in found]


def test_each_of_many_has_its_turn() -> None:
    jobs = [waiting(number) for number in range(1, 2 * AT_ONCE + 11)]
    last = len(jobs)
    there = Scheduler(**{f"job{last}": LIMIT, "job1": LIMIT - 1})
    search = LateSearch(there)
    turns = [ids(search.late(*among(jobs), LIMIT)) for _ in range(4)]
    assert turns == [[], [], [last], []]  # the last turn is in the pause after all had theirs
    assert list(chain.from_iterable(there.asked)) == list(range(1, last + 1))
    assert max(map(len, there.asked)) == AT_ONCE


def test_after_a_pause_it_begins_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late, "PAUSE", 0.0)
    there = Scheduler()
    search = LateSearch(there)
    for waited in (1.0, LIMIT):
        there.waited[3] = waited
        found = ids(search.late(*among([waiting(3)]), LIMIT))
        assert found == ([3] if waited == LIMIT else [])


def test_jobs_that_cannot_be_late_are_not_asked_for() -> None:
    told = waiting(5)
    told.handle.record = replace(told.handle.record, native={LATE: 1})
    soon = waiting(1, execute_time=clock.now())
    ran = waiting(2, has_run=True)
    there = Scheduler(**{f"job{number}": LIMIT for number in range(1, 6)})
    found = ids(LateSearch(there).late(*among([soon, ran, waiting(3, status="Running"), waiting(4), told]), LIMIT))
    assert (there.asked, found) == ([[4]], [4])


def test_rows_are_read_only_of_jobs_that_may_be_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late, "PAUSE", 0.0)
    told, soon = waiting(1), waiting(2, execute_time=clock.now())
    told.handle.record = replace(told.handle.record, native={LATE: 1})
    since, read = among([told, soon])
    asked: list[list[int]] = []

    def reading(job_ids: Iterable[int]) -> list[Any]:
        asked.append(list(job_ids))
        return read(asked[-1])

    search = LateSearch(Scheduler(job1=LIMIT))
    for _ in range(2):
        assert ids(search.late(since, reading, LIMIT)) == []
    # It is submitted again, and waits again.
    told.handle.record = waiting(1, attempt=2).handle.record
    assert ids(search.late({1: told.handle.record.state.execute_time}, reading, LIMIT)) == [1]
    assert asked == [[1], [], [1]]


def test_it_is_told_once_for_each_submission() -> None:
    record = waiting(1).handle.record
    change = is_late(120.0)(record)
    assert change is not None and "No machine has taken it for 2 min." in change.values["state"].status_message
    assert is_late(120.0)(replace(record, native=change.values["native"])) is None
