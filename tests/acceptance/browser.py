"""Chromium, and the web part as an app of its own that it opens."""

import asyncio
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import uvicorn
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright
from starlette.applications import Starlette

from prefect_jobs.local.processes import LOOPBACK, free_port
from tests.support import eventually, missing

#: For root in a container, and without the network calls of a desktop's browser.
SWITCHES = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-dev-shm-usage",
)
#: Milliseconds that a page has.
PATIENCE = 30_000


class _Server(uvicorn.Server):
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Also closes the connections of streams that were cut off, before the loop ends that would do it."""
        await super().shutdown(sockets)
        for connection in list(self.server_state.connections):
            if connection.transport is not None:
                connection.transport.abort()
        await asyncio.sleep(0.1)


@contextmanager
def served(app: Starlette, port: int | None = None) -> Iterator[str]:
    """The address of an app that is served in this process."""
    port = port or free_port()
    config = uvicorn.Config(app, host=LOOPBACK, port=port, log_config=None, timeout_graceful_shutdown=1)
    server = _Server(config)
    thread = threading.Thread(target=server.run, name="web")
    thread.start()
    try:
        eventually(lambda: server.started, "it listens", 30)
        yield f"http://{LOOPBACK}:{port}"
    finally:
        server.should_exit = True
        thread.join(20)


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser of this machine."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        missing("Chromium", "there is none on PATH")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(SWITCHES))
        try:
            yield browser
        finally:
            browser.close()


def _is_fault(line: ConsoleMessage) -> bool:
    # An answer such as 404 or 409, which the test has asked for, is a line, too.
    return line.type in ("error", "warning") and not line.text.startswith("Failed to load resource")


@contextmanager
def pages(browser: Browser, user: str, **options: object) -> Iterator[Page]:
    """A page of a visitor; no error of the browser is accepted."""
    context = browser.new_context(extra_http_headers={"x-user": user}, **options)  # type: ignore[arg-type]
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda line: wrong.append(line.text) if _is_fault(line) else None)
    try:
        yield page
    finally:
        context.close()
    if wrong:
        pytest.fail("\n".join(wrong))
