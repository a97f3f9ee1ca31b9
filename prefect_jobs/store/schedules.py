"""Schedules: what was last given to them, and their deployments in Prefect."""

import hashlib
import json
from dataclasses import asdict, fields

from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from prefect_jobs.records import ScheduleRecord
from prefect_jobs.store.database import Database
from prefect_jobs.store.tables import SCHEDULES
from prefect_jobs.store.values import clean, storable

_COLUMNS = [getattr(SCHEDULES.c, item.name).label(item.name) for item in fields(ScheduleRecord)]


class ScheduleStore:
    """The schedules in one database; a part of :class:`prefect_jobs.store.store.Store`."""

    database: Database

    def save_schedule(self, record: ScheduleRecord) -> None:
        """Writes a schedule; it replaces the one of that app, user and name."""
        row = storable(asdict(record))
        key = _key(record.label, record.user, record.name)
        present = update(SCHEDULES).where(SCHEDULES.c.key == key).values(**row)
        with self.database.writing() as connection:
            if connection.execute(present).rowcount:
                return
            try:
                with connection.begin_nested():
                    connection.execute(insert(SCHEDULES).values(key=key, **row))
            except IntegrityError:  # another process has created it at this moment
                connection.execute(present)

    def schedules(self, label: str | None = None, user: str | None = None) -> list[ScheduleRecord]:
        """The schedules of an app, or of all, in the order of their names."""
        wanted = select(*_COLUMNS)
        if label is not None:
            wanted = wanted.where(SCHEDULES.c.label == clean(label))
        if user is not None:
            wanted = wanted.where(SCHEDULES.c.user == clean(user))
        with self.database.reading() as connection:
            rows = connection.execute(wanted.order_by(SCHEDULES.c.name, SCHEDULES.c.label, SCHEDULES.c.user)).mappings()
            return [ScheduleRecord(**row) for row in rows]

    def schedule(self, label: str, user: str, name: str) -> ScheduleRecord | None:
        """The schedule of that name; ``None``: there is none."""
        with self.database.reading() as connection:
            wanted = select(*_COLUMNS).where(SCHEDULES.c.key == _key(label, user, name))
            row = connection.execute(wanted).mappings().first()
            return None if row is None else ScheduleRecord(**row)

    def schedule_of(self, deployment_id: str) -> ScheduleRecord | None:
        """The schedule with that deployment; ``None``: there is none."""
        with self.database.reading() as connection:
            wanted = select(*_COLUMNS).where(SCHEDULES.c.deployment_id == deployment_id)
            row = connection.execute(wanted).mappings().first()
            return None if row is None else ScheduleRecord(**row)

    @staticmethod
    def schedule_key(record: ScheduleRecord) -> str:
        """Identifies the app, user and name of a schedule."""
        return _key(record.label, record.user, record.name)

    def delete_schedule(self, record: ScheduleRecord) -> None:
        """Removes a schedule."""
        with self.database.writing() as connection:
            key = _key(record.label, record.user, record.name)
            connection.execute(delete(SCHEDULES).where(SCHEDULES.c.key == key))


def _key(label: str, user: str, name: str) -> str:
    return hashlib.sha256(json.dumps([clean(label), clean(user), clean(name)]).encode()).hexdigest()
