"""Loading Prefect: its import takes seconds, for which nobody waits longer than for Prefect itself."""

# At the end of a program these two cannot be imported any more, and Prefect's import may go on until then.
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
#: Seconds that Prefect has for its answer at least, once it is loaded.
_ANSWER = 1.0
#: Seconds that Prefect's server has to show that it is there.
_PROBE = 2.0

_lock = threading.Lock()
_loaded = threading.Event()


def load() -> None:
    """Imports what every call to Prefect needs, in one thread at a time: those that begin an import at once get
    modules that are not whole."""
    if _loaded.is_set():
        return
    with _lock:
        import prefect.client.orchestration
        import prefect.context  # noqa: F401

        _loaded.set()


def begin() -> None:
    """Has Prefect loaded in the background. A program that ends meanwhile ends after that: what it has changed is
    still to be shown."""
    if not _loaded.is_set() and not _lock.locked():
        in_thread(load, "prefect-jobs-load")


def answer(call: Callable[[], T], patience: float = PATIENCE, *, strict: bool = False) -> T:
    """What a call to Prefect answers, in a thread of its own.

    Args:
        call: asks Prefect; it goes on where nobody waits for it any more.
        patience: seconds, the import of Prefect included. Where that takes nearly all of them though Prefect's server
            answers, there is one more; where the machine is so slow that it takes more, they begin after it.
        strict: no more seconds in any case.

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
    """Finds out whether Prefect's server answers, without Prefect: it is not away only because its import takes long.

    Where the environment names no server, this counts as so: what Prefect's profiles say, or whether it starts a
    temporary server, it knows itself alone.
    """
    import ssl
    import urllib.error
    import urllib.request
    from http.client import HTTPException

    url = os.environ.get("PREFECT_API_URL")
    try:
        if url:
            urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=_PROBE).close()  # noqa: S310
    except urllib.error.HTTPError as error:  # such as one that wants to know who we are
        error.close()
    except (OSError, ValueError, HTTPException) as error:
        if not isinstance(getattr(error, "reason", error), ssl.SSLError):  # a certificate that Prefect may trust
            return
    there.set()


def _after_fork() -> None:
    global _lock  # noqa: PLW0603  (a thread of the parent may hold it)
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
