"""``prefect-jobs monitor`` as a process: killed, ended, asked for metrics."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import httpx
import pytest

from prefect_jobs.local.processes import LOOPBACK, free_port
from prefect_jobs.runtime.wiring import Runtime
from tests.acceptance.conftest import ShellJob
from tests.forks import Program
from tests.support import PostgresServer, eventually

LIMIT = 60


class Process:
    """A monitor, and what it says."""

    def __init__(self, *arguments: str, command: Sequence[str] = ("monitor",)) -> None:
        self.process = Program(
            [sys.executable, "-m", "prefect_jobs", *command, *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stderr or ():
            self.lines.append(line.rstrip())

    def said(self, text: str) -> bool:
        return any(text in line for line in self.lines)

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        status = self.process.wait(10)
        self._reader.join()
        if self.process.stderr is not None:
            self.process.stderr.close()
        return status


@pytest.fixture
def start(runtime: Runtime) -> Iterator[Callable[..., Process]]:
    """Starts monitors; whatever is left of them is killed."""
    started: list[Process] = []

    def begin(*arguments: str, command: Sequence[str] = ("monitor",)) -> Process:
        started.append(Process(*arguments, command=command))
        return started[-1]

    yield begin
    for one in started:
        one.end(signal.SIGKILL)  # one that has ended is not there to be killed


def test_another_one_takes_over_from_one_that_was_killed(
    start: Callable[..., Process], shell_job: ShellJob, runtime: Runtime
) -> None:
    # given two, of which one watches the pool
    first = start()
    job = shell_job("sleep 300")
    job.execute()
    eventually(lambda: first.said("watched here"), "the first one watches", LIMIT)
    second = start()
    eventually(lambda: second.said("The monitor watches"), "the second one is there", LIMIT)
    # when
    first.end(signal.SIGKILL)
    killed = time.monotonic()
    # then
    eventually(lambda: second.said("watched here"), "the second one watches", LIMIT)
    assert time.monotonic() - killed < 15
    job.engine.client().act("Remove", f"ClusterId == {job.cluster_id}", "by somebody else")
    eventually(lambda: runtime.jobs.get(job.id or 0).state.status == "Aborted", "it sees what happens", LIMIT)  # type: ignore[union-attr]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.alone
def test_it_ends_soon_and_gives_its_leases_back(
    start: Callable[..., Process], shell_job: ShellJob, number: int, runtime: Runtime
) -> None:
    monitor = start("--json")
    job = shell_job("true")
    job.execute()
    eventually(lambda: monitor.said("watched here"), "it watches", LIMIT)
    began = time.monotonic()
    assert monitor.end(number) == 0
    assert time.monotonic() - began < 5.5  # five, and what a busy machine takes to tell
    assert runtime.store.claim_lease("scheduler:htcondor:pool-of-alice", "somebody else", 1)
    logged = [json.loads(line) for line in monitor.lines]
    assert {"time", "level", "logger", "message"} <= logged[0].keys()
    assert logged[-1]["message"] == "The monitor has ended"


@pytest.mark.alone
def test_it_ends_though_the_database_is_frozen(
    start: Callable[..., Process], shell_job: ShellJob, on_postgres: Runtime, server: PostgresServer
) -> None:
    # given
    monitor = start()
    job = shell_job("sleep 300")
    job.execute()
    eventually(lambda: monitor.said("watched here"), "it watches", LIMIT)
    with server.frozen():
        time.sleep(3)  # by now every thread of it waits for an answer
        # when
        began = time.monotonic()
        # then
        assert monitor.end(signal.SIGTERM) == 0
        assert time.monotonic() - began < 5.5
    job.stop()


def test_metrics(start: Callable[..., Process], shell_job: ShellJob, tmp_path: Path) -> None:
    port = free_port()
    monitor = start("--metrics-port", str(port))
    job = shell_job("sleep 300")
    job.execute()
    eventually(lambda: monitor.said("Metrics:"), "they are served", LIMIT)

    def read() -> str:
        return httpx.get(f"http://{LOOPBACK}:{port}/metrics", timeout=30).text

    eventually(lambda: 'prefect_jobs_jobs{status="Running"} 1.0' in read(), "it counts the job", LIMIT)
    found = read()
    assert 'prefect_jobs_scheduler_up{scheduler="htcondor:pool-of-alice"} 1.0' in found
    assert 'prefect_jobs_scheduler_catching_up{scheduler="htcondor:pool-of-alice"} 0.0' in found
    assert "prefect_jobs_projection_backlog" in found and "prefect_jobs_prefect_up 1.0" in found
    assert "prefect_jobs_poll_seconds_count" in found
    taken = start("--json", "--metrics-port", str(port))
    assert taken.process.wait(LIMIT) == 1
    eventually(lambda: taken.said("cannot be served at port"), "it says so")
    assert json.loads(taken.lines[-1])["level"] == "ERROR"
    job.stop()


def test_serve_watches_too(start: Callable[..., Process], shell_job: ShellJob, runtime: Runtime) -> None:
    # given
    port = free_port()
    served = start("--json", "--metrics-port", str(port), command=("serve", "--port", "0"))
    eventually(lambda: served.said("Listening on"), "it listens", LIMIT)
    # when
    job = shell_job("true")
    job.execute()
    # then
    eventually(lambda: runtime.jobs.get(job.id or 0).state.status == "Complete", "it was watched", LIMIT)  # type: ignore[union-attr]
    told = httpx.get(f"http://{LOOPBACK}:{port}/metrics", timeout=30).text
    assert 'prefect_jobs_scheduler_up{scheduler="htcondor:pool-of-alice"} 1.0' in told
    assert served.end(signal.SIGTERM) == 0
    logged = [json.loads(line) for line in served.lines]
    assert any("watched here" in line["message"] for line in logged)
