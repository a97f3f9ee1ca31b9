"""What must not happen in the web part: each of these did, before it was mended."""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.authentication import AuthenticationError
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from prefect_jobs import CondorJob, CustomJobAction, Job, JobManager, JobsTable, register_job_type
from prefect_jobs.jobs.log_file import LogFile
from prefect_jobs.runtime.wiring import get_runtime
from prefect_jobs.testing import FakeSchedulers
from prefect_jobs.web import JobsMiddleware, create_app, routes
from prefect_jobs.web.actions import slug
from prefect_jobs.web.owner import Owner, uid_of
from tests.unit.test_lifecycle import schedulers
from tests.unit.test_web_access import (
    MIDDLEWARE,
    PROGRAM,
    ByHeader,
    Floods,
    Others,
    make,
    manager,
    names,
    token,
    visitor,
)

__all__ = ["make", "manager", "schedulers"]


# -- whose machine it is --------------------------------------------------------------------------------------------


def test_the_user_of_a_connection_is_that_of_its_open_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = listener.getsockname()
        with socket.create_connection(server) as client:
            mine = client.getsockname()
            assert uid_of(mine, server) == os.getuid()
            assert uid_of(server, server) is None and uid_of(mine, ("127.0.0.1", 1)) is None
        assert uid_of(mine, server) is None
    assert uid_of(("unknown", 1), server) is None


