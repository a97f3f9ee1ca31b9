"""A process that has not loaded Prefect yet, and a Prefect that does not answer: no call waits longer than 3 s."""

import json
import os
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from prefect_jobs.local.processes import LOOPBACK
from tests.forks import Program

SCRIPT = """
import json, sys, time

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "prefect":
            time.sleep(3.5)  # a slow disk

sys.meta_path.insert(0, Slow())
from prefect_jobs import App, PrefectJobsError

class Tests(App):
    name = package = "tests"

manager, seconds = Tests.get_job_manager(), {}

def timed(what, call):
    began = time.monotonic()
    try:
        call()
    except PrefectJobsError as error:
        print(what, error, file=sys.stderr)
    seconds[what] = time.monotonic() - began

commands = {"executable": "/bin/true"}
timed("create_job", lambda: manager.create_job("0th", "alice", job_type="CONDOR", attributes=commands, scheduler="a"))
job = manager.create_job("first", "alice", job_type="BASIC")
timed("save", job.save)
timed("execute", job.execute)
timed("flow_run_url", lambda: job.flow_run_url)
condor = manager.create_job("third", "alice", job_type="CONDOR", attributes=commands, scheduler="a")
timed("save of another", condor.save)
timed("delete", job.delete)
print(json.dumps(seconds), flush=True)
"""

EXECUTE = """
import importlib.machinery, json, sys, time

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "prefect":
            spec = importlib.machinery.PathFinder.find_spec(name, path)
            load = spec.loader.exec_module
            # Not in this method, for which other imports wait.
            spec.loader.exec_module = lambda module: (time.sleep(float(sys.argv[1])), load(module))
            return spec

sys.meta_path.insert(0, Slow())
from prefect_jobs import App, PrefectJobsError

class Tests(App):
    name = package = "tests"

commands = {"executable": "/bin/true"}
job = Tests.get_job_manager().create_job("x", "alice", job_type="CONDOR", attributes=commands, scheduler="nobodys")
began = time.monotonic()
try:
    job.execute()
except PrefectJobsError as error:
    print(json.dumps([time.monotonic() - began, job.cached_status, str(error)]), flush=True)
"""


FORK = """
import os, sys, threading, time
from prefect_jobs.projection import loading

loading.begin()
while "prefect" not in sys.modules:
    time.sleep(0.001)
print("forks", loading._loaded.is_set(), flush=True)  # before the import is over
child = os.fork()
if child:
    loading.load()
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
found = threading.Thread(target=lambda: (loading.load(), print("loaded", flush=True)), daemon=True)
found.start()
found.join(60)
os._exit(int(found.is_alive()))
"""


def test_a_process_that_forks_while_prefect_is_imported_has_it_whole_in_both(tmp_path: Path) -> None:
    with _python(FORK, cwd=tmp_path, env=_environment(tmp_path, "http://127.0.0.1:9/api")) as process:
        out, error = process.communicate(timeout=120)
    assert (process.returncode, out.split()) == (0, ["forks", "False", "loaded"]), error


@pytest.mark.alone
def test_no_call_waits_for_the_import_of_prefect(tmp_path: Path, subtests: pytest.Subtests) -> None:
    # given an address at which nothing answers, and one at which nothing listens
    started: dict[str, subprocess.Popen[str]] = {}
    with ExitStack() as stack:
        hangs = stack.enter_context(socket.create_server((LOOPBACK, 0)))
        with socket.create_server((LOOPBACK, 0)) as free:
            ports = {"hangs": hangs.getsockname()[1], "is not there": free.getsockname()[1]}
        # when
        for name, port in ports.items():
            (tmp_path / name).mkdir()
            environment = _environment(tmp_path / name, f"http://{LOOPBACK}:{port}/api")
            started[name] = stack.enter_context(_python(SCRIPT, cwd=tmp_path / name, env=environment))
        # then (what is above 3 s is for the machine)
        for name, process in started.items():
            assert process.stdout is not None and process.stderr is not None
            line = process.stdout.readline()
            process.kill()  # the next test is about its end, which takes ten seconds
            error = process.stderr.read()
            with subtests.test(name):
                assert line, error
                seconds = json.loads(line)
                assert max(seconds.values()) < 4, seconds
                assert sum(seconds.values()) < 8, seconds
                assert "Traceback" not in error


@pytest.mark.parametrize("listens", [True, False])
def test_a_program_ends_well_while_prefect_is_away(tmp_path: Path, listens: bool) -> None:
    with socket.create_server((LOOPBACK, 0)) as server:
        environment = _environment(tmp_path, f"http://{LOOPBACK}:{server.getsockname()[1]}/api")
        if listens:
            program = _python(SCRIPT, cwd=tmp_path, env=environment)
        else:  # and Prefect is imported already
            server.close()
            pipes: dict[str, Any] = {"text": True, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            program = Program([sys.executable, "-c", SCRIPT], cwd=tmp_path, env=environment, **pipes)
        with program:
            out, error = program.communicate(timeout=120)
    assert program.returncode == 0 and json.loads(out), error
    # It may end before it knows.
    assert "Traceback" not in error and error.count("cannot be reached") <= 1, error


def _python(script: str, *arguments: str, cwd: Path, env: dict[str, str]) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.Popen(command, cwd=cwd, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def _environment(folder: Path, url: str) -> dict[str, str]:
    database = f"sqlite:///{folder / 'jobs.db'}"
    return {**os.environ, "PREFECT_API_URL": url, "PREFECT_JOBS_DATABASE_URL": database}


def execute(folder: Path, url: str, seconds: float) -> tuple[float, str, str]:
    """How long the first execute() of a process takes, and how it ends, where Prefect's import takes some seconds."""
    with _python(EXECUTE, str(seconds), cwd=folder, env=_environment(folder, url)) as process:
        assert process.stdout is not None and process.stderr is not None
        line = process.stdout.readline()
        # It would wait for the import at its end.
        process.kill()
        assert line, process.stderr.read()
    took, status, error = json.loads(line)
    return took, status, error


@pytest.mark.alone
def test_execute_does_not_wait_for_the_import_where_prefect_is_away(tmp_path: Path) -> None:
    with socket.create_server((LOOPBACK, 0)) as listener:
        took, status, error = execute(tmp_path, f"http://{LOOPBACK}:{listener.getsockname()[1]}/api", 7)
    assert took < 4 and status == "Pending" and "later" in error, (took, error)


def test_execute_waits_for_the_import_where_prefect_is_there(tmp_path: Path) -> None:
    with _Nobody() as server:
        _, status, error = execute(tmp_path, f"http://{LOOPBACK}:{server.server_port}/api", 7)
    # it has got Prefect's answer
    assert status == "Error" and "no scheduler 'nobodys'" in error


class _Nobody(ThreadingHTTPServer):
    """A server that knows nothing of anything, as a new one of Prefect."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            self.send_response(404)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        do_GET = do_POST = do_PATCH = _answer  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            pass

    def __init__(self) -> None:
        super().__init__((LOOPBACK, 0), self.Handler)

    def __enter__(self) -> "_Nobody":
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *args: object) -> None:
        self.shutdown()
        self.server_close()
