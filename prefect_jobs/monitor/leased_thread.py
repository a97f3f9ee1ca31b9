"""A thread that asks Prefect again and again, in one process of several at a time."""

import logging
import random
import threading
import uuid

from prefect_jobs.backoff import Backoff
from prefect_jobs.errors import PrefectJobsError
from prefect_jobs.projection.prefect_api import PrefectAway
from prefect_jobs.store import Store
from prefect_jobs.store.leases import kept_up

log = logging.getLogger(__name__)

#: Seconds for which the lease holds; it is renewed during a long round.
LEASE = 9.0
_BACKOFF = (2.0, 30.0)


class LeasedThread:
    """Does rounds: one each poll interval, fewer while Prefect or the database is away. Base class."""

    #: For messages: what is read in a round.
    name = ""
    #: Name of the lease in the database.
    lease = ""

    def __init__(self, store: Store, interval: float) -> None:
        """
        Args:
            store: has the lease.
            interval: seconds between two rounds.
        """
        self._store = store
        self._interval = interval
        self._owner = uuid.uuid4().hex
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=self.lease, daemon=True)
        self._backoff = Backoff(*_BACKOFF)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self) -> None:
        """Asks for the end."""
        self._stop.set()

    def join(self, seconds: float) -> bool:
        """Waits for the end; returns whether it has ended."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def round(self) -> None:
        """Does one round. Called in the thread, while it has the lease.

        Raises:
            PrefectAway: Prefect does not answer.
        """
        raise NotImplementedError

    def keep(self) -> None:
        """Keeps other leases of the subclass. Called before each round, and every few seconds during one."""

    def away(self) -> None:
        """Called when Prefect does not answer a round."""

    def answered(self) -> None:
        """Called after a round."""

    def ended(self) -> None:
        """Called in the thread at its end."""

    def _run(self) -> None:
        while not self._stop.is_set():
            pause = self._interval * random.uniform(0.9, 1.1)  # noqa: S311
            try:
                self.keep()
                if self._claim():
                    with kept_up(self._kept, LEASE / 3):
                        self.round()
                    self.answered()
                self._backoff.reset()
            except PrefectAway as error:
                self.away()
                log.info("%s cannot be read: %s", self.name, error)
                pause = self._backoff.pause()
            except PrefectJobsError as error:  # the database fails: nothing is lost
                log.warning("%s could not be read: %s", self.name, error)
                pause = self._backoff.pause()
            except Exception:
                log.exception("%s could not be read", self.name)
                pause = self._backoff.pause()
            self._stop.wait(pause)
        self.ended()
        try:
            self._store.release_lease(self.lease, self._owner)
        except PrefectJobsError:
            log.info("The lease %s could not be released; it expires by itself", self.lease)

    def _kept(self) -> bool:
        self.keep()
        return self._claim()

    def _claim(self) -> bool:
        return self._store.claim_lease(self.lease, self._owner, LEASE)
