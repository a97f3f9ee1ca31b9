"""The time by the clock of Prefect's server."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx


def time_of(answer: "httpx.Response") -> datetime | None:
    """When the server answered, in whole seconds; ``None``: it does not say."""
    try:
        return parsedate_to_datetime(answer.headers["Date"]).astimezone(UTC)
    except (KeyError, ValueError):
        return None
