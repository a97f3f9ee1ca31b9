"""What may be done with a job when, and what it is then: the rules, with fake schedulers."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dask.delayed import delayed

from prefect_jobs import (
    App,
    CondorJob,
    CondorWorkflow,
    CondorWorkflowJobNode,
    DaskJob,
    Job,
    JobManager,
    JobStateError,
    SchedulerConnectionError,
    SubmissionError,
    clock,
)
from prefect_jobs.jobs import polling, steering
from prefect_jobs.jobs.observation import Submitted
from prefect_jobs.jobs.possible import possible
from prefect_jobs.records import Change
from prefect_jobs.testing import FakeSchedulers, fake_schedulers

#: What was given to results functions.
SEEN: list[Any] = []


class Rules(App):
    """An app."""

    name = "Rules"
    package = "rules"


@pytest.fixture
def schedulers() -> Iterator[FakeSchedulers]:
    """What the tests tell."""
    SEEN.clear()
    with fake_schedulers() as made:
        yield made


@pytest.fixture
def manager(schedulers: FakeSchedulers) -> JobManager:
    """The jobs of the app."""
    return Rules.get_job_manager()


def condor(manager: JobManager, **more: Any) -> CondorJob:
    attributes = {"executable": "/bin/true", "transfer_executable": False}
    job = manager.create_job("a job", "alice", job_type="CONDOR", attributes=attributes, **more)
    assert isinstance(job, CondorJob)
    return job


def in_status(status: str, manager: JobManager, schedulers: FakeSchedulers) -> Job:
    """A job that has got there by itself."""
    job = condor(manager, num_jobs=2)
    if status == "Pending":
        job.save()
        return job
    job.execute()
    if status == "Various-Complete":
        schedulers.finish(job, process=0)
    steps: dict[str, Callable[[], None]] = {
        "Running": lambda: schedulers.run(job),
        "Various": lambda: schedulers.run(job, process=0),
        "Held": lambda: schedulers.hold(job, "no such file"),
        "Paused": job.pause,
        "Complete": lambda: schedulers.finish(job),
        "Error": lambda: schedulers.fail(job),
        "Aborted": job.stop,
        "Various-Complete": lambda: schedulers.fail(job),
    }
    if status in steps:
        steps[status]()
    assert job.status == status
    return job


POSSIBLE = {
    "Pending": {"execute", "stop"},
    "Submitted": {"stop", "pause"},
    "Running": {"stop", "pause"},
    "Various": {"stop", "pause"},
    "Held": {"stop", "resume"},
    "Paused": {"stop", "resume"},
    "Complete": {"resubmit"},
    "Various-Complete": {"resubmit"},
    "Error": {"resubmit"},
    "Aborted": {"resubmit"},
}


@pytest.mark.parametrize("action", ["execute", "stop", "pause", "resume", "resubmit"])
@pytest.mark.parametrize("status", POSSIBLE)
def test_what_is_possible_and_what_is_not(
    status: str, action: str, manager: JobManager, schedulers: FakeSchedulers
) -> None:
    job = in_status(status, manager, schedulers)
    before = list(schedulers.submissions)
    # the table for buttons agrees
    assert (possible(action, job.handle.record, job.abilities) is None) == (action in POSSIBLE[status])

    if action in POSSIBLE[status]:
        getattr(job, action)()
        expected = {"execute": "Submitted", "resubmit": "Submitted", "stop": "Aborted", "pause": "Paused"}
        assert job.cached_status == expected.get(action, "Submitted")
    else:
        with pytest.raises(JobStateError, match="'a job'"):
            getattr(job, action)()
        assert (job.cached_status, schedulers.submissions) == (status, before)


@pytest.mark.parametrize("action", ["execute", "stop"])
def test_a_job_that_another_process_submits_is_left_to_it(action: str, manager: JobManager) -> None:
    job = condor(manager)
    job.save()
    job.handle.update(lambda _: Change({"submission_token": "theirs", "submitting_since": clock.now()}))
    refusal = possible(action, job.handle.record, job.abilities)
    assert refusal is not None and "is being submitted by another process" in refusal.reason
    with pytest.raises(JobStateError, match="is being submitted by another process"):
        getattr(job, action)()


def test_the_table_for_buttons_knows_of_held_nodes(manager: JobManager, schedulers: FakeSchedulers) -> None:
    job = manager.create_job("a job", "alice", job_type="CONDORWORKFLOW")
    assert isinstance(job, CondorWorkflow)
    for name in "ab":
        CondorWorkflowJobNode(name, job, attributes={"executable": "/bin/true"}).save()
    job.execute()
    schedulers.run(job)
    schedulers.hold(job, "no such file", node="a")
    assert job.status == "Various"
    assert possible("resume", job.handle.record, job.abilities) is None
    job.resume()
    assert job.node_statuses["a"] != "Held"


def test_a_job_that_ran_out_of_time_is_error_if_another_process_sees_its_end(
    manager: JobManager, schedulers: FakeSchedulers, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = in_status("Running", manager, schedulers)
    stop = schedulers.stop

    def seen_by_another(engine: Any) -> None:
        stop(engine)
        (other,) = manager.list_jobs()
        polling.poll(other)
        assert other.cached_status == "Error"

    monkeypatch.setattr(schedulers, "stop", seen_by_another)
    steering.time_out(job, 2.5)

    assert job.cached_status == "Error"
    assert job.status_message == "Timed out: it was not over 2.5 s after its submission, and was stopped."
    monkeypatch.undo()
    job.resubmit()
    job.stop()
    assert job.cached_status == "Aborted"


@pytest.mark.parametrize("status", POSSIBLE)
def test_a_job_in_any_status_can_be_deleted(status: str, manager: JobManager, schedulers: FakeSchedulers) -> None:
    job = in_status(status, manager, schedulers)
    number = job.id
    assert number is not None

    job.delete()

    assert manager.get_job(number) is None and job.id is None


def test_a_deleted_job_keeps_its_files_unless_they_go_too(manager: JobManager, schedulers: FakeSchedulers) -> None:
    kept, gone = condor(manager), condor(manager)
    for job in (kept, gone):
        job.execute()
        schedulers.finish(job, outputs={"map.csv": "1"})
        job.update_status()
    folders = [Path(kept.initial_dir), Path(gone.initial_dir)]
    gone.clean_on_delete = True

    kept.delete()
    gone.delete()

    assert [folder.exists() for folder in folders] == [True, False]


def test_an_active_job_is_not_deleted_while_its_scheduler_is_away(
    manager: JobManager, schedulers: FakeSchedulers
) -> None:
    job = condor(manager)
    job.execute()

    with schedulers.away(), pytest.raises(SchedulerConnectionError):
        job.delete()

    assert job.id is not None and manager.get_job(job.id) is not None


def seen(what: Any) -> None:
    SEEN.append(what)


def test_results_are_processed_once_whoever_notices_the_end(manager: JobManager, schedulers: FakeSchedulers) -> None:
    job = condor(manager, process_results_function=seen)
    job.execute()
    others = [manager.get_job(job.id or 0) for _ in range(3)]
    schedulers.finish(job)

    for one in (job, *others):
        assert one is not None and one.status == "Complete"
        one.process_results()

    assert [found.id for found in SEEN] == [job.id]


def fails(_: Any) -> None:
    raise ValueError("cannot draw the map")


def test_a_results_function_that_raises_makes_an_error_and_keeps_outputs(
    manager: JobManager, schedulers: FakeSchedulers
) -> None:
    job = condor(manager, process_results_function=fails)
    job.execute()
    schedulers.finish(job, outputs={"map.csv": "1"})

    assert job.status == "Error"
    assert "cannot draw the map" in job.status_message and "Traceback" in job.status_message
    assert (Path(job.initial_dir) / "map.csv").exists()


def test_results_are_not_processed_before_the_end(manager: JobManager, schedulers: FakeSchedulers) -> None:
    job = condor(manager)
    job.execute()

    with pytest.raises(JobStateError, match="no results before its work is over"):
        job.process_results()


def test_what_is_found_of_an_earlier_submission_is_dropped(manager: JobManager, schedulers: FakeSchedulers) -> None:
    job = condor(manager)
    job.execute()
    late = manager.get_job(job.id or 0)
    schedulers.fail(job)
    assert job.status == "Error"
    job.resubmit()

    assert late is not None and late.status == "Submitted"
    schedulers.finish(job)
    assert (late.status, job.status) == ("Complete", "Complete")


def test_what_one_object_sets_survives_what_another_does(manager: JobManager, schedulers: FakeSchedulers) -> None:
    job = condor(manager, extended_properties={"basin": "Elbe"})
    job.execute()
    other = manager.get_job(job.id or 0)
    assert other is not None
    other.extended_properties["year"] = 2026
    other.save()
    schedulers.finish(job)

    assert job.status == "Complete"
    job.description = "with rain"
    job.save()

    read = manager.get_job(job.id or 0)
    assert read is not None and read.description == "with rain" and read.status == "Complete"
    assert read.extended_properties == {"basin": "Elbe", "year": 2026}


def test_a_wait_that_takes_too_long_says_what_the_job_is(manager: JobManager, schedulers: FakeSchedulers) -> None:
    job = condor(manager)
    job.execute()
    schedulers.hold(job, "no such file")

    with pytest.raises(TimeoutError, match=r"still 'Held': Held by HTCondor \(code 13\): no such file"):
        job.wait(0.01)


def test_a_custom_status_stays_until_there_is_news(manager: JobManager, schedulers: FakeSchedulers) -> None:
    job = condor(manager)
    job.execute()
    Job.add_custom_active_status("Calibrating")
    job.status = "Calibrating"

    assert job.status == "Calibrating" and job.status_code == "OTH"
    schedulers.run(job)
    assert job.status == "Running"


def number() -> int:
    return 7


def test_a_dask_result_that_is_forgotten_goes_to_its_function_alone(
    manager: JobManager, schedulers: FakeSchedulers
) -> None:
    job = manager.create_job("a job", "alice", job_type="DASK", forget=True, process_results_function=seen)
    assert isinstance(job, DaskJob)
    job.execute(delayed(number)())
    schedulers.finish(job)

    assert job.status == "Complete" and SEEN == [7]
    with pytest.raises(Exception, match="not kept"):
        _ = job.result


def test_a_job_of_which_nothing_ever_ran_is_executed_again(manager: JobManager, schedulers: FakeSchedulers) -> None:
    job = condor(manager)
    for _ in range(3):
        with schedulers.refusing("the queue is full"), pytest.raises(SubmissionError):
            job.execute()

    job.execute()

    assert job.status == "Submitted"


def test_a_resubmission_that_is_refused_is_none_that_execute_may_repeat(
    manager: JobManager, schedulers: FakeSchedulers
) -> None:
    job = condor(manager)
    job.execute()
    schedulers.finish(job)
    assert job.status == "Complete"
    for _ in range(2):
        with schedulers.refusing("the queue is full"), pytest.raises(SubmissionError):
            job.resubmit()

    with pytest.raises(JobStateError, match=r"is over: it is 'Error'\. Call resubmit\(\)"):
        job.execute()
    job.resubmit()
    assert job.status == "Submitted"


def test_the_longest_name_with_an_id_in_it(manager: JobManager, schedulers: FakeSchedulers) -> None:
    job = manager.create_job("{id}" + "x" * 1020, "alice", job_type="BASIC")
    job.save()
    # as it is stored where the id has ten digits
    job.handle.backend.jobs.update(job.handle.record.id, lambda _: Change({"name": "1234567890" + "x" * 1020}))
    read = manager.get_job(job.id or 0)
    assert read is not None

    read.description = "changed"
    read.save()
    read.execute()

    assert read.status == "Submitted"
    read.name = "y" * 1025
    with pytest.raises(ValueError, match="1025 characters"):
        read.save()


def test_extended_properties_that_are_none_are_a_clear_error(manager: JobManager) -> None:
    job = condor(manager, extended_properties={"a": 1})
    job.execute()
    job.extended_properties = None  # type: ignore[assignment]

    assert job.status == "Submitted"
    with pytest.raises(ValueError, match="extended_properties must be a dict"):
        job.save()


class Lost(Job):
    """A type that looks for its interrupted submission."""

    def _find_submission(self) -> Submitted:
        self.extended_properties["found"] = True
        return Submitted("7")


def test_what_the_hook_sets_that_finds_a_submission_is_saved(manager: JobManager) -> None:
    job = manager.create_job("lost", "alice", job_type=Lost)
    job.save()
    job.handle.update(lambda _: Change({"submission_token": "t"}))

    job.execute()

    read = manager.get_job(job.id or 0)
    assert read is not None and read.extended_properties == {"found": True} and read.remote_id == "7"
