"""What is kept of work on a Dask cluster: each key of ``JobRecord.native`` once, typed."""

from dataclasses import asdict, dataclass
from typing import Any, TypedDict, Unpack

from prefect_jobs.noted import DASHBOARD, IN_QUEUE, LOCAL, OUTCOME, RESULT, Noted, Outcome
from prefect_jobs.records import JobRecord
from prefect_jobs.schedulers.dask.work import Shape

_KEYS = {"scheduler_id": "dask", "local": LOCAL, "dashboard": DASHBOARD, "in_queue": IN_QUEUE, "result": RESULT}


@dataclass(frozen=True)
class Local:
    """The cluster of a process on one machine."""

    host: str
    #: The scheduler's address there.
    address: str


class DaskState(Noted):
    """What is kept of a submission."""

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
        """How the leaves are put together."""
        found: Shape = self._native["shape"]
        return found

    @property
    def scheduler_id(self) -> str | None:
        """The id of the scheduler that accepted it; another one after a restart."""
        return self._native.get(_KEYS["scheduler_id"])

    @property
    def futures(self) -> bool:
        """Whether a user's futures are among the leaves."""
        return bool(self._native.get("futures"))

    @property
    def local(self) -> Local | None:
        """The process' own cluster that has it."""
        found = self._native.get(LOCAL)
        return Local(**found) if found else None

    @property
    def done(self) -> list[int]:
        """The numbers of the leaves that have a result."""
        return [int(number) for number in self._native.get("done", range(self.count))]

    @property
    def failed(self) -> bool:
        """Whether all leaves failed."""
        return bool(self._native.get("failed"))

    @property
    def released(self) -> bool:
        """Whether the cluster has forgotten it."""
        return bool(self._native.get("released"))


class Values(TypedDict, total=False):
    """What can be noted."""

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
    """Values by the keys under which they are kept."""
    found: dict[str, Any] = {_KEYS.get(name, name): value for name, value in values.items()}
    if "local" in values:
        found[LOCAL] = asdict(values["local"])
    if "outcome" in values:
        found[OUTCOME] = values["outcome"].encode()
    return found
