"""Takes over what is submitted to HTCondor without us, at the schedulers whose block asks for it."""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass

from prefect_jobs import adoption
from prefect_jobs.errors import DatabaseError, PrefectJobsError, SchedulerConnectionError
from prefect_jobs.jobs.condor import foreign
from prefect_jobs.jobs.condor.foreign import Work
from prefect_jobs.monitor.leased_thread import LeasedThread
from prefect_jobs.runtime.wiring import Runtime
from prefect_jobs.schedulers.condor.client import CondorClient

log = logging.getLogger(__name__)

#: Seconds between two requests for a queue, and until the blocks are read again.
PAUSE, BLOCKS = 5.0, 30.0
#: Seconds between two requests for everything in a queue; in between, only what is new there is asked for. What could
#: not be taken over is tried again then.
WHOLE = 300.0
#: Seconds before the last answer for which work counts as new: it could have come while that answer was made.
_OVERLAP = 60
#: The app of these jobs.
LABEL = "default"
#: Number of jobs that are written at once.
_AT_ONCE = 200


@dataclass
class _Queue:
    """What is known of the queue of a block."""

    client: CondorClient
    #: The owner of the block's token.
    owner: str
    #: Since when work is new, by the schedd's clock; ``None``: all is.
    since: int | None = None
    #: When everything is asked for again (monotonic).
    whole: float = 0.0


class Adoptions(LeasedThread):
    """Looks into the queues, in a separate thread."""

    name = "Queues to take over"
    lease = "adoptions"

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime.store, max(runtime.settings.poll_interval, PAUSE))
        self._runtime = runtime
        #: Names of the blocks that ask for it, when they are read again, and the queue of each.
        self._wanted: list[str] = []
        self._next = 0.0
        self._queues: dict[str, _Queue] = {}
        #: Work that cannot be taken over, of which the log has a line.
        self._refused: set[str] = set()
        self._failed: set[str] = set()

    def round(self) -> None:
        """Looks into the queue of each block."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + BLOCKS
            self._read_blocks()
        for name in self._wanted:
            if self._stop.is_set():
                return
            try:
                taken = self._take(name)
            except DatabaseError:
                raise
            except PrefectJobsError as error:  # of this scheduler: the others are asked
                if name not in self._failed:
                    log.warning("What is in the queue of %s is not taken over now: %s", name, error)
                self._failed.add(name)
                continue
            self._failed.discard(name)
            if taken:
                log.info("%d jobs in the queue of %s are followed from now on", taken, name)

    def _read_blocks(self) -> None:
        from prefect_jobs.blocks import list_schedulers

        try:
            blocks = list_schedulers()
        except SchedulerConnectionError as error:
            log.info("Which queues to take over is read again later: %s", error)
            return
        self._wanted = [str(block.name) for block in blocks if getattr(block, "adopt", "none") == "mine"]

    def _take(self, name: str) -> int:
        """Takes over what is new in a queue; returns the number of jobs."""
        client: CondorClient = self._runtime.site.scheduler(name).get_client()
        queue = self._queues.get(name)
        if queue is None or queue.client is not client:
            identity = str(client.check().get("identity") or "")
            self._queues[name] = queue = _Queue(client, identity.partition("@")[0])
        whole = time.monotonic() >= queue.whole
        since = None if whole else queue.since
        wanted, asked = foreign.new(client, queue.owner, self._store.known_tokens, since)
        for part in _parts([work for work in wanted if not work.is_dag]):
            if self._stop.is_set():
                return 0
            self._write(name, part)
        refused = sum(not self._take_one(name, work) for work in wanted if work.is_dag)
        if whole:
            queue.whole = time.monotonic() + WHOLE
        if asked is not None:
            queue.since = asked - _OVERLAP
        return len(wanted) - refused

    def _take_one(self, name: str, work: Work) -> bool:
        """Takes over one work; returns whether that was possible."""
        try:
            if not self._stop.is_set():
                adoption.take(self._runtime, adoption.draft(self._runtime, LABEL, work, name), work)
                return True
        except (SchedulerConnectionError, DatabaseError):
            raise
        except Exception as error:  # of this work: the others are taken over
            if work.token not in self._refused:
                log.warning("Cluster %d of %s is not taken over: %s", work.cluster, name, error)
            self._refused.add(work.token)
        return False

    def _write(self, name: str, part: list[Work]) -> None:
        try:
            jobs = [(work, adoption.draft(self._runtime, LABEL, work, name)) for work in part]
            self._runtime.jobs.insert_all([adoption.record_of(job, work) for work, job in jobs])
        except (SchedulerConnectionError, DatabaseError):
            raise
        except Exception:  # one of them cannot be written, or another process has it
            for work in part:
                self._take_one(name, work)


def _parts(works: list[Work]) -> Iterator[list[Work]]:
    for start in range(0, len(works), _AT_ONCE):
        yield works[start : start + _AT_ONCE]
