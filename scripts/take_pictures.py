"""Takes the pictures in docs/pictures from the running demo, with Chromium: .venv/bin/python scripts/take_pictures.py

Needs Chromium on PATH (Debian: apt-get install chromium) and the development requirements (make test installs them).
"""

import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Browser, Page, sync_playwright

from prefect_jobs import Job, JobManager
from prefect_jobs.local.processes import free_port

PICTURES = Path(__file__).resolve().parent.parent / "docs" / "pictures"
#: Offline switches: the browser itself must not look for anything outside.
SWITCHES = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
APP = """
from prefect_jobs import App

class Hydrology(App):
    name = "Hydrology"
    package = "hydrology"
"""


def main() -> None:
    """Runs the demo, looks at it in the browser while it runs, and ends it."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        sys.exit("Chromium is needed on PATH; on Debian: apt-get install chromium")
    PICTURES.mkdir(parents=True, exist_ok=True)
    demo = subprocess.Popen(
        [sys.executable, "-m", "prefect_jobs", "demo", "--keep", "120"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=list(SWITCHES))
            page = browser.new_page(viewport={"width": 1280, "height": 1150})
            runs, run, workflow = _addresses(demo, page)
            _take(page, runs, "stopped half-way", "runs.png")
            _take(page, run, "Standard output", "run.png")
            _take_artifact(page, workflow, "workflow-picture.png")
            browser.close()
    finally:
        demo.terminate()
        demo.wait(60)
    with _parts() as place, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(SWITCHES))
        page = browser.new_page(viewport={"width": 1280, "height": 1150})
        _take_runs_of_prefect(page, place)
        browser.close()
    with _parts() as place, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(SWITCHES))
        _take_web_pages(browser, place)
        browser.close()


def _addresses(demo: "subprocess.Popen[str]", page: Page) -> tuple[str, str, str]:
    """The pages of all runs, of the job with the outputs, and of the workflow, once all jobs have ended. On the way
    the workflow's picture is taken, while it stands there failed."""
    runs = run = workflow = ""
    assert demo.stdout is not None  # noqa: S101
    for line in demo.stdout:
        sys.stdout.write(line)
        if found := re.search(r"Prefect UI:\s+(\S+)", line):
            runs = found[1]
        elif found := re.match(r"sum \d+ .*(http\S+)", line):
            run = found[1]
        elif found := re.match(r"two models \d+ .*(http\S+)", line):
            workflow = found[1]
        elif re.match(r"two models \d+: Various-Complete", line):
            _open(page, runs, "two models")
            page.get_by_text("two models").first.click()
            _draw_as_grid(page)
            page.screenshot(path=PICTURES / "workflow.png")
        elif "Staying up" in line:
            return runs, run, workflow
    sys.exit("The demo ended before it could be looked at.")


@contextmanager
def _parts() -> Iterator[Path]:
    """A pool and a Prefect server, for jobs that Prefect starts. This process talks to them."""
    from prefect_jobs.local.condor_pool import PersonalPool
    from prefect_jobs.local.prefect_server import LocalPrefectServer

    folder = Path(tempfile.mkdtemp(prefix="pj-"))
    folder.chmod(0o755)  # the daemons of root's pool run as another user
    pool, server = PersonalPool(folder / "pool", name="pictures"), LocalPrefectServer(folder / "prefect")
    try:
        there, info = pool.up(cpus=4, identities=("ann",)), server.up()
        os.environ |= {
            "PREFECT_HOME": str(folder / "home"),
            "PREFECT_API_URL": info.api_url,
            "PREFECT_UI_URL": info.ui_url,
            "PREFECT_JOBS_DATABASE_URL": f"sqlite:///{folder / 'jobs.db'}",
            "PREFECT_JOBS_WORKSPACE": str(folder / "workspace"),
        }
        from prefect_jobs import create_condor_scheduler

        create_condor_scheduler("cluster", there.host, port=there.port, token=pool.token("ann")).save()
        (folder / "hydrology.py").write_text(APP)
        yield folder
    finally:
        server.down()
        pool.down(remove=True)
        shutil.rmtree(folder, ignore_errors=True)


