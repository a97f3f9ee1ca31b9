"""The search for why jobs wait: after a while, each has its turn, and is asked about again after a pause."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from prefect_jobs import clock
from prefect_jobs.errors import SchedulerConnectionError
from prefect_jobs.jobs.group import Group
from prefect_jobs.monitor import reasons
from prefect_jobs.monitor.reasons import AT_ONCE, FIRST, Reasons, waits
from prefect_jobs.noted import WAITS
from prefect_jobs.records import JobRecord, StatusState
from tests.support import draft

TEXT = "No slot is large enough."


class Scheduler(Group):
    """Tells the same reason of each job; notes for which it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[list[int]] = []

    def why_waiting(self, jobs: Sequence[Any]) -> dict[int, str]:
        self.asked.append([job.handle.record.id for job in jobs])
        return dict.fromkeys(self.asked[-1], TEXT)


def at_once(call: Callable[[], None]) -> None:
    call()


def record_of(job_id: int = 1, native: dict[str, Any] | None = None, **state: Any) -> JobRecord:
    since = clock.now() - timedelta(seconds=FIRST + 1)
    wanted: dict[str, Any] = {"status": "Submitted", "execute_time": since, "attempt": 1, **state}
    return replace(draft(state=StatusState(**wanted)), id=job_id, native=native or {})


def job_of(record: JobRecord, *, may_wait: bool = True) -> Any:
    engine = SimpleNamespace(may_wait=lambda _: may_wait)
    return SimpleNamespace(handle=SimpleNamespace(record=record), engine=engine)


def among(jobs: list[Any]) -> tuple[Mapping[int, datetime], Callable[[Iterable[int]], list[Any]]]:
    """Since when jobs are at their scheduler, and what reads them."""
    by_id = {job.handle.record.id: job for job in jobs}
    since = {job_id: job.handle.record.state.execute_time for job_id, job in by_id.items()}
    return {job_id: at for job_id, at in since.items() if at}, lambda wanted: [by_id[job_id] for job_id in wanted]


def test_each_has_its_turn_and_then_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reasons, "PAUSE", 0.0)
    jobs = [job_of(record_of(number)) for number in range(1, AT_ONCE + 4)]
    there = Scheduler()
    search = Reasons(there, at_once)
    told = [[job.handle.record.id for job, _ in search.found(*among(jobs))] for _ in range(3)]
    assert told == [list(range(1, AT_ONCE + 1)), [AT_ONCE + 1, AT_ONCE + 2, AT_ONCE + 3], []]
    assert len(there.asked) == 2


def test_it_is_not_asked_too_often() -> None:
    there = Scheduler()
    search = Reasons(there, at_once)
    assert len(list(search.found(*among([job_of(record_of())])))) == 1
    assert list(search.found(*among([job_of(record_of(2))]))) == []  # in the pause
    assert there.asked == [[1]]


@pytest.mark.parametrize(
    "given",
    [
        {"status": "Running"},
        {"execute_time": None},
        {"execute_time": "now"},
        {"native": {"unreachable_since": "2026-01-01T00:00:00+00:00"}},
    ],
)
def test_jobs_that_do_not_wait_for_long_are_not_asked_for(given: dict[str, Any]) -> None:
    wanted: dict[str, Any] = {name: clock.now() if value == "now" else value for name, value in given.items()}
    record = record_of(**wanted)
    there = Scheduler()
    assert list(Reasons(there, at_once).found(*among([job_of(record)]))) == []
    assert there.asked == []
    assert waits(TEXT)(record) is None


def test_a_job_of_which_nothing_may_wait_is_not_asked_for() -> None:
    there = Scheduler()
    assert list(Reasons(there, at_once).found(*among([job_of(record_of(status="Various"), may_wait=False)]))) == []
    assert there.asked == []
    assert len(list(Reasons(there, at_once).found(*among([job_of(record_of(status="Various"))])))) == 1


def test_no_answer_is_no_failure_of_the_poll() -> None:
    class Away(Group):
        def why_waiting(self, jobs: Sequence[Any]) -> dict[int, str]:
            raise SchedulerConnectionError("the collector does not answer")

    assert list(Reasons(Away(), at_once).found(*among([job_of(record_of())]))) == []


def test_a_scheduler_that_thinks_for_long_keeps_nobody_waiting() -> None:
    # given
    there = Scheduler()
    begun: list[Callable[[], None]] = []
    search, jobs = Reasons(there, begun.append), among([job_of(record_of())])
    # when
    assert list(search.found(*jobs)) == [] and there.asked == []
    assert list(search.found(*jobs)) == [] and len(begun) == 1
    begun[0]()
    # then
    assert [text for _, text in search.found(*jobs)] == [TEXT]
    assert list(search.found(*jobs)) == []


def test_an_answer_about_an_earlier_attempt_or_long_ago_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for attempt, old in ((2, reasons.OLD), (1, -1.0)):
        begun: list[Callable[[], None]] = []
        search = Reasons(Scheduler(), begun.append)
        assert list(search.found(*among([job_of(record_of())]))) == []
        begun[0]()
        monkeypatch.setattr(reasons, "OLD", old)
        assert list(search.found(*among([job_of(record_of(attempt=attempt))]))) == []


def test_where_no_thread_starts_it_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reasons, "PAUSE", 0.0)
    monkeypatch.setattr(reasons, "FIRST", 0.0)
    tries: list[Callable[[], None]] = []

    def begin(call: Callable[[], None]) -> None:
        tries.append(call)
        if len(tries) == 1:
            raise RuntimeError("can't start new thread")

    search = Reasons(Scheduler(), begin)
    for _ in range(2):
        list(search.found(*among([job_of(record_of())])))
    assert len(tries) == 2


def test_what_was_not_told_is_asked_soon_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent(Scheduler):
        def why_waiting(self, jobs: Sequence[Any]) -> dict[int, str]:
            super().why_waiting(jobs)
            return {}

    monkeypatch.setattr(reasons, "PAUSE", 0.0)
    monkeypatch.setattr(reasons, "FIRST", 0.0)
    there = Silent()
    search = Reasons(there, at_once)
    assert [list(search.found(*among([job_of(record_of())]))) for _ in range(2)] == [[], []]
    assert there.asked == [[1], [1]]  # not after ten minutes


def test_other_numbers_are_no_line_in_the_log() -> None:
    known = record_of(native={WAITS: {"attempt": 1, "text": "3 of 12 slots can run it, all are busy."}})
    change = waits("4 of 1,200 slots can run it, all are busy.")(known)
    assert change is not None and not change.messages and change.values["native"][WAITS]["text"].startswith("4 of")
    other = waits(TEXT)(known)
    assert other is not None and other.messages


def test_what_is_noted_is_no_news() -> None:
    known = record_of(native={WAITS: {"attempt": 1, "text": TEXT}})
    assert list(Reasons(Scheduler(), at_once).found(*among([job_of(known)]))) == []
    assert waits(TEXT)(known) is None


def test_the_change() -> None:
    change = waits(TEXT)(record_of())
    assert change is not None
    noted = replace(record_of(), native=change.values["native"])
    assert noted.noted.waits(1) == TEXT and noted.noted.waits(2) == ""
    assert [text for _, text in change.messages] == [f"It waits for a machine. {TEXT}"]
    over = waits("")(noted)
    assert over is not None and WAITS not in over.values["native"] and not over.messages
