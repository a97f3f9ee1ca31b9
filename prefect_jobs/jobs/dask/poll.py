"""Turns a Dask scheduler's answer about a job's leaves into an observation: status and message."""

import re
from collections.abc import Mapping
from typing import Any

from prefect_jobs import statuses
from prefect_jobs.jobs.dask.state import DaskState, encode
from prefect_jobs.jobs.observation import Observation
from prefect_jobs.noted import Outcome

_AGAIN_TEXT = "resubmit() runs it again if its graph is kept."
FORGOTTEN = f"The Dask scheduler was restarted and has forgotten the work. {_AGAIN_TEXT}"


def conclude(state: DaskState, found: Mapping[str, Any]) -> Observation:
    """The observation for a job. Pure.

    Args:
        state: the stored state of the submission.
        found: the scheduler's answer; without an id, the process with the cluster has ended.
    """
    if found["id"] is None:
        text = f"The process with the local cluster that ran it has ended. {_AGAIN_TEXT}"
        return Observation(statuses.ERROR, text, encode(released=True), crashed=True)
    if found["id"] != state.scheduler_id:
        return Observation(statuses.ERROR, FORGOTTEN, encode(released=True), crashed=True)
    leaves = found["leaves"]
    states = [_status_of(leaf) for leaf in leaves]
    kinds = set(states)
    if kinds == {statuses.ABORTED}:
        text = "Cancelled on the cluster, or lost in a restart of its workers (client.restart())."
        return Observation(statuses.ABORTED, text, encode(released=True))
    over = kinds <= {statuses.COMPLETE, statuses.ERROR, statuses.ABORTED}
    if over and statuses.COMPLETE not in kinds:
        return Observation(statuses.ERROR, _failures(leaves), encode(failed=True))
    if over:
        status = statuses.COMPLETE if kinds == {statuses.COMPLETE} else statuses.VARIOUS_COMPLETE
        outcome = Outcome(status, "" if status == statuses.COMPLETE else _failures(leaves))
        done = [number for number, each in enumerate(states) if each == statuses.COMPLETE]
        native = encode(outcome=outcome, done=done)
        return Observation(statuses.RESULTS_READY, "The work is over; its result is being fetched.", native)
    if not found["workers"]:
        return Observation(_one_of(kinds), "The cluster has no workers at the moment.")
    failed = _failures(leaves).splitlines()[0] if statuses.ERROR in kinds else ""
    return Observation(_one_of(kinds), failed or "")


def _status_of(leaf: Mapping[str, Any] | None) -> str:
    """A leaf's status; one that the scheduler no longer has was cancelled."""
    state = (leaf or {}).get("state", "forgotten")
    if state == "forgotten":
        return statuses.ABORTED
    if state == "memory":
        return statuses.COMPLETE
    if state == "erred":
        return statuses.ERROR
    return statuses.RUNNING if (leaf or {}).get("begun") else statuses.SUBMITTED


def _one_of(kinds: set[str]) -> str:
    return next(iter(kinds)) if len(kinds) == 1 else statuses.VARIOUS


_ADVICE = (
    (
        re.compile(r"KilledWorker"),
        "The workers that ran it died, most often out of memory: give them more, or split the work.",
    ),
    (
        re.compile(r"ModuleNotFoundError|No module named|ImportError"),
        "The workers cannot import it: install it on them, or upload it with client.upload_file().",
    ),
    (
        re.compile(r"Can't get (local )?(attribute|object)|__main__"),
        "The workers cannot find the function: move it into a module that is installed on them, too.",
    ),
    (re.compile(r"[Cc]ould not serialize|cannot pickle|Can't pickle"), "What it returns must be picklable."),
)


def _failures(leaves: list[Mapping[str, Any] | None]) -> str:
    """What failed, for the person who fixes it; the tracebacks follow."""
    failed = [leaf for leaf in leaves if leaf is not None and leaf.get("state") == "erred"]
    lines = [str(leaf["error"]) + (f" (in {leaf['blamed']})" if len(leaves) > 1 else "") for leaf in failed[:5]]
    if len(failed) > len(lines):
        lines.append(f"and {len(failed) - len(lines)} more")
    cancelled = sum(leaf is None or leaf.get("state") == "forgotten" for leaf in leaves)
    if cancelled:
        lines.append(f"{cancelled} cancelled")
    text = "; ".join(lines)
    advice = next((words for pattern, words in _ADVICE if pattern.search(text)), "")
    traces = [str(leaf["traceback"]).rstrip() for leaf in failed[:5] if leaf.get("traceback")]
    return "\n".join([f"{text}. {advice}".strip() if advice else text, *traces])
