"""The types of jobs that this monitor knows."""

import logging

from prefect_jobs.jobs import registry
from prefect_jobs.jobs.base import Job

log = logging.getLogger(__name__)


class KnownTypes:
    """Loads types, and logs, once for each that cannot be loaded, what happens to its jobs."""

    def __init__(self, text: str) -> None:
        """
        Args:
            text: the log line, with places for the type and the reason.
        """
        self._text = text
        self._told: set[str] = set()

    def get(self, name: str) -> type[Job] | None:
        """The class of a type; ``None`` if it cannot be loaded here."""
        try:
            cls = registry.load(name)
        except Exception as error:  # importing a user's module may raise anything
            cls, why = None, f"it cannot be loaded: {error}"
        else:
            why = "this process does not know it"
        if cls is not None and issubclass(cls, Job):
            return cls
        if name not in self._told:
            self._told.add(name)
            log.warning(self._text, name, why)
        return None
