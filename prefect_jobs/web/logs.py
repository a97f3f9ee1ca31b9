"""The logs of a job: their names, and their ends first."""

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
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


@dataclass
class _Reading:
    """One question to a scheduler, for all who follow a log meanwhile and a little later."""

    loop: asyncio.AbstractEventLoop
    answer: "asyncio.Future[dict[str, Log]]"
    #: Until when it is shared (monotonic); it has no end before it has an answer.
    until: float = math.inf

    @property
    def is_lost(self) -> bool:
        """Whether it never gets an answer."""
        return self.loop.is_closed() and not self.answer.done()


#: By installation, job and attempt.
_readings: dict[tuple[Any, int, int], _Reading] = {}


async def read(job: Job) -> dict[str, Log]:
    """The logs of a job; its scheduler is asked, if it is not over. Those who follow a log share its answers; what is
    in a file of this machine is read each time.

    Raises:
        Problem: 502, the scheduler does not answer.
    """
    record, loop = job.handle.record, asyncio.get_running_loop()
    if record.final:
        return await run_sync(_ask, job, limiter=threads())
    key, now = (job.handle.backend, record.id, record.state.attempt), time.monotonic()
    for each in [each for each, one in _readings.items() if one.until < now or one.is_lost]:
        del _readings[each]
    known = _readings.get(key)
    if known is None or not (known.answer.done() or known.loop is loop):
        known = _readings[key] = _Reading(loop, asyncio.ensure_future(_shared(job)))
        known.answer.add_done_callback(partial(_begins_to_age, key, known))
    # Shielded: one who leaves must not take the answer from the others.
    return known.answer.result() if known.answer.done() else await asyncio.shield(known.answer)


def _begins_to_age(key: tuple[Any, int, int], reading: _Reading, _: object) -> None:
    reading.until = time.monotonic() + _SHARED
    if not reading.answer.cancelled():
        reading.answer.exception()  # it is seen, also if all have left
    # Texts are not kept until someone else asks.
    reading.loop.call_later(_SHARED, lambda: _readings.pop(key, None) if _readings.get(key) is reading else None)


async def _shared(job: Job) -> dict[str, Log]:
    found = await run_sync(_ask, job, limiter=threads())
    return {name: _once(value) for name, value in found.items()}


def _once(value: Log) -> Log:
    """What is asked of a scheduler is asked once, however many ask at the same time."""
    if isinstance(value, str | LogFile):
        return value
    lock = threading.Lock()
    answers: list[str] = []

    def answer() -> str:
        with lock:
            if not answers:
                answers.append(value())
        return answers[0]

    return answer


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
    before, after = number(given, "before"), number(given, "after")
    logs = await read(job)
    if "name" not in given:
        return JSONResponse({"logs": list(logs), "final": job.handle.record.final})
    found = await run_sync(part, logs, given["name"], before, after)
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
    logs = await read(job)
    if name not in logs:
        raise Problem(404, f"There is no log {name[:200]!r}.")
    value, file = logs[name], f"job {job.id} {name.replace(_SEPARATOR, ' ')}.txt"
    if type(value) is LogFile and len(value.paths) == 1 and is_readable(value.paths[0]):
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
