"""Calls of functions that the workers of a cluster import, as work."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def checked(function: str) -> str:
    """The import path of a function, as given.

    Raises:
        ValueError: it is none.
    """
    if not all(part.isidentifier() for part in function.split(".")) or "." not in function:
        raise ValueError(f"The function must be an import path such as 'module.function', not {function!r}.")
    return function


def by_path(function: str, arguments: Sequence[Any], keyword_arguments: Mapping[str, Any]) -> Any:
    """A call as a delayed object. Only the workers need the function's module.

    Args:
        function: the import path, ``module.function``.
        arguments: the positional arguments.
        keyword_arguments: the keyword arguments.
    """
    from dask.delayed import delayed

    short = function.rpartition(".")[2]
    call = delayed(_caller(), pure=False)
    return call(function, list(arguments), dict(keyword_arguments), dask_key_name=f"{short}-{uuid.uuid4().hex}")


def _caller() -> Callable[[str, list[Any], dict[str, Any]], Any]:
    # A function within a function is sent as code: the workers need not have this package.
    def call(function: str, arguments: list[Any], keyword_arguments: dict[str, Any]) -> Any:
        import importlib

        module, _, name = function.rpartition(".")
        return getattr(importlib.import_module(module), name)(*arguments, **keyword_arguments)

    return call
