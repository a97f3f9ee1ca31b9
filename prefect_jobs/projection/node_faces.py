"""Shows the nodes of a workflow as task runs of its flow run, so that Prefect's UI draws the graph.

A node costs one call when it is first shown, and one for each change since then. A progress artifact shows how much of
the workflow is done; when it has ended, a markdown artifact shows the outcome of each node. The id of a node's task
run is derived from the flow run's id and the node's name, so that it need not be stored.
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
from prefect_jobs.projection.run_page import PUT
from prefect_jobs.projection.states import node_face
from prefect_jobs.records import JobRecord, NodeRecord
from prefect_jobs.store import DatabaseError, Store

log = logging.getLogger(__name__)

#: A turn of one job ends after this number of calls, or of seconds if Prefect is slow, since others wait. The seconds
#: are fewer than a call of ours waits for Prefect.
TURN_CALLS = 25
TURN_SECONDS = 1.0
#: Least number of seconds between two writes of a progress artifact.
PROGRESS_PAUSE = 5.0

# Keys of a job's `face_shown` for its nodes.
_PROGRESS = "progress"
_DAG = "dag"
#: The attempt whose end is shown.
_DRAWN = "drawn"
#: The flow run was deleted: its nodes cannot be shown.
_GONE = "gone"


@dataclass(frozen=True)
class Turn:
    """The remainder of a turn."""

    #: Seconds until the next turn; ``None``: nothing is left.
    again: float | None
    #: The new ``face_shown`` of the job.
    shown: dict[str, Any]
    #: Whether Prefect was called, and has answered.
    answered: bool = True


@dataclass
class _Memory:
    """Saves calls for one job; a process without it makes a few more of them."""

    #: When the progress was last written, and its value.
    written: float | None = None
    percent: float | None = None
    #: Whether nodes have changed since then.
    stale: bool = False
    #: The attempt whose waiting nodes are shown as never running, and those that are shown so already.
    attempt: int = 0
    not_ready: set[str] = field(default_factory=set)


class _Spent(Exception):
    """The turn is over."""


class _Budget:
    """The number of calls in one turn."""

    def __init__(self, moment: Callable[[], float]) -> None:
        self._moment = moment
        self._left = TURN_CALLS
        self.spent = False
        self._end = moment() + TURN_SECONDS

    def spend(self) -> None:
        """Counts a call before it is made."""
        if self._left <= 0 or self._moment() >= self._end:
            raise _Spent
        self._left -= 1
        self.spent = True


class NodeFaces:
    """Shows the nodes of one store's jobs. For one thread."""

    def __init__(self, store: Store, moment: Callable[[], float] = time.monotonic) -> None:
        """
        Args:
            store: stores the jobs.
            moment: the present time in seconds, for turns and pauses.
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
        """Stops showing the nodes of a job whose flow run was deleted.

        Returns:
            The new ``face_shown`` of the job.
        """
        # A job without a run may still get one.
        return {**record.face_shown, _GONE: True} if record.flow_run_id else record.face_shown

    def forget(self, job_id: int) -> None:
        """Drops what is kept of a deleted job."""
        self._memory.pop(job_id, None)

    def show(self, api: PrefectApi, record: JobRecord) -> Turn:
        """Shows some nodes that are behind.

        Args:
            api: the client.
            record: the job, claimed.

        Raises:
            PrefectAway: the nodes that were not shown stay behind.
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
        """Writes the progress that was held back; also for a job that another process may be showing."""
        memory, run = self._memory.get(record.id), record.flow_run_id
        if memory is not None and memory.stale and run is not None and record.face_shown.get(_PROGRESS):
            self._show_progress(api, record, run, memory, dict(record.face_shown), last=True)

    # -- nodes ------------------------------------------------------------------------------------------

    def _show_behind(self, api: PrefectApi, record: JobRecord, run: str, memory: _Memory, budget: _Budget) -> None:
        """Shows nodes that changed."""
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
        # Shown already, or created by a call whose answer was lost.
        self._set_state(api, task_run, node, run, over=over)

    def _set_state(self, api: PrefectApi, task_run: str, node: NodeRecord, run: str, *, over: bool) -> None:
        try:
            api.set_task_run_state(task_run, node_face(node, job_final=over))
        except (PrefectAway, DatabaseError):
            raise
        except PrefectJobsError as error:
            # Deleted in Prefect, or refused for good: the others must be shown.
            log.warning("The node %s of the flow run %s could not be shown: %s", node.name, run, error)

    def _show_not_ready(self, api: PrefectApi, record: JobRecord, run: str, memory: _Memory, budget: _Budget) -> None:
        """Shows nodes that will never run: they did not change, but the job did."""
        for node in self._store.nodes(record.id):
            if node.seq and node.status == statuses.PENDING and node.name not in memory.not_ready:
                budget.spend()
                self._set_state(api, _id_of(run, node.name), node, run, over=True)
                memory.not_ready.add(node.name)

    def _pass_over(self, record: JobRecord) -> None:
        """Nothing can be shown: marks all nodes as shown, so that it is not tried again."""
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
        """Shows how much is done; returns the seconds until the next write, if one is too early now."""
        if not (memory.stale or last):
            return None
        if memory.written is not None and not last:
            early = memory.written + PROGRESS_PAUSE - self._moment()
            if early > 0:
                return early
        percent = percent_done(node for node in self._store.nodes(record.id) if node.seq)
        if percent is not None and percent != memory.percent:
            text = f"How much of the workflow {record.name!r} (job {record.id}) is done"
            self._write(api, record, _PROGRESS, "progress", percent, text, shown)
        memory.written, memory.percent, memory.stale = self._moment(), percent, False
        return None

    def _show_end(self, api: PrefectApi, record: JobRecord, run: str, memory: _Memory, shown: dict[str, Any]) -> None:
        nodes = [node for node in self._store.nodes(record.id) if node.seq]
        text = f"The outcome of the nodes of the workflow {record.name!r} (job {record.id})"
        self._write(api, record, _DAG, "markdown", markdown(nodes), text, shown)
        # Last: until the progress is written, the end is shown again.
        self._show_progress(api, record, run, memory, shown, last=True)
        shown[_DRAWN] = record.state.attempt

    def _write(
        self,
        api: PrefectApi,
        record: JobRecord,
        key: str,
        kind: str,
        data: str | float,
        text: str,
        shown: dict[str, Any],
    ) -> None:
        """Updates or creates the artifact; there is only one of each kind, even if answers are lost."""
        run = str(record.flow_run_id)
        try:
            # A noted artifact may be deleted. One that is not noted may be there if an earlier turn came to no end, or
            # if an earlier version has made it.
            search = bool(shown.get(key)) or record.face_tried or shown.get(PUT) is None
            for find in (lambda: shown.get(key), lambda: api.find_artifact(run, kind, text)):
                known = find() if search else None
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
