"""The one clock of the product: aware UTC. Tests may set it with :func:`set_clock`."""

from collections.abc import Callable
from datetime import UTC, datetime


def _system_clock() -> datetime:
    return datetime.now(UTC)


_clock: Callable[[], datetime] = _system_clock


def now() -> datetime:
    """The present time, aware, in UTC."""
    return _clock()


def set_clock(clock: Callable[[], datetime] | None) -> None:
    """Replaces the clock; ``None`` puts the system's back."""
    global _clock  # noqa: PLW0603  (the one switch that tests need)
    _clock = clock or _system_clock


def parse(text: str) -> datetime:
    """A time that was written with :meth:`~datetime.datetime.isoformat`, as aware UTC."""
    found = datetime.fromisoformat(text)
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
