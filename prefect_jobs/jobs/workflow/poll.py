"""Turns a schedd's answer about DAGMan and its nodes' jobs into an observation of the workflow."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from prefect_jobs import statuses
from prefect_jobs.jobs.condor import limits, spooling
from prefect_jobs.jobs.condor.ads import constraint, key_of, key_of_ad
from prefect_jobs.jobs.condor.state import Values, encode
from prefect_jobs.jobs.observation import Observation, Todo
from prefect_jobs.jobs.workflow import dag_ads, dag_file, node_ends, node_states
from prefect_jobs.jobs.workflow.node_states import DAGMAN_UNIVERSE, PROJECTION
from prefect_jobs.jobs.workflow.state import (
    DagmanEnd,
    WorkflowState,
    encode_end,
    encode_gave_up,
    encode_history,
    encode_inner,
)
from prefect_jobs.noted import Outcome
from prefect_jobs.records import JobRecord, NodeRecord
from prefect_jobs.schedulers.condor import observation
from prefect_jobs.schedulers.condor.client import CondorClient
from prefect_jobs.schedulers.condor.dag.model import SERVICE, SPLICE
from prefect_jobs.schedulers.condor.observation import Proc

#: Number of lines about single nodes in one poll.
_LINES = 50


def newest_in_history(client: CondorClient) -> str | None:
    """A constraint that matches the newest record in the schedd's history, of any user. Records of a new workflow come
    after it, so each poll reads only those since the last one."""
    found = client.history("true", ("ClusterId", "ProcId"), match=1)
    return _same(found[0]) if found else None


def observe(
    record: JobRecord,
    nodes: Sequence[NodeRecord],
    client: CondorClient,
    held_timeout: float | None,
    save: Callable[[int, Sequence[NodeRecord]], None],
) -> Observation:
    """Polls one workflow: one query of the queue, and one of the history since the last poll.

    Args:
        record: the job.
        nodes: its nodes as last known.
        client: of the access point.
        held_timeout: seconds after which a held workflow is removed; none: never.
        save: writes nodes that are new.

    Raises:
        SchedulerConnectionError: the schedd does not answer.
    """
    cluster = int(record.remote_id or 0)
    existing = dag_file.is_existing(record)
    projection = (*PROJECTION, *dag_ads.PROJECTION) if existing else PROJECTION
    dags = {cluster, *WorkflowState(record).inner}
    ads = client.query(f"({constraint(record)}) || {_of(dags)}", projection)
    dagman = next((ad for ad in ads if ad.get("ClusterId") == cluster), None)
    if dagman is None and record.noted.foreign:  # it leaves the queue when it ends
        dagman = next(iter(client.history(constraint(record), projection, match=1)), None)
    if dagman is None or key_of_ad(dagman) != key_of(record):
        return _gone(record, nodes, client)
    inner = sorted(int(ad["ClusterId"]) for ad in ads if _is_inner(ad, cluster))
    if existing:
        dags |= dag_ads.dagmans_of(ads)
        gone, cursor = _left(record, client, dags, projection)
        while more := dag_ads.dagmans_of(gone) - dags:  # inner DAGs that began and ended since the last poll
            dags |= more
            ads += client.query(_of(more), projection)  # their last jobs may still leave the queue
            gone, cursor = _left(record, client, dags, projection)
        queued, left = dag_ads.named(ads, gone, nodes, dagman, foreign=record.noted.foreign)
        if more_nodes := dag_ads.unknown([*queued, *left], nodes):
            save(record.id, more_nodes)
            nodes = [*nodes, *more_nodes]
        now = node_states.apply_ads(nodes, queued, left)
    else:
        jobs = [ad for ad in ads if ad.get("DAGManJobId") == cluster]
        gone, cursor = _left(record, client, [cluster], projection)
        now = node_states.apply_ads(nodes, jobs, gone, _by_node(ads, cluster))
    found = conclude(record, nodes, now, dagman, held_timeout)
    if Todo.GIVE_UP in found.todo:
        client.act("Remove", constraint(record), "held for too long")
    found = spooling.release(record, found, client)
    return replace(found, native={**found.native, **encode_history(cursor), **encode_inner(inner)})


def inner_dagmans(client: CondorClient, cluster: int) -> list[int]:
    """The clusters of the DAGMans of inner DAGs in the queue, at any depth."""
    found: list[int] = []
    level = [cluster]
    while level:
        below = " || ".join(f"DAGManJobId == {number}" for number in level)
        ads = client.query(f"JobUniverse == {DAGMAN_UNIVERSE} && ({below})", ("ClusterId",))
        level = [int(ad["ClusterId"]) for ad in ads if int(ad["ClusterId"]) not in found]
        found.extend(level)
    return found


def _is_inner(ad: Mapping[str, Any], cluster: int) -> bool:
    return ad.get("JobUniverse") == DAGMAN_UNIVERSE and ad.get("ClusterId") != cluster


def _by_node(ads: Sequence[Mapping[str, Any]], cluster: int) -> dict[str, list[Mapping[str, Any]]]:
    """The ads of the jobs of inner DAGs, by the node that is that DAG."""
    dagmans = {ad.get("ClusterId"): ad for ad in ads if _is_inner(ad, cluster)}
    found: dict[str, list[Mapping[str, Any]]] = {}
    for ad in ads:
        above = dagmans.get(ad.get("DAGManJobId"))
        while above is not None and above.get("DAGManJobId") != cluster:
            above = dagmans.get(above.get("DAGManJobId"))
        if above is not None:
            found.setdefault(str(above.get("DAGNodeName", "")).partition("+")[0], []).append(ad)
    return found


def _left(
    record: JobRecord, client: CondorClient, dags: Iterable[int], projection: Sequence[str]
) -> tuple[list[dict[str, Any]], str | None]:
    """The ads that have left the queue since the last poll, and the start of the next poll."""
    known = WorkflowState(record).history
    of_dags = _of(dags)
    if known is None:  # found again after an interruption: the history was not read yet
        newest = newest_in_history(client)
        gone = client.history(of_dags, projection)
        return gone, newest
    gone = client.history(of_dags, projection, since=known)
    return gone, _same(gone[0]) if gone else known


def _of(dags: Iterable[int]) -> str:
    """The constraint that matches the jobs of DAGs."""
    return " || ".join(f"DAGManJobId == {number}" for number in sorted(dags))


def _same(ad: Mapping[str, Any]) -> str:
    return f"ClusterId == {int(ad['ClusterId'])} && ProcId == {int(ad['ProcId'])}"


def conclude(
    record: JobRecord,
    before: Sequence[NodeRecord],
    nodes: Sequence[NodeRecord],
    dagman: Mapping[str, Any],
    held_timeout: float | None,
) -> Observation:
    """The observation of a workflow for a poll's answer. Pure.

    Args:
        record: the job before the poll.
        before: its nodes before the poll.
        nodes: its nodes after the poll.
        dagman: the ad of DAGMan's job, in the queue.
        held_timeout: seconds after which a held workflow is removed; none: never.
    """
    proc = observation.read_ad(dagman, queued=True)
    if record.noted.foreign:
        held_timeout = None
    forgotten = not record.noted.foreign and spooling.is_forgotten(record, (proc,))
    values: Values = {"missing_since": None, "missing_polls": None, "held_since": None}
    if not forgotten and spooling.was_refused(record):
        values["release_refused"] = None
    seen = Observation(
        None,
        native=encode(**values),
        started=datetime.fromtimestamp(proc.started, UTC) if proc.started else None,
        messages=_lines(before, nodes),
        nodes=_changed(before, nodes),
        version=record.version,
        todo=frozenset({Todo.RELEASE} if forgotten else ()),
    )
    if proc.state == observation.REMOVED and dagman.get("ShadowBday") is not None:
        return replace(seen, message="Being removed: DAGMan ends its nodes.")
    if proc.state in (observation.REMOVED, observation.COMPLETED):
        return _ended(seen, proc, nodes)
    if proc.status == statuses.PAUSED:
        running = sum(node.status == statuses.RUNNING for node in nodes)
        ends = f" {running} at work continue to their end." if running else ""
        return replace(
            seen, status=statuses.PAUSED, message=f"On hold: no new nodes are started.{ends} Call resume() to continue."
        )
    in_vain = forgotten and spooling.was_refused(record)
    held = _all_held(nodes) if proc.status != statuses.HELD else None
    if in_vain or proc.status == statuses.HELD or (held is not None and held.status == statuses.HELD):
        text = proc.hold_text() if held is None else node_states.progress(nodes)
        return _held(record, seen, record.state.status_message if in_vain else text, held_timeout)
    if held is not None:
        return replace(seen, status=statuses.PAUSED, message=node_states.progress(nodes))
    if _begun(nodes, dagman):
        return replace(seen, status=statuses.VARIOUS, message=node_states.progress(nodes))
    message = record.state.status_message if record.state.status == statuses.SUBMITTED else "Waiting for DAGMan."
    # DAGMan runs, but no node yet.
    return replace(seen, status=statuses.SUBMITTED, message=message, started=None)


def _ended(seen: Observation, proc: Proc, nodes: Sequence[NodeRecord]) -> Observation:
    """DAGMan has ended: its files must be fetched."""
    ended = datetime.fromtimestamp(proc.ended, UTC) if proc.ended else None
    removed = proc.state == observation.REMOVED
    status, message = node_ends.outcome_of(nodes, proc.exit_code, removed=removed)
    more = {
        **encode_end(DagmanEnd(removed, proc.exit_code, proc.reason)),
        **encode(outcome=Outcome(status, message, ended)),
    }
    text = "DAGMan has ended; outputs are being fetched."
    return replace(seen, status=statuses.RESULTS_READY, message=text, native={**seen.native, **more}, ended=ended)


def _held(record: JobRecord, seen: Observation, text: str, held_timeout: float | None) -> Observation:
    """The workflow is held; it is given up after the timeout."""
    since = limits.held_since(record)
    native = {**seen.native, **encode(held_since=since)}
    if not limits.is_given_up(since, held_timeout):
        return replace(seen, status=statuses.HELD, message=text, native=native)
    why = limits.given_up_text(held_timeout, text)
    return replace(
        seen,
        native={**native, **encode_gave_up(why)},
        messages=(*seen.messages, (logging.WARNING, why)),
        todo=seen.todo | {Todo.GIVE_UP},
    )


def _all_held(nodes: Sequence[NodeRecord]) -> NodeRecord | None:
    """One of the held nodes, if no other node is running: nothing continues without a person."""
    work = [node for node in nodes if node.spec.get("kind") != SERVICE]  # services continue in any case
    busy = [node for node in work if node.status in (statuses.RUNNING, statuses.SUBMITTED, statuses.VARIOUS)]
    held = [node for node in work if node.status in (statuses.HELD, statuses.PAUSED)]
    if busy or not held:
        return None
    return next((node for node in held if node.status == statuses.HELD), held[0])


def _begun(nodes: Sequence[NodeRecord], dagman: Mapping[str, Any]) -> bool:
    fresh = [node for node in nodes if not node.native.get(node_states.KEPT)]
    if any(node_states.tries_of(node) for node in fresh):
        return True
    if any(int(dagman.get(name) or 0) for name in ("DAG_NodesFailed", "DAG_NodesQueued")):
        return True
    # Nodes without their own job; a splice counts with its number of nodes.
    from_the_start = len(nodes) - len(fresh) + sum(bool(node.spec.get("done")) for node in fresh)
    splices = any(node.spec.get("kind") == SPLICE for node in nodes)
    return not splices and int(dagman.get("DAG_NodesDone") or 0) > from_the_start


def _gone(record: JobRecord, nodes: Sequence[NodeRecord], client: CondorClient) -> Observation:
    """DAGMan is not in the queue: a user removed it, or the schedd has lost it."""
    for ad in client.history(constraint(record), PROJECTION, match=1):
        proc = observation.read_ad(ad, queued=False)
        if proc.state == observation.COMPLETED:
            status, crashed = statuses.ERROR, True
            text = "DAGMan has ended and was removed from the queue before its outputs were fetched: they are lost."
            left = node_ends.lose(nodes)
        else:
            status, crashed = statuses.ABORTED, False
            text = f"Removed from the queue with its outputs{f': {proc.reason}' if proc.reason else ''}."
            left = node_ends.lose(node_ends.finish(nodes, {}, removed=True))
        changed = _changed(nodes, left)
        native = encode(in_queue=None)
        return Observation(status, text, native, crashed=crashed, nodes=changed, version=record.version)
    text = (
        f"DAGMan, cluster {record.remote_id}, is in neither the queue nor the history of its schedd since {{since}}. "
        "It was removed there, or the schedd lost its queue. Its outputs are not known. resubmit() runs it again."
    )
    lost = _changed(nodes, node_ends.lose(nodes))
    return limits.missing(record, text, nodes=lost, version=record.version)


def _changed(before: Sequence[NodeRecord], now: Sequence[NodeRecord]) -> tuple[NodeRecord, ...]:
    """The nodes that have changed; those with a visible change are to be shown in Prefect."""
    return tuple(marked(old, new) for old, new in zip(before, now, strict=True) if old is not new and old != new)


def marked(old: NodeRecord, new: NodeRecord) -> NodeRecord:
    """A node, to be shown in Prefect if the change is visible."""
    if (old.status, old.message) == (new.status, new.message) and old.seq:
        return new
    return replace(new, seq=old.seq + 1)


def _lines(before: Sequence[NodeRecord], now: Sequence[NodeRecord]) -> tuple[tuple[int, str], ...]:
    """A line for each node whose status changed."""
    found: list[tuple[int, str]] = []
    for old, new in zip(before, now, strict=True):
        if old is new:
            continue
        if old.status == new.status and node_states.tries_of(old) == node_states.tries_of(new):
            continue
        level = logging.WARNING if new.status in (statuses.ERROR, statuses.HELD) else logging.INFO
        found.append((level, f"Node {new.name}: {new.status}. {new.message}".rstrip(" .") + "."))
    if len(found) > _LINES:
        found = [*found[:_LINES], (logging.INFO, f"… and {len(found) - _LINES} more nodes changed")]
    return tuple(found)
