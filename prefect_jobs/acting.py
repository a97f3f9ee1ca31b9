"""Who changes a job's status: its user, unless it is said otherwise."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

#: Who has changed a status, where that is not a user: the scheduler's news, and what is done for Prefect.
SCHEDULER, PREFECT = "scheduler", "prefect"
_who: ContextVar[str | None] = ContextVar("prefect_jobs_acting", default=None)


@contextmanager
def acting(who: str) -> Iterator[None]:
    """Within it, the history of jobs names ``who`` for what this thread or task does to them."""
    before = _who.set(who)
    try:
        yield
    finally:
        _who.reset(before)


def actor(user: str) -> str:
    """Who acts now: the given user, if nothing else is said."""
    return _who.get() or user
