"""Hooks of job types of one's own: what they return, what they may call, and what the core makes of it."""

import uuid
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from dask.delayed import delayed

from prefect_jobs import (
    App,
    CondorJob,
    DaskJob,
    Job,
    JobManager,
    JobStateError,
    Observation,
    Submitted,
    register_job_type,
)
from prefect_jobs.jobs import polling
from prefect_jobs.jobs.condor.engine import CondorEngine
from prefect_jobs.jobs.engine import Engine
from prefect_jobs.jobs.summary import details
from prefect_jobs.testing import FakeSchedulers, fake_schedulers

QUICK = {"executable": "/bin/true", "transfer_executable": False}


class Types(App):
    """An app with job types of its own."""

    name = "Types"
    package = "types_of_mine"


@pytest.fixture
def schedulers() -> Iterator[FakeSchedulers]:
    with fake_schedulers() as made:
        yield made


@pytest.fixture
def manager(schedulers: FakeSchedulers) -> JobManager:
    return Types.get_job_manager()


def created(manager: JobManager, cls: type[Job], **more: Any) -> Any:
    """A new job of a type."""
    name = f"TYPE{uuid.uuid4().hex[:8].upper()}"
    register_job_type(name, cls)
    return manager.create_job("x", "alice", job_type=name, **more)


# -- results ------------------------------------------------------------------------------------------------

given: list[Any] = []


def take(result: Any) -> None:
    given.append(result)


class Scaled(DaskJob):
    """Changes the result."""

    def _process_results(self) -> Any:
        result = super()._process_results()
        self.extended_properties["before"] = result
        return result * 2


class Talkative(CondorJob):
    """Reads its logs when it is over."""

    def _process_results(self) -> Any:
        super()._process_results()
        self.extended_properties["logs"] = sorted(self.get_logs())


def test_the_built_in_hook_returns_the_result(manager: JobManager, schedulers: FakeSchedulers) -> None:
    given.clear()
    job = created(manager, Scaled, process_results_function=take)
    job.execute(delayed(int)("21"))
    schedulers.finish(job)
    job.update_status()
    assert (job.cached_status, job.status_message) == ("Complete", "")
    assert given == [42]
    assert job.extended_properties == {"before": 21}


def test_a_hook_may_call_others(manager: JobManager, schedulers: FakeSchedulers) -> None:
    job = created(manager, Talkative, attributes=QUICK)
    job.execute()
    schedulers.finish(job, stderr="a line of the program\n")
    job.update_status()
    assert job.cached_status == "Complete"
    assert job.extended_properties["logs"]
    assert any("a line of the program" in line.text for line in job.handle.backend.jobs.messages(job.id))


# -- stop, pause, resume ------------------------------------------------------------------------------------


class Ended(CondorJob):
    """Is ended by other means."""

    def stop(self) -> None:
        assert self.status == "Running"


class Pausable(DaskJob):
    """Can do what its engine cannot."""

    def pause(self) -> str:
        self.extended_properties["paused"] = self.extended_properties.get("paused", 0) + 1
        return "Paused"

    def resume(self) -> str:
        return "Running"


class Audited(Job):
    """Thinks that there is something to call above it."""

    def _execute(self) -> None: ...

    def pause(self) -> Any:
        return super().pause()

    def stop(self) -> Any:
        return super().stop()


def test_a_poll_within_stop_is_not_its_answer(manager: JobManager, schedulers: FakeSchedulers) -> None:
    job = created(manager, Ended, attributes=QUICK)
    job.execute()
    schedulers.run(job)
    job.stop()
    assert job.cached_status == "Aborted"


def test_a_type_may_do_what_its_engine_cannot(manager: JobManager, schedulers: FakeSchedulers) -> None:
    job = created(manager, Pausable)
    job.execute(delayed(int)("3"))
    schedulers.run(job)
    job.update_status()
    job.pause()
    assert job.cached_status == "Paused"
    assert job.extended_properties == {"paused": 1}
    job.resume()
    assert job.cached_status == "Running"


