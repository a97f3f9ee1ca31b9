"""Leases: which process has the right to a continuing activity, and until when."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, bindparam, delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from prefect_jobs import clock
from prefect_jobs.errors import PrefectJobsError
from prefect_jobs.store.database import Database
from prefect_jobs.store.tables import JOBS, LEASES

log = logging.getLogger(__name__)

# What is written most often is made once.
_FREE = or_(LEASES.c.owner == bindparam("the_owner"), LEASES.c.until < bindparam("now"))
_CLAIM = (
    update(LEASES)
    .where(LEASES.c.name == bindparam("the_name"), _FREE)
    .values(owner=bindparam("owner"), until=bindparam("until"))
)
_RELEASE = delete(LEASES).where(
    LEASES.c.name.in_(bindparam("names", expanding=True)), LEASES.c.owner == bindparam("the_owner")
)

#: Seconds after which the thread that renews leases wakes, if there are none.
_IDLE = 60.0


class LeaseStore:
    """The leases in one database; a part of :class:`prefect_jobs.store.store.Store`.

    They expire by the database's clock, since the clocks of hosts may disagree.
    """

    database: Database

    def claim_lease(self, name: str, owner: str, seconds: float) -> bool:
        """Whether ``owner`` has the lease for ``seconds`` from now; a repeated claim renews it.

        Args:
            name: the activity.
            owner: the process.
            seconds: how long the lease holds.
        """
        with self.database.writing() as connection:
            now = self.database.now(connection)
            values = {"owner": owner, "until": now + timedelta(seconds=seconds)}
            if connection.execute(_CLAIM, {**values, "the_name": name, "the_owner": owner, "now": now}).rowcount:
                return True
            try:
                with connection.begin_nested():
                    connection.execute(insert(LEASES).values(name=name, **values))
            except IntegrityError:
                return False  # another owner has it
            return True

    def claim_leases(self, names: Sequence[str], owner: str, seconds: float) -> set[str]:
        """As :meth:`claim_lease`, for many in one transaction; returns those that ``owner`` has."""
        with self.database.writing() as connection:
            now = self.database.now(connection)
            until = now + timedelta(seconds=seconds)
            there = select(LEASES.c.name, LEASES.c.owner, LEASES.c.until).where(LEASES.c.name.in_(names))
            rows = connection.execute(there.order_by(LEASES.c.name).with_for_update()).all()
            mine = {str(row.name) for row in rows if row.owner == owner or row.until < now}
            connection.execute(update(LEASES).where(LEASES.c.name.in_(mine)).values(owner=owner, until=until))
            known = {str(row.name) for row in rows}
            new = [{"name": name, "owner": owner, "until": until} for name in sorted(set(names) - known)]
            if not new:
                return mine
            try:
                with connection.begin_nested():
                    connection.execute(insert(LEASES), new)
            except IntegrityError:
                return mine  # another process claims some of them: the others are claimed the next time
            return mine | {str(row["name"]) for row in new}

    def release_lease(self, name: str, owner: str) -> None:
        """Releases the lease, if ``owner`` still has it."""
        self.release_leases([name], owner)

    def release_leases(self, names: Sequence[str], owner: str) -> None:
        """As :meth:`release_lease`, for many."""
        with self.database.writing() as connection:
            connection.execute(_RELEASE, {"names": list(names), "the_owner": owner})

    # -- the results of jobs ----------------------------------------------------------------------------

    def claim_results(self, job_id: int, owner: str, seconds: float) -> bool:
        """Whether ``owner`` has the lease on the job's results for ``seconds``."""
        return bool(self.claim_all_results([job_id], owner, seconds))

    def claim_all_results(self, job_ids: Sequence[int], owner: str, seconds: float) -> set[int]:
        """As :meth:`claim_results`, for many in one transaction; returns those that ``owner`` has."""
        now = clock.now()
        free = or_(JOBS.c.results_owner.is_(None), JOBS.c.results_owner == owner, JOBS.c.results_until < now)
        values = {"results_owner": owner, "results_until": now + timedelta(seconds=seconds)}
        return self._write_results(job_ids, free, values)

    def release_results(self, job_id: int, owner: str) -> None:
        """Releases the lease, if ``owner`` still has it."""
        self.release_all_results([job_id], owner)

    def release_all_results(self, job_ids: Sequence[int], owner: str) -> None:
        """As :meth:`release_results`, for many."""
        self._write_results(job_ids, JOBS.c.results_owner == owner, {"results_owner": None, "results_until": None})

    def _write_results(
        self, job_ids: Sequence[int], condition: ColumnElement[bool], values: dict[str, Any]
    ) -> set[int]:
        with self.database.writing() as connection:
            # In the order of ids, as in all writes of many jobs: otherwise two would wait for each other.
            which = select(JOBS.c.id).where(JOBS.c.id.in_(job_ids), condition).order_by(JOBS.c.id).with_for_update()
            found = {int(job_id) for job_id in connection.execute(which).scalars()}
            if found:
                connection.execute(update(JOBS).where(JOBS.c.id.in_(found)).values(**values))
        return found

    def others_hold(self, prefix: str, owner: str) -> bool:
        """Whether another owner has a lease whose name begins so."""
        with self.database.reading() as connection:
            theirs = LEASES.c.name.startswith(prefix, autoescape=True), LEASES.c.owner != owner
            wanted = select(LEASES.c.name).where(*theirs, LEASES.c.until >= self.database.now(connection)).limit(1)
            return connection.execute(wanted).first() is not None

    def ended_leases(self, prefix: str) -> list[tuple[str, str]]:
        """Names and owners of leases of a kind that expired without being released: their owners are dead."""
        with self.database.reading() as connection:
            kind = LEASES.c.name.startswith(prefix, autoescape=True)
            wanted = select(LEASES.c.name, LEASES.c.owner).where(kind, LEASES.c.until < self.database.now(connection))
            return [(str(name), str(owner)) for name, owner in connection.execute(wanted)]


