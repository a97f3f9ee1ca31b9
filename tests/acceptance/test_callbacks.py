"""The callback URL of jobs: whoever calls it makes us look, at once or later, and learns nothing."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi import FastAPI, Request
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send

from prefect_jobs import App, Job, JobManager, clock, create_condor_scheduler
from prefect_jobs.blocks import CondorScheduler
from prefect_jobs.local.processes import LOOPBACK, free_port
from prefect_jobs.runtime.wiring import Runtime
from prefect_jobs.web import create_app, routes
from tests.acceptance.conftest import ShellJob, TestApp
from tests.support import eventually

SUCCESS, SCHEDULED, NOTHING = {"success": True}, {"success": "scheduled"}, {"success": False}

SERVED = """
from prefect_jobs import App
class Served(App):
    name = package = "test_app"
"""


class OtherApp(App):
    """An app whose jobs are nobody else's business."""

    name = package = "other_app"


class Slow(Job):
    """A job whose scheduler, this class, answers when the test wants it."""

    gate: ClassVar[threading.Event]
    looks: ClassVar[list[str]]

    def _execute(self, *args: Any, **kwargs: Any) -> None:
        pass

    def _update_status(self) -> str:
        self.looks.append(threading.current_thread().name)
        self.gate.wait(30)
        return "Running"


@pytest.fixture
def client(runtime: Runtime) -> Iterator[TestClient]:
    """The web app, in this process."""
    with TestClient(create_app(TestApp)) as made:
        yield made


def path(job: Job | int) -> str:
    return f"/update-job-status/{job if isinstance(job, int) else job.id}/"


def answer(response: httpx.Response) -> tuple[int, Any]:
    return response.status_code, response.json()


def status(runtime: Runtime, job: Job) -> str:
    """As it is in SQL; nobody is asked."""
    record = runtime.store.get(job.handle.record.id)
    assert record is not None
    return record.state.status


def submitted(manager: JobManager, pool: CondorScheduler, name: str) -> tuple[Job, CondorScheduler]:
    """A job at a pool, by a block of its own that can be made to lead elsewhere."""
    assert pool.token is not None
    block = create_condor_scheduler(name, pool.host, port=pool.port, token=pool.token.get_secret_value())
    block.save(overwrite=True)
    attributes = {"executable": "/bin/true", "transfer_executable": False}
    job = manager.create_job(name, "alice", job_type="CONDOR", scheduler=block, attributes=attributes)
    job.execute()
    return job, block


# -- the endpoint, in this process ------------------------------------------------------------------------------------


def test_a_callback_has_the_scheduler_asked(client: TestClient, shell_job: ShellJob, runtime: Runtime) -> None:
    job = shell_job("true")
    job.execute()

    def complete() -> bool:
        assert answer(client.post(path(job))) == (200, SUCCESS)
        return status(runtime, job) == "Complete"

    eventually(complete, "the job is Complete by callbacks alone", 60)
    assert answer(client.get(path(job))) == (200, SUCCESS), "there is nothing to ask any more"
    assert answer(client.get(path(job).rstrip("/"))) == (200, SUCCESS)


def test_there_are_no_jobs_but_those_of_the_apps(client: TestClient, manager: JobManager) -> None:
    mine = manager.create_job("mine", "alice", job_type="BASIC")
    foreign = OtherApp.get_job_manager().create_job("foreign", "bob", job_type="BASIC")
    mine.save()
    foreign.save()
    assert answer(client.get(path(mine))) == (200, SUCCESS)
    assert answer(client.get(path(mine) + "?delay=0")) == (200, SUCCESS)
    for number in (str(foreign.id), "999999", "0", "-1", "9" * 40, "1.0", "x", "٣", "%00"):
        for query in ("", "?delay=5"):
            assert answer(client.get(f"/update-job-status/{number}/{query}")) == (404, NOTHING)
    everybody = TestClient(create_app(TestApp, OtherApp))
    assert answer(everybody.get(path(foreign))) == (200, SUCCESS)


def test_a_delay_is_a_row_and_another_is_an_error(client: TestClient, manager: JobManager, runtime: Runtime) -> None:
    job = manager.create_job("mine", "alice", job_type="BASIC")
    job.save()
    for text in ("-1", "nan", "inf", "soon", "", "86400.5"):
        response = client.get(path(job), params={"delay": text})
        assert response.status_code == 400 and "0 to 86400" in response.json()["error"]
    assert runtime.store.next_check() is None
    assert answer(client.get(path(job) + "?delay=86400")) == (200, SCHEDULED)
    assert answer(client.post(path(job) + "?delay=1800.5")) == (200, SCHEDULED)
    due = runtime.store.next_check()
    assert due is not None and 1795 < (due - clock.now()).total_seconds() < 1802


def test_other_methods_are_refused(client: TestClient, manager: JobManager) -> None:
    job = manager.create_job("mine", "alice", job_type="BASIC")
    job.save()
    for method in ("HEAD", "PUT", "PATCH", "DELETE"):
        assert client.request(method, path(job)).status_code == 405


