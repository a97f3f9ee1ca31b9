"""The pages: all jobs, one job, its logs and files. They work without JavaScript."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, RedirectResponse, Response

from prefect_jobs import statuses
from prefect_jobs.jobs.base import Job
from prefect_jobs.jobs.condor.job import CondorJob
from prefect_jobs.naming import number_of
from prefect_jobs.projection.dag import parents_of
from prefect_jobs.runtime.wiring import get_runtime
from prefect_jobs.web import amounts, api, bodies, doing, files, graph, listing, logs, looks, queries
from prefect_jobs.web.actions import BUILT_IN, DOING
from prefect_jobs.web.options import TableOptions, form_of, opened
from prefect_jobs.web.problems import Problem
from prefect_jobs.web.rows import rows_of
from prefect_jobs.web.site import Site, wants_json
from prefect_jobs.web.templates import STATIC, fragment, render, static_hash
from prefect_jobs.web.visits import Visit

#: Columns of the page of all jobs that can be chosen: field → heading. The first ones are shown by default.
COLUMNS: Mapping[str, str] = {
    "id": "Id",
    "name": "Name",
    "user": "User",
    "creation_time": "Created",
    "run_time": "Run time",
    "label": "App",
    "type": "Type",
    "scheduler": "Scheduler",
    "description": "Description",
    "wait_time": "Waited",
    "execute_time": "Submitted",
    "start_time": "Started",
    "completion_time": "Ended",
    "remote_id": "At the scheduler",
    "schedule": "Schedule",
}
#: Characters of the query of a page, which repeats it in its links.
_LONGEST = 2_000
#: Words of an address that leave no job out, but by its status.
_NO_FILTERS = {"status", "order_by", "columns", "page", "limit", "offset"}
#: The cookie with the columns that were chosen.
_COLUMNS = "prefect_jobs_columns"
_SHOWN = ("id", "name", "user", "creation_time", "run_time")
_ACTIONS = ("run", "resubmit", "pause", "resume", "|", "logs", "|", "terminate", "delete")
#: Columns by which the database can order.
_ORDERED = frozenset(COLUMNS) - {"run_time", "wait_time"}
_KINDS = {"jobs.css": "text/css", "jobs.js": "text/javascript", "icon.svg": "image/svg+xml"}


def options_of(columns: tuple[str, ...] = _SHOWN) -> TableOptions:
    """What the page of all jobs shows."""
    return TableOptions(
        columns=tuple((COLUMNS[name], name) for name in columns), actions=_ACTIONS, select=True, link=True
    )


class Views:
    """The pages of one web part."""

    def __init__(self, site: Site) -> None:
        self._actions = api.Actions(site)
        self._site = site

    async def jobs(self, visit: Visit) -> Response:
        """``GET /``."""
        params = visit.request.query_params
        if len(visit.request.url.query) > _LONGEST:
            raise Problem(414, f"The address has more than {_LONGEST} characters.")
        chosen, asked = _columns(visit)
        wanted = queries.read(queries.without(params, "columns"))
        found = await listing.read(visit, wanted)
        options = options_of(chosen)
        rows = await rows_of(found.jobs, options, visit, visit.base)
        official = [name for _, name in statuses.STATUSES if name != statuses.OTHER]
        names = [*official, *sorted({*found.totals} - {*official})]
        answer = await render(
            "jobs.html",
            visit,
            rows=rows,
            options=options,
            sealed=options.sealed(),
            found=found,
            wanted=wanted,
            params=params,
            shown=chosen,
            columns=COLUMNS,
            ordered=_ORDERED,
            statuses=names,
            classes={name: looks.status_class(statuses.parse(name)) for name in names},
            # What the events tell of all jobs holds for this page.
            whole=not {name for name, value in params.multi_items() if value}
            - {"status", "order_by", "columns", "page", "limit", "offset"},
            newest=max((row.id for row in rows), default=0) if wanted.offset == 0 else None,
            many=[BUILT_IN[name] for name in ("terminate", "pause", "resume", "resubmit", "delete")],
            address=lambda **changed: f"?{queries.addresses(params, **changed)}",
        )
        if asked:
            value = f"{_COLUMNS}={'.'.join(chosen)}; Path=/; Max-Age=31536000; HttpOnly; SameSite=Lax"
            answer.headers.append("Set-Cookie", value)
        return answer

    async def rows(self, visit: Visit) -> Response:
        """``GET /rows?table=…&ids=…``: some rows again."""
        given = visit.request.query_params
        options = opened(given.get("table", ""))
        if options is None:
            raise Problem(400, "The table is not known any more. Load the page again.")
        options = doing.with_functions(options, self._site)
        ids = [number for text in given.get("ids", "").split(",")[:200] if (number := number_of(text)) is not None]
        found = []
        for job in await run_sync(doing.jobs_by_id, ids):
            if await visit.sees(job):
                found.append(job)
        values = {
            "rows": await rows_of(found, options, visit, visit.base),
            "options": options,
            "base": visit.base,
            # Of our own pages, or of a table in one of the app's.
            "form": "pj-act" if options.link or not options.columns else form_of(given["table"]),
        }
        return HTMLResponse(fragment("rows.html", **values))

    async def job(self, visit: Visit) -> Response:
        """``GET /jobs/<id>/``."""
        job = await visit.job(visit.request.path_params["job_id"])
        folder = visit.request.query_params.get("folder", "")
        options = TableOptions(columns=(), actions=_ACTIONS)
        (row,) = await rows_of([job], options, visit, visit.base)
        details = await run_sync(_details, job, folder if await visit.may("logs", job) else None, visit.base)
        return await render("job.html", visit, job=job, row=row, options=options, sealed=options.sealed(), **details)

    async def details(self, visit: Visit) -> Response:
        """``GET /jobs/<id>/details``: a part of the page, for an open row."""
        job = await visit.job(visit.request.path_params["job_id"])
        found = await run_sync(_details, job, None, visit.base)
        return HTMLResponse(fragment("inside.html", base=visit.base, **found))

    async def logs(self, visit: Visit) -> Response:
        """``GET /jobs/<id>/logs/``."""
        job = await visit.job(visit.request.path_params["job_id"], "logs")
        problem, found = "", {}
        try:
            found = await logs.read(job)
        except Problem as error:
            problem = error.detail
        given = visit.request.query_params
        wanted = given.get("name", "")
        if wanted and wanted not in found and found:
            problem = f"There is no log {wanted[:200]!r} yet."
        first = next((name for name in found if not name.endswith("log")), next(iter(found), ""))
        name = wanted if wanted in found else first
        before = logs.number(given, "before")
        part = None
        if name:
            part = await run_sync(logs.part, found, name, before, None)
        return await render(
            "logs.html", visit, job=job, names=list(found), name=name, part=part, problem=problem, chunk=logs.CHUNK
        )

    async def act(self, visit: Visit) -> Response:
        """``POST /jobs/<id>/actions/<name>``: a form, or a program that wants JSON."""
        if wants_json(visit.request):
            return await self._actions.one(visit)
        given = await bodies.read(visit.request)
        visit.check_origin(given.get("csrf_token"))
        name = visit.request.path_params["name"]
        job = await visit.job(visit.request.path_params["job_id"])
        chosen = doing.choose(name, given, self._site, job)
        back = _back(visit, given)
        if (chosen.question or name == "resubmit") and not given.get("confirmed"):
            await visit.job(str(job.id), chosen.permission)
            asked = {"question": chosen.question, "label": chosen.label, "name": name}
            return await render("confirm.html", visit, jobs=[job], back=back, given=given, ids=[], **asked)
        after = await self._actions.act(visit, given)
        if after is None and f"/jobs/{job.id}/" in back:
            back = visit.base
        return RedirectResponse(back, 303)

    async def act_on_many(self, visit: Visit) -> Response:
        """``POST /actions/<name>``."""
        if wants_json(visit.request):
            return await self._actions.many(visit)
        given = await bodies.read(visit.request)
        visit.check_origin(given.get("csrf_token"))
        name, back = visit.request.path_params["name"], _back(visit, given)
        action = BUILT_IN.get(name)
        if action is None or name not in DOING:
            raise Problem(404, f"There is no action {name!r}.")
        if not given.ids and given.get("all") != "1":
            raise Problem(400, "No job is selected. Go back and select some.")
        if not given.get("confirmed"):
            number = len(given.ids)
            if given.get("all") == "1":
                wanted = queries.read(visit.request.query_params)
                number = len(await listing.all_ids(visit, wanted, api.MOST_AT_ONCE))
            question = f"{action.label} {number} jobs?"
            asked = {"question": question, "label": action.label, "name": name, "ids": given.ids}
            return await render("confirm.html", visit, jobs=[], back=back, given=given, **asked)
        outcomes = await api.act_on_all(visit, given)
        return await render("results.html", visit, outcomes=outcomes, label=action.label, back=back)


async def static_file(request: Request) -> Response:
    """``GET /static/<hash>/<name>``: for everyone."""
    name = request.path_params["name"]
    if name not in _KINDS:
        return PlainTextResponse("There is no such file.", 404)
    same = request.path_params["hash"] == static_hash()
    kept = "public, max-age=31536000, immutable" if same else "no-cache"
    headers = {"Cache-Control": kept, "X-Content-Type-Options": "nosniff"}
    return FileResponse(STATIC / name, media_type=_KINDS[name], headers=headers)


def _columns(visit: Visit) -> tuple[tuple[str, ...], bool]:
    """The columns of the page of all jobs, and whether the address names them; else they are those of the last time."""
    given = [name for text in visit.request.query_params.getlist("columns") for name in text.split(",")]
    kept = visit.request.cookies.get(_COLUMNS, "").split(".")
    chosen, remembered = (tuple(name for name in COLUMNS if name in names) for names in (given, kept))
    return chosen or remembered or _SHOWN, bool(chosen)


def _back(visit: Visit, given: Mapping[str, str]) -> str:
    """Where a form leads after it was sent: a page of this site."""
    for text in (given.get("next", ""), visit.request.headers.get("referer", "")):
        try:
            parts = urlsplit(text)
        except ValueError:
            continue
        here = parts.netloc in ("", visit.request.headers.get("host"))
        if here and parts.path.startswith("/") and not parts.path.startswith(("//", "/\\")):
            return parts.path + (f"?{parts.query}" if parts.query else "")
    return visit.base


def _details(job: Job, folder: str | None, base: str) -> dict[str, Any]:
    record = job.handle.record
    items = {
        number: ", ".join(f"{name}={value}" for name, value in item.items())
        for number, item in enumerate(job.items if isinstance(job, CondorJob) else ())
    }
    nodes = get_runtime().store.nodes(record.id) if record.type == "CONDORWORKFLOW" else []
    return {
        "record": record,
        "history": job.history,
        "messages": get_runtime().jobs.messages(record.id)[-200:],
        "nodes": nodes,
        "graph": graph.svg(nodes, lambda name: f"{base}jobs/{record.id}/logs/?name={quote(f'{name} / output')}"),
        "node_classes": {node.name: looks.status_class(statuses.parse(node.status)) for node in nodes},
        "parents": parents_of(nodes),
        "procs": record.native.get("procs") or [],
        "items": items,
        "folder": None if folder is None else files.listed(job, folder),
        "flow_run_url": job.handle.backend.site.flow_run_url(record.flow_run_id) if record.flow_run_id else None,
        "requested": _requested(record.spec.get("attributes") or {}),
        **amounts.of(job),
        "waits": looks.waits_of(record),
        "parameters": {
            name: value
            for name, value in record.spec.items()
            if value not in (None, "", [], {}) and not (items and name == "items")
        },
        "dashboard": record.noted.dashboard,
        "run_time": looks.duration(looks.seconds(job.run_time)),
        "wait_time": looks.duration(looks.seconds(job.wait_time)),
    }


def _requested(attributes: Mapping[str, Any]) -> str:
    """The resources that the user has asked for."""
    given = {str(name).lower(): value for name, value in attributes.items()}
    found = [
        f"{given[f'request_{name}']} {unit}".strip()
        for name, unit in (("cpus", "CPUs"), ("memory", "of memory"), ("disk", "of disk"), ("gpus", "GPUs"))
        if given.get(f"request_{name}") not in (None, "")
    ]
    return ", ".join(found)
