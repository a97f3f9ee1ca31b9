"""A table of jobs for a page of an app."""

import asyncio
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from anyio.to_thread import run_sync
from markupsafe import Markup
from starlette.requests import Request

from prefect_jobs.jobs.base import Job
from prefect_jobs.threads import in_thread
from prefect_jobs.web.actions import wanted_of
from prefect_jobs.web.custom import CustomJobAction, check_address
from prefect_jobs.web.options import TableOptions, form_of
from prefect_jobs.web.problems import Problem
from prefect_jobs.web.rows import Row, node_totals, row_of, rows_of
from prefect_jobs.web.site import Site, current, site_of
from prefect_jobs.web.templates import fragment, static_hash

_DATA_TABLE = {"ordering": True, "searching": False, "paging": False, "pageLength": 10, "order": None}


class JobsTable:
    """Jobs with their statuses, which follow the jobs, and a menu of actions. In a template: ``{{ table }}``.

    Args:
        jobs: any iterable; read once.
        column_fields: fields, ``(heading, field)``, or dotted paths (``extended_properties.a.b``).
        show_status: a column with the status.
        show_actions: a column with a menu.
        monitor_url: path or name of a route (with ``job_id``) for the action ``monitor``.
        results_url: the same for ``results``.
        hover: the row under the pointer is marked.
        striped: every second row is shaded.
        bordered: cells have borders.
        condensed: rows are low.
        attributes: HTML attributes of the table.
        classes: more CSS classes.
        refresh_interval: milliseconds between two polls where there is no event stream.
        delay_loading_status: without effect: a page asks no scheduler.
        show_detailed_status: the details of rows are open at first.
        actions: names, ``'|'``, :class:`CustomJobAction` or their arguments.
        enable_data_table: a search box and ordering in the browser.
        data_table_options: ``ordering``, ``searching``, ``paging``, ``pageLength``, ``order``.
        sort: by creation time, the oldest first; or a key; ``False``: as given.
        reverse_sort: turns the order round.

    Raises:
        ValueError: a field that the jobs do not have, an unknown action, an attribute that is not allowed.
    """

    def __init__(
        self,
        jobs: Iterable[Job],
        column_fields: Sequence[str | tuple[str, str]],
        show_status: bool = True,
        show_actions: bool = True,
        monitor_url: str = "",
        results_url: str = "",
        hover: bool = False,
        striped: bool = False,
        bordered: bool = False,
        condensed: bool = False,
        attributes: Mapping[str, str] | None = None,
        classes: str = "",
        refresh_interval: int = 5000,
        delay_loading_status: bool = True,
        show_detailed_status: bool = False,
        actions: Iterable[Any] | None = None,
        enable_data_table: bool = False,
        data_table_options: Mapping[str, Any] | None = None,
        sort: bool | Callable[[Job], Any] = True,
        reverse_sort: bool = False,
    ) -> None:
        del delay_loading_status
        self.jobs = list(jobs)
        if sort:
            self.jobs.sort(key=sort if callable(sort) else lambda job: job.creation_time)
        if reverse_sort:
            self.jobs.reverse()
        columns = [_column(each) for each in column_fields]
        _check_fields([name for _, name in columns], self.jobs)
        self.actions = wanted_of(actions)
        for name, url in (("monitor", monitor_url), ("results", results_url)):
            check_address(url, name)
            if url and name not in self.actions:
                self.actions.append(name)
        self.options = TableOptions(
            columns=tuple(columns),
            actions=tuple(self.actions),
            show_status=show_status,
            show_actions=show_actions,
            monitor_url=monitor_url,
            results_url=results_url,
            detailed=show_detailed_status,
        )
        looks = {"hover": hover, "striped": striped, "bordered": bordered, "condensed": condensed}
        self.classes = " ".join([*(f"jobs-table-{name}" for name, on in looks.items() if on), *classes.split()])
        self.attributes = _checked_attributes(attributes or {})
        self.refresh_interval = refresh_interval
        self.data_table = _data_table(data_table_options or {}) if enable_data_table else None

    @property
    def column_names(self) -> list[str]:
        """The headings."""
        return [heading for heading, _ in self.options.columns]

    @property
    def column_fields(self) -> list[str]:
        """The fields."""
        return [name for _, name in self.options.columns]

    @property
    def num_cols(self) -> int:
        """The number of columns, with status and actions."""
        return self.options.num_cols

    @property
    def custom_actions(self) -> list[CustomJobAction]:
        """The actions of the app."""
        return [each for each in self.actions if isinstance(each, CustomJobAction)]

    @property
    def rows(self) -> list[Row]:
        """The rows, without actions."""
        totals = node_totals(self.jobs)
        return [row_of(job, self.options, totals.get(job.id or 0, {}), (), "/") for job in self.jobs]

    def render(self, request: Any = None) -> Markup:
        """The table as HTML.

        Args:
            request: of the page that shows it. ``None``, or a request of Django: the one that
                :class:`prefect_jobs.web.JobsMiddleware` knows. Without any the rows do not change, and have no actions.
        """
        found = self._found(request)
        if found is None:
            return self._static()
        site, base, request = found

        # In a thread with a loop of its own: a template is rendered inside the loop of the app.
        shown = self._shown(site, base, request)
        return in_thread(lambda: asyncio.run(shown), "prefect-jobs-table").result()

    async def arender(self, request: Any = None) -> Markup:
        """As :meth:`render`, without blocking the event loop. An async ``permission`` runs in it."""
        found = self._found(request)
        return await run_sync(self._static) if found is None else await self._shown(*found)

    def _found(self, request: Any) -> tuple[Site, str, Request] | None:
        """The web part with these jobs, its path, and the request that the page is for; ``None``: there is none."""
        known = request if isinstance(request, Request) else current.get()
        found = None if known is None else site_of(known, {job.label for job in self.jobs})
        return None if known is None or found is None else (*found, known)

    def _static(self) -> Markup:
        return Markup(fragment("table.html", table=self, rows=self.rows, live=None))  # noqa: S704 (our template)

    async def _shown(self, site: Site, base: str, request: Request) -> Markup:
        try:
            visit = await site.visit(request)
        except Problem:  # who is not signed in sees what the app shows, and steers nothing
            return await run_sync(self._static)
        rows = await rows_of(self.jobs, self.options, visit, base)
        sealed = self.options.sealed()
        live = {
            "base": base,
            "static": f"{base}static/{static_hash()}/",
            "csrf_token": visit.csrf_token(),
            "options": sealed,
            "form": form_of(sealed),
        }
        return Markup(fragment("table.html", table=self, rows=rows, live=live))  # noqa: S704 (our template)

    def __html__(self) -> str:
        return str(self.render())

    def __str__(self) -> Markup:
        return self.render()  # Django's templates ask for no __html__ of an object


