"""The processes that do the talking: replaced when they die, gone when they should be, and silent about tokens."""

import fcntl
import os
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from prefect_jobs.errors import SchedulerConnectionError
from prefect_jobs.local.condor_pool import PersonalPool
from prefect_jobs.local.processes import read_record
from prefect_jobs.schedulers.condor.client import CondorClient, CondorError
from prefect_jobs.schedulers.connections import connections
from tests.integration.condor import HELD, access_to, assert_untold, folder_of, helpers, reached, submit
from tests.support import eventually

#: What a program of a user's does; it tells its helper's pid and then waits to be killed.
PROGRAM = r"""
import sys, time
import psutil
from prefect_jobs.schedulers.condor.client import Access, CondorClient
client = CondorClient(Access(host=sys.argv[1], port=int(sys.argv[2]), token=sys.stdin.readline().strip()))
client.query("false")
client.transport.transfers.call("query", {"constraint": "false", "projection": ["ClusterId"]}, 10)
print(*(child.pid for child in psutil.Process().children()), flush=True)
asked = sys.stdin.readline().strip()
text = f"executable = /bin/true\ntransfer_executable = False\nMy.PrefectJobsToken = \"{asked}\"\n"
if asked:
    client.transport.transfers.call("submit", {"text": text, "count": 1, "spool": True}, 60)
else:
    client.query("false")
time.sleep(600)
"""


@pytest.fixture
def alice(condor_pool: PersonalPool) -> Iterator[CondorClient]:
    client = CondorClient(access_to(condor_pool, "alice"), timeout=10)
    yield client
    client.close()


def the_helper(started: set[psutil.Process]) -> psutil.Process:
    (found,) = helpers() - started
    return found


def the_schedds(pool: PersonalPool) -> list[psutil.Process]:
    master = read_record(pool.layout.pid)
    assert master is not None
    return [child for child in psutil.Process(master.pid).children() if child.name() == "condor_schedd"]


# -- helpers -----------------------------------------------------------------------------------------------


def test_a_helper_that_was_killed_is_replaced(alice: CondorClient, tmp_path: Path) -> None:
    started = helpers()
    job = submit(alice, tmp_path / "job", HELD)
    killed = helpers() - started
    assert killed
    folders = [folder_of(helper) for helper in killed]
    for helper in killed:
        helper.kill()
        eventually(lambda helper=helper: helper.status() == psutil.STATUS_ZOMBIE, "it is dead")  # type: ignore[misc]

    assert [ad["ClusterId"] for ad in alice.query(job.constraint)] == [job.id]
    assert submit(alice, tmp_path / "again", HELD).id > job.id

    assert not (helpers() & killed)
    assert not any(folder.exists() for folder in folders)


@pytest.mark.parametrize("size", [10, 2_000_000], ids=["small", "larger than a pipe"])
def test_a_helper_that_is_killed_in_mid_flight_costs_this_call_alone(alice: CondorClient, size: int) -> None:
    # Given: a question that is under way.
    started = helpers()
    alice.query("false")
    helper = the_helper(started)
    suspend(helper)
    with ThreadPoolExecutor(1) as pool:
        question = pool.submit(alice.query, f'PrefectJobsToken == "{"x" * size}"')
        eventually(lambda: asked(helper), "the question is under way")

        # When: the helper is killed.
        helper.kill()

        # Then: that question fails at once, and the next one is answered.
        with pytest.raises(SchedulerConnectionError, match=r"helper process .* ended") as caught:
            question.result(10)
    assert_untold(caught.value, str(alice.access.token))
    assert alice.query("false") == []


def suspend(helper: psutil.Process) -> None:
    """Stops a helper, and waits until it has stopped: before, it would still read a question."""
    helper.suspend()
    eventually(lambda: helper.status() == psutil.STATUS_STOPPED, "the helper has stopped")


def asked(helper: psutil.Process) -> bool:
    """Whether a question lies in a helper's pipe that it has not read yet."""
    with Path(f"/proc/{helper.pid}/fd/0").open("rb", buffering=0) as pipe:
        (unread,) = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4))
    return bool(unread)


