"""``prefect-jobs serve``: the web app and the monitor in one process."""

import asyncio
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import wait
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prefect_jobs.app import App
from prefect_jobs.cli.monitor import REST, MetricsPort, end_soon, log_to_stderr, serve_metrics
from prefect_jobs.cli.output import JsonOption, command, fail, say
from prefect_jobs.cli.schedulers import load_app
from prefect_jobs.threads import in_thread

if TYPE_CHECKING:
    import uvicorn

    from prefect_jobs.monitor.metrics import Metrics

log = logging.getLogger(__name__)

# The program ends within 5 seconds. Of these,
#: requests in progress have:
_REQUESTS = 1
#: the monitor, connections, and changes that Prefect does not show yet have:
_CLOSING = 2.0
#: our Prefect server has, which waits for browsers that are connected:
_PREFECT = 1.2


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(serve)


@command
def serve(
    apps: Annotated[list[str] | None, typer.Argument(metavar="APP", help="Apps, as module:App.")] = None,
    more_apps: Annotated[
        list[str] | None, typer.Option("--app", metavar="APP", help="An app, as module:App; repeatable.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0: all addresses of this machine.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0: any free port.")] = 8000,
    no_monitor: Annotated[bool, typer.Option("--no-monitor", help="Run the web app alone.")] = False,
    metrics_port: MetricsPort = None,
    as_json: JsonOption = False,
) -> None:
    """Serve the web app and run the monitor, until Ctrl-C or SIGTERM.

    The pages show all jobs, to you on this machine. The jobs of the given apps may call back, from everywhere.

    If no Prefect API is configured, start a local Prefect server, and stop it at the end.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    log_to_stderr(as_json=as_json)
    status = 0
    try:
        found = [load_app(path) for path in dict.fromkeys([*(apps or ()), *(more_apps or ())])]
        if not found:
            say("No app is given (module:App): callbacks of jobs are not answered.")
        if not _serve(found, host, port, monitored=not no_monitor, metrics_port=metrics_port):
            status = 1
    except KeyboardInterrupt:
        pass
    # A check at a scheduler that does not answer must not delay the end: due checks are in the database.
    end_soon(status, REST)
    raise typer.Exit(status)


def _serve(apps: Sequence[type[App]], host: str, port: int, *, monitored: bool, metrics_port: int | None) -> bool:
    """Serves until a signal ends the program; whether nothing else has ended it."""
    with ExitStack() as stack:
        listener = stack.enter_context(_listen(host, port))
        try:
            _have_prefect(stack)
            closing = _open_runtime()
            stack.callback(_in_time, _CLOSING, closing)
            server = _server(apps, _address(listener))
            monitor = _MonitorThread(server) if monitored else None
            if monitor is not None:
                serve_metrics(monitor.metrics, metrics_port)
                closing.insert(0, monitor.request_stop)
                closing.append(monitor.stop)
                monitor.start()
            try:
                server.run(sockets=[listener])
            except SystemExit:  # uvicorn could not start the app, and has logged why
                return False
            return monitor is None or not monitor.failed
        except KeyboardInterrupt:
            return True


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        raise fail(
            f"cannot listen on {host}:{port}: {error.strerror or error}. Choose another --host or --port."
        ) from error


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _have_prefect(stack: ExitStack) -> None:
    """Starts a Prefect server if neither the environment nor the active profile names one."""
    from prefect.settings import PREFECT_API_URL

    if PREFECT_API_URL.value():
        return
    from prefect.context import refresh_global_settings_context

    from prefect_jobs.local.prefect_server import LocalPrefectServer

    server = LocalPrefectServer()
    if not server.status().up:
        stack.callback(lambda: server.down(timeout=_PREFECT))
    info = server.up(report=say)
    os.environ.update({"PREFECT_API_URL": info.api_url, "PREFECT_UI_URL": info.ui_url})
    refresh_global_settings_context()  # Prefect has read its settings already
    say(f"For other programs: export PREFECT_API_URL={info.api_url}")


def _open_runtime() -> list[Callable[[], object]]:
    """Opens the database, so that a bad one is an error before the server listens.

    Returns:
        The calls that close what this process opens.
    """
    from prefect_jobs.runtime.wiring import get_runtime
    from prefect_jobs.schedulers.connections import connections

    runtime = get_runtime()
    runtime.store.database.ensure_schema()
    # Helpers first: their end interrupts calls that wait for them, and removes their tokens.
    return [connections.interrupt, runtime.close, connections.close]


def _in_time(seconds: float, steps: Sequence[Callable[[], object]]) -> None:
    """Takes the steps one after the other, and leaves them after so many seconds."""

    def take() -> None:
        for step in steps:
            try:
                step()
            except Exception:  # the other steps must follow
                log.exception("A connection could not be closed")

    wait([in_thread(take, "prefect-jobs-closer", daemon=True)], seconds)


def _is_no_cancellation(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


class _MonitorThread(threading.Thread):
    """The monitor. If it fails, the server ends, too: people must not believe that jobs are watched."""

    def __init__(self, server: "uvicorn.Server") -> None:
        from prefect_jobs.monitor import Monitor

        super().__init__(name="prefect-jobs-monitor", daemon=True)
        self._server = server
        self._monitor: Any = Monitor()
        self.failed = False

    def run(self) -> None:
        """Runs the monitor."""
        try:
            self._monitor.run()
        except Exception:
            log.exception("The monitor failed")
            self.failed = True
        finally:
            self._server.should_exit = True

    @property
    def metrics(self) -> "Metrics":
        """The monitor's metrics."""
        found: Metrics = self._monitor.metrics
        return found

    def request_stop(self) -> None:
        """Asks the monitor to end."""
        self._monitor.request_stop()

    def stop(self) -> None:
        """Ends the monitor."""
        self._monitor.stop()
        self.join()


def _server(apps: Sequence[type[App]], address: str) -> "uvicorn.Server":
    import uvicorn

    from prefect_jobs.web.app import owners_app

    class Server(uvicorn.Server):
        """Prints when it listens."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                say(f"Listening on {address}")

    # uvicorn logs one line about requests that it cancels; tracebacks add nothing.
    logging.getLogger("uvicorn.error").addFilter(_is_no_cancellation)
    # No access log: it would contain the signatures of URLs.
    config = uvicorn.Config(
        owners_app(*apps),
        log_config=None,
        access_log=False,
        # A header must not say who has connected: see web/owner.py.
        proxy_headers=False,
        timeout_graceful_shutdown=_REQUESTS,
    )
    return Server(config)
