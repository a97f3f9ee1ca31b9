"""Calls of user code: hooks that may be plain or ``async def``, functions given by their dotted path."""

import asyncio
import importlib
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import anyio.from_thread
from anyio import NoEventLoopError

from prefect_jobs.threads import in_thread

F = TypeVar("F", bound=Callable[..., Any])
_BUILT_IN = "prefect_jobs_built_in"


def call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Calls a plain function, or runs a coroutine function to its end, in any context.

    Under an async twin, the coroutine runs in the caller's event loop (this code runs in a worker thread then);
    otherwise in a new loop.
    """
    result = function(*args, **kwargs)
    return finish(result) if inspect.isawaitable(result) else result


def finish(awaitable: Awaitable[Any]) -> Any:
    """The value of an awaitable; needs no running loop."""

    async def wrapped() -> Any:
        return await awaitable

    try:
        return anyio.from_thread.run(wrapped)
    except (RuntimeError, NoEventLoopError) as error:
        if "worker thread" not in str(error):
            raise
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(wrapped())
    # A blocking call inside a running loop blocks that loop, as documented; the hook gets its own loop.
    return in_thread(lambda: asyncio.run(wrapped()), "prefect-jobs-hook").result()


def built_in(hook: F) -> F:
    """Marks a hook of ours, for :func:`is_built_in`."""
    setattr(hook, _BUILT_IN, True)
    return hook


def is_built_in(hook: Callable[..., Any]) -> bool:
    """Whether a hook is ours, and not one of the user's type."""
    return bool(getattr(hook, _BUILT_IN, False))


def dotted_path(function: Callable[..., Any] | str) -> str:
    """The importable path of a function.

    Raises:
        ValueError: it cannot be imported by that path: a lambda, a local function, one of ``__main__``.
    """
    if isinstance(function, str):
        import_function(function)
        return function
    module = getattr(function, "__module__", None)
    name = getattr(function, "__qualname__", None)
    if not callable(function) or not module or not name:
        raise ValueError(f"{function!r} is not a function that can be imported by its path.")
    path = f"{module}.{name}"
    if module == "__main__":
        raise ValueError(
            f"{name!r} is defined in the script that runs; other processes cannot import it. Move it to a module."
        )
    if "<" in name:
        raise ValueError(f"{path!r} is a lambda or a local function; other processes cannot import it.")
    import_function(path)
    return path


def import_function(path: str) -> Callable[..., Any]:
    """The function at a dotted path.

    Raises:
        ValueError: there is no function, or the object cannot be called.
    """
    parts = path.split(".")
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        raise ValueError(f"{path!r} is not a dotted path like 'package.module.function'.")
    for cut in range(len(parts) - 1, 0, -1):
        name = ".".join(parts[:cut])
        try:
            found: Any = importlib.import_module(name)
        except ModuleNotFoundError as error:
            # Only "no such module" continues with a class in the parent; errors inside the module are reported.
            if error.name and (name == error.name or name.startswith(f"{error.name}.")):
                continue
            raise ValueError(f"{path!r} cannot be imported: {error}") from error
        except ImportError as error:
            raise ValueError(f"{path!r} cannot be imported: {error}") from error
        for part in parts[cut:]:
            found = getattr(found, part, None)
        if callable(found):
            return found  # type: ignore[no-any-return]
        break
    raise ValueError(f"There is no function at {path!r}.")


def defined_by(cls: type, name: str) -> type:
    """The class among the bases of ``cls`` that defines a method."""
    return next(each for each in cls.__mro__ if name in each.__dict__)
