"""What a callback's URL says, and whether it may."""

import math

import pytest
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute, Host, Mount, Route
from starlette.testclient import TestClient

from prefect_jobs import App, callbacks
from prefect_jobs.runtime.checks import retry_delay
from prefect_jobs.web import create_app, routes, status_callback
from prefect_jobs.web.status_callback import parse_delay


class AnApp(App):
    """An app without jobs."""

    name = package = "an_app"


@pytest.mark.parametrize(
    ("text", "delay"), [(None, 0), ("0", 0), ("-0", 0), ("30", 30), ("0.25", 0.25), (".5", 0.5), ("86400", 86_400)]
)
def test_a_delay_is_a_number_of_seconds(text: str | None, delay: float) -> None:
    assert parse_delay(text) == delay


@pytest.mark.parametrize(
    "text", ["", "nan", "inf", "-inf", "-1", "-0.001", "86400.001", "1e9", "soon", "1_000", "0x10", "1,5", "9" * 5000]
)
def test_what_is_no_delay_is_said_to_be_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"^delay must be a number of seconds from 0 to 86400"):
        parse_delay(text)


def test_a_signature_is_for_one_job_and_secret() -> None:
    token = callbacks.sign("key", 7)
    assert callbacks.is_signed("key", 7, token)
    assert not callbacks.is_signed("key", 8, token)
    assert not callbacks.is_signed("another key", 7, token)
    for other in ("", token[:-1], token.upper(), "ü\ud800"):
        assert not callbacks.is_signed("key", 7, other)
    assert not callbacks.is_signed("key", None, callbacks.sign("key", 0))


def test_tries_get_rarer_and_never_stop() -> None:
    assert 3.75 <= retry_delay(1) <= 5 and 7.5 <= retry_delay(2) <= 10
    assert all(225 <= retry_delay(tries) <= 300 for tries in (7, 100, 10_000))
    assert len({retry_delay(3) for _ in range(10)}) > 1 and math.isfinite(retry_delay(10**9))


def _url(request: Request) -> PlainTextResponse:
    return PlainTextResponse(callbacks.absolute_url(request, 7, None))


URL = Route("/url", _url)


def _fastapi() -> FastAPI:
    app = FastAPI()
    app.router.routes.append(URL)
    app.mount("/jobs", create_app(AnApp))
    return app


def _included() -> FastAPI:
    app = FastAPI()
    app.router.routes.append(URL)
    app.include_router(APIRouter(routes=routes(AnApp)), prefix="/jobs")
    return app


@pytest.mark.parametrize(
    ("app", "path"),
    [
        (Starlette(routes=[URL, *routes(AnApp)]), ""),
        (Starlette(routes=[URL, Mount("/jobs", routes=routes(AnApp))]), "/jobs"),
        (Starlette(routes=[URL, Mount("/a", routes=[Mount("/jobs", routes=routes(AnApp))])]), "/a/jobs"),
        (Starlette(routes=[URL, Mount("/jobs", routes=routes(AnApp), name="named")]), "/jobs"),
        (Starlette(routes=[URL, Mount("/jobs", create_app(AnApp), name="named")]), "/jobs"),
        (Starlette(routes=[Mount("/pages", routes=[URL]), Mount("/jobs", create_app(AnApp))]), "/jobs"),
        (_fastapi(), "/jobs"),
        (_included(), "/jobs"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "/proxy"])
def test_the_url_leads_to_where_the_routes_are_mounted(app: Starlette, path: str, prefix: str) -> None:
    client = TestClient(app, base_url="https://jobs.example.org", root_path=prefix)
    asked = "/pages/url" if any(getattr(route, "path", "") == "/pages" for route in app.routes) else "/url"
    assert client.get(prefix + asked).text == f"https://jobs.example.org{prefix}{path}/update-job-status/7/"


def test_the_url_of_another_host() -> None:
    inner: list[BaseRoute] = [Host("jobs.example.org", Starlette(routes=routes(AnApp)))]
    client = TestClient(Starlette(routes=[URL, *inner]), base_url="https://example.org")
    assert client.get("/url").text == "https://jobs.example.org/update-job-status/7/"


def test_too_many_calls_from_one_address_are_told_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_callback, "_RATE", 0.0)
    monkeypatch.setattr(status_callback, "_BURST", 3.0)
    app = create_app(AnApp)
    busy, other = (TestClient(app, client=(host, 1)) for host in ("192.0.2.1", "192.0.2.2"))
    answers = [busy.get("/update-job-status/x/") for _ in range(5)]
    assert [answer.status_code for answer in answers] == [404, 404, 404, 429, 429]
    assert answers[-1].headers["Retry-After"] == "1" and answers[-1].json()["success"] is False
    assert other.get("/update-job-status/x/").status_code == 404


def test_addresses_that_are_quiet_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_callback, "_ADDRESSES", 2)
    monkeypatch.setattr(status_callback, "_BURST", 0.0)
    monkeypatch.setattr(status_callback, "_RATE", 1.0)
    calls = status_callback._Calls()
    for number in range(10):
        calls.are_too_many(str(number))
    assert len(calls._left) <= 3