@pytest.mark.anyio
@pytest.mark.parametrize("host", ["127.0.0.1", "evil.example"])
async def test_only_the_owner_of_the_process_is_let_in(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as client:

        def connection(end: tuple[str, int]) -> HTTPConnection:
            address, headers = listener.getsockname(), [(b"host", host.encode())]
            scope = {"type": "http", "path": "/", "client": end, "server": address, "headers": headers}
            return HTTPConnection({**scope, "scheme": "http", "query_string": b""})

        if host == "127.0.0.1":
            assert await Owner().authenticate(connection(client.getsockname()))
        else:
            with pytest.raises(AuthenticationError, match="are for the user who runs"):
                await Owner().authenticate(connection(client.getsockname()))
        with pytest.raises(AuthenticationError):
            await Owner().authenticate(connection(listener.getsockname()))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


# -- who has sent it ------------------------------------------------------------------------------------------------


def test_a_browser_that_signs_in_by_itself_is_no_program(make: Callable[..., Job]) -> None:
    job = make("mine")
    headers = {"Authorization": "Basic x", "Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    answer = visitor("alice").post(f"/api/jobs/{job.id}/actions/delete", headers=headers)
    assert answer.status_code == 403 and names(visitor("alice")) == ["mine"]


def test_visitors_without_a_user_have_jobs_of_their_own(manager: JobManager) -> None:
    async def create(request: Request) -> Response:
        manager.create_job("made", request.user, job_type="BASIC").save()
        shown = JobsTable(manager.list_jobs(user=request.user), ("name", "user"))
        return HTMLResponse(await shown.arender(request))

    app = Starlette(
        routes=[Route("/create", create), Mount("/my", routes=routes(Floods, allow_anonymous=True))],
        middleware=[*MIDDLEWARE, Middleware(JobsMiddleware, allow_anonymous=True)],
    )
    one, other = TestClient(app), TestClient(app)
    assert one.get("/create").text.count("job-row") == 1 == other.get("/create").text.count("job-row")
    for client in (one, other):
        name = client.get("/my/api/session").json()["user"]
        (job,) = client.get("/my/api/jobs").json()["jobs"]
        assert job["user"] == name and name.startswith("anonymous-")


def test_the_rules_of_the_routes_hold_whatever_the_host_allows(make: Callable[..., Job]) -> None:
    make("mine")
    app = Starlette(
        routes=[Mount("/my", routes=routes(Floods))],
        middleware=[
            Middleware(JobsMiddleware, allow_anonymous=True),
            Middleware(AuthenticationMiddleware, backend=ByHeader()),
        ],
    )
    assert TestClient(app).get("/my/api/jobs").status_code == 401
    assert TestClient(app, headers={"x-user": "alice"}).get("/my/api/session").json()["user"] == "alice"
    bare = Starlette(
        routes=[Mount("/my", routes=routes(Floods))], middleware=[Middleware(JobsMiddleware, allow_anonymous=True)]
    )
    assert TestClient(bare).get("/my/api/jobs").status_code == 403
    public = TestClient(bare).get(TestClient(bare).get("/my/static/x/jobs.css").url)
    assert "set-cookie" not in public.headers or "no-cache" in public.headers["cache-control"]


def test_a_permission_function_knows_the_visitor(manager: JobManager) -> None:
    app = create_app(Floods, allow_anonymous=True, permission=lambda request, *_: request.user.username == "x")
    assert TestClient(app).get("/").status_code == 200


# -- which action ---------------------------------------------------------------------------------------------------


def first(job: Job) -> None:
    job.update_status("First")


def second(job: Job) -> None:
    job.update_status("Second")


class Model(CondorJob):
    """A type of the app."""


def test_each_label_leads_to_its_own_action(make: Callable[..., Job], manager: JobManager) -> None:
    register_job_type("MODEL_OF_SAFETY", Model)
    job = make("mine")
    model = manager.create_job("model", "alice", job_type=Model, attributes=PROGRAM)
    model.save()
    assert len({slug(label) for label in ("Опубликовать", "Удалить", "共有", "Compare", "Compare é")}) == 5
    tables = [
        CustomJobAction("Удалить", second), CustomJobAction("Опубликовать", first),
        CustomJobAction("Go", second, job_type=Model), CustomJobAction("Go", first),
    ]  # fmt: skip
    client = visitor("alice", tables=tables)
    done = client.post(f"/api/jobs/{job.id}/actions/custom/{slug('Опубликовать')}", headers=token(client))
    assert done.json()["status"] == "First"
    for each, status in ((job, "First"), (model, "Second")):
        assert client.post(f"/api/jobs/{each.id}/actions/custom/go", headers=token(client)).json()["status"] == status
    for one, other in ((None, None), (None, Model), (CondorJob, Model)):
        actions = [CustomJobAction("Go!", first, job_type=one), CustomJobAction("Go?", second, job_type=other)]
        with pytest.raises(ValueError, match="labels that are too alike"):
            JobsTable([], (), actions=actions)


class Breaks(Job):
    """A type whose methods fail."""

    def _execute(self) -> None:
        raise NotImplementedError

    def stop(self) -> str:
        raise RuntimeError("no connection to the model")

    def _get_logs(self) -> Any:
        raise RuntimeError("no logs either")


def test_a_failure_of_one_job_does_not_affect_the_others(make: Callable[..., Job], manager: JobManager) -> None:
    job = make("mine")
    job.execute()
    breaks = manager.create_job("breaks", "alice", job_type=Breaks)
    breaks.save()
    breaks.update_status("Running")
    client = visitor("alice")
    ids = [breaks.id, 10**6, job.id]
    results = client.post("/api/actions/terminate", json={"ids": ids}, headers=token(client)).json()["results"]
    assert [one["done"] for one in results] == [False, False, True]
    assert (
        "no connection to the model" in results[0]["problem"] and results[1]["problem"] == f"There is no job {10**6}."
    )
    assert client.get(f"/api/jobs/{breaks.id}/logs").status_code == 500
    assert "no logs either" in client.get(f"/jobs/{breaks.id}/logs/").text


# -- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "/?creation_time__gte=0001-01-01T00:00:00%2B01:00",
        "/?order_by=" + ",".join(["id"] * 2100),
        "/?" + "&".join(f"extended_properties__k{number}=1" for number in range(1100)),
        "/?columns=" + ",".join(["id"] * 3000),
        "/?offset=1",
        "/?status=" + "x" * 300,
    ],
)
def test_strange_addresses_are_answered_soon_and_shortly(make: Callable[..., Job], address: str) -> None:
    make("mine")
    answer = visitor("alice").get(address)
    assert answer.status_code in (200, 414) and len(answer.content) < 30_000 and "sqlite" not in answer.text
    assert "page=0" not in answer.text


def test_strange_fields_are_refused(make: Callable[..., Job]) -> None:
    job = make("mine")
    alice = visitor("alice")
    given = token(alice)
    assert alice.post(f"/api/jobs/{job.id}/actions/run", headers={**given, "Origin": "http://["}).status_code == 403
    form = {"csrf_token": given["X-CSRF-Token"], "next": "http://[", "confirmed": "1"}
    assert alice.post(f"/jobs/{job.id}/actions/run", data=form).headers["location"] == "/"
    strange = b'{"csrf_token": "\\ud800", "table": "\\ud800"}'
    headers = {"content-type": "application/json"}
    assert alice.post(f"/api/jobs/{job.id}/actions/run", content=strange, headers=headers).status_code == 400
    headers = {**headers, **given}
    assert alice.post(f"/api/jobs/{job.id}/actions/custom/x", content=strange, headers=headers).status_code == 400
    assert alice.post("/api/actions/delete?columns=id,name", json={"all": True}, headers=given).status_code == 200


