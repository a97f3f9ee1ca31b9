"""Actions that an app adds to its jobs."""

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from markupsafe import Markup

from prefect_jobs.jobs import hooks
from prefect_jobs.jobs.base import Job

log = logging.getLogger(__name__)

#: Schemes that browsers do not open a page for; a route's name may have a colon, too.
_SCHEME = re.compile(r"\s*(javascript|data|vbscript|file|blob):", re.IGNORECASE)


@dataclass(frozen=True)
class CustomJobAction:
    """An action of an app, for :class:`prefect_jobs.web.JobsTable`.

    Args:
        label: what people read.
        callback_or_url: a path or address (``{job_id}`` is replaced, else the id is added), the name of a route
            (``app:name``, with ``job_id``), the name of a method of the job, or a function that gets the job, plain or
            ``async``; its answer is ignored.
        enabled_callback: whether it is possible: ``(job)`` or ``(job, job_status)``. The server asks again when the
            action is posted.
        confirmation_message: a question before; escaped unless it is ``markupsafe.Markup``.
        show_overlay: covers the page while it works.
        modal_url: address of a page that fills a dialog.
        job_type: the class of jobs that have the action; ``None``: all.

    Raises:
        ValueError: neither a callback nor a modal, a blank label, or an address that is not http(s) or of this site.
    """

    label: str
    callback_or_url: str | Callable[..., Any] | None = None
    enabled_callback: Callable[..., Any] | None = None
    confirmation_message: str | Markup | None = None
    show_overlay: bool = False
    modal_url: str | None = None
    job_type: type[Job] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.label, str) or not self.label.strip():
            raise ValueError(f"A custom action needs a label, not {self.label!r}.")
        if self.callback_or_url is None and self.modal_url is None:
            raise ValueError(f"The action {self.label!r} needs callback_or_url or modal_url.")
        check_address(self.modal_url or "", self.label)
        if isinstance(self.callback_or_url, str) and self.is_link:
            check_address(self.callback_or_url, self.label)
        target = self.callback_or_url
        if isinstance(target, str) and not self.is_link:
            cls: Any = self.job_type or Job
            if not callable(getattr(cls, target, None)):
                raise ValueError(f"The action {self.label!r} names {target!r}, which is no method of {cls.__name__}.")

    @property
    def is_link(self) -> bool:
        """Whether it leads to a page."""
        target = self.callback_or_url
        return isinstance(target, str) and ("/" in target or ":" in target)

    @property
    def path(self) -> str | None:
        """The dotted path of the function, or the name of the method; ``None``: other processes cannot find it."""
        target = self.callback_or_url
        if isinstance(target, str):
            return None if self.is_link else target
        if target is None:
            return None
        try:
            return hooks.dotted_path(target)
        except ValueError:
            return None

    def applies_to(self, job: Job) -> bool:
        """Whether a job has the action."""
        return self.job_type is None or isinstance(job, self.job_type) or job.type == self.job_type.__name__


def check_address(text: str, label: str) -> None:
    """
    Raises:
        ValueError: the address is of another kind than http(s), or a path that browsers take for another site.
    """
    if "/" not in text and not _SCHEME.match(text):
        return  # empty, or the name of a route
    parts = urlsplit(text.strip())
    local = not parts.scheme and not parts.netloc and not text.startswith(("//", "/\\", "\\"))
    if not local and parts.scheme not in ("http", "https"):
        raise ValueError(f"The address {text!r} of the action {label!r} is neither a path of this site nor http(s).")
