"""The nodes of a workflow as a graph: kinds, parents and counts. Pure."""

from collections.abc import Iterable, Sequence

from prefect_jobs import statuses
from prefect_jobs.records import NodeRecord

SERVICE = "SERVICE"
FINAL = "FINAL"

#: (fill, text) of a node by its status; each pair is readable on light and on dark pages.
COLOURS: dict[str, tuple[str, str]] = {
    statuses.PENDING: ("#e2e8f0", "#1a202c"),
    statuses.SUBMITTED: ("#fde68a", "#1a202c"),
    statuses.RUNNING: ("#1d4ed8", "#ffffff"),
    statuses.VARIOUS: ("#6d28d9", "#ffffff"),
    statuses.PAUSED: ("#64748b", "#ffffff"),
    statuses.HELD: ("#b45309", "#ffffff"),
    statuses.COMPLETE: ("#15803d", "#ffffff"),
    statuses.ERROR: ("#b91c1c", "#ffffff"),
    statuses.ABORTED: ("#374151", "#ffffff"),
}
#: Colours of any other status.
OTHER_COLOUR = ("#ffffff", "#1a202c")


def kind_of(node: NodeRecord) -> str:
    """The kind of a node: ``JOB``, ``FINAL``, ``SUBDAG``, ``SPLICE`` or ``SERVICE``."""
    return str(node.spec.get("kind") or "JOB").upper()


def parents_of(nodes: Sequence[NodeRecord]) -> dict[str, list[str]]:
    """The parents of each node, by name; names that belong to no node are left out.

    A ``FINAL`` node runs when all others have ended: its parents are the nodes without children, and it is drawn
    last.
    """
    known = {node.name for node in nodes}
    found = {
        node.name: [name for name in dict.fromkeys(named_parents(node)) if name in known and name != node.name]
        for node in nodes
    }
    inner = {parent for parents in found.values() for parent in parents}
    leaves = [node.name for node in nodes if node.name not in inner and kind_of(node) not in (SERVICE, FINAL)]
    for node in nodes:
        if kind_of(node) == FINAL:
            found[node.name] = leaves
    return found


def named_parents(node: NodeRecord) -> list[str]:
    """The parents that the user named."""
    return [str(name) for name in node.spec.get("parents") or ()]


def counts(nodes: Iterable[NodeRecord]) -> dict[str, int]:
    """The number of nodes of each status, in the order of the statuses."""
    order = list(COLOURS)
    names = [node.status for node in nodes]
    return {
        name: names.count(name)
        for name in sorted(set(names), key=lambda name: (order.index(name) if name in order else len(order), name))
    }


def percent_done(nodes: Iterable[NodeRecord]) -> float | None:
    """How much of the workflow is done, without services; ``None`` if there is nothing to do."""
    wanted = [node.status == statuses.COMPLETE for node in nodes if kind_of(node) != SERVICE]
    if not wanted:
        return None
    # Rounding must not result in 100 before all is done.
    return 100.0 if all(wanted) else min(99.9, round(100 * sum(wanted) / len(wanted), 1))
