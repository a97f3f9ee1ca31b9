"""Job types and statuses of somebody's own."""

import pytest

from prefect_jobs import (
    Job,
    JobManager,
    JobStateError,
)
from prefect_jobs.runtime.wiring import Runtime
from tests.acceptance.coffee import RESULTS, Coffee, fail, note
from tests.acceptance.conftest import PrefectView


def test_a_type_of_ones_own_from_execute_to_its_result(manager: JobManager, prefect_view: PrefectView) -> None:
    RESULTS.clear()
    job = manager.create_job("coffee", "alice", job_type=Coffee, cups=2, process_results_function=note)
    job.execute()
    assert (job.cached_status, job.remote_id, job.type) == ("Submitted", "pot-1", "Coffee")
    with pytest.raises(JobStateError, match="pot-1"):
        job.execute()
    with pytest.raises(NotImplementedError):
        job.pause()
    assert job.wait(10) == "Complete"
    assert RESULTS == [["espresso"] * 2]
    job.process_results()
    assert len(RESULTS) == 1  # once per completion
    assert prefect_view.state(job)[0] == "COMPLETED"
    again = manager.get_job(job.id or 0)
    assert isinstance(again, Coffee) and again.spec["cups"] == 2


def test_a_results_function_that_fails_is_an_error_with_its_traceback(manager: JobManager) -> None:
    job = manager.create_job("coffee", "alice", job_type=Coffee, process_results_function=fail)
    job.execute()
    assert job.wait(10) == "Error"
    assert "no sugar" in job.status_message and "Traceback" in job.status_message


def test_an_unknown_type_can_be_listed_read_and_deleted(manager: JobManager, runtime: Runtime) -> None:
    job = manager.create_job("coffee", "alice", job_type=Coffee)
    job.save()
    from sqlalchemy import text

    with runtime.store.database.writing() as connection:
        connection.execute(text("UPDATE jobs SET type = 'TEA'"))
    (found,) = manager.list_jobs()
    assert found.type == "Coffee" and found.name == "coffee"
    for action in (found.execute, found.stop, found.resubmit):
        with pytest.raises(JobStateError, match="TEA"):
            action()
    found.delete()
    assert manager.list_jobs() == []


def test_a_custom_status_keeps_its_meaning_in_a_process_that_never_registered_it(
    manager: JobManager, prefect_view: PrefectView
) -> None:
    from prefect_jobs import statuses

    Job.add_custom_terminal_status("Rejected", state_type="FAILED")
    job = manager.create_job("x", "alice", job_type="BASIC")
    job.execute()
    job.status = "Rejected"
    assert job.status_code == "OTH" and job.extended_properties["__other_status__"] == "Rejected"
    assert prefect_view.state(job)[:2] == ("FAILED", "Rejected")
    statuses._custom.pop("Rejected")
    other = manager.get_job(job.id or 0)
    assert other is not None and other.wait(5) == "Rejected"
    other.status = "RUN"
    assert other.cached_status == "Running" and "__other_status__" not in other.extended_properties
