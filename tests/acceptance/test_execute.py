"""execute(): what may be executed, and what is told of what may not."""

from typing import Any, ClassVar

import pytest

from prefect_jobs import Job, JobManager, JobStateError, SubmissionError
from prefect_jobs.jobs import registry
from tests.acceptance.conftest import ShellJob


class Refusing(Job):
    """Refuses what it is told to refuse."""

    refuses: ClassVar[bool] = True

    def _execute(self, *args: Any, **kwargs: Any) -> None:
        if self.refuses:
            raise ValueError("no such model")


@pytest.fixture
def refusing(manager: JobManager, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.setitem(registry._registered, "REFUSING", Refusing)
    return manager.create_job("x", "alice", job_type="REFUSING")


@pytest.mark.parametrize("end", ["Complete", "Error", "Various-Complete", "Aborted", "done by hand"])
def test_a_job_that_is_over_is_not_executed_again(manager: JobManager, end: str) -> None:
    Job.add_custom_terminal_status("done by hand")
    job = manager.create_job("x", "alice", job_type="BASIC")
    job.execute()
    job.status = end
    with pytest.raises(JobStateError, match=r"is over.*resubmit\(\)"):
        job.execute()
    problems: list[Any] = []
    manager.execute_jobs([job], progress=lambda _, problem: problems.append(problem))
    assert [type(problem) for problem in problems] == [JobStateError]
    assert job.cached_status == end and job._record.state.attempt == 1
    job.resubmit()
    assert job.cached_status == "Submitted" and job._record.state.attempt == 2


def test_many_that_are_over(manager: JobManager, shell_job: ShellJob) -> None:
    # (Condor jobs are submitted together)
    done = shell_job("exit 0")
    done.execute()
    assert done.wait(60) == "Complete"
    cluster, fresh = done.cluster_id, shell_job("exit 0")
    manager.execute_jobs([done, fresh])
    assert (done.cached_status, done.cluster_id) == ("Complete", cluster)
    assert fresh.cluster_id is not None
    fresh.stop()


def test_a_job_of_which_nothing_ever_ran_may_be_executed(
    manager: JobManager, refusing: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SubmissionError, match="no such model"):
        refusing.execute()
    assert refusing.cached_status == "Error"
    monkeypatch.setattr(Refusing, "refuses", False)
    refusing.execute()
    assert refusing.cached_status == "Submitted"
    never = manager.create_job("never submitted", "alice", job_type="BASIC")
    never.save()
    never.stop()
    never.execute()
    assert never.cached_status == "Submitted"


def test_a_job_that_another_process_ran_meanwhile_is_not_run_twice(manager: JobManager) -> None:
    # given two objects of a job that was not submitted yet, of which one runs it between the other's look and intent
    mine = manager.create_job("x", "alice", job_type="BASIC")
    mine.save()
    other = manager.get_job(mine.id or 0)
    assert other is not None

    def prepare() -> None:
        other.execute()
        other.status = "Complete"

    mine._prepare = prepare  # type: ignore[method-assign]
    with pytest.raises(JobStateError, match="another process"):
        mine.execute()
    assert other._backend.get(mine._record.id).state.attempt == 1  # type: ignore[union-attr]
