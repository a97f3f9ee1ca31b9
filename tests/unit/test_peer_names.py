"""What apps of the Tethys Platform use of a job, besides what others use."""

import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from prefect_jobs import App, CondorJob, Job, JobManager, SchedulerSettingDoesNotExist
from prefect_jobs.schedulers.condor.submit import input_files
from tests.unit.test_lifecycle import fails, manager, schedulers

__all__ = ["manager", "schedulers"]


def nothing(result: Any) -> None:
    """For a results function."""


class User:
    """A user as Django has them."""

    def __init__(self, username: str) -> None:
        self.username = username

    def __eq__(self, other: object) -> bool:
        return self is other if isinstance(other, User) else NotImplemented

    def __hash__(self) -> int:
        return 7


def test_the_user_of_a_job_is_a_text_and_equals_the_user_of_a_request(manager: JobManager) -> None:
    job = manager.create_job("a job", User("alice"), job_type="BASIC")
    assert job.user == "alice" == job.user.username and type(job.user.username) is str
    assert isinstance(job.user, str) and hash(job.user) == hash("alice") and json.dumps(job.user) == '"alice"'
    assert job.user == User("alice") and User("alice") == job.user
    assert job.user != User("bob") and User("bob") != job.user and job.user != "bob" and job.user != 5


def test_a_status_that_is_set_by_hand_has_a_message(manager: JobManager) -> None:
    job = manager.create_job("a job", "alice", job_type="BASIC")
    job.update_status("Running", message="the gauges are read")
    assert (job.cached_status, job.status_message) == ("Running", "the gauges are read")
    job.update_status("calibrating", "year 3 of 10")
    assert (job.cached_status, job.status_message) == ("calibrating", "year 3 of 10")
    job.update_status("Complete", message="all read")
    assert (job.cached_status, job.status_message) == ("Complete", "all read")
    for bad in ({"message": "no status"}, {"status": "Running", "message": 5}):
        with pytest.raises(ValueError, match="A message is a text that goes with a status"):
            job.update_status(**bad)


def test_a_message_does_not_hide_that_the_results_function_failed(manager: JobManager) -> None:
    job = manager.create_job("a job", "alice", job_type="BASIC", process_results_function=fails)
    job.update_status("Complete", message="all read")
    assert job.cached_status == "Error" and "cannot draw the map" in job.status_message


def test_values_of_forms_and_of_other_libraries_are_written_as_texts_and_numbers(manager: JobManager) -> None:
    run, day = UUID("12345678123456781234567812345678"), date(2026, 5, 1)
    job = manager.create_job(
        "a job", "alice", job_type="CONDOR", remote_input_files=["", __file__, "  "],
        attributes={
            "executable": Path("/bin/true"), "arguments": [run, Decimal("0.50"), Path("/data"), day, "", 3],
            "request_cpus": np.int64(2), "transfer_input_files": ["", __file__, " "], "priority": Decimal(5),
        },
    )  # fmt: skip
    assert isinstance(job, CondorJob)
    words = [str(run), "0.50", "/data", "2026-05-01", "", 3]  # where a position counts, a blank stays
    assert job.get_attribute("arguments") == words and job.get_attribute("executable") == "/bin/true"
    assert (job.get_attribute("request_cpus"), job.get_attribute("priority")) == (2, "5")
    assert job.remote_input_files == [__file__]
    job.set_attribute("arguments", run)
    job.remote_input_files = ["", Path(__file__)]
    assert (job.get_attribute("arguments"), job.remote_input_files) == (str(run), [__file__])
    job.execute()
    assert input_files.items(["", "a", " "]) == ["a"] == input_files.items("a, ,")


def test_the_results_function_is_read_as_a_function(manager: JobManager) -> None:
    job = manager.create_job("a job", "alice", job_type="BASIC", process_results_function=f"{__name__}.nothing")
    assert job.process_results_function is nothing
    job.process_results_function = None
    assert job.process_results_function is None


def test_the_class_has_the_codes_of_statuses() -> None:
    assert Job.REVERSE_STATUSES["Various-Complete"] == "VCP" and len(Job.REVERSE_STATUSES) == len(Job.STATUSES)
    assert Job.NON_TERMINAL_STATUS_CODES == ["PEN", "SUB", "RUN", "VAR", "PAS"]
    assert Job.TERMINAL_STATUS_CODES == ["RES", "COM", "ERR", "ABT", "VCP"]
    assert Job.OTHER_STATUS_KEY == "__other_status__"


def test_an_app_may_return_no_settings_at_all() -> None:
    class Without(App):
        name = package = "without"

        def scheduler_settings(self) -> None:
            return None

    with pytest.raises(SchedulerSettingDoesNotExist, match="It has: none"):
        Without.get_scheduler("main")
