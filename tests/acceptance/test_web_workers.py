"""The web part in two worker processes, for visitors who are not signed in, in a real browser."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from prefect_jobs.local.processes import LOOPBACK, free_port
from prefect_jobs.runtime.wiring import Runtime
from tests.acceptance.browser import chromium, pages
from tests.support import eventually

APP = """
import os

from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import HTMLResponse
from starlette.routing import Mount, Route

from prefect_jobs import App, CustomJobAction, JobsTable
from prefect_jobs.web import JobsMiddleware, routes


class Floods(App):
    name = package = "floods"


manager = Floods.get_job_manager()


async def mark(job):
    pids = job.extended_properties.get("pids", [])
    job.extended_properties["pids"] = sorted({*pids, os.getpid()})
    await job.asave()


def jobs_of(user):
    if not manager.list_jobs(user=user):
        manager.create_job("mine", user, job_type="BASIC").save()
    return manager.list_jobs(user=user)


async def page(request):
    jobs = await run_sync(jobs_of, request.user)
    actions = ["run", CustomJobAction("Mark", mark), "delete"]
    table = JobsTable(jobs, ("name", "user", ("Marks", "extended_properties.pids")), actions=actions)
    head = '<!doctype html><html lang="en"><head><title>Floods</title></head><body><main><h1>Floods</h1>'
    return HTMLResponse(f"{head}{await table.arender(request)}</main></body></html>")


app = Starlette(
    routes=[Route("/", page), Mount("/jobs", routes=routes(Floods, allow_anonymous=True))],
    middleware=[Middleware(JobsMiddleware, allow_anonymous=True)],
)
"""


@pytest.fixture
def url(tmp_path: Path, runtime: Runtime) -> Iterator[str]:
    """The address of the app, served by two processes."""
    (tmp_path / "floods_app.py").write_text(APP)
    port = free_port()
    command = ["uvicorn", "floods_app:app", "--host", LOOPBACK, "--port", str(port), "--workers", "2"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    with (tmp_path / "web.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", *command], cwd=tmp_path, env=environment, stdout=log, stderr=log
        )
    address = f"http://{LOOPBACK}:{port}"
    try:
        eventually(lambda: (tmp_path / "web.log").read_text().count("startup complete") == 2, "both are up", 60)
        yield address
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture
def browser() -> Iterator[Browser]:
    with chromium() as made:
        yield made


def _token(page: Page) -> str:
    return page.locator("[data-csrf-token]").first.get_attribute("data-csrf-token") or ""


def _cookies(page: Page) -> dict[str, str]:
    return {each["name"]: each["value"] for each in page.context.cookies()}


def test_an_action_of_the_app_is_found_by_each_worker(browser: Browser, url: str) -> None:
    with pages(browser, "nobody") as page, pages(browser, "nobody") as other:
        for each in (page, other):
            each.goto(url)
            expect(each.locator(".job-row")).to_have_count(1)
        row = page.locator(".job-row")
        theirs = other.locator(".job-row").get_attribute("data-job")
        # when it is pressed
        row.locator("details.pj-menu > summary").click()
        row.get_by_role("button", name="Mark").click()
        expect(row).to_contain_text("[")
        # and sent again through new connections, until both workers had one
        form = row.get_by_role("button", name="Mark", include_hidden=True)
        action = form.get_attribute("formaction")
        assert action is not None
        sealed = row.evaluate("one => one.closest('[data-table]').dataset.table")
        headers = {"X-CSRF-Token": _token(page), "Accept": "application/json"}

        def both() -> bool:
            answer = httpx.post(f"{url}{action}", data={"table": sealed}, headers=headers, cookies=_cookies(page))
            assert answer.status_code == 200, answer.text
            return "," in (row.text_content() or "")

        eventually(both, "both workers have carried it out", 30)
        # then what one visitor has is not there for the other
        assert httpx.get(f"{url}/jobs/jobs/{theirs}/", cookies=_cookies(page)).status_code == 404
        assert (
            httpx.post(f"{url}/jobs/jobs/{theirs}/actions/delete", headers=headers, cookies=_cookies(page)).status_code
            == 404
        )
        other.reload()
        expect(other.locator(".job-row")).not_to_contain_text("[")
