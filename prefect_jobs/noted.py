"""The keys of ``JobRecord.native`` that every room may read, whatever the job's engine.

What an engine keeps for itself is in its own state (:mod:`prefect_jobs.jobs.condor.state` and its kin). Rows of earlier
versions have the same keys.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from prefect_jobs import clock

#: What the job will be once its outputs are fetched: an encoded :class:`Outcome`.
OUTCOME = "outcome"
#: Since when the scheduler has not answered, and when it was asked last without an answer.
UNREACHABLE_SINCE, ASKED = "unreachable_since", "asked"
#: An earlier submission was accepted, so that to submit the job again is to run it again.
RAN = "ran"
#: For how many seconds work that had begun did not run (``seconds``), and since when it does not (``since``).
STANDING = "standing"
#: Something of the job is at its scheduler.
IN_QUEUE = "in_queue"
#: The machine whose own HTCondor has the job.
HOST = "host"
#: Of a job on a process' own Dask cluster: ``host``, the machine, and ``address``, the scheduler's.
LOCAL = "local"
#: The page of the scheduler's dashboard.
DASHBOARD = "dashboard"
#: HTCondor's number of the cluster.
CLUSTER = "cluster"
#: Where the result is kept, see :meth:`prefect_jobs.jobs.ports.Results.keep`.
RESULT = "result"


@dataclass(frozen=True)
class Outcome:
    """What a job will be once its outputs are fetched."""

    status: str
    message: str = ""
    #: When the work ended, by the scheduler's clock.
    ended: datetime | None = None

    def encode(self) -> dict[str, Any]:
        """For a JSON column."""
        ended = self.ended.isoformat() if self.ended else None
        return {"status": self.status, "message": self.message, "ended": ended}

    @classmethod
    def read(cls, value: Mapping[str, Any]) -> "Outcome":
        """The inverse of :meth:`encode`."""
        ended = value.get("ended")
        return cls(value["status"], value.get("message", ""), clock.parse(ended) if ended else None)


class Noted:
    """Reads these keys. It copies nothing, so it costs nothing to make one."""

    __slots__ = ("_native",)

    def __init__(self, native: Mapping[str, Any]) -> None:
        self._native = native

    @property
    def outcome(self) -> Outcome | None:
        """What the job will be once its outputs are fetched; ``None``: not known."""
        value = self._native.get(OUTCOME)
        return Outcome.read(value) if value else None

    @property
    def unreachable_since(self) -> str | None:
        """Since when the scheduler has not answered."""
        value = self._native.get(UNREACHABLE_SINCE)
        return None if value is None else str(value)

    @property
    def asked(self) -> datetime | None:
        """When the scheduler was asked last without an answer."""
        value = self._native.get(ASKED)
        return clock.parse(value) if value else None

    @property
    def ran(self) -> bool:
        """Whether an earlier submission was accepted."""
        return bool(self._native.get(RAN))

    @property
    def in_queue(self) -> bool:
        """Whether something of the job is at its scheduler."""
        return bool(self._native.get(IN_QUEUE))

    @property
    def host(self) -> str | None:
        """The machine whose own scheduler has the job; ``None``: not known, or a scheduler that is reached by name."""
        value = self._native.get(HOST) or (self._native.get(LOCAL) or {}).get("host")
        return None if value is None else str(value)

    @property
    def dashboard(self) -> str | None:
        """The page of the scheduler's dashboard."""
        value = self._native.get(DASHBOARD)
        return str(value) if value else None

    @property
    def cluster(self) -> int | None:
        """HTCondor's number of the cluster."""
        value = self._native.get(CLUSTER)
        return None if value is None else int(value)

    @property
    def result(self) -> dict[str, Any] | None:
        """Where the result is kept; ``None``: there is none."""
        return self._native.get(RESULT) or None
