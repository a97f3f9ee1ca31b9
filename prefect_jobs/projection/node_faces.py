"""Shows the nodes of a workflow as task runs of its flow run, so that Prefect's UI draws the graph.

A node costs one call when it is first shown and one for each change seen since; a progress artifact says how far the
workflow is, and when it has ended, a markdown artifact what became of each node. Which task run is which node's
follows from the flow run's id and the node's name, so that nothing about it has to be kept.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid5

from prefect_jobs import statuses
from prefect_jobs.errors import PrefectJobsError
from prefect_jobs.projection.dag import FINAL, kind_of, named_parents, parents_of, percent_done
from prefect_jobs.projection.mermaid import markdown
from prefect_jobs.projection.prefect_api import PrefectApi, PrefectAway, RunGone
from prefect_jobs.projection.states import node_face
from prefect_jobs.records import JobRecord, NodeRecord
from prefect_jobs.store import DatabaseError, Store

log = logging.getLogger(__name__)

#: A turn of one job ends after so many calls, or so many seconds where Prefect is slow: others wait, for less time
#: than a call of ours waits for Prefect.
TURN_CALLS = 25
TURN_SECONDS = 1.0
#: The fewest seconds between two writes of a progress artifact.
PROGRESS_PAUSE = 5.0

# What `face_shown` of a job says about its nodes.
_PROGRESS = "progress"
_DAG = "dag"
#: Number of the attempt whose end is shown.
_DRAWN = "drawn"
#: The flow run was deleted: there is nothing that nodes could be shown in.
_GONE = "gone"


@dataclass(frozen=True)
class Turn:
    """What a turn has left."""

    #: Seconds until the next turn; ``None``: nothing is left.
    again: float | None
    #: What the job's ``face_shown`` is to be.
    shown: dict[str, Any]
    #: Prefect was asked something, and has answered.
    answered: bool = True


@dataclass
class _Memory:
    """What saves calls, of one job; a process that does not have it makes a few more of them."""

    #: When the progress was last written, and what it said.
    written: float | None = None
    percent: float | None = None
    #: Nodes have changed since then.
    stale: bool = False
    #: The attempt whose waiting nodes are shown as such that will never run, and those of them that are already.
    attempt: int = 0
    not_ready: set[str] = field(default_factory=set)


class _Spent(Exception):
    """The turn is over."""


class _Budget:
    """The calls of one turn."""

    def __init__(self, moment: Callable[[], float]) -> None:
        self._moment = moment
        self._left = TURN_CALLS
        self.spent = False
        self._end = moment() + TURN_SECONDS

    def spend(self) -> None:
        """Counts a call that is about to be made."""
        if self._left <= 0 or self._moment() >= self._end:
            raise _Spent
        self._left -= 1
        self.spent = True


class NodeFaces:
    """Shows the nodes of one store's jobs. For one thread."""

    def __init__(self, store: Store, moment: Callable[[], float] = time.monotonic) -> None:
        """
        Args:
            store: the jobs.
            moment: the time in seconds, for turns and pauses.
        """
        self._store = store
        self._moment = moment
        self._memory: dict[int, _Memory] = {}

    def ends(self, record: JobRecord) -> bool:
        """Whether the end of the job's nodes must still be shown."""
        return (
            _over(record)
            and record.face_shown.get(_DRAWN) != record.state.attempt
            and not record.face_shown.get(_GONE)
            and any(node.seq for node in self._store.nodes(record.id))
        )

    def give_up(self, record: JobRecord) -> dict[str, Any]:
        """The job's flow run was deleted: no more calls are made for its nodes.

        Returns:
            What the job's ``face_shown`` is to be.
        """
        # A job without a run may still be given one.
        return {**record.face_shown, _GONE: True} if record.flow_run_id else record.face_shown

    def forget(self, job_id: int) -> None:
        """The job was deleted."""
        self._memory.pop(job_id, None)

    def show(self, api: PrefectApi, record: JobRecord) -> Turn:
        """Brings some nodes up to date.

        Args:
            api: the client.
            record: the job, claimed.

        Raises:
            PrefectAway: what was not shown stays marked.
        """
        run = record.flow_run_id
        if record.face_shown.get(_GONE) or run is None:
            self._pass_over(record)
            return Turn(None, record.face_shown, answered=False)
        memory = self._memory.setdefault(record.id, _Memory())
        shown = dict(record.face_shown)
        over, budget = _over(record), _Budget(self._moment)
        ending = over and shown.get(_DRAWN) != record.state.attempt
        if memory.attempt != record.state.attempt:
            memory.attempt, memory.not_ready = record.state.attempt, set()
        try:
            self._show_behind(api, record, run, memory, budget)
            if ending:
                self._show_not_ready(api, record, run, memory, budget)
            if ending or (over and memory.stale):
                self._show_end(api, record, run, memory, shown)
                self._memory.pop(record.id, None)
                return Turn(None, shown)
        except _Spent:
            self._show_progress(api, record, run, memory, shown)
            return Turn(0.0, shown)
        except RunGone:
            log.warning("The flow run of job %s was deleted in Prefect; its nodes are not shown", record.id)
            self._pass_over(record)
            return Turn(None, self.give_up(record))
        return Turn(self._show_progress(api, record, run, memory, shown), shown, answered=budget.spent)

    def catch_up(self, api: PrefectApi, record: JobRecord) -> None:
        """Writes the progress that was kept back; for a job that another process may be at."""
        memory, run = self._memory.get(record.id), record.flow_run_id
        if memory is not None and memory.stale and run is not None and record.face_shown.get(_PROGRESS):
            self._show_progress(api, record, run, memory, dict(record.face_shown), last=True)

    # -- nodes ------------------------------------------------------------------------------------------

    def _show_behind(self, api: PrefectApi, record: JobRecord, run: str, memory: _Memory, budget: _Budget) -> None:
        """Nodes that changed."""
        over, done = _over(record), dict[str, int]()
        parents: dict[str, list[str]] | None = None
        nodes = self._store.nodes_behind(record.id, TURN_CALLS + 1)
        try:
            for node in nodes:
                budget.spend()
                if not node.shown and kind_of(node) == FINAL and parents is None:
                    parents = parents_of(self._store.nodes(record.id))
                above = parents[node.name] if parents and kind_of(node) == FINAL else named_parents(node)
                self._show_node(api, run, node, above, over=over)
                done[node.name] = node.seq
                memory.stale = True
                if over and node.status == statuses.PENDING:
                    memory.not_ready.add(node.name)
        finally:
            self._store.nodes_shown(record.id, done)

    def _show_node(self, api: PrefectApi, run: str, node: NodeRecord, parents: list[str], *, over: bool) -> None:
        face, task_run = node_face(node, job_final=over), _id_of(run, node.name)
        try:
            if not node.shown and api.create_task_run(
                run, task_run, node.name, face, [_id_of(run, name) for name in parents]
            ):
                return
        except (PrefectAway, RunGone, DatabaseError):
            raise
        except PrefectJobsError as error:
            log.warning("The node %s of the flow run %s could not be shown: %s", node.name, run, error)
            return
        # Known already, or made by a call whose answer was lost.
        self._set_state(api, task_run, node, run, over=over)

    def _set_state(self, api: PrefectApi, task_run: str, node: NodeRecord, run: str, *, over: bool) -> None:
        try:
            api.set_task_run_state(task_run, node_face(node, job_final=over))
        except (PrefectAway, DatabaseError):
            raise
        except PrefectJobsError as error:
            # Deleted by somebody, or refused for good: it must not keep the others from being shown.
            log.warning("The node %s of the flow run %s could not be shown: %s", node.name, run, error)

    def _show_not_ready(self, api: PrefectApi, record: JobRecord, run: str, memory: _Memory, budget: _Budget) -> None:
        """Nodes that wait for what will not come: they did not change, but the job did."""
        for node in self._store.nodes(record.id):
            if node.seq and node.status == statuses.PENDING and node.name not in memory.not_ready:
                budget.spend()
                self._set_state(api, _id_of(run, node.name), node, run, over=True)
                memory.not_ready.add(node.name)

    def _pass_over(self, record: JobRecord) -> None:
        """Nothing can be shown: the marks go, so that nobody tries again."""
        nodes = self._store.nodes(record.id)
        self._store.nodes_shown(record.id, {node.name: node.seq for node in nodes if node.shown < node.seq})
        self.forget(record.id)

    # -- artifacts --------------------------------------------------------------------------------------

    def _show_progress(
        self,
        api: PrefectApi,
        record: JobRecord,
        run: str,
        memory: _Memory,
        shown: dict[str, Any],
        *,
        last: bool = False,
    ) -> float | None:
        """How far the workflow is; seconds until it may be said again, where that is too soon now."""
        if not (memory.stale or last):
            return None
        if memory.written is not None and not last:
            early = memory.written + PROGRESS_PAUSE - self._moment()
            if early > 0:
                return early
        percent = percent_done(node for node in self._store.nodes(record.id) if node.seq)
        if percent is not None and percent != memory.percent:
            text = f"How much of the workflow {record.name!r} (job {record.id}) is done"
            self._write(api, run, _PROGRESS, "progress", percent, text, shown)
        memory.written, memory.percent, memory.stale = self._moment(), percent, False
        return None

    def _show_end(self, api: PrefectApi, record: JobRecord, run: str, memory: _Memory, shown: dict[str, Any]) -> None:
        nodes = [node for node in self._store.nodes(record.id) if node.seq]
        text = f"What became of the nodes of the workflow {record.name!r} (job {record.id})"
        self._write(api, run, _DAG, "markdown", markdown(nodes), text, shown)
        # Last: as long as the progress is not written, the end is shown again.
        self._show_progress(api, record, run, memory, shown, last=True)
        shown[_DRAWN] = record.state.attempt

    def _write(
        self, api: PrefectApi, run: str, key: str, kind: str, data: str | float, text: str, shown: dict[str, Any]
    ) -> None:
        """Writes the artifact, or makes it; there is one of each kind however often answers are lost."""
        try:
            # What is noted may be deleted, and what is there may not be noted: its answer was lost.
            for find in (lambda: shown.get(key), lambda: api.find_artifact(run, kind, text)):
                known = find()
                if known:
                    try:
                        api.update_artifact(str(known), data, text)
                    except RunGone:
                        continue
                    shown[key] = known
                    return
            shown[key] = api.create_artifact(run, kind, data, text)
        except (PrefectAway, DatabaseError):
            raise
        except PrefectJobsError as error:
            log.warning("The %s artifact of the flow run %s could not be written: %s", kind, run, error)


def _over(record: JobRecord) -> bool:
    return statuses.is_final(record.state.as_status)


def _id_of(run: str, name: str) -> str:
    return str(uuid5(UUID(run), name))
