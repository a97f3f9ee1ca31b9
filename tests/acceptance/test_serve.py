"""``prefect-jobs serve``: the callback endpoint in a process of its own, which is killed, hangs, and is told to end."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from prefect_jobs import JobManager, clock
from prefect_jobs.blocks import CondorScheduler
from prefect_jobs.local.processes import LOOPBACK, free_port
from prefect_jobs.runtime.wiring import Runtime
from tests.acceptance.callbacks import SCHEDULED, SERVED, answer, path, status, submitted
from tests.acceptance.conftest import ShellJob
from tests.forks import Program, run_program
from tests.support import eventually


class Serve:
    """A ``prefect-jobs serve`` process."""

    def __init__(self, folder: Path, *arguments: Any, **environment: str) -> None:
        (folder / "served.py").write_text(SERVED)
        self.log = folder / "serve.log"
        self.port = free_port()
        self.url = f"http://{LOOPBACK}:{self.port}"
        self._folder, self._arguments = folder, arguments
        self._environment = environment
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Serve":
        """Returns when it listens."""
        path = os.pathsep.join(sys.path)
        command = [sys.executable, "-m", "prefect_jobs", "serve", *self._arguments, "--port", str(self.port)]
        with self.log.open("wb") as log:
            self.process = Program(
                [*command, "--no-monitor"],
                cwd=self._folder,
                stderr=log,
                env={**os.environ, "PYTHONPATH": path, **self._environment},
            )
        eventually(self._listens, "it listens", 120)
        return self

    def _listens(self) -> bool:
        assert self.process is not None
        said = self.log.read_text()
        assert self.process.poll() is None, said
        return f"Listening on {self.url}" in said

    def end(self, number: int = signal.SIGTERM) -> float:
        """Seconds that it took to end, with exit status 0."""
        assert self.process is not None
        began = time.monotonic()
        self.process.send_signal(number)
        assert self.process.wait(30) == 0, self.log.read_text()
        assert "Traceback" not in self.log.read_text(), self.log.read_text()
        return time.monotonic() - began

    def kill(self) -> None:
        """Ends it as a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


ServeHere = Callable[..., Serve]


@pytest.fixture
def serve(tmp_path: Path, runtime: Runtime) -> Iterator[ServeHere]:
    """Starts servers on the test's database."""
    started: list[Serve] = []

    def make(*arguments: Any, **environment: str) -> Serve:
        started.append(Serve(tmp_path, *arguments, **environment))
        return started[-1].start()

    yield make
    for server in started:
        server.kill()


def test_a_condor_job_that_calls_before_it_ends_is_complete_without_anybody_looking(
    serve: ServeHere, shell_job: ShellJob, manager: JobManager, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a job that knows its URL
    server = serve("served:Served", PREFECT_JOBS_CALLBACK_SECRET="a key")
    monkeypatch.setattr(runtime.settings, "public_url", server.url)
    monkeypatch.setattr(runtime.settings, "callback_secret", SecretStr("a key"))
    job = shell_job("")
    job.save()
    assert job.id is not None
    url = manager.get_job_status_callback_url(None, job.id)
    job.set_attribute("arguments", ["-c", f"echo done; curl -fsSG -d delay=1.5 '{url}'"])
    # when it runs, and nobody looks
    job.execute()
    due = eventually(runtime.store.next_check, "the job has called", 60)
    assert due is not None
    # then it is Complete by itself
    left = (due - clock.now()).total_seconds() + 3
    eventually(lambda: status(runtime, job) == "Complete", "the job is Complete", left)
    assert '{"success":"scheduled"}' in str(job.get_logs()["output"])
    # and its page shows it, to who runs the server; no header says who that is
    for headers in ({}, {"X-Forwarded-For": "10.0.0.1"}, {"X-Forwarded-For": f"127.0.0.1:{server.port}"}):
        page = httpx.get(f"{server.url}/jobs/{job.id}/", headers=headers, trust_env=False)
        assert page.status_code == 200 and "Complete" in page.text
    stranger = httpx.get(f"{server.url}/", headers={"Host": "evil.example"}, trust_env=False)
    assert stranger.status_code == 401 and "ssh -L" in stranger.text
    assert "token" not in server.log.read_text()
    # and the server ends when it is told to
    assert server.end() < 5


def test_a_delayed_check_survives_that_the_server_is_killed(
    serve: ServeHere, shell_job: ShellJob, runtime: Runtime
) -> None:
    job = shell_job("true")
    job.execute()
    server = serve("--app", "served:Served")
    assert answer(httpx.get(server.url + path(job) + "?delay=1.5")) == (200, SCHEDULED)
    server.kill()
    assert status(runtime, job) == "Submitted" and runtime.store.next_check() is not None
    # A check asks once: if the job still ran then, it would be done, and the job not Complete.
    over = f"{job.engine.mine} && JobStatus == 4"
    eventually(lambda: job.engine.client().query(over, ("ClusterId",)), "the job is over", 90)
    server.start()
    eventually(
        lambda: status(runtime, job) == "Complete", "the check was done", 90
    )  # a claim of the one that was killed holds for 60 s
    assert server.end(signal.SIGINT) < 5


def test_a_look_that_hangs_does_not_keep_the_server(
    serve: ServeHere, manager: JobManager, alice: CondorScheduler, runtime: Runtime
) -> None:
    # given an access point that takes connections and never answers
    job, block = submitted(manager, alice, "silent")
    with socket.create_server((LOOPBACK, 0)) as silent:
        block.port = silent.getsockname()[1]
        block.save(overwrite=True)
        server = serve("served:Served")
        with ThreadPoolExecutor(1) as pool:
            call = pool.submit(lambda: httpx.get(server.url + path(job), timeout=60))
            silent.settimeout(30)
            connection, _ = silent.accept()
            # when it is told to end while it waits for that one, then it does
            with connection:
                assert server.end() < 5
            assert isinstance(call.exception(30), httpx.HTTPError) or call.result().status_code >= 500


def test_what_cannot_be_served_is_said(tmp_path: Path, runtime: Runtime) -> None:
    (tmp_path / "served.py").write_text(SERVED)
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = str(taken.getsockname()[1])
        for arguments, message in (
            (["served:Served", "--port", port], f"cannot listen on {LOOPBACK}:{port}: Address already in use"),
            (["served:Nothing"], "cannot be loaded"),
            (["--app", "served"], "write module:App"),
        ):
            done = run_program(
                [sys.executable, "-m", "prefect_jobs", "serve", "--no-monitor", *arguments],
                cwd=tmp_path, timeout=60,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "200"},
            )  # fmt: skip
            assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr, done.stderr


def test_without_a_prefect_api_it_brings_its_own_and_takes_it_away(
    tmp_path: Path, runtime: Runtime, prefect_template: Path
) -> None:
    shutil.copytree(prefect_template, tmp_path / "parts" / "prefect")  # to lay it out takes ten seconds
    home = {"PREFECT_HOME": str(tmp_path / "home"), "PREFECT_JOBS_HOME": str(tmp_path / "parts")}
    server = Serve(tmp_path, "served:Served", **home, PREFECT_API_URL="")
    try:
        server.start()
        (line,) = [line for line in server.log.read_text().splitlines() if "PREFECT_API_URL=" in line]
        api = line.partition("PREFECT_API_URL=")[2]
        assert httpx.get(f"{api}/health").json() is True
        assert server.end() < 10  # its Prefect server has 5 s
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{api}/health")
    finally:
        server.kill()