def test_halves_of_characters_are_no_text(make: Callable[..., Job]) -> None:
    job = make("mine")
    alice = visitor("alice")
    headers = {**token(alice), "content-type": "application/json", "accept": "text/html"}
    for address, body in (
        ("jobs/1/actions/delete", b'{"table": "\\ud800"}'),
        ("actions/delete", b'{"ids": ["\\ud800"]}'),
    ):
        assert alice.post(f"/{address}", content=body, headers=headers).status_code == 400
    assert alice.get(f"/jobs/{job.id}/logs/?before=%C2%B2").status_code == 400


@pytest.mark.parametrize("text", ["äöü€𝄞" * 3, "plain", "€", ""])
def test_parts_of_a_log_are_whole_characters(text: str, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(text)
    found, at = "", 0
    while at < len(text.encode()):
        part = LogFile(path).part(5, after=at)
        assert part.end > at
        found, at = found + part.text, part.end
    assert found == text
    found, at = "", len(text.encode())
    while at:
        part = LogFile(path).part(5, before=at)
        found, at = part.text + found, part.start
    assert found == text


def test_files_whose_names_are_no_text(make: Callable[..., Job], schedulers: FakeSchedulers, tmp_path: Path) -> None:
    job = make("mine", workspace=str(tmp_path / "there"))
    assert isinstance(job, CondorJob)
    job.execute()
    directory = Path(job.initial_dir)
    directory.mkdir(parents=True, exist_ok=True)
    (Path(os.fsdecode(os.fsencode(directory) + b"/caf\xe9.txt"))).write_text("x")
    alice = visitor("alice")
    assert "caf\ufffd.txt" in alice.get(f"/jobs/{job.id}/").text
    assert "caf\ufffd.txt" in [each["path"] for each in alice.get(f"/api/jobs/{job.id}/files").json()["files"]]


# -- what others have -----------------------------------------------------------------------------------------------


def test_nothing_of_others_stands_in_a_page(make: Callable[..., Job]) -> None:
    make("mine")
    make("other", "bob").update_status("Secret-Phase-7")
    assert "Secret-Phase-7" not in visitor("alice").get("/").text


def test_who_may_not_read_logs_reads_no_files(make: Callable[..., Job], schedulers: FakeSchedulers) -> None:
    job = make("other", "bob")
    job.execute()
    alice = visitor("alice", permission=lambda request, action, job: action == "view")
    assert (
        alice.get(f"/jobs/{job.id}/").status_code == 200
        and '<h2 id="pj-files"' not in alice.get(f"/jobs/{job.id}/").text
    )
    for address in ("/jobs/{}/logs/", "/jobs/{}/files/x", "/api/jobs/{}/files", "/api/jobs/{}/logs"):
        assert alice.get(address.format(job.id)).status_code == 403


def test_a_table_for_everyone_and_of_each_app(make: Callable[..., Job]) -> None:
    foreign = Others.get_job_manager().create_job("foreign", "alice", job_type="BASIC")
    foreign.save()
    jobs = {"floods": make("mine"), "others": foreign}

    async def page(request: Request) -> HTMLResponse:
        return HTMLResponse(JobsTable([jobs[request.path_params["app"]]], ("name",)).render(request))

    app = Starlette(
        routes=[
            Route("/page/{app}", page), Mount("/f", routes=routes(Floods)), Mount("/o", routes=routes(Others)),
        ],
        middleware=MIDDLEWARE,
    )  # fmt: skip
    assert (
        "mine" in TestClient(app).get("/page/floods").text and "<button" not in TestClient(app).get("/page/floods").text
    )
    alice = TestClient(app, headers={"x-user": "alice"})
    assert 'data-base="/f/"' in alice.get("/page/floods").text and 'data-base="/o/"' in alice.get("/page/others").text


def test_an_api_at_a_mount_that_is_called_so(make: Callable[..., Job]) -> None:
    job = make("mine")
    app = Starlette(routes=[Mount("/api/jobs", routes=routes(Floods))], middleware=MIDDLEWARE)
    client = TestClient(app, headers={"x-user": "alice"})
    csrf = client.get("/api/jobs/api/session").json()["csrf_token"]
    asked = client.post(f"/api/jobs/jobs/{job.id}/actions/delete", data={"csrf_token": csrf})
    assert "permanently delete" in asked.text and get_runtime().store.get(job.id or 0) is not None
