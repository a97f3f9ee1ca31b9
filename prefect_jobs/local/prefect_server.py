"""A Prefect server on this machine: API and web UI on loopback, with an SQLite file in its folder as database."""

import http.client
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

from prefect_jobs.errors import LocalPartError
from prefect_jobs.local import processes
from prefect_jobs.local.condor_pool import state_directory
from prefect_jobs.local.files import locked, make_directory, replace_text, tail
from prefect_jobs.local.processes import LOOPBACK, ProcessRecord

# Prefect takes 10 seconds of one core to load, and 10 more to create its database. Without web UI, background services
# and block types it starts no faster.
_UP_TIMEOUT_SECONDS = 90
# Browsers keep connections open, and the server waits for all of them to end.
_DOWN_TIMEOUT_SECONDS = 5
_ANSWER_TIMEOUT_SECONDS = 5
_PORT_TIMEOUT_SECONDS = 2


@dataclass(frozen=True)
class PrefectServerInfo:
    """A Prefect server, in its present or last run."""

    api_url: str
    """The value of PREFECT_API_URL for clients."""
    ui_url: str
    """The address of the web UI."""
    port: int
    directory: Path


@dataclass(frozen=True)
class PrefectServerStatus:
    """The status of a Prefect server."""

    up: bool
    info: PrefectServerInfo | None = None
    """None if the server has never been up."""
    answering: bool = False
    """Whether its API has answered."""


class LocalPrefectServer:
    """A Prefect server, by its folder. Several can be up side by side.

    It listens on loopback without authentication, as Prefect does by default: all users of this machine can use
    it. It ignores the caller's Prefect configuration. To configure it, run
    `PREFECT_HOME=<folder> prefect config set`.
    """

    def __init__(self, directory: Path | None = None) -> None:
        """Name a server, without starting it. Its folder is `directory`, else `prefect` in the state folder."""
        self.directory = (directory or state_directory() / "prefect").absolute()
        self.log = self.directory / "server.log"
        """The output of the server since its last start."""
        self._pid = self.directory / "server.pid"
        self._record = self.directory / "server.json"

    def up(self, *, port: int | None = None, report: Callable[[str], None] = lambda _: None) -> PrefectServerInfo:
        """Start the server and wait until its API answers. A running server stays unchanged.

        It listens on `port` (default: the last one if it is free, else a free one), and has the database of the last
        time. Steps that take time are passed to `report`. Raises LocalPartError, with the end of the log, if the server
        does not answer within 90 seconds; then nothing is left running.
        """
        try:
            with self._locked():
                return self._running() or self._start(port, report)
        except OSError as error:
            raise LocalPartError(f"A Prefect server cannot be created in {self.directory}: {error}.") from error

    def down(self, *, timeout: float = _DOWN_TIMEOUT_SECONDS) -> bool:
        """Stop the server; returns whether it was running. Its database stays.

        The server is killed if it still runs after `timeout` seconds. Raises LocalPartError if it cannot be stopped.
        """
        if not self._pid.exists():
            return False
        with self._locked():
            return self._stop(timeout)

    def status(self) -> PrefectServerStatus:
        """The status of the server, also if it is down or does not answer."""
        info = self._running()
        if info is None:
            return PrefectServerStatus(up=False, info=self._info())
        return PrefectServerStatus(up=True, info=info, answering=_answers(info.port))

    # Starting and stopping

    def _locked(self) -> AbstractContextManager[None]:
        # Daemons of root's other local parts run as another user, who must reach their folders.
        make_directory(self.directory.parent, 0o755 if os.geteuid() == 0 else 0o700)
        return locked(self.directory.with_name(f".{self.directory.name}.lock"))

    def _start(self, port: int | None, report: Callable[[str], None]) -> PrefectServerInfo:
        self._stop()
        info = self._plan(port)
        # Its database contains the blocks with their secrets, and the key that decrypts them.
        make_directory(self.directory, 0o700)
        self.log.unlink(missing_ok=True)
        replace_text(self._record, json.dumps(asdict(info), default=str, indent=2) + "\n")
        report(f"Starting a Prefect server at {info.ui_url}")
        try:
            server = processes.start_daemon(
                [sys.executable, "-m", "prefect", "server", "start", "--host", LOOPBACK, "--port", str(info.port)],
                log=self.log,
                env=self._environment(info),
                # In the caller's folder, Prefect would read the settings of the caller's project.
                cwd=self.directory,
            )
            processes.write_record(self._pid, server)
            self._wait_until_ready(server, info.port)
        except BaseException:
            self._stop()
            raise
        report(f"The Prefect server is up at {info.ui_url}")
        return info

    def _plan(self, port: int | None) -> PrefectServerInfo:
        if port is None:
            before = self._info()
            again = before is not None and processes.port_is_free(before.port)
            port = before.port if before is not None and again else processes.free_port()
        elif not processes.port_is_free(port):
            raise LocalPartError(f"Port {port} is taken: the Prefect server cannot listen on it.")
        url = f"http://{LOOPBACK}:{port}"
        return PrefectServerInfo(api_url=f"{url}/api", ui_url=url, port=port, directory=self.directory)

    def _environment(self, info: PrefectServerInfo) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        return inherited | {
            "PREFECT_HOME": str(self.directory),
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{self.directory / 'prefect.db'}",
            "PREFECT_SERVER_API_HOST": LOOPBACK,
            "PREFECT_SERVER_API_PORT": str(info.port),
            # Without it, the UI calls port 4200 whatever port the server was started with.
            "PREFECT_SERVER_UI_API_URL": info.api_url,
            # Otherwise Prefect writes the UI's files to its installation folder.
            "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(self.directory / "ui"),
            "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
            "DO_NOT_TRACK": "1",
        }

    def _wait_until_ready(self, server: ProcessRecord, port: int) -> None:
        deadline = time.monotonic() + _UP_TIMEOUT_SECONDS
        while not _answers(port):
            if not processes.is_running(server):
                raise self._failed("it has exited")
            if time.monotonic() > deadline:
                raise self._failed(f"its API does not answer after {_UP_TIMEOUT_SECONDS} seconds")
            time.sleep(0.1)
        if not processes.is_running(server):
            raise self._failed(f"another program answers on port {port}")

    def _stop(self, timeout: float = _DOWN_TIMEOUT_SECONDS) -> bool:
        server = processes.read_record(self._pid)
        if server is None:
            return False
        stopped = processes.stop(server, timeout)
        self._wait_until_port_is_free()
        self._pid.unlink()
        return stopped

    def _wait_until_port_is_free(self) -> None:
        # A process with several threads has ended a moment before its last thread closes its sockets.
        info = self._info()
        deadline = time.monotonic() + _PORT_TIMEOUT_SECONDS
        while info is not None and not processes.port_is_free(info.port) and time.monotonic() < deadline:
            time.sleep(0.05)

    def _failed(self, what: str) -> LocalPartError:
        return LocalPartError(
            f"The Prefect server did not start: {what}. Its log, {self.log}, ends with:\n{tail(self.log, 30)}"
        )

    # Reading the record

    def _info(self) -> PrefectServerInfo | None:
        try:
            known = json.loads(self._record.read_text())
            return PrefectServerInfo(**{**known, "directory": Path(known["directory"])})
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _running(self) -> PrefectServerInfo | None:
        server = processes.read_record(self._pid)
        return self._info() if server is not None and processes.is_running(server) else None


def _answers(port: int) -> bool:
    # Not by urllib, which uses the proxies of the environment.
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=_ANSWER_TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/api/health")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
