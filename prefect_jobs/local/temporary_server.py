"""Prefect's temporary server, which its client starts if no API is configured: one per process, and none that stays.

Prefect's own code gives up after 20 seconds and leaves the server running, lets several threads start it at once, and
lets several processes create the same new database at the same time.
"""

import atexit
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from prefect_jobs.errors import LocalPartError
from prefect_jobs.local.files import locked

#: Seconds within which it must answer. Creating a database takes most of them.
_UP = 120
#: Seconds that it has to end. It may be creating its database, which must be complete.
_DOWN = 20.0
#: Ends the server with the last pid that it has read, when the other end of its pipe is closed. That happens
#: however this process ends.
_WATCH = 'while read -r pid; do server=$pid; done; [ -z "$server" ] || kill "$server" 2>/dev/null'

_lock = threading.Lock()
_ended = False
_watcher: subprocess.Popen[bytes] | None = None
_watched: int | None = None


def ensure() -> None:
    """Starts the server if no API is configured and no server runs. Waits for other processes that start theirs.

    Raises:
        LocalPartError: it cannot be started.
    """
    from prefect.settings import PREFECT_API_URL, PREFECT_HOME, PREFECT_SERVER_ALLOW_EPHEMERAL_MODE

    if PREFECT_API_URL.value() or not PREFECT_SERVER_ALLOW_EPHEMERAL_MODE.value():
        return
    from prefect.server.api.server import SubprocessASGIServer

    with _lock:
        if _ended:
            raise LocalPartError("This program is ending, so it starts no temporary Prefect server.")
        server = SubprocessASGIServer()
        if server.server_process is not None and server.server_process.poll() is not None:
            server.stop()  # it has died
            server = SubprocessASGIServer()
        if not server.running:
            home = Path(PREFECT_HOME.value())
            home.mkdir(parents=True, exist_ok=True)
            with locked(home / ".prefect-jobs-temporary-server.lock"):
                _start(server)
        if server.server_process is not None:
            _watch(server.server_process)  # Prefect may have started it


def _start(server: Any) -> None:
    # The start takes long, and this process may end meanwhile.
    run = server._run_uvicorn_command

    def watched() -> Any:
        process = run()
        _watch(process)
        return process

    server._run_uvicorn_command = watched
    _open_watcher()
    try:
        server.start(timeout=_UP)
    except Exception as error:
        _close_watcher()
        _stop(server)
        raise LocalPartError(
            f"The temporary Prefect server did not start: {error} Start a lasting one, and set PREFECT_API_URL."
        ) from error
    finally:
        del server._run_uvicorn_command
        # _end stops it, after the last calls to it.
        atexit.unregister(server.stop)


def _open_watcher() -> None:
    global _watcher  # noqa: PLW0603
    if _watcher is None or _watcher.poll() is not None:
        _close_watcher()
        _watcher = subprocess.Popen(
            ["/bin/sh", "-c", _WATCH],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for this program
        )


def _watch(process: "subprocess.Popen[Any]") -> None:
    """Makes the server end with this process."""
    global _watched  # noqa: PLW0603
    if process.pid == _watched:
        return
    if _ended:
        process.terminate()  # _end has run already
        return
    _open_watcher()
    assert _watcher is not None and _watcher.stdin is not None  # noqa: S101  (for the type checker)
    _watcher.stdin.write(f"{process.pid}\n".encode())
    _watcher.stdin.flush()
    _watched = process.pid


def _close_watcher() -> None:
    global _watcher, _watched
    watcher, _watcher, _watched = _watcher, None, None
    if watcher is not None and watcher.stdin is not None:
        watcher.kill()
        watcher.stdin.close()
        watcher.wait()


def _stop(server: Any) -> None:
    process = server.server_process
    if process is not None:
        process.terminate()
        try:
            process.wait(_DOWN)
        except subprocess.TimeoutExpired:
            process.kill()
    server.stop()


def _end() -> None:
    global _ended  # noqa: PLW0603
    _ended = True
    if os.getpid() != _pid:
        return  # a fork: the server is the parent's
    module = sys.modules.get("prefect.server.api.server")
    server = None if module is None else module.SubprocessASGIServer._instances.get(None)
    if server is not None and server.server_process is not None:
        _close_watcher()
        _stop(server)


_pid = os.getpid()
# At import, before the projector registers its last flush: handlers run in reverse order, so the server ends after it.
atexit.register(_end)
