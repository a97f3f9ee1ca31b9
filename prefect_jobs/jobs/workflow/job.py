"""CONDORWORKFLOW: a DAG of nodes, run by DAGMan at an HTCondor access point."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from anyio.to_thread import run_sync

from prefect_jobs.jobs import submission
from prefect_jobs.jobs.condor import local_files
from prefect_jobs.jobs.condor.access_point import AccessPointJob
from prefect_jobs.jobs.engine import Engine
from prefect_jobs.jobs.ports import Backend
from prefect_jobs.jobs.type_hooks import SUBMISSION
from prefect_jobs.jobs.workflow import dag_file, node_states
from prefect_jobs.jobs.workflow.engine import WorkflowEngine
from prefect_jobs.jobs.workflow.graph import WorkflowGraph
from prefect_jobs.jobs.workflow.node_handle import NodeHandle
from prefect_jobs.jobs.workflow.nodes import CondorWorkflowNode, nodes_of, parameters_of
from prefect_jobs.records import JobRecord
from prefect_jobs.schedulers.condor import usage
from prefect_jobs.schedulers.condor.dag import model


class CondorWorkflow(AccessPointJob):
    """Nodes with dependencies, run by DAGMan at the access point.

    Args (of ``create_job``):
        scheduler: a saved CondorScheduler block or its name; none: this machine's HTCondor.
        max_jobs: category → how many of its nodes may run at the same time.
        config: DAGMan's configuration, for example ``{"DAGMAN_MAX_JOBS_IDLE": 100}``.
        dag_file: an existing DAG file instead of nodes. It runs as condor_submit_dag would run it in its folder, with
        the files that it names, which are sent; outputs come back under ``initial_dir``. Nodes of splices and inner
        DAGs are named ``<splice>+<node>``.
        remote_input_files: with ``dag_file``: files and directories that are needed and that no command names.
        nodes: nodes as dicts (``name``, ``kind``, ``parents`` and the fields of a node), besides those that are
        created with :class:`CondorWorkflowJobNode` and the like.
    """

    flow_entrypoint: ClassVar[str] = "prefect_jobs.flows.condor_workflow:condor_workflow"
    flow_parameters: ClassVar[tuple[str, ...]] = ("timeout",)
    spec_defaults: ClassVar[Mapping[str, Any]] = {
        "max_jobs": {},
        "config": None,
        "nodes": (),
        dag_file.OPTION: "",
        dag_file.MORE: (),
    }
    engine_type: ClassVar[type[Engine]] = WorkflowEngine
    has_nodes: ClassVar[bool] = True

    engine: WorkflowEngine

    def __init__(self, backend: Backend, record: JobRecord) -> None:
        super().__init__(backend, record)
        self._objects: dict[str, CondorWorkflowNode] = {}
        if self.id is None:
            given = self.spec.pop("nodes", None) or ()  # nodes have their own table
            if self.spec.get(dag_file.OPTION):
                self.graph.place(*dag_file.handles_of(given))
                return
            for node in nodes_of(self, given):
                self.graph.place(node.handle)
                self.remember(node)

    # -- spec -------------------------------------------------------------------------------------------

    @classmethod
    def check_spec(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """The spec for the keyword arguments of ``create_job``.

        Raises:
            ValueError: a bad throttle or configuration; a DAG file that DAGMan would refuse, with the line.
        """
        return {
            "nodes": list(given.get("nodes") or ()),
            **dag_file.checked(given),
            "max_jobs": model.check_max_jobs(given.get("max_jobs") or {}),
            "config": model.check_config(given.get("config")),
        }

    @classmethod
    def parameters_of_run(cls, spec: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """As :meth:`JobType.parameters_of_run`; local files get absolute paths."""
        names = ("max_jobs", "config", dag_file.OPTION, dag_file.MORE)
        own = {name: spec[name] for name in names if spec.get(name)}
        if spec.get(dag_file.OPTION):
            return own
        return {**own, "nodes": [parameters_of(node) for node in nodes]}

    @classmethod
    def portable(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """As :meth:`JobType.portable`: local files get absolute paths."""
        return local_files.settled(dag_file.portable(given), local_files.Places())

    @property
    def max_jobs(self) -> dict[str, int]:
        """The throttles: category → how many of its nodes may run at the same time."""
        found: dict[str, int] = self.spec["max_jobs"]
        return found

    def add_max_jobs_throttle(self, category: str, number: int) -> None:
        """Limits the nodes of a category that run at the same time to ``number``.

        Raises:
            ValueError: not the name of a category, or not a number from 1.
        """
        self.spec["max_jobs"] = {**self.max_jobs, **model.check_max_jobs({category: number})}

    @property
    def config(self) -> dict[str, str]:
        """DAGMan's configuration."""
        found: dict[str, str] = self.spec["config"]
        return found

    # -- nodes ------------------------------------------------------------------------------------------

    @property
    def graph(self) -> WorkflowGraph:
        """The nodes, shared by their objects and the engine."""
        return self.engine.graph

    @property
    def nodes(self) -> list[CondorWorkflowNode]:
        """The nodes, in the order in which they were saved."""
        return [self.object_of(node) for node in self.graph.nodes()]

    @property
    def num_jobs(self) -> int:
        """The number of procs of all nodes."""
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
        """Makes an object the only one for its node."""
        self._objects[node.name] = node

    @property
    def node_statuses(self) -> dict[str, str]:
        """The status of each node, by its name."""
        return {name: state.status for name, state in self.graph.states().items()}

    @property
    def statuses(self) -> dict[str, int]:
        """The number of nodes that are ``Unexpanded`` (not submitted yet), ``Idle``, ``Running``, ``Removed``,
        ``Completed``, ``Held``, ``Submission_err`` (failed without a job), by their last try."""
        return node_states.count(list(self.graph.states().values()))

    @property
    def resources(self) -> dict[Any, dict[str, Any]]:
        """As :attr:`CondorJob.resources`, for ``"total"`` and each node by its name: its procs of the last try."""
        return usage.resources_of(self._usages(), self.engine.ended_at)

    @property
    def resource_hints(self) -> list[str]:
        """As :attr:`AccessPointJob.resource_hints`, for each node."""
        return usage.hints(self._usages())

    def _usages(self) -> dict[str, list[usage.Proc]]:
        return {
            name: [(proc.usage, proc.host) for proc in node_states.procs_of(state)]
            for name, state in self.graph.states().items()
        }

    # -- calls ------------------------------------------------------------------------------------------

    def resubmit(self, *, fresh: bool = False) -> None:
        """Runs a workflow again after it is over, without the nodes that are done already.

        Args:
            fresh: whether to run all nodes.

        Raises:
            JobStateError: the workflow is not over, or was never submitted.
            SubmissionError: as :meth:`execute`.
        """
        submission.resubmit(self, fresh=fresh)

    async def aresubmit(self, *, fresh: bool = False) -> None:
        """As :meth:`resubmit`."""
        await run_sync(lambda: self.resubmit(fresh=fresh))

    def _execute(self) -> Any:
        return self.handle.from_engine(SUBMISSION, self.engine.submit())

    def _resubmit(self, *, fresh: bool = False) -> Any:
        return self.handle.from_engine(SUBMISSION, self.engine.resubmit(fresh=fresh))
