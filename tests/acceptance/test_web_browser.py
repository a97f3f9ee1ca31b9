"""The web part in a real browser, with real jobs."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from fastapi import FastAPI
from playwright.sync_api import Browser, Page, expect
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from prefect_jobs import CondorWorkflow, CustomJobAction, Job, JobManager, JobsTable
from prefect_jobs.blocks import CondorScheduler
from prefect_jobs.monitor import Monitor
from prefect_jobs.runtime.wiring import Runtime
from prefect_jobs.web import JobsMiddleware, create_app, logs, routes
from tests.acceptance.browser import chromium, pages, served
from tests.acceptance.conftest import ShellJob, TestApp
from tests.acceptance.test_monitor import monitor
from tests.acceptance.workflows import node, workflow_of
from tests.unit.test_web_access import MIDDLEWARE

__all__ = ["monitor"]
expect.set_options(timeout=20_000)
HOSTILE = "<img src=x onerror=alert(1)>"
DONE: list[str] = []


async def share(job: Job) -> None:
    DONE.append(job.name)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for all tests."""
    with chromium() as made:
        yield made


def row(page: Page, job: Job) -> Any:
    return page.locator(f"#jobs-table-row-{job.id}")


def shows(page: Page, job: Job, status: str) -> None:
    expect(page.locator(f"#jobs-table-status-{job.id} .pj-status")).to_contain_text(status, timeout=60_000)


def press(page: Page, job: Job, label: str) -> None:
    row(page, job).locator("details.pj-menu > summary").click()
    row(page, job).get_by_role("button", name=label, exact=True).click()


def confirm(page: Page, label: str) -> None:
    page.locator("dialog").get_by_role("button", name=label, exact=True).click()


def is_accessible(page: Page) -> None:
    """By axe-core, in light and in dark."""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        found = Axe().run(page)
        assert not found.violations_count, found.generate_report()


def app_of(*more: Any, **options: Any) -> Starlette:
    return create_app(TestApp, middleware=MIDDLEWARE, **options)


def _stop_by_keyboard(page: Page, job: Job) -> None:
    summary = row(page, job).locator("details.pj-menu > summary")
    summary.focus()
    page.keyboard.press("Enter")
    is_accessible(page)
    button = row(page, job).get_by_role("button", name="Terminate", exact=True)
    for _ in range(12):
        if button.evaluate("one => one === document.activeElement"):
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.locator("dialog").wait_for()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")


def _read_page_and_logs(page: Page, job: Job) -> None:
    row(page, job).get_by_role("link").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text(HOSTILE)
    is_accessible(page)
    page.get_by_role("link", name="the logs").click()
    expect(page.locator(".pj-lines")).to_contain_text("begun\ndone")
    page.get_by_label("Find").fill("DONE")
    expect(page.locator(".pj-found")).to_have_text("1 found")
    is_accessible(page)


def test_rows_follow_real_jobs_and_are_steered(
    browser: Browser, manager: JobManager, monitor: Monitor, shell_job: ShellJob, flag: Any, runtime: Runtime
) -> None:
    # given a page that is open before the jobs are submitted, in seven tabs, and another user
    waits = f"while test ! -e '{flag}'; do sleep 0.2; done"
    job, other = shell_job(f"echo begun; {waits}; echo done", name=HOSTILE), shell_job(waits, name="another")
    for each in (job, other):
        each.save()
    with served(app_of()) as url, pages(browser, job.user) as page, pages(browser, "mallory") as stranger:
        tabs = [page, *(page.context.new_page() for _ in range(6))]
        for tab in tabs:
            tab.goto(url)
        shows(page, job, "Pending")
        is_accessible(page)
        page.get_by_label(re.compile("^Select job .*another")).check()
        # when they are submitted, then each tab follows
        for each in (job, other):
            each.execute()
        for tab in (page, tabs[-1]):
            shows(tab, job, "Running")
        assert row(page, job).locator("a").first.text_content() == HOSTILE
        expect(page.locator("[data-status=Running] b")).to_have_text("2")
        expect(page.get_by_label(re.compile("^Select job .*another"))).to_be_checked()
        _stop_by_keyboard(page, job)
        shows(page, job, "Aborted")
        # the other one is held, and goes on
        press(page, other, "Pause")
        shows(page, other, "Paused")
        press(page, other, "Resume")
        shows(page, other, "Running")
        # many at once
        page.get_by_role("button", name="Terminate selected").click()
        confirm(page, "Terminate")
        shows(page, other, "Aborted")
        shows(tabs[-1], other, "Aborted")
        # again, and then it ends by itself
        press(page, job, "Resubmit")
        confirm(page, "Resubmit")
        shows(page, job, "Running")
        flag.touch()
        shows(page, job, "Complete")
        # the filter is in the address, and a reload keeps it
        page.locator("[data-status=Complete]").click()
        expect(row(page, other)).to_have_count(0)
        page.reload()
        expect(row(page, job)).to_have_count(1)
        _read_page_and_logs(page, job)
        # a stranger finds nothing of it
        for address in ("", f"jobs/{job.id}/", f"jobs/{job.id}/logs/"):
            stranger.goto(f"{url}/{address}")
            assert "another" not in stranger.content() and "begun" not in stranger.content()
        # and it is deleted with its files
        page.goto(url)
        press(page, job, "Delete")
        confirm(page, "Delete")
        expect(row(page, job)).to_have_count(0)
    assert runtime.store.get(job.handle.record.id) is None


