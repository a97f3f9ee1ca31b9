"""How long a job at an access point may be missing, or held, before it is given up."""

from datetime import datetime, timedelta

from prefect_jobs import clock, statuses
from prefect_jobs.jobs.condor.state import AccessPointState, Values, encode
from prefect_jobs.jobs.observation import Observation
from prefect_jobs.records import JobRecord, NodeRecord

#: A job in neither queue nor history is given up after this many polls and this time: after a restart, or while it
#: moves a job from queue to history, a schedd does not report it for a while.
MISSING_POLLS = 3
MISSING_TIME = timedelta(seconds=20)


def missing(
    record: JobRecord,
    text: str,
    *,
    nodes: tuple[NodeRecord, ...] = (),
    version: int | None = None,
    seen: Values | None = None,
) -> Observation:
    """The observation for a poll that did not find the job, or a part of it, in queue or history. At first: no news.

    Args:
        record: the job.
        text: the message once the job is given up; ``{since}`` is replaced by the time.
        nodes: the nodes of a workflow once it is given up.
        version: see :class:`Observation`.
        seen: other values to note.
    """
    state = AccessPointState(record)
    since, polls = state.missing_since or clock.now().isoformat(), state.missing_polls + 1
    native = {**encode(**(seen or {})), **encode(missing_since=since, missing_polls=polls)}
    if polls < MISSING_POLLS or clock.now() - datetime.fromisoformat(since) < MISSING_TIME:
        return Observation(None, None, native)
    native.update(encode(in_queue=None))
    message = text.replace("{since}", since)
    if record.noted.foreign:  # it is not run again from here
        message = message.replace(" Call resubmit() to run it again.", "").replace(" resubmit() runs it again.", "")
    return Observation(statuses.ERROR, message, native, crashed=True, nodes=nodes, version=version)


def held_since(record: JobRecord) -> str:
    """Since when a held job is held."""
    return AccessPointState(record).held_since or clock.now().isoformat()


def is_given_up(since: str | None, held_timeout: float | None) -> bool:
    """Whether a job is held for longer than ``held_timeout`` seconds (``None``: never)."""
    if since is None or held_timeout is None:
        return False
    return clock.now() - datetime.fromisoformat(since) > timedelta(seconds=held_timeout)


def given_up_text(held_timeout: float | None, why: str) -> str:
    """The message of a job that is given up."""
    return f"Removed: held for longer than {held_timeout:g} s (HELD_TIMEOUT). {why}"
