"""The jobs table in pages of apps: columns, actions of the app, and what other processes find again."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from jinja2 import Environment
from markupsafe import Markup
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from prefect_jobs import CondorJob, CustomJobAction, DaskJob, Job, JobManager, JobsTable
from prefect_jobs.tethys import JobsTable as PeersTable
from prefect_jobs.web import JobsMiddleware, options, routes, signing
from prefect_jobs.web.actions import DEFAULT
from tests.unit.test_lifecycle import schedulers
from tests.unit.test_web_access import MIDDLEWARE, ByHeader, Floods, make, manager

__all__ = ["make", "manager", "schedulers"]
DONE: list[str] = []
COLUMNS = ("id", "name", ("Area", "extended_properties.model.area"), "run_time", "creation_time")


def share(job: Job) -> None:
    DONE.append(f"share {job.name}")


async def compare(job: Job) -> None:
    DONE.append(f"compare {job.name}")


def fails(job: Job) -> None:
    raise RuntimeError("no such basin")


def is_ready(job: Job, job_status: str) -> bool:
    return job.name == "mine" and job_status == "Pending"


class Model(CondorJob):
    """A type with a method for a table."""

    def publish(self) -> None:
        DONE.append(f"publish {self.name}")


def host(table: Callable[[], JobsTable], tables: Any = (), framework: type[Starlette] = Starlette) -> TestClient:
    """An app of users, with a page that shows the table."""

    async def page(request: Request) -> HTMLResponse:
        shown = Environment(autoescape=True).from_string("<h1>Floods</h1>{{ table }}").render(table=table())
        return HTMLResponse(shown)

    middleware = [*MIDDLEWARE, Middleware(JobsMiddleware)]
    app = framework(middleware=middleware)
    app.router.routes += [
        Route("/floods", page),
        Route("/jobs/{job_id}/map", page, name="map"),
        Mount("/my", routes=routes(Floods, tables=tables)),
    ]
    return TestClient(app, headers={"x-user": "alice"}, follow_redirects=False)


def sent(page: str, label: str) -> tuple[str, dict[str, str]]:
    """Address and fields of a button, as a browser sends it."""
    button = re.search(rf'<button form="([^"]*)" formaction="([^"]*)"[^>]*>{label}</button>', page)
    assert button is not None, f"no button {label!r} in {page}"
    form = page.split(f'id="{button[1]}"')[1].split("</form>")[0]
    return button[2], dict(re.findall(r'name="([^"]*)" value="([^"]*)"', form))


@pytest.mark.parametrize("framework", [Starlette, FastAPI])
def test_a_table_in_a_page_of_an_app(make: Callable[..., Job], manager: JobManager, framework: type[Starlette]) -> None:
    make("mine", extended_properties={"model": {"area": 12.5}})
    make("<b>", description="other")
    client = host(
        lambda: JobsTable(manager.list_jobs(), COLUMNS, hover=True, attributes={"data-x": '"'}), (), framework
    )
    page = client.get("/floods").text
    assert re.findall(r"<th scope=\"col\">(.*?)</th>", page) == [
        "Id", "Name", "Area", "Run Time", "Creation Time", "Status", "Actions",
    ]  # fmt: skip
    assert page.index("mine") < page.index("&lt;b&gt;") and "12.5" in page and "<b>" not in page
    assert 'class="jobs-table jobs-table-hover"' in page and 'data-x="&#34;"' in page
    assert 'data-base="/my/"' in page and 'id="jobs-table-row-1"' in page and 'id="jobs-table-status-1"' in page
    (script,) = re.findall(r'<script type="module" src="([^"]*)"', page)
    assert client.get(script).status_code == 200
    address, fields = sent(page, "Run")
    assert client.post(address, data={**fields, "confirmed": "1"}).status_code == 303
    again = client.get("/my/rows", params={"table": fields["table"], "ids": "1"}).text
    assert "Submitted" in again and "12.5" in again and sent(again + page, "Terminate")[0].endswith("/terminate")


def test_the_actions_of_an_app(make: Callable[..., Job], manager: JobManager) -> None:
    DONE.clear()
    make("mine")
    make("other")
    manager.create_job("model", "alice", job_type=Model, attributes={"executable": "/bin/true"}).save()
    actions = [
        "run",
        CustomJobAction("Share", share, enabled_callback=is_ready, confirmation_message="<i>Really</i>?"),
        ("Compare & more", compare, None, Markup("<i>Sure</i>?")),
        {"label": "Fails", "callback_or_url": fails},
        CustomJobAction("Publish", "publish", job_type=Model),
        CustomJobAction("Map", "/maps/{job_id}/"),
        CustomJobAction("Details", modal_url="/details", show_overlay=True),
    ]
    client = host(lambda: JobsTable(manager.list_jobs(order_by="id"), ("name",), actions=actions, sort=False))
    page = client.get("/floods").text
    assert page.count(">Share</button>") == 1 and page.count("Share <small>It is not possible for this job now.") == 2
    assert 'data-question="&lt;i&gt;Really&lt;/i&gt;?"' in page and page.count(" data-html>") == 3
    assert 'href="/maps/1/"' in page and 'href="/details/1" data-modal="Details"' in page
    address, fields = sent(page, "Share")
    asked = client.post(address, data=fields).text
    assert "&lt;i&gt;Really&lt;/i&gt;?" in asked and DONE == []
    assert client.post(address, data={**fields, "confirmed": "1"}).status_code == 303
    other = address.replace("/1/", "/2/")
    assert client.post(other, data={**fields, "confirmed": "1"}).status_code == 409
    address, fields = sent(page, "Compare &amp; more")
    assert "<i>Sure</i>?" in client.post(address, data=fields).text
    client.post(address, data={**fields, "confirmed": "1"})
    assert client.post(sent(page, "Publish")[0], data=fields).status_code == 303
    assert DONE == ["share mine", "compare mine", "publish model"]
    failed = client.post(sent(page, "Fails")[0], data=fields, headers={"accept": "application/json"})
    assert failed.status_code == 500 and failed.json()["detail"] == "Fails failed: no such basin"
    forged = client.post(sent(page, "Fails")[0], data={**fields, "table": fields["table"][:-1] + "x"})
    assert forged.status_code == 404


def test_a_function_of_no_module_is_found_by_the_tables_of_the_routes(
    make: Callable[..., Job], manager: JobManager, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    DONE.clear()
    make("mine")
    table = JobsTable(manager.list_jobs(), ("name",), actions=[("Local", lambda job: DONE.append(job.name))])
    page = host(lambda: table).get("/floods").text
    assert "The action 'Local' works in this process only" in caplog.text
    monkeypatch.setattr(options, "_local", {})  # another process
    address, fields = sent(page, "Local")
    lost = host(lambda: table).post(address, data=fields, headers={"accept": "application/json"})
    assert lost.status_code == 500 and "cannot be imported" in lost.json()["detail"] and DONE == []
    assert host(lambda: table, [table]).post(address, data=fields).status_code == 303
    assert DONE == ["mine"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"column_fields": ("id", "nothing")}, "Jobs have no field 'nothing'. They have: "),
        ({"actions": ["runn"]}, "There is no action 'runn'. Valid: run"),
        ({"actions": [7]}, "7 is no action"),
        ({"attributes": {"onclick": "x"}}, "'onclick' is not allowed"),
        ({"attributes": {"style": "x"}}, "'style' is not allowed"),
        ({"attributes": {"a b": "x"}}, "'a b' is not allowed"),
        ({"actions": [("Label",)]}, "needs callback_or_url or modal_url"),
        ({"actions": [(" ", "/x")]}, "needs a label"),
        ({"actions": [("X", "//evil.example/")]}, "neither a path of this site nor http"),
        ({"actions": [("X", "javascript://x/%0aalert(1)")]}, "neither a path of this site nor http"),
        ({"actions": [{"label": "X", "modal_url": "/\\evil.example/"}]}, "neither a path of this site nor http"),
        ({"actions": [("X", "no_such_method")]}, "is no method of Job"),
    ],
)
def test_a_bad_table_says_why(make: Callable[..., Job], change: dict[str, Any], said: str) -> None:
    job = make("mine")
    given: dict[str, Any] = {"jobs": [job], "column_fields": ("id",)}
    with pytest.raises(ValueError, match=re.escape(said)):
        JobsTable(**{**given, **change})


def test_what_a_table_says_of_itself(make: Callable[..., Job]) -> None:
    jobs = [make(name) for name in ("b", "a", "c")]
    table = JobsTable(iter(jobs), ("name", "extended_properties.x.y"), monitor_url="/m", actions=["run", "logs"])
    assert table.column_names == ["Name", "Y"] and table.column_fields == ["name", "extended_properties.x.y"]
    assert table.num_cols == 4 and table.actions == ["run", "logs", "monitor"]
    assert [row.name for row in table.rows] == ["b", "a", "c"] and table.rows[0].columns[1].text == ""
    assert [row.name for row in JobsTable(jobs, (), sort=lambda job: job.name, reverse_sort=True).rows] == [
        "c",
        "b",
        "a",
    ]
    assert [row.name for row in JobsTable(jobs, (), sort=False, reverse_sort=True).rows] == ["c", "a", "b"]
    assert JobsTable(jobs, ()).actions == list(DEFAULT)
    static = table.__html__()
    assert "data-table" not in static and "<button" not in static and "<script" not in static
    assert "No Jobs" in JobsTable([], ("anything",)).__html__()
    with pytest.warns(UserWarning, match="data_table_options has no nothing. Valid: ordering"):
        found = JobsTable(jobs, (), enable_data_table=True, data_table_options={"nothing": 1, "searching": True})
    assert 'data-search="true" data-ordering="true"' in found.__html__()


def test_tables_of_older_versions_of_the_peer(make: Callable[..., Job]) -> None:
    job = make("mine")
    with pytest.warns(DeprecationWarning, match="run_btn, delete_btn"):
        table = PeersTable([job], ("name",), run_btn=False, delete_btn=True)
    assert "run" not in table.actions and "delete" in table.actions
    with pytest.warns(DeprecationWarning, match="status_actions"):
        assert not PeersTable([job], ("name",), status_actions=False).options.show_actions
    with pytest.warns(DeprecationWarning, match="'log' is deprecated"):
        assert PeersTable([job], ("name",), actions=["log"]).actions == ["logs"]


def test_signed_texts_end_and_are_for_one_purpose(make: Callable[..., Job], monkeypatch: pytest.MonkeyPatch) -> None:
    text = signing.sign("one", {"a": [1, "ü"]}, 60)
    assert signing.read("one", text) == {"a": [1, "ü"]} and signing.read("other", text) is None
    for bad in ("", ".", "x.y", text[:-1], text + "0", text.replace(".", ""), "ü.ü", json.dumps(text)):
        assert signing.read("one", bad) is None
    monkeypatch.setattr("time.time", lambda: 4e9)
    assert signing.read("one", text) is None


def test_a_session_of_a_host_app(manager: JobManager) -> None:
    async def page(request: Request) -> HTMLResponse:
        return HTMLResponse(request.user.username)

    app = Starlette(
        routes=[Route("/", page), Mount("/my", routes=routes(Floods, allow_anonymous=True))],
        middleware=[Middleware(JobsMiddleware, allow_anonymous=True)],
    )
    client = TestClient(app)
    name = client.get("/").text
    assert name.startswith("anonymous-") and client.get("/").text == name
    assert client.get("/my/api/session").json()["user"] == name


def test_dask_work_cannot_be_run_from_a_page(manager: JobManager) -> None:
    job = manager.create_job("sums", "alice", job_type="DASK")
    job.save()
    assert isinstance(job, DaskJob)
    page = host(lambda: JobsTable([job], ("name",))).get("/floods").text
    assert "The work of a Dask job is in the app, which executes it." in page


def test_users_are_told_apart_by_the_host(make: Callable[..., Job]) -> None:
    jobs = [make("mine"), make("other", "bob")]
    app = Starlette(
        routes=[Mount("/my", routes=routes(Floods))],
        middleware=[Middleware(AuthenticationMiddleware, backend=ByHeader())],
    )
    client = TestClient(app, headers={"x-user": "bob"})
    assert [job["name"] for job in client.get("/my/api/jobs").json()["jobs"]] == [jobs[1].name]
