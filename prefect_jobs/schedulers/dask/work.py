"""The work that users submit: Dask objects, or lists, tuples and dicts of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Shape = dict[str, Any]


@dataclass(frozen=True)
class Work:
    """Leaves to be computed, and their structure."""

    leaves: list[Any]
    #: JSON: the place of each leaf in the value of :func:`put_together`.
    shape: Shape


def take_apart(given: Any) -> Work:
    """The leaves of a value.

    Raises:
        ValueError: a value that is neither a Dask object nor a list, tuple or dict of these, or that is empty.
    """
    leaves: list[Any] = []
    shape = _shape(given, leaves, "It")
    if not leaves:
        raise ValueError("The argument of execute() contains nothing to compute.")
    return Work(leaves, shape)


def has_futures(given: Work) -> bool:
    """Whether parts of the work are futures, which are computed already."""
    from distributed import Future

    return any(isinstance(leaf, Future) for leaf in given.leaves)


def check_callable_here(given: Work) -> None:
    """Whether the clients of futures can be called from this thread.

    Raises:
        ValueError: a client runs in the event loop that this call blocks.
    """
    import asyncio

    from distributed import Future

    try:
        running = asyncio.get_running_loop()
    except RuntimeError:
        return
    for leaf in given.leaves:
        if isinstance(leaf, Future) and leaf.client.loop.asyncio_loop is running:
            raise ValueError(
                f"The future {leaf.key} belongs to a client in this event loop, which execute() blocks. "
                "Call await aexecute()."
            )


def _shape(given: Any, leaves: list[Any], where: str) -> Shape:
    from dask.base import is_dask_collection
    from distributed import Future

    if isinstance(given, Future) or is_dask_collection(given):
        leaves.append(given)
        return {"leaf": len(leaves) - 1}
    if type(given) in (list, tuple):
        items = [_shape(item, leaves, f"{where}[{number}]") for number, item in enumerate(given)]
        return {type(given).__name__: items}
    if type(given) is dict:
        keys = list(given)
        if not all(isinstance(key, str | int) and not isinstance(key, bool) for key in keys):
            raise ValueError("The keys of a dict of Dask objects must be texts or whole numbers.")
        return {"keys": keys, "values": [_shape(given[key], leaves, f"{where}[{key!r}]") for key in keys]}
    raise ValueError(
        f"{where} is {type(given).__name__}: execute() takes a dask.delayed object, a distributed.Future, a Dask "
        "collection, or a list, tuple or dict of these."
    )


def size(shape: Shape) -> int:
    """The number of leaves in a structure."""
    numbers: list[int] = []
    put_together(shape, numbers.append)
    return len(numbers)


def put_together(shape: Shape, leaf: Callable[[int], Any]) -> Any:
    """The results in the structure of the submitted work."""
    if "leaf" in shape:
        return leaf(int(shape["leaf"]))
    if "list" in shape:
        return [put_together(item, leaf) for item in shape["list"]]
    if "tuple" in shape:
        return tuple(put_together(item, leaf) for item in shape["tuple"])
    return {key: put_together(item, leaf) for key, item in zip(shape["keys"], shape["values"], strict=True)}
