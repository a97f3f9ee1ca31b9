"""A CONDOR job from ``create_job`` to its end, on a real pool, with its face in a real Prefect server."""

from pathlib import Path
from typing import Any

import pytest

from prefect_jobs import CondorJob, JobManager, JobStateError, SubmissionError
from prefect_jobs.blocks import CondorScheduler
from prefect_jobs.local.condor_pool import PersonalPool
from prefect_jobs.runtime.wiring import Runtime
from tests.acceptance.conftest import PrefectView, ShellJob
from tests.support import eventually

LIMIT = 60


def test_a_job_brings_its_outputs_back_and_shows_every_status(
    manager: JobManager, alice: CondorScheduler, prefect_view: PrefectView, runtime: Runtime, tmp_path: Path
) -> None:
    # given a program, a file that it needs, and a name with the id in it
    program = tmp_path / "double.sh"
    program.write_text('#!/bin/sh\necho reading "$1"\ncat "$1" "$1" > twice.txt\nsleep 5\n')
    program.chmod(0o755)
    (tmp_path / "data.txt").write_text("ä\n")
    job = manager.create_job(
        "double {id}",
        "alice",
        job_type="condorjob",
        scheduler=alice,
        attributes={"executable": "double.sh", "arguments": ["data.txt"], "transfer_input_files": ["../data.txt"]},
        remote_input_files=[program, tmp_path / "data.txt"],
    )
    assert isinstance(job, CondorJob)
    assert job.id is None and job.cached_status == "Pending"

    # when it is executed and waited for
    job.execute()
    assert job.cached_status == "Submitted" and job.cluster_id and job.execute_time is not None
    assert (job.statuses["Idle"], sum(job.statuses.values())) == (1, 1)
    assert prefect_view.state(job)[:2] == ("PENDING", "Submitted")
    assert job.wait(LIMIT) == "Complete"

    # then its outputs are here, and Prefect showed each step
    directory = Path(job.initial_dir)
    assert (directory / "twice.txt").read_text() == "ä\nä\n"
    assert job.get_logs()["output"] == "reading data.txt\n"
    assert "Job terminated" in job.get_logs()["log"]
    assert sorted(path.name for path in directory.iterdir()) == ["logs", "twice.txt"]
    assert job.start_time and job.completion_time and job.start_time <= job.completion_time
    assert job.statuses["Completed"] == 1 and job.exit_codes == {0: 0}
    used = job.resources
    assert used["total"] == used[0] and used[0]["memory"]["requested"] >= 1 and used[0]["disk"]["used"] >= 1
    assert 2 <= used[0]["wall_seconds"] < LIMIT and used[0]["host"]
    runtime.projector.flush(10)
    run = prefect_view.run(job)
    assert run["name"] == f"double {job.id}"
    assert set(run["tags"]) == {
        "prefect-jobs", "app:test_app", "user:alice", "type:condor", "scheduler:pool-of-alice"
    }  # fmt: skip
    assert run["labels"]["prefect-jobs.job-id"] == job.id
    assert run["labels"]["prefect-jobs.scheduler"] == "pool-of-alice"
    assert run["labels"]["prefect-jobs.cluster-id"] == job.cluster_id
    assert run["deployment_id"] is not None  # without one the UI offers neither Cancel nor Retry
    assert prefect_view.states(job)[-3:] == ["Submitted", "Running", "Completed"]
    wanted = {"artifacts": {"flow_run_id": {"any_": [job.flow_run_id]}}}
    found = eventually(lambda: prefect_view.post("/artifacts/filter", wanted), "what the job did is shown")
    assert [each["description"] for each in found] == ["The job"] and "| Exit code | `0` |" in found[0]["data"]
    logs = "\n".join(prefect_view.logs(job))
    assert f"Submitted as cluster {job.cluster_id}" in logs
    assert "Executing on" in logs and "Exit code 0" in logs and "reading data.txt" in logs


