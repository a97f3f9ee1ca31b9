"""From what a schedd says of DAGMan and its nodes' jobs to an observation of the workflow."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from prefect_jobs import clock, statuses
from prefect_jobs.jobs.condor.poll import MISSING_POLLS, MISSING_TIME, constraint, let_go_on, mark_forgotten
from prefect_jobs.jobs.observation import OUTCOME, Observation
from prefect_jobs.jobs.workflow import node_states as dag_observation
from prefect_jobs.jobs.workflow.node_states import DAGMAN_UNIVERSE, PROJECTION
from prefect_jobs.records import JobRecord, NodeRecord
from prefect_jobs.schedulers.condor import observation
from prefect_jobs.schedulers.condor.client import CondorClient
from prefect_jobs.schedulers.condor.dag.model import SERVICE, SPLICE

#: Lines about single nodes in one poll.
_LINES = 50
_CURSOR = "history"
#: The DAGMans of DAGs within the DAG, as of the last poll: what they run is asked for, too.
_INNER = "inner"


def newest_in_history(client: CondorClient) -> str | None:
    """An expression that is true of the newest record in the schedd's history, of whomever: what a workflow leaves
    there is above it, so that a poll reads no more than what came since."""
    found = client.history("true", ("ClusterId", "ProcId"), match=1)
    return _same(found[0]) if found else None


def observe(
    record: JobRecord, nodes: Sequence[NodeRecord], client: CondorClient, held_timeout: float | None
) -> Observation:
    """Asks the schedd about one workflow: one query of the queue, and one of the history since the last poll.

    Raises:
        SchedulerConnectionError: nobody can tell now.
    """
    cluster = int(record.remote_id or 0)
    dags = [cluster, *record.native.get(_INNER, ())]
    nodes_of = " || ".join(f"DAGManJobId == {number}" for number in dags)
    ads = client.query(f"({constraint(record)}) || {nodes_of}", PROJECTION)
    dagman = next((ad for ad in ads if ad.get("ClusterId") == cluster), None)
    if dagman is None or dagman.get("PrefectJobsToken") != record.submission_token:
        return _gone(record, nodes, client)
    jobs = [ad for ad in ads if ad.get("DAGManJobId") == cluster]
    inner = sorted(int(ad["ClusterId"]) for ad in ads if _is_inner(ad, cluster))
    gone, cursor = _left(record, client, cluster)
    now = dag_observation.apply_ads(nodes, jobs, gone, _by_node(ads, cluster))
    found = conclude(record, nodes, now, dagman, held_timeout)
    if found.native.pop("give_up", False):
        client.act("Remove", constraint(record), "held for too long")
    found = let_go_on(record, found, client)
    return replace(found, native={**found.native, _CURSOR: cursor, _INNER: inner or None})


def inner_dagmans(client: CondorClient, cluster: int) -> list[int]:
    """The clusters of the DAGMans within a DAG that are in the queue, at any depth."""
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
    """The ads of what is in DAGs within the DAG, by the node that it is in."""
    dagmans = {ad.get("ClusterId"): ad for ad in ads if _is_inner(ad, cluster)}
    found: dict[str, list[Mapping[str, Any]]] = {}
    for ad in ads:
        above = dagmans.get(ad.get("DAGManJobId"))
        while above is not None and above.get("DAGManJobId") != cluster:
            above = dagmans.get(above.get("DAGManJobId"))
        if above is not None:
            found.setdefault(str(above.get("DAGNodeName", "")).partition("+")[0], []).append(ad)
    return found


def _left(record: JobRecord, client: CondorClient, cluster: int) -> tuple[list[dict[str, Any]], str | None]:
    """What has left the queue since the last poll, and where the next one begins."""
    known = record.native.get(_CURSOR)
    if known is None:  # found again after an interruption: nothing is known of the history yet
        newest = newest_in_history(client)
        gone = client.history(f"DAGManJobId == {cluster}", PROJECTION)
        return gone, newest
    gone = client.history(f"DAGManJobId == {cluster}", PROJECTION, since=known)
    return gone, _same(gone[0]) if gone else known


def _same(ad: Mapping[str, Any]) -> str:
    return f"ClusterId == {int(ad['ClusterId'])} && ProcId == {int(ad['ProcId'])}"


def conclude(
    record: JobRecord,
    before: Sequence[NodeRecord],
    nodes: Sequence[NodeRecord],
    dagman: Mapping[str, Any],
    held_timeout: float | None,
) -> Observation:
    """What a poll's answer means for a workflow. Pure.

    Args:
        record: the job as it was.
        before: its nodes as they were.
        nodes: its nodes as they are.
        dagman: the ad of DAGMan's job, in the queue.
        held_timeout: seconds after which a held workflow is given up; none: never.
    """
    proc = observation.read_ad(dagman, queued=True)
    at_work = dagman.get("ShadowBday") is not None
    native: dict[str, Any] = {"missing_since": None, "missing_polls": None, "held_since": None}
    started = datetime.fromtimestamp(proc.started, UTC) if proc.started else None
    changed = _changed(before, nodes)
    lines = _lines(before, nodes)

    in_vain = mark_forgotten(record, (proc,), native)

    def seen(status: str | None, message: str | None, **more: Any) -> Observation:
        begun = None if status == statuses.SUBMITTED else started  # DAGMan runs, but none of the work yet
        return Observation(
            status, message, native, started=begun, messages=lines, nodes=changed, version=record.version, **more
        )

    if proc.state == observation.REMOVED and at_work:
        return seen(None, "Being removed: DAGMan ends its nodes.")
    if proc.state in (observation.REMOVED, observation.COMPLETED):
        ended = datetime.fromtimestamp(proc.ended, UTC) if proc.ended else None
        removed = proc.state == observation.REMOVED
        native["dagman"] = {"removed": removed, "exit_code": proc.exit_code, "reason": proc.reason}
        status, message = dag_observation.outcome_of(nodes, proc.exit_code, removed=removed)
        native[OUTCOME] = {"status": status, "message": message, "ended": ended.isoformat() if ended else None}
        return seen(statuses.RESULTS_READY, "DAGMan has ended; outputs are being fetched.", ended=ended)
    if proc.status == statuses.PAUSED:
        running = sum(node.status == statuses.RUNNING for node in nodes)
        ends = f" {running} at work go on to their end." if running else ""
        return seen(statuses.PAUSED, f"Halted: no new nodes are started.{ends} resume() goes on.")
    held = _all_held(nodes) if proc.status != statuses.HELD else None
    if in_vain or proc.status == statuses.HELD or (held is not None and held.status == statuses.HELD):
        text = proc.hold_text() if held is None else dag_observation.progress(nodes)
        text = record.state.status_message if in_vain else text
        since = record.native.get("held_since") or clock.now().isoformat()
        native["held_since"] = since
        if held_timeout is not None and clock.now() - datetime.fromisoformat(since) > timedelta(seconds=held_timeout):
            native["give_up"] = True
            native["gave_up"] = f"Removed: held for longer than {held_timeout:g} s (HELD_TIMEOUT). {text}"
            return replace(seen(None, None), messages=(*lines, (logging.WARNING, native["gave_up"])))
        return seen(statuses.HELD, text)
    if held is not None:
        return seen(statuses.PAUSED, dag_observation.progress(nodes))
    if _begun(nodes, dagman):
        return seen(statuses.VARIOUS, dag_observation.progress(nodes))
    message = record.state.status_message if record.state.status == statuses.SUBMITTED else "Waiting for DAGMan."
    return seen(statuses.SUBMITTED, message)


def _all_held(nodes: Sequence[NodeRecord]) -> NodeRecord | None:
    """One of the nodes that are held, where nothing else is at work: nothing goes on without a hand."""
    work = [node for node in nodes if node.spec.get("kind") != SERVICE]  # services go on beside whatever there is
    busy = [node for node in work if node.status in (statuses.RUNNING, statuses.SUBMITTED, statuses.VARIOUS)]
    held = [node for node in work if node.status in (statuses.HELD, statuses.PAUSED)]
    if busy or not held:
        return None
    return next((node for node in held if node.status == statuses.HELD), held[0])


def _begun(nodes: Sequence[NodeRecord], dagman: Mapping[str, Any]) -> bool:
    fresh = [node for node in nodes if not node.native.get(dag_observation.KEPT)]
    if any(dag_observation.tries_of(node) for node in fresh):
        return True
    if any(int(dagman.get(name) or 0) for name in ("DAG_NodesFailed", "DAG_NodesQueued")):
        return True
    # Nodes without a job of their own; a splice counts as many as it has.
    from_the_start = len(nodes) - len(fresh) + sum(bool(node.spec.get("done")) for node in fresh)
    splices = any(node.spec.get("kind") == SPLICE for node in nodes)
    return not splices and int(dagman.get("DAG_NodesDone") or 0) > from_the_start


def _gone(record: JobRecord, nodes: Sequence[NodeRecord], client: CondorClient) -> Observation:
    """DAGMan is not in the queue: somebody else took it out, or the schedd has lost it."""
    for ad in client.history(constraint(record), PROJECTION, match=1):
        proc = observation.read_ad(ad, queued=False)
        reason = f": {proc.reason}" if proc.reason else ""
        if proc.state == observation.COMPLETED:
            text = "DAGMan has ended and was taken out of the queue before its outputs were fetched: they are lost."
            lost = _changed(nodes, dag_observation.lose(nodes))
            return Observation(
                statuses.ERROR, text, {"in_queue": None}, crashed=True, nodes=lost, version=record.version
            )
        ended = dag_observation.lose(dag_observation.finish(nodes, {}, removed=True))
        text = f"Removed from the queue with what it had written{reason}."
        changed = tuple(_changed(nodes, ended))
        return Observation(statuses.ABORTED, text, {"in_queue": None}, nodes=changed, version=record.version)
    since = record.native.get("missing_since") or clock.now().isoformat()
    polls = int(record.native.get("missing_polls") or 0) + 1
    native: dict[str, Any] = {"missing_since": since, "missing_polls": polls}
    if polls < MISSING_POLLS or clock.now() - datetime.fromisoformat(since) < MISSING_TIME:
        return Observation(None, None, native)
    text = (
        f"DAGMan, cluster {record.remote_id}, is in neither the queue nor the history of its schedd since {since}. "
        "It was removed there, or the schedd lost its queue. What it wrote is not known; resubmit() runs it again."
    )
    lost = _changed(nodes, dag_observation.lose(nodes))
    native["in_queue"] = None
    return Observation(statuses.ERROR, text, native, crashed=True, nodes=lost, version=record.version)


def _changed(before: Sequence[NodeRecord], now: Sequence[NodeRecord]) -> tuple[NodeRecord, ...]:
    """The nodes that are not as they were; those that look different are marked as to be shown."""
    return tuple(marked(old, new) for old, new in zip(before, now, strict=True) if old != new)


def marked(old: NodeRecord, new: NodeRecord) -> NodeRecord:
    """A node, to be shown in Prefect if it looks different."""
    if (old.status, old.message) == (new.status, new.message) and old.seq:
        return new
    return replace(new, seq=old.seq + 1)


def _lines(before: Sequence[NodeRecord], now: Sequence[NodeRecord]) -> tuple[tuple[int, str], ...]:
    """A line for each node whose status changed."""
    found: list[tuple[int, str]] = []
    for old, new in zip(before, now, strict=True):
        if old.status == new.status and dag_observation.tries_of(old) == dag_observation.tries_of(new):
            continue
        level = logging.WARNING if new.status in (statuses.ERROR, statuses.HELD) else logging.INFO
        found.append((level, f"Node {new.name}: {new.status}. {new.message}".rstrip(" .") + "."))
    if len(found) > _LINES:
        found = [*found[:_LINES], (logging.INFO, f"… and {len(found) - _LINES} more nodes changed")]
    return tuple(found)
