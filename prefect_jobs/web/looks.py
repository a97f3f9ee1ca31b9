"""What people see of a job: the class of its status, its progress, its times. From the row alone."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from prefect_jobs import statuses
from prefect_jobs.jobs import summary
from prefect_jobs.jobs.base import Job
from prefect_jobs.noted import PROCS
from prefect_jobs.records import JobRecord
from prefect_jobs.statuses import Status

#: Class of a status → its icon. The colours are in the style sheet.
ICONS = {
    "waiting": "◷",
    "running": "▶",
    "paused": "‖",
    "complete": "✓",
    "error": "✗",
    "aborted": "■",
    "other": "○",
}
_BY_STATE = {
    "PENDING": "waiting",
    "RUNNING": "running",
    "PAUSED": "paused",
    "COMPLETED": "complete",
    "FAILED": "error",
    "CRASHED": "error",
    "CANCELLED": "aborted",
}
#: HTCondor's states of procs → classes.
_OF_PROCS = {
    "Unexpanded": "waiting",
    "Idle": "waiting",
    "Running": "running",
    "Held": "paused",
    "Removed": "aborted",
    "Submission_err": "error",
}


def status_class(status: Status) -> str:
    """The class of a status, by which it is coloured; a custom one has that of its meaning."""
    kind = status.kind
    if kind.state_type is not None:
        return _BY_STATE[kind.state_type]
    return "running" if kind.running or kind.active else "waiting" if kind.pre_running else "other"


@dataclass(frozen=True)
class Progress:
    """How many parts of a job are done."""

    #: ``processes`` or ``nodes``.
    what: str
    total: int
    #: Class of status → number of parts.
    parts: Mapping[str, int]

    @property
    def done(self) -> int:
        """The number of parts that are over."""
        return sum(self.parts.get(name, 0) for name in ("complete", "error", "aborted"))

    @property
    def text(self) -> str:
        """For people."""
        more = [f"{self.parts[name]} {name}" for name in ICONS if self.parts.get(name)]
        return f"{self.done} of {self.total} {self.what} done: {', '.join(more)}"


def progress_of(record: JobRecord, nodes: Mapping[str, int]) -> Progress | None:
    """The progress of a job with parts; ``None``: it has one part, or has not begun.

    Args:
        record: the job.
        nodes: of a workflow, status → number of nodes.
    """
    if nodes:
        found: Counter[str] = Counter()
        for status, number in nodes.items():
            found[status_class(statuses.parse(status))] += number
        return Progress("nodes", sum(nodes.values()), dict(found))
    procs = record.native.get(PROCS) or ()
    total = max(int(record.native.get("total", 1)), len(procs))
    if total < 2:
        return None
    parts = Counter(_class_of_proc(proc) for proc in procs)
    parts["waiting"] += total - len(procs)
    return Progress("processes", total, {name: number for name, number in parts.items() if number})


def _class_of_proc(proc: Mapping[str, Any]) -> str:
    state = str(proc.get("state"))
    if state != "Completed":
        return _OF_PROCS.get(state, "other")
    well = proc.get("exit_signal") is None and proc.get("exit_code") == (proc.get("success_code") or 0)
    return "complete" if well else "error"


def seconds(value: timedelta | str) -> float | None:
    """A duration of a job; ``None``: it has not begun."""
    return value.total_seconds() if isinstance(value, timedelta) else None


def duration(value: float | None) -> str:
    """Seconds for people: ``1 d 02:03:04``, ``2:03:04`` or ``3:04``."""
    if value is None:
        return ""
    minutes, rest = divmod(int(value), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours:02}:{minutes:02}:{rest:02}"
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def waits_of(record: JobRecord) -> str:
    """Why a job waits for a machine, as the monitor has noted; empty: it does not wait, or that is not known."""
    if record.state.status not in (statuses.SUBMITTED, statuses.VARIOUS):
        return ""
    return record.noted.waits(record.state.attempt)


def message_of(record: JobRecord) -> str:
    """Why the job waits, or else the reason of its status."""
    return (waits_of(record) if record.state.status == statuses.SUBMITTED else "") or record.state.status_message


def as_json(job: Job, nodes: Mapping[str, int], *, whole: bool = False) -> dict[str, Any]:
    """A job for programs.

    Args:
        job: the job.
        nodes: of a workflow, status → number of nodes.
        whole: with what is too long for a list.
    """
    record, state = job.handle.record, job.handle.record.state
    progress = progress_of(record, nodes)
    found: dict[str, Any] = {
        "id": record.id,
        "name": record.name,
        "description": record.description,
        "user": record.user,
        "app": record.label,
        "type": record.class_name,
        "status": state.status,
        "status_code": state.status_code,
        "status_class": status_class(state.as_status),
        "status_message": state.status_message,
        "final": record.final,
        "no_answer_since": record.noted.unreachable_since,
        "attempt": state.attempt,
        "scheduler": record.scheduler,
        "remote_id": record.remote_id,
        "schedule": record.schedule,
        "creation_time": _time(record.creation_time),
        "execute_time": _time(state.execute_time),
        "start_time": _time(state.start_time),
        "completion_time": _time(state.completion_time),
        "run_time": seconds(job.run_time),
        "wait_time": seconds(job.wait_time),
        "progress": None if progress is None else {"what": progress.what, "total": progress.total, **progress.parts},
        "version": record.version,
    }
    if whole:
        found.update(
            groups=list(record.groups),
            workspace=record.workspace,
            waits=waits_of(record),
            resources={str(name): part for name, part in summary.resources(job).items()} or None,
            extended_properties=record.extended_properties,
            flow_run_id=record.flow_run_id,
            flow_run_url=job.handle.backend.site.flow_run_url(record.flow_run_id) if record.flow_run_id else None,
        )
    return found


def _time(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat()
