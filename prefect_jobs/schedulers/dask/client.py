"""What jobs ask of a Dask scheduler: submit, look, gather, cancel, release."""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import wait
from typing import Any

from prefect_jobs.errors import SchedulerConnectionError
from prefect_jobs.schedulers.dask import remote
from prefect_jobs.schedulers.dask.connection import DaskAccess, DaskError, asking, client_for, forget_clients
from prefect_jobs.schedulers.dask.values import first_cause

#: Seconds for which an answer about all watched jobs serves those that ask next.
FRESH = 0.2
#: Seconds after which it is looked whether results that are being fetched are still there.
PATIENCE = 5.0
#: Names under which futures are published begin so; then the submission's token, and a number.
PREFIX = "prefect-jobs-"

_watches: dict[DaskAccess, "DaskClient"] = {}
_lock = threading.Lock()


def dask_client(access: DaskAccess) -> "DaskClient":
    """The process' one for a scheduler."""
    with _lock:
        return _watches.setdefault(access, DaskClient(access))


def forget_all() -> None:
    """In a forked child: whatever is connected or watched is the parent's."""
    global _lock  # noqa: PLW0603  (a thread of the parent may have held it)
    _lock = threading.Lock()
    _watches.clear()
    forget_clients()


class DaskClient:
    """A scheduler, as jobs see it. One call tells about all jobs that somebody in this process asks about."""

    def __init__(self, access: DaskAccess) -> None:
        self.access = access
        self._lock = threading.Lock()
        #: Token → when it was last asked about.
        self._watched: dict[str, float] = {}
        self._answer: dict[str, Any] = {}
        self._asked = 0.0
        #: Names that were asked about ahead of the looks at them → what was found; each serves one look.
        self._ahead: dict[str, Any] = {}
        #: Token → futures of ours, which say when they have ended.
        self._futures: dict[str, list[Any]] = {}
        #: Token → set when they all have.
        self._ends: dict[str, threading.Event] = {}
        #: How often the scheduler was asked what has become of jobs.
        self.polls = 0

    @property
    def client(self) -> Any:
        """The ``distributed.Client``.

        Raises:
            SchedulerConnectionError: not reached in time.
        """
        return client_for(self.access)

    def submit(self, leaves: Sequence[Any], token: str) -> tuple[list[str], str]:
        """Has leaves computed, and keeps them on the scheduler under the token, whoever's client goes away.

        Returns:
            Their keys, and the scheduler's id.

        Raises:
            SchedulerConnectionError: not reached: nothing was submitted.
            DaskError: a future of another scheduler, one that is cancelled or lost, a graph that cannot be sent.
        """
        from distributed import Future

        client = self.client
        with asking(self.access):
            futures = [leaf if isinstance(leaf, Future) else None for leaf in leaves]
            for future in futures:
                if future is not None:
                    self._check(future, client)
            whole: list[Any] = list(futures)
            try:
                for numbers in _alike(leaves, futures):
                    computed = client.compute([leaves[number] for number in numbers])
                    for number, future in zip(numbers, computed, strict=True):
                        whole[number] = future
            except (OSError, TimeoutError):
                raise
            except Exception as error:  # whatever pickling somebody's function raises
                raise DaskError(
                    f"The work cannot be sent to the cluster: {first_cause(error)}. "
                    "All that it uses must be something that can be pickled."
                ) from error
            # By the client that has them: what it has sent reaches the scheduler first.
            names = _names(token, len(whole))
            for name, future in zip(names, whole, strict=True):
                future.client.publish_dataset(future, name=name, override=True)
            found = self._ask(names)
            if any(leaf is None or leaf["state"] == "forgotten" for (leaf,) in found["jobs"].values()):
                why = self._refusal(whole)
                self.cancel(token, len(whole))
                raise DaskError(
                    f"The scheduler did not take the work: {why}. It needs the modules that the work is made of, in "
                    "versions that fit: install them where the scheduler and the workers run."
                )
        if any(future.client is not client for future in whole):  # those of another client tell us nothing
            whole = self._get(token, range(len(whole)))
        with self._lock:
            self._futures[token] = list(whole)
            # The next question is about all of those that were submitted meanwhile.
            self._watched.update(dict.fromkeys(names, time.monotonic()))
        return [str(future.key) for future in whole], str(found["id"])

    def _refusal(self, futures: Sequence[Any]) -> str:
        """Why the scheduler has no tasks for futures: what it told their client, which may still be on its way."""
        deadline = time.monotonic() + self.access.seconds
        while time.monotonic() < deadline:
            for future in futures:
                if future.status == "error":
                    return first_cause(future.exception(timeout=self.access.seconds))
                if future.status in ("cancelled", "lost"):
                    return f"{future.key} is {future.status}"
            time.sleep(0.05)
        return "it knows nothing of it"

    def _check(self, future: Any, client: Any) -> None:
        status = future.status
        if status in ("cancelled", "lost"):
            raise DaskError(f"The future {future.key} is {status} already: compute it anew.")
        theirs, ours = future.client.scheduler.address, client.scheduler.address
        if theirs != ours and future.client.scheduler_info(n_workers=0).get("id") != self.identity():
            raise DaskError(
                f"The future {future.key} belongs to the scheduler {theirs}, and the job's is {self.access.title}."
            )

    def identity(self) -> str:
        """The scheduler's id, which is another one after a restart."""
        return str(self._ask([])["id"])

    def look(self, token: str, count: int) -> dict[str, Any]:
        """What has become of a submission: ``id`` of the scheduler, ``workers``, ``leaves`` (``None`` for each that
        it does not know).

        Raises:
            SchedulerConnectionError: nobody can tell now.
        """
        names = _names(token, count)
        with self._lock:
            moment = time.monotonic()
            if all(name in self._ahead for name in names):
                leaves = [(self._ahead.pop(name) or [None])[0] for name in names]
                return {"id": self._answer["id"], "workers": self._answer["workers"], "leaves": leaves}
            for name in names:
                self._watched[name] = moment
            if moment - self._asked > FRESH or any(name not in self._answer.get("jobs", {}) for name in names):
                self._watched = {name: last for name, last in self._watched.items() if moment - last < 60}
                self.polls += 1
                self._answer = self._ask(list(self._watched))
                self._asked = time.monotonic()
            answer = self._answer
        leaves = [(answer["jobs"].get(name) or [None])[0] for name in names]
        return {"id": answer["id"], "workers": answer["workers"], "leaves": leaves}

    def ask_ahead(self, submissions: Mapping[str, int]) -> None:
        """Asks about many submissions (token → count) in one call; the next :meth:`look` at each gets its answer.

        Raises:
            SchedulerConnectionError: nobody can tell now.
        """
        self.polls += 1
        found = self._ask([name for token, count in submissions.items() for name in _names(token, count)])
        with self._lock:
            self._answer, self._asked = found, time.monotonic()
            self._ahead = dict(found["jobs"])

    def _ask(self, names: list[str]) -> dict[str, Any]:
        found: dict[str, Any] = self._run(remote.look, names)
        return found

    def _run(self, function: Callable[..., Any], names: list[str]) -> Any:
        import cloudpickle

        # By value: the scheduler need not have this package.
        cloudpickle.register_pickle_by_value(remote)
        with asking(self.access):
            return self.client.run_on_scheduler(function, names, callback_timeout=self.access.seconds)

    def gather(self, token: str, numbers: Sequence[int]) -> list[Any]:
        """The results of leaves.

        Raises:
            SchedulerConnectionError: the connection broke, and they are still there; or they were lost with a worker,
                and are computed anew.
            DaskError: a result cannot be sent, or cannot be read here.
        """
        futures = self._get(token, numbers)
        with asking(self.access):
            try:
                return self._gather(token, numbers, futures)
            except (OSError, TimeoutError, SchedulerConnectionError):
                raise
            except Exception as error:  # whatever somebody's object raises when it is sent or read
                raise DaskError(
                    f"The result cannot be fetched: {error or type(error).__name__}. It must be something that can be "
                    "pickled, of modules that this process has, too."
                ) from error

    def _gather(self, token: str, numbers: Sequence[int], futures: Sequence[Any]) -> list[Any]:
        """Large results may take their time; Dask waits as patiently for those that a worker took with it."""
        client = self.client
        names = [_name(token, number) for number in numbers]
        gathering = asyncio.run_coroutine_threadsafe(
            client.gather(futures, asynchronous=True), client.loop.asyncio_loop
        )
        try:
            while not wait([gathering], PATIENCE).done:
                if any(not leaf or leaf[0]["state"] != "memory" for leaf in self._ask(names)["jobs"].values()):
                    raise SchedulerConnectionError("A result was lost with its worker, and is computed anew.")
            return list(gathering.result())
        finally:
            gathering.cancel()

    def _get(self, token: str, numbers: Sequence[int]) -> list[Any]:
        with asking(self.access):
            try:
                return [self.client.get_dataset(_name(token, number)) for number in numbers]
            except KeyError as error:
                raise SchedulerConnectionError(f"The Dask scheduler has no result {error} (any more).") from error

    def futures(self, token: str, count: int) -> list[Any]:
        """The futures of a submission, bound to our client."""
        return self._hold(token, count)

    def _hold(self, token: str, count: int) -> list[Any]:
        held = self._futures.get(token)
        if held is None or held[0].client is not self.client:
            held = self._get(token, range(count))
            with self._lock:
                self._futures[token] = held
                self._ends.pop(token, None)
        return held

    def end(self, token: str, count: int) -> threading.Event:
        """Set as soon as a submission has ended: the scheduler tells, nobody asks.

        Raises:
            SchedulerConnectionError: not reached.
        """
        held = self._hold(token, count)
        with self._lock:
            ended = self._ends.get(token)
            if ended is None:
                ended = self._ends[token] = _end_of(held)
        return ended

    def cancel(self, token: str, count: int) -> None:
        """Ends the work, but what others need of it. Tasks that run end by themselves: Dask cannot kill them."""
        try:
            futures = self._get(token, range(count))
        except SchedulerConnectionError:
            futures = []
        if futures:
            free = set(self._run(remote.unshared, _names(token, count)))
            with asking(self.access):
                self.client.cancel([future for future in futures if future.key in free], force=True)
        self.release(token, count)

    def retry(self, token: str, count: int) -> list[Any]:
        """Has the scheduler compute again what erred.

        Returns:
            The futures, which are still published under the token.

        Raises:
            SchedulerConnectionError: not reached, or it has them no more.
        """
        futures = self._get(token, range(count))
        with asking(self.access):
            self.client.retry([future for future in futures if future.status == "error"])
        return futures

    def release(self, token: str, count: int) -> None:
        """Lets the cluster forget results that are safe."""
        self.forget(token)
        known = [name for name, leaf in self._ask(_names(token, count))["jobs"].items() if leaf is not None]
        with asking(self.access):
            for name in known:
                self.client.unpublish_dataset(name)

    def find(self, token: str) -> int:
        """How many leaves are published under a token; 0: none was submitted."""
        with asking(self.access):
            names = set(self.client.list_datasets())
        count = 0
        while _name(token, count) in names:
            count += 1
        return count

    def logs(self) -> dict[str, Any]:
        """The newest lines of the scheduler's and of each worker's log."""
        with asking(self.access):
            scheduler, workers = self.client.get_scheduler_logs(n=200), self.client.get_worker_logs(n=200)
        return {
            "scheduler": _text(scheduler),
            "workers": {str(address): _text(lines) for address, lines in workers.items()},
        }

    def forget(self, token: str) -> None:
        """Drops what this process keeps of a submission."""
        with self._lock:
            self._futures.pop(token, None)
            self._ends.pop(token, None)
            for name in [name for name in self._watched if name.startswith(_name(token, ""))]:
                del self._watched[name]


def _name(token: str, number: object) -> str:
    return f"{PREFIX}{token}-{number}"


def _names(token: str, count: int) -> list[str]:
    return [_name(token, number) for number in range(count)]


def _alike(leaves: Sequence[Any], futures: Sequence[Any]) -> list[list[int]]:
    """The numbers of the leaves that are no futures, those together that Dask computes together: work that is kept as
    an expression, such as a data frame, loses its optimisation where it is computed with what is kept as a graph."""
    groups: dict[bool, list[int]] = {}
    for number, (leaf, future) in enumerate(zip(leaves, futures, strict=True)):
        if future is None:
            groups.setdefault(hasattr(type(leaf), "expr"), []).append(number)
    return list(groups.values())


def _end_of(futures: Sequence[Any]) -> threading.Event:
    """Set as soon as all of them have ended."""
    ended = threading.Event()
    lock = threading.Lock()
    left = len(futures)

    def noted(_: Any) -> None:
        nonlocal left
        with lock:
            left -= 1
            if not left:
                ended.set()

    for future in futures:
        future.add_done_callback(noted)
    return ended


def _text(lines: Any) -> str:
    return "\n".join(str(line[1]) for line in reversed(list(lines)))