def test_a_helper_that_hangs_is_given_up_in_time_and_replaced(condor_pool: PersonalPool) -> None:
    with reached(access_to(condor_pool, "alice"), timeout=2) as client:
        started = helpers()
        client.query("false")
        for size in (10, 2_000_000):
            helper = the_helper(started)
            suspend(helper)
            began = time.monotonic()

            with pytest.raises(SchedulerConnectionError, match="did not answer within 2 s"):
                client.query(f'PrefectJobsToken == "{"x" * size}"')

            assert 1 < time.monotonic() - began < 8
            assert not helper.is_running() or helper.status() == psutil.STATUS_ZOMBIE
            assert client.query("false") == []


def test_a_submission_whose_answer_was_lost_is_not_said_to_be_none(alice: CondorClient) -> None:
    started = helpers()
    alice.query("false")
    control = helpers() - started
    with pytest.raises(CondorError):
        alice.submit("universe = nonsense\n", 1, spool=False)
    transfer = the_helper(started | control)
    suspend(transfer)
    with ThreadPoolExecutor(1) as pool:
        submission = pool.submit(alice.submit, "executable = /bin/sh\n", 1, spool=False)
        eventually(lambda: asked(transfer), "it is under way")
        transfer.kill()

        with pytest.raises(CondorError) as caught:
            submission.result(10)

    assert not isinstance(caught.value, SchedulerConnectionError)


def test_a_large_transfer_holds_no_question_up(alice: CondorClient) -> None:
    started = helpers()
    alice.query("false")
    control = helpers() - started
    with pytest.raises(CondorError):
        alice.submit("universe = nonsense\n", 1, spool=False)
    transfer = the_helper(started | control)
    suspend(transfer)
    with ThreadPoolExecutor(1) as pool:
        transfer_going_on = pool.submit(alice.retrieve, "false")
        eventually(lambda: asked(transfer), "it is under way")

        assert alice.query("false") == []

        assert not transfer_going_on.done()
        transfer.resume()
        transfer_going_on.result(20)


def test_a_closed_client_leaves_no_process_and_no_folder_and_can_be_used_again(
    alice: CondorClient, tmp_path: Path
) -> None:
    started = helpers()
    submit(alice, tmp_path / "job", HELD)
    mine = helpers() - started
    folders = [folder_of(helper) for helper in mine]
    assert len(mine) == 2
    assert all(folder.exists() for folder in folders)

    alice.close()
    alice.close()

    assert helpers() == started
    assert not any(helper.is_running() for helper in mine)
    assert not any(folder.exists() for folder in folders)
    assert alice.query("false") == []


@pytest.mark.parametrize("asking", [None, "", "abandoned"], ids=["idle", "asking", "submitting"])
def test_a_program_that_is_killed_leaves_no_process_and_no_token_and_no_job_behind(
    asking: str | None, condor_pool: PersonalPool, alice: CondorClient
) -> None:
    info = condor_pool.up()
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, info.host, str(info.port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert program.stdin is not None
        assert program.stdout is not None
        program.stdin.write(f"{condor_pool.token('alice')}\n")
        program.stdin.flush()
        mine = [psutil.Process(int(pid)) for pid in program.stdout.readline().split()]
        folders = [folder_of(helper) for helper in mine]
        assert all((folder / "tokens.d").exists() for folder in folders)
        if asking is not None:
            (schedd,) = the_schedds(condor_pool)
            schedd.suspend()
            program.stdin.write(f"{asking}\n")
            program.stdin.flush()
            eventually(lambda: any(helper.net_connections("tcp") for helper in mine), "the question is under way")
    finally:
        program.kill()
        program.communicate()
        for schedd in the_schedds(condor_pool):
            schedd.resume()  # one that was not stopped is not changed by it

    eventually(lambda: not any(helper.is_running() for helper in mine), "its helpers have ended", timeout=20)
    assert not any(folder.exists() for folder in folders)
    # What was on its way in could come after others have looked for it in vain.
    assert not alice.query('PrefectJobsToken == "abandoned"', ("JobStatus",))


def test_an_interrupted_request_leaves_no_answer_for_the_next_one(
    alice: CondorClient, condor_pool: PersonalPool
) -> None:
    # given a question that is interrupted while it is under way
    alice.query("false")
    (schedd,) = the_schedds(condor_pool)

    def press(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, press)
    schedd.suspend()
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            alice.query("false")
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)
        schedd.resume()

    # when another one is asked, of another kind
    found = alice.check()

    # then its answer is its own
    assert "schedd" in found
    assert alice.query("false") == []


