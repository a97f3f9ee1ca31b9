"""How long a job has run: the time in which it is held or paused does not count."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from prefect_jobs import clock
from prefect_jobs.jobs.basic import BasicJob
from prefect_jobs.jobs.changes import change_for
from prefect_jobs.records import JobRecord
from prefect_jobs.transition import News, Source
from tests.support import draft

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
Told = Callable[[int, str], None]


class Times:
    """A job that is told statuses at minutes after noon."""

    def __init__(self) -> None:
        self.minute = 0
        self.record: JobRecord = draft(workspace="/work")

    def tell(self, minute: int, status: str) -> None:
        """What the scheduler says then."""
        self.minute = minute
        change = change_for(self.record, News(Source.SCHEDULER, status))
        if change is not None:
            self.record = replace(self.record, **change.values)

    def run_time(self, minute: int) -> timedelta | str:
        """As a person reads it then."""
        self.minute = minute
        backend = SimpleNamespace(
            site=SimpleNamespace(engine_type=lambda wanted: wanted, default_workspace=os.path.join)
        )
        return BasicJob(cast(Any, backend), self.record).run_time


@pytest.fixture
def job() -> Iterator[Times]:
    made = Times()
    clock.set_clock(lambda: NOON + timedelta(minutes=made.minute))
    yield made
    clock.set_clock(None)


def minutes(number: int) -> timedelta:
    return timedelta(minutes=number)


def test_before_it_began_there_is_none(job: Times) -> None:
    job.tell(0, "Submitted")
    assert job.run_time(5) == ""
    job.tell(6, "Held")
    assert job.run_time(9) == ""


@pytest.mark.parametrize("status", ["Held", "Paused", "Submitted"])
def test_it_stands_while_the_job_does(job: Times, status: str) -> None:
    job.tell(0, "Submitted")
    job.tell(10, "Running")
    assert job.run_time(15) == minutes(5)
    job.tell(20, status)
    assert job.run_time(20) == job.run_time(500) == minutes(10)
    job.tell(600, status)  # nothing new
    assert job.run_time(700) == minutes(10)
    job.tell(800, "Running")
    assert job.run_time(805) == minutes(15)
    job.tell(810, status)
    job.tell(900, "Various")
    job.tell(905, "Complete")
    assert job.run_time(905) == job.run_time(5000) == minutes(25)


def test_a_job_that_is_removed_while_held_ran_until_it_was_held(job: Times) -> None:
    job.tell(0, "Running")
    job.tell(30, "Held")
    job.tell(90, "Aborted")
    assert job.run_time(90) == job.run_time(100) == minutes(30)
