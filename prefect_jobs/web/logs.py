"""The logs of a job: their names, and their ends first."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from anyio.to_thread import run_sync
from starlette.responses import JSONResponse, PlainTextResponse, Response

from prefect_jobs.errors import PrefectJobsError
from prefect_jobs.jobs.base import Job
from prefect_jobs.web.problems import Problem, of_error
from prefect_jobs.web.visits import Visit

#: Characters that are read at once.
CHUNK = 256 * 1024
#: Between the names of a node or process, and of its log.
_SEPARATOR = " / "


@dataclass(frozen=True)
class Part:
    """A part of a log."""

    text: str
    #: Its first and its last character in the whole, and the length of that.
    start: int
    end: int
    length: int


def names_of(found: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str | Callable[[], str]]]:
    """Name → text, or what reads it, of each log."""
    for name, value in found.items():
        if isinstance(value, Mapping):
            yield from names_of(value, f"{prefix}{name}{_SEPARATOR}")
        else:
            yield f"{prefix}{name}", value if callable(value) else str(value or "")


def read(job: Job) -> dict[str, str | Callable[[], str]]:
    """The logs of a job; its scheduler is asked, if it is not over.

    Raises:
        Problem: 502, the scheduler does not answer.
    """
    try:
        return dict(names_of(job.get_logs()))
    except NotImplementedError:
        return {}
    except PrefectJobsError as error:
        raise of_error(error) from error


def part(logs: Mapping[str, str | Callable[[], str]], name: str, before: int | None, after: int | None) -> Part:
    """A part of a log: its end; what is ``before`` a character, or ``after`` one.

    Raises:
        Problem: 404, there is no such log.
    """
    if name not in logs:
        raise Problem(404, f"There is no log {name[:200]!r}. There are: {', '.join(list(logs)[:50]) or 'none'}.")
    value = logs[name]
    text = value() if callable(value) else value
    length = len(text)
    if after is not None:
        start, end = min(after, length), min(after + CHUNK, length)
    else:
        end = length if before is None else min(before, length)
        start = max(0, end - CHUNK)
    return Part(text[start:end], start, end, length)


async def as_json(visit: Visit) -> Response:
    """``GET /api/jobs/<id>/logs``: the names; with ``?name=``, a part of one, with ``before`` or ``after``."""
    job = await visit.job(visit.request.path_params["job_id"], "logs")
    given = visit.request.query_params
    logs = await run_sync(read, job)
    if "name" not in given:
        return JSONResponse({"logs": list(logs), "final": job.handle.record.final})
    found = await run_sync(part, logs, given["name"], _number(given, "before"), _number(given, "after"))
    return JSONResponse(
        {
            "name": given["name"],
            "text": found.text,
            "start": found.start,
            "end": found.end,
            "length": found.length,
            "final": job.handle.record.final,
        }
    )


async def download(visit: Visit) -> Response:
    """``GET /jobs/<id>/logs/download?name=…``: the whole log."""
    job = await visit.job(visit.request.path_params["job_id"], "logs")
    name = visit.request.query_params.get("name", "")
    logs = await run_sync(read, job)
    part(logs, name, None, 0)
    value = logs[name]
    text = await run_sync(value) if callable(value) else value
    file = quote(f"job {job.id} {name.replace(_SEPARATOR, ' ')}.txt", safe=" .")
    return PlainTextResponse(text, headers={"Content-Disposition": f"attachment; filename*=UTF-8''{quote(file)}"})


def _number(given: Mapping[str, str], name: str) -> int | None:
    text = given.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 13):
        raise Problem(400, f"{name} is a whole number, not {text[:40]!r}.")
    return int(text)