@pytest.mark.parametrize("action", ["pause", "stop"])
def test_what_nothing_does_is_not_done(manager: JobManager, action: str) -> None:
    job = created(manager, Audited)
    job.execute()
    job.update_status("Running")
    with pytest.raises(NotImplementedError, match=f"cannot be {action}"):
        getattr(job, action)()
    assert job.cached_status == "Running"


# -- submission ---------------------------------------------------------------------------------------------


class Older(Job):
    """Notes its id as types did before they returned it."""

    def _execute(self) -> None:
        self._submitted = {"remote_id": "4711", "message": "queued"}

    def _update_status(self) -> None: ...


class OneByOne(Engine):
    """Overrides the one method."""

    def submit(self, *args: Any, **kwargs: Any) -> Submitted:
        if self.handle.name == "bad":
            raise ValueError("It is bad.")
        return Submitted(f"id of {self.handle.record.id}")


class Small(Job):
    """A type with an engine of its own."""

    engine_type: ClassVar[type[Engine]] = OneByOne


def test_a_type_that_notes_its_id_is_warned_and_keeps_it(manager: JobManager) -> None:
    job = created(manager, Older)
    with pytest.warns(DeprecationWarning, match="return prefect_jobs.Submitted"):
        job.execute()
    assert (job.cached_status, job.remote_id, job.status_message) == ("Submitted", "4711", "queued")


def test_an_engine_that_submits_one_submits_many(manager: JobManager) -> None:
    jobs = [created(manager, Small) for _ in range(3)]
    jobs[1].name = "bad"
    manager.execute_jobs(jobs)
    assert [job.cached_status for job in jobs] == ["Submitted", "Error", "Submitted"]
    assert jobs[2].remote_id == f"id of {jobs[2].id}"


# -- the rest -----------------------------------------------------------------------------------------------


class Parallel(Job):
    """Has attributes of its own."""

    nodes = 4


class OwnEngine(CondorEngine):
    """Goes to HTCondor."""


class Extended(CondorJob):
    """A type with an engine of HTCondor's."""

    engine_type: ClassVar[type[Engine]] = OwnEngine


def test_an_attribute_of_a_type_is_not_taken_for_one_of_workflows(manager: JobManager) -> None:
    job = created(manager, Parallel)
    job.save()
    assert details(job)["nodes"] is None


def test_no_real_scheduler_is_used_where_fakes_are_asked_for(manager: JobManager) -> None:
    with pytest.raises(NotImplementedError, match="no double for OwnEngine"):
        created(manager, Extended, attributes=QUICK)


def test_a_save_without_changes_reads_the_job(manager: JobManager) -> None:
    job = manager.create_job("x", "alice", job_type="BASIC")
    job.save()
    other = manager.get_job(job.id or 0)
    assert other is not None
    other.update_status("Running")
    job.save()
    assert job.cached_status == "Running"
    other.delete()
    with pytest.raises(JobStateError, match="deleted"):
        job.save()


def test_an_observation_of_an_older_version_is_dropped_though_a_hook_has_set_something(manager: JobManager) -> None:
    job = created(manager, Audited)
    job.execute()
    version = job.handle.record.version
    other = manager.get_job(job.id)
    assert other is not None
    other.description = "changed meanwhile"
    other.save()
    job.handle.run_hook(lambda: job.extended_properties.update(seen=1))
    assert not polling.observed(job, Observation("Aborted", "Stopped.", version=version))
    assert (job.cached_status, job.extended_properties) == ("Submitted", {"seen": 1})


def test_who_reads_the_result_keeps_nothing_on_the_cluster(
    manager: JobManager, schedulers: FakeSchedulers, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a job whose end another process has observed
    job = manager.create_job("x", "alice", job_type="DASK")
    assert isinstance(job, DaskJob)
    job.execute(delayed(int)("3"))
    other = manager.get_job(job.id or 0)
    assert other is not None
    schedulers.finish(other)
    other.update_status()
    dropped: list[str] = []
    monkeypatch.setattr("prefect_jobs.jobs.dask.engine.forget_submission", dropped.append)
    # when, then
    assert job.result == 3
    assert dropped == [job.handle.token]
