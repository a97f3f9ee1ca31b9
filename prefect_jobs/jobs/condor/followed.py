"""What is kept of a job at an access point between two polls. Thousands wait for days, so it is little; the job's row
is read again when there are news of it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache

from prefect_jobs.jobs.condor.ads import key_of
from prefect_jobs.jobs.condor.state import CondorState
from prefect_jobs.records import JobRecord

#: State and HoldReasonCode of a proc.
Seen = tuple[str, int | None]


@lru_cache(maxsize=1024)
def _seen(state: str, hold_code: int | None) -> Seen:
    """The same object for equal ones: most procs are in one of a few states."""
    return state, hold_code


@dataclass(slots=True)
class Followed:
    """A job at an access point, as its row has it."""

    job_id: int
    version: int
    key: str
    cluster: int
    foreign: bool
    #: By number; ``None``: never seen.
    procs: tuple[Seen | None, ...]
    #: The numbers of those that are over.
    final: frozenset[int]
    held_since: str | None
    waits_for_inputs: bool

    @classmethod
    def of(cls, record: JobRecord) -> "Followed":
        """The job of a record."""
        state = CondorState(record)
        known = state.procs
        procs: list[Seen | None] = [None] * state.total
        for number, proc in known.items():
            if number < len(procs):
                procs[number] = _seen(proc.state, proc.hold_code)
        final = frozenset(number for number, proc in known.items() if proc.final)
        foreign = record.noted.foreign
        return cls(
            record.id,
            record.version,
            key_of(record),
            int(record.remote_id or 0),
            foreign,
            tuple(procs),
            final,
            None if foreign else state.held_since,
            not foreign and state.waits_for_inputs,
        )

    def differs(self, procs: Mapping[int, tuple[str, int | None]]) -> bool:
        """Whether the queue has something else than the row: the states of procs, and the codes of holds."""
        for number, known in enumerate(self.procs):
            proc = procs.get(number)
            if known is None or (proc is None and number not in self.final):
                return True
            if proc is not None and known != proc:
                return True
        return False

    def is_lost(self, procs: Collection[int]) -> bool:
        """Whether a proc is not in the queue and not known to have ended."""
        return any(number not in procs and number not in self.final for number in range(len(self.procs)))
