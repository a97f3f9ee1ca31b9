"""Requests to one Dask scheduler: the states of all jobs that it has, what is published there, logs."""

import asyncio
import inspect
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from prefect_jobs.errors import SchedulerConnectionError
from prefect_jobs.schedulers.dask import remote
from prefect_jobs.schedulers.dask.answer import PREFIX, Answer, name_of, names_of
from prefect_jobs.schedulers.dask.connection import (
    DaskAccess,
    DaskConnections,
    DaskError,
    asking,
    call_in_loop,
    mismatches,
)

#: Seconds for which an answer about all jobs is used again.
FRESH = 0.2
#: Least number of seconds in which a connected scheduler must answer: it may be busy.
LEAST = 5.0


class DaskRequests:
    """A scheduler. One call returns the states of all jobs that it has."""

    def __init__(self, access: DaskAccess, connections: DaskConnections) -> None:
        self.access = access
        self._connections = connections
        self._lock = threading.Lock()
        self._answer: Answer | None = None
        #: Id of a client, and the address of its scheduler's dashboard.
        self._dashboard: tuple[str, str | None] = ("", None)
        #: Number of requests for the states of jobs.
        self.polls = 0

    @property
    def client(self) -> Any:
        """The ``distributed.Client``.

        Raises:
            SchedulerConnectionError: the scheduler was not reached in time.
        """
        return self._connections.client(self.access)

    @property
    def dashboard(self) -> str | None:
        """The address of the scheduler's dashboard. Each client asks for it once, since that is a request."""
        client = self.client
        known, link = self._dashboard
        if known != client.id:
            link = client.dashboard_link
            self._dashboard = client.id, link
        return link

    # -- polls ------------------------------------------------------------------------------------------

    def identity(self) -> str:
        """The scheduler's id, which is another one after a restart."""
        return self.ask().id

    def find(self, token: str) -> int:
        """The number of leaves that are published under a token; 0: nothing was submitted."""
        names = self.ask().jobs.keys()
        count = 0
        while name_of(token, count) in names:
            count += 1
        return count

    def look(self, token: str, count: int) -> dict[str, Any]:
        """The state of a submission: ``id`` of the scheduler, ``workers``, ``leaves`` (``None`` for each that it does
        not know). All callers share an answer that is not older than :data:`FRESH`.

        Raises:
            SchedulerConnectionError: the scheduler does not answer.
        """
        with self._lock:
            answer = self._answer
        if answer is None or answer.age > FRESH or any(name not in answer.jobs for name in names_of(token, count)):
            answer = self.ask()
        return answer.of(token, count)

    def ask(self) -> Answer:
        """The states of all jobs that the scheduler has.

        Raises:
            SchedulerConnectionError: the scheduler does not answer.
        """
        self.polls += 1
        answer = Answer(**self._run(remote.look, PREFIX), asked=time.monotonic())
        with self._lock:
            self._answer = answer
        return answer

    # -- what is published ------------------------------------------------------------------------------

    def _published(self, names: Sequence[str]) -> list[Any]:
        """The futures that are published under names, bound to our client; ``None`` for each name without one."""
        client = self.client
        found: list[Any] = self._call(client, _of_all, client.get_dataset, names, default=None)
        return found

    def _get(self, names: Sequence[str]) -> list[Any]:
        """As :meth:`_published`.

        Raises:
            SchedulerConnectionError: one of them is not there.
        """
        found = self._published(names)
        for name, future in zip(names, found, strict=True):
            if future is None:
                raise SchedulerConnectionError(
                    f"The Dask scheduler no longer has the result Dataset '{name}', or never had it."
                )
        return found

    def _unpublish(self, names: Sequence[str]) -> None:
        client = self.client
        self._call(client, _of_all, client.unpublish_dataset, names)

    # -- the cluster ------------------------------------------------------------------------------------

    def logs(self) -> dict[str, Any]:
        """The newest lines of the scheduler's and of each worker's log."""
        client = self.client
        scheduler = self._call(client, client.get_scheduler_logs, n=200)
        workers = self._call(client, client.get_worker_logs, n=200)
        return {
            "scheduler": _text(scheduler),
            "workers": {str(address): _text(lines) for address, lines in workers.items()},
        }

    # -- inside -----------------------------------------------------------------------------------------

    def _run(self, function: Callable[..., Any], *args: Any, publish: Mapping[str, Any] | None = None) -> Any:
        """The return value of a function that runs inside the scheduler.

        Args:
            function: one of :mod:`remote`.
            *args: its arguments.
            publish: futures of our client that are published before, by name.

        Raises:
            SchedulerConnectionError: there was no answer in time.
            DaskError: it cannot run there: the versions do not fit.
        """
        import cloudpickle

        # By value: the scheduler need not have this package.
        cloudpickle.register_pickle_by_value(remote)
        client = self.client
        try:
            return self._call(client, _publish_and_run, client, publish or {}, function, *args)
        except SchedulerConnectionError:
            raise
        except Exception as error:  # an interpreter may raise anything for another one's code
            raise DaskError(f"The Dask scheduler {self.access.title} cannot answer: {self._why(error)}") from error

    def _why(self, error: Exception) -> str:
        try:
            differences = mismatches(self.client)
        except SchedulerConnectionError:
            differences = []
        if not differences:
            return f"{type(error).__name__}: {error}"
        return f"its versions differ from ours: {'; '.join(differences)}. Install the same ones ({error})"

    def _call(self, client: Any, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Calls a method of a client, in the client's loop if it is a coroutine, and waits up to the timeout."""
        with asking(self.access):
            return call_in_loop(client, max(self.access.seconds, LEAST), function, *args, **options)


@cache
def _takes_many() -> bool:
    """Whether Dask gets and removes several names in one request."""
    from distributed.publish import PublishExtension

    return "names" in inspect.signature(PublishExtension.get).parameters


async def _publish_and_run(client: Any, futures: Mapping[str, Any], function: Callable[..., Any], *args: Any) -> Any:
    if futures:
        await client.publish_dataset(override=True, **futures)
    return await client.run_on_scheduler(function, *args)


async def _of_all(method: Callable[..., Any], names: Sequence[str], **options: Any) -> Any:
    """Calls a method of a client for names: in one request, or, with an older Dask, in one for each, all at once."""
    if not names:
        return []
    if _takes_many():
        return await method(list(names), **options)
    return list(await asyncio.gather(*(method(name, **options) for name in names)))


def _text(lines: Iterable[Any]) -> str:
    return "\n".join(str(line[1]) for line in reversed(list(lines)))
