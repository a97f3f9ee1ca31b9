"""Hooks of custom job types: what they set is saved, what they leave out is no obstacle."""

from typing import Any, ClassVar

import pytest
from dask.delayed import delayed

from prefect_jobs import Job, JobManager, SubmissionError
from prefect_jobs.jobs import registry
from prefect_jobs.monitor import Monitor
from tests.acceptance.conftest import DaskJobs
from tests.acceptance.test_monitor import becomes, known, running
from tests.support import eventually


class Noting(Job):
    """Notes in its properties which hooks were called."""

    fails: ClassVar[bool] = False

    def _note_call(self, hook: str) -> None:
        self.extended_properties.setdefault("calls", []).append(hook)

    def _execute(self, *args: Any, **kwargs: Any) -> None:
        self._note_call("execute")
        self.description = "described by a hook"
        if self.fails:
            raise ValueError("no such model")

    async def _resubmit(self) -> None:
        self._note_call("resubmit")

    def _update_status(self) -> str | None:
        self.extended_properties["polls"] = self.extended_properties.get("polls", 0) + 1
        return "Results-Ready" if self.extended_properties.get("ready") else None

    def _process_results(self) -> None:
        self._note_call("results")

    def _get_logs(self) -> dict[str, Any]:
        self._note_call("logs")
        return {}

    def pause(self) -> None:
        self._note_call("pause")

    def resume(self) -> None:
        self._note_call("resume")


@pytest.fixture
def job(manager: JobManager, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.setitem(registry._registered, "NOTING", Noting)
    monkeypatch.setattr(Noting, "update_status_interval", Noting.update_status_interval * 0)
    return manager.create_job("x", "alice", job_type="NOTING", extended_properties={"mine": 1})


def properties(job: Job) -> Any:
    """As another process finds them."""
    return known(job).extended_properties


def test_what_hooks_set_is_saved_with_their_outcome(job: Job, manager: JobManager) -> None:
    job.execute()
    assert properties(job) == {"mine": 1, "calls": ["execute"]}
    assert known(job).description == "described by a hook"
    # given what others, and the user, set meanwhile
    other = manager.get_job(job.id or 0)
    assert other is not None
    other.extended_properties["theirs"] = 2
    other.save()
    job.extended_properties["unsaved"] = True
    # when
    job.update_status()
    # then it is saved beside theirs; what the user has not saved is not
    assert properties(job) == {"mine": 1, "theirs": 2, "calls": ["execute"], "polls": 1}
    job.pause()
    job.resume()
    job.get_logs()
    assert properties(job)["calls"] == ["execute", "pause", "resume", "logs"]
    job.extended_properties["ready"] = True
    job.save()
    assert properties(job)["theirs"] == 2 and properties(job)["unsaved"]
    job.update_status()
    assert job.cached_status == "Complete" and properties(job)["calls"][-1] == "results"
    job.resubmit()
    assert properties(job)["calls"][-1] == "resubmit"


def test_what_a_hook_set_that_failed_is_saved(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Noting, "fails", True)
    with pytest.raises(SubmissionError):
        job.execute()
    assert properties(job)["calls"] == ["execute"] and known(job).state.status == "Error"


def test_what_cannot_be_stored_keeps_no_outcome(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Noting, "_note_call", lambda self, hook: self.extended_properties.update(bad=object()))
    job.execute()
    assert job.cached_status == "Submitted" and properties(job) == {"mine": 1}


def test_the_monitor_saves_it_too(job: Job) -> None:
    job.execute()
    with running(Monitor()):
        eventually(lambda: properties(job).get("polls", 0) > 1, "what the polls note is saved")
        job.extended_properties["ready"] = True
        job.save()
        becomes(job, "Complete")
    assert properties(job)["calls"] == ["execute", "results"]


def test_a_type_that_cannot_be_stopped_is_deleted_all_the_same(job: Job, manager: JobManager) -> None:
    job.execute()
    with pytest.raises(NotImplementedError, match="cannot be stopped"):
        job.stop()
    assert job.cached_status == "Submitted"
    job.delete()
    assert manager.list_jobs() == []


def test_a_dask_job_is_neither_paused_nor_resumed(dask_job: DaskJobs) -> None:
    job = dask_job()
    job.execute(delayed(pow)(2, 3))
    for steer in (job.pause, job.resume):
        with pytest.raises(NotImplementedError, match="cannot be paused"):
            steer()
    assert job.wait(60) == "Complete"
