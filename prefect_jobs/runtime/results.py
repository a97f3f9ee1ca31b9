"""Stores results: in SQL, or in Prefect's result storage if they are large. Implements
:class:`prefect_jobs.jobs.ports.Results`."""

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from prefect_jobs.errors import ResultUnavailable
from prefect_jobs.jobs.observation import OutputsNotFetched
from prefect_jobs.noted import REPLACED, RESULT
from prefect_jobs.projection import result_storage
from prefect_jobs.runtime.prefect import PrefectAccess
from prefect_jobs.store import Store
from prefect_jobs.store.leases import kept_up
from prefect_jobs.threads import in_thread

T = TypeVar("T")

#: Seconds for which a lease on results holds without being renewed.
LEASE = 60.0


class ResultKeeper:
    """See :class:`prefect_jobs.jobs.ports.Results`."""

    def __init__(self, store: Store, prefect: PrefectAccess, size_limit: int) -> None:
        """
        Args:
            store: stores small results.
            prefect: finds the storage for large ones.
            size_limit: bytes above which a result is large.
        """
        self._store = store
        self._prefect = prefect
        self._size_limit = size_limit

    @contextmanager
    def lease(self, job_id: int) -> Iterator[bool]:
        """A lease that a thread renews while the context lasts. It expires if the process dies."""
        with self.lease_all([job_id]) as mine:
            yield bool(mine)

    @contextmanager
    def lease_all(self, job_ids: Sequence[int]) -> Iterator[set[int]]:
        """As :meth:`lease`, for many jobs; those of which this process has the lease."""
        owner = uuid.uuid4().hex
        mine = self._store.claim_all_results(job_ids, owner, LEASE)
        if not mine:
            yield mine
            return
        try:
            with kept_up(lambda: self._store.claim_all_results(sorted(mine), owner, LEASE), LEASE / 3):
                yield mine
        finally:
            self._store.release_all_results(sorted(mine), owner)

    def keep(self, job_id: int, data: bytes, kind: str = RESULT) -> dict[str, Any]:
        """Stores a result, and replaces one of that kind; returns its place.

        Raises:
            OutputsNotFetched: the storage does not accept it now.
        """
        place, blobs = self.place(job_id, data, kind)
        for name, small in blobs.items():
            self._store.put_blob(job_id, name, small)
        return place

    def place(self, job_id: int, data: bytes, kind: str = RESULT) -> tuple[dict[str, Any], dict[str, bytes]]:
        """As :meth:`keep`, but a result that goes to SQL is not written yet: the bytes are returned, too."""
        if len(data) <= self._size_limit:
            return {"where": "sql", "kind": kind, "bytes": len(data)}, {kind: data}
        # One name for each job and kind: the result of an earlier try or submission is overwritten.
        path = f"prefect-jobs-{self._store.identity}-{job_id}" + ("" if kind == RESULT else f"-{kind}")
        try:
            block, folder = result_storage.configured()
            storage = block or self._prefect.ask(result_storage.of_server) or folder
            _without_loop(lambda: result_storage.write(storage, path, data))
        except Exception as error:  # a storage may raise anything, as may finding it
            raise OutputsNotFetched(f"Prefect's result storage does not accept it: {error}") from error
        return {"where": "prefect", "storage": storage, "path": path, "bytes": len(data)}, {}

    def read(self, job_id: int, kept: Mapping[str, Any]) -> bytes | None:
        """The result; ``None`` if it no longer exists.

        Raises:
            ResultUnavailable: its storage cannot be read now.
        """
        if kept["where"] == "sql":
            return self._store.get_blob(job_id, str(kept.get("kind", RESULT)))
        storage, path = str(kept["storage"]), str(kept["path"])
        try:
            return _without_loop(lambda: result_storage.read(storage, path))
        except Exception as error:  # a storage may raise anything
            raise ResultUnavailable(
                f"The result of job {job_id} is in Prefect's result storage ({storage}), which cannot be read: {error}"
            ) from error

    def drop(self, job_id: int, kept: Mapping[str, Any]) -> None:
        """Removes a result."""
        if kept["where"] == "sql":
            self._store.delete_blob(job_id, str(kept.get("kind", RESULT)))
        else:
            result_storage.delete(str(kept["storage"]), str(kept["path"]))

    def forget(self, job_id: int, kept: Mapping[str, Any]) -> None:
        """Removes the remaining result of a deleted job: what was in SQL was deleted with the job."""
        for place in (kept, kept.get(REPLACED) or {}):
            if place.get("where") == "prefect":
                self.drop(job_id, place)

    def put_blob(self, job_id: int, kind: str, data: bytes) -> None:
        """Stores bytes of a job."""
        self._store.put_blob(job_id, kind, data)

    def get_blob(self, job_id: int, kind: str) -> bytes | None:
        """The stored bytes of a job, by their kind."""
        return self._store.get_blob(job_id, kind)


def _without_loop(call: Callable[[], T]) -> T:
    """Calls in a thread without an event loop, for any caller: Prefect's storages run their own loop."""
    return in_thread(call, "prefect-jobs-storage").result()
