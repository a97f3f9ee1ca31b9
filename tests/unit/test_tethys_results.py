"""Jobs of apps of the Tethys Platform in the hands of our own code: the monitor, the pick-up, the command line."""

from typing import Any

import pytest

from prefect_jobs import SubmissionError
from prefect_jobs.jobs import polling
from prefect_jobs.jobs.base import Job
from prefect_jobs.runtime.wiring import get_runtime
from prefect_jobs.testing import FakeSchedulers
from prefect_jobs.tethys import CondorJob, JobManager, TethysJob
from tests.unit.test_lifecycle import schedulers
from tests.unit.test_tethys_jobs import PROGRAM, Watched, manager

__all__ = ["manager", "schedulers"]


def ours(job: TethysJob) -> Job:
    """The job as the monitor finds it."""
    record = get_runtime().store.get(job.id or 0)
    assert record is not None
    return get_runtime().job(record)


def look(job: CondorJob) -> None:
    """A results function of an app: what it sets is saved, also where it saves nothing."""
    assert job._status == "RES" and job.get_attribute("arguments") == "-n 3"
    job.extended_properties["files"] = type(job).__name__
    job._status, job.status_message = job.extended_properties["found"], "looked at the map"
    job.save()


@pytest.mark.parametrize("by", ["the app", "the monitor"])
def test_a_results_function_gets_the_class_that_was_made(
    manager: JobManager, schedulers: FakeSchedulers, by: str
) -> None:
    attributes = {**PROGRAM, "arguments": ["-n", 3]}
    options: dict[str, Any] = {"job_type": "CONDOR", "attributes": attributes, "process_results_function": look}
    good, bad = (
        manager.create_job(status, "alice", extended_properties={"found": status}, **options)
        for status in ("COM", "ERR")
    )
    for job in (good, bad):
        job.execute()
        schedulers.finish(job)
        seen = job if by == "the app" else ours(job)
        assert isinstance(seen, TethysJob) == (by == "the app")
        polling.poll_once(seen)
        job.refresh_from_db()
        assert job.extended_properties["files"] == "CondorJob"
    assert (good.cached_status, good.status_message) == ("Complete", "Exit code 0. looked at the map")
    assert bad.cached_status == "Error" and "looked at the map" in bad.status_message
    good.resubmit()
    schedulers.finish(good)
    polling.poll_once(ours(good))
    assert (ours(good).cached_status, ours(good).status_message) == ("Complete", "Exit code 0. looked at the map")


def test_errors_of_the_submission_are_raised_to_our_own_code(manager: JobManager, schedulers: FakeSchedulers) -> None:
    job = manager.create_job("a job", "alice", job_type=Watched, attributes=PROGRAM)
    job.save()
    known = ours(job)
    assert type(known) is Watched
    with schedulers.away(), pytest.raises(SubmissionError):
        known.execute()
    known.execute()
    schedulers.finish(known)
    assert known.status == "Complete"
    with schedulers.away(), pytest.raises(SubmissionError):
        known.resubmit()
