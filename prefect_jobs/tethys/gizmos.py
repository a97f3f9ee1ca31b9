"""The jobs table of the peer, with the keywords of its older versions."""

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

from prefect_jobs.jobs.base import Job
from prefect_jobs.web import table
from prefect_jobs.web.actions import DEFAULT

#: Keywords of before 4.0 → the action that each of them switches off; ``""``: all.
_OLD = {
    "status_actions": "",
    "run_btn": "run",
    "delete_btn": "delete",
    "show_resubmit_btn": "resubmit",
    "show_log_btn": "logs",
}


class JobsTable(table.JobsTable):
    """See :class:`prefect_jobs.web.JobsTable`."""

    def __init__(
        self, jobs: Iterable[Job], column_fields: Sequence[str | tuple[str, str]], *args: Any, **options: Any
    ) -> None:
        """
        Args:
            jobs: as there.
            column_fields: as there.
            *args: as there.
            **options: as there; ``run_btn``, ``delete_btn``, ``show_resubmit_btn``, ``show_log_btn``,
                ``status_actions`` and the action ``'log'`` with a ``DeprecationWarning``.

        Raises:
            ValueError: as there.
        """
        old = {name: options.pop(name) for name in _OLD if name in options}
        actions = options.get("actions")
        if old:
            names = ", ".join(old)
            warnings.warn(
                f"JobsTable({names}=…) is deprecated: list the actions in actions=[…].", DeprecationWarning, 2
            )
            off = {_OLD[name] for name, on in old.items() if not on}
            if "" in off:
                options["show_actions"], args = False, args[:1]
            given = DEFAULT if actions is None else actions
            actions = [each for each in given if not (isinstance(each, str) and each in off)]
        if actions is not None:
            actions = list(actions)
            if "log" in actions:
                warnings.warn("The action 'log' is deprecated: it is 'logs'.", DeprecationWarning, 2)
                actions = ["logs" if each == "log" else each for each in actions]
            options["actions"] = actions
        super().__init__(jobs, column_fields, *args, **options)
