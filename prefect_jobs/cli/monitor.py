"""``prefect-jobs monitor``: watches all jobs until SIGTERM or Ctrl-C."""

import json
import logging
import os
import signal
import sys
import threading
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from prefect_jobs import clock
from prefect_jobs.cli.output import JsonOption, command, fail, say, told
from prefect_jobs.schedulers.connections import connections

if TYPE_CHECKING:
    from prefect_jobs.monitor.metrics import Metrics

#: Seconds that the interpreter, and threads that wait for a scheduler, have at the end.
REST = 0.5
#: Seconds from a signal to the end of the program.
PATIENCE = 4.7


MetricsPort = Annotated[
    int | None, typer.Option(min=1, max=65535, help="Port on this machine where Prometheus reads metrics.")
]


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(monitor)


@command
def monitor(
    metrics_port: MetricsPort = None,
    as_json: JsonOption = False,
) -> None:
    """Watch all jobs of all apps, fetch outputs, and do what people ask for in Prefect, until SIGTERM or Ctrl-C."""
    from prefect_jobs.monitor import Monitor

    log_to_stderr(as_json=as_json)
    watching = Monitor()
    serve_metrics(watching.metrics, metrics_port)

    def end(number: int, frame: FrameType | None) -> None:
        watching.request_stop()
        end_soon(0, PATIENCE)  # even if a scheduler or the database does not answer

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    say("The monitor runs; Ctrl-C ends it, and the jobs go on.")
    watching.run()
    # A transfer or a question that goes on must not keep the program: what it was about is in the database.
    connections.interrupt()
    end_soon(0, REST)


def serve_metrics(metrics: "Metrics", port: int | None) -> None:
    """Serves metrics if a port is given; ends the program if that port is taken."""
    if port is None:
        return
    try:
        metrics.serve(port)
    except OSError as error:
        raise fail(f"Metrics cannot be served at port {port}: {error}") from error
    say(f"Metrics: http://127.0.0.1:{port}/metrics")


def end_soon(status: int, seconds: float) -> None:
    """Ends the program within so many seconds, even if threads still wait."""
    watchdog = threading.Timer(seconds, _end, (status,))
    watchdog.daemon = True
    watchdog.start()


def _end(status: int) -> None:
    connections.interrupt()  # what is left of them would hold a token
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def log_to_stderr(*, as_json: bool) -> None:
    """Logs events to standard error, for people or, as JSON, for programs."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonLines() if as_json else logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    )
    logger = logging.getLogger("prefect_jobs")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(logging.INFO)
    if as_json:
        _log_all_by(handler)


def _log_all_by(handler: logging.Handler) -> None:
    """Logs the lines of libraries and the messages for people, too: a program that reads JSON expects nothing else."""
    # They add their own handlers when they are imported.
    import distributed  # noqa: F401
    import prefect.main  # noqa: F401

    told.handlers[:] = [handler]
    told.propagate = False
    for name in [name for name in logging.root.manager.loggerDict if name.split(".")[0] in ("distributed", "prefect")]:
        logger = logging.getLogger(name)
        logger.handlers[:] = []
        logger.propagate = True
    logging.getLogger().handlers[:] = [handler]
    logging.captureWarnings(True)


class JsonLines(logging.Formatter):
    """One JSON object per line."""

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
