"""The state of a workflow: each key of ``JobRecord.native`` once, typed."""

from dataclasses import asdict, dataclass
from typing import Any

from prefect_jobs.jobs.condor.state import AccessPointState

_HISTORY, _INNER, _DAGMAN, _GAVE_UP = "history", "inner", "dagman", "gave_up"


@dataclass(frozen=True)
class DagmanEnd:
    """How DAGMan's own job ended."""

    removed: bool = False
    exit_code: int | None = None
    #: The reason of its removal.
    reason: str | None = None


class WorkflowState(AccessPointState):
    """The state of a DAG that DAGMan runs."""

    __slots__ = ()

    @property
    def history(self) -> str | None:
        """A constraint that matches the newest record of the schedd's history that was read."""
        return self._native.get(_HISTORY)

    @property
    def inner(self) -> list[int]:
        """The clusters of the DAGMans of inner DAGs, as of the last poll."""
        return [int(cluster) for cluster in self._native.get(_INNER) or ()]

    @property
    def dagman(self) -> DagmanEnd:
        """How DAGMan ended."""
        return DagmanEnd(**(self._native.get(_DAGMAN) or {}))

    @property
    def gave_up(self) -> str | None:
        """Why it was given up; ``None``: it was not given up."""
        return self._native.get(_GAVE_UP)


def encode_history(cursor: str | None) -> dict[str, Any]:
    """How far the history was read."""
    return {_HISTORY: cursor}


def encode_inner(clusters: list[int]) -> dict[str, Any]:
    """The DAGMans of inner DAGs."""
    return {_INNER: clusters or None}


def encode_end(end: DagmanEnd) -> dict[str, Any]:
    """How DAGMan ended."""
    return {_DAGMAN: asdict(end)}


def encode_gave_up(text: str) -> dict[str, Any]:
    """Why it was given up."""
    return {_GAVE_UP: text}
