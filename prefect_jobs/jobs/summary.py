"""A job as plain values: for the command line, the web app, and other programs."""

from collections.abc import Mapping
from typing import Any

from prefect_jobs.jobs.base import Job
from prefect_jobs.records import HISTORY

#: Attributes that only some types have; the name is the key.
_OF_TYPES = ("initial_dir", "statuses", "exit_codes")


def summary(job: Job) -> dict[str, Any]:
    """The values of a job in a list, as last known."""
    return {
        "id": job.id,
        "app": job.label,
        "user": job.user,
        "type": job.type,
        "name": job.name,
        "status": job.cached_status,
        "status_message": job.status_message,
        "remote_id": job.remote_id,
        "execute_time": job.execute_time,
        "run_time": job.run_time,
        "flow_run_id": job.handle.record.flow_run_id,
    }


def details(job: Job) -> dict[str, Any]:
    """All values of a job."""
    return {
        **summary(job),
        "groups": list(job.groups),
        "description": job.description,
        "workspace": job.workspace,
        "scheduler": job.handle.record.scheduler,
        "schedule": job.schedule,
        "creation_time": job.creation_time,
        "start_time": job.start_time,
        "completion_time": job.completion_time,
        "last_status_update": job.last_status_update,
        "extended_properties": job.extended_properties,
        "process_results_function": job.handle.drafts.process_results_function,
        **{name: getattr(job, name, None) for name in _OF_TYPES},
        "resources": resources(job),
        "waits": job.handle.record.noted.waits(job.handle.record.state.attempt),
        "nodes": _nodes(job),
        "history": [dict(zip(HISTORY, entry, strict=True)) for entry in job.history],
        "flow_run_url": _known_url(job),
    }


def _known_url(job: Job) -> str | None:
    """The URL of the flow run that is noted: to print a job must not wait until there is one."""
    run = job.handle.record.flow_run_id
    return job.handle.backend.site.flow_run_url(run) if run else None


def resources(job: Job) -> dict[Any, Any]:
    """What a job has requested and used; empty: its type does not tell. An app's type may mean something else by it."""
    found = getattr(job, "resources", None)
    return found if isinstance(found, dict) and isinstance(found.get("total"), dict) else {}


def amounts(part: Mapping[str, Any]) -> dict[str, str]:
    """What a part of a job has used of what it requested, by resource, for people: ``120 of 1,000 MB``; only the
    request, where the use is not known; empty where neither is."""
    found = {}
    for name in ("cpus", "memory", "disk", "gpus"):
        requested, used = ((part.get(name) or {}).get(key) for key in ("requested", "used"))
        unit = " MB" if name in ("memory", "disk") else ""
        asked = "?" if requested is None else _number(requested)
        found[name] = f"{asked}{unit}" if used is None else f"{_number(used)} of {asked}{unit}"
        if requested is None and used is None:
            found[name] = ""
    return found


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}".rstrip("0").rstrip(".")


def outcome(job: Job) -> dict[str, Any]:
    """The outcome of a job that is over, for the flow that ran it."""
    exit_codes = getattr(job, "exit_codes", None)
    nodes = getattr(job, "node_statuses", None)
    return {
        "job_id": job.id,
        "status": job.cached_status,
        "message": job.status_message,
        **({} if exit_codes is None else {"exit_codes": {str(proc): code for proc, code in exit_codes.items()}}),
        **({} if nodes is None else {"nodes": nodes}),
    }


def _nodes(job: Job) -> dict[str, str] | None:
    """The outcome of each node of a workflow; ``None``: the job has no nodes."""
    if not job.has_nodes:
        return None
    nodes: Any = job
    return {node.name: f"{node.status}. {node.status_message}".rstrip(" .") for node in nodes.nodes}
