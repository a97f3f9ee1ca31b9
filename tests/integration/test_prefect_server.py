"""A real local Prefect server: what it promises to whoever starts it, uses it, and stops it."""

import contextlib
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from prefect_jobs.errors import LocalPartError
from prefect_jobs.local import processes
from prefect_jobs.local.prefect_server import LocalPrefectServer, PrefectServerInfo
from prefect_jobs.local.processes import ProcessRecord, is_running, port_is_free, read_record, write_record
from tests import forks
from tests.support import eventually

pytestmark = pytest.mark.prefect


@pytest.fixture(scope="module", autouse=True)
def _as_for_everybody() -> Iterator[None]:
    """No server is forked here, but one that starts again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "start_daemon", forks.start_anew)
        yield


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, prefect_template: Path) -> Iterator[LocalPrefectServer]:
    """A server that tests here may stop and start; they go by the order in which they stand."""
    server = LocalPrefectServer(tmp_path_factory.mktemp("a prefect") / "server")
    shutil.copytree(prefect_template, server.directory)
    server.directory.chmod(0o700)
    yield server
    server.down()


@pytest.fixture
def down(tmp_path: Path) -> Iterator[LocalPrefectServer]:
    """A server that has never been up."""
    server = LocalPrefectServer(tmp_path / "server")
    yield server
    server.down()


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False, event_hooks={"response": [httpx.Response.raise_for_status]}) as client:
        yield client


def processes_of(directory: Path) -> list[int]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("PREFECT_HOME") == str(directory):
                found.append(process.pid)
    return found


def process_of(directory: Path) -> ProcessRecord:
    record = read_record(directory / "server.pid")
    assert record is not None
    return record


def test_prefect_in_this_process_talks_to_the_server_of_the_session(
    prefect_server: PrefectServerInfo, http: httpx.Client
) -> None:
    # given
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import VariableCreate

    # when
    with get_client(sync_client=True) as client:
        client.create_variable(VariableCreate(name="who", value="a test"))
    # then
    assert http.get(f"{prefect_server.api_url}/variables/name/who").json()["value"] == "a test"


def test_the_ui_is_served_and_calls_the_api_of_its_own_port(
    prefect_server: PrefectServerInfo, http: httpx.Client
) -> None:
    # when
    page = http.get(prefect_server.ui_url, follow_redirects=True).text
    settings = http.get(f"{prefect_server.ui_url}/ui-settings").json()
    # then
    assert "<title>Prefect" in page
    assert settings["api_url"] == prefect_server.api_url


def test_up_on_a_server_that_is_up_changes_nothing(prefect_server: PrefectServerInfo) -> None:
    # given
    before = process_of(prefect_server.directory)
    # when
    again = LocalPrefectServer(prefect_server.directory).up()
    # then
    assert again == prefect_server
    assert process_of(prefect_server.directory) == before


def test_it_listens_on_loopback_alone(prefect_server: PrefectServerInfo) -> None:
    # when
    process = psutil.Process(process_of(prefect_server.directory).pid)
    family = (process, *process.children(recursive=True))
    listening = [
        (connection.laddr.ip, connection.laddr.port)
        for member in family
        for connection in member.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    ]
    # then
    assert listening == [("127.0.0.1", prefect_server.port)]


def test_the_callers_own_prefect_configuration_is_kept_from_it(
    server: LocalPrefectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given settings with which no server would start, in the environment and in the working directory
    monkeypatch.setenv("PREFECT_API_DATABASE_CONNECTION_URL", "postgresql+asyncpg://nobody@127.0.0.1:9/none")
    (tmp_path / "prefect.toml").write_text('[server.database]\nconnection_url = "nonsense"\n')
    monkeypatch.chdir(tmp_path)
    # when
    info = server.up()
    # then
    assert server.status().answering
    files = [open_file.path for pid in processes_of(info.directory) for open_file in psutil.Process(pid).open_files()]
    assert str(info.directory / "prefect.db") in files


def test_down_leaves_no_process_and_frees_the_port(server: LocalPrefectServer) -> None:
    # given
    info = server.up()
    process = process_of(info.directory)
    # when
    stopped = server.down()
    # then
    assert stopped
    assert not is_running(process)
    assert port_is_free(info.port)
    assert server.status().info == info
    assert not server.status().up
    assert not server.down()


def test_a_server_that_died_is_down_and_comes_up_again_as_it_was(
    server: LocalPrefectServer, http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given
    monkeypatch.setattr(processes, "start_daemon", forks.start_daemon)  # how a server starts is tested above
    info = server.up()
    http.post(f"{info.api_url}/variables/", json={"name": "kept", "value": "still here"})
    process = process_of(info.directory)
    # when
    psutil.Process(process.pid).kill()
    eventually(lambda: not is_running(process), "the server is gone", timeout=10)
    # then
    assert not server.status().up
    # when
    again = server.up()
    # then
    assert again == info
    assert http.get(f"{info.api_url}/variables/name/kept").json()["value"] == "still here"


def test_a_recycled_pid_is_neither_taken_for_the_server_nor_killed(down: LocalPrefectServer) -> None:
    # given a pid file that names a process which has begun at another time
    down.directory.mkdir()
    innocent = subprocess.Popen(["sleep", "1000"])
    try:
        began = psutil.Process(innocent.pid).create_time()
        write_record(down.directory / "server.pid", ProcessRecord(innocent.pid, began - 3600))
        # when
        status, stopped = down.status(), down.down()
        # then
        assert not status.up
        assert not stopped
        assert innocent.poll() is None
    finally:
        innocent.kill()
        innocent.wait()


def test_a_port_that_is_taken_is_refused_by_name(down: LocalPrefectServer) -> None:
    # given
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        # when
        with pytest.raises(LocalPartError) as failure:
            down.up(port=port)
    # then
    assert f"Port {port} is taken" in str(failure.value)
    assert not down.status().up


def test_its_folder_is_closed_to_others_before_it_starts(
    down: LocalPrefectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given
    modes = []

    def refused(*given: object, **more: object) -> ProcessRecord:
        modes.append(down.directory.stat().st_mode & 0o777)
        raise LocalPartError("no process can be started")

    monkeypatch.setattr(processes, "start_daemon", refused)
    # when
    with pytest.raises(LocalPartError, match="no process"):
        down.up()
    # then: it has blocks, and the key to their secrets
    assert modes == [0o700]


def test_a_server_that_does_not_come_up_tells_its_log_and_leaves_nothing(down: LocalPrefectServer) -> None:
    # given a database that is none
    down.directory.mkdir()
    (down.directory / "prefect.db").write_text("this is no database\n" * 100)
    # when
    with pytest.raises(LocalPartError) as failure:
        down.up()
    # then
    assert "file is not a database" in str(failure.value)
    assert not down.status().up
    assert not (down.directory / "server.pid").exists()
    assert processes_of(down.directory) == []