def _take_runs_of_prefect(page: Page, folder: Path) -> None:
    """The form of a run, the runs of a schedule, and the page of a work pool."""
    sys.path.insert(0, str(folder))
    from hydrology import Hydrology  # type: ignore[import-not-found]

    from prefect_jobs.monitor import Monitor, reasons

    programs = [sys.executable, "-m", "prefect_jobs", "deploy", "hydrology:Hydrology", "--pool", "cluster-jobs"]
    subprocess.run([*programs, "--limit", "2"], cwd=folder, check=True)
    manager, ui = Hydrology.get_job_manager(), os.environ["PREFECT_UI_URL"]
    over, waiting = _job_and_one_that_waits(manager)
    schedule = manager.schedule_job(
        "gauges", "ann", "CONDOR", interval=5, overlap="skip", scheduler="cluster",
        attributes={"executable": "/bin/sleep", "arguments": "7", "transfer_executable": False},
    )  # fmt: skip
    reasons.FIRST = 5.0  # a minute
    monitor = Monitor()
    thread = threading.Thread(target=monitor.run)
    thread.start()
    command = [sys.executable, "-m", "prefect", "worker", "start", "--type", "prefect-jobs", "--pool", "cluster-jobs"]
    with subprocess.Popen([*command, "--name", "head-node"], cwd=folder, stdout=subprocess.DEVNULL) as worker:
        try:
            run = {"name": "season 2026", "executable": "/bin/sleep", "arguments": ["30"], "scheduler": "cluster"}
            with httpx.Client(base_url=os.environ["PREFECT_API_URL"], trust_env=False) as api:
                form = api.get("/deployments/name/condor-job/hydrology condor").raise_for_status().json()["id"]
                named = "/deployments/name/condor-job/hydrology condor @cluster-jobs"
                pooled = api.get(named).raise_for_status().json()["id"]
                body = {"state": {"type": "SCHEDULED"}, "parameters": {**run, "app": "hydrology", "user": "ann"}}
                api.post(f"/deployments/{pooled}/create_flow_run", json=body).raise_for_status()
            _open(page, f"{ui}/deployments/deployment/{form}/run", "Number of procs")
            page.screenshot(path=PICTURES / "form.png")
            _take(page, f"{ui}/deployments/deployment/{schedule.deployment_id}?tab=Runs", "Completed", "schedule.png")
            page.goto(f"{ui}/work-pools/work-pool/cluster-jobs")
            page.get_by_text("season 2026").first.wait_for(timeout=60_000)
            page.get_by_text("Running", exact=True).first.wait_for(timeout=60_000)
            page.screenshot(path=PICTURES / "pool.png")
            over.wait(120)
            _take_markdown(page, over, "The job", "levels.csv", "job-artifact.png")
            _open(page, waiting.flow_run_url, waiting.name)
            page.get_by_text("No slot").first.wait_for(timeout=60_000)
            page.screenshot(path=PICTURES / "why-waiting.png")
        finally:
            monitor.stop()
            thread.join()
            worker.kill()


def _job_and_one_that_waits(manager: JobManager) -> tuple[Job, Job]:
    """A job that leaves files and uses less than it requests, and one that no machine is large enough for."""
    attributes = {"executable": "/bin/sh", "transfer_executable": False, "request_disk": "1GB"}
    line = "seq 20000 > levels.csv; seq 300 > gauges.csv; echo done; sleep 3"
    over, waiting = (
        manager.create_job(
            name, "ann", job_type="CONDOR", scheduler="cluster",
            attributes={**attributes, "arguments": ["-c", line], "request_memory": memory},
        )
        for name, memory in (("flood levels", "64MB"), ("whole basin", "512GB"))
    )  # fmt: skip
    for job in (over, waiting):
        job.execute()
    return over, waiting


def _take_markdown(page: Page, job: Job, title: str, text: str, name: str) -> None:
    """An artifact of a job's run."""
    _open(page, job.flow_run_url, job.name)
    page.get_by_text("Artifacts", exact=True).last.click()
    page.get_by_text(title).first.click(timeout=60_000)
    page.get_by_text(text).first.wait_for(timeout=60_000)
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(1500)  # it fades in
    page.screenshot(path=PICTURES / name)


def _take_watch(browser: Browser) -> None:
    """The table in a terminal."""
    from prefect_jobs.cli.watch_screen import Watch
    from prefect_jobs.cli.watched import View

    async def drawn() -> str:
        watch = Watch(View())
        async with watch.run_test(size=(140, 16)) as pilot:
            while not watch._shown:
                await pilot.pause(0.1)
            await pilot.pause(0.5)
            return watch.export_screenshot(title="prefect-jobs watch")

    # This thread has an event loop of the browser.
    with ThreadPoolExecutor(1) as thread:
        picture = thread.submit(asyncio.run, drawn()).result()
    page = browser.new_page(viewport={"width": 1280, "height": 440})
    page.set_content(f"<body style='margin: 0'>{picture}</body>")
    page.locator("svg").first.screenshot(path=PICTURES / "watch.png")


