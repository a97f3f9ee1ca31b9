"""Loading Prefect: its import takes seconds, and no call waits longer for it than for Prefect's server."""

# When the program ends, these two can no longer be imported, but Prefect's import may still be running.
import concurrent.futures.process
import concurrent.futures.thread  # noqa: F401
import os
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from prefect_jobs.threads import in_thread

T = TypeVar("T")

#: The longest time in seconds that a call of ours waits for Prefect.
PATIENCE = 3.0
#: Least number of seconds for Prefect's answer, once it is loaded.
_ANSWER = 1.0
#: Seconds in which Prefect's server must answer a probe.
_PROBE = 2.0

#: The longest time in seconds that a fork waits for the end of the import.
_IMPORT = 20.0

_lock = threading.RLock()
#: Whether a thread imports Prefect at this moment.
_loading = threading.Event()
#: Whether this thread, which forks, has the lock.
_forking = threading.local()
_loaded = threading.Event()


def load() -> None:
    """Imports what every call to Prefect needs, in one thread at a time: threads that begin an import at once get
    incomplete modules."""
    if _loaded.is_set():
        return
    with _lock:
        _loading.set()
        try:
            import prefect.client.orchestration
            import prefect.context  # noqa: F401

            _loaded.set()
        finally:
            _loading.clear()


def begin(delay: float = 0.0) -> None:
    """Loads Prefect in the background, in ``delay`` seconds: the import takes the processor from the calls that come
    first. A program that ends meanwhile ends after that, since its changes must still be shown."""

    def later() -> None:
        _loaded.wait(delay)
        load()

    if not _loaded.is_set() and not _loading.is_set():
        in_thread(later, "prefect-jobs-load")


def answer(call: Callable[[], T], patience: float = PATIENCE, *, strict: bool = False) -> T:
    """The answer of a call to Prefect, made in a separate thread.

    Args:
        call: calls Prefect; it continues if the wait for it ends.
        patience: seconds, including the import of Prefect. If that takes nearly all of them although Prefect's server
        answers, one second is added; if the machine is so slow that it takes more, they begin after the import.
        strict: add no seconds in any case.

    Raises:
        TimeoutError: no answer.
    """

    def ask() -> T:
        load()
        return call()

    began = time.monotonic()
    deadline = began + patience
    there = threading.Event()
    if not strict and not _loaded.is_set():
        in_thread(lambda: _probe(there), "prefect-jobs-probe", daemon=True)
    outcome = in_thread(ask, "prefect-jobs-ask", daemon=True)
    if not strict and not _loaded.is_set():
        while not (_loaded.wait(0.02) or outcome.done()):
            if time.monotonic() > deadline and not there.is_set():
                raise TimeoutError
        if there.is_set():
            slow = time.monotonic() - began > PATIENCE - _ANSWER
            deadline = max(deadline, time.monotonic() + min(patience, PATIENCE if slow else _ANSWER))
    return outcome.result(max(0.0, deadline - time.monotonic()))


def _probe(there: threading.Event) -> None:
    """Checks whether Prefect's server answers, without Prefect: a long import does not mean that it cannot be reached.

    If the environment names no server, this counts as an answer: only Prefect itself knows its profiles, and whether
    it starts a temporary server.
    """
    import ssl
    import urllib.error
    import urllib.request
    from http.client import HTTPException

    url = os.environ.get("PREFECT_API_URL")
    try:
        if url:
            urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=_PROBE).close()  # noqa: S310
    except urllib.error.HTTPError as error:  # such as one that requires authentication
        error.close()
    except (OSError, ValueError, HTTPException) as error:
        if not isinstance(getattr(error, "reason", error), ssl.SSLError):  # a certificate that Prefect may trust
            return
    there.set()


def _before_fork() -> None:
    """Waits for the end of an import: the child would have its modules in parts, and no thread that goes on with it."""
    _forking.held = _lock.acquire(timeout=_IMPORT)


def _after_in_parent() -> None:
    if _forking.held:
        _lock.release()


def _after_in_child() -> None:
    global _lock  # noqa: PLW0603  (the new one is free)
    _lock = threading.RLock()


os.register_at_fork(before=_before_fork, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
