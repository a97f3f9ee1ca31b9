"""Bad input and faults of a CONDOR job: a clear error, and nothing lost."""

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from prefect_jobs import JobManager, SchedulerConnectionError, SubmissionError, create_condor_scheduler
from prefect_jobs.blocks import CondorScheduler
from prefect_jobs.jobs.polling import poll_once
from prefect_jobs.local.condor_pool import PersonalPool
from prefect_jobs.records import Change
from prefect_jobs.runtime.wiring import Runtime, get_runtime
from tests.acceptance.conftest import PrefectView, ShellJob
from tests.support import eventually

LIMIT = 60


@pytest.mark.parametrize(
    ("attributes", "files", "message"),
    [
        ({"executable": None}, (), "no executable"),
        ({"executable": "/nowhere/program", "transfer_executable": True}, (), "/nowhere/program.*does not exist"),
        ({"executable": "/bin", "transfer_executable": True}, (), "is a directory"),
        ({}, ("/nowhere/data.txt",), "/nowhere/data.txt.*does not exist"),
        ({"transfer_input_files": "/bin/sh/"}, (), "not a directory"),
        ({"reqest_memory": "1GB"}, (), "reqest_memory.*request_memory"),
        ({"request_memry": 1024}, (), "request_memry.*request_memory"),
        ({"requirements": "((("}, (), "Parse error"),
        ({"universe": "parallelogram"}, (), "parallelogram"),
        ({"output": "../../outside.txt"}, (), "leads out of"),
        ({"transfer_output_remaps": {"a": "../a"}}, (), "leads out of"),
        ({"transfer_output_files": "two words.txt"}, (), "space or a comma"),
    ],
)
def test_what_cannot_be_submitted_is_an_error_that_says_why(
    shell_job: ShellJob,
    prefect_view: PrefectView,
    attributes: dict[str, Any],
    files: tuple[str, ...],
    message: str,
) -> None:
    job = shell_job("true", attributes=attributes, remote_input_files=files)
    with pytest.raises(SubmissionError, match=f"(?s){message}") as caught:
        job.execute()
    assert caught.value.__cause__ is not None
    assert job.cached_status == "Error" and job.cluster_id is None
    assert prefect_view.state(job)[0] == "FAILED"
    assert prefect_view.state(job)[2] == job.status_message


def test_a_refused_job_can_be_mended_and_executed(shell_job: ShellJob) -> None:
    job = shell_job("exit 0", attributes={"reqest_memory": "1GB"})
    with pytest.raises(SubmissionError):
        job.execute()
    job.set_attribute("reqest_memory", None)
    job.execute()
    assert job.wait(LIMIT) == "Complete"


def test_any_name_stays_inside_the_workspace(shell_job: ShellJob, tmp_path: Path, subtests: pytest.Subtests) -> None:
    workspace = tmp_path / "my work,space"
    (tmp_path / "in put").mkdir()
    (tmp_path / "in put" / "data.txt").write_text("x")
    jobs = [
        shell_job(
            "cat data.txt > 'out put é.txt'",
            name=name,
            workspace=workspace,
            remote_input_files=[tmp_path / "in put" / "data.txt"],
        )
        for name in ('it\'s "quoted"', "../../up", "two\nlines", "ünïcödé 作业", " spaces ", "-rf", "$(Cluster)")
    ]
    for job in jobs:
        job.execute()
    for job in jobs:
        with subtests.test(job.name):
            assert job.wait(LIMIT) == "Complete", job.status_message
            assert Path(job.initial_dir).resolve().parent == workspace.resolve()
            assert (Path(job.initial_dir) / "out put é.txt").read_text() == "x"


def test_an_unreachable_scheduler_submits_nothing_and_the_job_can_be_executed_again(
    manager: JobManager, alice: CondorScheduler, prefect_view: PrefectView, unused_port: int
) -> None:
    # given a scheduler where nothing listens
    block = create_condor_scheduler("moving", "127.0.0.1", port=unused_port, token="x")
    block.save(overwrite=True)
    job = manager.create_job(
        "later",
        "alice",
        job_type="CONDOR",
        scheduler=block,
        attributes={"executable": "/bin/true", "transfer_executable": False},
    )
    # when it is executed
    with pytest.raises(SubmissionError, match="nothing answers") as caught:
        job.execute()
    # then it waits
    assert isinstance(caught.value.__cause__, SchedulerConnectionError)
    assert job.cached_status == "Pending" and "nothing answers" in job.status_message
    assert prefect_view.state(job)[:2] == ("PENDING", "Pending")
    with pytest.raises(SubmissionError, match="nothing answers"):
        job.execute()
    # and when the block says the right place, it runs
    block.port, block.token = alice.port, alice.token
    block.save(overwrite=True)
    get_runtime().prefect.lookup._blocks.clear()  # as after the half minute for which blocks are kept
    job.execute()
    assert job.wait(LIMIT) == "Complete"


