"""The jobs of one watch: what is read when, and what an unreachable database leaves to be done."""

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from prefect_jobs import statuses
from prefect_jobs.errors import DatabaseError
from prefect_jobs.jobs.group import Group
from prefect_jobs.monitor import roster as module
from prefect_jobs.monitor.roster import Roster
from prefect_jobs.records import JobRecord, StatusState
from tests.support import draft


class Rows:
    """A runtime whose store has jobs that are running; notes how many were read at once."""

    def __init__(self, number: int) -> None:
        running = draft(remote_id="7", state=StatusState(status=statuses.RUNNING))
        self.records_by_id = {job_id: replace(running, id=job_id, version=3) for job_id in range(1, number + 1)}
        self.read: list[int] = []
        self.store = self
        self.fails = False

    def records(self, job_ids: Sequence[int]) -> list[JobRecord]:
        if self.fails:
            raise DatabaseError("no answer")
        self.read += job_ids
        return [self.records_by_id[job_id] for job_id in job_ids]

    def job(self, record: JobRecord) -> Any:
        return SimpleNamespace(
            handle=SimpleNamespace(record=record, status=record.state.as_status),
            abilities=SimpleNamespace(polls=True),
            engine=SimpleNamespace(can_release=lambda _: False, may_say_more=lambda _: False),
        )


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> Rows:
    monkeypatch.setattr(module, "_READ", 2)
    monkeypatch.setattr(module, "_TURN", 4)
    return Rows(9)


@pytest.fixture
def roster(rows: Rows) -> Roster:
    made = Roster(cast(Any, rows), Group(), polled=True, host=None)
    made.give(dict.fromkeys(rows.records_by_id, 3), ())
    return made


def test_many_are_read_in_several_turns(roster: Roster, rows: Rows) -> None:
    read = []
    for _ in range(4):
        assert roster.load() == set()
        read.append(len(rows.read))
    assert read == [4, 8, 9, 9]
    assert roster.active == set(rows.records_by_id)


def test_what_is_given_between_two_turns_counts(roster: Roster, rows: Rows) -> None:
    roster.load()
    roster.give({8: 5}, {9})
    rows.records_by_id[8] = replace(rows.records_by_id[8], version=5)
    assert roster.load() == {9}
    roster.load()
    assert roster.active == set(range(1, 9)) and roster.versions[8] == 5


def test_while_the_database_is_away_nothing_is_forgotten(roster: Roster, rows: Rows) -> None:
    roster.load()
    roster.give({}, {1})
    rows.fails = True
    with pytest.raises(DatabaseError):
        roster.load()
    rows.fails = False
    assert roster.load() == {1}
    roster.load()
    assert roster.active == set(range(2, 10))