@pytest.mark.parametrize(
    ("line", "attributes", "status", "message"),
    [
        ("echo kept > kept.txt; exit 3", {}, "Error", "Exit code 3"),
        ("echo kept > kept.txt; kill -9 $$", {}, "Error", "signal 9"),
        ("echo kept > kept.txt; exit 3", {"success_exit_code": 3}, "Complete", "Exit code 3"),
    ],
)
def test_the_exit_code_decides_and_outputs_come_back_all_the_same(
    shell_job: ShellJob, prefect_view: PrefectView, line: str, attributes: dict[str, int], status: str, message: str
) -> None:
    job = shell_job(line, attributes=attributes)
    job.execute()
    assert job.wait(LIMIT) == status
    assert message in job.status_message
    assert (Path(job.initial_dir) / "kept.txt").read_text() == "kept\n"
    assert prefect_view.state(job)[0] == ("COMPLETED" if status == "Complete" else "FAILED")
    assert message in prefect_view.state(job)[2]


def test_processes_that_write_the_same_name_lose_nothing(shell_job: ShellJob) -> None:
    job = shell_job("echo part $0 > part.txt; echo own > own-$0.txt", num_jobs=3)
    job.execute()
    assert job.wait(LIMIT) == "Complete"
    directory = Path(job.initial_dir)
    assert [(directory / f"part.txt.{proc}").read_text() for proc in range(3)] == [
        f"part {proc}\n" for proc in range(3)
    ]
    assert {"own-0.txt", "own-1.txt", "own-2.txt"} <= {path.name for path in directory.iterdir()}
    assert set(job.get_logs()) == {"Process 0", "Process 1", "Process 2"}


def test_each_item_is_a_process(
    shell_job: ShellJob, manager: JobManager, prefect_view: PrefectView, tmp_path: Path
) -> None:
    # given a file for each of some years, and values with what is special in submit files, also at the ends of lines
    places = ["#the river", "Grüße, 100 % #1; a=b|c & $HOME\\x", ") ends\\", ""]
    years = range(2020, 2024)
    for year in years:
        (tmp_path / f"rain.{year}.txt").write_text(f"rain of {year}\n")
    job = shell_job(
        "",
        items=[{"place": place, "year": year, "same": place} for year, place in zip(years, places, strict=True)],
        attributes={
            "arguments": ["-c", 'cat "rain.$0.txt"; echo "$PLACE" > place.txt; test $0 != 2021', "$(year)"],
            "environment": {"PLACE": "$(place)"},
            "transfer_output_remaps": {"place.txt": "place.$(year).txt"},
            "transfer_input_files": [f"{tmp_path}/rain.$(year).txt"],
            "output": "logs/$(year).txt",
        },
    )
    assert job.num_jobs == 4
    # when
    job.execute()
    assert job.wait(LIMIT) == "Various-Complete"
    # then each has its own values
    directory = Path(job.initial_dir)
    assert [(directory / f"place.{year}.txt").read_text() for year in years] == [f"{place}\n" for place in places]
    assert [job.get_logs()[f"Process {proc}"]["output"] for proc in range(4)] == [f"rain of {year}\n" for year in years]
    assert job.exit_codes == {0: 0, 1: 1, 2: 0, 3: 0}
    eventually(lambda: "Process 1 (place=Grüße" in "\n".join(prefect_view.logs(job)), "its item is shown")
    found = manager.get_job(job.id or 0)
    assert isinstance(found, CondorJob) and found.items[1] == {"place": places[1], "year": "2021", "same": places[1]}
    with pytest.raises(JobStateError, match="was submitted with its items"):
        found.items = [{"year": 1}]
    with pytest.raises(SubmissionError, match="queue=5 is not possible"):
        shell_job("true", items=[{"x": 1}]).execute(queue=5)
    with pytest.raises(ValueError, match=r"2 items.*num_jobs is 3"):
        shell_job("true", items=[{"x": 1}, {"x": 2}], num_jobs=3)


def test_processes_that_end_differently_are_various_complete(shell_job: ShellJob, prefect_view: PrefectView) -> None:
    job = shell_job("exit $0", num_jobs=3)
    job.execute()
    assert job.wait(LIMIT) == "Various-Complete"
    assert job.exit_codes == {0: 0, 1: 1, 2: 2}
    assert prefect_view.state(job)[:2] == ("FAILED", "Various-Complete")


def test_a_run_is_counted_once_whatever_its_states(shell_job: ShellJob, prefect_view: PrefectView) -> None:
    # given a cluster of which some run and some are over
    job = shell_job("test $0 = 0 || sleep 600", num_jobs=2)
    job.execute()
    eventually(lambda: _polled(job) == "Running", "it runs", LIMIT)
    eventually(lambda: _polled(job) == "Various", "one of two is over", LIMIT)
    # then it has run once
    assert {"Running", "Various"} <= set(prefect_view.states(job))
    assert prefect_view.run(job)["run_count"] == 1
    # and so it has when it is over
    job.stop()
    assert prefect_view.run(job)["run_count"] == 1


