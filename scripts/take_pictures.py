"""Takes the pictures in docs/pictures from the running demo, with Chromium: .venv/bin/python scripts/take_pictures.py

Needs Chromium on PATH (Debian: apt-get install chromium) and the development requirements (make test installs them).
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

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
    page.get_by_text("What became of").first.click()
    page.get_by_text("compare").first.wait_for(timeout=30_000)
    page.wait_for_load_state("networkidle")
    page.screenshot(path=PICTURES / name)


if __name__ == "__main__":
    main()
