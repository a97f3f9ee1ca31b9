"""What a job's type found out at its scheduler."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from prefect_jobs.records import NodeRecord

#: Key in ``native`` of what the job will be once its outputs are fetched: ``status``, ``message``, ``ended``.
OUTCOME = "outcome"


@dataclass(frozen=True)
class Observation:
    """More than a status: the hook ``_update_status`` may return one instead of a text."""

    #: ``None``: nothing new about the status.
    status: str | None
    message: str | None = None
    #: To be kept of what the scheduler said (merged into ``native``).
    native: dict[str, Any] = field(default_factory=dict)
    started: datetime | None = None
    ended: datetime | None = None
    #: The infrastructure, not the job, failed.
    crashed: bool = False
    #: Lines for the Logs tab, each with its level as :mod:`logging` numbers it.
    messages: tuple[tuple[int, str], ...] = ()
    #: Nodes of a workflow as they are now, those that changed; they are told from the job as it was at ``version``.
    nodes: tuple[NodeRecord, ...] = ()
    #: The version of the job's record that was looked at; where it is another one by now, all of this is dropped
    #: and found again by the next poll. ``None``: it holds whatever was written meanwhile.
    version: int | None = None


class OutputsNotFetched(Exception):
    """Outputs could not be fetched now (no space, no connection): the job stays Results-Ready, and it is tried
    again. Raised by ``_process_results`` hooks."""
