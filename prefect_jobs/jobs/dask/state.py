"""The state of work on a Dask cluster: each key of ``JobRecord.native`` once, typed."""

from dataclasses import asdict, dataclass
from typing import Any, TypedDict, Unpack

from prefect_jobs.noted import DASHBOARD, IN_QUEUE, LOCAL, OUTCOME, RELEASED, RESULT, Noted, Outcome
from prefect_jobs.records import JobRecord
from prefect_jobs.schedulers.dask.work import Shape

_KEYS = {"scheduler_id": "dask", "local": LOCAL, "dashboard": DASHBOARD, "in_queue": IN_QUEUE, "result": RESULT}


@dataclass(frozen=True)
class Local:
    """The cluster of a process on one machine."""

    host: str
    #: The address of its scheduler on that machine.
    address: str


class DaskState(Noted):
    """The state of a submission."""

    __slots__ = ()

    def __init__(self, record: JobRecord) -> None:
        super().__init__(record.native)

    @property
    def keys(self) -> list[str]:
        """Dask's keys of the leaves."""
        return [str(key) for key in self._native.get("keys", ())]

    @property
    def count(self) -> int:
        """The number of leaves."""
        return len(self._native.get("keys", ()))

    @property
    def shape(self) -> Shape:
        """The structure of the leaves."""
        found: Shape = self._native["shape"]
        return found

    @property
    def scheduler_id(self) -> str | None:
        """The id of the scheduler that accepted the work; a restarted scheduler has another one."""
        return self._native.get(_KEYS["scheduler_id"])

    @property
    def futures(self) -> bool:
        """Whether a user's futures are among the leaves."""
        return bool(self._native.get("futures"))

    @property
    def local(self) -> Local | None:
        """The cluster of a process that has the work."""
        found = self._native.get(LOCAL)
        return Local(**found) if found else None

    @property
    def done(self) -> list[int]:
        """The numbers of the leaves with a result."""
        return [int(number) for number in self._native.get("done", range(self.count))]

    @property
    def failed(self) -> bool:
        """Whether all leaves failed."""
        return bool(self._native.get("failed"))

    @property
    def released(self) -> bool:
        """Whether the cluster has forgotten the work."""
        return bool(self._native.get(RELEASED))


class Values(TypedDict, total=False):
    """The values that can be stored."""

    keys: list[str]
    shape: Shape
    scheduler_id: str
    in_queue: bool
    futures: bool
    local: Local
    dashboard: str | None
    done: list[int]
    failed: bool
    released: bool
    outcome: Outcome
    result: dict[str, Any]


def encode(**values: Unpack[Values]) -> dict[str, Any]:
    """Values by their keys in the row."""
    found: dict[str, Any] = {_KEYS.get(name, name): value for name, value in values.items()}
    if "local" in values:
        found[LOCAL] = asdict(values["local"])
    if "outcome" in values:
        found[OUTCOME] = values["outcome"].encode()
    return found
