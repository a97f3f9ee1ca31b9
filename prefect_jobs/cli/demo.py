"""``prefect-jobs demo``: real jobs on a personal HTCondor pool and a Dask cluster, shown by a local Prefect server.
It ends by itself."""

import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prefect_jobs.cli.demo_jobs import Act, make_jobs
from prefect_jobs.cli.output import say, table_of
from prefect_jobs.errors import PrefectJobsError

if TYPE_CHECKING:
    from rich.table import Table

#: Seconds within which every job must have ended.
DEADLINE = 180.0


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(demo)


def demo(
    keep: Annotated[
        float, typer.Option(help="Seconds to stay up after the jobs have ended, to explore the Prefect UI.")
    ] = 0.0,
) -> None:
    """Run real jobs of each type on services of its own, with a live table; ends by itself."""
    raise typer.Exit(run_demo(keep=keep))


def run_demo(keep: float = 0.0) -> int:
    """Runs the demo.

    Args:
        keep: seconds to stay up afterwards.

    Returns:
        0 if every job ended as it should, else 1.
    """
    began = time.monotonic()
    # SIGTERM also leaves nothing running.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ExitStack() as stack:
        try:
            base = stack.enter_context(_folder())
            pool, server = _parts(base, stack)
        except (PrefectJobsError, OSError) as error:
            say(f"error: {error}")
            return 1
        say(f"\nPrefect UI:  {server.ui_url}/runs   (open it now, and watch)\n")
        _environment(base, server)
        stack.callback(_close_runtime)
        try:
            acts = make_jobs(base, pool)
            _watch(acts)
            problems = _verdict(acts)
        except (PrefectJobsError, TimeoutError) as error:
            problems = [str(error)]
        except KeyboardInterrupt:
            problems = ["interrupted"]
        for problem in problems:
            say(f"error: {problem}")
        verdict = "The demo failed" if problems else "Every job ended as it should"
        say(f"\n{verdict} after {time.monotonic() - began:.0f} s.")
        if keep > 0 and not problems:
            say(f"Staying up for {keep:g} s; Ctrl-C ends it.")
            try:
                Event().wait(keep)
            except KeyboardInterrupt:
                say("Ending.")
    say("Everything was stopped and removed.")
    return 1 if problems else 0


@contextmanager
def _folder() -> Iterator[Path]:
    base = Path(tempfile.mkdtemp(prefix="prefect-jobs-demo-"))
    # The pool's daemons run as an unprivileged user when we are root; they must reach their folder.
    base.chmod(0o755)
    try:
        yield base
    finally:
        shutil.rmtree(base, ignore_errors=True)


def _parts(base: Path, stack: ExitStack) -> tuple[Any, Any]:
    """Starts the pool and the Prefect server, side by side; the stack stops them."""
    from prefect_jobs.local.condor_pool import PersonalPool
    from prefect_jobs.local.prefect_server import LocalPrefectServer

    pool = PersonalPool(base / "pool", name="demo")
    server = LocalPrefectServer(base / "prefect")
    stack.callback(server.down)
    stack.callback(lambda: pool.down(remove=True))
    outcome: dict[str, Any] = {}

    def start_pool() -> None:
        try:
            outcome["pool"] = pool.up(cpus=4, identities=("alice",), report=say)
        except Exception as error:  # raised again below, in the thread that waits
            outcome["error"] = error

    thread = threading.Thread(target=start_pool, name="demo-pool")
    thread.start()
    try:
        say("Starting a Prefect server")
        info = server.up(report=say)
    finally:
        thread.join()
    if "error" in outcome:
        raise outcome["error"]
    return pool, info


