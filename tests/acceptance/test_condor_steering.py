"""Steering at awkward moments: parts that are over, outputs that went, schedulers that are gone."""

from pathlib import Path

import pytest

from prefect_jobs import JobManager, JobStateError
from prefect_jobs.blocks import CondorScheduler
from prefect_jobs.jobs.polling import poll_once
from prefect_jobs.local.processes import free_port
from prefect_jobs.records import Change
from prefect_jobs.runtime.wiring import Runtime
from tests.acceptance.conftest import PrefectView, ShellJob
from tests.support import eventually

LIMIT = 60


def test_a_job_of_which_a_part_is_over_is_paused_and_resumed(shell_job: ShellJob, prefect_view: PrefectView) -> None:
    job = shell_job("test $0 = 0 || sleep 5", num_jobs=2)
    job.execute()
    eventually(lambda: poll_once(job) or job.statuses["Completed"] == 1, "one part is over", LIMIT)
    if job.cached_status == "Various":
        job.pause()
        assert job.cached_status == "Paused"
        assert prefect_view.state(job)[:2] == ("PAUSED", "Paused")
        job.resume()
    assert job.wait(LIMIT) == "Complete"


def test_outputs_that_went_before_they_were_fetched_are_said_to_be_lost(
    shell_job: ShellJob, alice: CondorScheduler
) -> None:
    job = shell_job("echo result > result.txt")
    job.execute()
    queue, ours = alice.get_client(), f"ClusterId == {job.cluster_id}"
    eventually(lambda: queue.query(f"{ours} && JobStatus == 4"), "the work is over", LIMIT)
    queue.act("Remove", ours, "by somebody else")
    assert job.wait(LIMIT) == "Complete"
    assert "outputs are lost" in job.status_message
    assert not (Path(job.initial_dir) / "result.txt").exists()


def test_a_job_whose_scheduler_is_gone_can_be_deleted(
    shell_job: ShellJob, alice: CondorScheduler, manager: JobManager, runtime: Runtime
) -> None:
    # given a job that failed, something of it left at a scheduler that does not exist any more
    job = shell_job("exit 1")
    job.execute()
    assert job.wait(LIMIT) == "Error"
    assert job.id is not None
    runtime.store.update(job.id, lambda fresh: Change({"native": {**fresh.native, "in_queue": True}}))
    runtime.prefect.lookup._blocks["pool-of-alice"] = (float("inf"), alice.model_copy(update={"port": free_port()}))
    job.delete()
    assert manager.get_job(job.id or 0) is None


def test_a_job_at_work_is_not_submitted_again_whatever_its_status_is_called(shell_job: ShellJob) -> None:
    job = shell_job("sleep 600")
    job.execute()
    job.status = "Having lunch"
    with pytest.raises(JobStateError, match=str(job.cluster_id)):
        job.execute()
    job.stop()
    assert job.cached_status == "Aborted"


def test_a_look_while_inputs_are_being_sent_leaves_the_submission_alone(
    shell_job: ShellJob, manager: JobManager, runtime: Runtime, alice: CondorScheduler
) -> None:
    # given a job that another process is submitting just now
    from prefect_jobs import clock

    job = shell_job("exit 0")
    job.save()
    assert job.id is not None
    runtime.store.update(job.id, lambda _: Change({"submission_token": "on-its-way", "submitting_since": clock.now()}))
    other = manager.get_job(job.id)
    assert other is not None
    # when somebody else looks, stops, deletes or executes it
    assert not poll_once(other)
    for action in (other.execute, other.stop, other.delete):
        with pytest.raises(JobStateError, match="being submitted by another process"):
            action()
    # then nothing of it was touched
    fresh = runtime.store.get(job.id)
    assert fresh is not None and fresh.submission_token == "on-its-way" and fresh.state.status == "Pending"


def test_a_block_never_repeats_its_secrets_in_an_error() -> None:
    with pytest.raises(ValueError, match="exclude") as caught:
        CondorScheduler(host="h", username="u", token="s3cret")  # type: ignore[arg-type]
    assert "s3cret" not in f"{caught.value}{caught.value!r}"
