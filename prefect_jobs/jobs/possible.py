"""Which actions are possible on a job now, and why not: one pure table, for the API and for buttons."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from prefect_jobs import statuses
from prefect_jobs.records import GRACE, JobRecord

ACTIONS = ("execute", "resubmit", "stop", "pause", "resume", "delete")


def _nothing_held(record: JobRecord) -> bool:
    return False


#: Why a job cannot be submitted or stopped while another process submits it, as the end of a sentence.
BEING_SUBMITTED = (
    "is being submitted by another process. If that process has died, try again "
    f"{GRACE.total_seconds():.0f} s after its last heartbeat."
)


@dataclass(frozen=True)
class Abilities:
    """What jobs of a type can do."""

    #: Whether the type can poll the status of a job.
    polls: bool = False
    #: Action → why no job of this type can do it.
    refused: Mapping[str, str] = field(default_factory=dict)
    #: Whether parts of a job are held, whatever the status of the whole.
    held_parts: Callable[[JobRecord], bool] = _nothing_held


@dataclass(frozen=True)
class Refusal:
    """Why an action is not possible."""

    #: For people: a sentence that names the job.
    reason: str
    #: Whether no job of this type can do it, in any status.
    by_type: bool = False


def possible(action: str, record: JobRecord, abilities: Abilities, *, parts_held: bool | None = None) -> Refusal | None:
    """Whether a job can do an action now. Pure, but for the clock.

    Args:
        action: one of :data:`ACTIONS`.
        record: the job as last known.
        abilities: its type's.
        parts_held: whether parts of it are held; ``None``: as the record says.

    Returns:
        ``None`` if it is possible, else the reason why not.

    Raises:
        ValueError: there is no such action.
    """
    if action not in ACTIONS:
        raise ValueError(f"There is no action {action!r}. Valid: {', '.join(ACTIONS)}.")
    refusal = Refusal(abilities.refused[action], by_type=True) if action in abilities.refused else None
    if refusal is not None and action != "stop":
        return refusal
    held = action == "resume" and (abilities.held_parts(record) if parts_held is None else parts_held)
    why = _why_not(action, record, held)
    if why:
        return Refusal(f"{title_of(record)} {why}")
    # A job that is not submitted has nothing to stop, whatever its type.
    return None if record.state.status == statuses.PENDING else refusal


def _why_not(action: str, record: JobRecord, held: bool) -> str:
    """Why an action is not possible in the job's status, as the end of a sentence; empty: it is possible."""
    status = record.state.as_status
    match action:
        case "execute" | "resubmit" | "stop" if record.submitting:
            return BEING_SUBMITTED
        case "execute":
            return _execute(record)
        case "resubmit":
            return _resubmit(record)
        case "stop":
            can = not status.kind.terminal
        case "pause":
            can = status.kind.active
        case "resume":
            can = (held or _is_held(record)) and not status.kind.terminal
        case _:
            return ""  # a job can always be deleted
    return "" if can else f"is {status.text!r}: it is not possible to {action} it now."


def title_of(record: JobRecord) -> str:
    """The job's id and name, for messages."""
    return f"job {record.id} ({record.name!r})" if record.id else f"the unsaved job {record.name!r}"


def has_run(record: JobRecord) -> bool:
    """Whether a scheduler has ever accepted a job that is over. A job that was refused keeps no token."""
    return record.submission_token is not None or record.noted.ran


def at_scheduler(record: JobRecord, done: str) -> str:
    """Why a job at its scheduler cannot be submitted, as the end of a sentence; empty: it is not there.

    Args:
        record: the job.
        done: the action that is not possible, as a participle.
    """
    status = record.state.as_status
    there = record.remote_id is not None and status.text != statuses.PENDING and not status.kind.terminal
    if not (status.kind.active or _is_held(record) or there or status.text == statuses.RESULTS_READY):
        return ""
    remote = f", at its scheduler as {record.remote_id}" if record.remote_id else ""
    return f"is {status.text!r}{remote} and cannot be {done} now. Call stop() first."


def _is_held(record: JobRecord) -> bool:
    return record.state.status in (statuses.PAUSED, statuses.HELD)


_NOT_OURS = "was submitted without prefect-jobs, and is not run again from here. Submit it where it was submitted."


def _execute(record: JobRecord) -> str:
    if record.noted.foreign:
        return _NOT_OURS
    why = at_scheduler(record, "executed")
    if why or not (record.final and has_run(record)):
        return why
    return f"is over: it is {record.state.status!r}. Call resubmit() to run it again, or create a new job."


def _resubmit(record: JobRecord) -> str:
    status = record.state.as_status
    if status.text == statuses.PENDING:
        return "was not submitted yet. Call execute()."
    if status.text == statuses.RESULTS_READY:
        return "has ended, but its outputs are still being fetched. Call wait() or delete()."
    why = at_scheduler(record, "resubmitted")
    if record.noted.foreign and not why:
        return _NOT_OURS
    if why or status.kind.terminal:
        return why
    return f"is {status.text!r} and cannot be resubmitted. Call stop() first."
