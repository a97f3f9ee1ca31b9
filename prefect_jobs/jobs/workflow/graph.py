"""The nodes of a workflow: read at the first access, and combined with what other processes write."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Protocol

from prefect_jobs import graph, statuses
from prefect_jobs.errors import JobStateError
from prefect_jobs.jobs.condor.local_files import Places
from prefect_jobs.jobs.handle import Handle
from prefect_jobs.jobs.workflow.node_handle import NodeHandle
from prefect_jobs.records import NodeRecord
from prefect_jobs.schedulers.condor.dag.model import DagError


class Folders(Protocol):
    """Where a workflow's files are."""

    @property
    def directory(self) -> Path | None:
        """The job directory of the workflow; ``None``: it does not exist yet."""
        ...

    @property
    def workspace(self) -> Path:
        """The folder in which the job directory is made."""
        ...


class WorkflowGraph:
    """The nodes of one workflow."""

    def __init__(self, handle: Handle, folders: Folders) -> None:
        self._handle = handle
        self._folders = folders
        self._known: dict[str, NodeHandle] | None = None if handle.id else {}
        #: The nodes' states, and the version of the job's row at which they were read.
        self._seen: tuple[int, dict[str, NodeRecord]] = (-1, {})
        #: Names of nodes that are ancestors of others.
        self._above: set[str] = set()

    @property
    def title(self) -> str:
        """The workflow's id and name, for messages."""
        return self._handle.title

    @property
    def id(self) -> int | None:
        """The workflow's id."""
        return self._handle.id

    def nodes(self) -> list[NodeHandle]:
        """The nodes, in the order in which they were saved."""
        return list(self._load().values())

    def get(self, name: str) -> NodeHandle | None:
        """The node of that name."""
        return self._load().get(name)

    def states(self) -> dict[str, NodeRecord]:
        """The states of the nodes, for the present version of the job's record."""
        record = self._handle.record
        if not record.id:
            return {name: node.record for name, node in self._load().items()}
        if self._seen[0] != record.version:
            stored = self._handle.backend.nodes.nodes(record.id)
            self._seen = (record.version, {node.name: node for node in stored})
        return self._seen[1]

    def is_of(self, other: "WorkflowGraph") -> bool:
        """Whether both are of the same workflow."""
        return other is self or (self._handle.id is not None and other.id == self._handle.id)

    # -- changes ----------------------------------------------------------------------------------------

    def place(self, *nodes: NodeHandle) -> None:
        """Adds new nodes after the others, without writing them."""
        known = self._load()
        for node in nodes:
            last = next(reversed(known.values()), None)
            node.record = replace(node.record, position=0 if last is None else last.record.position + 1)
            known[node.name] = node
            self._above.update(node.parents)

    def keep(self, node: NodeHandle) -> None:
        """Adds a node to the workflow, and writes it if the workflow is stored.

        Raises:
            DagError: another node has that name, or a parent is not a node of the workflow.
            JobStateError: the workflow runs, or was deleted.
        """
        self._check_own()
        known = self._load()
        there = known.get(node.name)
        if there is not None and there is not node:
            raise DagError(f"{self.title} has a node {node.name!r} already. Call get_job({node.name!r}) to get it.")
        for parent in node.parents:
            if parent not in known:
                raise DagError(f"{parent!r}, a parent of the node {node.name!r}, is not a node of {self.title}.")
        if there is None:
            self._check_at_rest(f"get the node {node.name!r}")
            self.place(node)
        if self._handle.id is not None:
            self._write([node])

    def remove(self, node: NodeHandle) -> None:
        """Removes a node from the workflow.

        Raises:
            DagError: the node has children.
            JobStateError: the workflow runs, or was deleted.
        """
        self._check_own()
        children = [other.name for other in self.nodes() if node.name in other.parents]
        if children:
            raise DagError(f"The node {node.name!r} has children: {', '.join(children[:5])}. Delete them first.")
        self._check_at_rest(f"lose the node {node.name!r}")
        if self._load().pop(node.name, None) is not None and self._handle.id is not None:
            self._handle.backend.nodes.delete_node(self._handle.record.id, node.name)
            self._seen = (-1, {})

    def add_parent(self, node: NodeHandle, parent: NodeHandle) -> None:
        """Makes a node start only after another one is done.

        Raises:
            DagError: the nodes would form a cycle.
        """
        if parent.name in node.parents:
            return
        circle = graph.path_down(_Parents(self._load()), node.name, parent.name) if node.name in self._above else None
        if circle:
            raise DagError(
                f"{parent.name!r} cannot be a parent of {node.name!r}: the nodes would form a cycle, "
                f"{' → '.join([*circle, node.name])}."
            )
        node.parents.append(parent.name)
        self._above.add(parent.name)

    def reload(self) -> None:
        """Reads what other processes wrote; changes made here that are not saved stay."""
        known = self._load()
        there = {record.name: record for record in self._handle.backend.nodes.nodes(self._handle.record.id)}
        for name, record in there.items():
            node = known.get(name)
            if node is None:
                known[name] = NodeHandle.of(record)
            elif not node.touched:
                node.take(record)
        for name in [name for name, node in known.items() if name not in there and not node.touched]:
            del known[name]
        self._known = dict(sorted(known.items(), key=lambda item: item[1].record.position))
        self._note_above()

    def save_changed(self) -> None:
        """Writes only the nodes that were changed here, so that changes by other processes stay."""
        changed = [node for node in (self._known or {}).values() if node.touched]
        if changed:
            self._write(changed)

    def places(self, node: NodeHandle) -> Places:
        """Where the relative names of a node are searched."""
        known = self._folders.directory
        own = [known / node.folder, known] if known else []
        return Places(own, [self._folders.workspace], self._is_folder_of_node)

    # -- inside -----------------------------------------------------------------------------------------

    def _load(self) -> dict[str, NodeHandle]:
        if self._known is None:
            stored = self._handle.backend.nodes.nodes(self._handle.record.id)
            self._known = {record.name: NodeHandle.of(record) for record in stored}
            self._note_above()
        return self._known

    def _note_above(self) -> None:
        for node in (self._known or {}).values():
            self._above.update(node.parents)

    def _write(self, nodes: list[NodeHandle]) -> None:
        for node in nodes:
            node.settle(self.places(node))
        records = [replace(node.record, spec=node.spec) for node in nodes]
        self._handle.backend.nodes.save_nodes(self._handle.record.id, records)
        for node in nodes:
            node.saved()
        self._seen = (-1, {})

    def _check_own(self) -> None:
        """
        Raises:
            DagError: the nodes are those of a file.
        """
        if self._handle.record.noted.foreign:
            raise DagError(f"{self.title} was submitted without prefect-jobs: its nodes are not changed from here.")
        if file := self._handle.drafts.spec.get("dag_file"):
            raise DagError(f"The nodes of {self.title} are those of {file!r}: change the file, and create a new job.")

    def _check_at_rest(self, what: str) -> None:
        """
        Raises:
            JobStateError: DAGMan runs the nodes.
        """
        if self._handle.id is None:
            return
        self._handle.refresh()
        record = self._handle.record
        if record.remote_id is not None and not record.final and record.state.status != statuses.PENDING:
            raise JobStateError(f"{self.title} is {record.state.status!r} and cannot {what} now. Call stop() first.")

    def _is_folder_of_node(self, name: str) -> bool:
        known = self._load()
        return name in known or any(
            PurePosixPath(node.spec.get("dir") or ".").parts[:1] == (name,) for node in known.values()
        )


class _Parents(Mapping[str, list[str]]):
    """The names of the parents of each node, read when a walk comes to the node: a walk sees few of many."""

    def __init__(self, nodes: Mapping[str, NodeHandle]) -> None:
        self._nodes = nodes

    def __getitem__(self, name: str) -> list[str]:
        return self._nodes[name].parents

    def __iter__(self) -> Iterator[str]:
        return iter(self._nodes)

    def __len__(self) -> int:
        return len(self._nodes)