def test_logs_are_followed_and_nodes_lead_to_theirs(
    browser: Browser, manager: JobManager, monitor: Monitor, alice: CondorScheduler, shell_job: ShellJob, flag: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    # given a job whose output is transferred while it runs, and a workflow
    monkeypatch.setattr(logs, "_SHARED", 1.0)
    waits = f"while test ! -e '{flag}'; do sleep 0.2; done"
    job = shell_job(f"echo begun; {waits}; echo done; sleep 4", attributes={"stream_output": True})
    workflow: CondorWorkflow = workflow_of(manager, alice, "a workflow")
    for name in ("first", "second"):
        node(workflow, name, f"echo from the {name} node").save()
    workflow.nodes[1].add_parent(workflow.nodes[0])
    workflow.save()
    with served(app_of()) as url, pages(browser, "alice") as page:
        for each in (job, workflow):
            each.execute()
        page.goto(url)
        shows(page, job, "Running")
        # when its log is open, then what it writes is added
        page.goto(f"{url}/jobs/{job.id}/logs/?name=output")
        lines = page.locator(".pj-lines")
        expect(lines).to_contain_text("begun")
        flag.touch()
        expect(lines).to_contain_text("done")
        # a node of the graph leads to its log
        page.goto(f"{url}/jobs/{workflow.id}/")
        shows(page, workflow, "Complete")
        expect(page.locator("svg .pj-node.pj-complete")).to_have_count(2)
        is_accessible(page)
        page.get_by_role("link", name="second: Complete").click()
        expect(lines).to_contain_text("from the second node")


class StrictPolicy:
    """A host app that allows nothing in its pages but its own files."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Any) -> None:
            if message["type"] == "http.response.start":
                policy = b"default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'"
                message["headers"] = [*message["headers"], (b"content-security-policy", policy)]
            await send(message)

        await self.app(scope, receive, sent if scope["type"] == "http" else send)


def host(table: Callable[[], JobsTable]) -> FastAPI:
    """A FastAPI app with a page of its own that shows a table."""

    async def page(request: Request) -> Response:
        head = '<!doctype html><html lang="en"><head><title>Floods</title></head><body><main><h1>Floods</h1>'
        return HTMLResponse(f"{head}{table().render(request)}</main></body></html>")

    app = FastAPI(middleware=[*MIDDLEWARE, Middleware(StrictPolicy), Middleware(JobsMiddleware)])
    app.router.routes += [Route("/floods", page), Mount("/my/jobs", routes=routes(TestApp))]
    return app


def _show_in_a_dialog(page: Page, job: Job) -> None:
    row(page, job).locator("details.pj-menu > summary").click()
    row(page, job).get_by_role("link", name="Show").click()
    dialog = page.get_by_role("dialog", name="Show")
    expect(dialog.frame_locator("iframe").get_by_role("heading", level=1)).to_have_text("Floods")
    is_accessible(page)
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)


def test_a_table_in_the_page_of_an_app_with_a_strict_policy(browser: Browser, manager: JobManager) -> None:
    # given actions of the app
    DONE.clear()
    jobs = [manager.create_job(name, "alice", job_type="BASIC") for name in ("one", HOSTILE)]
    for job in jobs:
        job.save()
    actions = [
        "run",
        CustomJobAction("Share", share, lambda job: job.name == "one", "Share <b>it</b>?"),
        CustomJobAction("Show", modal_url="/floods?of={job_id}"),
        "results",
        "terminate",
    ]

    def table() -> JobsTable:
        return JobsTable(jobs, ("name", "run_time"), actions=actions, enable_data_table=True, results_url="/floods?of=")

    with served(host(table)) as url, pages(browser, "alice") as page:
        page.goto(f"{url}/floods")
        press(page, jobs[0], "Share")
        expect(page.locator("dialog p")).to_have_text("Share <b>it</b>?")
        confirm(page, "Share")
        expect(page.locator(".pj-announce")).to_contain_text("Share: the job is Pending.")
        assert DONE == ["one"]
        _show_in_a_dialog(page, jobs[0])
        row(page, jobs[1]).locator("details.pj-menu > summary").click()
        expect(row(page, jobs[1]).get_by_role("button", name="Share")).to_contain_text("not possible for this job")
        page.keyboard.press("Escape")
        # a status of the app is followed like any other, and so is a run from the page
        press(page, jobs[0], "Run")
        shows(page, jobs[0], "Submitted")
        jobs[0].handle.refresh()
        jobs[0].update_status("Calibrating", message="step 1 of 3")
        shows(page, jobs[0], "Calibrating")
        expect(row(page, jobs[0])).to_contain_text("step 1 of 3")
        jobs[0].update_status("Complete")
        shows(page, jobs[0], "Complete")
        row(page, jobs[0]).locator("details.pj-menu > summary").click()
        assert (
            row(page, jobs[0]).get_by_role("link", name="View Results").get_attribute("href")
            == f"/floods?of={jobs[0].id}"
        )
        page.keyboard.press("Escape")
        # a row can be opened, and stays so
        row(page, jobs[0]).get_by_text("Details").click()
        expect(row(page, jobs[0]).locator(".pj-steps")).to_contain_text("Calibrating")
        # the table orders in the browser
        page.get_by_role("button", name="Name").click()
        expect(page.locator("tbody tr").first).to_contain_text("one" if HOSTILE > "one" else HOSTILE)
        is_accessible(page)


def test_a_page_comes_back_after_its_server(browser: Browser, manager: JobManager) -> None:
    job = manager.create_job("one", "alice", job_type="BASIC")
    job.save()
    app = app_of()
    with pages(browser, "alice") as page:
        with served(app) as url:
            page.goto(url)
            shows(page, job, "Pending")
        job.execute()
        with served(app, port=int(url.rpartition(":")[2])):
            shows(page, job, "Submitted")
            job.update_status("Complete")
            shows(page, job, "Complete")
            # what another process does to a job that is over is shown, too
            job.update_status("Error", message="by hand")
            shows(page, job, "Error")
            job.delete()
            expect(row(page, job)).to_have_count(0)


def test_without_javascript(browser: Browser, manager: JobManager, alice: CondorScheduler) -> None:
    jobs = [manager.create_job(f"job {number}", "alice", job_type="BASIC") for number in range(3)]
    for job in jobs:
        job.save()
        job.execute()
    workflow: CondorWorkflow = workflow_of(manager, alice, "a workflow")
    workflow.save()
    node(workflow, "first", "true").save()
    with served(app_of()) as url, pages(browser, "alice", java_script_enabled=False) as page:
        page.goto(f"{url}/?limit=2")
        page.get_by_role("link", name="Next").click()
        assert "page=2" in page.url
        page.goto(f"{url}/?status=Submitted")
        press(page, jobs[0], "Terminate")
        expect(page.locator("main")).to_contain_text("Are you sure you want to terminate this job?")
        page.get_by_role("button", name="Terminate").click()
        assert "status=Submitted" in page.url
        for job in jobs[1:]:
            page.get_by_label(f"Select job {job.id},").check()
        page.get_by_role("button", name="Terminate selected").click()
        page.get_by_role("button", name="Terminate").click()
        expect(page.locator("main")).to_contain_text(f"Job {jobs[2].id}, job 2: done")
        page.goto(f"{url}/jobs/{workflow.id}/")
        page.locator("svg a").first.click()
        expect(page.locator("main")).to_contain_text("There are no logs yet.")
