"""What jobs have used of what they requested, for people."""

from collections.abc import Mapping
from typing import Any

from prefect_jobs.jobs import summary
from prefect_jobs.jobs.base import Job
from prefect_jobs.web import looks

#: Resource → heading of its column.
COLUMNS: Mapping[str, str] = {"cpus": "CPUs", "memory": "Memory", "disk": "Disk", "gpus": "GPUs"}
_ALL: Mapping[str, str] = {**COLUMNS, "wall_seconds": "On machines", "efficiency": "Efficiency"}


def of(job: Job) -> dict[str, Any]:
    """For the details of a job: the cells of each part (a process, a node), a line for all of them, and hints."""
    resources = summary.resources(job)
    parts = {name: _cells(part) for name, part in resources.items() if name != "total"}
    known = {name for cells in parts.values() for name, text in cells.items() if text}
    total = _cells(resources.get("total") or {})
    line = ", ".join(f"{COLUMNS[name]}: {total[name]}" for name in COLUMNS if total.get(name))
    if total.get("efficiency"):
        line += f"; efficiency of the CPUs {total['efficiency']}"
    return {
        "usage": parts,
        "usage_columns": {name: text for name, text in _ALL.items() if name in known},
        "usage_line": line,
        "hints": getattr(job, "resource_hints", []) if resources and job.handle.record.final else [],
    }


def _cells(part: Mapping[str, Any]) -> dict[str, str]:
    found = summary.amounts(part)
    efficiency = part.get("efficiency")
    return {
        **found,
        "wall_seconds": looks.duration(part.get("wall_seconds")),
        "efficiency": "" if efficiency is None else f"{efficiency:.0%}",
    }
