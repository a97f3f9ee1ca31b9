"""The clock of this package: aware UTC, the same for all hosts that share a database. Tests may set it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

#: A smaller difference from the database's clock is not corrected, since the request itself takes time.
TOLERANCE = timedelta(seconds=1)


def _system_clock() -> datetime:
    return datetime.now(UTC)


_clock: Callable[[], datetime] | None = None
_offset = timedelta(0)


def now() -> datetime:
    """The present time, aware, in UTC."""
    return _clock() if _clock is not None else _system_clock() + _offset


def set_clock(clock: Callable[[], datetime] | None) -> None:
    """Replaces the clock; ``None`` restores the system's."""
    global _clock  # noqa: PLW0603  (the one switch that tests need)
    _clock = clock


def agree(shared: datetime) -> timedelta:
    """Sets the clock of this process by one that all hosts share. Heartbeats of submissions, for example, are compared
    across hosts, whose own clocks may disagree.

    Args:
        shared: the present time of the shared clock.

    Returns:
        How far this host's clock is behind it.
    """
    global _offset  # noqa: PLW0603  (the one clock of the process)
    found = shared - _system_clock()
    _offset = found if abs(found) > TOLERANCE else timedelta(0)
    return _offset


def parse(text: str) -> datetime:
    """A time that was written with :meth:`~datetime.datetime.isoformat`, as aware UTC."""
    found = datetime.fromisoformat(text)
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