@pytest.mark.parametrize(
    "more",
    [
        {"attributes": {"stream_output": True, "stream_error": True}},
        {
            "attributes": {"stream_output": "true", "stream_error": True, "transfer_output_files": "kept.txt"},
            "num_jobs": 2,
        },
        {"attributes": {"stream_output": True, "stream_error": True, "output": "out/put.txt", "error": "errors.txt"}},
    ],
)
def test_streamed_output_is_read_while_the_job_runs(
    shell_job: ShellJob, condor_pool: PersonalPool, tmp_path: Path, more: dict[str, Any]
) -> None:
    # given a job that writes, and goes on until it is told to end
    end = condor_pool.layout.directory.parent / f"end-{tmp_path.name}"  # where the job may look, too
    line = f"echo begun; echo trouble >&2; while ! test -e {end}; do sleep 0.1; done; echo kept > kept.txt; echo over"
    job = shell_job(line, **more)
    job.execute()
    # then its output is there while it runs
    count = more.get("num_jobs", 1)

    def logs() -> list[dict[str, str]]:
        found = job.get_logs()
        return [found] if count == 1 else list(found.values())

    eventually(lambda: all(log["output"] == "begun\n" for log in logs()), "all have begun", LIMIT, interval=0.5)
    assert [log["error"] for log in logs()] == ["trouble\n"] * count
    assert _polled(job) == "Running", job.status_message
    # and where it belongs at the end
    end.touch()
    assert job.wait(LIMIT) == "Complete"
    assert [(log["output"], log["error"]) for log in logs()] == [("begun\nover\n", "trouble\n")] * count
    directory = Path(job.initial_dir)
    output = more["attributes"].get("output")
    assert output is None or (directory / output).read_text() == "begun\nover\n"
    names = {path.name for path in directory.iterdir()}
    kept = {"kept.txt"} if count == 1 else {"kept.txt.0", "kept.txt.1"}
    assert names == {"logs", *kept} | ({"out", "errors.txt"} if output else set())


def test_stop_removes_the_work_from_the_pool(
    shell_job: ShellJob, alice: CondorScheduler, prefect_view: PrefectView
) -> None:
    job = shell_job("sleep 600")
    job.execute()
    eventually(lambda: job.handle.backend.jobs.get(job.id or 0) and _polled(job) == "Running", "the job runs", LIMIT)
    job.stop()
    assert job.cached_status == "Aborted"
    assert prefect_view.state(job)[:2] == ("CANCELLED", "Cancelled")
    queue = alice.get_client()
    eventually(lambda: not queue.query(f"ClusterId == {job.cluster_id}"), "the queue is empty", LIMIT)
    with pytest.raises(JobStateError, match="Aborted"):
        job.stop()


def test_stop_keeps_what_was_complete(shell_job: ShellJob, prefect_view: PrefectView) -> None:
    job = shell_job("echo $0 > done-$0.txt; test $0 = 0 || sleep 600", num_jobs=2)
    job.execute()
    eventually(lambda: _polled(job) and job.statuses["Completed"] == 1, "one of two is complete", LIMIT)
    assert job.cached_status == "Various"
    job.stop()
    assert job.wait(LIMIT) == "Various-Complete"
    assert (Path(job.initial_dir) / "done-0.txt").exists()
    assert prefect_view.state(job)[1] == "Various-Complete"


def test_pause_and_resume(shell_job: ShellJob, prefect_view: PrefectView) -> None:
    job = shell_job("sleep 2")
    job.execute()
    job.pause()
    assert job.cached_status == "Paused"
    assert prefect_view.state(job)[:2] == ("PAUSED", "Paused")
    with pytest.raises(JobStateError, match="Paused"):
        job.pause()
    with pytest.raises(JobStateError, match=str(job.cluster_id)):
        job.execute()
    job.resume()
    assert job.cached_status in ("Submitted", "Running")
    assert job.wait(LIMIT) == "Complete"
    assert prefect_view.state(job)[0] == "COMPLETED"


