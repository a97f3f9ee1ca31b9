"""The states of the nodes, and of all of them together, from the ads of DAGMan and of its nodes' jobs. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from prefect_jobs import statuses
from prefect_jobs.records import NodeRecord
from prefect_jobs.schedulers.condor import observation, usage
from prefect_jobs.schedulers.condor.dag.model import JOB, SERVICE, SPLICE, SUBDAG
from prefect_jobs.schedulers.condor.observation import Proc

#: The attributes that a poll requests, for DAGMan's job and for the nodes' jobs.
PROJECTION = (
    *observation.PROJECTION,
    "DAGManJobId",
    "DAGNodeName",
    "TotalSubmitProcs",
    "DAG_NodesDone",
    "DAG_NodesFailed",
    "DAG_NodesTotal",
    "DAG_NodesQueued",
    "DAG_Status",
    "ShadowBday",
    "JobUniverse",
)
#: Kinds of nodes that count for the workflow's outcome.
WORK = (JOB, SUBDAG, SPLICE)
#: Number of node names in a message.
SHOWN = 5

#: JobUniverse of a DAGMan: "scheduler".
DAGMAN_UNIVERSE = 7
#: In a node's ``native``: an earlier run completed it, and its outputs are fetched.
KEPT = "kept"

#: Attribute of an ad, added by those who know: name of the log → its path in the job directory.
LOGS = "PrefectJobsLogs"

Run = dict[str, Any]


def apply_ads(
    nodes: Sequence[NodeRecord],
    queued: Iterable[Mapping[str, Any]],
    gone: Iterable[Mapping[str, Any]],
    inner: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
) -> list[NodeRecord]:
    """The nodes after a poll.

    Args:
        nodes: as last known.
        queued: ads of nodes' jobs in the queue.
        gone: ads of jobs that have left it, in any order; ads that are known already have no effect.
        inner: by node, the ads of the jobs of its inner DAG in the queue.
    """
    runs: dict[str, dict[str, Run]] = {}
    known = {node.name: node for node in nodes}
    for ad, in_queue in [*((ad, False) for ad in gone), *((ad, True) for ad in queued)]:
        name, part = whose(str(ad.get("DAGNodeName", "")), known)
        node = known.get(name)
        if node is None:
            continue
        if name not in runs:
            runs[name] = {key: _copy(run) for key, run in node.native.get("runs", {}).items()}
        _note(runs[name].setdefault(part, {"clusters": [], "procs": {}, "total": 1}), ad, in_queue)
    found: list[NodeRecord] = []
    for node in nodes:
        if node.name not in runs:
            found.append(node)
            continue
        native = {**node.native, "runs": {key: _encode(run) for key, run in runs[node.name].items()}}
        status, message = _judge(node, runs[node.name])
        if node.status == statuses.COMPLETE and status != statuses.COMPLETE and not _new_try(node, native):
            status, message = node.status, node.message  # its children have begun: it is done
        if status == statuses.RUNNING and inner and node.name in inner:
            status, message = _held_inside(inner[node.name], status, message)
        found.append(replace(node, native=native, status=status, message=message))
    return _infer(found)


def whose(name: str, known: Mapping[str, NodeRecord]) -> tuple[str, str]:
    """The node that DAGMan's name of a node is about, and the rest of the name: a splice is one node where its own
    nodes are not known."""
    first, _, rest = name.partition("+")
    node = known.get(first)
    return (first, rest) if name not in known and node and node.spec.get("kind") == SPLICE else (name, "")


def _held_inside(ads: Sequence[Mapping[str, Any]], status: str, message: str) -> tuple[str, str]:
    """The status and message of a node for holds in its inner DAG; the node is Held if nothing runs in there."""
    procs = [(str(ad.get("DAGNodeName", "")), observation.read_ad(ad, queued=True)) for ad in ads]
    held = next(((name, proc) for name, proc in procs if proc.status == statuses.HELD), None)
    if held is None:
        return status, message
    jobs = [proc for (_, proc), ad in zip(procs, ads, strict=True) if ad.get("JobUniverse") != DAGMAN_UNIVERSE]
    busy = any(proc.state in (observation.RUNNING, observation.IDLE, observation.UNEXPANDED) for proc in jobs)
    text = f"In its DAG, node {held[0]}: {held[1].hold_text()}"
    return (status, f"{message} {text}") if busy else (statuses.HELD, text)


def _new_try(node: NodeRecord, native: Mapping[str, Any]) -> bool:
    return tries_of(node) < tries_of(replace(node, native=dict(native)))


def tries_of(node: NodeRecord) -> int:
    """The number of the node's submissions."""
    runs = node.native.get("runs")
    return max(len(run["clusters"]) for run in runs.values()) if runs else 0


