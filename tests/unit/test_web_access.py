"""Who sees and changes which jobs in the web part, and what is answered to bad requests; with fake schedulers."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection
from starlette.testclient import TestClient

from prefect_jobs import App, Job, JobManager
from prefect_jobs.testing import FakeSchedulers
from prefect_jobs.web import create_app
from tests.unit.test_lifecycle import schedulers

__all__ = ["schedulers"]
PROGRAM = {"executable": "/bin/true", "transfer_executable": False}
#: Every address of one job.
OF_A_JOB = [
    "/jobs/{}/", "/jobs/{}/details", "/jobs/{}/logs/", "/jobs/{}/logs/download?name=output", "/jobs/{}/files/out.txt",
    "/api/jobs/{}", "/api/jobs/{}/logs", "/api/jobs/{}/files",
]  # fmt: skip


class Floods(App):
    name = package = "floods"


class Others(App):
    name = package = "others"


class ByHeader(AuthenticationBackend):
    """Visitors say who they are."""

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, SimpleUser] | None:
        name = conn.headers.get("x-user")
        return (AuthCredentials(["authenticated"]), SimpleUser(name)) if name else None


MIDDLEWARE = [Middleware(AuthenticationMiddleware, backend=ByHeader())]


def visitor(name: str, **options: Any) -> TestClient:
    app = create_app(Floods, middleware=MIDDLEWARE, **options)
    return TestClient(app, headers={"x-user": name} if name else {}, follow_redirects=False)


def token(client: TestClient) -> dict[str, str]:
    return {"X-CSRF-Token": client.get("/api/session").json()["csrf_token"]}


def names(client: TestClient) -> list[str]:
    return [job["name"] for job in client.get("/api/jobs").json()["jobs"]]


@pytest.fixture
def manager(schedulers: FakeSchedulers) -> JobManager:
    return Floods.get_job_manager()


@pytest.fixture
def make(manager: JobManager) -> Callable[..., Job]:
    """Makes saved jobs."""

    def made(name: str, user: str = "alice", **options: Any) -> Job:
        job = manager.create_job(name, user, job_type="CONDOR", attributes=PROGRAM, **options)
        job.save()
        return job

    return made


def test_jobs_of_others_do_not_exist(make: Callable[..., Job]) -> None:
    mine, other = make("mine"), make("other", "bob")
    foreign = Others.get_job_manager().create_job("foreign", "alice", job_type="BASIC")
    foreign.save()
    alice = visitor("alice")
    assert names(alice) == ["mine"] and "other" not in alice.get("/").text
    assert alice.get(f"/api/jobs/{mine.id}").json()["user"] == "alice"
    missing = 10**6
    for job in (other, foreign):
        for address in OF_A_JOB:
            answer, nothing = alice.get(address.format(job.id)), alice.get(address.format(missing))
            assert answer.status_code == nothing.status_code == 404, address
            assert _of_any_job(answer.text, job.id) == _of_any_job(nothing.text, missing)
        for address in ("/jobs/{}/actions/delete", "/api/jobs/{}/actions/delete"):
            assert alice.post(address.format(job.id), headers=token(alice)).status_code == 404
        many = alice.post("/api/actions/pause", json={"ids": [missing, job.id]}, headers=token(alice)).json()
        assert [one["problem"] for one in many["results"]] == [
            f"There is no job {missing}.",
            f"There is no job {job.id}.",
        ]
    rows = alice.get("/rows", params={"table": _table(alice), "ids": f"{mine.id},{other.id},{foreign.id}"}).text
    assert f'data-job="{mine.id}"' in rows and f'data-job="{other.id}"' not in rows and "foreign" not in rows


def _of_any_job(text: str, job_id: int | None) -> str:
    return re.sub(r'data-csrf-token="[^"]*"', "", text).replace(f"job {job_id}", "job N")


def _table(client: TestClient) -> str:
    return str(client.get("/").text.split('data-table="')[1].split('"')[0])


def test_a_permission_grants_more(make: Callable[..., Job]) -> None:
    make("mine")
    other, last = make("other", "bob"), make("last", "carol")
    asked: list[tuple[str, Any]] = []

    async def permission(request: Any, action: str, job: Job | None) -> Any:
        asked.append((action, job and job.user))
        if action == "list":
            return {"user": "bob"} if request.user.username == "alice" else request.user.username == "root"
        return job is not None and job.user == "bob" and action in ("view", "terminate")

    alice, root = visitor("alice", permission=permission), visitor("root", permission=permission)
    assert names(alice) == ["other", "mine"] and asked.count(("list", None)) == 1
    assert names(root) == ["last", "other", "mine"]
    assert alice.get(f"/api/jobs/{other.id}").status_code == 200 and alice.get(f"/jobs/{last.id}/").status_code == 404
    actions = {each["name"]: each["reason"] for each in alice.get(f"/api/jobs/{other.id}").json()["actions"]}
    assert actions["delete"] == "It is not granted to you." and actions["terminate"] == "The job was not submitted yet."
    refused = alice.post(f"/api/jobs/{other.id}/actions/delete", headers=token(alice))
    assert refused.status_code == 403 and "'delete' is not granted" in refused.json()["detail"]
    assert "It is not granted to you." in alice.get("/").text


def test_who_is_not_signed_in_sees_nothing(make: Callable[..., Job]) -> None:
    make("mine")
    for address in ("/", "/api/jobs", "/events", "/rows", "/schedulers/", "/api/openapi.json"):
        assert visitor("").get(address).status_code == 401, address
    bare = TestClient(create_app(Floods))
    assert bare.get("/").status_code == 403 and "AuthenticationMiddleware" in bare.get("/").text
    assert bare.get("/api/jobs").headers["content-type"] == "application/problem+json"
    assert bare.get("/static/x/jobs.js").status_code == 200


def test_each_browser_without_a_user_is_one_of_its_own(manager: JobManager) -> None:
    app = create_app(Floods, allow_anonymous=True)
    one, other = TestClient(app), TestClient(app)
    first = one.get("/api/session").json()["user"]
    assert first.startswith("anonymous-") and one.get("/api/session").json()["user"] == first
    assert other.get("/api/session").json()["user"] != first
    manager.create_job("mine", first, job_type="BASIC").save()
    assert names(one) == ["mine"] and names(other) == []
    other.cookies.set("prefect_jobs_visitor", "WzE3LCJhIl0.00")
    assert other.get("/api/session").json()["user"] != first


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({}, "token of the form is missing"),
        ({"X-CSRF-Token": "nonsense"}, "token of the form is missing"),
        ({"Origin": "https://evil.example"}, "page of another site (https://evil.example)"),
        ({"Origin": "null"}, "page of another site"),
        ({"Sec-Fetch-Site": "cross-site"}, "page of another site"),
    ],
)
def test_what_no_page_of_ours_has_sent_changes_nothing(
    make: Callable[..., Job], headers: dict[str, str], said: str
) -> None:
    job = make("mine")
    alice = visitor("alice")
    given = {**token(alice), **headers} if "token" not in said else headers
    for address in (f"/api/jobs/{job.id}/actions/delete", "/api/actions/delete"):
        answer = alice.post(address, json={"ids": [job.id]}, headers=given)
        assert answer.status_code == 403 and said in answer.json()["detail"]
    bobs = alice.post(f"/api/jobs/{job.id}/actions/delete", headers=token(visitor("bob")))
    assert bobs.status_code == 403 and names(alice) == ["mine"]
    assert alice.get(f"/api/jobs/{job.id}/actions/delete").status_code == 405
    by_program = alice.post(f"/api/jobs/{job.id}/actions/delete", headers={"Authorization": "Bearer x"})
    assert by_program.status_code == 200


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("nothing=1", "There is no such filter. Valid: id, name"),
        ("limit=201", "limit is a whole number from 1 to 200"),
        ("limit=-1", "limit is a whole number"),
        ("offset=1e3", "offset is a whole number"),
        ("page=0", "page is a whole number"),
        ("order_by=-nothing", "cannot be ordered by '-nothing'"),
        ("id=x", "an id is a whole number, not 'x'"),
        ("id__isnull=maybe", "true or false"),
        ("creation_time__gte=yesterday", "creation_time__gte"),
        ("status=", ""),
        ("name__startswith=%00", ""),
        ("extended_properties__=1", "key that is empty"),
    ],
)
def test_a_bad_query_is_said(make: Callable[..., Job], query: str, said: str) -> None:
    make("mine")
    alice = visitor("alice")
    answer, page = alice.get(f"/api/jobs?{query}"), alice.get(f"/?{query}")
    assert page.status_code == 200
    if said:
        assert answer.status_code == 400 and said in answer.json()["detail"]
        assert 'role="alert"' in page.text and "mine" in page.text
    else:
        assert answer.status_code == 200


@pytest.mark.parametrize("job_id", ["x", "0", "-1", "1.5", str(10**30), "%00", "١"])
def test_an_id_that_is_no_number_is_no_job(manager: JobManager, job_id: str) -> None:
    alice = visitor("alice")
    for address in OF_A_JOB:
        assert alice.get(address.format(job_id)).status_code == 404, address


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b'{"ids": 1}', "application/json", 400),
        (b'{"ids": ["x"]}', "application/json", 400),
        (b'{"files": {}}', "application/json", 400),
        (b"\xff=\xff", "application/x-www-form-urlencoded", 400),
        (b"x" * 1_000_001, "application/x-www-form-urlencoded", 413),
        (b"[" * 100_000, "application/json", 400),
    ],
)
def test_a_body_that_cannot_be_read_is_an_error(manager: JobManager, body: bytes, kind: str, status: int) -> None:
    alice = visitor("alice")
    headers = {**token(alice), "content-type": kind}
    answer = alice.post("/api/actions/delete", content=body, headers=headers)
    assert answer.status_code == status and answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("address", "body", "answer"),
    [
        ("/api/actions/delete", {"all": "yes"}, (400, "all is true or false")),
        ("/api/actions/delete", {"ids": ["1"]}, (400, "ids is a list of whole numbers")),
        ("/api/actions/delete", {"ids": [True]}, (400, "ids is a list of whole numbers")),
        ("/api/actions/de/lete", {}, (404, "There is no action 'de/lete' for many jobs")),
    ],
)
def test_a_body_is_not_guessed_at(address: str, body: Any, answer: tuple[int, str]) -> None:
    alice = visitor("alice")
    got = alice.post(address, json=body, headers=token(alice))
    assert got.status_code == answer[0] and answer[1] in got.json()["detail"]
    assert got.headers["content-type"] == "application/problem+json"
