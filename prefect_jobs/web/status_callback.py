"""The endpoint that a job calls to have its status refreshed, now or later. It neither sets nor shows a status."""

import asyncio
import logging
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import JSONResponse

from prefect_jobs import callbacks
from prefect_jobs.jobs import polling
from prefect_jobs.naming import number_of
from prefect_jobs.runtime import checks
from prefect_jobs.runtime.wiring import Runtime, get_runtime
from prefect_jobs.store.errors import JobGone

log = logging.getLogger(__name__)

#: The longest delay in seconds.
MAX_DELAY = 86_400.0
#: Seconds within which calls for the same job share one check.
_SHARED = 1.0
#: Calls that one address may send at once, and in each second after that.
_BURST, _RATE = 2_000.0, 100.0
#: Addresses that are remembered, before those that have sent nothing lately are dropped.
_ADDRESSES = 1000
#: Checks that run at once, in threads of their own: a scheduler that does not answer must not block the app's threads.
_THREADS = 8


def parse_delay(text: str | None) -> float:
    """The delay in seconds; 0: now.

    Raises:
        ValueError: not a number from 0 to 86,400.
    """
    if text is None:
        return 0.0
    try:
        delay = float(text.replace("_", "?"))  # float() accepts Python's digit groups, such as 1_000
    except ValueError:
        delay = -1.0
    if not 0 <= delay <= MAX_DELAY:  # also refuses nan
        raise ValueError(f"delay must be a number of seconds from 0 to {MAX_DELAY:.0f}, fractions allowed")
    return delay


@dataclass
class _Look:
    """A check of a job, and its answer for all callers: an HTTP status, and whether the job is over."""

    began: float
    answer: Future[tuple[int, bool]]
    #: Until when (monotonic) another check is scheduled for calls that came after this one had begun.
    covered: float = 0.0

    def shared(self, moment: float) -> bool:
        """Whether a call at ``moment`` (monotonic) gets this answer."""
        return not self.answer.done() or moment - self.began < _SHARED


class _Calls:
    """Counts the calls of each address (a token bucket)."""

    def __init__(self) -> None:
        #: Address → how many calls it has left, and when that was counted (monotonic).
        self._left: dict[str, tuple[float, float]] = {}

    def are_too_many(self, address: str) -> bool:
        """Counts a call; returns whether it is one too many."""
        now = time.monotonic()
        if len(self._left) > _ADDRESSES:
            full = _BURST / _RATE
            self._left = {key: value for key, value in self._left.items() if now - value[1] < full}
        left, counted = self._left.get(address, (_BURST, now))
        left = min(_BURST, left + (now - counted) * _RATE)
        self._left[address] = (left - 1 if left >= 1 else left, now)
        return left < 1


class StatusCallback:
    """The endpoint for the jobs of some apps."""

    def __init__(self, labels: frozenset[str]) -> None:
        self._labels = labels
        self._lock = threading.Lock()
        self._looks: dict[int, _Look] = {}
        self._calls = _Calls()
        self._threads = ThreadPoolExecutor(_THREADS, "prefect-jobs-callback")

    async def answer(self, request: Request) -> JSONResponse:
        """See :func:`prefect_jobs.web.routes`."""
        runtime = get_runtime()
        runtime.checker.start()
        job_id = number_of(request.path_params["job_id"])
        secret = runtime.settings.callback_secret
        # First of all: without the signature a caller must not learn which jobs exist.
        signed = secret is None or callbacks.is_signed(secret.get_secret_value(), job_id, _token(request))
        address = request.client.host if request.client else ""
        # Calls without a signature do not use up those of jobs behind the same proxy.
        if self._calls.are_too_many(address if signed else f"{address} unsigned"):
            answer = _json(429, error="too many calls from this address; try again in a second")
            answer.headers["Retry-After"] = "1"
            return answer
        if not signed:
            return _json(403)
        try:
            delay = parse_delay(request.query_params.get("delay"))
        except ValueError as error:
            return _json(400, error=str(error))
        if job_id is None:
            return _json(404)
        if delay > 0:
            return _json(await run_sync(self._schedule, runtime, job_id, delay), "scheduled")
        return _json(await self._look(runtime, job_id))

    # -- later ------------------------------------------------------------------------------------------

    def _schedule(self, runtime: Runtime, job_id: int, delay: float) -> int:
        try:
            record = runtime.store.get(job_id)
            if record is None or record.label not in self._labels:
                return 404
            runtime.checker.schedule(job_id, delay)
        except JobGone:
            return 404
        except Exception as error:  # the database is away; its message goes to the log only
            log.warning("A check of job %s could not be scheduled: %s", job_id, error)
            return 502
        return 200

    # -- now --------------------------------------------------------------------------------------------

    async def _look(self, runtime: Runtime, job_id: int) -> int:
        """Checks the job, or shares the answer of a check in progress. That one may have begun before the change
        that a later call reports, so one more check follows a second later."""
        moment = time.monotonic()
        with self._lock:
            look = self._looks.get(job_id)
            mine = look is None or not look.shared(moment)
            if look is None or mine:
                self._looks = {key: other for key, other in self._looks.items() if other.shared(moment)}
                look = self._looks[job_id] = _Look(moment, self._threads.submit(self._ask, runtime, job_id))
        # Shielded: a caller that disconnects must not cancel the check for the others.
        status, over = await asyncio.shield(asyncio.wrap_future(look.answer))
        if not mine and not over and status == 200 and look.covered <= moment:
            look.covered = moment + _SHARED
            await run_sync(self._schedule, runtime, job_id, _SHARED)
        return status

    def _ask(self, runtime: Runtime, job_id: int) -> tuple[int, bool]:
        try:
            record = runtime.store.get(job_id)
            if record is None or record.label not in self._labels:
                return 404, True
            job = runtime.job(record)
            checks.look(job)
        except Exception as error:  # of a job type or the database; its message goes to the log only
            log.warning("Job %s could not be checked: %s", job_id, error)
            return 502, False
        return (200 if polling.was_reached(job) else 502), job.handle.record.final


def _token(request: Request) -> str:
    """The signature, of the URL or of the header ``Authorization: Bearer``."""
    kind, _, given = request.headers.get("authorization", "").partition(" ")
    return request.query_params.get("token") or (given.strip() if kind.lower() == "bearer" else "")


def _json(status: int, success: bool | str = True, **more: str) -> JSONResponse:
    body = {"success": success if status == 200 else False, **more}
    return JSONResponse(body, status, {"Cache-Control": "no-store"})