def _column(given: str | Sequence[str]) -> tuple[str, str]:
    if isinstance(given, str):
        return given.rpartition(".")[2].replace("_", " ").title(), given
    heading, name = given
    return heading, name


def _check_fields(names: Sequence[str], jobs: Sequence[Job]) -> None:
    kinds = {type(job) for job in jobs}
    for name in names:
        first = name.partition(".")[0]
        if kinds and not any(hasattr(kind, first) or first in vars(job) for kind in kinds for job in jobs[:1]):
            known = sorted({field for kind in kinds for field in dir(kind) if _is_field(kind, field)})
            raise ValueError(f"Jobs have no field {name!r}. They have: {', '.join(known)}.")


def _is_field(kind: type[Job], name: str) -> bool:
    return not name.startswith("_") and isinstance(getattr(kind, name, None), property)


def _checked_attributes(given: Mapping[str, str]) -> dict[str, str]:
    for name in given:
        if name.lower().startswith("on") or name.lower() == "style" or not name.replace("-", "").isalnum():
            raise ValueError(f"The attribute {name!r} is not allowed: no scripts, no styles in the page.")
    return dict(given)


def _data_table(given: Mapping[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(given) - set(_DATA_TABLE))
    if unknown:
        text = f"data_table_options has no {', '.join(unknown)}. Valid: {', '.join(_DATA_TABLE)}."
        warnings.warn(text, UserWarning, stacklevel=3)
    return {**_DATA_TABLE, **{name: value for name, value in given.items() if name in _DATA_TABLE}}
