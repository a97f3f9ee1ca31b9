"""The history of a job: what became of it when, and who did that."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from prefect_jobs import JobManager
from prefect_jobs.monitor import Monitor
from tests.acceptance.conftest import ShellJob
from tests.acceptance.test_monitor import monitor, press
from tests.support import eventually

__all__ = ["monitor", "press"]
pytestmark = pytest.mark.prefect
LIMIT = 60


def test_it_tells_what_the_scheduler_the_user_and_prefect_did(
    monitor: Monitor, shell_job: ShellJob, manager: JobManager, press: Callable[..., None]
) -> None:
    job = shell_job("sleep 600")
    assert not job.history and not job.wait_time
    job.execute()
    eventually(lambda: manager.get_job(job.id or 0).cached_status == "Running", "it runs", LIMIT)  # type: ignore[union-attr]
    press(job, "CANCELLING", "Cancelling")
    eventually(lambda: manager.get_job(job.id or 0).cached_status == "Aborted", "it is stopped", LIMIT)  # type: ignore[union-attr]
    job.update_status("Looked at", message="nothing to be seen")
    found = [(entry.status, entry.who) for entry in job.history]
    assert found[:2] == [("Pending", "alice"), ("Submitted", "scheduler")]
    assert ("Running", "scheduler") in found and found[-1] == ("Looked at", "alice")
    assert next(who for status, who in found if status == "Aborted") == "prefect"
    first, last = job.history[0], job.history[-1]
    assert (first.time, last.message) == (job.creation_time, "nothing to be seen")
    times = [entry.time for entry in job.history]
    assert times == sorted(times) and times[0].utcoffset() == timedelta(0)
    assert isinstance(job.wait_time, timedelta) and timedelta(0) <= job.wait_time < timedelta(seconds=LIMIT)
