"""The status of the nodes, and of the workflow, once DAGMan has ended. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from prefect_jobs import statuses
from prefect_jobs.jobs.workflow.node_states import KEPT, SHOWN, WORK, procs_of, sentence, tries_of, whose, without_job
from prefect_jobs.records import NodeRecord
from prefect_jobs.schedulers.condor import observation
from prefect_jobs.schedulers.condor.dag.model import JOB, SERVICE
from prefect_jobs.schedulers.condor.observation import Proc

#: NodeStatus of DAGMan's node status file (HTCondor manual, "Node Status File").
_DONE, _FAILED, _FUTILE = 5, 6, 7
_AT_WORK = (2, 3, 4)
_REMOVED = "Removed with the workflow."


def finish(nodes: Sequence[NodeRecord], report: Mapping[str, tuple[int, str]], *, removed: bool) -> list[NodeRecord]:
    """The nodes at the end.

    Args:
        nodes: as last known.
        report: DAGMan's name of a node → its NodeStatus and details, from the node status file.
        removed: whether DAGMan was removed from the queue.
    """
    found: list[NodeRecord] = []
    reported: dict[str, dict[str, tuple[int, str]]] = {}
    known = {node.name: node for node in nodes}
    for name, line in report.items():
        reported.setdefault(whose(name, known)[0], {})[name] = line
    for node in nodes:
        lines = reported.get(node.name)
        if node.spec.get("kind") == SERVICE:
            found.append(_finish_service(node))
        elif lines:
            found.append(_finish_node(node, lines, removed))
        elif node.status in (statuses.COMPLETE, statuses.ERROR):
            found.append(node)
        else:
            found.append(_not_run(node, removed))
    return found


def _finish_node(node: NodeRecord, lines: Mapping[str, tuple[int, str]], removed: bool) -> NodeRecord:
    codes = [code for code, _ in lines.values()]
    if all(code == _DONE for code in codes):
        if node.status == statuses.COMPLETE:
            return node
        message = node.message.replace(" Its post script is run.", "") if procs_of(node) else ""
        if len(lines) > 1:
            message = f"All {len(lines)} of its nodes are done."
        return replace(node, status=statuses.COMPLETE, message=message or without_job(node))
    failed = {name: details for name, (code, details) in lines.items() if code == _FAILED}
    if failed:
        ended = [proc for proc in procs_of(node) if proc.final and not proc.ended_well]
        ended.sort(key=lambda proc: proc.state == observation.REMOVED)  # the one that failed comes first
        if ended and all(proc.state == observation.REMOVED for proc in ended):
            why = ended[0].reason or ""
            by_dagman = "OtherJobRemoveRequirements" in why or "DAG Abort" in why
            message = _REMOVED if by_dagman else sentence(ended[0].outcome())
            return replace(node, status=statuses.ABORTED, message=message)
        return replace(node, status=statuses.ERROR, message=_why_failed(failed, ended, tries_of(node)))
    if node.status in (statuses.COMPLETE, statuses.ERROR) and _DONE not in codes:
        return node  # its ad says more than DAGMan's report, written before DAGMan was held or killed
    if any(code in _AT_WORK for code in codes):
        return replace(node, status=statuses.ABORTED, message=_REMOVED)
    if any(code == _DONE for code in codes):
        done = sum(code == _DONE for code in codes)
        return replace(node, status=statuses.ABORTED, message=f"{done} of its {len(codes)} nodes were done.")
    return _not_run(node, removed)


def lose(nodes: Sequence[NodeRecord]) -> list[NodeRecord]:
    """The nodes, where those that were done in this run no longer are: their outputs were lost with DAGMan."""
    text = "It was done, but its outputs are lost."
    return [
        replace(node, status=statuses.PENDING, message=text)
        if node.status == statuses.COMPLETE and tries_of(node) and not node.native.get(KEPT)
        else node
        for node in nodes
    ]


_SCRIPT = re.compile(r"(PRE|POST) script failed with (status|signal) (\d+)", re.IGNORECASE)
_PROC = re.compile(r"Job proc \([\d.]+\) failed with (status|signal) (\d+)")


def _why_failed(failed: Mapping[str, str], ended: Sequence[Proc], tries: int) -> str:
    """Why a node failed: in our words if they name the host, in DAGMan's words if only DAGMan knows."""
    parts = [sentence(ended[0].outcome())] if ended else []
    for name, details in failed.items():
        inner = name.partition("+")[2]
        script = _SCRIPT.search(details)
        if script is not None:
            code = "exit code" if script[2] == "status" else "signal"
            text = f"Its {script[1].lower()} script failed with {code} {script[3]}."
        else:
            text = "" if ended and not inner else _in_our_words(" ".join(details.split()))
        if text:
            parts.append(f"{inner}: {text}" if inner else text)
    if tries > 1:
        parts.append(f"It was tried {tries} times.")
    return " ".join(parts)


