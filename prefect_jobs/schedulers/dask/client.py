"""What jobs request of a Dask scheduler: submit, hold, gather, cancel, release; each for one or for many."""

import asyncio
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError, wait
from typing import Any, NamedTuple

from prefect_jobs.errors import SchedulerConnectionError
from prefect_jobs.schedulers.dask import remote
from prefect_jobs.schedulers.dask.answer import name_of, names_of
from prefect_jobs.schedulers.dask.connection import CLIENT_IDS, DaskAccess, DaskConnections, DaskError, asking
from prefect_jobs.schedulers.dask.requests import DaskRequests
from prefect_jobs.schedulers.dask.values import first_cause

log = logging.getLogger(__name__)

#: Seconds between two checks that results that are being fetched still exist.
PATIENCE = 5.0


class Accepted(NamedTuple):
    """Work that a scheduler has accepted."""

    #: Keys of the leaves.
    keys: list[str]
    #: Id of the scheduler.
    scheduler_id: str


class DaskClient(DaskRequests):
    """A scheduler, for jobs."""

    def __init__(self, access: DaskAccess, connections: DaskConnections) -> None:
        super().__init__(access, connections)
        #: Token → our futures, which report when they have ended.
        self._futures: dict[str, list[Any]] = {}
        #: Token → event that is set when they all have ended.
        self._ends: dict[str, threading.Event] = {}
        #: Set whenever a submission ends that :meth:`end` has an event for.
        self.ended = threading.Event()

    # -- submission -------------------------------------------------------------------------------------

    def submit(self, works: Sequence[tuple[Sequence[Any], str]]) -> list[Accepted | Exception]:
        """Has leaves computed, and keeps them on the scheduler, even if all clients disconnect. Each work is sent as a
        graph of its own, and all are published by one call.

        Args:
            works: the leaves of each, and the token under which they are kept.

        Returns:
            For each what was accepted; or SchedulerConnectionError: the scheduler does not answer; or DaskError: a
            future of another scheduler, one that is cancelled or lost, a graph that cannot be sent or read.

        Raises:
            SchedulerConnectionError: the scheduler was not reached: nothing was submitted.
        """
        client = self.client
        found: dict[int, Accepted | Exception] = {}
        sent: dict[int, list[Any]] = {}
        for number, (leaves, _) in enumerate(works):
            try:
                sent[number] = self._compute(leaves, client)
            except Exception as error:  # of this one work, or of a client of the user's
                found[number] = error
        names = {number: names_of(works[number][1], len(futures)) for number, futures in sent.items()}
        ours: dict[str, Any] = {}
        for number, futures in list(sent.items()):
            try:
                ours.update(self._publish_others(dict(zip(names[number], futures, strict=True)), client))
            except Exception as error:  # a client of the user's may raise anything
                found[number] = error
                del sent[number]
        try:
            every = [name for number in sent for name in names[number]]
            answer = self._run(remote.missing, every, publish=ours) if sent else {}
        except SchedulerConnectionError as error:
            found.update(dict.fromkeys(sent, error))
            sent = {}
        except DaskError as error:
            found.update(dict.fromkeys(sent, self._taken_back(every, error)))
            sent = {}
        lacking = set(answer["names"]) if sent else set()
        for number, futures in sent.items():
            if lacking.isdisjoint(names[number]):
                found[number] = Accepted([str(future.key) for future in futures], answer["id"])
            else:
                found[number] = self._refused(works[number][1], futures)
        return [found[number] for number in range(len(works))]

    def _compute(self, leaves: Sequence[Any], client: Any) -> list[Any]:
        """The futures of leaves, which are sent to the scheduler."""
        from distributed import Future

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
        return whole

    def _publish_others(self, futures: Mapping[str, Any], client: Any) -> dict[str, Any]:
        """Publishes the futures of other clients than ours; returns ours, by their names.

        By the client that has them: the scheduler receives that client's earlier messages first.
        """
        ours: dict[str, Any] = {}
        for name, future in futures.items():
            if future.client is client:
                ours[name] = future
            else:
                self._call(future.client, future.client.publish_dataset, override=True, **{name: future})
        return ours

    def _taken_back(self, names: Sequence[str], error: DaskError) -> DaskError | SchedulerConnectionError:
        """Leaves nothing published that the scheduler has taken without an answer about it: it would run unnoticed."""
        try:
            self._unpublish(names)
        except SchedulerConnectionError as lost:
            return lost
        return error

    def _refused(self, token: str, futures: Sequence[Any]) -> DaskError | SchedulerConnectionError:
        try:
            why = self._refusal(futures)
            self.cancel(token, len(futures), given=False)
        except SchedulerConnectionError as error:
            return error
        return DaskError(
            f"The scheduler did not accept the work: {why}. It needs the modules of the work in matching versions: "
            "install them where the scheduler and the workers run."
        )

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

    def futures(self, token: str, count: int) -> list[Any]:
        """The futures of a submission, bound to our client."""
        return self._hold(token, count)

    def _hold(self, token: str, count: int) -> list[Any]:
        held = self._futures.get(token)
        # After the connection broke, our old futures report nothing any more.
        if held is None or any(future.client is not self.client or future.cancelled() for future in held):
            held = self._get(names_of(token, count))
            with self._lock:
                self._futures[token] = held
                self._ends.pop(token, None)
        return held

    def hold(self, works: Sequence[tuple[str, int]]) -> None:
        """Gets the futures of submissions, by one call for those that are not held yet."""
        new = [(token, count) for token, count in works if token not in self._futures]
        names = [name for token, count in new for name in names_of(token, count)]
        found = dict(zip(names, self._published(names), strict=True))
        for token, count in new:
            held = [found[name] for name in names_of(token, count)]
            if None not in held:
                with self._lock:
                    self._futures[token] = held

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

        names = [name_of(token, number) for number in numbers]
        futures = self._get(names)
        try:
            return self._gather(names, futures)
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

    def gather_many(self, wanted: Sequence[tuple[str, Sequence[int]]]) -> list[list[Any] | Exception]:
        """As :meth:`gather`, for the leaves of many submissions, which are given by token and numbers, in one call.

        Returns:
            For each the results, or the exception of :meth:`gather`.
        """
        names = [name_of(token, number) for token, numbers in wanted for number in numbers]
        try:
            values = iter(self._gather_at_once(names))
        except Exception as error:  # of one of them: each by itself
            log.debug("%d results could not be fetched together: %s", len(wanted), error)
            return [self._gather_one(token, numbers) for token, numbers in wanted]
        return [[next(values) for _ in numbers] for _, numbers in wanted]

    def _gather_at_once(self, names: Sequence[str]) -> list[Any]:
        futures = self._get(names)
        try:
            return self._gather(names, futures)
        finally:
            for future in futures:
                future.release()

    def _gather_one(self, token: str, numbers: Sequence[int]) -> list[Any] | Exception:
        try:
            return self.gather(token, numbers)
        except Exception as error:
            return error

    def _gather(self, names: Sequence[str], futures: Sequence[Any]) -> list[Any]:
        """Fetches results. Large ones may take long; Dask waits as long for results that were lost with a worker."""
        client = futures[0].client
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

    # -- the end ----------------------------------------------------------------------------------------

    def cancel(self, token: str, count: int, *, given: bool) -> None:
        """Cancels the work that no other client needs. Running tasks end by themselves: Dask cannot kill them.

        Args:
            token: the submission token.
            count: number of its leaves.
            given: whether they are a user's futures, which are cancelled although the user's client holds them.
        """
        try:
            futures = self._get(names_of(token, count))
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
        futures, client = self._get(names_of(token, count)), self.client
        self._call(client, client.retry, [future for future in futures if future.status == "error"])
        return futures

    def release(self, token: str, count: int) -> None:
        """Lets the cluster forget results that are kept elsewhere."""
        self.release_many([(token, count)])

    def release_many(self, works: Sequence[tuple[str, int]]) -> None:
        """As :meth:`release`, for many submissions, in one call."""
        for token, _ in works:
            self.forget(token)
        self._unpublish([name for token, count in works for name in names_of(token, count)])

    def forget(self, token: str) -> None:
        """Drops what this process keeps of a submission."""
        with self._lock:
            self._futures.pop(token, None)
            self._ends.pop(token, None)


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
