"""The callback URL of jobs: whoever calls it makes us look, at once or later, and learns nothing."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar
from urllib.parse import urlsplit

import pytest
from fastapi import FastAPI, Request
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send

from prefect_jobs import Job, JobManager, clock
from prefect_jobs.blocks import CondorScheduler
from prefect_jobs.local.processes import free_port
from prefect_jobs.runtime.wiring import Runtime
from prefect_jobs.web import create_app, routes
from tests.acceptance.callbacks import NOTHING, SCHEDULED, SUCCESS, OtherApp, answer, path, status, submitted
from tests.acceptance.conftest import ShellJob, TestApp
from tests.support import eventually


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
