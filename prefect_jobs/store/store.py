"""Reading and writing jobs. Every write names the version that it read; a lost race is repeated on fresh data."""

import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from datetime import timedelta
from functools import lru_cache
from types import MappingProxyType
from typing import Any, cast

from sqlalchemy import (
    Connection,
    Update,
    bindparam,
    delete,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from prefect_jobs import clock, statuses
from prefect_jobs.errors import DatabaseError, JobStateError, PrefectJobsError
from prefect_jobs.records import FOREIGN_TOKEN, Change, ChangeOf, HistoryEntry, JobRecord, Message, StatusState, Written
from prefect_jobs.store.blobs import BlobStore, write_blobs
from prefect_jobs.store.checks import CheckStore
from prefect_jobs.store.counts import CountStore
from prefect_jobs.store.database import Database
from prefect_jobs.store.errors import JobGone, RowConflict, job_gone
from prefect_jobs.store.faces import FaceStore
from prefect_jobs.store.filters import JobQuery, conditions, order
from prefect_jobs.store.leases import LeaseStore
from prefect_jobs.store.names import groups_column, groups_of
from prefect_jobs.store.nodes import NodeStore, observed_rows, write_observed
from prefect_jobs.store.picked_up import PickedUpStore
from prefect_jobs.store.schedules import ScheduleStore
from prefect_jobs.store.tables import GROUPS, JOBS, LEASES, MESSAGES, META, RUN_DELETIONS
from prefect_jobs.store.values import clean, storable
from prefect_jobs.store.watched import WatchedStore

__all__ = ["JobGone", "Store"]

#: Number of tries of a write while others write the same job; at each try, one of them succeeds.
_RACES = 50
#: There are no more jobs than this, and databases limit the number in a LIMIT.
_MANY = 2**31
#: Before the token of deleted work of others, as the name of a lease; for how long it is known.
_DELETED, _FOR_LONG = "deleted:", timedelta(days=3650)
#: Number of ids in one statement.
_CHUNK = 500
#: Columns in which many jobs have equal values.
_ALIKE = {"label", "type", "class_name", "user", "workspace", "scheduler", "status", "status_class", "observed_status"}
_STATE_FIELDS = {item.name for item in fields(StatusState)}
_RECORD_FIELDS = {item.name for item in fields(JobRecord)} - {"state", "groups", "face_tried"}
_NAMES = (*sorted(_STATE_FIELDS | _RECORD_FIELDS), "groups")
_COLUMNS = [getattr(JOBS.c, name).label(name) for name in _NAMES[:-1]] + [groups_column()]

# Frequent statements are made once: making one takes longer than running it.
_BY_IDS = select(*_COLUMNS).where(JOBS.c.id.in_(bindparam("ids", expanding=True))).order_by(JOBS.c.id)
_BY_RUNS = select(*_COLUMNS).where(JOBS.c.flow_run_id.in_(bindparam("runs", expanding=True))).order_by(JOBS.c.id)
_SAY = insert(MESSAGES)
_INSERT = insert(JOBS).returning(JOBS.c.id, sort_by_parameter_order=True)


class Store(
    CountStore, FaceStore, NodeStore, BlobStore, LeaseStore, CheckStore, ScheduleStore, PickedUpStore, WatchedStore
):
    """The jobs in one database."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._dialect = database.engine.dialect.name
        self._identity: str | None = None

    # -- jobs -----------------------------------------------------------------------------------------

    def insert(self, record: JobRecord) -> JobRecord:
        """Writes a new job; ``id`` and ``version`` of the given record are ignored, and ``{id}`` in its name becomes
        its id. The job is behind: it has no flow run yet."""
        return self.insert_all([record])[0]

    def insert_all(self, records: Sequence[JobRecord]) -> list[JobRecord]:
        """As :meth:`insert`, for many jobs in one transaction: all of them, or none.

        Raises:
            ValueError: one of them cannot be stored.
        """
        cleaned = [replace(record, **storable(_flat(record))) for record in records]
        if not cleaned:
            return []
        rows = [_columns({**_flat(record), "face_seq": 1, "version": 1}) for record in cleaned]
        for row in rows:
            del row["id"]
        with self.database.writing() as connection:
            try:
                ids = list(connection.execute(_INSERT, rows).scalars())
            except IntegrityError as error:
                names = ", ".join(repr(record.name) for record in cleaned[:3])
                raise PrefectJobsError(f"The job {names} could not be stored: {error.orig}") from error
            written = [
                replace(record, id=job_id, version=1, name=record.name.replace("{id}", str(job_id)), face_seq=1)
                for job_id, record in zip(ids, cleaned, strict=True)
            ]
            for before, record in zip(cleaned, written, strict=True):
                if record.name != before.name:
                    connection.execute(update(JOBS).where(JOBS.c.id == record.id).values(name=record.name))
                if record.groups:
                    self._write_groups(connection, record.id, record.groups)
        return written

    def get(self, job_id: int) -> JobRecord | None:
        """The job, or ``None``."""
        return next(iter(self.records([job_id] if abs(job_id) < _MANY else [])), None)

    def with_token(self, token: str) -> JobRecord | None:
        """The job whose present submission has that token, or ``None``."""
        with self.database.reading() as connection:
            number = connection.execute(select(JOBS.c.id).where(JOBS.c.submission_token == token)).scalar()
        return None if number is None else self.get(number)

    def known_tokens(self, tokens: Sequence[str]) -> set[str]:
        """Those of the tokens that jobs have, or had before they were deleted while their work went on."""
        found: set[str] = set()
        with self.database.reading() as connection:
            for start in range(0, len(tokens), 500):
                part = JOBS.c.submission_token.in_(tokens[start : start + 500])
                rows = connection.execute(select(JOBS.c.submission_token).where(part)).scalars()
                found.update(str(token) for token in rows)
                marks = LEASES.c.name.in_([f"{_DELETED}{token}" for token in tokens[start : start + 500]])
                names = connection.execute(select(LEASES.c.name).where(marks)).scalars()
                found.update(name.removeprefix(_DELETED) for name in names)
        return found

    def find(self, query: JobQuery) -> list[JobRecord]:
        """The jobs of a query, in one statement.

        Raises:
            ValueError: unknown fields or lookups, a negative limit or offset.
        """
        for name, number in (("limit", query.limit), ("offset", query.offset)):
            if number is not None and (not isinstance(number, int) or isinstance(number, bool) or number < 0):
                raise ValueError(f"{name} is a whole number from 0, not {number!r}.")
        chosen, ordered = conditions(query, self._dialect), order(query.order_by)
        if query.limit is None:
            statement = select(*_COLUMNS).where(*chosen).order_by(*ordered)
            if query.offset and self._dialect == "sqlite":
                statement = statement.limit(-1)  # SQLite has no OFFSET without LIMIT
            return self._read(statement.offset(min(query.offset, _MANY)) if query.offset else statement)
        # Which ones is found by their ids, often in an index alone; only rows that are returned are read.
        ids = select(JOBS.c.id).where(*chosen).order_by(*ordered).limit(min(query.limit, _MANY))
        ids = ids.offset(min(query.offset, _MANY)) if query.offset else ids
        return self._read(select(*_COLUMNS).where(JOBS.c.id.in_(ids)).order_by(*ordered))

    def records(self, job_ids: Sequence[int]) -> list[JobRecord]:
        """Jobs by their ids, without those that were deleted."""
        found: list[JobRecord] = []
        for start in range(0, len(job_ids), _CHUNK):
            found += self._read(_BY_IDS, {"ids": list(job_ids[start : start + _CHUNK])})
        return found

    def records_of_runs(self, flow_run_ids: Sequence[str]) -> list[JobRecord]:
        """The jobs that flow runs show."""
        found: list[JobRecord] = []
        for start in range(0, len(flow_run_ids), _CHUNK):
            found += self._read(_BY_RUNS, {"runs": list(flow_run_ids[start : start + _CHUNK])})
        return found

    def update(self, job_id: int, change: ChangeOf, known: JobRecord | None = None) -> Written:
        """Applies ``change`` to the present record of the job.

        ``change`` gets the record and returns what to write (``None``: nothing). If another process writes in between,
        it is called again with the new record, so that no write is lost.

        Args:
            job_id: the job.
            change: computes what to write.
            known: the record as last read. It is tried first, which saves reading it; if that is not the newest one,
            or ``change`` writes nothing for it, the newest one is read.

        Raises:
            JobGone: the job was deleted.
        """
        if known is not None and (written := self._try_known(known, change)) is not None:
            return written
        for _ in range(_RACES):
            record = self.get(job_id)
            if record is None:
                raise job_gone(job_id)
            wanted = change(record)
            if _is_empty(wanted):
                return Written(record, record, None)
            after = self._write(record, cast("Change", wanted))
            if after is not None:
                return Written(record, after, wanted)
        raise JobStateError(f"Job {job_id} is written by other processes all the time. Try again later.")

    def _try_known(self, known: JobRecord, change: ChangeOf) -> Written | None:
        """Writes on top of a record that was read before; ``None`` if the newest one must be read."""
        try:
            wanted = change(known)
        except JobStateError:
            return None  # perhaps the newest record decides otherwise
        if _is_empty(wanted):
            return None
        after = self._write(known, cast("Change", wanted))
        return None if after is None else Written(known, after, wanted)

    def update_all(
        self, changes: Sequence[tuple[int, ChangeOf]], known: Mapping[int, JobRecord] = MappingProxyType({})
    ) -> list[Written | Exception]:
        """As :meth:`update`, for many jobs together, twice at most, then one by one; an error affects one job alone.

        Args:
            changes: jobs, and what computes what to write.
            known: records as last read, which are tried first.

        Returns:
            For each what was written, or the exception of ``change`` (or that the job was deleted).
        """
        found = self._together(changes, known)
        if found.count(None) > 1:
            # Most were written by others meanwhile, as those are that are being shown: once more, on fresh data.
            late = [one for one, answer in zip(changes, found, strict=True) if answer is None]
            again = iter(self._together(late, {}))
            found = [next(again) if answer is None else answer for answer in found]
        return [self._updated(*changes[number]) if answer is None else answer for number, answer in enumerate(found)]

    def _together(
        self, changes: Sequence[tuple[int, ChangeOf]], known: Mapping[int, JobRecord]
    ) -> list[Written | Exception | None]:
        unknown = {job_id for job_id, _ in changes} - known.keys()
        fresh = {**known, **{record.id: record for record in self.records(sorted(unknown))}}
        found: list[Written | Exception | None] = [None] * len(changes)
        messages: list[dict[str, Any]] = []
        with self.database.writing() as connection:
            # In the order of ids, as in all writes of many jobs: otherwise two would wait for each other.
            for number in sorted(range(len(changes)), key=lambda number: changes[number][0]):
                job_id, change = changes[number]
                record = fresh.get(job_id)
                try:
                    if record is None:
                        raise job_gone(job_id)
                    wanted = change(record)
                    if _is_empty(wanted):
                        found[number] = None if job_id in known else Written(record, record, None)
                    elif (after := self._write_to(connection, record, cast("Change", wanted), messages)) is not None:
                        found[number] = Written(record, after, wanted)
                except (PrefectJobsError, ValueError) as error:
                    found[number] = None if job_id in known else error  # perhaps the newest record decides otherwise
            if messages:
                connection.execute(_SAY, messages)
        return found

    def _updated(self, job_id: int, change: ChangeOf) -> Written | Exception:
        try:
            return self.update(job_id, change)
        except DatabaseError:
            raise
        except (PrefectJobsError, ValueError) as error:
            return error

    def delete(self, job_id: int) -> bool:
        """Deletes the job; in the same transaction, its flow run is noted for deletion."""
        with self.database.writing() as connection:
            # One statement: it waits for a flow run that is being noted at this moment, and does not miss it.
            gone = delete(JOBS).where(JOBS.c.id == job_id).returning(JOBS.c.flow_run_id, JOBS.c.submission_token)
            row = connection.execute(gone).first()
            if row is None:
                return False
            if row.submission_token is not None and row.submission_token.startswith(FOREIGN_TOKEN):
                # The work goes on in its queue, and is not taken over again unasked.
                mark = {"name": f"{_DELETED}{row.submission_token}", "owner": "", "until": clock.now() + _FOR_LONG}
                connection.execute(delete(LEASES).where(LEASES.c.name == mark["name"]))
                connection.execute(insert(LEASES).values(**mark))
            if row.flow_run_id is not None:
                connection.execute(insert(RUN_DELETIONS).values(flow_run_id=row.flow_run_id, asked=clock.now()))
        return True

    def messages(self, job_id: int) -> list[Message]:
        """The messages of a job, oldest first."""
        return self._messages(MESSAGES.c.job_id == job_id)

    def history(self, job_id: int) -> list[HistoryEntry]:
        """The changes of a job's status, oldest first."""
        columns = (MESSAGES.c.time, MESSAGES.c.status, MESSAGES.c.text, MESSAGES.c.who)
        wanted = select(*columns).where(MESSAGES.c.job_id == job_id, MESSAGES.c.status.is_not(None))
        with self.database.reading() as connection:
            rows = connection.execute(wanted.order_by(MESSAGES.c.id)).all()
        return [
            HistoryEntry(row.time, row.status, row.text.removeprefix(row.status).removeprefix(": "), row.who)
            for row in rows
        ]

    # -- facts about the database -----------------------------------------------------------------------

    @property
    def identity(self) -> str:
        """A name that no other database has: two databases may share one Prefect server."""
        if self._identity is None:
            self._identity = self.meta("identity", lambda: uuid.uuid4().hex)
        return self._identity

    def meta(self, key: str, make: Callable[[], str]) -> str:
        """A fact that is made once, by the first process that reads it."""
        with self.database.reading() as connection:
            found = connection.execute(select(META.c.value).where(META.c.key == key)).scalar()
        if found is not None:
            return str(found)
        try:
            with self.database.writing() as connection:
                connection.execute(insert(META).values(key=key, value=make()))
        except RowConflict:
            pass  # another process was faster: its value is used
        with self.database.reading() as connection:
            return str(connection.execute(select(META.c.value).where(META.c.key == key)).scalar_one())

    # -- inside ---------------------------------------------------------------------------------------

    def _read(self, statement: Any, values: dict[str, Any] | None = None) -> list[JobRecord]:
        with self.database.reading() as connection:
            rows = connection.execute(statement, values).all()
        return [_record(row) for row in rows]

    def _write(self, record: JobRecord, change: Change) -> JobRecord | None:
        with self.database.writing() as connection:
            return self._write_to(connection, record, change)

    def _write_to(
        self, connection: Connection, record: JobRecord, change: Change, messages: list[dict[str, Any]] | None = None
    ) -> JobRecord | None:
        """The record as written; ``None`` if another process has written the job since it was read. With ``messages``,
        those of the change are added there, to be written with others."""
        values, nodes = storable(change.values), observed_rows(change.nodes)
        columns = {**_changed(_columns(values), record.state), "version": record.version + 1}
        which = {"the_id": record.id, "the_version": record.version}
        if connection.execute(_update(tuple(columns)), {**columns, **which}).rowcount != 1:
            return None
        if "groups" in values:
            self._write_groups(connection, record.id, values["groups"])
        write_observed(connection, record.id, nodes)
        write_blobs(connection, record.id, change.blobs)
        if change.messages:
            said = {"job_id": record.id, "time": clock.now(), "logged": False, "status": None, "who": None}
            rows = [{**said, "level": level, "text": clean(text)} for level, text in change.messages]
            if change.told is not None:
                rows[0]["status"], rows[0]["who"] = map(clean, change.told)
            if messages is None:
                connection.execute(_SAY, rows)
            else:
                messages += rows
        return replace(record, version=record.version + 1, **values)

    @staticmethod
    def _write_groups(connection: Connection, job_id: int, groups: Sequence[str]) -> None:
        connection.execute(delete(GROUPS).where(GROUPS.c.job_id == job_id))
        if groups:
            connection.execute(insert(GROUPS), [{"job_id": job_id, "name": name} for name in groups])


def _is_empty(change: Change | None) -> bool:
    return change is None or not (change.values or change.messages or change.nodes or change.blobs)


@lru_cache(256)
def _update(columns: tuple[str, ...]) -> Update:
    """The statement that writes these columns of a job, if its version is the one that was read. Made once: making
    it takes longer than running it."""
    mine = (JOBS.c.id == bindparam("the_id"), JOBS.c.version == bindparam("the_version"))
    return update(JOBS).where(*mine).values({name: bindparam(name) for name in columns})


def _flat(record: JobRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in _RECORD_FIELDS | {"state", "groups"}}


def _columns(values: dict[str, Any]) -> dict[str, Any]:
    """Values by column of the table: a state has several columns, groups have their own table."""
    flat = {name: value for name, value in values.items() if name != "groups"}
    state: StatusState | None = flat.pop("state", None)
    if state is not None:
        flat.update(vars(state))
        flat["watched"] = not statuses.is_final(state.as_status)
    return flat


def _changed(columns: dict[str, Any], state: StatusState) -> dict[str, Any]:
    """Without what the row has of a state already: SQLite writes each index of a column that a statement names."""
    known = _columns({"state": state})
    return {name: value for name, value in columns.items() if name not in known or known[name] != value}


def _record(row: Sequence[Any]) -> JobRecord:
    values: dict[str, Any] = dict(zip(_NAMES, row, strict=True))
    # A monitor has thousands of jobs in memory: equal values are kept once.
    for name in _ALIKE:
        if value := values[name]:
            values[name] = sys.intern(value)
    state = StatusState(**{name: values.pop(name) for name in _STATE_FIELDS})
    return JobRecord(state=state, groups=groups_of(values.pop("groups")), **values)
