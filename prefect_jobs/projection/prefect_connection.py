"""A connection to Prefect's API that distinguishes "no answer" from "refused"."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeVar

from prefect_jobs.backoff import Backoff
from prefect_jobs.errors import LocalPartError, PrefectJobsError
from prefect_jobs.local import temporary_server
from prefect_jobs.prefect_settings import tls_context, without_retries

if TYPE_CHECKING:
    import httpx
    from prefect.client.orchestration import SyncPrefectClient

T = TypeVar("T")

#: Seconds for one request.
REQUEST_TIMEOUT = 10.0
_BUSY = (429, 503)
#: Seconds until the next call to a busy Prefect: the first and the longest pause.
_PAUSES = (0.05, 1.0)


class PrefectAway(PrefectJobsError):
    """Prefect's API cannot be reached at the moment, or is out of order: try again later."""

    def __init__(self, text: str, *, busy: bool = False) -> None:
        super().__init__(text)
        #: Prefect has answered that it is busy, as it does on SQLite while its database is locked.
        self.busy = busy


class RunGone(PrefectJobsError):
    """The flow run, or the object to be written, was deleted in Prefect."""


def retried(call: Callable[[], T], patience: float) -> T:
    """The answer of a call that may be repeated; tried again while Prefect is busy.

    Args:
        call: calls Prefect.
        patience: seconds in all.

    Raises:
        PrefectAway: Prefect cannot be reached, or is still busy after ``patience`` seconds.
    """
    deadline, backoff = time.monotonic() + patience, Backoff(*_PAUSES)
    while True:
        try:
            return call()
        except PrefectAway as error:
            pause = backoff.pause()
            if not error.busy or time.monotonic() + pause > deadline:
                raise
        time.sleep(pause)


class PrefectConnection:
    """A client that is opened at the first call. For one thread."""

    def __init__(self) -> None:
        self._client: SyncPrefectClient | None = None

    def close(self) -> None:
        """Closes the connection."""
        client, self._client = self._client, None
        if client is not None:
            client.__exit__(None, None, None)

    @contextmanager
    def _calling(self) -> Iterator["SyncPrefectClient"]:
        import httpx  # takes longer to load than our own modules, so those load it who call
        from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

        with without_retries():
            try:
                yield self._opened()
            except ObjectNotFound as error:
                raise RunGone(f"Prefect no longer has this object: {_reason(error)}") from error
            except (PrefectHTTPStatusError, httpx.HTTPStatusError) as error:
                code = error.response.status_code
                if code == HTTPStatus.NOT_FOUND:
                    raise RunGone(f"Prefect no longer has this object: {_reason(error)}") from error
                if code in (408, 425, 429) or code >= 500:
                    raise PrefectAway(f"Prefect's API answers with {code}.", busy=code in _BUSY) from error
                raise PrefectJobsError(f"Prefect's API refuses ({code}): {_reason(error)}") from error
            except (httpx.TransportError, OSError, RuntimeError) as error:
                self.close()
                raise PrefectAway(f"Prefect's API cannot be reached: {error or type(error).__name__}") from error

    def _opened(self) -> "SyncPrefectClient":
        if self._client is None:
            from prefect.client.orchestration import get_client

            try:
                temporary_server.ensure()
            except LocalPartError as error:
                raise PrefectAway(str(error)) from error
            hooks = {"response": [_at_once]}
            httpx_settings = {"timeout": REQUEST_TIMEOUT, "event_hooks": hooks, "verify": tls_context()}
            client = get_client(sync_client=True, httpx_settings=httpx_settings)
            client.__enter__()
            self._client = client
        return self._client


def _at_once(response: "httpx.Response") -> None:
    """Keeps Prefect's client from sleeping for seconds after a busy answer: we try again sooner."""
    if response.status_code in _BUSY:
        response.headers.setdefault("Retry-After", "0")


def _reason(error: Exception) -> str:
    response = getattr(error, "response", None)
    if response is None:
        return str(error)
    try:
        return json.dumps(response.json().get("detail") or response.json().get("exception_message"))[:300]
    except ValueError:
        return str(response.text)[:300]
