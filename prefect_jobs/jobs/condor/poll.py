"""Turns a schedd's answer about a cluster into an observation: status, times, message."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from prefect_jobs import statuses
from prefect_jobs.jobs.condor import late, limits, spooling
from prefect_jobs.jobs.condor.ads import constraint
from prefect_jobs.jobs.condor.state import CondorState, Values, encode
from prefect_jobs.jobs.condor.submit_commands import ITEMS
from prefect_jobs.jobs.observation import Observation, Todo
from prefect_jobs.noted import Outcome
from prefect_jobs.records import JobRecord
from prefect_jobs.schedulers.condor import observation
from prefect_jobs.schedulers.condor.client import CondorClient
from prefect_jobs.schedulers.condor.observation import Proc, Verdict
from prefect_jobs.schedulers.condor.submit import item_data

#: Number of lines about single procs in one poll.
_LINES = 30


def observe(record: JobRecord, client: CondorClient, held_timeout: float | None) -> Observation:
    """Polls one job: the queue, and the history for procs that are not in the queue.

    Raises:
        SchedulerConnectionError: the schedd does not answer.
    """
    state = CondorState(record)
    known, total = state.procs, state.total
    seen = {
        proc.proc: proc for proc in (observation.read_ad(ad, queued=True) for ad in client.query(constraint(record)))
    }
    gone = [number for number in range(total) if number not in seen and not _settled(known.get(number))]
    if gone:
        left = client.history(constraint(record), match=total)
        if len({ad.get("ProcId") for ad in left}) < len(left):
            # A schedd that was killed meanwhile may have noted a proc twice, so there may be more entries.
            left = client.history(constraint(record))
        for ad in left:
            proc = observation.read_ad(ad, queued=False)
            seen.setdefault(proc.proc, proc)
        seen.update(late.not_made(record, client, [number for number in gone if number not in seen], seen))
    settled = {number: proc for number, proc in known.items() if _settled(proc)}
    return carry_out(record, conclude(record, {**settled, **seen}, held_timeout), client)


def observe_changed(
    record: JobRecord, seen: Mapping[int, Proc], client: CondorClient, held_timeout: float | None
) -> Observation:
    """The observation of a job of which some procs have changed; the others are unchanged.

    Raises:
        SchedulerConnectionError: the schedd does not answer.
    """
    state = CondorState(record)
    procs = {**state.procs, **seen}
    if len(procs) < state.total:
        return observe(record, client, held_timeout)
    return carry_out(record, conclude(record, procs, held_timeout), client)


def carry_out(record: JobRecord, found: Observation, client: CondorClient) -> Observation:
    """Does at the schedd what an observation requires, and adds that to the observation.

    Raises:
        SchedulerConnectionError: the schedd does not answer.
    """
    if Todo.GIVE_UP in found.todo:
        which = late.whole(record, client) or f"{constraint(record)} && JobStatus == 5"
        client.act("Remove", which, "held for too long")
    return spooling.release(record, found, client)


def conclude(record: JobRecord, procs: Mapping[int, Proc], held_timeout: float | None) -> Observation:
    """The observation of a job for a poll's answer. Pure.

    Args:
        record: the job before the poll.
        procs: the procs, from queue and history.
        held_timeout: seconds after which a held job is removed; none: never.
    """
    state = CondorState(record)
    if record.noted.foreign:
        held_timeout = None
    verdict = observation.judge(procs, state.total)
    if verdict is None:
        return _missing(record, procs, state.total)
    values: Values = {"procs": procs, "missing_since": None, "missing_polls": None, "held_since": None}
    forgotten = not record.noted.foreign and spooling.is_forgotten(record, procs.values())
    todo = frozenset({Todo.RELEASE} if forgotten else ())
    if forgotten and spooling.was_refused(record):
        verdict = replace(verdict, status=statuses.HELD, message=record.state.status_message)
    elif spooling.was_refused(record):
        values["release_refused"] = None
    if verdict.status == statuses.HELD:
        values["held_since"] = since = limits.held_since(record)
        if limits.is_given_up(since, held_timeout):
            return _given_up(procs, limits.given_up_text(held_timeout, verdict.message), values, todo)
    if not any(proc.state in (observation.IDLE, observation.UNEXPANDED) for proc in procs.values()):
        values["waits"] = None
    if verdict.status == statuses.ABORTED:
        values["in_queue"] = None  # nothing is left in the queue
    if verdict.outcome is not None:
        values["outcome"] = Outcome(verdict.outcome, verdict.message, verdict.ended)
    return Observation(
        verdict.status,
        _message(record, verdict),
        encode(**values),
        verdict.started,
        verdict.ended,
        messages=_lines(state.procs, procs, record.spec.get(ITEMS) or ()) if state.total > 1 else (),
        todo=todo,
    )


def _given_up(procs: Mapping[int, Proc], text: str, values: Values, todo: frozenset[Todo]) -> Observation:
    todo = todo | {Todo.GIVE_UP}
    if any(proc.state == observation.COMPLETED for proc in procs.values()):
        # The rest is complete and has outputs: once the held procs are gone the job is Various-Complete.
        return Observation(None, None, encode(**values), messages=((logging.WARNING, text),), todo=todo)
    return Observation(statuses.ERROR, text, encode(**values), crashed=True, todo=todo)


def _message(record: JobRecord, verdict: Verdict) -> str:
    if verdict.outcome:
        return f"The work is over ({verdict.message.rstrip('.')}); outputs are being fetched."
    if verdict.status == statuses.SUBMITTED and record.state.status == statuses.SUBMITTED:
        return record.state.status_message  # "submitted as cluster …" says more than "idle in the queue"
    return verdict.message


def _missing(record: JobRecord, procs: Mapping[int, Proc], total: int) -> Observation:
    """A job that is not found has not failed, at first."""
    text = (
        f"Cluster {record.remote_id} is in neither the queue nor the history of its schedd since {{since}} "
        f"({total - len(procs)} of {total} processes). It was removed there, or the schedd lost its queue. "
        "Its outputs are not known. Call resubmit() to run it again."
    )
    return limits.missing(record, text, seen={"procs": procs} if procs else None)


def _settled(proc: Proc | None) -> bool:
    return proc is not None and proc.final


def _lines(
    before: Mapping[int, Proc], now: Mapping[int, Proc], items: Sequence[item_data.Item]
) -> tuple[tuple[int, str], ...]:
    """A line for each proc whose state changed."""
    lines: list[tuple[int, str]] = []
    for number in sorted(now):
        proc, old = now[number], before.get(number)
        if old is not None and old.state == proc.state:
            continue
        label = item_data.label_of(items, number)
        which = f"Process {number} ({label})" if label else f"Process {number}"
        if proc.state == observation.RUNNING:
            lines.append((logging.INFO, f"{which}: executing on {proc.host}"))
        elif proc.state == observation.HELD:
            lines.append((logging.WARNING, f"{which}: {proc.hold_text()}"))
        elif proc.final:
            lines.append((logging.INFO if proc.ended_well else logging.WARNING, f"{which}: {proc.outcome()}"))
    if len(lines) > _LINES:
        lines = [*lines[:_LINES], (logging.INFO, f"… and {len(lines) - _LINES} more processes changed")]
    return tuple(lines)