def test_with_a_secret_nothing_is_told_without_the_signature(
    client: TestClient, manager: JobManager, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, other = (manager.create_job("mine", "alice", job_type="BASIC") for _ in range(2))
    job.save()
    other.save()
    monkeypatch.setattr(runtime.settings, "public_url", "http://testserver")
    monkeypatch.setattr(runtime.settings, "callback_secret", SecretStr("a key"))
    url = manager.get_job_status_callback_url(None, str(job.id))
    assert answer(client.get(url)) == (200, SUCCESS)
    assert answer(client.get(url + "&delay=5")) == (200, SCHEDULED)
    query = urlsplit(url).query
    for refused in (
        path(job), path(job) + "?token=", path(other) + f"?{query}", url + "x", path(999_999),
        path(999_999) + f"?{query}", "/update-job-status/x/", path(job) + "?delay=never", path(job) + "?token=%ff",
    ):  # fmt: skip
        assert answer(client.get(refused)) == (403, NOTHING)


def test_a_scheduler_that_is_away_is_a_failure_now_and_a_check_that_goes_on(
    client: TestClient, manager: JobManager, alice: CondorScheduler, runtime: Runtime
) -> None:
    # given a job whose access point cannot be reached any more
    job, block = submitted(manager, alice, "leaving")
    block.port = free_port()
    block.save(overwrite=True)
    runtime.prefect.lookup._blocks.clear()  # as after the half minute for which blocks are kept
    # when it is called, then that failed, and the job is as it was
    assert answer(client.get(path(job))) == (502, NOTHING)
    assert status(runtime, job) == "Submitted"
    # and a delayed check waits until there is an answer
    assert answer(client.get(path(job) + "?delay=0.1")) == (200, SCHEDULED)
    first = runtime.store.next_check()
    assert first is not None
    eventually(lambda: (runtime.store.next_check() or first) > first, "the check was put off", 60)
    block.port = alice.port
    block.save(overwrite=True)
    runtime.prefect.lookup._blocks.clear()
    eventually(lambda: status(runtime, job) == "Complete", "the check was done", 60)
    eventually(lambda: runtime.store.next_check() is None, "no check is left", 10)


def test_an_error_in_a_job_type_is_a_failure_that_tells_nothing(
    client: TestClient, manager: JobManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Job) -> str:
        raise RuntimeError("with a password in its text")

    job = manager.create_job("broken", "alice", job_type=Slow)
    job.execute()
    monkeypatch.setattr(Slow, "_update_status", broken)
    assert answer(client.get(path(job))) == (502, NOTHING)


def test_of_many_calls_at_once_one_asks(manager: JobManager, runtime: Runtime) -> None:
    # given a scheduler that takes its time, and a counter at the door
    Slow.gate, Slow.looks, arrived = threading.Event(), [], []

    class Door:
        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            arrived.append(scope["path"])
            await self.app(scope, receive, send)

    job, number = manager.create_job("slow", "alice", job_type=Slow), 10
    job.execute()
    client = TestClient(Starlette(routes=routes(TestApp), middleware=[Middleware(Door)]))
    # when many call
    with ThreadPoolExecutor(number) as pool:
        calls = [pool.submit(client.get, path(job)) for _ in range(number)]
        eventually(lambda: len(arrived) == number, "all have called", 60)
        Slow.gate.set()
        answers = [answer(call.result()) for call in calls]
    # then all have the answer of one, and what changed meanwhile is not missed
    assert answers == [(200, SUCCESS)] * number
    assert len([name for name in Slow.looks if "callback" in name]) == 1
    eventually(lambda: "prefect-jobs-checker" in Slow.looks, "one more look follows", 10)


def test_in_a_fastapi_app_under_a_prefix(manager: JobManager, runtime: Runtime) -> None:
    app = FastAPI()

    @app.get("/url/{job_id}")
    def url(request: Request, job_id: int) -> str:
        return manager.get_job_status_callback_url(request, job_id)

    app.mount("/my/jobs", Starlette(routes=routes(TestApp)))
    job = manager.create_job("mine", "alice", job_type="BASIC")
    job.save()
    client = TestClient(app)
    found = client.get(f"/url/{job.id}").json()
    assert found == f"http://testserver/my/jobs/update-job-status/{job.id}/"
    assert answer(client.get(found)) == (200, SUCCESS)
    assert answer(client.post(found + "?delay=2")) == (200, SCHEDULED)
    assert runtime.checker._threads, "the first request has started it"
    assert client.put(found).status_code == 405


# -- served ------------------------------------------------------------------------------------------------------------


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
            self.process = subprocess.Popen(
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
        return f"Listening at {self.url}" in said

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
            (["served:Served", "--port", port], f"cannot listen at {LOOPBACK}:{port}: Address already in use"),
            (["served:Nothing"], "cannot be loaded"),
            (["--app", "served"], "write module:App"),
        ):
            done = subprocess.run(
                [sys.executable, "-m", "prefect_jobs", "serve", "--no-monitor", *arguments],
                cwd=tmp_path, capture_output=True, text=True, timeout=60,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "200"},
            )  # fmt: skip
            assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr, done.stderr


def test_without_a_prefect_api_it_brings_its_own_and_takes_it_away(tmp_path: Path, runtime: Runtime) -> None:
    home = {"PREFECT_HOME": str(tmp_path / "home"), "PREFECT_JOBS_HOME": str(tmp_path / "parts")}
    server = Serve(tmp_path, "served:Served", **home, PREFECT_API_URL="")
    try:
        server.start()
        (line,) = [line for line in server.log.read_text().splitlines() if "PREFECT_API_URL=" in line]
        api = line.partition("PREFECT_API_URL=")[2]
        assert httpx.get(f"{api}/health").json() is True
        assert server.end() < 5
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{api}/health")
    finally:
        server.kill()
