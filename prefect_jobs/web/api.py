"""The JSON API: what table and page do, for programs."""

import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from anyio.to_thread import run_sync
from starlette.responses import JSONResponse, Response

from prefect_jobs.jobs.base import Job
from prefect_jobs.naming import number_of
from prefect_jobs.runtime.wiring import get_runtime
from prefect_jobs.web import bodies, doing, listing, looks, queries
from prefect_jobs.web.actions import BUILT_IN, DOING
from prefect_jobs.web.problems import Problem, no_job
from prefect_jobs.web.rows import node_totals, why_not
from prefect_jobs.web.site import Site
from prefect_jobs.web.visits import Visit

#: Columns of the CSV.
_IN_CSV = (
    "id",
    "name",
    "description",
    "user",
    "app",
    "type",
    "status",
    "status_message",
    "scheduler",
    "remote_id",
    "creation_time",
    "execute_time",
    "start_time",
    "completion_time",
    "run_time",
    "wait_time",
)
#: Jobs of one action on all that match, at most.
MOST_AT_ONCE = 10_000


async def session(visit: Visit) -> Response:
    """``GET /api/session``."""
    return JSONResponse({"user": visit.visitor.name, "csrf_token": visit.csrf_token()})


async def jobs(visit: Visit) -> Response:
    """``GET /api/jobs``."""
    wanted = _asked(visit)
    found = await listing.read(visit, wanted)
    totals = await run_sync(node_totals, found.jobs)
    end = wanted.offset + len(found.jobs)
    more = queries.addresses(visit.request.query_params, offset=end, page=None) if end < found.count else None
    return _tagged(
        visit,
        {
            "jobs": [looks.as_json(job, totals.get(job.id or 0, {})) for job in found.jobs],
            "count": found.count,
            "totals": found.totals,
            "next": None if more is None else f"{visit.base}api/jobs?{more}",
        },
    )


async def csv_of_jobs(visit: Visit) -> Response:
    """``GET /api/jobs.csv``: all jobs that match."""
    wanted = _asked(visit, "page", "offset", "limit")
    wanted.limit = MOST_AT_ONCE
    found = await listing.read(visit, wanted)
    if found.count > MOST_AT_ONCE:
        raise Problem(400, f"{found.count} jobs match; a file has {MOST_AT_ONCE} at most. Ask for fewer.")
    text = await run_sync(_csv, found.jobs)
    headers = {"Content-Disposition": 'attachment; filename="jobs.csv"'}
    return Response(text, media_type="text/csv; charset=utf-8", headers=headers)


def _csv(found: Sequence[Job]) -> str:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(_IN_CSV)
    for each in found:
        data = looks.as_json(each, {})
        writer.writerow([_plain(data[name]) for name in _IN_CSV])
    return out.getvalue()


def _plain(value: Any) -> Any:
    """A text that a spreadsheet does not take for a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


async def job(visit: Visit) -> Response:
    """``GET /api/jobs/<id>``."""
    found = await visit.job(visit.request.path_params["job_id"])
    return _tagged(visit, await whole(found, visit))


async def whole(found: Job, visit: Visit) -> dict[str, Any]:
    """A job with its actions and its history."""
    totals = await run_sync(node_totals, [found])
    data = await run_sync(lambda: looks.as_json(found, totals.get(found.id or 0, {}), whole=True))
    data["history"] = [
        {"time": entry.time.isoformat(), "status": entry.status, "message": entry.message, "who": entry.who}
        for entry in await run_sync(lambda: found.history)
    ]
    data["actions"] = [await _possible(name, found, visit) for name in DOING]
    return data


async def _possible(name: str, found: Job, visit: Visit) -> dict[str, Any]:
    reason = await why_not(name, found, visit)
    return {"name": name, "label": BUILT_IN[name].label, "enabled": not reason, "reason": reason}


class Actions:
    """The actions, which know the tables of the app."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def one(self, visit: Visit) -> Response:
        """``POST /api/jobs/<id>/actions/<name>``."""
        given = await bodies.read(visit.request)
        visit.check_origin(given.get("csrf_token"))
        found = await self.act(visit, given)
        if found is None:
            return JSONResponse({"id": number_of(visit.request.path_params["job_id"]), "deleted": True})
        return JSONResponse(await whole(found, visit))

    async def act(self, visit: Visit, given: Mapping[str, str]) -> Job | None:
        """Carries out the action of an address; the job afterwards, ``None``: it was deleted."""
        name, job_id = visit.request.path_params["name"], visit.request.path_params["job_id"]
        chosen = doing.choose(name, given, self._site, await visit.job(job_id))
        found = await visit.job(job_id, chosen.permission)
        number = found.id or 0
        await doing.do(found, name, chosen, given)
        fresh = await run_sync(get_runtime().store.get, number)
        return None if fresh is None else get_runtime().job(fresh)

    async def many(self, visit: Visit) -> Response:
        """``POST /api/actions/<name>``: of the jobs ``ids``, or of ``all`` that the address asks for."""
        given = await bodies.read(visit.request)
        visit.check_origin(given.get("csrf_token"))
        outcomes = await act_on_all(visit, given)
        return JSONResponse({"results": [each.as_json() for each in outcomes]})


async def act_on_all(visit: Visit, given: bodies.Given) -> list[doing.Outcome]:
    """Carries an action out on many jobs.

    Raises:
        Problem: 400, a bad id, or too many jobs; 404, no such action.
    """
    name = visit.request.path_params["name"]
    if name not in DOING:
        raise Problem(404, f"There is no action {name!r} for many jobs. Valid: {', '.join(DOING)}.")
    if given.get("all") == "1":
        ids = await listing.all_ids(visit, _asked(visit), MOST_AT_ONCE)
        if len(ids) > MOST_AT_ONCE:
            raise Problem(400, f"More than {MOST_AT_ONCE} jobs match, which is too many at once. Ask for fewer.")
    else:
        ids = [_number(text) for text in dict.fromkeys(given.ids)]
    found = {each.id: each for each in await run_sync(doing.jobs_by_id, ids)}
    outcomes = []
    for job_id in ids:
        each = found.get(job_id)
        if each is None or not await visit.sees(each):
            outcomes.append(doing.Outcome(job_id, "", no_job(job_id).detail))
        else:
            outcomes += await doing.do_to_all(visit, [each], name, given)
    return outcomes


def _asked(visit: Visit, *without: str) -> queries.Wanted:
    """What the address asks for.

    Raises:
        Problem: 400, it cannot be read.
    """
    wanted = queries.read(queries.without(visit.request.query_params, "columns", *without))
    if wanted.problems:
        raise Problem(400, " ".join(wanted.problems))
    return wanted


def _number(text: str) -> int:
    number = number_of(text)
    if number is None:
        raise Problem(400, f"An id is a whole number, not {text[:40]!r}.")
    return number


def _tagged(visit: Visit, data: Any) -> Response:
    """With an ETag: who asks again gets 304 if nothing has changed but the times that tick."""
    body = json.dumps(data, ensure_ascii=False).encode()
    still = json.dumps(_without_ticks(data), ensure_ascii=False).encode()
    tag = f'"{hashlib.sha256(still).hexdigest()[:20]}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if visit.request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)


#: What changes all the time while a job runs.
_TICKS = ("run_time", "wait_time", "wall_seconds", "efficiency")


def _without_ticks(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {name: _without_ticks(value) for name, value in data.items() if name not in _TICKS}
    return [_without_ticks(value) for value in data] if isinstance(data, list) else data
