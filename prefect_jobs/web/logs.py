"""The logs of a job: their names, and their ends first."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any
from urllib.parse import quote

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response

from prefect_jobs.errors import PrefectJobsError
from prefect_jobs.jobs import polling
from prefect_jobs.jobs.base import Job
from prefect_jobs.jobs.log_file import LogFile, LogPart, part_of
from prefect_jobs.web import ansi
from prefect_jobs.web.files import is_readable
from prefect_jobs.web.problems import Problem, of_error
from prefect_jobs.web.visits import Visit

log = logging.getLogger(__name__)

#: Bytes that are read at once.
CHUNK = 256 * 1024
#: Between the names of a node or process, and of its log.
_SEPARATOR = " / "
#: Calls at once that ask schedulers.
_THREADS = 8
#: Seconds for which an answer of a scheduler is shared.
_SHARED = 10.0
Log = str | Callable[[], str]


@cache
def _limiter(_loop: int) -> CapacityLimiter:
    return CapacityLimiter(_THREADS)


def threads() -> CapacityLimiter:
    """The threads for calls that ask a scheduler: one that does not answer must not block the others."""
    return _limiter(id(asyncio.get_running_loop()))


def names_of(found: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Log]]:
    """Name → text, or what reads it, of each log."""
    for name, value in found.items():
        if isinstance(value, Mapping):
            yield from names_of(value, f"{prefix}{name}{_SEPARATOR}")
        else:
            yield f"{prefix}{name}", value if callable(value) else str(value or "")


class _Read:
    """One reading of the logs of a job: for all who ask within :data:`_SHARED` seconds."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self.until = time.monotonic() + _SHARED
        self._lock = threading.Lock()
        self._answer: dict[str, Log] | Problem | None = None

    def answer(self) -> dict[str, Log]:
        """The logs; the first one who asks waits for the scheduler, and the others for that one.

        Raises:
            Problem: the scheduler does not answer.
        """
        with self._lock:
            if self._answer is None:
                try:
                    self._answer = {name: _once(value) for name, value in _ask(self._job).items()}
                except Problem as problem:
                    self._answer = problem
                self.until = time.monotonic() + _SHARED
        if isinstance(self._answer, Problem):
            raise Problem(self._answer.status, self._answer.detail)
        return self._answer


#: By installation, job and attempt.
_reads: dict[tuple[Any, int, int], _Read] = {}
_lock = threading.Lock()


def read(job: Job) -> dict[str, Log]:
    """The logs of a job; its scheduler is asked, if it is not over. Those who follow a log share its answers; what is
    in a file of this machine is read each time.

    Raises:
        Problem: 502, the scheduler does not answer.
    """
    record = job.handle.record
    if record.final:
        return _ask(job)
    key, now = (job.handle.backend, record.id, record.state.attempt), time.monotonic()
    with _lock:
        for known in [known for known, one in _reads.items() if one.until < now]:
            del _reads[known]
        mine = _reads.setdefault(key, _Read(job))
    return mine.answer()


def _once(value: Log) -> Log:
    """What is asked of a scheduler is asked once."""
    return value if isinstance(value, str | LogFile) else cache(value)


def _ask(job: Job) -> dict[str, Log]:
    try:
        polling.refresh(job)
        return dict(names_of(job.hooks.log_files(job.engine)))
    except NotImplementedError:
        return {}
    except PrefectJobsError as error:
        raise of_error(error) from error
    except Exception as error:  # of a type of the app
        log.exception("The logs of job %s cannot be read", job.id)
        raise Problem(500, f"The logs cannot be read: {error or type(error).__name__}") from error


def part(logs: Mapping[str, Log], name: str, before: int | None, after: int | None) -> LogPart:
    """A part of a log: its end; what is ``before`` a byte, or ``after`` one.

    Raises:
        Problem: 404, there is no such log.
    """
    if name not in logs:
        raise Problem(404, f"There is no log {name[:200]!r}. There are: {', '.join(list(logs)[:50]) or 'none'}.")
    value = logs[name]
    if isinstance(value, LogFile):
        return value.part(CHUNK, before, after)
    return part_of(value() if callable(value) else value, CHUNK, before, after)


async def as_json(visit: Visit) -> Response:
    """``GET /api/jobs/<id>/logs``: the names; with ``?name=``, a part of one, with ``before`` or ``after``."""
    job = await visit.job(visit.request.path_params["job_id"], "logs")
    given = visit.request.query_params
    logs = await run_sync(read, job, limiter=threads())
    if "name" not in given:
        return JSONResponse({"logs": list(logs), "final": job.handle.record.final})
    found = await run_sync(part, logs, given["name"], number(given, "before"), number(given, "after"))
    return JSONResponse(
        {
            "name": given["name"],
            "text": found.text,
            "html": ansi.as_html(found.text),
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
    logs = await run_sync(read, job, limiter=threads())
    if name not in logs:
        raise Problem(404, f"There is no log {name[:200]!r}.")
    value, file = logs[name], f"job {job.id} {name.replace(_SEPARATOR, ' ')}.txt"
    if isinstance(value, LogFile) and len(value.paths) == 1 and is_readable(value.paths[0]):
        return FileResponse(value.paths[0], media_type="text/plain; charset=utf-8", filename=file)
    text = await run_sync(value) if callable(value) else value
    return PlainTextResponse(text, headers={"Content-Disposition": f"attachment; filename*=UTF-8''{quote(file)}"})


def number(given: Mapping[str, str], name: str) -> int | None:
    """A number of an address.

    Raises:
        Problem: 400, it is none.
    """
    text = given.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise Problem(400, f"{name} is a whole number, not {text[:40]!r}.")
    return int(text)
