"""Daemons of this machine that outlive the program that started them."""

import contextlib
import json
import os
import pwd
import random
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from prefect_jobs.errors import LocalPartError
from prefect_jobs.local.files import replace_text, tail

LOOPBACK = "127.0.0.1"

# The start time of a process is computed from the boot time, which moves a little when the clock is corrected. A pid is
# reused much later.
_SAME_START_SECONDS = 2.0

_KILL_TIMEOUT_SECONDS = 10

#: Ports for daemons. Outgoing connections use ports from 32768 on (ip_local_port_range in Linux), and could take one of
#: those before the daemon listens on it, or while the daemon is down.
PORTS = range(20_000, 32_000)
_PORT_TRIES = 200

# Runs in a small interpreter of its own. A fork there is safe, since it has no threads, and the daemon becomes a child
# of init, so it never remains as a zombie.
_LAUNCHER = """
import os, sys
uid, gid, directory, *command = sys.argv[1:]
pid = os.fork()
if pid:
    print(pid)
    sys.exit()
os.setsid()
os.dup2(2, 1)
try:
    if int(uid) >= 0:
        os.setgroups([])
        os.setgid(int(gid))
        os.setuid(int(uid))
    os.chdir(directory)
    os.execvpe(command[0], command, os.environ)
except OSError as error:
    print(f"cannot start {command[0]}: {error}", file=sys.stderr, flush=True)
    os._exit(127)
"""


@dataclass(frozen=True)
class UnixUser:
    """The user of this machine as whom a daemon runs."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True)
class ProcessRecord:
    """A process with its start time (seconds since the epoch), which tells it from a later one with the same pid."""

    pid: int
    created: float

    @classmethod
    def of(cls, pid: int) -> "ProcessRecord | None":
        """The record of a running process, or None if no process has that pid."""
        try:
            return cls(pid, psutil.Process(pid).create_time())
        except psutil.NoSuchProcess:
            return None


def unprivileged_user() -> UnixUser | None:
    """The user for daemons of root: `condor` if it exists, else `nobody`. None if we are not root."""
    if os.geteuid() != 0:
        return None
    for name in ("condor", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return UnixUser(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise LocalPartError(
        "Daemons of root run as the user 'condor' or 'nobody', and neither exists: "
        "add one of them, or start as an ordinary user."
    )


def user_name() -> str:
    """The name of the present user, or `user<uid>` if the machine has no name for it."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"user{os.geteuid()}"


def require_entry(folder: Path, user: UnixUser) -> None:
    """Raise LocalPartError if the permissions of a folder, or of one above it, keep a user out."""
    for place in (folder, *folder.parents):
        status = place.stat()
        if status.st_uid == user.uid:
            needed = stat.S_IXUSR
        elif status.st_gid == user.gid:
            needed = stat.S_IXGRP
        else:
            needed = stat.S_IXOTH
        if not status.st_mode & needed:
            raise LocalPartError(
                f"Daemons run as the user {user.name!r}, who cannot enter {place}, and they need {folder}. "
                "Choose other folders (PREFECT_JOBS_HOME, PREFECT_JOBS_CACHE), or change the permissions."
            )


def start_daemon(
    command: Sequence[str],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    user: UnixUser | None = None,
    cwd: Path = Path("/"),
) -> ProcessRecord:
    """Start a process in a session of its own, which continues when the caller ends.

    Its output is appended to `log`. With `user` (root only) it runs as that user. Raises LocalPartError if
    it does not start. The caller must notice if it ends a moment later.
    """
    identity = (str(user.uid), str(user.gid)) if user else ("-1", "-1")
    with log.open("ab") as output:
        launched = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _LAUNCHER, *identity, str(cwd), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=output,
            env=dict(env) if env is not None else None,
            check=False,
            text=True,
        )
    record = ProcessRecord.of(int(launched.stdout)) if launched.returncode == 0 else None
    if record is None:
        raise LocalPartError(f"{command[0]} did not start. Its log, {log}, ends with:\n{tail(log)}")
    return record


def is_running(record: ProcessRecord) -> bool:
    """Whether the recorded process, and not another one with its pid, runs and is no zombie."""
    return _process(record) is not None


def stop(
    record: ProcessRecord,
    timeout: float,
    *,
    first: signal.Signals = signal.SIGTERM,
    belongs: Callable[[Mapping[str, str]], bool] | None = None,
) -> bool:
    """Send a signal to the recorded process, wait up to `timeout` seconds, then kill it and all its descendants.

    `first` is the signal. `belongs` recognises, by their environment, descendants that have left the process tree or
    outlived the process. Returns False if nothing was running. Raises LocalPartError if a process cannot be killed.
    """
    process = _process(record)
    family = _descendants(process)
    if process is not None:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(first)
        psutil.wait_procs([process], timeout=timeout)
        family |= {process} | _descendants(process)
    found = False
    deadline = time.monotonic() + _KILL_TIMEOUT_SECONDS
    # A process that is being killed may have started another one: repeat until none is left.
    while family := {member for member in family | _strays(belongs) if _alive(member)}:
        found = True
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        psutil.wait_procs(family, timeout=1)
        if time.monotonic() > deadline:
            pids = ", ".join(str(member.pid) for member in family)
            raise LocalPartError(f"These processes cannot be killed: {pids}.")
    return found or process is not None


def write_record(path: Path, record: ProcessRecord) -> None:
    """Write a pid file atomically."""
    replace_text(path, json.dumps(asdict(record)) + "\n")


def read_record(path: Path) -> ProcessRecord | None:
    """The record in a pid file; None if the file is missing or invalid."""
    try:
        content = json.loads(path.read_text())
        return ProcessRecord(int(content["pid"]), float(content["created"]))
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None


#: Ports that this process has chosen, even if no daemon listens on them yet.
_handed_out: set[int] = set()


def free_port() -> int:
    """A free TCP port of the loopback interface, one of :data:`PORTS` if possible."""
    for port in random.sample(PORTS, _PORT_TRIES):
        if port not in _handed_out and port_is_free(port):
            _handed_out.add(port)
            return port
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def port_is_free(port: int) -> bool:
    """Whether a daemon can listen on that port of the loopback interface."""
    with socket.socket() as probe:
        # As daemons do: connections that linger from earlier do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def _process(record: ProcessRecord) -> psutil.Process | None:
    try:
        process = psutil.Process(record.pid)
        if abs(process.create_time() - record.created) > _SAME_START_SECONDS or not _alive(process):
            return None
    except psutil.NoSuchProcess:
        return None
    return process


def _alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _strays(belongs: Callable[[Mapping[str, str]], bool] | None) -> set[psutil.Process]:
    if belongs is None:
        return set()
    found = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and belongs(process.environ()):
                found.add(process)
    return found


def _descendants(process: psutil.Process | None) -> set[psutil.Process]:
    if process is None:
        return set()
    try:
        return set(process.children(recursive=True))
    except psutil.NoSuchProcess:
        return set()