def test_a_refused_token_is_told_and_never_shown(
    manager: JobManager, alice: CondorScheduler, caplog: pytest.LogCaptureFixture
) -> None:
    token = alice.token.get_secret_value()[:-8] + "AAAAAAAA" if alice.token else ""
    block = create_condor_scheduler("stranger", "127.0.0.1", port=alice.port, token=token)
    block.save(overwrite=True)
    job = manager.create_job(
        "no entry", "alice", job_type="CONDOR", scheduler=block, attributes={"executable": "/bin/true"}
    )
    with pytest.raises(SubmissionError, match="does not let us in") as caught:
        job.execute()
    assert job.cached_status == "Pending"
    assert token not in f"{caught.value!r}{caught.value.__cause__!r}{job.status_message}{caplog.text}{block!r}"
    with pytest.raises(SchedulerConnectionError, match="does not let us in"):
        block.check()


def test_a_port_that_never_answers_is_no_hang(silent_port: int) -> None:
    block = create_condor_scheduler("silent", "127.0.0.1", port=silent_port, token="x")
    client = block.get_client()
    client.timeout = 2.0
    with pytest.raises(SchedulerConnectionError, match=r"did not answer within [12] s"):
        block.check()


def test_a_scheduler_that_goes_away_leaves_the_status_and_says_since_when(
    shell_job: ShellJob, alice: CondorScheduler, unused_port: int, runtime: Runtime
) -> None:
    job = shell_job("exit 0")
    job.execute()
    # given that nobody answers from now on
    away = alice.model_copy(update={"port": unused_port})
    runtime.prefect.lookup._blocks["pool-of-alice"] = (float("inf"), away)
    poll_once(job)
    poll_once(job)
    assert job.cached_status == "Submitted"
    assert "No answer from the scheduler since" in job.status_message
    # when it is back
    runtime.prefect.lookup._blocks.clear()
    assert job.wait(LIMIT) == "Complete"
    assert "No answer" not in job.status_message


def test_held_by_the_system_says_why_and_goes_on_after_release(shell_job: ShellJob, prefect_view: PrefectView) -> None:
    job = shell_job(
        "exit 0",
        attributes={
            "on_exit_hold": "NumJobStarts < 2",
            "on_exit_hold_reason": '"too hungry"',
        },
    )
    job.execute()
    eventually(lambda: poll_once(job) or job.cached_status == "Held", "the job is held", LIMIT)
    assert "too hungry" in job.status_message and "(code 3)" in job.status_message
    assert "periodic_hold" in job.status_message  # what to do
    assert job.extended_properties["__other_status__"] == "Held"
    assert prefect_view.state(job)[:2] == ("PAUSED", "Held")
    job.resume()
    assert job.wait(LIMIT) == "Complete"
    assert "__other_status__" not in job.extended_properties


def test_an_output_that_was_not_written_is_held_with_advice_and_can_be_stopped(
    shell_job: ShellJob, prefect_view: PrefectView
) -> None:
    job = shell_job("exit 0", attributes={"transfer_output_files": "never-written.txt"})
    job.execute()
    eventually(lambda: poll_once(job) or job.cached_status == "Held", "the job is held", LIMIT)
    assert "never-written.txt" in job.status_message
    job.stop()
    assert job.cached_status == "Aborted"
    assert prefect_view.state(job)[0] == "CANCELLED"


def test_held_for_too_long_is_given_up(shell_job: ShellJob, runtime: Runtime, alice: CondorScheduler) -> None:
    runtime.settings.held_timeout = 0.5
    job = shell_job("exit 0", attributes={"transfer_output_files": "never-written.txt"})
    job.execute()
    assert job.wait(LIMIT) == "Error"
    assert "held for longer than 0.5 s" in job.status_message and "never-written.txt" in job.status_message
    eventually(lambda: not alice.get_client().query(f"ClusterId == {job.cluster_id}"), "it is removed", LIMIT)


def test_removed_behind_our_back_is_aborted(
    shell_job: ShellJob, condor_pool: PersonalPool, prefect_view: PrefectView
) -> None:
    job = shell_job("sleep 600")
    job.execute()
    as_alice = {"_CONDOR_SEC_TOKEN_DIRECTORY": str(condor_pool.export_token("alice"))}
    command = [f"{condor_pool.layout.bin}/condor_rm", str(job.cluster_id)]
    subprocess.run(command, env={**condor_pool.env(), **as_alice}, check=True, capture_output=True)
    assert job.wait(LIMIT) == "Aborted"
    assert prefect_view.state(job)[0] == "CANCELLED"


def test_outputs_wait_at_the_access_point_while_the_workspace_is_full(
    shell_job: ShellJob, prefect_view: PrefectView, small_disk: Path
) -> None:
    # given a workspace with too little room for what the job writes
    job = shell_job("head -c 400000 /dev/zero > big.bin", workspace=small_disk)
    (small_disk / "filler").write_bytes(b"x" * 900_000)
    job.execute()
    eventually(lambda: poll_once(job) or "could not be fetched" in job.status_message, "the disk is full", LIMIT)
    # then it stays Results-Ready, says so, and nothing half-written is in its directory
    assert job.cached_status == "Results-Ready"
    assert prefect_view.state(job)[:2] == ("RUNNING", "Results-Ready")
    assert not (Path(job.initial_dir) / "big.bin").exists()
    # and when there is room
    (small_disk / "filler").unlink()
    assert job.wait(LIMIT) == "Complete"
    assert (Path(job.initial_dir) / "big.bin").stat().st_size == 400_000


