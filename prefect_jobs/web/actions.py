"""The actions of a job in table, page and API: the built-in ones, and those of apps."""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from prefect_jobs import statuses
from prefect_jobs.jobs.base import Job
from prefect_jobs.jobs.possible import possible, title_of
from prefect_jobs.jobs.workflow.job import CondorWorkflow
from prefect_jobs.naming import unique_name
from prefect_jobs.web.custom import CustomJobAction

SEPARATOR = "|"
DEFAULT = ("run", "resubmit", SEPARATOR, "logs", "monitor", "results", SEPARATOR, "terminate", "delete")
#: Calls in reasons → what people press.
_WORDS = {
    "Call stop() first.": "Terminate it first.",
    "Call execute().": "Run it.",
    "Call resubmit() to run it again, or create a new job.": "Resubmit it.",
    " Call wait() or delete().": "",
}
#: Prefix of the names of an app's actions in ``permission``, and of their addresses.
CUSTOM, CUSTOM_PATH = "custom:", "custom/"


@dataclass(frozen=True)
class BuiltIn:
    """An action that every job has, or may have."""

    name: str
    label: str
    #: Does it; ``None``: it is a link.
    call: Callable[[Job, Mapping[str, str]], Any] | None
    #: Why it is not possible now; empty: it is.
    why_not: Callable[[Job], str]
    question: str = ""


def _refusal(action: str) -> Callable[[Job], str]:
    def why_not(job: Job) -> str:
        record = job.handle.record
        found = possible(action, record, job.abilities)
        return "" if found is None else _as_read(found.reason.replace(title_of(record), "The job"))

    return why_not


def _as_read(text: str) -> str:
    """A reason in the words of the menu, not of the Python API."""
    for call, words in _WORDS.items():
        text = text.replace(call, words)
    return text


def _run_refused(job: Job) -> str:
    if job.handle.record.type == "DASK":
        return "The work of a Dask job is in the app, which executes it."
    if job.handle.record.state.status != statuses.PENDING:
        return f"The job is {job.cached_status!r}; only a job that is Pending can be run."
    return _refusal("execute")(job)


def _stop_refused(job: Job) -> str:
    if job.handle.record.state.status == statuses.PENDING:
        return "The job was not submitted yet."
    return _refusal("stop")(job)


def _delete_refused(job: Job) -> str:
    status = job.handle.record.state.as_status
    if status.kind.active or status.text == statuses.RESULTS_READY:
        return f"The job is {status.text!r}. Terminate it first."
    return ""


def _results_refused(job: Job) -> str:
    return "" if job.handle.record.state.as_status.kind.terminal else "The job is not over."


def _monitor_refused(job: Job) -> str:
    return "" if job.handle.record.state.as_status.kind.running else "The job is not running."


def _logs_refused(job: Job) -> str:
    return "" if job.handle.record.state.attempt else "The job was not submitted yet."


def _resubmit(job: Job, given: Mapping[str, str]) -> None:
    if isinstance(job, CondorWorkflow):
        job.resubmit(fresh=given.get("fresh") in ("1", "true", "on"))
    else:
        job.resubmit()


def _delete(job: Job, given: Mapping[str, str]) -> None:
    job.clean_on_delete = given.get("files", "1") not in ("0", "false", "")
    job.delete()


BUILT_IN: Mapping[str, BuiltIn] = {
    each.name: each
    for each in (
        BuiltIn("run", "Run", lambda job, _: job.execute(), _run_refused),
        BuiltIn("pause", "Pause", lambda job, _: job.pause(), _refusal("pause")),
        BuiltIn("resume", "Resume", lambda job, _: job.resume(), _refusal("resume")),
        BuiltIn("resubmit", "Resubmit", _resubmit, _refusal("resubmit")),
        BuiltIn("logs", "View Logs", None, _logs_refused),
        BuiltIn("monitor", "Monitor Job", None, _monitor_refused),
        BuiltIn("results", "View Results", None, _results_refused),
        BuiltIn(
            "terminate",
            "Terminate",
            lambda job, _: job.stop(),
            _stop_refused,
            "Are you sure you want to terminate this job?",
        ),
        BuiltIn(
            "delete",
            "Delete",
            _delete,
            _delete_refused,
            "Are you sure you want to permanently delete this job?",
        ),
    )
}
#: Those that change a job.
DOING = tuple(each.name for each in BUILT_IN.values() if each.call is not None)

Wanted = str | CustomJobAction


def wanted_of(given: Iterable[Any] | None) -> list[Wanted]:
    """The actions that a table is given: names, ``'|'``, and custom ones, also as a tuple, list or dict of arguments.

    Raises:
        ValueError: an unknown name, or something else.
    """
    found: list[Wanted] = []
    for each in DEFAULT if given is None else given:
        if isinstance(each, str):
            if each != SEPARATOR and each not in BUILT_IN:
                raise ValueError(f"There is no action {each!r}. Valid: {', '.join(BUILT_IN)}, '|', CustomJobAction.")
            found.append(each)
        elif isinstance(each, CustomJobAction):
            found.append(each)
        elif isinstance(each, Mapping):
            found.append(CustomJobAction(**each))
        elif isinstance(each, Sequence):
            found.append(CustomJobAction(*each))
        else:
            raise ValueError(f"{each!r} is no action. Valid: {', '.join(BUILT_IN)}, '|', CustomJobAction.")
    _check_alike(found)
    return found


def _check_alike(found: Sequence[Wanted]) -> None:
    custom = [each for each in found if isinstance(each, CustomJobAction)]
    for number, one in enumerate(custom):
        for other in custom[:number]:
            if slug(one.label) == slug(other.label) and _share_jobs(one.job_type or Job, other.job_type or Job):
                raise ValueError(f"The actions {other.label!r} and {one.label!r} have labels that are too alike.")


def _share_jobs(one: type[Job], other: type[Job]) -> bool:
    return issubclass(one, other) or issubclass(other, one)


@dataclass(frozen=True)
class Button:
    """An action of one job, as it is shown."""

    name: str
    label: str
    #: Why it is disabled; empty: it is not.
    why_not: str = ""
    #: Where a link leads; ``None``: it is posted.
    href: str | None = None
    question: str | Markup = ""
    overlay: bool = False
    #: Address of a page for a dialog.
    modal: str | None = None


def slug(label: str) -> str:
    """The label of a custom action as a part of its address."""
    readable = re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")
    return readable if label.isascii() and readable else unique_name(label, readable or "action")


def calls_with_status(function: Callable[..., Any]) -> bool:
    """Whether a function takes the status as a second argument."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    positional = [each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    return len(positional) > 1 or any(each.kind is each.VAR_POSITIONAL for each in parameters)
