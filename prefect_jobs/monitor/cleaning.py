"""What jobs that are over have left at their schedulers: it is removed before their rows are."""

import logging
import time

from prefect_jobs import statuses
from prefect_jobs.errors import DatabaseError, SchedulerConnectionError
from prefect_jobs.jobs import hooks
from prefect_jobs.jobs.base import Job
from prefect_jobs.monitor.known_types import KnownTypes
from prefect_jobs.records import JobRecord
from prefect_jobs.runtime.wiring import Runtime

log = logging.getLogger(__name__)

#: Seconds of failures in one round after which the other jobs of that type and scheduler wait for the next round.
PATIENCE = 10.0

#: The type and the scheduler of jobs.
Kind = tuple[str, str | None]


class Cleaning:
    """Calls the hook ``_clean_up`` of jobs, for one thread. A hook that fails delays jobs of that type and scheduler
    alone, and each of them has its turn."""

    def __init__(self, runtime: Runtime) -> None:
        """
        Args:
            runtime: the wiring.
        """
        self._runtime = runtime
        #: The last job that was tried in the round before: the round begins after it.
        self._begin: dict[Kind, int] = {}
        #: The same of this round, for those that wait for the next one, and the seconds of failures.
        self._stopped: dict[Kind, int] = {}
        self._failed: dict[Kind, float] = {}
        #: What the log has a line about: schedulers that do not answer, and jobs.
        self._away: set[Kind] = set()
        self._told: set[int] = set()
        self._types = KnownTypes("Old jobs of the type %r stay, since what they have left cannot be removed: %s")

    def begin(self) -> None:
        """Begins a round. In each, jobs are given in the order of their ids."""
        self._begin, self._stopped, self._failed = self._stopped, {}, {}

    def done(self, record: JobRecord) -> bool:
        """Removes what is left of a job that is over.

        Returns:
            Whether nothing is left. If not, the job is tried again in a later round.

        Raises:
            DatabaseError: the database fails.
        """
        cls = self._types.get(record.type)
        if cls is None:
            return False
        left = record.noted.left
        if not left and hooks.defined_by(cls, "_clean_up") is Job:
            return True
        if left and (why := self._why_not(record)):
            self._say(record, why)
            return False
        kind = record.type, record.scheduler
        if kind in self._stopped or record.id <= self._begin.get(kind, 0):
            return False
        fresh = self._runtime.store.get(record.id)
        if fresh is None or fresh.version != record.version:
            return False  # it was changed since: perhaps it is submitted again
        began = time.monotonic()
        try:
            self._runtime.job(fresh).hooks.clean_up()
        except DatabaseError:
            raise
        except Exception as error:  # of the type's hook, which is user code
            self._tell(fresh, kind, error)
            self._failed[kind] = self._failed.get(kind, 0.0) + time.monotonic() - began
            if self._failed[kind] > PATIENCE:
                self._stopped[kind] = record.id
            return False
        self._away.discard(kind)
        self._told.discard(record.id)
        return True

    def _why_not(self, record: JobRecord) -> str:
        """Why what is left at a scheduler is not removed without a person; empty: it is.

        The work must be ours, and at a scheduler that can be reached from this machine; and the scheduler must have
        said that it is over. If a person has said so, it may still run.
        """
        noted, observed = record.noted, record.state.observed_status
        if noted.foreign:
            return "its work was submitted without us, and a part of it is at the scheduler"
        if noted.host not in (None, self._runtime.settings.host_name):
            return f"a part of its work is at the local scheduler of {noted.host}"
        if observed is None or statuses.is_final(statuses.parse(observed)):
            return ""
        if observed != statuses.RESULTS_READY:
            return "its status was set by hand, and its work may still run"
        return "" if noted.fetched else "its outputs were not processed, and may be at its scheduler alone"

    def _say(self, record: JobRecord, why: str) -> None:
        """Logs why a job stays, once."""
        if record.id not in self._told:
            self._told.add(record.id)
            log.warning("Job %d (%r) is old, and stays: %s. Delete it.", record.id, record.name, why)

    def _tell(self, record: JobRecord, kind: Kind, error: Exception) -> None:
        """Logs a failure: once for each scheduler that does not answer, and otherwise once for each job."""
        which = f"Job {record.id} ({record.name!r})"
        if isinstance(error, SchedulerConnectionError):
            if kind not in self._away:
                self._away.add(kind)
                log.warning(
                    "%s is old, and stays until what it has left can be removed, as others at its scheduler: %s",
                    which,
                    error,
                )
        elif record.id not in self._told:
            self._told.add(record.id)
            log.error("%s is old, and stays until its _clean_up() succeeds: %s", which, error, exc_info=error)
