"""A job that is waited for, as a live table in a terminal."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from prefect_jobs import statuses
from prefect_jobs.cli.output import table_of
from prefect_jobs.jobs.base import Job
from prefect_jobs.jobs.condor import logs
from prefect_jobs.jobs.condor.job import CondorJob
from prefect_jobs.jobs.workflow.job import CondorWorkflow

if TYPE_CHECKING:
    from rich.console import RenderableType

#: Parts of a job with lines of their own, at most.
_PARTS = 20
#: Renewals in a second.
_RATE = 2


@contextmanager
def shown(job: Job) -> Iterator[bool]:
    """Shows a job until the end of the block, if standard error is a terminal; gives whether it does."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield False
        return
    from rich.live import Live

    with Live(get_renderable=lambda: view(job), console=console, refresh_per_second=_RATE):
        yield True


def view(job: Job) -> "RenderableType":
    """A job with its processes or nodes: those that fail or run come first."""
    from rich.console import Group
    from rich.text import Text

    message = f": {job.status_message}" if job.status_message else ""
    time = str(job.run_time).partition(".")[0]
    head = Text(f"job {job.id} ({job.name}) {job.cached_status} {time}{message}", overflow="ellipsis", no_wrap=True)
    parts = sorted(_parts(job), key=lambda part: _ORDER.get(part[1], 2))
    if len(parts) < 2:  # it is the job
        return head
    counts: dict[str, int] = {}
    for _, status in parts:
        counts[status] = counts.get(status, 0) + 1
    line = Text("  " + " · ".join(f"{status} {number}" for status, number in counts.items()))
    rows = [("", name, status) for name, status in parts[:_PARTS]]
    if len(parts) > _PARTS:
        rows.append(("", "…", f"{len(parts) - _PARTS} more"))
    return Group(head, line, table_of(("", "", ""), rows))


#: Parts that end well, or that do not begin yet, are of less interest.
_ORDER = {
    **dict.fromkeys((statuses.ERROR, "Held", "Removed", "Submission_err"), 0),
    statuses.RUNNING: 1,
    **dict.fromkeys((statuses.PENDING, "Unexpanded"), 3),
    **dict.fromkeys((statuses.COMPLETE, "Completed"), 4),
}


def _parts(job: Job) -> list[tuple[str, str]]:
    """Name and status of each node, or process."""
    if isinstance(job, CondorWorkflow):
        return list(job.node_statuses.items())
    if isinstance(job, CondorJob):
        return [
            (logs.title_of(job.handle.record, number), proc.state) for number, proc in job.engine.state.procs.items()
        ]
    return []
