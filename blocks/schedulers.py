"""The functions that list, read, create and register scheduler blocks."""

from contextlib import suppress
from typing import Any

from anyio.to_thread import run_sync
from pydantic import ValidationError

from prefect_jobs.blocks._bridge import ask_prefect, client_of_prefect
from prefect_jobs.blocks.condor_scheduler import CondorScheduler
from prefect_jobs.blocks.dask_scheduler import DaskScheduler
from prefect_jobs.blocks.scheduler_block import SchedulerBlock, block_name

KINDS: dict[str, type[SchedulerBlock]] = {"condor": CondorScheduler, "dask": DaskScheduler}
_ALIASES = {"htcondor": "condor", "condorscheduler": "condor", "daskscheduler": "dask"}


def list_schedulers(timeout: float = 10.0) -> list[SchedulerBlock]:
    """All saved schedulers, in the order of their names.

    Raises:
        SchedulerConnectionError: Prefect does not answer within ``timeout`` seconds.
    """
    return ask_prefect(_list, "the list of schedulers", timeout)


async def alist_schedulers(timeout: float = 10.0) -> list[SchedulerBlock]:  # noqa: ASYNC109  (as its twin)
    """As :func:`list_schedulers`."""
    return await run_sync(list_schedulers, timeout)


def get_scheduler(name: str, timeout: float = 10.0) -> SchedulerBlock | None:
    """The saved scheduler with a name (``_`` counts as ``-``); ``None`` if there is none.

    Raises:
        SchedulerConnectionError: Prefect does not answer within ``timeout`` seconds.
    """
    try:
        wanted = block_name(name)
    except ValueError:
        return None
    return ask_prefect(lambda: _get(wanted), f"scheduler {wanted!r}", timeout)


async def aget_scheduler(name: str, timeout: float = 10.0) -> SchedulerBlock | None:  # noqa: ASYNC109  (as its twin)
    """As :func:`get_scheduler`."""
    return await run_sync(get_scheduler, name, timeout)


def delete_scheduler(name: str, timeout: float = 10.0) -> bool:
    """Deletes the saved block of that name; returns whether there was one.

    Raises:
        SchedulerConnectionError: Prefect does not answer within ``timeout`` seconds.
    """
    from prefect.exceptions import ObjectNotFound

    saved_as = block_name(name)

    async def delete() -> bool:
        async with client_of_prefect() as client:
            found = False
            for cls in KINDS.values():
                with suppress(ObjectNotFound):
                    document = await client.read_block_document_by_name(saved_as, cls.get_block_type_slug())
                    await client.delete_block_document(document.id)
                    found = True
            return found

    return ask_prefect(delete, f"deletion of the scheduler {name!r}", timeout)


def create_scheduler(name: str, host: str, scheduler_type: str = "condor", **kwargs: Any) -> SchedulerBlock:
    """An unsaved block with a name; ``.save()`` stores it.

    Args:
        name: letters, digits, dashes; ``_`` becomes ``-``.
        host: see the block.
        scheduler_type: ``"condor"`` or ``"dask"``.
        **kwargs: the block's other fields.

    Raises:
        ValueError: a bad name, type or argument.
    """
    kind = str(scheduler_type).strip().lower()
    cls = KINDS.get(_ALIASES.get(kind, kind))
    if cls is None:
        raise ValueError(f"There is no scheduler type {scheduler_type!r}. Valid: {', '.join(map(repr, KINDS))}.")
    unknown = sorted(set(kwargs) - set(cls.model_fields))
    if unknown:
        raise ValueError(
            f"{cls.__name__} takes no {', '.join(map(repr, unknown))}. Valid: {', '.join(cls.model_fields)}."
        )
    saved_as = block_name(name)
    given = {key: value for key, value in kwargs.items() if value is not None}
    try:
        block = cls(**{"host": host, **given})
    except ValidationError as error:
        # Not chained: pydantic's text repeats the values, and one of them may be a secret.
        problems = "; ".join(
            f"{'.'.join(map(str, item['loc'])) or cls.__name__}: {item['msg']}" for item in error.errors()
        )
        raise ValueError(f"The scheduler {name!r} cannot be created. {problems}") from None
    block.named(saved_as)
    return block


def create_condor_scheduler(
    name: str,
    host: str,
    username: str | None = None,
    password: str | None = None,
    private_key_path: str | None = None,
    private_key_pass: str | None = None,
    **more: Any,
) -> CondorScheduler:
    """An unsaved HTCondor block; ``more``: ``port``, ``token``, ``pool``, ``schedd_name``.

    Raises:
        ValueError: a bad name or argument.
    """
    ssh = {
        "username": username,
        "password": password,
        "private_key_path": private_key_path,
        "private_key_pass": private_key_pass,
    }
    block = create_scheduler(name, host, "condor", **ssh, **more)
    assert isinstance(block, CondorScheduler)  # noqa: S101  (for the type checker)
    return block


def create_dask_scheduler(
    name: str,
    host: str,
    timeout: float | None = None,
    heartbeat_interval: float | None = None,
    dashboard: str | None = None,
) -> DaskScheduler:
    """An unsaved Dask block.

    Raises:
        ValueError: a bad name or argument.
    """
    block = create_scheduler(
        name, host, "dask", timeout=timeout, heartbeat_interval=heartbeat_interval, dashboard=dashboard
    )
    assert isinstance(block, DaskScheduler)  # noqa: S101  (for the type checker)
    return block


def register_blocks() -> list[str]:
    """Registers the block types in Prefect.

    Returns:
        Their slugs.

    Raises:
        SchedulerConnectionError: Prefect cannot be reached.
    """

    async def register() -> list[str]:
        for cls in KINDS.values():
            await cls.aregister_type_and_schema()
        return [str(cls.get_block_type_slug()) for cls in KINDS.values()]

    return ask_prefect(register, "registration of blocks", timeout=30.0)


async def _list() -> list[SchedulerBlock]:
    from prefect.exceptions import PrefectHTTPStatusError

    found: list[SchedulerBlock] = []
    async with client_of_prefect() as client:
        for cls in KINDS.values():
            try:
                documents = await client.read_block_documents_by_type(cls.get_block_type_slug(), limit=200)
            except PrefectHTTPStatusError as error:
                if error.response.status_code != 404:
                    raise
                continue  # the type is not registered, so no block of it is saved
            for document in documents:
                if document.name:
                    found.append(await cls.aload(document.name, client=client))
    return sorted(found, key=lambda block: str(block.name))


async def _get(name: str) -> SchedulerBlock | None:
    async with client_of_prefect() as client:
        for cls in KINDS.values():
            try:
                found: SchedulerBlock = await cls.aload(name, client=client)
            except ValueError:  # Prefect has no block of that name and type
                continue
            return found
    return None
