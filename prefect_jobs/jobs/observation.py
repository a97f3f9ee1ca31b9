"""What an engine, or a hook of a job type, returns: a submission, an observation, fetched outputs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any

from prefect_jobs.errors import PrefectJobsError
from prefect_jobs.records import NodeRecord


class Todo(Enum):
    """What an observation requires to be done at the scheduler."""

    #: Remove the work: it was held for longer than ``HELD_TIMEOUT``.
    GIVE_UP = "give up"
    #: Release the work: its inputs are spooled, but the schedd was killed before it noted that.
    RELEASE = "release"


@dataclass(frozen=True)
class Submitted:
    """Work that a scheduler has accepted; the hook ``_execute`` may return one."""

    #: The id at the scheduler, at most 255 characters.
    remote_id: str | int | None = None
    #: Kept with the job, as JSON; available as ``job.native``.
    native: dict[str, Any] = field(default_factory=dict)
    #: For people: the status message.
    message: str = ""
    #: The nodes of a workflow at its start.
    nodes: tuple[NodeRecord, ...] = ()


@dataclass(frozen=True)
class Observation:
    """More than a status: the hook ``_update_status`` may return one instead of a text."""

    #: ``None``: nothing new about the status.
    status: str | None
    message: str | None = None
    #: What to keep of the scheduler's answer (merged into ``native``; a value of ``None`` removes its key).
    native: dict[str, Any] = field(default_factory=dict)
    started: datetime | None = None
    ended: datetime | None = None
    #: The infrastructure, not the job, failed.
    crashed: bool = False
    #: Lines for the Logs tab, each with a level of :mod:`logging`.
    messages: tuple[tuple[int, str], ...] = ()
    #: Nodes of a workflow that changed, with their new values.
    nodes: tuple[NodeRecord, ...] = ()
    #: The version of the job's record that was observed. If the record has another one by now, the observation is
    #: dropped and the next poll makes a new one. ``None``: it is valid for any version.
    version: int | None = None
    #: What the engine does at the scheduler before it returns the observation.
    todo: frozenset[Todo] = frozenset()


#: The scheduler was polled, and there is no news.
NOTHING_NEW = Observation(None)


@dataclass(frozen=True)
class Fetched:
    """What the work left behind, after it was fetched."""

    #: For ``process_results_function``; ``None``: there is none.
    result: Any = None
    #: Kept with the job.
    native: dict[str, Any] = field(default_factory=dict)
    #: Lines for the Logs tab, each with its level.
    messages: tuple[tuple[int, str], ...] = ()
    #: Nodes of a workflow that changed.
    nodes: tuple[NodeRecord, ...] = ()
    #: For people: appended to the message of the outcome.
    note: str = ""
    #: Bytes that are written with the outcome, by kind.
    blobs: Mapping[str, bytes] = field(default_factory=dict)


class OutputsNotFetched(Exception):
    """Outputs cannot be fetched now (no space, no connection). The job stays Results-Ready, and fetching is tried
    again. The hook ``_process_results`` may raise it."""


class TransientSubmissionError(PrefectJobsError):
    """Nothing was submitted, and trying again may help. The hook ``_execute`` may raise it."""
