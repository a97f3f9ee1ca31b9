"""The text of a DAG file. Pure.

``htcondor2.dags`` writes no SPLICE, SERVICE, MAXJOBS, or FINAL with a DIR, changes the names of nodes, and needs the
bindings in the process that writes. Syntax: HTCondor manual, "DAG Input File Format".
"""

from collections.abc import Mapping, Sequence

from prefect_jobs.schedulers.condor.dag.model import (
    FINAL,
    JOB,
    PROGRAMS,
    SERVICE,
    SPLICE,
    SUBDAG,
    DagNode,
    script_arguments,
)

#: The folder in the spool with the DAG and the nodes' directories. It is fetched back.
FOLDER = "dag"
DAG_NAME = "workflow.dag"
STATUS_NAME = "workflow.status"
#: Least number of seconds between two writes of the node status file.
STATUS_INTERVAL = 30
#: DAGMan's exit code that requests a restart.
_RESTART = 3


def submit_file(node: DagNode) -> str:
    """The name of a node's submit file, in its directory."""
    return f"{node.name}.sub"


def write_dag(nodes: Sequence[DagNode], max_jobs: Mapping[str, int], scripts: Mapping[tuple[str, str], str]) -> str:
    """The DAG file.

    Args:
        nodes: nodes that passed :func:`~prefect_jobs.schedulers.condor.dag.check_graph`.
        max_jobs: throttles by category.
        scripts: (node, ``PRE`` or ``POST``) → the script's path from the node's directory.
    """
    lines: list[str] = []
    for node in nodes:
        lines.append(_declaration(node))
        lines.extend(_options(node, scripts))
    children: dict[tuple[str, ...], list[str]] = {}
    for node in nodes:
        if node.parents:
            children.setdefault(tuple(node.parents), []).append(node.name)
    lines.extend(f"PARENT {' '.join(parents)} CHILD {' '.join(names)}" for parents, names in children.items())
    lines.extend(f"MAXJOBS {category} {number}" for category, number in max_jobs.items())
    lines.append(f"NODE_STATUS_FILE {FOLDER}/{STATUS_NAME} {STATUS_INTERVAL}")
    return "\n".join(lines) + "\n"


def _declaration(node: DagNode) -> str:
    where = f"DIR {FOLDER}/{node.directory}"
    flags = f"{' NOOP' if node.noop else ''}{' DONE' if node.done else ''}"
    if node.kind == SUBDAG:
        return f"SUBDAG EXTERNAL {node.name} {_base(node)} {where}{flags}"
    if node.kind == SPLICE:
        return f"SPLICE {node.name} {_base(node)} {where}"
    return f"{node.kind} {node.name} {submit_file(node)} {where}{flags}"


def _base(node: DagNode) -> str:
    return str(node.dag_file).rpartition("/")[2]


def _options(node: DagNode, scripts: Mapping[tuple[str, str], str]) -> list[str]:
    lines: list[str] = []
    name = node.name
    if node.variables:
        pairs = " ".join(f'{key}="{_quoted(str(value))}"' for key, value in node.variables.items())
        lines.append(f"VARS {name} {pairs}")
    for which, words in (("PRE", node.pre_script_args), ("POST", node.post_script_args)):
        if (name, which) in scripts:
            arguments = script_arguments(node, f"{which.lower()}_script", words)
            lines.append(" ".join(["SCRIPT", which, name, scripts[name, which], *arguments]))
    if node.pre_skip is not None:
        lines.append(f"PRE_SKIP {name} {node.pre_skip}")
    if node.retry is not None:
        unless = node.retry_unless_exit_value
        lines.append(f"RETRY {name} {node.retry}" + (f" UNLESS-EXIT {unless}" if unless is not None else ""))
    if node.priority is not None and node.kind in (*PROGRAMS, SUBDAG):
        lines.append(f"PRIORITY {name} {node.priority}")
    if node.category is not None and node.kind in (JOB, SUBDAG, SERVICE):
        lines.append(f"CATEGORY {name} {node.category}")
    if node.abort_dag_on is not None and node.kind != FINAL:
        answer = node.abort_dag_on_return_value
        if answer is None:
            answer = node.abort_dag_on if 0 <= node.abort_dag_on <= 255 else 1  # DAGMan's own default
        # DAGMan requests a restart with 3: the workflow would run for ever.
        lines.append(f"ABORT-DAG-ON {name} {node.abort_dag_on} RETURN {1 if answer == _RESTART else answer}")
    return lines


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
