"""CONDORWORKFLOW: a DAG of nodes, run by DAGMan at an HTCondor access point."""

from collections.abc import Mapping
from typing import Any, ClassVar

from anyio.to_thread import run_sync

from prefect_jobs.jobs import submission
from prefect_jobs.jobs.condor import local_files
from prefect_jobs.jobs.condor.access_point import AccessPointJob
from prefect_jobs.jobs.engine import Engine
from prefect_jobs.jobs.ports import Backend
from prefect_jobs.jobs.workflow import node_states
from prefect_jobs.jobs.workflow.engine import WorkflowEngine
from prefect_jobs.jobs.workflow.graph import WorkflowGraph
from prefect_jobs.jobs.workflow.node_handle import NodeHandle
from prefect_jobs.jobs.workflow.nodes import CondorWorkflowNode, nodes_of
from prefect_jobs.records import JobRecord
from prefect_jobs.schedulers.condor.dag import model


class CondorWorkflow(AccessPointJob):
    """Nodes with dependencies, run by DAGMan at the access point.

    Args (of ``create_job``):
        scheduler: a saved CondorScheduler block or its name; none: this machine's HTCondor.
        max_jobs: category → how many of its nodes may be at work at once.
        config: DAGMan's configuration, for example ``{"DAGMAN_MAX_JOBS_IDLE": 100}``.
        nodes: nodes as dicts (``name``, ``kind``, ``parents`` and the fields of a node), besides those that are
            made with :class:`CondorWorkflowJobNode` and its kin.
    """

    flow_entrypoint: ClassVar[str] = "prefect_jobs.flows.condor_workflow:condor_workflow"
    flow_parameters: ClassVar[tuple[str, ...]] = ("timeout",)
    spec_defaults: ClassVar[Mapping[str, Any]] = {"max_jobs": {}, "config": None, "nodes": ()}
    engine_type: ClassVar[type[Engine]] = WorkflowEngine

    engine: WorkflowEngine

    def __init__(self, backend: Backend, record: JobRecord) -> None:
        super().__init__(backend, record)
        self._objects: dict[str, CondorWorkflowNode] = {}
        if self.id is None:
            for node in nodes_of(self, self.spec.pop("nodes", None) or ()):  # kept in a table of their own
                self.graph.place(node.handle)
                self.remember(node)

    # -- what the user asked for ------------------------------------------------------------------------

    @classmethod
    def check_spec(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """The spec from the keyword arguments of ``create_job``.

        Raises:
            ValueError: a bad throttle or configuration.
        """
        return {
            "max_jobs": model.check_max_jobs(given.get("max_jobs") or {}),
            "config": model.check_config(given.get("config")),
            "nodes": list(given.get("nodes") or ()),
        }

    @classmethod
    def portable(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """As told there: local files get absolute paths."""
        return local_files.settled(given, local_files.Places())

    @property
    def max_jobs(self) -> dict[str, int]:
        """The throttles: category → how many of its nodes may be at work at once."""
        found: dict[str, int] = self.spec["max_jobs"]
        return found

    def add_max_jobs_throttle(self, category: str, number: int) -> None:
        """Lets at most ``number`` nodes of a category be at work at once.

        Raises:
            ValueError: no category's name, not a number from 1.
        """
        self.spec["max_jobs"] = {**self.max_jobs, **model.check_max_jobs({category: number})}

    @property
    def config(self) -> dict[str, str]:
        """DAGMan's configuration."""
        found: dict[str, str] = self.spec["config"]
        return found

    # -- its nodes --------------------------------------------------------------------------------------

    @property
    def graph(self) -> WorkflowGraph:
        """The nodes, as their objects and the engine share them."""
        return self.engine.graph

    @property
    def nodes(self) -> list[CondorWorkflowNode]:
        """The nodes, in the order in which they were saved."""
        return [self.object_of(node) for node in self.graph.nodes()]

    @property
    def num_jobs(self) -> int:
        """The number of processes of all nodes."""
        return sum(node.num_jobs for node in self.graph.nodes())

    def get_job(self, name: str) -> CondorWorkflowNode | None:
        """The node of that name, or ``None``."""
        node = self.graph.get(name)
        return None if node is None else self.object_of(node)

    def object_of(self, node: NodeHandle) -> CondorWorkflowNode:
        """The object for a node; the same one each time."""
        known = self._objects.get(node.name)
        if known is None or known.handle is not node:
            known = self._objects[node.name] = CondorWorkflowNode.of(self, node)
        return known

    def remember(self, node: CondorWorkflowNode) -> None:
        """Makes an object the one for its node."""
        self._objects[node.name] = node

    @property
    def node_statuses(self) -> dict[str, str]:
        """The status of each node, by its name."""
        return {name: state.status for name, state in self.graph.states().items()}

    @property
    def statuses(self) -> dict[str, int]:
        """How many nodes are ``Unexpanded`` (not submitted yet), ``Idle``, ``Running``, ``Removed``, ``Completed``,
        ``Held``, ``Submission_err`` (failed without a job), by their last try."""
        return node_states.count(list(self.graph.states().values()))

    # -- calls ------------------------------------------------------------------------------------------

    def resubmit(self, *, fresh: bool = False) -> None:
        """Runs a workflow that is over once more: what is done already is not run again.

        Args:
            fresh: start over.

        Raises:
            JobStateError: it is not over, or was never submitted.
            SubmissionError: as :meth:`execute`.
        """
        submission.resubmit(self, fresh=fresh)

    async def aresubmit(self, *, fresh: bool = False) -> None:
        """As :meth:`resubmit`."""
        await run_sync(lambda: self.resubmit(fresh=fresh))

    def _execute(self) -> Any:
        return self.handle.from_engine(self.engine.submit())

    def _resubmit(self, *, fresh: bool = False) -> Any:
        return self.handle.from_engine(self.engine.resubmit(fresh=fresh))
