"""Releases procs that HTCondor holds since they used more memory than they had requested, with a larger request.

HTCondor 25 can do so by itself (``retry_request_memory``); here it works with every version, and Prefect is told.

A process may die at any step. The row has the larger request first, for the number of starts that the proc has had:
who goes on finds it there, and a proc that has not started since gets that request, not the one after it.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prefect_jobs.jobs import changes
from prefect_jobs.jobs.condor.ads import constraint
from prefect_jobs.jobs.condor.state import CondorState, encode
from prefect_jobs.jobs.handle import Handle
from prefect_jobs.noted import MEMORY_RAISED, Happened
from prefect_jobs.records import Change, JobRecord
from prefect_jobs.schedulers.condor import observation
from prefect_jobs.schedulers.condor.client import CondorClient
from prefect_jobs.schedulers.condor.observation import Proc
from prefect_jobs.schedulers.condor.submit import quantities
from prefect_jobs.transition import News, Source

#: The keyword argument of ``create_job``.
OPTION = "retry_with_memory"
_HELD = f"JobStatus == 5 && HoldReasonCode == {observation.HOLD_MEMORY}"
_ASKED = ("ProcId", "RequestMemory", "MemoryProvisioned", "NumJobStarts")
#: Number of procs that a line or an event names.
_NAMED = 20


def check(given: Any) -> list[str]:
    """What is stored of the option.

    Raises:
        ValueError: not sizes, or not each larger than the one before.
    """
    if isinstance(given, str | int | float) and not isinstance(given, bool):
        given = [given]
    if not isinstance(given or (), Sequence):
        raise ValueError(f"{OPTION} = {given!r}: use sizes of memory, such as ('4GB', '8GB').")
    found = [str(size).strip() for size in given or ()]
    numbers = [quantities.megabytes(size) for size in found]
    if sorted(set(numbers)) != numbers:
        raise ValueError(f"{OPTION} = {given!r}: each size must be larger than the one before it.")
    return found


def is_wanted(record: JobRecord, procs: Iterable[Proc]) -> bool:
    """Whether the job asks for more memory for one of these procs."""
    return bool(record.spec.get(OPTION)) and any(proc.hold_code == observation.HOLD_MEMORY for proc in procs)


@dataclass(frozen=True)
class Need:
    """A proc that is held for memory."""

    proc: int
    #: The memory that it had, in MB.
    had: int
    #: How often it has started.
    starts: int


def raise_all(handle: Handle, client: CondorClient) -> bool:
    """Releases the procs that are held for memory with the next size of the job's ``retry_with_memory``. Those that
    have the largest one stay held.

    Returns:
        Whether any was released.

    Raises:
        SchedulerConnectionError: the schedd does not answer; the next call goes on.
        CondorRefusal: the schedd does not allow it.
    """
    mine = f"{constraint(handle.record)} && {_HELD}"
    needs = [need for need in map(_need, client.query(mine, _ASKED)) if need is not None]
    handle.update(lambda fresh: _intents(fresh, needs))
    groups = _groups(handle.record, needs)
    released = 0
    for size, procs in groups.items():
        which = f'{mine} && stringListMember(string(ProcId), "{",".join(str(need.proc) for need in procs)}")'
        client.edit(which, "RequestMemory", str(size))
        handle.update(_told(size, procs))
        released += client.act("Release", which, f"released with {size} MB of memory")
    return released > 0


def _need(ad: Mapping[str, Any]) -> Need | None:
    """What an ad tells; ``None``: its request is an expression, and it never had a machine."""
    had = next((value for name in _ASKED[1:3] if (value := _number(ad.get(name))) is not None), None)
    return None if had is None else Need(int(ad["ProcId"]), had, _number(ad.get("NumJobStarts")) or 0)


def _number(value: Any) -> int | None:
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _sizes(record: JobRecord, needs: Sequence[Need]) -> dict[int, tuple[int, bool]]:
    """The size for each proc, and whether the row has it already; those that have the largest one are left out."""
    sizes = [quantities.megabytes(size) for size in record.spec.get(OPTION) or ()]
    known = CondorState(record).raised
    found: dict[int, tuple[int, bool]] = {}
    for need in needs:
        starts, size = known.get(str(need.proc), (-1, 0))
        if starts == need.starts:
            found[need.proc] = size, True
        elif larger := [size for size in sizes if size > need.had]:
            found[need.proc] = larger[0], False
    return found


def _intents(fresh: JobRecord, needs: Sequence[Need]) -> Change | None:
    """Notes the sizes of the procs that have none yet."""
    starts = {need.proc: need.starts for need in needs}
    new = {str(proc): (starts[proc], size) for proc, (size, noted) in _sizes(fresh, needs).items() if not noted}
    if not new:
        return None
    return changes.change_for(fresh, None, native=encode(raised={**CondorState(fresh).raised, **new}))


def _groups(record: JobRecord, needs: Sequence[Need]) -> dict[int, list[Need]]:
    found: dict[int, list[Need]] = {}
    sizes = _sizes(record, needs)
    for need in needs:
        if need.proc in sizes:
            found.setdefault(sizes[need.proc][0], []).append(need)
    return found


def _told(size: int, needs: Sequence[Need]) -> Any:
    """The change that says so, to people and to Prefect; once, however often it is tried."""

    def change(fresh: JobRecord) -> Change | None:
        attempt = fresh.state.attempt
        first = needs[0]
        key = f"{attempt}:{size}:{first.proc}:{first.starts}"
        if any(each.get("key") == key for each in fresh.noted.happened):
            return None
        procs = [need.proc for need in needs]
        before = min((need.had for need in needs if need.had < size), default=size)
        text = _line(procs, before, size)
        happened = Happened(MEMORY_RAISED, {"from": before, "to": size, "processes": procs[:_NAMED]}, key)
        news = News(Source.SCHEDULER, None, text, attempt=attempt)
        return changes.change_for(fresh, news, messages=((logging.WARNING, text),), happened=(happened,))

    return change


def _line(procs: Sequence[int], before: int, size: int) -> str:
    shown = ", ".join(map(str, procs[:_NAMED])) + (" …" if len(procs) > _NAMED else "")
    which = f"Process {shown}" if len(procs) == 1 else f"Processes {shown}"
    return f"{which}: held for using more memory than requested ({before} MB), and released with {size} MB."
