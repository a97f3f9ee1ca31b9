"""The requests of jobs to a Dask scheduler: submit, look, gather, cancel, release."""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, wait
from typing import Any

from prefect_jobs.errors import SchedulerConnectionError
from prefect_jobs.schedulers.dask import remote
from prefect_jobs.schedulers.dask.answer import PREFIX, Answer, name_of, names_of
from prefect_jobs.schedulers.dask.connection import (
    CLIENT_IDS,
    DaskAccess,
    DaskConnections,
    DaskError,
    asking,
    call_in_loop,
    mismatches,
)
from prefect_jobs.schedulers.dask.values import first_cause

#: Seconds for which an answer about all jobs is used again.
FRESH = 0.2
#: Seconds between two checks that results that are being fetched still exist.
PATIENCE = 5.0
#: Least number of seconds in which a connected scheduler must answer: it may be busy.
LEAST = 5.0


class DaskClient:
    """A scheduler, for jobs. One call returns the states of all jobs that it has."""

    def __init__(self, access: DaskAccess, connections: DaskConnections) -> None:
        self.access = access
        self._connections = connections
        self._lock = threading.Lock()
        self._answer: Answer | None = None
        #: Token → our futures, which report when they have ended.
        self._futures: dict[str, list[Any]] = {}
        #: Token → event that is set when they all have ended.
        self._ends: dict[str, threading.Event] = {}
        #: Number of requests for the states of jobs.
        self.polls = 0
        #: Set whenever a submission ends that :meth:`end` has an event for.
        self.ended = threading.Event()

    @property
    def client(self) -> Any:
        """The ``distributed.Client``.

        Raises:
            SchedulerConnectionError: the scheduler was not reached in time.
        """
        return self._connections.client(self.access)

    # -- submission -------------------------------------------------------------------------------------

    def submit(self, leaves: Sequence[Any], token: str) -> tuple[list[str], str]:
        """Has leaves computed, and keeps them on the scheduler under the token, even if all clients disconnect.

        Returns:
            Their keys, and the scheduler's id.

        Raises:
            SchedulerConnectionError: the scheduler was not reached: nothing was submitted.
            DaskError: a future of another scheduler, one that is cancelled or lost, a graph that cannot be sent.
        """
        from distributed import Future

        client = self.client
        futures = [leaf if isinstance(leaf, Future) else None for leaf in leaves]
        for future in futures:
            if future is not None:
                self._check(future, client)
        whole: list[Any] = list(futures)
        with asking(self.access):
            try:
                for numbers in _alike(leaves, futures):
                    computed = client.compute([leaves[number] for number in numbers])
                    for number, future in zip(numbers, computed, strict=True):
                        whole[number] = future
            except (OSError, TimeoutError):
                raise
            except Exception as error:  # pickling a user's function may raise anything
                raise DaskError(
                    f"The work cannot be sent to the cluster: {first_cause(error)}. "
                    "All that it uses must be something that can be pickled."
                ) from error
        names = names_of(token, len(whole))
        for name, future in zip(names, whole, strict=True):
            # By the client that has it: the scheduler receives that client's earlier messages first.
            self._call(future.client, future.client.publish_dataset, future, name=name, override=True)
        answer = self.ask()
        if any((answer.jobs.get(name) or {"state": "forgotten"})["state"] == "forgotten" for name in names):
            why = self._refusal(whole)
            self.cancel(token, len(whole), given=False)
            raise DaskError(
                f"The scheduler did not accept the work: {why}. It needs the modules of the work in matching versions: "
                "install them where the scheduler and the workers run."
            )
        return [str(future.key) for future in whole], answer.id

    def _refusal(self, futures: Sequence[Any]) -> str:
        """Why the scheduler has no tasks for futures: what it reports to their client, perhaps only a moment later."""
        deadline = time.monotonic() + self.access.seconds
        while time.monotonic() < deadline:
            for future in futures:
                if future.status == "error":
                    return first_cause(future.exception(timeout=self.access.seconds))
                if future.status in ("cancelled", "lost"):
                    return f"{future.key} is {future.status}"
            time.sleep(0.05)
        return "it does not have the tasks"

    def _check(self, future: Any, client: Any) -> None:
        status = future.status
        if status in ("cancelled", "lost"):
            raise DaskError(f"The future {future.key} is {status} already: compute it again.")
        theirs, ours = future.client.scheduler.address, client.scheduler.address
        if theirs != ours and future.client.scheduler_info(n_workers=0).get("id") != self.identity():
            raise DaskError(
                f"The future {future.key} belongs to the scheduler {theirs}, but the job's is {self.access.title}."
            )

    def find(self, token: str) -> int:
        """The number of leaves that are published under a token; 0: nothing was submitted."""
        names = self.ask().jobs.keys()
        count = 0
        while name_of(token, count) in names:
            count += 1
        return count

    # -- polls ------------------------------------------------------------------------------------------

    def identity(self) -> str:
        """The scheduler's id, which is another one after a restart."""
        return self.ask().id

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

    def futures(self, token: str, count: int) -> list[Any]:
        """The futures of a submission, bound to our client."""
        return self._hold(token, count)

    def _hold(self, token: str, count: int) -> list[Any]:
        held = self._futures.get(token)
        # After the connection broke, our old futures report nothing any more.
        if held is None or any(future.client is not self.client or future.cancelled() for future in held):
            held = self._get(token, range(count))
            with self._lock:
                self._futures[token] = held
                self._ends.pop(token, None)
        return held

    def end(self, token: str, count: int) -> threading.Event:
        """Set as soon as a submission has ended: the scheduler reports it, without polls.

        Raises:
            SchedulerConnectionError: the scheduler was not reached.
        """
        held = self._hold(token, count)
        with self._lock:
            ended = self._ends.get(token)
            if ended is None:
                ended = self._ends[token] = _end_of(held, self.ended)
        return ended

    # -- results ----------------------------------------------------------------------------------------

    def gather(self, token: str, numbers: Sequence[int]) -> list[Any]:
        """The results of leaves.

        Raises:
            SchedulerConnectionError: the connection broke, and the results are still there; or they were lost with a
            worker, and are being computed again.
            DaskError: a result cannot be sent, or cannot be read here.
        """
        from distributed.comm.core import CommClosedError

        futures = self._get(token, numbers)
        try:
            return self._gather(token, numbers, futures)
        except (CommClosedError, TimeoutError, CancelledError) as error:
            # A broken connection cancels the futures on this side; those on the cluster are unchanged.
            raise SchedulerConnectionError(
                f"The connection to the Dask scheduler {self.access.title} broke: {error or type(error).__name__}"
            ) from error
        except SchedulerConnectionError:
            raise
        except Exception as error:  # a user's object may raise anything when it is sent or read
            if any(future.cancelled() or future.client.status != "running" for future in futures):
                # The connection broke, and there is a new one by now.
                raise SchedulerConnectionError(
                    f"The connection to the Dask scheduler {self.access.title} broke while the result was fetched."
                ) from error
            self.identity()  # an OSError may come from the connection: then there is no answer
            raise DaskError(
                f"The result cannot be fetched: {error or type(error).__name__}. It must be something that can be "
                "pickled, with modules that this process has, too."
            ) from error
        finally:
            for future in futures:  # an error's frames may keep them alive for long
                future.release()

    def _gather(self, token: str, numbers: Sequence[int], futures: Sequence[Any]) -> list[Any]:
        """Fetches results. Large ones may take long; Dask waits as long for results that were lost with a worker."""
        client = futures[0].client
        names = [name_of(token, number) for number in numbers]
        gathering = asyncio.run_coroutine_threadsafe(
            client.gather(futures, asynchronous=True), client.loop.asyncio_loop
        )
        try:
            while not wait([gathering], PATIENCE).done:
                answer = self.ask()
                if any((answer.jobs.get(name) or {"state": ""})["state"] != "memory" for name in names):
                    raise SchedulerConnectionError("A result was lost with its worker and is being computed again.")
            return list(gathering.result())
        finally:
            gathering.cancel()

    def _get(self, token: str, numbers: Sequence[int]) -> list[Any]:
        client = self.client
        try:
            return [self._call(client, client.get_dataset, name_of(token, number)) for number in numbers]
        except KeyError as error:
            raise SchedulerConnectionError(
                f"The Dask scheduler no longer has the result {error}, or never had it."
            ) from error

    # -- the end ----------------------------------------------------------------------------------------

    def cancel(self, token: str, count: int, *, given: bool) -> None:
        """Cancels the work that no other client needs. Running tasks end by themselves: Dask cannot kill them.

        Args:
            token: the submission token.
            count: number of its leaves.
            given: whether they are a user's futures, which are cancelled although the user's client holds them.
        """
        try:
            futures = self._get(token, range(count))
        except SchedulerConnectionError:
            futures = []
        if futures:
            client = self.client
            free = set(self._run(remote.unshared, names_of(token, count), "" if given else CLIENT_IDS))
            self._call(client, client.cancel, [future for future in futures if future.key in free], force=True)
        self.release(token, count)

    def retry(self, token: str, count: int) -> list[Any]:
        """Has the scheduler compute failed tasks again.

        Returns:
            The futures, which are still published under the token.

        Raises:
            SchedulerConnectionError: the scheduler was not reached, or no longer has them.
        """
        futures, client = self._get(token, range(count)), self.client
        self._call(client, client.retry, [future for future in futures if future.status == "error"])
        return futures

    def release(self, token: str, count: int) -> None:
        """Lets the cluster forget results that are kept elsewhere."""
        self.forget(token)
        client = self.client
        for name in names_of(token, count):
            self._call(client, client.unpublish_dataset, name)

    def forget(self, token: str) -> None:
        """Drops what this process keeps of a submission."""
        with self._lock:
            self._futures.pop(token, None)
            self._ends.pop(token, None)

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

    def _run(self, function: Callable[..., Any], *args: Any) -> Any:
        """The return value of a function that runs inside the scheduler.

        Raises:
            SchedulerConnectionError: there was no answer in time.
            DaskError: it cannot run there: the versions do not fit.
        """
        import cloudpickle

        # By value: the scheduler need not have this package.
        cloudpickle.register_pickle_by_value(remote)
        client = self.client
        try:
            return self._call(client, client.run_on_scheduler, function, *args)
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


def _alike(leaves: Sequence[Any], futures: Sequence[Any]) -> list[list[int]]:
    """The numbers of the leaves that are not futures, in the groups that Dask computes together: work kept as an
    expression, such as a data frame, loses its optimisation if it is computed together with graphs."""
    groups: dict[bool, list[int]] = {}
    for number, (leaf, future) in enumerate(zip(leaves, futures, strict=True)):
        if future is None:
            groups.setdefault(hasattr(type(leaf), "expr"), []).append(number)
    return list(groups.values())


def _end_of(futures: Sequence[Any], others: threading.Event) -> threading.Event:
    """An event that is set, together with ``others``, as soon as all futures have ended."""
    ended = threading.Event()
    lock = threading.Lock()
    left = len(futures)

    def noted(_: Any) -> None:
        nonlocal left
        with lock:
            left -= 1
            if not left:
                ended.set()
                others.set()

    for future in futures:
        future.add_done_callback(noted)
    return ended


def _text(lines: Any) -> str:
    return "\n".join(str(line[1]) for line in reversed(list(lines)))
