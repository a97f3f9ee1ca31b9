"""The way to an access point: where it is not open, that is said in time, with what to mend."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from prefect_jobs.errors import PrefectJobsError, SchedulerConnectionError
from prefect_jobs.local.condor_pool import PersonalPool
from prefect_jobs.schedulers.condor.client import Access, CondorClient
from tests.integration.condor import access_to, assert_untold, helpers, reached, token_for_reading

SHORT = 2.0


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
            with pytest.raises(SchedulerConnectionError, match=r"does not let us in.*token") as caught:
                use()
            assert_untold(caught.value, token)
            assert isinstance(caught.value, PrefectJobsError)


@pytest.mark.parametrize("kind", ["none", "forged", "of another pool"])
def test_a_schedd_that_does_not_let_us_in_is_no_connection(
    condor_pool: PersonalPool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
) -> None:
    # Given: a schedd that is found without a token, as where everybody may ask the collector.
    head, body, _ = condor_pool.token("alice").split(".")
    token = {
        "none": "",
        "forged": f"{head}.{body}.c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2U",
        "of another pool": f"{head}.eyJpc3MiOiJlbHNld2hlcmUiLCJzdWIiOiJhbGljZUBlbHNld2hlcmUifQ.c2VjcmV0",
    }[kind]
    tokens = tmp_path / "tokens.d"
    tokens.mkdir(mode=0o700)
    if token:
        (tokens / "token").touch(0o600)
        (tokens / "token").write_text(token)
    config = condor_pool.layout.client_config.read_text()
    (tmp_path / "condor_config").write_text(f"{config}SEC_TOKEN_DIRECTORY = {tokens}\n")
    monkeypatch.setenv("CONDOR_CONFIG", str(tmp_path / "condor_config"))
    # Then: whatever is asked for, that is what is said.
    with reached(Access()) as client:
        uses: list[Callable[[], object]] = [client.dagman, partial(client.edit, "false", "X", "1")]
        for use in everything(client) + uses:
            with pytest.raises(SchedulerConnectionError, match=r"answers but does not let us in.*token") as caught:
                use()
            assert token == "" or token not in str(caught.value)


def test_a_token_that_may_only_look_is_told_so(condor_pool: PersonalPool) -> None:
    token = token_for_reading(condor_pool, "alice")
    with reached(access_to(condor_pool, "alice", token=token)) as client:
        assert client.query("false") == []
        for use in (
            client.check,
            lambda: client.act("Hold", "false", "x"),
            lambda: client.submit("executable = /bin/sh\n", 1, spool=True),
            lambda: client.edit("false", "X", "1"),
        ):
            with pytest.raises(SchedulerConnectionError, match="lets us read but not submit: the token needs"):
                use()


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
            for use in (lambda: client.query("true"), lambda: client.submit("executable = /bin/sh\n", 1, spool=True)):
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
    pool = f"{info.host}:{info.port}"
    hosts = (machine, name, "127.0.0.1", "localhost", socket.gethostname())
    by_host = ({"pool": pool, "host": host, "port": port} for host in hosts for port in (None, info.port))
    for more in ({"schedd_name": name}, *by_host):
        with reached(access_to(condor_pool, "alice", **more)) as client:
            assert client.check()["schedd"] == name


def test_an_access_point_by_ssh_is_refused_with_what_to_do() -> None:
    started = helpers()
    with reached(Access(host="access.example.org", username="alice", password="s3cr3t")) as client:
        for use in everything(client):
            with pytest.raises(SchedulerConnectionError, match="by token only") as caught:
                use()
            assert_untold(caught.value, "s3cr3t")
    assert helpers() == started


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
