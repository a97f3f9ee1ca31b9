"""The ads of a DAG's jobs under the names of its nodes: those of inner DAGs have the name of the DAG before theirs."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from prefect_jobs.jobs.workflow.node_states import DAGMAN_UNIVERSE, LOGS
from prefect_jobs.records import NodeRecord
from prefect_jobs.schedulers.condor.dag.file import FOLDER

#: Attributes that say where a job writes, besides those of a poll.
PROJECTION = ("Iwd", "Out", "Err", "UserLog")
_KINDS = {"output": "Out", "error": "Err", "log": "UserLog"}


def named(
    queued: Iterable[Mapping[str, Any]],
    gone: Iterable[Mapping[str, Any]],
    nodes: Sequence[NodeRecord],
    dagman: Mapping[str, Any],
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The ads of nodes' jobs, each with the whole name of its node.

    Args:
        queued: ads in the queue.
        gone: ads that have left it.
        nodes: as last known.
        dagman: the ad of the DAG's DAGMan.
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
        place.append({**ad, "DAGNodeName": name, LOGS: _logs(ad, home)})
    return found


def dagmans_of(ads: Iterable[Mapping[str, Any]]) -> set[int]:
    """The clusters of DAGMans among ads."""
    return {int(ad["ClusterId"]) for ad in ads if ad.get("JobUniverse") == DAGMAN_UNIVERSE}


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
