"""``prefect-jobs demo``: real jobs on a personal HTCondor pool, watched in a local Prefect server; ends by itself."""

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
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from prefect_jobs.cli.output import say, table_of
from prefect_jobs.errors import PrefectJobsError

if TYPE_CHECKING:
    from rich.table import Table

    from prefect_jobs.jobs.base import Job

#: Seconds within which every job must have ended.
DEADLINE = 180.0

_SUM = """#!/bin/sh
# Adds up the numbers in the file named as its argument.
echo "adding up $1 on $(hostname)"
sleep 2
total=0
while read -r number; do total=$((total + number)); done < "$1"
echo "$total" > total.txt
"""
_FAIL = """#!/bin/sh
echo "looking for the data" ; sleep 1
echo "no data for this year" >&2
exit 3
"""
_PART = """#!/bin/sh
echo "part $1 of 3" ; sleep $((1 + $1))
echo "result of part $1" > part-$1.txt
"""
_LONG = """#!/bin/sh
echo "this takes an hour" ; sleep 3600
"""


@dataclass
class Act:
    """A job of the demo and how it must end."""

    job: "Job"
    status: str
    #: Prefect's state type at the end.
    state: str
    #: A look at what it left behind; says what is wrong.
    look: Callable[["Job"], str | None] = lambda _: None


def run_demo(keep: float = 0.0) -> int:
    """Runs the demo.

    Args:
        keep: seconds to stay up afterwards.

    Returns:
        0 if every job ended as it should, else 1.
    """
    began = time.monotonic()
    # Ended from outside, it leaves nothing running either.
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
            acts = _acts(base, pool)
            _watch(acts)
            problems = _verdict(acts)
        except (PrefectJobsError, TimeoutError) as error:
            problems = [str(error)]
        except KeyboardInterrupt:
            problems = ["ended from outside"]
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
    """Starts the pool and the Prefect server, side by side; each is stopped when the stack is left."""
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
    """Points this process, before Prefect is imported, at the demo's own parts and nowhere else."""
    os.environ.update(
        {
            "PREFECT_HOME": str(base / "home"),
            "PREFECT_API_URL": server.api_url,
            "PREFECT_UI_URL": server.ui_url,
            "PREFECT_LOGGING_LEVEL": "ERROR",
            "PREFECT_JOBS_DATABASE_URL": f"sqlite:///{base / 'jobs.db'}",
            "PREFECT_JOBS_WORKSPACE": str(base / "workspace"),
        }
    )
    logging.getLogger("prefect").setLevel(logging.ERROR)


def _acts(base: Path, pool: Any) -> list[Act]:
    """Makes and submits the jobs."""
    from prefect_jobs import App, create_condor_scheduler
    from prefect_jobs.blocks import register_blocks

    class Demo(App):
        name = "Demo"
        package = "demo"

    for name, text in (("sum.sh", _SUM), ("fail.sh", _FAIL), ("part.sh", _PART), ("long.sh", _LONG)):
        (base / name).write_text(text)
        (base / name).chmod(0o755)
    (base / "numbers.txt").write_text("".join(f"{number}\n" for number in range(1, 101)))

    register_blocks()
    info = pool.status().info
    scheduler = create_condor_scheduler("demo-pool", info.host, port=info.port, token=pool.token("alice"))
    scheduler.save()
    say(scheduler.check() + "\n")

    manager = Demo.get_job_manager()

    def condor(name: str, program: str, **more: Any) -> "Job":
        attributes = {"executable": str(base / program), "request_memory": "64MB", **more.pop("attributes", {})}
        return manager.create_job(name, "alice", job_type="CONDOR", scheduler=scheduler, attributes=attributes, **more)

    acts = [
        Act(manager.create_job("by hand {id}", "alice", job_type="BASIC"), "Complete", "COMPLETED"),
        Act(
            condor(
                "sum {id}",
                "sum.sh",
                attributes={"arguments": ["numbers.txt"]},
                remote_input_files=[str(base / "numbers.txt")],
            ),
            "Complete",
            "COMPLETED",
            lambda job: _file(job, "total.txt", "5050"),
        ),
        Act(
            condor("no data {id}", "fail.sh"),
            "Error",
            "FAILED",
            lambda job: None if "3" in job.status_message else "no exit code",
        ),
        Act(
            condor("three parts {id}", "part.sh", num_jobs=3, attributes={"arguments": "$(Process)"}),
            "Complete",
            "COMPLETED",
            lambda job: _file(job, "part-2.txt", "result of part 2"),
        ),
        Act(condor("stopped half-way {id}", "long.sh"), "Aborted", "CANCELLED"),
    ]
    for act in acts:
        act.job.execute()
    return acts


def _file(job: Any, name: str, text: str) -> str | None:
    path = Path(job.initial_dir) / name
    found = path.read_text().strip() if path.is_file() else "nothing"
    return None if found == text else f"{name} holds {found!r}, not {text!r}"


def _watch(acts: list[Act]) -> None:
    """Watches until every job is over, steering the two that need a hand.

    Raises:
        TimeoutError: they are not over in time.
    """
    from prefect_jobs import statuses
    from prefect_jobs.jobs.lifecycle import poll_once

    deadline = time.monotonic() + DEADLINE
    by_hand, stopped = acts[0].job, acts[-1].job
    with _screen(acts) as refresh:
        by_hand.status = statuses.RUNNING
        while True:
            over = [poll_once(act.job) for act in acts]
            refresh()
            if all(over):
                return
            if stopped.cached_status == statuses.RUNNING:
                stopped.stop()
            if all(over[1:]) and not over[0]:
                by_hand.status = statuses.COMPLETE
            if time.monotonic() > deadline:
                raise TimeoutError(f"the jobs were not over after {DEADLINE:g} s")
            Event().wait(1.0)


@contextmanager
def _screen(acts: list[Act]) -> Iterator[Callable[[], None]]:
    """A live table at a terminal; elsewhere a line for each change."""
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
    """What is not as it should be: statuses, outputs, and what Prefect shows."""
    from uuid import UUID

    from prefect.client.orchestration import get_client

    from prefect_jobs.runtime import get_runtime

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
            sys.stdout.write(f"{job.name:24} {job.cached_status:12} {job.flow_run_url}\n")
    sys.stdout.flush()
    return problems


def _close_runtime() -> None:
    from prefect_jobs.runtime import get_runtime
    from prefect_jobs.schedulers.condor.client import close_clients

    get_runtime().close()
    close_clients()
