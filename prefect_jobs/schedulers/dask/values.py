"""Results and work as bytes, by Dask's own serialisation, and back."""

import io
import pickle
from dataclasses import dataclass
from typing import Any

from prefect_jobs.schedulers.dask.connection import DaskError
from prefect_jobs.schedulers.dask.work import Shape, Work, has_futures


def first_cause(error: BaseException) -> str:
    """The original error, if Dask only reports that something went wrong."""
    while error.__cause__ is not None or error.__context__ is not None:
        error = error.__cause__ or error.__context__ or error
    return f"{type(error).__name__}: {error}"


def result_to_bytes(value: Any) -> bytes:
    """A result as bytes.

    Raises:
        DaskError: it cannot be serialised.
    """
    from distributed.protocol.serialize import serialize_bytes

    try:
        return bytes(serialize_bytes(value, on_error="raise"))
    except Exception as error:  # an object's pickling may raise anything
        raise DaskError(f"The result, a {type(value).__name__}, cannot be serialised: {first_cause(error)}") from error


def result_from_bytes(data: bytes) -> Any:
    """The result.

    Raises:
        DaskError: it cannot be read here: a module is missing, or has another version.
    """
    from distributed.protocol.serialize import deserialize_bytes

    try:
        return deserialize_bytes(data)
    except Exception as error:  # an object's unpickling may raise anything
        raise DaskError(
            f"The result cannot be read in this process: {error or type(error).__name__}. "
            "It needs the modules with which it was made, in matching versions."
        ) from error


@dataclass(frozen=True)
class KeptWork:
    """Work as bytes."""

    data: bytes
    #: Why the leaves are left out, for people; ``None``: they are not, or they are futures, which cannot be kept.
    problem: str | None = None


def work_to_bytes(given: Work, limit: int) -> KeptWork:
    """Work as bytes, so that it can be submitted again. The leaves are left out if they are futures, cannot be pickled,
    or are larger than ``limit`` bytes."""
    problem: str | None = None
    try:
        leaves = _without_futures(given.leaves)
    except Exception as error:  # pickling a user's objects may raise anything
        leaves, problem = b"", f"it cannot be pickled: {first_cause(error)}"
    if len(leaves) > limit:
        size = len(leaves) / 2**20
        leaves, problem = b"", f"it is {size:.1f} MiB large, but at most {limit / 2**20:g} MiB are kept"
    return KeptWork(pickle.dumps({"shape": given.shape, "futures": has_futures(given), "leaves": leaves}), problem)


def _without_futures(leaves: list[Any]) -> bytes:
    """Leaves as bytes; empty if they contain a future, at any depth: it is useless once its client has closed."""
    import cloudpickle
    from distributed import Future

    found: list[Any] = []

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        def reducer_override(self, thing: Any) -> Any:
            if isinstance(thing, Future):
                found.append(thing)
            return super().reducer_override(thing)

    stream = io.BytesIO()
    Pickler(stream).dump(leaves)
    return b"" if found else stream.getvalue()


def shape_from_bytes(data: bytes) -> tuple[Shape, bool]:
    """The structure of the work, and whether parts of it were futures. Needs no modules of the work."""
    kept = pickle.loads(data)  # noqa: S301  (our own database)
    return kept["shape"], bool(kept["futures"])


def work_from_bytes(data: bytes) -> Work:
    """The work; without leaves if they were not kept.

    Raises:
        DaskError: the leaves cannot be read here.
    """
    try:
        kept = pickle.loads(data)  # noqa: S301  (our own database)
        return Work(pickle.loads(kept["leaves"]) if kept["leaves"] else [], kept["shape"])  # noqa: S301
    except Exception as error:  # unpickling may raise anything
        raise DaskError(f"The work cannot be read again in this process: {error or type(error).__name__}.") from error
