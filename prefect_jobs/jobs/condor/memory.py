"""Releases procs that HTCondor holds since they used more memory than they had requested, with a larger request.

HTCondor 25 can do so by itself (``retry_request_memory``); here it works with every version, and Prefect is told.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from prefect_jobs import statuses
from prefect_jobs.jobs.condor.ads import constraint
from prefect_jobs.jobs.observation import Observation
from prefect_jobs.noted import MEMORY_RAISED
from prefect_jobs.records import JobRecord
from prefect_jobs.schedulers.condor import observation
from prefect_jobs.schedulers.condor.client import CondorClient, CondorRefusal
from prefect_jobs.schedulers.condor.observation import Proc
from prefect_jobs.schedulers.condor.submit import quantities

#: The keyword argument of ``create_job``.
OPTION = "retry_with_memory"
_HELD = f"JobStatus == 5 && HoldReasonCode == {observation.HOLD_MEMORY}"
#: Number of procs that a line or an event names.
_NAMED = 20


def check(given: Any) -> list[str]:
    """What is stored of the option.

    Raises:
        ValueError: not sizes, or not each larger than the one before.
    """
    sizes = [given] if isinstance(given, str | int) else list(given or ())
    found = [str(size).strip() for size in sizes]
    numbers = [quantities.megabytes(size) for size in found]
    if sorted(set(numbers)) != numbers:
        raise ValueError(f"{OPTION} = {given!r}: each size must be larger than the one before it.")
    return found


@dataclass(frozen=True)
class Raised:
    """The procs after those that were held for memory were released."""

    procs: Mapping[int, Proc]
    #: What happened, for the events; see :meth:`Noted.with_event`.
    native: Mapping[str, Any] = field(default_factory=dict)
    messages: tuple[tuple[int, str], ...] = ()

    def tell(self, found: Observation) -> Observation:
        """The observation, with what was done."""
        if not self.messages:
            return found
        message = self.messages[-1][1] if found.status == statuses.SUBMITTED else found.message
        return replace(
            found,
            message=message,
            native={**found.native, **self.native},
            messages=(*self.messages, *found.messages),
        )


def raised(record: JobRecord, procs: Mapping[int, Proc], client: CondorClient) -> Raised:
    """Releases the procs that are held for memory with the next size of the job's ``retry_with_memory``. Those that
    have the largest one stay held. If this is interrupted, or two processes do it at once, a size may be left out.

    Args:
        record: the job.
        procs: its procs, as just seen.
        client: asks the schedd.

    Raises:
        SchedulerConnectionError: the schedd does not answer.
    """
    sizes = [quantities.megabytes(size) for size in record.spec.get(OPTION) or ()]
    hungry = any(proc.hold_code == observation.HOLD_MEMORY for proc in procs.values())
    if not sizes or not hungry or record.state.status == statuses.PAUSED:
        return Raised(procs)
    mine = f"{constraint(record)} && {_HELD}"
    ads = client.query(mine, ("ProcId", "RequestMemory"))
    had = {int(ad["ProcId"]): int(ad.get("RequestMemory") or 0) for ad in ads if int(ad["ProcId"]) in procs}
    now = dict(procs)
    happened: list[tuple[str, Mapping[str, Any]]] = []
    messages: list[tuple[int, str]] = []
    for least, size in zip([0, *sizes], sizes, strict=False):
        these = sorted(number for number, before in had.items() if least <= before < size)
        if not these:
            continue
        which = f'{mine} && stringListMember(string(ProcId), "{",".join(map(str, these))}")'
        try:
            client.edit(which, "RequestMemory", str(size))
            client.act("Release", which, f"released with {size} MB of memory")
        except CondorRefusal as error:
            why = f"more memory ({size} MB) was refused: {error}"
            now.update({number: replace(now[number], reason=why) for number in these})
            continue
        now.update({number: _released(now[number]) for number in these})
        before = min(had[number] for number in these)
        messages.append((logging.WARNING, _line(these, before, size)))
        happened.append((MEMORY_RAISED, {"from": before, "to": size, "processes": these[:_NAMED]}))
    return Raised(now, record.noted.with_events(happened) if happened else {}, tuple(messages))


def _released(proc: Proc) -> Proc:
    return replace(proc, state=observation.IDLE, hold_code=None, reason=None)


def _line(procs: Sequence[int], before: int, size: int) -> str:
    shown = ", ".join(map(str, procs[:_NAMED])) + (" …" if len(procs) > _NAMED else "")
    which = f"Process {shown}" if len(procs) == 1 else f"Processes {shown}"
    return f"{which}: held for using more memory than requested ({before} MB), and released with {size} MB."
