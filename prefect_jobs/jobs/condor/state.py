"""The state of a job at an access point: each key of ``JobRecord.native`` once, typed."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypedDict, Unpack

from prefect_jobs.noted import CLUSTER, HOST, IN_QUEUE, OUTCOME, RETRIEVED, WAITS, Noted, Outcome
from prefect_jobs.records import JobRecord
from prefect_jobs.schedulers.condor import observation
from prefect_jobs.schedulers.condor.observation import Proc

#: Keys in the row, where they differ from the names in :class:`Values`.
_KEYS = {
    "release_refused": "told",
    "cluster": CLUSTER,
    "host": HOST,
    "in_queue": IN_QUEUE,
    "outcome": OUTCOME,
    "waits": WAITS,
}


class AccessPointState(Noted):
    """The state of any job at an access point. Reads only the keys that are used."""

    __slots__ = ()

    def __init__(self, record: JobRecord) -> None:
        super().__init__(record.native)

    @property
    def missing_since(self) -> str | None:
        """Since when the job is in neither queue nor history."""
        return self._native.get("missing_since")

    @property
    def missing_polls(self) -> int:
        """The number of polls that have not found it."""
        return int(self._native.get("missing_polls") or 0)

    @property
    def held_since(self) -> str | None:
        """Since when HTCondor holds it."""
        return self._native.get("held_since")

    @property
    def release_refused(self) -> datetime | None:
        """When the schedd last refused to release the job after its inputs were spooled."""
        value = self._native.get(_KEYS["release_refused"])
        return datetime.fromisoformat(value) if value else None

    @property
    def retrieved(self) -> bool:
        """Whether outputs were fetched, or there are none."""
        return bool(self._native.get(RETRIEVED))


class CondorState(AccessPointState):
    """The state of a cluster of procs."""

    __slots__ = ()

    @property
    def total(self) -> int:
        """The number of procs that were submitted."""
        return int(self._native.get("total", 1))

    @property
    def spool(self) -> bool:
        """Whether inputs were spooled, so that outputs must be fetched."""
        return bool(self._native.get("spool", True))

    @property
    def late(self) -> bool:
        """Whether HTCondor makes its procs a few at a time."""
        return bool(self._native.get("late"))

    @property
    def logs(self) -> dict[str, str]:
        """Submit command (``log``, ``output``, ``error``) → path in the job directory, with macros."""
        return dict(self._native.get("logs", {}))

    @property
    def procs(self) -> dict[int, Proc]:
        """The procs as last seen, by number."""
        return observation.decode(self._native.get("procs", ()))

    @property
    def raised(self) -> dict[str, tuple[int, int]]:
        """Number of a proc → the starts that it had when its request of memory was raised, and the request in MB."""
        return {proc: (int(starts), int(size)) for proc, (starts, size) in self._native.get("raised", {}).items()}

    @property
    def shown(self) -> dict[str, Any]:
        """What of its output is shown already: ``attempt``, ``lines``, and ``at``: log → byte."""
        return dict(self._native.get("shown", {}))

    @property
    def waits_for_inputs(self) -> bool:
        """Whether the schedd reports that a proc waits for its inputs. Costs less than :attr:`procs`."""
        return any(proc.get("hold_code") in observation.WAITING_CODES for proc in self._native.get("procs", ()))


class Values(TypedDict, total=False):
    """The values that can be stored; ``None`` removes one."""

    host: str
    cluster: int
    in_queue: bool | None
    total: int
    spool: bool
    late: bool | None
    logs: dict[str, str]
    procs: Mapping[int, Proc]
    outcome: Outcome
    missing_since: str | None
    missing_polls: int | None
    held_since: str | None
    raised: Mapping[str, tuple[int, int]]
    shown: Mapping[str, Any]
    release_refused: str | None
    retrieved: bool
    waits: None


def encode(**values: Unpack[Values]) -> dict[str, Any]:
    """Values by their keys in the row."""
    found: dict[str, Any] = {_KEYS.get(name, name): value for name, value in values.items()}
    if "procs" in values:
        found["procs"] = [values["procs"][number].encode() for number in sorted(values["procs"])]
    if "outcome" in values:
        found[OUTCOME] = values["outcome"].encode()
    return found
