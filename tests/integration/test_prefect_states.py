"""Showing states in a real Prefect server: few calls, and a person's command is never written over."""

import uuid
from collections.abc import Callable, Iterator
from typing import TypeVar

import httpx
import pytest

from prefect_jobs.local.prefect_server import PrefectServerInfo
from prefect_jobs.projection.prefect_api import NewRun, PrefectApi, PrefectAway
from prefect_jobs.projection.states import Face
from tests.support import eventually, prefect_http

pytestmark = pytest.mark.prefect

T = TypeVar("T")
SUBMITTED = Face("PENDING", "Submitted", "as cluster 1")
RUNNING = Face("RUNNING", "Running", "on host1")
PAUSED = Face("PAUSED", "Paused", "")


@pytest.fixture
def api(prefect_server: PrefectServerInfo) -> Iterator[PrefectApi]:
    made = PrefectApi()
    yield made
    made.close()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The requests that are sent."""
    found: list[str] = []
    send = httpx.HTTPTransport.handle_request

    def handle(self: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        found.append(f"{request.method} {request.url.path.rsplit('/', 1)[-1]}")
        return send(self, request)

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", handle)
    return found


def patiently(call: Callable[[], T]) -> T:
    """What a call gives, once Prefect, which is busy for moments on SQLite, does it; the projector asks again, too."""
    found: list[T] = []

    def done() -> bool:
        try:
            found.append(call())
        except PrefectAway as error:
            assert error.busy
            return False
        return True

    eventually(done, "Prefect does it", 30)
    return found[0]


def made(api: PrefectApi, face: Face = SUBMITTED) -> tuple[str, str]:
    """A run and the state that we have given it."""
    wanted = NewRun(
        app="an_app",
        entrypoint="prefect_jobs.flows.condor_job:condor_job",
        parameters={},
        name="a job",
        face=face,
        key=uuid.uuid4().hex,
        tags=["prefect-jobs"],
        labels={},
    )

    run, state, _ = patiently(lambda: api.create_run(wanted))
    assert state is not None
    return run, state


def person_sets(server: PrefectServerInfo, run: str, kind: str, name: str) -> str:
    body = {"state": {"type": kind, "name": name}, "force": True}
    with prefect_http(server.api_url) as http:
        answer = http.post(f"/flow_runs/{run}/set_state", json=body).raise_for_status()
    return str(answer.json()["state"]["id"])


def stands(server: PrefectServerInfo, run: str) -> dict[str, str]:
    with prefect_http(server.api_url) as http:
        found: dict[str, str] = http.get(f"/flow_runs/{run}").raise_for_status().json()["state"]
    return found


def test_a_state_is_shown_in_one_call(api: PrefectApi, prefect_server: PrefectServerInfo, asked: list[str]) -> None:
    run, ours = made(api)
    asked.clear()

    state = api.set_state(run, RUNNING, ours)

    assert asked == ["POST bulk_set_state"]
    found = stands(prefect_server, run)
    assert (found["id"], found["type"], found["name"], found["message"]) == (state, "RUNNING", "Running", "on host1")


@pytest.mark.parametrize(
    ("kind", "name"),
    [("CANCELLING", "Cancelling"), ("CANCELLED", "Cancelled"), ("SCHEDULED", "AwaitingRetry"), ("PAUSED", "Paused")],
)
def test_a_command_is_left_alone(api: PrefectApi, prefect_server: PrefectServerInfo, kind: str, name: str) -> None:
    run, ours = made(api)
    command = person_sets(prefect_server, run, kind, name)

    assert api.set_state(run, RUNNING, ours) is None

    assert stands(prefect_server, run)["id"] == command


def test_a_pause_that_is_shown_writes_over_no_resume(
    api: PrefectApi, prefect_server: PrefectServerInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, ours = made(api, RUNNING)
    person_sets(prefect_server, run, "PAUSED", "Paused")

    press_during_the_look(prefect_server, monkeypatch, run, "RUNNING", "Running")
    assert api.set_state(run, PAUSED, ours) is None

    assert stands(prefect_server, run)["type"] == "RUNNING"


@pytest.mark.parametrize(("kind", "name"), [("CANCELLING", "Cancelling"), ("PAUSED", "Paused")])
def test_what_prefect_refuses_at_first_writes_over_no_command(
    api: PrefectApi, prefect_server: PrefectServerInfo, monkeypatch: pytest.MonkeyPatch, kind: str, name: str
) -> None:
    run, ours = made(api)  # from one pending state to another: by its rules this is not possible

    press_during_the_look(prefect_server, monkeypatch, run, kind, name)
    assert api.set_state(run, Face("PENDING", "Submitted", "No answer since noon"), ours) is None

    assert stands(prefect_server, run)["type"] == kind


def test_what_changes_while_we_look_and_is_no_command_is_written_over(
    api: PrefectApi, prefect_server: PrefectServerInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, ours = made(api)

    press_during_the_look(prefect_server, monkeypatch, run, "SCHEDULED", "Late")
    state = api.set_state(run, Face("PENDING", "Submitted", "No answer since noon"), ours)

    assert stands(prefect_server, run)["id"] == state


def test_what_prefect_refuses_at_first_is_shown_all_the_same(
    api: PrefectApi, prefect_server: PrefectServerInfo, asked: list[str]
) -> None:
    run, ours = made(api)
    asked.clear()

    state = api.set_state(run, Face("PENDING", "Submitted", "No answer since noon"), ours)

    found = stands(prefect_server, run)
    assert (found["id"], found["message"]) == (state, "No answer since noon")
    assert [request.split()[0] for request in asked[:-1]] == ["POST", "GET", "POST", "POST"]


def press_during_the_look(
    server: PrefectServerInfo, monkeypatch: pytest.MonkeyPatch, run: str, kind: str, name: str
) -> None:
    """Has a button pressed between our look at a run and what follows from it."""
    pressed: list[str] = []
    send = httpx.HTTPTransport.handle_request

    def handle(self: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        answer = send(self, request)
        if request.method == "GET" and not pressed:
            pressed.append("now")
            person_sets(server, run, kind, name)
        return answer

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", handle)


def test_what_we_have_paused_goes_on(api: PrefectApi, prefect_server: PrefectServerInfo) -> None:
    run, ours = made(api)
    paused = api.set_state(run, PAUSED, ours)

    state = api.set_state(run, RUNNING, paused)

    found = stands(prefect_server, run)
    assert (found["id"], found["type"]) == (state, "RUNNING")


def test_a_server_that_cannot_set_on_a_condition_is_asked_first(
    api: PrefectApi, prefect_server: PrefectServerInfo, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, ours = made(api)
    counted = httpx.HTTPTransport.handle_request

    def older(self: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/bulk_set_state"):
            return httpx.Response(405, request=request)
        return counted(self, request)

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", older)
    asked.clear()

    for _ in range(2):
        ours = api.set_state(run, RUNNING, ours) or ours

    assert [request.split()[0] for request in asked[:2]] == ["GET", "POST"]
    assert stands(prefect_server, run)["name"] == "Running"


@pytest.mark.parametrize("older", [False, True])
def test_runs_are_deleted_together(
    api: PrefectApi, prefect_server: PrefectServerInfo, monkeypatch: pytest.MonkeyPatch, older: bool
) -> None:
    first, second, other = (made(api)[0] for _ in range(3))
    send = httpx.HTTPTransport.handle_request

    def handle(self: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        if older and request.url.path.endswith("/bulk_delete"):
            return httpx.Response(404, request=request)
        return send(self, request)

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", handle)

    patiently(lambda: api.delete_runs([first, second, str(uuid.uuid4())]))
    patiently(lambda: api.delete_runs([first]))  # gone already

    with prefect_http(prefect_server.api_url) as http:
        codes = [http.get(f"/flow_runs/{run}").status_code for run in (first, second, other)]
    assert codes == [404, 404, 200]