@contextmanager
def kept_up(renew: Callable[[], object], interval: float) -> Iterator[None]:
    """Calls ``renew`` every ``interval`` seconds while the context lasts, in a thread that all leases share."""
    lease = _Kept(renew, interval)
    _keeper.add(lease)
    try:
        yield
    finally:
        lease.end()


class _Kept:
    """A lease that is renewed until :meth:`end`."""

    def __init__(self, renew: Callable[[], object], interval: float) -> None:
        self._renew = renew
        self._interval = interval
        #: Held while it is renewed.
        self._lock = threading.Lock()
        self.over = False
        #: When it is renewed next (monotonic).
        self.due = time.monotonic() + interval

    def end(self) -> None:
        """Returns when it is not renewed any more."""
        with self._lock:
            self.over = True

    def renew(self) -> None:
        """Renews it."""
        with self._lock:
            if self.over:
                return
            try:
                self._renew()
            except PrefectJobsError as error:  # the database fails: tried again; the lease may expire meanwhile
                log.warning("A lease could not be renewed: %s", error)
            except Exception:  # the thread goes on for the others
                log.exception("A lease could not be renewed; trying again")
            self.due = time.monotonic() + self._interval


class _Keeper:
    """The thread that renews leases. To start one for each lease takes longer than what most leases are for."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._leases: list[_Kept] = []
        self._thread: threading.Thread | None = None
        #: When the thread wakes (monotonic).
        self._wakes = 0.0

    def add(self, lease: _Kept) -> None:
        """Renews a lease from now on."""
        with self._changed:
            self._leases.append(lease)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="prefect-jobs-lease", daemon=True)
                self._thread.start()
            elif lease.due < self._wakes:
                self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._leases = [lease for lease in self._leases if not lease.over]
                self._wakes = min((lease.due for lease in self._leases), default=time.monotonic() + _IDLE)
                self._changed.wait(max(0.0, self._wakes - time.monotonic()))
                due = [lease for lease in self._leases if lease.due <= time.monotonic()]
            for lease in due:
                lease.renew()

    def forget(self) -> None:
        """In a forked child: the thread and its leases belong to the parent."""
        self._changed = threading.Condition()
        self._leases, self._thread = [], None


_keeper = _Keeper()
os.register_at_fork(after_in_child=_keeper.forget)
