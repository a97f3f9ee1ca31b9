"""The way to an access point: what is said when it is not open, what becomes of helpers, and where a token never is."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from traceback import format_exception

import psutil
import pytest

from prefect_jobs.errors import PrefectJobsError, SchedulerConnectionError
from prefect_jobs.local.condor_pool import PersonalPool
from prefect_jobs.schedulers.condor.client import Access, CondorClient, CondorError
from tests.integration.condor import HELD, access_to, folder_of, helpers, submit
from tests.support import eventually

SHORT = 3.0
#: What a program of a user's does; it tells its helper's pid and then waits to be killed.
PROGRAM = """
import sys, time
import psutil
from prefect_jobs.schedulers.condor.client import Access, CondorClient
client = CondorClient(Access(host=sys.argv[1], port=int(sys.argv[2]), token=sys.stdin.readline().strip()))
client.query("false")
print(psutil.Process().children()[0].pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def alice(condor_pool: PersonalPool) -> Iterator[CondorClient]:
    client = CondorClient(access_to(condor_pool, "alice"), timeout=10)
    yield client
    client.close()


@contextmanager
def reached(access: Access, timeout: float = SHORT) -> Iterator[CondorClient]:
    client = CondorClient(access, timeout)
    try:
        yield client
    finally:
        client.close()


@contextmanager
def mute_port() -> Iterator[int]:
    """A port that takes connections and never says anything."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield int(listener.getsockname()[1])


@contextmanager
def closed_port() -> Iterator[int]:
    """A port that nobody listens on."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield int(holder.getsockname()[1])


def everything(client: CondorClient) -> list[Callable[[], object]]:
    """All that needs the access point."""
    return [
        lambda: client.query("true"),
        lambda: client.history("true", match=1),
        lambda: client.act("Hold", "false", "x"),
        lambda: client.submit("executable = /bin/sh\n", 1, spool=True),
        lambda: client.retrieve("false"),
        client.check,
    ]


def the_helper(started: set[psutil.Process]) -> psutil.Process:
    (found,) = helpers() - started
    return found


def assert_untold(error: BaseException, token: str) -> None:
    """Neither a token nor a part of one is in an error, nor in any that it comes from."""
    told = f"{error!r}\n{''.join(format_exception(error))}"
    for part in (token, *token.split(".")):
        assert part not in told


# -- not let in --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["no token at all", "forged", "of another pool"])
def test_a_wrong_token_is_no_connection(condor_pool: PersonalPool, kind: str) -> None:
    head, body, _ = condor_pool.token("alice").split(".")
    token = {
        "no token at all": "nonsense",
        "forged": f"{head}.{body}.c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2U",
        "of another pool": f"{head}.eyJpc3MiOiJlbHNld2hlcmUiLCJzdWIiOiJhbGljZUBlbHNld2hlcmUifQ.c2VjcmV0",
    }[kind]
    with reached(access_to(condor_pool, "alice", token=token)) as client:
        for use in everything(client):
            with pytest.raises(SchedulerConnectionError, match="does not let us in.*token") as caught:
                use()
            assert_untold(caught.value, token)
            assert isinstance(caught.value, PrefectJobsError)


def test_nothing_listening_is_no_connection(condor_pool: PersonalPool) -> None:
    with closed_port() as port:
        access = access_to(condor_pool, "alice", port=port)
        with reached(access) as client:
            for use in everything(client):
                with pytest.raises(SchedulerConnectionError, match=f"127.0.0.1:{port}: nothing answers") as caught:
                    use()
                assert_untold(caught.value, str(access.token))


def test_a_host_that_does_not_exist_is_no_connection(condor_pool: PersonalPool) -> None:
    with (
        reached(access_to(condor_pool, "alice", host="nowhere.invalid"), timeout=20) as client,
        pytest.raises(SchedulerConnectionError, match=r"nowhere\.invalid"),
    ):
        client.query("true")


def test_a_port_that_never_answers_is_no_connection_in_time(condor_pool: PersonalPool) -> None:
    with mute_port() as port:
        access = access_to(condor_pool, "alice", port=port)
        with reached(access) as client:
            for use in everything(client)[:4]:
                began = time.monotonic()
                with pytest.raises(
                    SchedulerConnectionError, match=r"did not answer within \d s|nothing answers"
                ) as caught:
                    use()
                # A helper's start on a busy machine is not part of the access point's time.
                assert time.monotonic() - began < SHORT + 10
                assert_untold(caught.value, str(access.token))


def test_a_schedd_that_is_not_there_is_named_with_those_that_are(condor_pool: PersonalPool) -> None:
    with (
        reached(access_to(condor_pool, "alice", schedd_name="another")) as client,
        pytest.raises(SchedulerConnectionError, match="no schedd is named 'another'; there are: "),
    ):
        client.query("true")


def test_a_schedd_is_found_by_its_name_and_by_the_pool(condor_pool: PersonalPool) -> None:
    info = condor_pool.up()
    with reached(access_to(condor_pool, "alice")) as client:
        name = client.check()["schedd"]
        machine = client.check()["machine"]
    for more in ({"schedd_name": name}, {"pool": f"{info.host}:{info.port}", "host": machine, "port": None}):
        with reached(access_to(condor_pool, "alice", **more)) as client:
            assert client.check()["schedd"] == name


def test_an_access_point_by_ssh_is_refused_with_what_to_do() -> None:
    with reached(Access(host="access.example.org", username="alice", password="s3cr3t")) as client:
        for use in everything(client):
            with pytest.raises(SchedulerConnectionError, match="by token only") as caught:
                use()
            assert_untold(caught.value, "s3cr3t")
    assert not helpers()


def test_the_machines_own_htcondor_that_is_not_there_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "condor_config").write_text("SEC_CLIENT_AUTHENTICATION_METHODS = IDTOKENS\n")
    monkeypatch.setenv("CONDOR_CONFIG", str(tmp_path / "condor_config"))
    with reached(Access()) as client, pytest.raises(SchedulerConnectionError, match="prefect-jobs condor env"):
        client.query("true")


