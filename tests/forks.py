"""Python programs forked from a process that has imported what they need: a new Python would take seconds of a core for
that, each time."""

import atexit
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import psutil

from prefect_jobs.local import processes
from prefect_jobs.local.processes import ProcessRecord
from tests import forked_python


class Imports(Enum):
    """What a program finds imported."""

    #: Prefect's client, worker and engine, this product, and what else its tests import.
    PRODUCT = (
        "import prefect.cli.worker, prefect.context, prefect.flow_engine, prefect_jobs.blocks, prefect_jobs.cli.root, "
        "prefect_jobs.cli.adopt, prefect_jobs.cli.serve, prefect_jobs.flows, prefect_jobs.monitor, prefect_jobs.web, "
        "alembic.command, distributed, mako.ext.pygmentplugin, pytest, sqlalchemy.dialects.postgresql.psycopg, typer"
    )
    #: A server at rest looks each second for tasks that are due, not four times, and for tasks to be cancelled, not ten
    #: times: with six servers that is noticeable.
    PREFECT_SERVER = (
        "import prefect.cli.server, prefect.server.api.server, prefect.server.events.services.actions, prefect.main, "
        "prefect.runner, prefect.telemetry.run_telemetry, prefect_dask, prefect_jobs.blocks, prefect_jobs.worker, "
        "alembic.command, mako.ext.pygmentplugin, uvicorn.loops.auto, uvicorn.protocols.http.auto, "
        "asyncio, burner_redis.pubsub, docket, functools, datetime, queue\n"
        "docket.Worker.__init__ = functools.partialmethod("
        "docket.Worker.__init__, scheduling_resolution=datetime.timedelta(seconds=1), "
        "minimum_check_interval=datetime.timedelta(seconds=1))\n"
        "async def get(self, timeout):\n"
        "    while True:\n"
        "        try:\n"
        "            return await asyncio.to_thread(self._queue.get, timeout != 0, max(timeout or 0, 1))\n"
        "        except queue.Empty:\n"
        "            if timeout is not None:\n"
        "                return None\n"
        "assert burner_redis.pubsub.PubSub._queue_get\n"
        "burner_redis.pubsub.PubSub._queue_get = get"
    )
    #: Workers unpickle functions of tests, which imports their modules. Workers at rest say each two seconds that they
    #: are there, not twice a second.
    DASK = (
        f"{PRODUCT}, distributed.scheduler, distributed.cli.dask_scheduler, distributed.cli.dask_worker\n"
        "distributed.scheduler.heartbeat_interval = lambda workers: 2"
    )


#: Answers requests, each on a connection of its own: JSON, and the three files of a program. A reply is JSON, too.
#: Its standard input is a pipe: it ends with the process that has started it. Its arguments are the socket on which it
#: listens, and what it imports; and the same for others, which are forked from it.
_SERVER = """
import gc, json, os, runpy, select, signal, socket, sys, traceback, warnings
signal.signal(signal.SIGINT, signal.SIG_IGN)

def load(code):
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        exec(code, {})
    # Tests are not forked then, and fail with the warning.
    if ours := [str(each) for each in warned if "/prefect_jobs/" in each.filename]:
        sys.exit("\\n".join(ours))
    gc.freeze()

load(sys.argv[2])
for place in range(3, len(sys.argv), 2):
    if not os.fork():
        for other in (sys.argv[1], *sys.argv[place + 2::2]):
            os.close(int(other))
        sys.argv[1] = sys.argv[place]
        load(sys.argv[place + 1])
        break
    os.close(int(sys.argv[place]))

def run(given):
    _, *command = given["command"]
    while command[0].startswith("-W"):
        command = command[2 if command[0] == "-W" else 1:]
    if command[0] == "-c":
        sys.argv = ["-c", *command[2:]]
        return compile(command[1], "<string>", "exec")
    module, sys.argv = command[1], command[1:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)

def asked(listening):
    while True:
        ready, _, _ = select.select([0, listening], [], [])
        if 0 in ready:
            sys.exit(0)
        client = listening.accept()[0]
        client.settimeout(60)
        reply = {}
        try:
            data, files, _, _ = socket.recv_fds(client, 1 << 20, 3)
            if data:
                given = json.loads(data)
                reply = waited(given["wait"]) if "wait" in given else forked(given, files, listening, client)
            if reply is None:
                return given
            client.send(json.dumps(reply).encode())
            known = "pid" not in reply or client.recv(1)
        except OSError:  # the client is gone
            known = "pid" not in reply
        if not known:
            ended(reply["pid"])
        client.close()

def ended(pid):
    # Its client was interrupted before it knew of it.
    os.kill(pid, signal.SIGKILL)
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass  # a daemon

def waited(pid):
    try:
        return {"waited": os.waitpid(pid, os.WNOHANG)}
    except ChildProcessError as error:
        return {"error": f"{pid}: {error}"}

def forked(given, files, *sockets):
    told, tell = os.pipe()
    child = os.fork()
    if not child:
        try:
            if given["daemon"] and os.fork():
                os._exit(0)
            for each in sockets:
                each.close()
            os.close(told)
            become(given, files, tell)
            return None
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    os.close(tell)
    for file in files:
        os.close(file)
    pid = os.read(told, 20)
    os.close(told)
    if given["daemon"] or not pid:
        os.waitpid(child, 0)
    return {"pid": int(pid)} if pid else {"error": f"{given['command']} in {given['cwd']}: see standard error"}

def become(given, files, tell):
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    if given["session"]:
        os.setsid()
    os.nice(given.get("nice", 0))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(given["env"])
    os.chdir(given["cwd"])
    os.write(tell, str(os.getpid()).encode())
    os.close(tell)

given = asked(socket.socket(fileno=int(sys.argv[1])))
sys.path[:0] = ["" if given["command"][1] == "-c" else given["cwd"], *given["path"]]
if "prefect.context" in sys.modules:
    sys.modules["prefect.context"].refresh_global_settings_context()
if "dask" in sys.modules:
    sys.modules["dask"].config.refresh()
code = run(given)
if code is not None:
    del load, run, asked, ended, waited, forked, become, gc, json, runpy, select, signal, socket, traceback, warnings
    exec(code)
"""


