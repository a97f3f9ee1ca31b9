"""Releases jobs with spooled inputs whose schedd was killed before it noted them: it would hold them for ever.

A schedd notes one second after the transfer that the inputs are spooled, and releases the job. If it is killed in that
second, this module releases the job instead.
"""

import logging
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

from prefect_jobs import clock, statuses
from prefect_jobs.jobs.condor.ads import constraint
from prefect_jobs.jobs.condor.state import AccessPointState, encode
from prefect_jobs.jobs.observation import Observation, Todo
from prefect_jobs.records import JobRecord
from prefect_jobs.schedulers.condor import observation
from prefect_jobs.schedulers.condor.access import CondorError
from prefect_jobs.schedulers.condor.client import CondorClient
from prefect_jobs.schedulers.condor.observation import Proc

#: Time after which a schedd counts as one that missed noting the spooled inputs.
ARRIVAL = timedelta(seconds=10)
#: Time after which a refused release is tried again.
_AGAIN = timedelta(minutes=1)


def is_forgotten(record: JobRecord, procs: Iterable[Proc]) -> bool:
    """Whether procs still wait for inputs that were spooled long ago."""
    # A job counts as submitted only after the transfer has succeeded.
    sent = record.state.execute_time
    return sent is not None and clock.now() - sent > ARRIVAL and any(proc.waiting for proc in procs)


def was_refused(record: JobRecord) -> bool:
    """Whether the schedd has refused to release the job before."""
    return AccessPointState(record).release_refused is not None


def refused_lately(record: JobRecord) -> bool:
    """Whether the schedd has refused to release the job recently."""
    refused = AccessPointState(record).release_refused
    return refused is not None and clock.now() - refused < _AGAIN


def release(record: JobRecord, found: Observation, client: CondorClient) -> Observation:
    """Carries out :attr:`Todo.RELEASE`, if the observation requires it.

    Returns:
        The observation, with the outcome.

    Raises:
        SchedulerConnectionError: the schedd does not answer.
    """
    if Todo.RELEASE not in found.todo or refused_lately(record):
        return found
    mine = f"{constraint(record)} && {observation.WAITING}"
    released = 0
    try:
        waiting = client.query(mine, ("ProcId", "ServerTime"))
        if waiting:
            # By the schedd's clock: files written later are outputs. If this is interrupted, it is done again.
            now = int(waiting[0].get("ServerTime") or clock.now().timestamp())
            client.edit(mine, "StageInFinish", str(now - 1))
            client.edit(mine, "HoldReasonCode", str(observation.HOLD_FORGOTTEN))
            released = client.act("Release", mine, "its inputs are spooled")
    except CondorError as error:
        if client.query(mine, ("ProcId",)):
            return _refused(record, found, str(error).rstrip(". "))
        # Another process, or the schedd itself, has released it.
    if not released:
        return found
    text = "The schedd restarted while spooling the inputs; the job was released."
    return replace(found, messages=(*found.messages, (logging.WARNING, text)))


def _refused(record: JobRecord, found: Observation, why: str) -> Observation:
    text = (
        f"HTCondor received the inputs but still waits for them, and the release was refused: {why}. "
        "Call stop(), then resubmit()."
    )
    tried = clock.now().isoformat()
    held = encode(held_since=AccessPointState(record).held_since or tried, release_refused=tried)
    return replace(found, status=statuses.HELD, message=text, native={**found.native, **held})
