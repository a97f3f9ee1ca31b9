"""Without PREFECT_API_URL: one temporary Prefect server a process, on a new database, too, and none that stays."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.forks import Program
from tests.support import eventually

pytestmark = pytest.mark.prefect

SCRIPT = """
import signal, sys, threading, time
from prefect_jobs import App, PrefectJobsError, list_schedulers
from prefect_jobs.runtime.wiring import get_runtime

class Tests(App):
    name = package = "tests"

def ask():
    for _ in range(3):
        try:
            return list_schedulers()
        except PrefectJobsError:
            pass

manager = Tests.get_job_manager()
jobs = [manager.create_job(str(number), "alice", job_type="BASIC") for number in range(3)]
threads = [threading.Thread(target=call) for call in (*(job.save for job in jobs), ask, ask)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
while get_runtime().store.backlog():
    time.sleep(0.2)
open(sys.argv[1], "w").close()
sys.stdin.readline()
raise RuntimeError("the end of this program")
"""


def test_one_process_has_one_server_and_none_is_left(tmp_path: Path) -> None:
    # given a new Prefect home, and two programs at once
    environment = _environment(tmp_path)
    logs = [(tmp_path / f"{number}.log").open("w+") for number in range(2)]
    programs = [
        Program(
            [sys.executable, "-c", SCRIPT, f"shown-{number}"], env=environment, cwd=tmp_path, text=True,
            stdin=subprocess.PIPE, stdout=log, stderr=log,
        )
        for number, log in enumerate(logs)
    ]  # fmt: skip
    seen: dict[int, set[psutil.Process]] = {program.pid: set() for program in programs}

    def all_shown() -> bool:
        for program in programs:
            seen[program.pid] |= set(_servers(program.pid))
        return all(
            program.poll() is not None or (tmp_path / f"shown-{number}").exists()
            for number, program in enumerate(programs)
        )

    try:
        # when
        eventually(all_shown, "Prefect shows the jobs of both", 180)
        # then
        for log in logs:
            log.seek(0)
        assert [len(found) for found in seen.values()] == [1, 1], [log.read() for log in logs]
        # when one ends by an exception, and one by SIGTERM
        assert programs[0].stdin is not None
        programs[0].stdin.write("\n")
        programs[0].stdin.close()
        programs[1].send_signal(signal.SIGTERM)
        assert programs[0].wait(60) == 1 and programs[1].wait(60) == -signal.SIGTERM
        # then
        servers = {server for found in seen.values() for server in found}
        eventually(lambda: not [server for server in servers if server.is_running()], "no server is left", 60)
    finally:
        for program in programs:
            program.kill()
            program.wait()
            if program.stdin is not None:
                program.stdin.close()
        for server in {server for found in seen.values() for server in found}:
            if server.is_running():
                server.kill()
        for log in logs:
            log.close()


def test_a_program_that_is_killed_while_its_server_starts_leaves_none(tmp_path: Path) -> None:
    # given two programs whose servers lay out new databases
    programs: list[subprocess.Popen[bytes]] = []
    servers: list[psutil.Process] = []
    try:
        for name in ("ended", "killed"):
            (tmp_path / name).mkdir()
            command = [sys.executable, "-c", "from prefect_jobs import list_schedulers; list_schedulers(timeout=100)"]
            programs.append(Program(command, env=_environment(tmp_path / name), cwd=tmp_path / name))

        def at_it(program: "subprocess.Popen[bytes]") -> list[psutil.Process]:
            return [found for found in _servers(program.pid) if time.time() - found.create_time() > 0.2]

        # when they are killed as soon as the servers are there
        for program, number in zip(programs, (signal.SIGTERM, signal.SIGKILL), strict=True):
            servers += eventually(partial(at_it, program), "its server starts", 60) or []
            program.send_signal(number)
            assert program.wait(20) == -number
        # then
        assert len(servers) == 2
        eventually(lambda: not [server for server in servers if server.is_running()], "no server is left", 60)
    finally:
        for program in programs:
            program.kill()
            program.wait()
        for server in servers:
            if server.is_running():
                server.kill()


def _environment(folder: Path) -> dict[str, str]:
    """A new Prefect home, and no API."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_API")}
    return environment | {
        "PREFECT_HOME": str(folder / "home"),
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
        "PREFECT_JOBS_DATABASE_URL": f"sqlite:///{folder / 'jobs.db'}",
    }


def _servers(pid: int) -> list[psutil.Process]:
    try:
        children = psutil.Process(pid).children()
        return [child for child in children if "prefect.server.api.server:create_app" in child.cmdline()]
    except psutil.Error:
        return []
