"""The job variables of Prefect's work pools, deployments and runs, as parameters of the flows. Pure."""

from collections.abc import Collection, Mapping
from typing import Any

#: Variables that are parameters of the flows by the same name.
SAME = ("scheduler", "workspace", "user")
#: Variables that are submit commands of HTCondor.
COMMANDS = ("request_cpus", "request_memory", "request_disk")


def applied(variables: Mapping[str, Any], given: Mapping[str, Any], fields: Collection[str]) -> dict[str, Any]:
    """The parameters of a run with what its job variables set. The parameters of the run win.

    Args:
        variables: the job variables.
        given: the parameters of the run.
        fields: the parameters that its flow takes.
    """
    found = dict(given)
    for name in SAME:
        if name in fields and _is_set(variables.get(name)) and not _is_set(given.get(name)):
            found[name] = variables[name]
    commands = {**(variables.get("attributes") or {})}
    commands.update({name: variables[name] for name in COMMANDS if _is_set(variables.get(name))})
    if not commands:
        return found
    if "attributes" in fields:
        found["attributes"] = _under(commands, given.get("attributes"))
    elif "nodes" in fields and isinstance(given.get("nodes"), list):
        found["nodes"] = [
            {**node, "attributes": _under(commands, node.get("attributes"))} if _has_job(node) else node
            for node in given["nodes"]
        ]
    return found


def _is_set(value: Any) -> bool:
    return value not in (None, "")


def _has_job(node: Any) -> bool:
    """Whether a node has submit commands of its own."""
    return isinstance(node, Mapping) and str(node.get("kind") or "JOB").upper() in ("JOB", "FINAL", "SERVICE")


def _under(commands: Mapping[str, Any], own: Any) -> Any:
    """Submit commands with those of a job, which win; they are written in any case."""
    if own is not None and not isinstance(own, Mapping):
        return own  # an error that is reported as such
    named = {str(name).lower() for name in own or {}}
    return {**{name: value for name, value in commands.items() if name.lower() not in named}, **(own or {})}
