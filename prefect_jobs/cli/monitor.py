"""``prefect-jobs monitor``: watches all jobs until it is ended."""

import json
import logging
import os
import signal
import sys
import threading
from types import FrameType
from typing import Annotated

import typer

from prefect_jobs import clock
from prefect_jobs.cli.output import JsonOption, command, fail, say

#: Seconds that threads which wait for a scheduler, and the interpreter, have in the end.
REST = 0.5


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(monitor)


@command
def monitor(
    metrics_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port at which Prometheus reads metrics, on this machine.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Watch all jobs of all apps, fetch outputs, and act on what people do in Prefect; ends on SIGTERM or Ctrl-C."""
    from prefect_jobs.monitor import Monitor
    from prefect_jobs.schedulers.condor import client

    log_to_stderr(as_json=as_json)
    watching = Monitor()
    if metrics_port is not None:
        try:
            watching.metrics.serve(metrics_port)
        except OSError as error:
            raise fail(f"Metrics cannot be served at port {metrics_port}: {error}") from error
        say(f"Metrics: http://127.0.0.1:{metrics_port}/metrics")

    def end(number: int, frame: FrameType | None) -> None:
        watching.request_stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    say("The monitor runs; Ctrl-C ends it, and the jobs go on.")
    watching.run()
    # A transfer or a question that goes on must not keep the program: what it was about is in the database.
    client.close_clients()
    end_soon(0)


def end_soon(status: int) -> None:
    """Ends the program a moment from now, whatever threads of it wait for."""
    sys.stdout.flush()
    sys.stderr.flush()
    watchdog = threading.Timer(REST, os._exit, (status,))
    watchdog.daemon = True
    watchdog.start()


def log_to_stderr(*, as_json: bool) -> None:
    """Lines about what happens, for people or, as JSON, for programs."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonLines() if as_json else logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    )
    logger = logging.getLogger("prefect_jobs")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(logging.INFO)


class JsonLines(logging.Formatter):
    """A JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line = {
            "time": clock.now().isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)
