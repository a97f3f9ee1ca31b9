"""Clusters whose procs HTCondor makes a few at a time (``max_materialize``, ``max_idle``: late materialization).

A proc that is not made has no ad. The ad of its cluster is in the queue until the last one is made and over.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from prefect_jobs.jobs.condor.ads import constraint
from prefect_jobs.jobs.condor.state import CondorState
from prefect_jobs.records import JobRecord
from prefect_jobs.schedulers.condor import observation
from prefect_jobs.schedulers.condor.client import CondorClient
from prefect_jobs.schedulers.condor.observation import Proc

#: The attribute that only ads of such clusters have.
MARK = "JobMaterializeDigestFile"
_PROJECTION = ("ClusterId", "JobMaterializePaused", "JobMaterializePauseReason")
#: JobMaterializePaused: by a user. Below 0: an error of the schedd when it made a proc.
_HELD = 1
_NOT_RUN = (observation.IDLE, observation.HELD)
_NEVER = "it was not made before its cluster was removed"


def is_late(ad: Mapping[str, Any]) -> bool:
    """Whether an ad is that of such a cluster, or of one of its procs."""
    return ad.get(MARK) is not None


def not_made(
    record: JobRecord, client: CondorClient, numbers: Iterable[int], others: Mapping[int, Proc]
) -> dict[int, Proc]:
    """What is known of procs that are in neither queue nor history; empty: nothing, they are missing.

    Args:
        record: the job before the poll.
        client: of the access point.
        numbers: the procs.
        others: those that were found.

    Raises:
        SchedulerConnectionError: the schedd does not answer.
    """
    known = CondorState(record).procs
    # One that has run was made: the schedd may report it in neither place for a while.
    numbers = [number for number in numbers if number not in known or known[number].state in _NOT_RUN]
    if not numbers or not CondorState(record).late:
        return {}
    cluster = _cluster(record, client)
    if cluster is None and not any(proc.state == observation.REMOVED for proc in others.values()):
        return {}
    if cluster is None:
        return {number: Proc(number, observation.REMOVED, reason=_NEVER, queued=False) for number in numbers}
    paused, why = int(cluster.get("JobMaterializePaused") or 0), cluster.get("JobMaterializePauseReason")
    if paused == _HELD or paused < 0:
        code = observation.HOLD_BY_USER if paused == _HELD else None
        return {number: Proc(number, observation.HELD, hold_code=code, reason=why) for number in numbers}
    return {number: Proc(number, observation.IDLE) for number in numbers}


def whole(record: JobRecord, client: CondorClient) -> str | None:
    """The constraint by which the schedd steers procs and what makes more of them; none: the cluster is not such a one,
    or is gone. The schedd understands only this form, so the cluster is checked before.

    Raises:
        SchedulerConnectionError: the schedd does not answer.
    """
    if not CondorState(record).late or _cluster(record, client) is None:
        return None
    return f"ClusterId == {int(record.remote_id or 0)}"


def _cluster(record: JobRecord, client: CondorClient) -> Mapping[str, Any] | None:
    ads = client.query(constraint(record), ("ProcId", *_PROJECTION), clusters=True)
    return next((ad for ad in ads if "ProcId" not in ad), None)