def test_resubmit_runs_the_job_again_under_the_same_face(shell_job: ShellJob, prefect_view: PrefectView) -> None:
    job = shell_job("exit 1")
    job.execute()
    assert job.wait(LIMIT) == "Error"
    first, run = job.cluster_id, job.flow_run_id
    job.set_attribute("arguments", ["-c", "echo better > better.txt"])
    job.resubmit()
    assert job.cluster_id != first and job.completion_time is None
    assert job.wait(LIMIT) == "Complete"
    assert (Path(job.initial_dir) / "better.txt").exists()
    assert job.flow_run_id == run
    assert prefect_view.state(job)[0] == "COMPLETED"


def test_delete_takes_everything_of_the_job_and_nothing_else(
    shell_job: ShellJob, alice: CondorScheduler, manager: JobManager, prefect_view: PrefectView, tmp_path: Path
) -> None:
    workspace = tmp_path / "shared"
    workspace.mkdir()
    (workspace / "mine.txt").write_text("not the job's")
    job = shell_job("sleep 600", workspace=workspace)
    job.execute()
    cluster, run, directory, job_id = job.cluster_id, str(job.flow_run_id), Path(job.initial_dir), job.id
    assert directory.is_dir() and prefect_view.exists(run)
    job.clean_on_delete = True
    job.delete()
    assert not directory.exists() and (workspace / "mine.txt").exists()
    assert manager.get_job(job_id or 0) is None
    queue = alice.get_client()
    eventually(lambda: not queue.query(f"ClusterId == {cluster}"), "the queue is empty", LIMIT)
    eventually(lambda: not prefect_view.exists(run), "the flow run is gone", LIMIT)


def test_two_identities_in_one_process_own_their_jobs(
    manager: JobManager, alice: CondorScheduler, bob: CondorScheduler
) -> None:
    owners = {}
    for who, block in (("alice", alice), ("bob", bob)):
        job = manager.create_job(
            f"of {who}",
            who,
            job_type="CONDOR",
            scheduler=block,
            attributes={"executable": "/bin/true", "transfer_executable": False, "request_cpus": 1000},
        )
        job.execute()
        assert isinstance(job, CondorJob)
        ads = alice.get_client().query(f"ClusterId == {job.cluster_id}", ("Owner", "ClusterId"))
        owners[who] = ads[0]["Owner"]
        job.delete()
    assert owners == {"alice": "alice", "bob": "bob"}


def test_another_process_sees_the_same_job(shell_job: ShellJob, manager: JobManager) -> None:
    job = shell_job("exit 0", extended_properties={"model": {"name": "ä"}})
    job.execute()
    other = manager.get_job(str(job.id))
    assert isinstance(other, CondorJob) and other is not job
    assert other.wait(LIMIT) == "Complete"
    assert other.attributes == job.attributes and other.extended_properties == {"model": {"name": "ä"}}
    job.update_status()
    assert job.cached_status == "Complete"


@pytest.mark.parametrize("template", [None, "vanilla_nfs"])
def test_without_a_scheduler_this_machines_htcondor_is_used(
    manager: JobManager, condor_pool: PersonalPool, monkeypatch: pytest.MonkeyPatch, template: str | None
) -> None:
    # given HTCondor configured on this machine, and a workspace that its jobs may write to without transfers
    monkeypatch.setenv("CONDOR_CONFIG", condor_pool.env()["CONDOR_CONFIG"])
    workspace = condor_pool.layout.directory.parent / f"workspace-{template}"
    workspace.mkdir(mode=0o777)
    job = manager.create_job(
        "here",
        "alice",
        job_type="CONDOR",
        condorpy_template_name=template,
        workspace=workspace,
        attributes={"executable": "/bin/sh", "transfer_executable": False, "arguments": ["-c", "echo $USER > out.txt"]},
    )
    assert isinstance(job, CondorJob)
    job.save()
    directory = job.engine.make_directory()
    (directory / "logs").mkdir()
    for folder in (workspace, directory, directory / "logs"):
        folder.chmod(0o777)
    # when it runs
    job.execute()
    # then its outputs are in its directory all the same
    assert job.wait(LIMIT) == "Complete", job.status_message
    assert (directory / "out.txt").exists() and "Job terminated" in job.get_logs()["log"]


def _polled(job: CondorJob) -> str:
    """The status, asked for now."""
    from prefect_jobs.jobs.polling import poll_once

    poll_once(job)
    return job.cached_status
