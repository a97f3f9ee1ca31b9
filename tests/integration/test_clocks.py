"""Hosts whose clocks disagree: what they share is the database's."""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest

from prefect_jobs import clock
from prefect_jobs.records import Change
from prefect_jobs.store import Database, Store
from tests.support import PostgresServer, draft

Opened = Callable[[timedelta], Store]


@pytest.fixture
def at_host(_postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opened]:
    """The store, as a process has it on a host whose clock is so much ahead."""
    databases: list[Database] = []
    shared = ExitStack()
    url = shared.enter_context(_postgres.database()).render_as_string(hide_password=False)

    def opened(ahead: timedelta) -> Store:
        monkeypatch.setattr(clock, "_system_clock", lambda: datetime.now(UTC) + ahead)
        clock.agree(clock._system_clock())  # of another process nothing is known
        databases.append(Database(url))
        databases[-1].ensure_schema()
        return Store(databases[-1])

    yield opened
    for database in databases:
        database.dispose()
    shared.close()
    monkeypatch.undo()
    clock.agree(datetime.now(UTC))


@pytest.mark.parametrize("ahead", [timedelta(hours=2), timedelta(hours=-2)])
def test_a_process_goes_by_the_databases_clock(
    at_host: Opened, ahead: timedelta, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        at_host(ahead)
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(seconds=5)
    assert "The database's clock is" in caplog.text


def test_a_small_difference_is_left_alone(at_host: Opened) -> None:
    at_host(timedelta(milliseconds=200))
    assert clock._offset == timedelta(0)


def test_marks_of_another_host_mean_what_they_say(at_host: Opened) -> None:
    # given a host whose clock is ahead, which submits a job and fetches another's results
    ahead = at_host(timedelta(hours=2))
    job = ahead.insert(draft())
    job = ahead.update(job.id, lambda _: Change({"submitting_since": clock.now()})).after
    assert ahead.claim_results(job.id, "ahead", 60)
    assert ahead.claim_lease("scheduler:x", "ahead", 60)
    # when one looks whose clock is behind
    behind = at_host(timedelta(hours=-2))
    seen = behind.get(job.id)
    # then it finds them as young as they are
    assert seen is not None and seen.submitting_since is not None
    assert abs(clock.now() - seen.submitting_since) < timedelta(seconds=20)
    assert not behind.claim_results(job.id, "behind", 60)
    assert not behind.claim_lease("scheduler:x", "behind", 60)
