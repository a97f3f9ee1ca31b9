"""From what a schedd says of a cluster to an observation: what is it now, since when, what must people know."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from prefect_jobs import clock, statuses
from prefect_jobs.errors import SchedulerConnectionError
from prefect_jobs.jobs.observation import OUTCOME, Observation
from prefect_jobs.records import JobRecord
from prefect_jobs.schedulers.condor import observation
from prefect_jobs.schedulers.condor.client import CondorClient, CondorError, CondorRefusal
from prefect_jobs.schedulers.condor.observation import Proc, Verdict

#: A cluster in neither queue nor history is given up after this many polls and this time: a schedd that was
#: restarted, or moves a job from queue to history just now, knows nothing of it for a moment.
MISSING_POLLS = 3
MISSING_TIME = timedelta(seconds=20)
#: Time after which an access point has forgotten that it has the inputs of a job: it was killed in the second between
#: the end of their transfer and its note of that, and would hold the job for ever, waiting for them.
ARRIVAL = timedelta(seconds=10)
#: Mark of an observation: :func:`let_go_on` has something to do.
FORGOTTEN = "forgotten"
#: Time after which it is tried again where an access point did not take that.
_TOLD_AGAIN = timedelta(minutes=1)
_TOLD, _HELD_SINCE = "told", "held_since"
#: Lines about single processes in one poll.
_LINES = 30


def constraint(record: JobRecord) -> str:
    """Our cluster, and no other that has its number (the schedd of a pool that was made anew counts from 1)."""
    return f'ClusterId == {int(record.remote_id or 0)} && PrefectJobsToken == "{record.submission_token}"'


def procs_of(record: JobRecord) -> dict[int, Proc]:
    """The processes as last seen."""
    return observation.decode(record.native.get("procs", ()))


@contextmanager
def asking() -> Iterator[None]:
    """Turns "it failed on the way" into "nobody can tell now": asked again, it may well work.

    Raises:
        SchedulerConnectionError: for any :class:`CondorError` but a refusal.
    """
    try:
        yield
    except CondorRefusal:
        raise
    except CondorError as error:
        raise SchedulerConnectionError(str(error)) from error


def observe(record: JobRecord, client: CondorClient, held_timeout: float | None) -> Observation:
    """Asks the schedd about one job: the queue, and the history for what is not in it.

    Raises:
        SchedulerConnectionError: nobody can tell now.
    """
    ads = client.query(constraint(record))
    known = procs_of(record)
    total = int(record.native.get("total", 1))
    seen = {proc.proc: proc for proc in (observation.read_ad(ad, queued=True) for ad in ads)}
    gone = [number for number in range(total) if number not in seen and not _settled(known.get(number))]
    if gone:
        left = client.history(constraint(record), match=total)
        if len({ad.get("ProcId") for ad in left}) < len(left):
            # A schedd that was killed meanwhile may have noted a process twice: there may be others behind.
            left = client.history(constraint(record))
        for ad in left:
            proc = observation.read_ad(ad, queued=False)
            seen.setdefault(proc.proc, proc)
    settled = {number: proc for number, proc in known.items() if _settled(proc)}
    return _act_upon(record, conclude(record, {**settled, **seen}, held_timeout), client)


def observe_changed(
    record: JobRecord, seen: dict[int, Proc], client: CondorClient, held_timeout: float | None
) -> Observation:
    """What a job is, after some of its processes were seen to have changed; the others are as they were.

    Raises:
        SchedulerConnectionError: nobody can tell now.
    """
    procs = {**procs_of(record), **seen}
    if len(procs) < int(record.native.get("total", 1)):
        return observe(record, client, held_timeout)
    return _act_upon(record, conclude(record, procs, held_timeout), client)


def held_for_too_long(record: JobRecord, held_timeout: float | None) -> bool:
    """Whether it is time to give a held job up."""
    since = record.native.get(_HELD_SINCE)
    if held_timeout is None or since is None:
        return False
    return clock.now() - datetime.fromisoformat(since) > timedelta(seconds=held_timeout)


def forgotten(record: JobRecord, procs: Iterable[Proc]) -> bool:
    """Whether an access point that has the inputs of a job has forgotten it, and must be told."""
    # That their transfer has ended well is why the job counts as submitted.
    sent = record.state.execute_time
    return sent is not None and clock.now() - sent > ARRIVAL and any(proc.waiting for proc in procs)


def mark_forgotten(record: JobRecord, procs: Iterable[Proc], native: dict[str, Any]) -> bool:
    """Marks what is noted of a job if it is :func:`forgotten`; whether the access point was told so before, in vain."""
    if forgotten(record, procs):
        native[FORGOTTEN] = True
        return _TOLD in record.native
    if _TOLD in record.native:
        native[_TOLD] = None
    return False


def told_lately(record: JobRecord) -> bool:
    """Whether the access point was told so a moment ago, and did not take it."""
    told = record.native.get(_TOLD)
    return told is not None and clock.now() - datetime.fromisoformat(told) < _TOLD_AGAIN


def let_go_on(record: JobRecord, found: Observation, client: CondorClient) -> Observation:
    """Has the schedd let go on what waits only since it has :func:`forgotten` that inputs have arrived.

    Args:
        record: the job.
        found: what was seen, marked with whether this is so.
        client: the access point.

    Returns:
        The observation without the mark, and with what was done.
    """
    if not found.native.pop(FORGOTTEN, False) or told_lately(record):
        return found
    mine = f"{constraint(record)} && {observation.WAITING}"
    released = 0
    try:
        waiting = client.query(mine, ("ProcId", "ServerTime"))
        if waiting:
            # As the schedd does it itself, by its own clock: what is written later is an output. Should this be
            # interrupted, it is done again.
            now = int(waiting[0].get("ServerTime") or clock.now().timestamp())
            client.edit(mine, "StageInFinish", str(now - 1))
            client.edit(mine, "HoldReasonCode", str(observation.HOLD_FORGOTTEN))
            released = client.act("Release", mine, "its inputs are here")
    except CondorError as error:
        if client.query(mine, ("ProcId",)):
            why = str(error).rstrip(". ")
            text = f"HTCondor has its inputs, has forgotten that, and is not to be told: {why}. stop() and resubmit()."
            tried = clock.now().isoformat()
            held = {_HELD_SINCE: record.native.get(_HELD_SINCE) or tried, _TOLD: tried}
            return replace(found, status=statuses.HELD, message=text, native={**found.native, **held})
        # Another one has told it, or it has remembered.
    if not released:
        return found
    text = "The access point was interrupted as it took the inputs in, and waited for them; it was told to go on."
    return replace(found, messages=(*found.messages, (logging.WARNING, text)))


def _act_upon(record: JobRecord, found: Observation, client: CondorClient) -> Observation:
    """Does at the schedd what follows from an observation."""
    if found.native.pop("give_up", False):
        client.act("Remove", f"{constraint(record)} && JobStatus == 5", "held for too long")
    return let_go_on(record, found, client)


def conclude(record: JobRecord, procs: dict[int, Proc], held_timeout: float | None) -> Observation:
    """What a poll's answer means for a job. Pure.

    Args:
        record: the job as it was.
        procs: what queue and history say of its processes.
        held_timeout: seconds after which a held job is given up; none: never.
    """
    total = int(record.native.get("total", 1))
    verdict = observation.judge(procs, total)
    if verdict is None:
        return _missing(record, procs, total)
    native: dict[str, Any] = {
        "procs": [procs[number].encode() for number in sorted(procs)],
        "missing_since": None,
        "missing_polls": None,
        _HELD_SINCE: None,
    }
    if mark_forgotten(record, procs.values(), native):
        verdict = replace(verdict, status=statuses.HELD, message=record.state.status_message)
    if verdict.status == statuses.HELD:
        since = record.native.get(_HELD_SINCE) or clock.now().isoformat()
        native[_HELD_SINCE] = since
        if held_timeout is not None and clock.now() - datetime.fromisoformat(since) > timedelta(seconds=held_timeout):
            text = f"Removed: held for longer than {held_timeout:g} s (HELD_TIMEOUT). {verdict.message}"
            given_up = {**native, "give_up": True}
            if any(proc.state == observation.COMPLETED for proc in procs.values()):
                # The rest of it is complete and has outputs: once the held ones are gone it is Various-Complete.
                return Observation(None, None, given_up, messages=((logging.WARNING, text),))
            return Observation(statuses.ERROR, text, given_up, crashed=True)
    if verdict.status == statuses.ABORTED:
        native["in_queue"] = None  # nothing is left there
    if verdict.outcome is not None:
        native[OUTCOME] = {
            "status": verdict.outcome,
            "message": verdict.message,
            "ended": verdict.ended.isoformat() if verdict.ended else None,
        }
    lines = _lines(procs_of(record), procs) if total > 1 else ()
    message = _results_message(verdict) if verdict.outcome else verdict.message
    if verdict.status == statuses.SUBMITTED and record.state.status == statuses.SUBMITTED:
        message = record.state.status_message  # "idle in the queue" is no news beside "submitted as cluster …"
    return Observation(verdict.status, message, native, verdict.started, verdict.ended, messages=lines)


def _settled(proc: Proc | None) -> bool:
    return proc is not None and proc.final


def _results_message(verdict: Verdict) -> str:
    return f"The work is over ({verdict.message.rstrip('.')}); outputs are being fetched."


def _missing(record: JobRecord, procs: dict[int, Proc], total: int) -> Observation:
    """Not found is not failed, at first."""
    since = record.native.get("missing_since") or clock.now().isoformat()
    polls = int(record.native.get("missing_polls") or 0) + 1
    native: dict[str, Any] = {"missing_since": since, "missing_polls": polls}
    if procs:
        native["procs"] = [procs[number].encode() for number in sorted(procs)]
    if polls < MISSING_POLLS or clock.now() - datetime.fromisoformat(since) < MISSING_TIME:
        return Observation(None, None, native)
    text = (
        f"Cluster {record.remote_id} is in neither the queue nor the history of its schedd since {since} "
        f"({total - len(procs)} of {total} processes). It was removed there, or the schedd lost its queue. "
        "What it wrote is not known; resubmit() runs it again."
    )
    return Observation(statuses.ERROR, text, {**native, "in_queue": None}, crashed=True)


def _lines(before: dict[int, Proc], now: dict[int, Proc]) -> tuple[tuple[int, str], ...]:
    """A line for each process whose state changed."""
    lines: list[tuple[int, str]] = []
    for number in sorted(now):
        proc, old = now[number], before.get(number)
        if old is not None and old.state == proc.state:
            continue
        if proc.state == observation.RUNNING:
            lines.append((logging.INFO, f"Process {number}: executing on {proc.host}"))
        elif proc.state == observation.HELD:
            lines.append((logging.WARNING, f"Process {number}: {proc.hold_text()}"))
        elif proc.final:
            lines.append((logging.INFO if proc.ended_well else logging.WARNING, f"Process {number}: {proc.outcome()}"))
    if len(lines) > _LINES:
        lines = [*lines[:_LINES], (logging.INFO, f"… and {len(lines) - _LINES} more processes changed")]
    return tuple(lines)
