"""Asking Prefect for blocks from plain code, whatever loop the caller may run: a thread, and an end to patience."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from prefect_jobs.errors import SchedulerConnectionError

T = TypeVar("T")


def ask_prefect(question: Callable[[], Awaitable[T]], what: str, timeout: float = 10.0) -> T:
    """The answer to a question about blocks.

    Args:
        question: makes the awaitable, inside the thread's own event loop.
        what: what is asked, for people.
        timeout: seconds.

    Raises:
        SchedulerConnectionError: Prefect did not answer in time, or could not be reached.
    """
    outcome: dict[str, Any] = {}

    async def asked() -> T:
        return await question()

    def run() -> None:
        try:
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
    if _is_connection(error):
        raise SchedulerConnectionError(f"Prefect's API cannot be reached ({what}): {error}") from error
    raise error


def _is_connection(error: BaseException) -> bool:
    import httpx

    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, httpx.TransportError | OSError):
            return True
        seen = seen.__cause__ or seen.__context__
    return isinstance(error, RuntimeError) and "Failed to reach API" in str(error)