def procs_of(node: NodeRecord) -> list[Proc]:
    """The procs of the node's last try (for a splice, of all its nodes)."""
    return [proc for run in node.native.get("runs", {}).values() for proc in observation.decode(run["procs"]).values()]


def _copy(run: Mapping[str, Any]) -> Run:
    return {
        "clusters": list(run["clusters"]),
        "procs": observation.decode(run["procs"]),
        "total": run["total"],
        **({"logs": dict(run["logs"])} if "logs" in run else {}),
    }


def _encode(run: Run) -> Run:
    procs: dict[int, Proc] = run["procs"]
    return {**run, "procs": [procs[number].encode() for number in sorted(procs)]}


def _note(run: Run, ad: Mapping[str, Any], in_queue: bool) -> None:
    """Adds an ad to the tries of a node."""
    cluster = int(ad.get("ClusterId", 0))
    clusters: list[int] = run["clusters"]
    if cluster not in clusters:
        clusters.append(cluster)
        clusters.sort()
        if cluster == clusters[-1]:
            run["procs"], run["total"] = {}, int(ad.get("TotalSubmitProcs") or 1)
            run.pop("logs", None)
    if cluster != clusters[-1]:
        return  # belongs to an earlier try
    proc = observation.read_ad(ad, queued=in_queue)
    before: Proc | None = run["procs"].get(proc.proc)
    if before is not None and before.state == proc.state and not usage.differs(before.usage, proc.usage):
        proc = replace(proc, usage=before.usage)  # no news that is worth a write
    if before is None or not before.final or proc.final:
        run["procs"][proc.proc] = proc
    if ad.get(LOGS):
        run.setdefault("logs", {})[str(proc.proc)] = ad[LOGS]


def _judge(node: NodeRecord, runs: Mapping[str, Run]) -> tuple[str, str]:
    """Status and message of a node, by its jobs."""
    if node.spec.get("kind") == SPLICE:
        return _judge_splice(runs)
    run = next(iter(runs.values()))
    procs: dict[int, Proc] = run["procs"]
    tries, most = len(run["clusters"]), int(node.spec.get("retry") or 0) + 1
    which = f" Try {tries} of {most}." if tries > 1 else ""
    verdict = observation.judge(procs, int(run["total"]))
    if verdict is None:
        return (statuses.RUNNING if procs else statuses.SUBMITTED), which.strip()
    if verdict.outcome is None:
        message = verdict.message
        if node.spec.get("kind") == SUBDAG and verdict.status == statuses.RUNNING:
            message = f"Its DAG runs, as cluster {run['clusters'][-1]}."
        return verdict.status, f"{sentence(message)}{which}".strip()
    text = f"{sentence(verdict.message)}{which}"
    if node.spec.get("kind") == SERVICE:
        return verdict.outcome, text
    if node.spec.get("post_script"):
        return statuses.RUNNING, f"{text} Its post script is run."
    if verdict.outcome == statuses.COMPLETE:
        return statuses.COMPLETE, text
    # If one proc fails, DAGMan removes the others: take the exit code of the one that failed.
    code = next((proc.exit_code for proc in procs.values() if not proc.ended_well and proc.exit_code is not None), None)
    aborts = code is not None and code == node.spec.get("abort_dag_on")
    unless = node.spec.get("retry_unless_exit_value")
    if tries < most and not aborts and (unless is None or code != unless):
        return statuses.SUBMITTED, f"{sentence(verdict.message)} Try {tries} of {most}; it is tried again."
    return statuses.ERROR, text


