"""The keys of ``JobRecord.native`` that every module may read, for jobs of any engine.

The keys of one engine are in its own state (:mod:`prefect_jobs.jobs.condor.state` and the like). Rows of earlier
versions have the same keys.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from prefect_jobs import clock

#: The outcome of the job once its outputs are fetched: an encoded :class:`Outcome`.
OUTCOME = "outcome"
#: When the scheduler stopped answering, and when the last poll without an answer was.
UNREACHABLE_SINCE, ASKED = "unreachable_since", "asked"
#: An earlier submission was accepted, so submitting the job again is running it again.
RAN = "ran"
#: The seconds for which work that had begun did not run (``seconds``), and since when it does not (``since``).
STANDING = "standing"
#: The attempt that is stopped since it was not over in time, and why, for people: ``attempt``, ``message``.
TIMED_OUT = "timed_out"
#: Who has asked for an action whose outcome is not known yet: ``attempt``, ``action``, ``who``.
STEERED = "steered"
#: The last events of the job for Prefect besides its statuses: ``number``, ``what``, ``time``, ``key``, and a payload.
HAPPENED = "happened"
#: Kinds of these events.
MEMORY_RAISED, LATE_MATCH, ADOPTED = "memory-raised", "late-match", "adopted"
#: The attempt of which it is known that no machine has taken it for long.
LATE = "late"
#: Why the job waits for a machine: ``attempt``, ``text``.
WAITS = "waits"
#: A part of the work is at the scheduler, or was, until it was released there.
IN_QUEUE, RELEASED = "in_queue", "released"
#: The machine whose local HTCondor has the job.
HOST = "host"
#: For a job on the Dask cluster of a process: ``host``, the machine, and ``address``, the scheduler's.
LOCAL = "local"
#: URL of the scheduler's dashboard.
DASHBOARD = "dashboard"
#: HTCondor's cluster id.
CLUSTER = "cluster"
#: Where the result is kept; see :meth:`prefect_jobs.jobs.ports.Results.keep`.
RESULT = "result"
#: Within it, the place of the result of the work, which that of the results function has replaced.
REPLACED = "replaced"
#: The outputs have arrived here.
RETRIEVED = "retrieved"
#: Path of the function that gives the job the class of which its user has made it; without it, it is of our own.
PEER = "peer"
#: The procs of a job at HTCondor, and the state of one that is held.
PROCS, HELD = "procs", "Held"
#: The work was submitted by its owner, without us: it is followed and steered, and is not ours to remove or repeat.
FOREIGN = "foreign"
#: The largest files in the job directory when its outputs had arrived, ``[name, bytes]`` each, and the number of all.
FILES, FILE_COUNT = "files", "file_count"
#: Number of events that are kept.
_EVENTS = 20


@dataclass(frozen=True)
class Outcome:
    """The status and message that a job gets once its outputs are fetched."""

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


@dataclass(frozen=True)
class Happened:
    """An event of a job besides its statuses. Prefect gets it with the next change that is visible there."""

    #: One of the kinds above.
    what: str
    payload: Mapping[str, Any]
    #: Identifies it among those of the job; empty: its number does.
    key: str = ""


class Noted:
    """Reads these keys. It copies nothing, so creating one is cheap."""

    __slots__ = ("_native",)

    def __init__(self, native: Mapping[str, Any]) -> None:
        self._native = native

    @property
    def outcome(self) -> Outcome | None:
        """What the job gets once its outputs are fetched; ``None``: not known."""
        value = self._native.get(OUTCOME)
        return Outcome.read(value) if value else None

    @property
    def unreachable_since(self) -> str | None:
        """When the scheduler stopped answering."""
        value = self._native.get(UNREACHABLE_SINCE)
        return None if value is None else str(value)

    @property
    def asked(self) -> datetime | None:
        """When the last poll without an answer was."""
        value = self._native.get(ASKED)
        return clock.parse(value) if value else None

    @property
    def ran(self) -> bool:
        """Whether an earlier submission was accepted."""
        return bool(self._native.get(RAN))

    @property
    def happened(self) -> list[dict[str, Any]]:
        """The last events besides statuses, the oldest first."""
        return list(self._native.get(HAPPENED) or ())

    def with_events(self, events: Iterable["Happened"]) -> dict[str, Any]:
        """The value to store for more events."""
        found = self.happened
        for event in events:
            number = found[-1]["number"] + 1 if found else 1
            more = {"number": number, "what": event.what, "time": clock.now().isoformat()}
            found.append({**event.payload, **more, **({"key": event.key} if event.key else {})})
        return {HAPPENED: found[-_EVENTS:]}

    @property
    def late_match(self) -> int | None:
        """The attempt of which it is noted that no machine has taken it for long."""
        value = self._native.get(LATE)
        return None if value is None else int(value)

    def waits(self, attempt: int) -> str:
        """Why an attempt waits for a machine, for people; empty: it does not, or that is not known."""
        value = self._native.get(WAITS) or {}
        return str(value["text"]) if value.get("attempt") == attempt else ""

    def steered(self, attempt: int) -> tuple[str, str] | None:
        """The action that was asked for, and by whom; ``None``: none, or it was about another submission."""
        value = self._native.get(STEERED) or {}
        return (str(value["action"]), str(value["who"])) if value.get("attempt") == attempt else None

    def timed_out(self, attempt: int) -> str | None:
        """Why an attempt ends as Error if the scheduler has removed it; ``None``: it is not stopped for its time."""
        value = self._native.get(TIMED_OUT) or {}
        return str(value["message"]) if value.get("attempt") == attempt else None

    @property
    def in_queue(self) -> bool:
        """Whether a part of the work is at the scheduler."""
        return bool(self._native.get(IN_QUEUE))

    @property
    def left(self) -> bool:
        """Whether a part of the work may be left at the scheduler once the job is over."""
        return self.in_queue and not self._native.get(RELEASED)

    @property
    def fetched(self) -> bool:
        """Whether the outputs, or the result, are kept here."""
        return self.result is not None or bool(self._native.get(RETRIEVED))

    @property
    def host(self) -> str | None:
        """The machine whose local scheduler has the job; ``None``: not known, or a scheduler with a block."""
        value = self._native.get(HOST) or (self._native.get(LOCAL) or {}).get("host")
        return None if value is None else str(value)

    @property
    def dashboard(self) -> str | None:
        """URL of the scheduler's dashboard."""
        value = self._native.get(DASHBOARD)
        return str(value) if value else None

    @property
    def cluster(self) -> int | None:
        """HTCondor's cluster id."""
        value = self._native.get(CLUSTER)
        return None if value is None else int(value)

    @property
    def hold_code(self) -> int | None:
        """HTCondor's code for the reason of a hold, of the first proc that is held; ``None``: none is."""
        for proc in self._native.get(PROCS) or ():
            code = proc.get("hold_code")
            if code is not None and proc.get("state") == HELD:
                return int(code)
        return None

    @property
    def files(self) -> tuple[list[tuple[str, int]], int]:
        """The largest files in the job directory, with their sizes in bytes, and the number of all."""
        largest = [(str(name), int(size)) for name, size in self._native.get(FILES) or ()]
        return largest, int(self._native.get(FILE_COUNT) or len(largest))

    @property
    def foreign(self) -> bool:
        """Whether the work was submitted without us."""
        return bool(self._native.get(FOREIGN))

    @property
    def peer(self) -> str | None:
        """Path of the function that gives the job another class of the same type; ``None``: it is of our own."""
        value = self._native.get(PEER)
        return None if value is None else str(value)

    @property
    def result(self) -> dict[str, Any] | None:
        """Where the result is kept; ``None``: there is none."""
        return self._native.get(RESULT) or None
