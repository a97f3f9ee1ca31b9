"""The base of both scheduler blocks: a name before the first save, and explicit sync and async saving."""

import re
from typing import Any, ClassVar
from uuid import UUID

from anyio.to_thread import run_sync
from prefect.blocks.abstract import CredentialsBlock
from pydantic import ConfigDict, PrivateAttr

from prefect_jobs.local import temporary_server

_NAME = re.compile(r"^[a-z0-9]+(-+[a-z0-9]+)*$")


def block_name(name: str) -> str:
    """The name under which a block is saved: lower case, with ``-`` for ``_`` and spaces.

    Raises:
        ValueError: the name has other characters than letters, digits and dashes.
    """
    text = re.sub(r"[_\s]+", "-", name.strip().lower()) if isinstance(name, str) else ""
    if not _NAME.match(text):
        raise ValueError(
            f"{name!r} cannot be the name of a scheduler: use letters, digits, dashes and underscores, "
            "and begin and end with a letter or digit."
        )
    return text


class SchedulerBlock(CredentialsBlock):
    """A connection to a scheduler."""

    # An error about bad fields would repeat their values, and one of them may be a token.
    model_config = ConfigDict(hide_input_in_errors=True)

    #: The engine of the settings that it can be assigned to; see :class:`prefect_jobs.SchedulerSetting`.
    engine: ClassVar[str]
    _given_name: str | None = PrivateAttr(None)

    @property
    def name(self) -> str | None:
        """The name under which the block is, or will be, saved."""
        return self._block_document_name or self._given_name

    @property
    def saved(self) -> bool:
        """Whether Prefect has stored the block."""
        return self._block_document_id is not None

    def check(self) -> str:
        """Connects, authenticates, and reports what it finds, for people.

        Raises:
            SchedulerConnectionError: the message says what to fix.
        """
        raise NotImplementedError

    def named(self, name: str) -> None:
        """Sets the name under which :meth:`save` stores the block.

        Raises:
            ValueError: see :func:`block_name`.
        """
        self._given_name = block_name(name)

    def save(self, name: str | None = None, overwrite: bool = False, client: Any = None) -> UUID:
        """Stores the block in Prefect, by default under its own name. Works, and blocks, inside a running loop.

        Raises:
            ValueError: it has no name, or another block has that name (``overwrite=True`` replaces that block).
        """
        temporary_server.ensure()
        return super().save(self._saving_name(name), overwrite=overwrite, _sync=True)  # type: ignore[call-arg, return-value]

    async def asave(self, name: str | None = None, overwrite: bool = False, client: Any = None) -> UUID:
        """As :meth:`save`."""
        await run_sync(temporary_server.ensure)
        return await super().asave(self._saving_name(name), overwrite=overwrite, client=client)

    def _saving_name(self, name: str | None) -> str | None:
        if name is not None:
            return block_name(name)
        if self._block_document_name is None and self._given_name is None:
            raise ValueError("The scheduler has no name: save it as .save('name').")
        return self._block_document_name or self._given_name
