"""Leases: which process has the right to a continuing activity, and until when."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

from sqlalchemy import delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from prefect_jobs.errors import PrefectJobsError
from prefect_jobs.store.database import Database
from prefect_jobs.store.tables import LeaseRow

log = logging.getLogger(__name__)


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
            free = or_(LeaseRow.owner == owner, LeaseRow.until < now)
            if connection.execute(update(LeaseRow).where(LeaseRow.name == name, free).values(**values)).rowcount:
                return True
            try:
                with connection.begin_nested():
                    connection.execute(insert(LeaseRow).values(name=name, **values))
            except IntegrityError:
                return False  # another owner has it
            return True

    def claim_leases(self, names: Sequence[str], owner: str, seconds: float) -> set[str]:
        """As :meth:`claim_lease`, for many in one transaction; returns those that ``owner`` has."""
        with self.database.writing() as connection:
            now = self.database.now(connection)
            until = now + timedelta(seconds=seconds)
            there = select(LeaseRow.name, LeaseRow.owner, LeaseRow.until).where(LeaseRow.name.in_(names))
            rows = connection.execute(there.order_by(LeaseRow.name).with_for_update()).all()
            mine = {str(row.name) for row in rows if row.owner == owner or row.until < now}
            connection.execute(update(LeaseRow).where(LeaseRow.name.in_(mine)).values(owner=owner, until=until))
            known = {str(row.name) for row in rows}
            new = [{"name": name, "owner": owner, "until": until} for name in sorted(set(names) - known)]
            if not new:
                return mine
            try:
                with connection.begin_nested():
                    connection.execute(insert(LeaseRow), new)
            except IntegrityError:
                return mine  # another process claims some of them: the others are claimed the next time
            return mine | {str(row["name"]) for row in new}

    def release_lease(self, name: str, owner: str) -> None:
        """Releases the lease, if ``owner`` still has it."""
        self.release_leases([name], owner)

    def release_leases(self, names: Sequence[str], owner: str) -> None:
        """As :meth:`release_lease`, for many."""
        with self.database.writing() as connection:
            connection.execute(delete(LeaseRow).where(LeaseRow.name.in_(names), LeaseRow.owner == owner))

    def others_hold(self, prefix: str, owner: str) -> bool:
        """Whether another owner has a lease whose name begins so."""
        with self.database.reading() as connection:
            theirs = LeaseRow.name.startswith(prefix, autoescape=True), LeaseRow.owner != owner
            wanted = select(LeaseRow.name).where(*theirs, LeaseRow.until >= self.database.now(connection)).limit(1)
            return connection.execute(wanted).first() is not None

    def ended_leases(self, prefix: str) -> list[tuple[str, str]]:
        """Names and owners of leases of a kind that expired without being released: their owners are dead."""
        with self.database.reading() as connection:
            kind = LeaseRow.name.startswith(prefix, autoescape=True)
            wanted = select(LeaseRow.name, LeaseRow.owner).where(kind, LeaseRow.until < self.database.now(connection))
            return [(str(name), str(owner)) for name, owner in connection.execute(wanted)]


@contextmanager
def kept_up(renew: Callable[[], object], interval: float) -> Iterator[None]:
    """Calls ``renew`` every ``interval`` seconds while the context lasts, in a separate thread."""
    done = threading.Event()

    def keep() -> None:
        while not done.wait(interval):
            try:
                renew()
            except PrefectJobsError as error:  # the database fails: tried again; the lease may expire meanwhile
                log.warning("A lease could not be renewed: %s", error)

    keeper = threading.Thread(target=keep, name="prefect-jobs-lease", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        done.set()
        keeper.join()
