"""Asks Prefect for blocks in a thread, with a deadline, so that synchronous code can call it in any event loop."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import httpx
from prefect.client.orchestration import PrefectClient, get_client
from prefect.exceptions import PrefectHTTPStatusError

from prefect_jobs.errors import LocalPartError, SchedulerConnectionError
from prefect_jobs.local import temporary_server
from prefect_jobs.prefect_settings import tls_context, without_retries

#: What Prefect answers while it is busy; on SQLite also while its database is locked.
_BUSY = (429, 503)
#: Seconds until the next request: the first, and the longest.
_PAUSES = (0.05, 1.0)

T = TypeVar("T")


def ask_prefect(question: Callable[[], Awaitable[T]], what: str, timeout: float = 10.0) -> T:
    """The answer to a request for blocks; the request is repeated while Prefect is busy.

    Args:
        question: returns the awaitable, in the event loop of the thread.
        what: what is requested, for the error message.
        timeout: seconds.

    Raises:
        SchedulerConnectionError: Prefect did not answer in time, or could not be reached.
    """
    outcome: dict[str, Any] = {}

    deadline = time.monotonic() + timeout

    async def asked() -> T:
        pause = _PAUSES[0]
        # Prefect's own retries exceed the timeout.
        with without_retries():
            while True:
                try:
                    return await question()
                except PrefectHTTPStatusError as error:
                    if error.response.status_code not in _BUSY or time.monotonic() + pause > deadline:
                        raise
                await asyncio.sleep(pause)
                pause = min(pause * 2, _PAUSES[1])

    def run() -> None:
        try:
            temporary_server.ensure()
            outcome["value"] = asyncio.run(asked())
        except BaseException as error:  # raised again in the caller's thread
            outcome["error"] = error

    thread = threading.Thread(target=run, name="prefect-jobs-blocks", daemon=True)
    thread.start()
    thread.join(timeout)
    if "value" in outcome:
        return outcome["value"]  # type: ignore[no-any-return]
    error = outcome.get("error")
    if error is None:
        raise SchedulerConnectionError(f"Prefect's API did not answer within {timeout:g} s ({what}).")
    if isinstance(error, PrefectHTTPStatusError) and error.response.status_code in _BUSY:
        raise SchedulerConnectionError(
            f"Prefect's API answers with {error.response.status_code} for {timeout:g} s ({what})."
        ) from error
    if isinstance(error, LocalPartError):
        raise SchedulerConnectionError(f"Prefect's API cannot be reached ({what}): {error}") from error
    if _is_connection(error):
        raise SchedulerConnectionError(f"Prefect's API cannot be reached ({what}): {error}") from error
    raise error


def client_of_prefect() -> PrefectClient:
    """A client that does not sleep for seconds while Prefect is busy: :func:`ask_prefect` repeats the request."""
    return get_client(httpx_settings={"event_hooks": {"response": [_at_once]}, "verify": tls_context()})


async def _at_once(response: httpx.Response) -> None:
    if response.status_code in _BUSY:
        response.headers.setdefault("Retry-After", "0")


def _is_connection(error: BaseException) -> bool:
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, httpx.TransportError | OSError):
            return True
        seen = seen.__cause__ or seen.__context__
    return isinstance(error, RuntimeError) and "Failed to reach API" in str(error)