def _take_web_pages(browser: Browser, folder: Path) -> None:
    """The pages of ``prefect-jobs serve``: all jobs, one job, a workflow, a log, and a phone in the dark."""
    sys.path.insert(0, str(folder))
    from hydrology import Hydrology

    manager = Hydrology.get_job_manager()
    shell = {"executable": "/bin/sh", "transfer_executable": False, "request_memory": "16MB"}

    def job(name: str, line: str, processes: int = 1) -> Job:
        made = manager.create_job(
            name, "ann", job_type="CONDOR", scheduler="cluster", num_jobs=processes,
            attributes={**shell, "arguments": ["-c", line]},
        )  # fmt: skip
        made.save()
        return made

    model = "for hour in 1 2 3 4 5 6; do echo hour $hour, level 0.$hour m; sleep 1; done; echo done > levels.txt"
    address = f"http://127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "prefect_jobs", "serve", "hydrology:Hydrology", "--port", address[-5:].lstrip(":")]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL) as serve:
        try:
            page = browser.new_page(viewport={"width": 1280, "height": 760})
            jobs = [job(f"season {2018 + number}", "exit 0" if number != 3 else "exit 3") for number in range(6)]
            manager.execute_jobs(jobs)
            for each in jobs:
                each.wait(120)
            waiting = job("season 2026", "true")
            workflow = _workflow(manager, shell)
            running = job("ensemble", model, 5)
            for each in (workflow, running):
                each.execute()
            _open_at_last(page, address)
            page.locator(f"#jobs-table-status-{running.id}").get_by_text("Running").first.wait_for(timeout=60_000)
            page.locator(f"#jobs-table-row-{waiting.id} summary").last.click()
            page.screenshot(path=PICTURES / "jobs.png")
            _take_watch(browser)
            for each in (workflow, running):
                each.wait(120)
            page.set_viewport_size({"width": 1280, "height": 900})
            _open(page, f"{address}/jobs/{workflow.id}/", "History")
            page.screenshot(path=PICTURES / "job.png")
            page.set_viewport_size({"width": 1280, "height": 420})
            _open_log(page, f"{address}/jobs/{running.id}/logs/?name=Process%201%20/%20output")
            phone = browser.new_page(viewport={"width": 390, "height": 780}, color_scheme="dark")
            _open(phone, address, "ensemble")
            phone.screenshot(path=PICTURES / "phone.png")
        finally:
            serve.terminate()


def _workflow(manager: JobManager, shell: dict[str, Any]) -> Job:
    from prefect_jobs import CondorWorkflow, CondorWorkflowJobNode

    workflow = manager.create_job("two models", "ann", job_type="CONDORWORKFLOW", scheduler="cluster")
    assert isinstance(workflow, CondorWorkflow)  # noqa: S101
    workflow.save()
    attributes = {**shell, "arguments": ["-c", "sleep 2"]}
    nodes = {
        name: CondorWorkflowJobNode(name, workflow, attributes=attributes)
        for name in ("prepare", "dry", "wet", "compare", "report")
    }
    for node in nodes.values():
        node.save()
    for name, parents in {
        "dry": ["prepare"],
        "wet": ["prepare"],
        "compare": ["dry", "wet"],
        "report": ["compare"],
    }.items():
        for parent in parents:
            nodes[name].add_parent(nodes[parent])
    workflow.save()
    return workflow


def _open_at_last(page: Page, address: str) -> None:
    for _ in range(200):
        try:
            httpx.get(f"{address}/static/x/jobs.css", trust_env=False)
        except httpx.ConnectError:
            page.wait_for_timeout(200)
        else:
            break
    page.goto(address)


def _open_log(page: Page, address: str) -> None:
    page.goto(address)
    page.get_by_label("Find").fill("level 0.4")
    page.wait_for_timeout(300)
    page.screenshot(path=PICTURES / "logs.png")


def _take(page: Page, address: str, text: str, name: str) -> None:
    _open(page, address, text)
    page.screenshot(path=PICTURES / name)


def _open(page: Page, address: str, text: str) -> None:
    page.goto(address)
    page.get_by_text(text).first.wait_for(timeout=60_000)
    page.wait_for_load_state("networkidle")


def _draw_as_grid(page: Page) -> None:
    """Rows and columns by what comes after what, instead of by time."""
    settings = page.locator("[class*=run-graph] button").last
    settings.wait_for(timeout=30_000)
    page.wait_for_load_state("networkidle")
    settings.click()
    page.get_by_text("Dependency grid").click()
    page.get_by_text("Logs", exact=True).first.click()  # closes it
    page.get_by_text("Dependency grid").wait_for(state="hidden", timeout=5_000)
    page.get_by_text("Various-Complete").first.wait_for(timeout=5_000)
    page.wait_for_load_state("networkidle")


def _take_artifact(page: Page, workflow: str, name: str) -> None:
    """The picture that is left of a workflow when it is over."""
    _open(page, workflow, "two models")
    page.get_by_text("Artifacts", exact=True).last.click()
    page.get_by_text("The outcome of").first.click()
    page.get_by_text("compare").first.wait_for(timeout=30_000)
    page.wait_for_load_state("networkidle")
    page.screenshot(path=PICTURES / name)


if __name__ == "__main__":
    main()