def test_an_access_point_that_comes_back_is_found_again(condor_pool: PersonalPool) -> None:
    info = condor_pool.up()
    with closed_port() as port:
        access = access_to(condor_pool, "alice", port=port)
        with reached(access) as client, pytest.raises(SchedulerConnectionError):
            client.query("true")
    # Given: what was away listens again, at the same address.
    with forwarder(port, info.port), reached(access, timeout=10) as client:
        assert client.query("false") == []


@contextmanager
def forwarder(port: int, target: int) -> Iterator[None]:
    """Passes connections on from one port to another."""
    script = f"""
import asyncio
async def pipe(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
async def serve(reader, writer):
    other_reader, other_writer = await asyncio.open_connection("127.0.0.1", {target})
    await asyncio.gather(pipe(reader, other_writer), pipe(other_reader, writer))
async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", {port}, reuse_address=True)
    print("ready", flush=True)
    await server.serve_forever()
asyncio.run(main())
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield
    finally:
        process.kill()
        process.communicate()


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
    helper.suspend()
    with ThreadPoolExecutor(1) as pool:
        question = pool.submit(alice.query, f'PrefectJobsToken == "{"x" * size}"')
        eventually(lambda: question.running() and threads_waiting(), "the question is under way")

        # When: the helper is killed.
        helper.kill()

        # Then: that question fails at once, and the next one is answered.
        with pytest.raises(CondorError, match="helper process .* ended") as caught:
            question.result(10)
    assert_untold(caught.value, str(alice.access.token))
    assert alice.query("false") == []


def threads_waiting() -> bool:
    """Whether a thread of this process waits in poll(2), as whoever asks a helper does."""
    waits = [path.read_text() for path in Path("/proc/self/task").glob("*/wchan")]
    return any("poll" in wait for wait in waits) or not any(wait.strip("0") for wait in waits)


def test_a_helper_that_hangs_is_given_up_in_time_and_replaced(condor_pool: PersonalPool) -> None:
    with reached(access_to(condor_pool, "alice"), timeout=2) as client:
        started = helpers()
        client.query("false")
        for size in (10, 2_000_000):
            helper = the_helper(started)
            helper.suspend()
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
    transfer.suspend()
    with ThreadPoolExecutor(1) as pool:
        submission = pool.submit(alice.submit, "executable = /bin/sh\n", 1, spool=False)
        eventually(lambda: submission.running() and threads_waiting(), "it is under way")
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
    transfer.suspend()
    with ThreadPoolExecutor(1) as pool:
        transfer_going_on = pool.submit(alice.retrieve, "false")

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


def test_a_program_that_is_killed_leaves_no_process_and_no_token_behind(condor_pool: PersonalPool) -> None:
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
        helper = psutil.Process(int(program.stdout.readline()))
        folder = folder_of(helper)
        assert (folder / "tokens.d").exists()
    finally:
        program.kill()
        program.communicate()

    eventually(lambda: not helper.is_running(), "its helper has ended", timeout=20)
    assert not folder.exists()


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
