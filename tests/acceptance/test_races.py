"""Two processes that act on the same job at once: one does it, the other is told, and no write is lost."""

import os
from pathlib import Path

from prefect_jobs import JobManager
from prefect_jobs.blocks import CondorScheduler
from prefect_jobs.jobs.polling import poll_once
from tests.acceptance.conftest import ShellJob
from tests.support import eventually, race

LIMIT = 60
PRELUDE = """
from prefect_jobs import App, PrefectJobsError
class A(App):
    name = package = "test_app"
job = A.get_job_manager().get_job(int(os.environ["JOB"]))
"""


def test_a_job_executed_by_two_processes_at_once_is_submitted_once(shell_job: ShellJob, alice: CondorScheduler) -> None:
    job = shell_job("sleep 1")
    job.save()
    script = PRELUDE + "go()\ntry:\n    job.execute(); print('done')\nexcept PrefectJobsError as e: print(e)\n"
    said = race(script, JOB=str(job.id))
    assert sorted("done" in text for text in said) == [False, True], said
    assert any("by another process" in text or "Submitted" in text for text in said)
    assert job.wait(LIMIT) == "Complete"
    ads = alice.get_client().history(f'PrefectJobsToken == "{job.handle.record.submission_token}"', ("ClusterId",))
    assert len(ads) == 1


def test_a_job_stopped_by_two_processes_at_once_ends_aborted(shell_job: ShellJob) -> None:
    job = shell_job("sleep 600")
    job.execute()
    said = race(
        PRELUDE + "go()\ntry:\n    job.stop()\nexcept PrefectJobsError as e: print(e)\nprint(job.cached_status)\n",
        JOB=str(job.id),
    )
    assert all("Aborted" in text for text in said), said
    assert job.wait(LIMIT) == "Aborted"


def test_results_are_processed_once_by_whoever_notices(shell_job: ShellJob, tmp_path: Path) -> None:
    # given a results function that leaves a line, and a job whose work is over
    module = tmp_path / "noting.py"
    module.write_text("import os\ndef note(job):\n    open(os.environ['NOTES'], 'a').write(f'{job.id}\\n')\n")
    notes = tmp_path / "notes"
    job = shell_job("exit 0")
    job.save()
    path = [str(tmp_path), os.environ.get("PYTHONPATH", "")]
    script = (
        PRELUDE
        + "job.process_results_function = 'noting.note'; job.save()\nif os.environ['RUNNER'] == '0': job.execute()\n"
        + "go()\njob.wait(60); print(job.cached_status)\n"
    )
    # when several processes wait for it
    said = race(script, runners=3, JOB=str(job.id), NOTES=str(notes), PYTHONPATH=os.pathsep.join(filter(None, path)))
    # then it was called once, and all of them see the end
    assert [text.strip() for text in said] == ["Complete"] * 3
    assert notes.read_text() == f"{job.id}\n"


def test_what_two_processes_save_at_once_is_all_kept(manager: JobManager) -> None:
    job = manager.create_job("shared", "alice", job_type="BASIC", extended_properties={"runs": {}})
    job.save()
    script = (
        PRELUDE
        + "go()\nme = os.environ['RUNNER']\njob.extended_properties['by' + me] = True\n"
        + "if me == '0': job.description = 'new'\njob.save()\n"
    )
    race(script, JOB=str(job.id))
    fresh = manager.get_job(job.id or 0)
    assert fresh is not None
    assert fresh.extended_properties == {"runs": {}, "by0": True, "by1": True}
    assert fresh.description == "new"


def test_a_stale_save_does_not_undo_what_another_did(manager: JobManager) -> None:
    # given two objects of one job
    job = manager.create_job("old name", "alice", job_type="BASIC")
    job.execute()
    other = manager.get_job(job.id or 0)
    assert other is not None
    # when one stops it and the other, which does not know, is saved
    job.stop()
    other.name = "new name"
    other.save()
    # then both hold
    assert other.cached_status == "Aborted" and other.name == "new name"
    eventually(lambda: poll_once(job) and job.name == "new name", "the first one sees it", LIMIT)