def serve(folder: Path, *imports: Imports) -> "subprocess.Popen[bytes]":
    """Starts the processes from which programs are forked; the first one forks the others. They listen in a folder: who
    connects now waits until they have imported everything."""
    arguments: list[str] = []
    with contextlib.ExitStack() as stack:
        for each in imports:
            listening = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
            listening.bind(str(folder / each.name))
            listening.listen(64)
            arguments += [str(listening.fileno()), each.value]
        return subprocess.Popen(
            [sys.executable, "-c", _SERVER, *arguments],
            pass_fds=[int(number) for number in arguments[::2]],
            stdin=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )


class _Forks:
    """The process from which programs are forked: one that several processes share, in the folder that ``TEST_FORKS``
    names, or one of our own."""

    def __init__(self, imports: Imports) -> None:
        self._own: tuple[tempfile.TemporaryDirectory[str], subprocess.Popen[bytes]] | None = None
        folder = os.environ.get("TEST_FORKS")
        if not folder:
            made = tempfile.TemporaryDirectory(prefix="forks-")
            folder = made.name
            self._own = made, serve(Path(folder), imports)
        #: Where it listens, and others like it.
        self.folder = folder
        self._path = str(Path(folder) / imports.name)

    def start(self, command: Sequence[str], files: Sequence[int], *, daemon: bool, **given: Any) -> int:
        """The pid of a program that runs a command: Python, then -c or -m, and the rest."""
        pid = int(self._ask({"command": list(command), "daemon": daemon, **given}, files)["pid"])
        noted = given["env"].get("TEST_FORKED")
        if noted:  # the environment that the system shows does not tell whose it is
            record = ProcessRecord.of(pid)
            with Path(noted).open("a") as file:
                file.write("" if record is None else f"{pid} {record.created}\n")
        return pid

    def ended(self, pid: int) -> tuple[int, int]:
        """What ``os.waitpid`` answers for a program, without waiting."""
        found, status = self._ask({"wait": pid})["waited"]
        return found, status

    def close(self) -> None:
        """Ends the process, if it is ours, and none of the programs."""
        if self._own is not None:
            made, process = self._own
            assert process.stdin is not None
            process.stdin.close()
            process.wait(30)
            made.cleanup()

    def _ask(self, request: Mapping[str, Any], files: Sequence[int] = ()) -> Any:
        # On a connection of its own: a question that was given up has no answer that the next one would get.
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
            connection.settimeout(120)
            connection.connect(self._path)
            socket.send_fds(connection, [json.dumps(request).encode()], list(files))
            answer = json.loads(connection.recv(1 << 16) or '{"error": "the process for it has ended"}')
            if "pid" in answer:
                connection.send(b"+")  # otherwise nobody would know of it, and it is ended
        if "error" in answer:
            raise AssertionError(f"no program can be forked: {answer['error']}")
        return answer


_all: dict[Imports, _Forks] = {}


def _forks(imports: Imports) -> _Forks:
    if imports not in _all:
        _all[imports] = _Forks(imports)
    return _all[imports]


@atexit.register
def close() -> None:
    """Ends the processes from which programs are forked, and none of the programs."""
    while _all:
        _all.popitem()[1].close()


