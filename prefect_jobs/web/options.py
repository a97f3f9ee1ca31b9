"""What a table shows, as a text that a browser sends back when rows have changed: any worker can render them."""

import importlib
import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from prefect_jobs.jobs import hooks
from prefect_jobs.jobs.base import Job
from prefect_jobs.web import signing
from prefect_jobs.web.actions import Wanted
from prefect_jobs.web.custom import CustomJobAction

log = logging.getLogger(__name__)

#: Functions that no other process can find, by keys that no other process has.
_local: dict[str, Callable[..., Any]] = {}
_MOST = 200


@dataclass(frozen=True)
class TableOptions:
    """Columns and actions of a table."""

    #: Heading and field of each column.
    columns: tuple[tuple[str, str], ...]
    actions: tuple[Wanted, ...]
    show_status: bool = True
    show_actions: bool = True
    #: Rows can be selected.
    select: bool = False
    #: Names are links to the page of the job.
    link: bool = False
    monitor_url: str = ""
    results_url: str = ""
    #: Details are open at first.
    detailed: bool = False

    @property
    def num_cols(self) -> int:
        """The number of columns, with those for status and actions."""
        return len(self.columns) + self.show_status + self.show_actions + self.select

    def sealed(self) -> str:
        """The text."""
        return signing.sign(
            "table",
            {
                "columns": self.columns,
                "actions": [each if isinstance(each, str) else _packed(each) for each in self.actions],
                "status": self.show_status,
                "menu": self.show_actions,
                "select": self.select,
                "link": self.link,
                "monitor": self.monitor_url,
                "results": self.results_url,
                "detailed": self.detailed,
            },
        )


def form_of(sealed: str) -> str:
    """The id of the form with which the actions of a table are sent."""
    return f"pj-act-{sealed[-8:]}"


def opened(text: str) -> TableOptions | None:
    """The inverse of :meth:`TableOptions.sealed`; ``None``: it was not made here."""
    found = signing.read("table", text)
    if not isinstance(found, Mapping):
        return None
    try:
        actions = tuple(each if isinstance(each, str) else _unpacked(each) for each in found["actions"])
    except (ValueError, ImportError, AttributeError) as error:  # a function was renamed meanwhile
        log.warning("A table of an earlier version of the app is asked for: %s", error)
        return None
    return TableOptions(
        columns=tuple((heading, name) for heading, name in found["columns"]),
        actions=actions,
        show_status=found["status"],
        show_actions=found["menu"],
        select=found["select"],
        link=found["link"],
        monitor_url=found["monitor"],
        results_url=found["results"],
        detailed=found["detailed"],
    )


def _packed(action: CustomJobAction) -> dict[str, Any]:
    question = action.confirmation_message
    return {
        "label": action.label,
        "target": _name_of(action.callback_or_url, action.label),
        "enabled": _name_of(action.enabled_callback, action.label),
        "question": None if question is None else str(question),
        "markup": isinstance(question, Markup),
        "overlay": action.show_overlay,
        "modal": action.modal_url,
        "type": None if action.job_type is None else f"{action.job_type.__module__}.{action.job_type.__qualname__}",
    }


def _unpacked(found: Mapping[str, Any]) -> CustomJobAction:
    question = found["question"]
    return CustomJobAction(
        found["label"],
        _function(found["target"]),
        _function(found["enabled"]),
        Markup(question) if found["markup"] and question is not None else question,  # noqa: S704 (it was Markup)
        found["overlay"],
        found["modal"],
        _class(found["type"]),
    )


def _name_of(target: str | Callable[..., Any] | None, label: str) -> Any:
    if target is None or isinstance(target, str):
        return target
    try:
        return {"path": hooks.dotted_path(target)}
    except ValueError as error:
        key = next((key for key, known in _local.items() if known is target), None)
        if key is None:
            log.warning("The action %r works in this process only: %s", label, error)
            key = secrets.token_hex(16)
            _local[key] = target
            if len(_local) > _MOST:  # of tables that each request makes
                del _local[next(iter(_local))]
        return {"local": key}


def _function(found: Any) -> Any:
    if not isinstance(found, Mapping):
        return found
    if "path" in found:
        return hooks.import_function(found["path"])
    return _local.get(found["local"], _gone)


def _gone(*_: Any) -> bool:
    """Stands for a function of another process."""
    raise ValueError(
        "Another process has made this table, and the function of the action cannot be imported. Give the action to "
        "routes(tables=…), or define the function in a module."
    )


def _class(path: str | None) -> type[Job] | None:
    if path is None:
        return None
    module, _, name = path.rpartition(".")
    found: type[Job] = getattr(importlib.import_module(module), name)
    return found