def _judge_splice(runs: Mapping[str, Run]) -> tuple[str, str]:
    """A splice runs from its first node's submission until its children begin, or the DAG ends."""
    procs = [proc for run in runs.values() for proc in run["procs"].values()]
    held = next((proc for proc in procs if proc.status == statuses.HELD), None)
    counts = Counter(proc.state for proc in procs)
    text = ", ".join(f"{number} {state.lower()}" for state, number in sorted(counts.items()))
    if held is not None and not counts[observation.RUNNING]:
        return statuses.HELD, held.hold_text()
    begun = counts[observation.RUNNING] or counts[observation.COMPLETED]
    return (statuses.RUNNING if begun else statuses.SUBMITTED), f"Of its jobs: {text}."


def _infer(nodes: list[NodeRecord]) -> list[NodeRecord]:
    """Completes nodes whose children were submitted: those without their own job (NOOP), and those whose post script
    decided the outcome."""
    by_name = {node.name: index for index, node in enumerate(nodes)}
    # A node that is done from the start says nothing about its parents.
    begun = [
        node for node in nodes if (tries_of(node) or node.status == statuses.COMPLETE) and not node.spec.get("done")
    ]
    while begun:
        node = begun.pop()
        for parent in node.spec.get("parents", ()):
            index = by_name.get(parent)
            if index is None or nodes[index].status == statuses.COMPLETE:
                continue
            message = nodes[index].message.replace(" Its post script is run.", "")
            procs = procs_of(nodes[index])
            if not procs:
                message = without_job(nodes[index])
            nodes[index] = replace(nodes[index], status=statuses.COMPLETE, message=message)
            begun.append(nodes[index])
    return nodes


def without_job(node: NodeRecord) -> str:
    """The message of a node that is done and had no job."""
    skipped = node.spec.get("pre_skip") is not None and not node.spec.get("noop")
    return "Skipped: its pre script said that it is done." if skipped else "Done without a job."


def progress(nodes: Sequence[NodeRecord]) -> str:
    """The message about running nodes: failures and holds. It changes rarely."""
    parts: list[str] = []
    failed = [node for node in nodes if node.status == statuses.ERROR]
    if failed:
        shown = "; ".join(f"{node.name}: {node.message.rstrip('.')}" for node in failed[:SHOWN])
        parts.append(f"Failed: {shown}{' …' if len(failed) > SHOWN else ''}.")
    for node in nodes:
        if node.status in (statuses.HELD, statuses.PAUSED):
            parts.append(f"Node {node.name}: {node.message}")
            break
    held = sum(node.status in (statuses.HELD, statuses.PAUSED) for node in nodes)
    if held > 1:
        parts.append(f"{held} nodes are held.")
    return " ".join(parts)


def count(nodes: Sequence[NodeRecord]) -> dict[str, int]:
    """The number of nodes in each of HTCondor's states, by their last try."""
    found = Counter(_state(node) for node in nodes)
    return {state: found.get(state, 0) for state in observation.COUNTED}


def _state(node: NodeRecord) -> str:
    states = {proc.state for proc in procs_of(node)}
    if not states:
        if node.status == statuses.COMPLETE:
            return observation.COMPLETED
        return observation.SUBMISSION_ERR if node.status == statuses.ERROR else observation.UNEXPANDED
    for state in (observation.RUNNING, observation.HELD, observation.IDLE, observation.UNEXPANDED):
        if state in states:
            return state
    return observation.COMPLETED if observation.COMPLETED in states else observation.REMOVED


def sentence(text: str) -> str:
    """The text as a sentence."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if not text or text.endswith(".") else ".")
