#!/usr/bin/env -S python3 -ISB
"""Stands for Python where a program is started by its path: ``forked_python.py -c CODE`` or ``-m MODULE`` runs in a
process that is forked from the one that has imported the product, in the folder that ``TEST_FORKS`` names.

It ends as that process ends, and passes SIGINT, SIGTERM and SIGHUP on. SIGKILL does not reach that process, whose pid
is in the file ``pids`` there. If nothing can be forked, since an import failed, it becomes the ``python`` of the path.
It imports nothing that takes time, and runs in any Python from 3.9 on, which may be that of a system.
"""

import contextlib
import json
import os
import select
import signal
import socket
import sys
from pathlib import Path
from typing import Any

_TIMEOUT_SECONDS = 120


def main() -> int:
    """The exit status of the program."""
    signals: list[int] = []
    program: list[int] = []

    def take(number: int, _: object) -> None:
        # A terminal is gone for all: who started the tests must still stop what they have started.
        signals.append(signal.SIGINT if number == signal.SIGHUP else number)
        deliver()

    def deliver() -> None:
        while program and signals:
            with contextlib.suppress(ProcessLookupError):
                os.kill(program[0], signals.pop(0))

    # First of all: a shell starts what runs in the background with SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, take)
    arguments = sys.argv[1:]
    while arguments[0] == "-u":  # its output is a pipe
        del arguments[0]
    if arguments[0] == "-m":
        # What it starts is forked as well.
        arguments[:2] = ["-c", forking(arguments[1])]
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    request = {
        "command": ["python", *arguments],
        "daemon": False,
        "session": True,  # Ctrl-C reaches it from here alone
        "nice": int(os.environ.get("TEST_NICE", "0")),
        "env": dict(os.environ),
        "path": [path for path in paths if path],
        "cwd": os.fspath(Path.cwd()),
    }
    try:
        pid = _ask(request)["pid"]
    except (ConnectionError, FileNotFoundError):
        del os.environ["TEST_FORKS"]
        os.execvp("python", ["python", *sys.argv[1:]])  # noqa: S606  (its errors say what cannot be imported)
    with Path(os.environ["TEST_FORKS"], "pids").open("a") as file:
        file.write(f"{pid}\n")
    program.append(pid)
    deliver()
    end = os.pidfd_open(pid)
    select.select([end], [], [])
    found, ended = _ask({"wait": pid})["waited"]
    if found != pid:
        sys.exit(f"how the process {pid} has ended is not known")
    return os.waitstatus_to_exitcode(ended)


def forking(module: str) -> str:
    """The code that runs a module of a program whose own Python programs are forked."""
    run = f"runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    return f"import runpy, sys; sys.executable = {str(Path(__file__).absolute())!r}; {run}"


def _ask(request: dict[str, Any]) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.settimeout(_TIMEOUT_SECONDS)
        connection.connect(str(Path(os.environ["TEST_FORKS"]) / "PRODUCT"))
        socket.send_fds(connection, [json.dumps(request).encode()], [] if "wait" in request else [0, 1, 2])
        data = connection.recv(1 << 16)
        if not data:
            raise ConnectionResetError("the process to fork from has ended")
        answer: dict[str, Any] = json.loads(data)
        if "pid" in answer:
            connection.send(b"+")  # otherwise nobody would know of it, and it is ended
    if "error" in answer:
        sys.exit(f"no program can be forked: {answer['error']}")
    return answer


if __name__ == "__main__":
    status = main()
    if status < 0:
        if -status != signal.SIGKILL:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)