def _environment(base: Path, server: Any) -> None:
    """Points this process at the demo's own services, before it imports Prefect and Dask."""
    os.environ.update(
        {
            "PREFECT_HOME": str(base / "home"),
            "PREFECT_API_URL": server.api_url,
            "PREFECT_UI_URL": server.ui_url,
            "PREFECT_LOGGING_LEVEL": "ERROR",
            "DASK_LOGGING__DISTRIBUTED": "warning",
            "PREFECT_JOBS_DATABASE_URL": f"sqlite:///{base / 'jobs.db'}",
            "PREFECT_JOBS_WORKSPACE": str(base / "workspace"),
        }
    )
    logging.getLogger("prefect").setLevel(logging.ERROR)


def _watch(acts: list[Act]) -> None:
    """Watches the jobs until all are over, and steers those that do not end by themselves.

    Raises:
        TimeoutError: a job is not over in time.
    """
    from prefect_jobs.jobs.polling import poll_once

    deadline = time.monotonic() + DEADLINE
    with _screen(acts) as refresh:
        while True:
            over = [poll_once(act.job) for act in acts]
            refresh()
            steered = [act.steer(act.job, acts) for act in reversed(acts)]
            if all(over) and not any(steered):
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"the jobs were not over after {DEADLINE:g} s")
            Event().wait(1.0)


@contextmanager
def _screen(acts: list[Act]) -> Iterator[Callable[[], None]]:
    """A live table on a terminal; elsewhere a line for each change."""
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_terminal:
        from rich.live import Live

        with Live(_table(acts), console=console, refresh_per_second=4) as live:
            yield lambda: live.update(_table(acts))
        return
    shown: dict[int, str] = {}

    def lines() -> None:
        for number, act in enumerate(acts):
            line = f"{act.job.name}: {act.job.cached_status}"
            if shown.get(number) != line:
                shown[number] = line
                say(f"{line}{' - ' + act.job.status_message if act.job.status_message else ''}")

    yield lines


def _table(acts: list[Act]) -> "Table":
    rows = (
        (act.job.id, act.job.type, act.job.name, act.job.remote_id, act.job.cached_status, act.job.status_message[:70])
        for act in acts
    )
    return table_of(("id", "type", "name", "cluster", "status", "message"), rows)


def _verdict(acts: list[Act]) -> list[str]:
    """What went wrong with statuses, outputs, and what Prefect shows."""
    from uuid import UUID

    from prefect.client.orchestration import get_client

    from prefect_jobs.runtime.wiring import get_runtime

    get_runtime().projector.flush(10.0)
    problems: list[str] = []
    with get_client(sync_client=True) as client:
        for act in acts:
            job = act.job
            if job.cached_status != act.status:
                problems.append(f"{job.name} ended as {job.cached_status}, not {act.status}: {job.status_message}")
            wrong = act.look(job)
            if wrong:
                problems.append(f"{job.name}: {wrong}")
            run = client.read_flow_run(UUID(str(job.flow_run_id))) if job.flow_run_id else None
            shown = run.state.type.value if run and run.state else "nothing"
            if shown != act.state:
                problems.append(f"{job.name}: Prefect shows {shown}, not {act.state}")
            drawn = _graph(client, job) if act.graph else {}
            if drawn != act.graph:
                problems.append(f"{job.name}: Prefect draws {drawn}, not {act.graph}")
            sys.stdout.write(f"{job.name:24} {job.cached_status:12} {job.flow_run_url}\n")
    sys.stdout.flush()
    return problems


def _graph(client: Any, job: Any) -> dict[str, set[str]]:
    """What Prefect draws of a workflow: node → its parents."""
    answer = client.request("GET", "/flow_runs/{id}/graph-v2", path_params={"id": job.flow_run_id}).json()
    nodes = [node for _, node in answer["nodes"]]
    names = {node["id"]: node["label"] for node in nodes}
    return {node["label"]: {names[parent["id"]] for parent in node["parents"]} for node in nodes}


def _close_runtime() -> None:
    from prefect_jobs.runtime.wiring import get_runtime
    from prefect_jobs.schedulers.connections import connections

    get_runtime().close()
    connections.close()