def _in_our_words(details: str) -> str:
    """Why a job failed, if its ad was not seen: it ended and left the queue between two polls."""
    proc = _PROC.fullmatch(details.rstrip("."))
    if proc is None:
        return sentence(details)
    return f"Exit code {proc[2]}." if proc[1] == "status" else f"Killed by signal {proc[2]}."


def _not_run(node: NodeRecord, removed: bool) -> NodeRecord:
    if procs_of(node) and any(not proc.final or proc.state == observation.REMOVED for proc in procs_of(node)):
        return replace(node, status=statuses.ABORTED, message=_REMOVED)
    why = "the workflow was stopped before its turn" if removed else "a node before it failed, or the DAG was aborted"
    return replace(node, status=statuses.PENDING, message=f"Not run: {why}.")


def _finish_service(node: NodeRecord) -> NodeRecord:
    procs = procs_of(node)
    if not procs:
        return replace(node, status=statuses.PENDING, message="Not run.")
    if any(proc.final and proc.state == observation.COMPLETED and not proc.ended_well for proc in procs):
        return replace(node, status=statuses.ERROR, message=sentence(procs[0].outcome()))
    if all(proc.state == observation.COMPLETED for proc in procs):
        return replace(node, status=statuses.COMPLETE, message=sentence(procs[0].outcome()))
    return replace(node, status=statuses.COMPLETE, message="Ended with the workflow, as services do.")


def outcome_of(
    nodes: Sequence[NodeRecord], exit_code: int | None, *, removed: bool, by_dagman: bool = False
) -> tuple[str, str]:
    """The status of the workflow once DAGMan has ended, and the reason.

    Args:
        nodes: the result of :func:`finish`.
        exit_code: DAGMan's.
        removed: whether DAGMan was removed from the queue.
        by_dagman: whether an exit code of 0 is a success whatever became of the nodes.
    """
    work = [node for node in nodes if node.spec.get("kind", JOB) in WORK]
    done = sum(node.status == statuses.COMPLETE for node in work)
    errors = [node for node in nodes if node.status == statuses.ERROR and node.spec.get("kind") != SERVICE]
    failed = errors or [node for node in nodes if node.status == statuses.ABORTED]
    counted = f"{done} of {len(work)} nodes {'is' if done == 1 else 'are'} done"
    if removed:
        rest = "; resubmit() continues from there" if done < len(work) else ""
        return statuses.ABORTED, f"{counted}{rest}."
    if done == len(work) and not failed:
        return statuses.COMPLETE, f"All {len(work)} nodes are done." if len(work) > 1 else "Its node is done."
    if exit_code == 0 and any(_meant(node) for node in nodes) and all(_meant(node) for node in errors):
        names = ", ".join(node.name for node in errors or work if _meant(node) and _ended(node))
        ended = f" by {names}" if names else ""
        return statuses.COMPLETE, f"Ended early{ended}, by ABORT-DAG-ON with a return value of success; {counted}."
    shown = "; ".join(f"{node.name}: {node.message.rstrip('.')}" for node in failed[:SHOWN])
    more = f"; and {len(failed) - SHOWN} more" if len(failed) > SHOWN else ""
    if exit_code == 0 and by_dagman:
        all_the_same = f" Failed all the same: {shown}{more}." if failed else ""
        return statuses.COMPLETE, f"DAGMan ended with success: {counted}.{all_the_same}"
    text = f"Failed: {shown}{more}. " if failed else ""
    text += f"{counted}. Fix the cause, then call resubmit() to continue from there."
    return (statuses.VARIOUS_COMPLETE if done else statuses.ERROR), text


def _meant(node: NodeRecord) -> bool:
    return node.spec.get("abort_dag_on") is not None and node.spec.get("abort_dag_on_return_value") == 0


def _ended(node: NodeRecord) -> bool:
    """Whether a node ended in the way that ends the workflow: an exit code of 0 is its success."""
    return node.status == (statuses.ERROR if node.spec.get("abort_dag_on") else statuses.COMPLETE)