def test_a_crash_between_submission_and_commit_is_adopted_not_doubled(
    shell_job: ShellJob, runtime: Runtime, alice: CondorScheduler
) -> None:
    # given a job that HTCondor has, and a database that does not know it
    job = shell_job("exit 0")
    job.execute()
    eventually(lambda: poll_once(job) or job.statuses["Unexpanded"] == 0, "the inputs have arrived", LIMIT)
    cluster = job.cluster_id
    assert job.id is not None

    def forget(_: Any) -> Change:
        state = job.handle.record.state.__class__(attempt=job.handle.record.state.attempt)
        return Change({"remote_id": None, "native": {}, "state": state, "submitting_since": None})

    runtime.store.update(job.id, forget)
    # when it is executed again
    job.execute()
    # then it is the same one
    assert job.cluster_id == cluster and "Found again" in job.status_message
    assert job.wait(LIMIT) == "Complete"
    token = job.handle.record.submission_token
    ads = alice.get_client().history(f'PrefectJobsToken == "{token}"', ("ClusterId",))
    assert [ad["ClusterId"] for ad in ads] == [cluster]


@pytest.mark.parametrize("removed", [False, True])
def test_a_half_sent_submission_is_replaced(
    shell_job: ShellJob, runtime: Runtime, alice: CondorScheduler, removed: bool
) -> None:
    # given a process that dies between submit and the sending of the inputs
    job = shell_job("exit 0")
    job.save()
    assert job.id is not None
    token = f"half-sent-token-{removed}"
    runtime.store.update(job.id, lambda _: Change({"submission_token": token}))
    script = (
        "import sys; from prefect_jobs.schedulers.condor.helper import Session\n"
        "session = Session({'collector': sys.argv[1]})\n"
        "session._connected().submit(session._condor.Submit(sys.argv[2]), spool=True)\n"
    )
    text = (
        "executable = /bin/true\ntransfer_executable = False\nshould_transfer_files = YES\n"
        f'My.PrefectJobsToken = "{token}"\n'
    )
    folder = Path(job.handle.backend.site.default_workspace("x", "y")).parent
    folder.mkdir(parents=True, exist_ok=True)
    tokens = folder / "tokens"
    tokens.mkdir(mode=0o700)
    (tokens / "alice").write_text(alice.token.get_secret_value() + "\n" if alice.token else "")
    (tokens / "alice").chmod(0o600)
    config = folder / "condor_config"
    config.write_text(f"SEC_TOKEN_DIRECTORY = {tokens}\nSEC_CLIENT_AUTHENTICATION_METHODS = IDTOKENS\n")
    subprocess.run(
        [sys.executable, "-c", script, f"127.0.0.1:{alice.port}", text],
        env={"CONDOR_CONFIG": str(config), "PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(sys.path)},
        check=True,
        cwd=folder,
    )
    queue = alice.get_client()
    assert len(queue.query(f'PrefectJobsToken == "{token}"')) == 1
    if removed:  # as its helper does, when it sees that who asked has ended
        queue.act("Remove", f'PrefectJobsToken == "{token}"', "half-sent")
        eventually(lambda: queue.history(f'PrefectJobsToken == "{token}"'), "it is in the history", LIMIT)
    # when the job is executed again
    job.execute()
    # then the half-sent one goes and the job runs once
    assert job.wait(LIMIT) == "Complete"
    eventually(lambda: not queue.query(f'PrefectJobsToken == "{token}"'), "the half-sent one is gone", LIMIT)


def test_a_cluster_that_vanished_is_an_error_that_says_so(
    shell_job: ShellJob, runtime: Runtime, prefect_view: PrefectView, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datetime import timedelta

    from prefect_jobs.jobs.condor import limits

    monkeypatch.setattr(limits, "MISSING_TIME", timedelta(seconds=1))
    job = shell_job("sleep 600")
    job.execute()
    cluster = job.cluster_id
    assert job.id is not None
    # given that the schedd knows no cluster of that number
    runtime.store.update(job.id, lambda _: Change({"remote_id": "999999"}))
    poll_once(job)
    assert job.cached_status == "Submitted"  # not found once is not failed
    assert job.wait(LIMIT) == "Error"
    assert "999999" in job.status_message and "resubmit" in job.status_message
    assert prefect_view.state(job)[:2] == ("CRASHED", "Crashed")
    job.engine.client().act("Remove", f"ClusterId == {cluster}", "test is over")


@pytest.fixture
def unused_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that accepts and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(16)
        yield int(server.getsockname()[1])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = shutil.which("mount")
    done = mount and subprocess.run([mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True)
    if not done or done.returncode:
        pytest.skip("only root can mount a small file system")
    yield folder
    subprocess.run(["umount", folder], check=True)