def test_a_forked_child_has_a_helper_of_its_own_and_leaves_its_parents_alone(condor_pool: PersonalPool) -> None:
    access = access_to(condor_pool, "alice")
    started = helpers()
    try:
        assert connections.condor(access).query("false") == []
        helper = the_helper(started)
        child = os.fork()
        if child == 0:
            try:
                connections.condor(access).query("false")
                connections.interrupt()
                os._exit(0)
            finally:
                os._exit(1)

        eventually(lambda: os.waitpid(child, os.WNOHANG) == (child, 0), "the child has asked, and ended")

        assert helper.is_running()
        assert folder_of(helper).exists()
        assert connections.condor(access).query("false") == []
        assert the_helper(started) == helper
    finally:
        connections.interrupt()


def test_ctrl_c_at_a_terminal_is_not_for_the_helper(alice: CondorClient) -> None:
    started = helpers()
    alice.query("false")

    assert os.getpgid(the_helper(started).pid) != os.getpgid(0)


def test_a_helper_that_is_asked_to_end_is_replaced(alice: CondorClient) -> None:
    started = helpers()
    alice.query("false")
    helper = the_helper(started)
    helper.send_signal(signal.SIGTERM)
    eventually(lambda: helper.status() == psutil.STATUS_ZOMBIE, "it has ended")

    assert alice.query("false") == []


# -- secrets -----------------------------------------------------------------------------------------------


def test_a_token_is_in_no_argument_no_environment_and_no_text(alice: CondorClient, tmp_path: Path) -> None:
    token = str(alice.access.token)
    started = helpers()
    submit(alice, tmp_path / "job", HELD)

    mine = helpers() - started

    assert len(mine) == 2
    for helper in mine:
        seen = b"".join(Path(f"/proc/{helper.pid}/{name}").read_bytes() for name in ("cmdline", "environ"))
        assert seen
        for part in token.split("."):
            assert part.encode() not in seen
    assert token not in f"{alice!r} {alice.access!r} {alice.access} {vars(alice)}"


def test_a_helpers_folder_is_for_nobody_else(alice: CondorClient) -> None:
    started = helpers()
    alice.query("false")
    folder = folder_of(the_helper(started))

    modes = {path.relative_to(folder): path.stat().st_mode & 0o777 for path in [folder, *folder.rglob("*")]}

    assert modes[Path()] == 0o700
    assert modes[Path("tokens.d")] == 0o700
    assert modes[Path("tokens.d/token")] == 0o600
    holding = [path for path in folder.rglob("*") if path.is_file() and str(alice.access.token) in path.read_text()]
    assert holding == [folder / "tokens.d/token"]


def test_a_clients_own_configuration_does_not_reach_a_helper_with_a_token(
    condor_pool: PersonalPool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Given: the environment names bob's tokens, and another pool.
    monkeypatch.setenv("_CONDOR_SEC_TOKEN_DIRECTORY", str(condor_pool.export_token("bob")))
    monkeypatch.setenv("_CONDOR_COLLECTOR_HOST", "nowhere.invalid:1")
    monkeypatch.setenv("CONDOR_CONFIG", str(tmp_path / "not there"))

    with reached(access_to(condor_pool, "alice"), timeout=10) as client:
        job = submit(client, tmp_path / "job", HELD)

        assert [ad["Owner"] for ad in client.query(job.constraint, ("Owner",))] == ["alice"]
        client.act("Remove", job.constraint, "over")
