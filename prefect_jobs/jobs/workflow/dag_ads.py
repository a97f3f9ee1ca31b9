"""The ads of a DAG's jobs under the names of its nodes: those of inner DAGs have the name of the DAG before theirs."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from prefect_jobs.jobs.workflow import dag_file
from prefect_jobs.jobs.workflow.node_states import DAGMAN_UNIVERSE, LOGS
from prefect_jobs.records import NodeRecord
from prefect_jobs.schedulers.condor.dag.file import FOLDER
from prefect_jobs.schedulers.condor.dag.model import JOB, SUBDAG

#: Attributes that say where a job writes, besides those of a poll.
PROJECTION = ("Iwd", "Out", "Err", "UserLog", "Owner")
_KINDS = {"output": "Out", "error": "Err", "log": "UserLog"}


def named(
    queued: Iterable[Mapping[str, Any]],
    gone: Iterable[Mapping[str, Any]],
    nodes: Sequence[NodeRecord],
    dagman: Mapping[str, Any],
    *,
    foreign: bool = False,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The ads of nodes' jobs, each with the whole name of its node.

    Args:
        queued: ads in the queue.
        gone: ads that have left it.
        nodes: as last known.
        dagman: the ad of the DAG's DAGMan.
        foreign: whether it was submitted without us: logs are where their owner has them.
    """
    home, cluster = dagman.get("Iwd"), int(dagman["ClusterId"])
    above = {cluster: ""}
    for node in nodes:
        for run in node.native.get("runs", {}).values():
            above.update(dict.fromkeys(run["clusters"], f"{node.name}+"))
    found: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ([], [])
    both = [(ad, found[0]) for ad in queued] + [(ad, found[1]) for ad in gone]
    # A DAGMan is submitted before its jobs.
    for ad, place in sorted(both, key=lambda each: int(each[0].get("ClusterId", 0))):
        prefix = above.get(int(ad.get("DAGManJobId", -1)))
        if prefix is None:
            continue
        name = f"{prefix}{ad.get('DAGNodeName', '')}"
        if ad.get("JobUniverse") == DAGMAN_UNIVERSE:
            above[int(ad["ClusterId"])] = f"{name}+"
        logs = _foreign_logs(ad) if foreign else _logs(ad, home)
        place.append({**ad, "DAGNodeName": name, LOGS: logs})
    return found


def unknown(named_ads: Iterable[Mapping[str, Any]], nodes: Sequence[NodeRecord]) -> list[NodeRecord]:
    """New nodes for names that are not known: those of an inner DAG whose file was made while the DAG ran, or of a DAG
    whose file could not be read."""
    known = {node.name for node in nodes}
    position = max((node.position for node in nodes), default=-1) + 1
    found: dict[str, NodeRecord] = {}
    for ad in named_ads:
        name = str(ad["DAGNodeName"])
        if name in known or name in found or not name or len(name) > dag_file.LONGEST:
            continue
        owner = name.rpartition("+")[0]
        kind = SUBDAG if ad.get("JobUniverse") == DAGMAN_UNIVERSE else JOB
        spec: dict[str, Any] = {"name": name, "kind": kind, "parents": [], dag_file.SEEN: True}
        if owner and (owner in known or owner in found):
            spec[dag_file.OWNER] = owner
        (handle,) = dag_file.handles_of([spec])
        found[name] = replace(handle.record, spec=handle.spec, position=position + len(found))
    return list(found.values())


def dagmans_of(ads: Iterable[Mapping[str, Any]]) -> set[int]:
    """The clusters of DAGMans among ads."""
    return {int(ad["ClusterId"]) for ad in ads if ad.get("JobUniverse") == DAGMAN_UNIVERSE}


def _foreign_logs(ad: Mapping[str, Any]) -> dict[str, str]:
    home = str(ad.get("Iwd") or "/")
    paths = {kind: str(ad[name]) for kind, name in _KINDS.items() if ad.get(name) and ad[name] != "/dev/null"}
    said = {kind: os.path.normpath(os.path.join(home, path)) for kind, path in paths.items()}  # noqa: PTH118
    return {**said, "owner": str(ad.get("Owner", ""))}


def _logs(ad: Mapping[str, Any], home: str | None) -> dict[str, str]:
    found: dict[str, str] = {}
    for kind, attribute in _KINDS.items():
        given = str(ad.get(attribute) or "")
        if not home or not given or given == "/dev/null":
            continue
        path = os.path.relpath(os.path.join(str(ad.get("Iwd") or home), given), f"{home}/{FOLDER}")  # noqa: PTH118
        if not path.startswith(".."):
            found[kind] = path
    return found
