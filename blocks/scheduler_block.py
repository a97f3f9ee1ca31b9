"""What both scheduler blocks share: a name before they are saved, and explicit sync and async saving."""

import re
from typing import Any, ClassVar
from uuid import UUID

from anyio.to_thread import run_sync
from prefect.blocks.abstract import CredentialsBlock
from pydantic import ConfigDict, PrivateAttr

from prefect_jobs.local import temporary_server

_NAME = re.compile(r"^[a-z0-9]+(-+[a-z0-9]+)*$")


def block_name(name: str) -> str:
    """The name under which a block is saved: lower case, ``_`` and spaces as ``-``.

    Raises:
        ValueError: it cannot be made into letters, digits and dashes.
    """
    text = re.sub(r"[_\s]+", "-", name.strip().lower()) if isinstance(name, str) else ""
    if not _NAME.match(text):
        raise ValueError(
            f"{name!r} cannot be the name of a scheduler: use letters, digits, dashes and underscores, "
            "beginning and ending with a letter or digit."
        )
    return text


class SchedulerBlock(CredentialsBlock):
    """A connection to a scheduler."""

    # The text of an error about bad fields would repeat them, a token among them.
    model_config = ConfigDict(hide_input_in_errors=True)

    #: Which settings it can be assigned to; see :class:`prefect_jobs.SchedulerSetting`.
    engine: ClassVar[str]
    _given_name: str | None = PrivateAttr(None)

    @property
    def name(self) -> str | None:
        """The name under which it is, or will be, saved."""
        return self._block_document_name or self._given_name

    @property
    def saved(self) -> bool:
        """Whether Prefect has it."""
        return self._block_document_id is not None

    def check(self) -> str:
        """Connects, authenticates, and tells what is there; a report for people.

        Raises:
            SchedulerConnectionError: with what to mend.
        """
        raise NotImplementedError

    def named(self, name: str) -> None:
        """Gives it the name under which :meth:`save` stores it.

        Raises:
            ValueError: see :func:`block_name`.
        """
        self._given_name = block_name(name)

    def save(self, name: str | None = None, overwrite: bool = False, client: Any = None) -> UUID:
        """Stores the block in Prefect, under its own name if none is given. Blocks, also inside a running loop.

        Raises:
            ValueError: it has no name, or another block has it (then ``overwrite=True`` replaces that one).
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
