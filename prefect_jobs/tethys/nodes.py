"""The nodes of a workflow, with the sets of nodes around them."""

from collections.abc import Iterator, Sequence
from typing import Any, overload

from prefect_jobs.jobs.workflow import nodes as ours
from prefect_jobs.tethys.sets import DoesNotExist
from prefect_jobs.tethys.texts import as_written

#: Base of all nodes.
CondorWorkflowNode = ours.CondorWorkflowNode


class NodeSet(Sequence[ours.CondorWorkflowNode]):
    """Nodes, as a set of related objects."""

    def __init__(self, nodes: Sequence[ours.CondorWorkflowNode]) -> None:
        """
        Args:
            nodes: the nodes.
        """
        self._nodes = list(nodes)

    def all(self) -> "NodeSet":
        """The same nodes."""
        return self

    def select_subclasses(self, *classes: Any) -> "NodeSet":
        """The same nodes: each is of its own class in any case."""
        return self

    def count(self, value: Any = None) -> int:
        """The number of nodes; of those that equal ``value`` if it is given."""
        return len(self._nodes) if value is None else self._nodes.count(value)

    def exists(self) -> bool:
        """Whether there is a node."""
        return bool(self._nodes)

    def first(self) -> ours.CondorWorkflowNode | None:
        """The first node, or ``None``."""
        return next(iter(self._nodes), None)

    def get(self, name: str) -> ours.CondorWorkflowNode:
        """The node of that name.

        Raises:
            DoesNotExist: there is none.
        """
        for node in self._nodes:
            if node.name == name:
                return node
        raise DoesNotExist(f"There is no node {name!r} in this set.")

    @overload
    def __getitem__(self, which: int) -> ours.CondorWorkflowNode: ...
    @overload
    def __getitem__(self, which: slice) -> "NodeSet": ...
    def __getitem__(self, which: int | slice) -> "ours.CondorWorkflowNode | NodeSet":
        return NodeSet(self._nodes[which]) if isinstance(which, slice) else self._nodes[which]

    def __len__(self) -> int:
        return len(self._nodes)

    def __iter__(self) -> Iterator[ours.CondorWorkflowNode]:
        return iter(self._nodes)

    def __repr__(self) -> str:
        return f"<NodeSet {self._nodes!r}>"


class CondorWorkflowJobNode(ours.CondorWorkflowJobNode):
    """See :class:`prefect_jobs.CondorWorkflowJobNode`."""

    @property
    def parent_nodes(self) -> NodeSet:
        """The nodes that must be done before this one starts."""
        return NodeSet(self.parents)

    @property
    def children_nodes(self) -> NodeSet:
        """The nodes that start only after this one is done."""
        return NodeSet([node for node in self.workflow.nodes if self.name in [one.name for one in node.parents]])

    def add_parent(self, parent: ours.CondorWorkflowNode) -> None:
        """As :meth:`prefect_jobs.CondorWorkflowNode.add_parent`; nodes that are not saved yet are added first."""
        for node in (parent, self):
            if isinstance(node, ours.CondorWorkflowNode) and node.workflow.graph.get(node.name) is None:
                node.save()
        super().add_parent(parent)

    def get_attribute(self, name: str) -> Any:
        """The value of a submit command as a text; ``None`` if it is not set."""
        return as_written(name, super().get_attribute(name))
