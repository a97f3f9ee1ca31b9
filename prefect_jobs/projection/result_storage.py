"""Prefect's result storage, for results that are too large for SQL.

The storage is looked up when a result is written, and noted with it: the default may change later.
"""

import logging
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect_jobs.projection.prefect_api import PrefectApi

log = logging.getLogger(__name__)


def configured() -> tuple[str | None, str]:
    """The block that the settings name for results, if any; and the folder that is used without a block."""
    from prefect.settings import get_current_settings

    settings = get_current_settings().results
    block = f"block:{settings.default_storage_block}" if settings.default_storage_block else None
    return block, f"folder:{Path(settings.local_storage_path).expanduser().absolute()}"


def of_server(api: PrefectApi) -> str | None:
    """The block that the server names for results, if any.

    Raises:
        PrefectAway: Prefect does not answer.
    """
    block = api.default_result_storage()
    return f"id:{block}" if block else None


def _opened(storage: str) -> Any:
    from prefect.blocks.core import Block
    from prefect.filesystems import LocalFileSystem

    kind, _, name = storage.partition(":")
    if kind == "folder":
        return LocalFileSystem(basepath=name)
    if kind == "id":
        return Block.load_from_ref(UUID(name), _sync=True)  # type: ignore[call-arg]
    return Block.load(name, _sync=True)  # type: ignore[call-arg]


def write(storage: str, path: str, data: bytes) -> None:
    """Stores bytes.

    Raises:
        Exception: any error of the storage.
    """
    _opened(storage).write_path(path, content=data, _sync=True)


def read(storage: str, path: str) -> bytes | None:
    """The bytes; ``None`` if they no longer exist.

    Raises:
        Exception: any error of the storage.
    """
    try:
        return bytes(_opened(storage).read_path(path, _sync=True))
    except (FileNotFoundError, ValueError):
        return None


def delete(storage: str, path: str) -> None:
    """Removes the bytes, if the storage is a folder: Prefect's storages have no deletion."""
    kind, _, name = storage.partition(":")
    if kind == "folder":
        (Path(name) / path).unlink(missing_ok=True)
    else:
        log.warning("The result %s stays in Prefect's result storage, which cannot delete", path)
