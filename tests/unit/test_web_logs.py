"""Those who follow a log share the answers of the scheduler; files are read each time."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from anyio.to_thread import run_sync
from starlette.testclient import TestClient

from prefect_jobs import Job, JobManager
from prefect_jobs.jobs import polling
from prefect_jobs.jobs.log_file import LogFile
from prefect_jobs.testing import FakeSchedulers
from prefect_jobs.web import logs
from tests.unit.test_lifecycle import schedulers
from tests.unit.test_web_access import make, manager, visitor

__all__ = ["make", "manager", "schedulers"]


@pytest.fixture
def alice() -> TestClient:
    return visitor("alice")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The jobs about which the scheduler was asked."""
    found: list[int] = []
    refresh = polling.refresh

    def noted(job: Any, *args: Any, **options: Any) -> Any:
        found.append(job.id)
        return refresh(job, *args, **options)

    monkeypatch.setattr(polling, "refresh", noted)
    return found


def text_of(client: TestClient, job: Job) -> str:
    answer = client.get(f"/api/jobs/{job.id}/logs", params={"name": "output"})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["text"])


def test_two_who_follow_ask_once_and_both_see_what_is_new(
    make: Callable[..., Job], alice: TestClient, asked: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    job = make("mine")
    job.execute()
    file = tmp_path / "output"
    monkeypatch.setattr(type(job.engine), "log_files", lambda _: {"output": LogFile(file)})
    file.write_text("one\n")
    assert text_of(alice, job) == text_of(visitor("alice"), job) == "one\n"
    file.write_text("one\ntwo\n")
    assert text_of(alice, job) == "one\ntwo\n"
    assert asked == [job.id]
    # a job that is over, and another attempt, are not what was shared
    job.update_status("Error")
    text_of(alice, job)
    job.resubmit()
    text_of(alice, job)
    assert asked == [job.id] * 3


@pytest.mark.anyio
async def test_those_who_come_while_it_is_asked_wait_for_the_answer(
    make: Callable[..., Job], asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await run_sync(make, "mine")
    await job.aexecute()
    there = Event()

    def slow(_: Any) -> dict[str, Any]:
        assert there.wait(20)
        return {"output": "ready\n"}

    monkeypatch.setattr(type(job.engine), "log_files", slow)
    monkeypatch.setattr(logs, "_SHARED", 0.0)  # it is shared as long as it lasts
    followers = [asyncio.create_task(logs.read(job)) for _ in range(12)]  # more than there are threads
    for _ in range(3):
        await asyncio.sleep(0.02)
    assert not any(each.done() for each in followers)
    followers.pop().cancel()  # who leaves does not take it from the others
    there.set()
    assert [found["output"] for found in await asyncio.gather(*followers)] == ["ready\n"] * 11
    assert asked == [job.id]
    assert (await logs.read(job))["output"] == "ready\n" and asked == [job.id] * 2


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def test_no_answer_is_shared_too_and_asked_for_again_later(
    make: Callable[..., Job], alice: TestClient, schedulers: FakeSchedulers, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make("mine")
    job.execute()
    address = f"/api/jobs/{job.id}/logs"
    tries: list[int] = []

    def away(_: Any) -> Any:
        tries.append(1)
        schedulers.reach()

    monkeypatch.setattr(type(job.engine), "log_files", away)
    with schedulers.away("gone"):
        answers = [alice.get(address) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [502, 502] and "gone" in answers[1].json()["detail"]
    assert len(tries) == 1
    monkeypatch.setattr(logs, "_readings", {})  # the time is over
    assert text_status(alice, address, monkeypatch, job) == 200


def text_status(client: TestClient, address: str, monkeypatch: pytest.MonkeyPatch, job: Job) -> int:
    monkeypatch.setattr(type(job.engine), "log_files", lambda _: {"output": "ready"})
    return int(client.get(address).status_code)


def test_what_is_fetched_by_a_call_is_fetched_once(
    manager: JobManager, alice: TestClient, make: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make("mine")
    job.execute()
    calls: list[int] = []

    def fetched() -> str:
        calls.append(1)
        return "from far away"

    monkeypatch.setattr(type(job.engine), "log_files", lambda _: {"output": fetched})
    assert [text_of(alice, job) for _ in range(3)] == ["from far away"] * 3
    assert len(calls) == 1
