"""The nodes that a workflow has: read when they are asked for, kept true to what others write."""

from dataclasses import replace
from pathlib import Path, PurePosixPath

from prefect_jobs import statuses
from prefect_jobs.errors import JobStateError
from prefect_jobs.jobs.condor import local_files
from prefect_jobs.jobs.condor.access_point import DIRECTORY, AccessPointJob
from prefect_jobs.jobs.ports import Backend
from prefect_jobs.jobs.workflow.nodes import CondorWorkflowNode, nodes_of
from prefect_jobs.records import JobRecord, NodeRecord
from prefect_jobs.schedulers.condor.dag.model import DagError


class WorkflowGraph(AccessPointJob):
    """A job that has nodes."""

    def __init__(self, backend: Backend, record: JobRecord) -> None:
        super().__init__(backend, record)
        self._known: dict[str, CondorWorkflowNode] | None = None if self.id else {}
        #: The nodes' states, and the version of the job at which they were read.
        self._seen: tuple[int, dict[str, NodeRecord]] = (-1, {})
        #: Names of nodes that come before others.
        self._above: set[str] = set()
        given = self._spec.pop("nodes", None)  # kept in a table of their own
        if given and self._known is not None:
            for node in nodes_of(self, given):
                self._known[node.name] = self._placed(node)
                self._above.update(node.spec["parents"])

    @property
    def nodes(self) -> list[CondorWorkflowNode]:
        """The nodes, in the order in which they were saved."""
        return list(self._load().values())

    @property
    def num_jobs(self) -> int:
        """The number of processes of all nodes."""
        return sum(node.num_jobs for node in self.nodes)

    def get_job(self, name: str) -> CondorWorkflowNode | None:
        """The node of that name, or ``None``."""
        return self._load().get(name)

    @property
    def node_statuses(self) -> dict[str, str]:
        """The status of each node, by its name."""
        return {name: state.status for name, state in self._states().items()}

    # -- inside -----------------------------------------------------------------------------------------

    def _load(self) -> dict[str, CondorWorkflowNode]:
        if self._known is None:
            self._known = {
                record.name: CondorWorkflowNode._of(self, record) for record in self._backend.nodes(self._record.id)
            }
            for node in self._known.values():
                self._above.update(node.spec["parents"])
        return self._known

    def _states(self) -> dict[str, NodeRecord]:
        """The nodes' states as of the job's record."""
        if self.id is None:
            return {name: node._record for name, node in self._load().items()}
        if self._seen[0] != self._record.version:
            found = {record.name: record for record in self._backend.nodes(self._record.id)}
            self._seen = (self._record.version, found)
        return self._seen[1]

    def _node(self, name: str) -> CondorWorkflowNode:
        return self._load()[name]

    def _has(self, name: str) -> bool:
        return name in self._load()

    def _same(self, other: "WorkflowGraph") -> bool:
        return other is self or (self.id is not None and other.id == self.id)

    def _placed(self, node: CondorWorkflowNode) -> CondorWorkflowNode:
        """The node with its place among the others."""
        last = next(reversed((self._known or {}).values()), None)
        node._record = replace(node._record, position=0 if last is None else last._record.position + 1)
        return node

    def _keep(self, node: CondorWorkflowNode) -> None:
        known = self._load()
        there = known.get(node.name)
        if there is not None and there is not node:
            raise DagError(f"{self._title()} has a node {node.name!r} already: get_job({node.name!r}) gives it.")
        for parent in node.spec["parents"]:
            if parent not in known:
                raise DagError(f"The node {node.name!r} comes after {parent!r}, which is no node of {self._title()}.")
        if there is None:
            self._check_at_rest(f"get the node {node.name!r}")
            known[node.name] = self._placed(node)
        if self.id is not None:
            self._write([node])

    def _remove(self, node: CondorWorkflowNode) -> None:
        children = [other.name for other in self.nodes if node.name in other.spec["parents"]]
        if children:
            raise DagError(f"Nodes come after {node.name!r}: {', '.join(children[:5])}. Take them out first.")
        self._check_at_rest(f"lose the node {node.name!r}")
        if self._load().pop(node.name, None) is not None and self.id is not None:
            self._backend.delete_node(self._record.id, node.name)
            self._seen = (-1, {})

    def _check_at_rest(self, what: str) -> None:
        """
        Raises:
            JobStateError: DAGMan is at work on the nodes as they were.
        """
        if self.id is None:
            return
        self._refresh()
        status = self._record.state.as_status
        if self._record.remote_id is not None and not statuses.is_final(status) and status.text != statuses.PENDING:
            raise JobStateError(f"{self._title()} is {status.text!r} and cannot {what} now: stop() it first.")

    def _reload(self) -> None:
        """Takes in what others did to the nodes; what was changed here and not saved stays."""
        known = self._load()
        there = {record.name: record for record in self._backend.nodes(self._record.id)}
        for name, record in there.items():
            node = known.get(name)
            if node is None:
                known[name] = CondorWorkflowNode._of(self, record)
            elif not node._touched:
                node._take(record)
        for name in [name for name, node in known.items() if name not in there and not node._touched]:
            del known[name]
        self._known = dict(sorted(known.items(), key=lambda item: item[1]._record.position))
        for node in self._known.values():
            self._above.update(node.spec["parents"])

    def _places(self, node: CondorWorkflowNode) -> local_files.Places:
        """Where the relative names of a node are looked for."""
        known = self.spec.get(DIRECTORY)
        folder = node.spec.get("dir") or node.name
        own = [Path(known) / folder, Path(known)] if known else []
        return local_files.Places(own, [Path(self._workspace())], self._is_folder_of_node)

    def _is_folder_of_node(self, name: str) -> bool:
        known = self._load()
        return name in known or any(
            PurePosixPath(node.spec.get("dir") or ".").parts[:1] == (name,) for node in known.values()
        )

    def _write(self, nodes: list[CondorWorkflowNode]) -> None:
        for node in nodes:
            node._settle()
        self._backend.save_nodes(self._record.id, [replace(node._record, spec=node.spec) for node in nodes])
        for node in nodes:
            node._saved()
        self._seen = (-1, {})

    def _path_down(self, ancestor: str, descendant: str) -> list[str] | None:
        """The names from a node down to one that comes after it; ``None`` where it does not."""
        came: dict[str, str] = {}
        waiting = [descendant]
        nodes = self._load()
        while waiting:
            name = waiting.pop()
            for parent in nodes[name].spec["parents"] if name in nodes else ():
                if parent in came:
                    continue
                came[parent] = name
                if parent == ancestor:
                    path = [ancestor]
                    while path[-1] != descendant:
                        path.append(came[path[-1]])
                    return path
                waiting.append(parent)
        return None

    def _save_parts(self) -> None:
        # Those alone that were changed here: what others changed meanwhile stays.
        changed = [node for node in (self._known or {}).values() if node._touched]
        if changed:
            self._write(changed)