class Program(subprocess.Popen[Any]):
    """A ``Popen`` of Python with ``-c`` or ``-m``, forked.

    The command line that the system shows is that of the process from which it was forked, and so is the environment
    in ``/proc``.
    """

    def __init__(self, command: Sequence[str], *, imports: Imports = Imports.PRODUCT, **options: Any) -> None:
        self._forks = _forks(imports)
        super().__init__(command, **options)

    def _execute_child(self, *given: Any) -> None:
        names = "args executable preexec_fn close_fds pass_fds cwd env startupinfo creationflags shell"
        options = dict(zip(names.split(), given[:10], strict=True))
        mine_in, their_in, mine_out, their_out, mine_err, their_err = given[10:16]
        session = given[21]
        files = [own if file == -1 else file for own, file in enumerate((mine_in, their_out, their_err))]
        self.pid = self._forks.start(
            options["args"], files, daemon=False, session=session, **_place(options["cwd"], options["env"])
        )
        self._child_created = True
        self._close_pipe_fds(mine_in, their_in, mine_out, their_out, mine_err, their_err)  # type: ignore[attr-defined]

    def _try_wait(self, flags: int) -> tuple[int, int]:
        if not flags:
            end = os.pidfd_open(self.pid)
            select.select([end], [], [])
            os.close(end)
        return self._forks.ended(self.pid)

    def _internal_poll(self, **_: Any) -> int | None:
        if self.returncode is None and self._waitpid_lock.acquire(False):  # type: ignore[attr-defined]
            try:
                if self.returncode is None:  # another thread may have waited
                    found, status = self._try_wait(os.WNOHANG)
                    if found == self.pid:
                        self._handle_exitstatus(status)  # type: ignore[attr-defined]
            finally:
                self._waitpid_lock.release()  # type: ignore[attr-defined]
        return self.returncode


def run_program(
    command: Sequence[str], *, timeout: float, imports: Imports = Imports.PRODUCT, **options: Any
) -> "subprocess.CompletedProcess[str]":
    """``subprocess.run`` with captured text, forked."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with Program(command, imports=imports, **pipes, **options) as program:
        try:
            out, err = program.communicate(timeout=timeout)
        except BaseException:
            for process in (*psutil.Process(program.pid).children(recursive=True), program):
                process.kill()
            raise
        return subprocess.CompletedProcess(command, program.returncode, out, err)


def run_forking(command: Sequence[str], *, timeout: float, **options: Any) -> "subprocess.CompletedProcess[str]":
    """:func:`run_program` of Python with ``-m``, whose own Python programs are forked as well."""
    module, *arguments = command[2:]
    environment = os.environ | {"TEST_FORKS": _forks(Imports.PRODUCT).folder}
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]])
    return run_program(
        [command[0], "-c", forked_python.forking(module), *arguments], timeout=timeout, env=environment, **options
    )


def start_daemon(
    command: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None, cwd: Path = Path("/"), **other: Any
) -> ProcessRecord:
    """``processes.start_daemon``, by which a server of Prefect is forked; other daemons start as ever."""
    if command[1:4] != ["-m", "prefect", "server"]:
        return start_anew(command, log=log, env=env, cwd=cwd, **other)
    with log.open("ab") as output, Path(os.devnull).open("rb") as nothing:
        files = [nothing.fileno(), output.fileno(), output.fileno()]
        forks = _forks(Imports.PREFECT_SERVER)
        pid = forks.start(command, files, daemon=True, session=True, **_place(cwd, env))
    record = ProcessRecord.of(pid)
    assert record is not None, log.read_text()
    return record


#: The one of the product.
start_anew = processes.start_daemon


def _place(cwd: str | os.PathLike[str] | None, env: Mapping[str, str] | None) -> dict[str, Any]:
    environment = dict(os.environ if env is None else env)
    path = [entry for entry in environment.get("PYTHONPATH", "").split(os.pathsep) if entry]
    return {"env": environment, "path": path, "cwd": os.fspath(cwd or Path.cwd())}


def main(folder: Path) -> None:
    """Keeps the processes from which others fork as long as the one lives that has started this one:
    ``python -m tests.forks FOLDER``."""
    parent = os.getppid()
    for name in os.environ:
        if name.startswith("PREFECT_"):
            del os.environ[name]
    os.environ |= {"PREFECT_HOME": str(folder / "prefect"), "DO_NOT_TRACK": "1"}
    process = serve(folder, *Imports)
    # A process that imports does not see yet that its standard input is closed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        if not _answers(folder):
            sys.exit("what tests import cannot be imported: they are not forked")
        while os.getppid() == parent:
            time.sleep(1)
    finally:
        process.kill()
        process.wait()


def _answers(folder: Path) -> bool:
    """Whether the process with the product has imported it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        try:
            connection.connect(str(folder / Imports.PRODUCT.name))
            connection.shutdown(socket.SHUT_WR)
            return bool(connection.recv(10))
        except ConnectionError:
            return False


if __name__ == "__main__":
    main(Path(sys.argv[1]))
