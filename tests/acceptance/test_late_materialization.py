"""Jobs whose processes HTCondor makes a few at a time: late materialization."""

from pathlib import Path

import pytest

from prefect_jobs import CondorJob, JobManager, SubmissionError
from prefect_jobs.blocks import CondorScheduler
from prefect_jobs.local.condor_pool import PersonalPool
from tests.acceptance.test_adoption import folder, owner, submit
from tests.support import eventually

__all__ = ["folder", "owner"]

LATE = "max_materialize = 2\n"


def made(job: CondorJob) -> int:
    """The number of processes that the access point has made."""
    ads = job.scheduler.get_client().query(f"ClusterId == {job.cluster_id}", ("ProcId",))
    return len(ads)


def create(manager: JobManager, scheduler: CondorScheduler, folder: Path, line: str) -> CondorJob:
    """A job of five processes from a submit file."""
    text = (
        f"universe = local\nexecutable = /bin/sh\narguments = \"-c '{line}'\"\n{LATE}should_transfer_files = NO\n"
        "queue name in (a, b, c, d, e)\n"
    )
    (folder / "late.sub").write_text(text)
    job = manager.create_job(
        "late", "alice", job_type="CONDOR", scheduler=scheduler, submit_file=folder / "late.sub", workspace=folder
    )
    assert isinstance(job, CondorJob)
    directory = job.engine.make_directory()
    (directory / "logs").mkdir()
    for each in (directory, directory / "logs"):
        each.chmod(0o777)  # the pool's user writes there, as on a shared file system
    return job


def test_processes_that_are_made_late_run_to_their_end(
    manager: JobManager, owner: CondorScheduler, folder: Path
) -> None:
    # given
    job = create(manager, owner, folder, f"until [ -e {folder}/go ]; do sleep 0.1; done; exit $(Process)")
    # when
    job.execute()
    # then
    eventually(lambda: job.status == "Various" and job.statuses["Running"] == 2, "two run")
    assert made(job) == 2
    assert (job.statuses["Running"], job.statuses["Idle"]) == (2, 3)
    # when
    job.pause()
    # then
    assert job.cached_status == "Paused", job.status_message
    # when
    (folder / "go").touch()
    job.resume()
    job.wait(60)
    # then
    assert job.cached_status == "Various-Complete", job.status_message
    assert job.exit_codes == {0: 0, 1: 1, 2: 2, 3: 3, 4: 4}


def test_stop_makes_no_more_processes(manager: JobManager, owner: CondorScheduler, folder: Path) -> None:
    # given
    job = create(manager, owner, folder, "sleep 600")
    job.execute()
    eventually(lambda: made(job) == 2, "two are made")
    # when
    job.stop()
    # then, once the schedd has removed what makes them
    eventually(lambda: job.status == "Aborted", "it is over")
    assert job.statuses["Removed"] == 5
    assert made(job) == 0


def test_one_that_is_taken_over(
    manager: JobManager, owner: CondorScheduler, condor_pool: PersonalPool, folder: Path
) -> None:
    # given
    cluster = submit(condor_pool, folder, f"until [ -e {folder}/go ]; do sleep 0.1; done", 4, LATE)
    # when
    job = manager.adopt_job("late", "bob", owner, cluster)
    assert isinstance(job, CondorJob)
    # then
    eventually(lambda: job.status == "Various", "two run")
    assert job.statuses["Idle"] == 2
    # when
    (folder / "go").touch()
    job.wait(60)
    # then
    assert job.cached_status == "Complete" and job.statuses["Completed"] == 4


def test_not_where_files_are_sent(manager: JobManager, alice: CondorScheduler) -> None:
    job = manager.create_job(
        "late",
        "alice",
        job_type="CONDOR",
        scheduler=alice,
        attributes={"executable": "/bin/true", "transfer_executable": False, "max_materialize": 2},
        num_jobs=3,
    )
    assert isinstance(job, CondorJob)
    # when, then
    with pytest.raises(SubmissionError, match=r"has not made yet\. Set should_transfer_files = NO"):
        job.execute()
    # when
    job.set_attribute("max_materialize", None)
    job.set_attribute("max_idle", 1)
    job.execute()
    job.wait(60)
    # then
    assert job.cached_status == "Complete"
