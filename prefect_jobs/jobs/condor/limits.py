"""How long a job at an access point may be missing, or held, before it is given up."""

from datetime import datetime, timedelta

from prefect_jobs import clock, statuses
from prefect_jobs.jobs.condor.state import AccessPointState, Values, encode
from prefect_jobs.jobs.observation import Observation
from prefect_jobs.records import JobRecord, NodeRecord

#: A job in neither queue nor history is given up after this many polls and this time: a schedd that was restarted, or
#: moves a job from queue to history at this moment, does not know it for a while.
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
    """What a poll means that found the job, or a part of it, in neither queue nor history. At first: nothing.

    Args:
        record: the job.
        text: what to say once it is given up; ``{since}`` becomes the time.
        nodes: of a workflow, as they are once it is given up.
        version: see :class:`Observation`; of the same.
        seen: what is noted besides.
    """
    state = AccessPointState(record)
    since, polls = state.missing_since or clock.now().isoformat(), state.missing_polls + 1
    native = {**encode(**(seen or {})), **encode(missing_since=since, missing_polls=polls)}
    if polls < MISSING_POLLS or clock.now() - datetime.fromisoformat(since) < MISSING_TIME:
        return Observation(None, None, native)
    native.update(encode(in_queue=None))
    message = text.replace("{since}", since)
    return Observation(statuses.ERROR, message, native, crashed=True, nodes=nodes, version=version)


def held_since(record: JobRecord) -> str:
    """Since when a job that is held now is held."""
    return AccessPointState(record).held_since or clock.now().isoformat()


def is_given_up(since: str | None, held_timeout: float | None) -> bool:
    """Whether a job is held for longer than ``held_timeout`` seconds (``None``: that is never so)."""
    if since is None or held_timeout is None:
        return False
    return clock.now() - datetime.fromisoformat(since) > timedelta(seconds=held_timeout)


def given_up_text(held_timeout: float | None, why: str) -> str:
    """What people are told of a job that is given up."""
    return f"Removed: held for longer than {held_timeout:g} s (HELD_TIMEOUT). {why}"
