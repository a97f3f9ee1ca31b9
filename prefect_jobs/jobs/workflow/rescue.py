"""Which nodes of a workflow need not run again, and the states of nodes at the start of a run."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from prefect_jobs import graph, statuses
from prefect_jobs.jobs.workflow import node_states, poll
from prefect_jobs.jobs.workflow.node_handle import NodeHandle
from prefect_jobs.records import NodeRecord
from prefect_jobs.schedulers.condor.dag import model, reports


def done_before(nodes: Sequence[NodeHandle], states: Mapping[str, NodeRecord], directory: Path) -> list[str]:
    """The nodes that are done: those of the rescue DAG, and those that are known to be done besides.

    A node whose directory no longer exists is not done in any case, nor is a descendant of such a node.

    Returns:
        DAGMan's names: nodes, and ``<splice>+<its node>``.
    """
    rescued = reports.read_rescue(directory) or []
    inner: dict[str, list[str]] = {}
    for name in rescued:
        inner.setdefault(name.partition("+")[0], []).append(name)
    by_name = {node.name: node for node in nodes}
    judged: dict[str, bool] = {}

    def is_done(node: NodeHandle) -> bool:
        state = states.get(node.name)
        complete = state is not None and state.status == statuses.COMPLETE
        if node.kind == model.SPLICE:
            complete = complete and node.name in inner  # DAGMan knows only the nodes of a splice
        elif node.name in inner:
            complete = True
        if complete and state is not None and node_states.tries_of(state):
            complete = (directory / node.folder).is_dir()
        return complete and all(judged.get(name, False) for name in node.parents)

    found: list[str] = []
    for name in graph.in_order({name: node.parents for name, node in by_name.items()}):
        node = by_name[name]
        judged[name] = is_done(node) or node.done
        if node.kind == model.SPLICE and all(judged[parent] for parent in node.parents):
            found.extend(inner.get(name, ()))
        elif judged[name] and node.kind in node_states.WORK:
            found.append(name)
    return found


def begin(
    nodes: Sequence[NodeHandle], states: Mapping[str, NodeRecord], done: Sequence[str] | None
) -> tuple[NodeRecord, ...]:
    """The nodes at the start of a run, all to be shown.

    Args:
        nodes: the nodes.
        states: their last states.
        done: the result of :func:`done_before`; ``None``: all nodes run.
    """
    over = set(done or ())
    found: list[NodeRecord] = []
    for node in nodes:
        state = states.get(node.name, node.record)
        splice = node.kind == model.SPLICE and state.status == statuses.COMPLETE
        if node.name in over or (splice and any(name.startswith(f"{node.name}+") for name in over)):
            native = {**state.native, node_states.KEPT: True}
            found.append(poll.marked(state, replace(state, status=statuses.COMPLETE, native=native)))
        elif node.done:
            new = replace(state, status=statuses.COMPLETE, message="Done from the start.", native={})
            found.append(poll.marked(state, new))
        else:
            # Shown in any case: Prefect may show that it will never run.
            found.append(replace(state, status=statuses.PENDING, message="", native={}, seq=state.seq + 1))
    return tuple(found)
