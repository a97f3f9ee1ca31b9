"""The results of many jobs on Dask clusters: gathered together, as much at once as fits into memory, and released."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from prefect_jobs.errors import DatabaseError, SchedulerConnectionError
from prefect_jobs.jobs import changes
from prefect_jobs.jobs.dask.state import DaskState, encode
from prefect_jobs.jobs.handle import Handle
from prefect_jobs.jobs.observation import Fetched, OutputsNotFetched
from prefect_jobs.records import ChangeOf, Written
from prefect_jobs.schedulers.dask.client import DaskClient
from prefect_jobs.schedulers.dask.connection import DaskError

log = logging.getLogger(__name__)

#: Number of bytes that are gathered together; a larger result is gathered by itself.
BYTES = 16 * 2**20

Answers = list[tuple[int, Fetched | Exception]]


class Fetching(Protocol):
    """An engine, as far as results need it."""

    handle: Handle

    @property
    def state(self) -> DaskState:
        """The state of the submission."""
        ...

    @property
    def given_up(self) -> bool:
        """Whether futures of a user have failed."""
        ...

    def client(self) -> DaskClient:
        """The client for the scheduler."""
        ...

    def check_there(self, found: Mapping[str, Any]) -> int:
        """The bytes of the results, by the scheduler's answer."""
        ...

    def fetched(self, parts: Sequence[Any]) -> Fetched:
        """What is kept of the results of the leaves."""
        ...


def fetched(engines: Sequence[Fetching]) -> Iterator[Answers]:
    """See :meth:`Engine.fetch_many`."""
    by_client, failed = _by_client(engines)
    if failed:
        yield failed
    for client, numbers in by_client.items():
        try:
            answer = client.ask()
        except (SchedulerConnectionError, DaskError) as error:
            yield [(number, OutputsNotFetched(str(error))) for number in numbers]
            continue
        sizes: dict[int, int] = {}
        lost: Answers = []
        for number in numbers:
            engine = engines[number]
            try:
                sizes[number] = engine.check_there(answer.of(engine.handle.token, engine.state.count))
            except SchedulerConnectionError as error:
                lost.append((number, OutputsNotFetched(str(error))))
            except DaskError as error:
                lost.append((number, error))
        if lost:
            yield lost
        for portion in _portions(sizes):
            wanted = [(engines[number].handle.token, engines[number].state.done) for number in portion]
            found = zip(portion, client.gather_many(wanted), strict=True)
            yield [(number, _kept(engines[number], parts)) for number, parts in found]


def _by_client(engines: Sequence[Fetching]) -> tuple[dict[DaskClient, list[int]], Answers]:
    found: dict[DaskClient, list[int]] = {}
    failed: Answers = []
    for number, engine in enumerate(engines):
        try:
            found.setdefault(engine.client(), []).append(number)
        except SchedulerConnectionError as error:
            failed.append((number, OutputsNotFetched(str(error))))
        except DatabaseError:
            raise
        except Exception as error:  # of this one job
            failed.append((number, error))
    return found, failed


def _portions(sizes: Mapping[int, int]) -> Iterator[list[int]]:
    portion: list[int] = []
    size = 0
    for number, bytes_of in sizes.items():
        if portion and size + bytes_of > BYTES:
            yield portion
            portion, size = [], 0
        portion.append(number)
        size += bytes_of
    if portion:
        yield portion


def _kept(engine: Fetching, parts: Sequence[Any] | Exception) -> Fetched | Exception:
    if isinstance(parts, SchedulerConnectionError):
        return OutputsNotFetched(str(parts))
    if isinstance(parts, Exception):
        return parts
    try:
        return engine.fetched(parts)
    except DatabaseError:
        raise
    except Exception as error:  # of this one result, or of a storage
        return error


def release(engines: Sequence[Fetching]) -> None:
    """See :meth:`Engine.release_many`."""
    by_client, _ = _by_client(engines)
    for client, numbers in by_client.items():
        ours = [engines[number] for number in numbers]
        try:
            client.release_many([(engine.handle.token, engine.state.count) for engine in ours])
        except SchedulerConnectionError as error:
            log.warning("What is left of %d jobs on the cluster could not be released: %s", len(ours), error)
            continue
        noted = [engine.handle for engine in ours if not engine.given_up]
        change: ChangeOf = lambda fresh: changes.change_for(fresh, None, native=encode(released=True))  # noqa: E731
        answers = noted[0].backend.jobs.update_all([(handle.record.id, change) for handle in noted]) if noted else []
        for handle, written in zip(noted, answers, strict=True):
            if isinstance(written, Written):
                handle.take(written.after)
