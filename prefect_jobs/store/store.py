"""Reading and writing jobs. Every write names the version it read; a lost race is run again on fresh data."""

import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, fields, replace
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from prefect_jobs import clock, statuses
from prefect_jobs.errors import JobStateError, PrefectJobsError
from prefect_jobs.records import Change, JobRecord, Message, StatusState
from prefect_jobs.store.blobs import BlobStore
from prefect_jobs.store.checks import CheckStore
from prefect_jobs.store.database import Database
from prefect_jobs.store.errors import JobGone, job_gone
from prefect_jobs.store.filters import JobQuery, conditions, order
from prefect_jobs.store.leases import LeaseStore
from prefect_jobs.store.nodes import NodeStore, observed_rows, write_observed
from prefect_jobs.store.tables import GroupRow, JobRow, MessageRow, MetaRow, NodeRow, RunDeletionRow
from prefect_jobs.store.values import clean, storable

__all__ = ["JobGone", "Store"]

#: Times that a write is tried again when others write the same job; each time one of them has got through.
_RACES = 50
#: There are no more jobs than this, and no database takes any number as a limit.
_MANY = 2**31
#: Ids in one statement.
_CHUNK = 500
_STATE_FIELDS = {item.name for item in fields(StatusState)}
_RECORD_FIELDS = {item.name for item in fields(JobRecord)} - {"state", "groups"}
_COLUMNS = [getattr(JobRow, name).label(name) for name in sorted(_STATE_FIELDS | _RECORD_FIELDS)]


class Store(NodeStore, BlobStore, LeaseStore, CheckStore):
    """The jobs in one database."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._dialect = database.engine.dialect.name
        self._identity: str | None = None

    # -- jobs -----------------------------------------------------------------------------------------

    def insert(self, record: JobRecord) -> JobRecord:
        """Writes a new job; ``id`` and ``version`` of the record given do not matter, and ``{id}`` in its
        name becomes its id. The job's face is marked as behind: it has none yet."""
        record = replace(record, **storable(_flat(record)))
        values = _columns({**_flat(record), "face_seq": 1})
        values.pop("id"), values.pop("version")
        with self.database.writing() as connection:
            try:
                new_id = connection.execute(insert(JobRow).values(version=1, **values)).inserted_primary_key
            except IntegrityError as error:
                raise PrefectJobsError(f"The job {record.name!r} could not be stored: {error.orig}") from error
            job_id = int(new_id[0])  # type: ignore[index]
            name = record.name.replace("{id}", str(job_id))
            if name != record.name:
                connection.execute(update(JobRow).where(JobRow.id == job_id).values(name=name))
            self._write_groups(connection, job_id, record.groups)
        return replace(record, id=job_id, version=1, name=name, face_seq=1)

    def get(self, job_id: int, label: str | None = None) -> JobRecord | None:
        """The job, or ``None`` (also where it is another app's)."""
        found = self.find(JobQuery(label=label, filters={"id": job_id}))
        return found[0] if found else None

    def find(self, query: JobQuery) -> list[JobRecord]:
        """The jobs of a query, in two statements however many they are.

        Raises:
            ValueError: unknown fields or lookups, a negative limit or offset.
        """
        for name, number in (("limit", query.limit), ("offset", query.offset)):
            if number is not None and (not isinstance(number, int) or isinstance(number, bool) or number < 0):
                raise ValueError(f"{name} is a whole number from 0, not {number!r}.")
        statement = select(*_COLUMNS).where(*conditions(query, self._dialect)).order_by(*order(query.order_by))
        if query.limit is not None:
            statement = statement.limit(min(query.limit, _MANY))
        elif query.offset and self._dialect == "sqlite":
            statement = statement.limit(-1)  # SQLite has no OFFSET without LIMIT
        return self._read(statement.offset(min(query.offset, _MANY)) if query.offset else statement)

    def watched(self) -> list[tuple[int, int, str, str | None, str]]:
        """Id, version, type, scheduler and status of every job that is not final."""
        columns = (JobRow.id, JobRow.version, JobRow.type, JobRow.scheduler, JobRow.status)
        with self.database.reading() as connection:
            rows = connection.execute(select(*columns).where(JobRow.watched).order_by(JobRow.id)).all()
        return [(row.id, row.version, row.type, row.scheduler, row.status) for row in rows]

    def records(self, job_ids: Sequence[int]) -> list[JobRecord]:
        """Jobs by their ids; those that are gone are left out."""
        found: list[JobRecord] = []
        for start in range(0, len(job_ids), _CHUNK):
            found += self._read(select(*_COLUMNS).where(JobRow.id.in_(job_ids[start : start + _CHUNK])))
        return found

    def records_of_runs(self, flow_run_ids: Sequence[str]) -> list[JobRecord]:
        """The jobs whose faces flow runs are."""
        found: list[JobRecord] = []
        for start in range(0, len(flow_run_ids), _CHUNK):
            found += self._read(select(*_COLUMNS).where(JobRow.flow_run_id.in_(flow_run_ids[start : start + _CHUNK])))
        return found

    def count(self, query: JobQuery) -> int:
        """The number of jobs of a query, its limit and offset aside."""
        statement = select(func.count()).select_from(JobRow).where(*conditions(query, self._dialect))
        with self.database.reading() as connection:
            return int(connection.execute(statement).scalar_one())

    def update(self, job_id: int, change: Callable[[JobRecord], Change | None]) -> JobRecord:
        """Applies ``change`` to the job as it is now.

        ``change`` is given the fresh record and returns what to write (``None``: nothing). Where another
        process writes in between, it is called again with what that one wrote, so that no write is lost.

        Raises:
            JobGone: the job was deleted.
        """
        for _ in range(_RACES):
            record = self.get(job_id)
            if record is None:
                raise job_gone(job_id)
            wanted = change(record)
            if wanted is None or not (wanted.values or wanted.messages or wanted.nodes):
                return record
            written = self._write(record, wanted)
            if written is not None:
                return written
        raise JobStateError(f"Job {job_id} is written by others without end; try again later.")

    def delete(self, job_id: int) -> bool:
        """Removes the job; its flow run is noted as to be deleted in the same transaction."""
        with self.database.writing() as connection:
            # One statement: a flow run that is being noted just now is waited for, and not missed.
            row = connection.execute(delete(JobRow).where(JobRow.id == job_id).returning(JobRow.flow_run_id)).first()
            if row is None:
                return False
            if row.flow_run_id is not None:
                connection.execute(insert(RunDeletionRow).values(flow_run_id=row.flow_run_id, asked=clock.now()))
        return True

    # -- the results' lease ---------------------------------------------------------------------------

    def claim_results(self, job_id: int, owner: str, seconds: float) -> bool:
        """Whether ``owner`` may process the job's results for ``seconds``: nobody else does."""
        now = clock.now()
        free = or_(JobRow.results_owner.is_(None), JobRow.results_owner == owner, JobRow.results_until < now)
        return self._claim(
            and_(JobRow.id == job_id, free),
            {"results_owner": owner, "results_until": now + timedelta(seconds=seconds)},
        )

    def release_results(self, job_id: int, owner: str) -> None:
        """Gives the lease back, if it is still ``owner``'s."""
        self._claim(
            and_(JobRow.id == job_id, JobRow.results_owner == owner),
            {"results_owner": None, "results_until": None},
        )

    # -- faces: what Prefect must still show ------------------------------------------------------------

    def claim_faces(self, owner: str, seconds: float, limit: int, only: Sequence[int] | None = None) -> list[JobRecord]:
        """Jobs whose face is behind (or that have unlogged messages, or nodes that are behind), claimed for
        ``owner``."""
        now = clock.now()
        unlogged = select(MessageRow.job_id).where(
            ~MessageRow.logged, MessageRow.job_id == JobRow.id, JobRow.flow_run_id.is_not(None)
        )
        nodes = select(NodeRow.job_id).where(NodeRow.job_id == JobRow.id, NodeRow.shown < NodeRow.seq)
        claimable = [
            or_(
                JobRow.face_done < JobRow.face_seq,
                unlogged.exists(),
                and_(JobRow.flow_run_id.is_not(None), nodes.exists()),
            ),
            or_(JobRow.face_owner.is_(None), JobRow.face_owner == owner, JobRow.face_until < now),
        ]
        if only is not None:
            claimable.append(JobRow.id.in_(only))
        with self.database.reading() as connection:
            ids = list(
                connection.execute(select(JobRow.id).where(*claimable).order_by(JobRow.id).limit(limit)).scalars()
            )
        if not ids:
            return []
        with self.database.writing() as connection:
            connection.execute(
                update(JobRow)
                .where(JobRow.id.in_(ids), *claimable)
                .values(face_owner=owner, face_until=now + timedelta(seconds=seconds))
            )
        return self._read(
            select(*_COLUMNS).where(JobRow.id.in_(ids), JobRow.face_owner == owner, *claimable[:1]).order_by(JobRow.id)
        )

    def face_shown(
        self,
        record: JobRecord,
        *,
        flow_run_id: str | None = None,
        flow_state_id: str | None = None,
        shown: dict[str, Any] | None = None,
    ) -> None:
        """Notes that Prefect shows ``record``; what was changed since stays marked."""
        values: dict[str, Any] = {
            "face_done": record.face_seq,
            "face_owner": None,
            "face_until": None,
        }
        if flow_run_id is not None:
            values["flow_run_id"] = flow_run_id
        if flow_state_id is not None:
            values["flow_state_id"] = flow_state_id
        if shown is not None:
            values["face_shown"] = shown
        with self.database.writing() as connection:
            noted = connection.execute(update(JobRow).where(JobRow.id == record.id).values(**storable(values)))
            if noted.rowcount == 0 and flow_run_id is not None:
                # Deleted while its run was being made: the run must go too.
                known = select(RunDeletionRow).where(RunDeletionRow.flow_run_id == flow_run_id)
                if connection.execute(known).first() is None:
                    connection.execute(insert(RunDeletionRow).values(flow_run_id=flow_run_id, asked=clock.now()))

    def behind(self, job_ids: Iterable[int]) -> list[JobRecord]:
        """Those of the jobs that Prefect does not show as they are."""
        return self._read(select(*_COLUMNS).where(JobRow.id.in_(list(job_ids)), JobRow.face_done < JobRow.face_seq))

    def runs_of(self, job_ids: Iterable[int]) -> dict[int, str]:
        """Job id → flow run id, of those that have one."""
        wanted = select(JobRow.id, JobRow.flow_run_id).where(
            JobRow.id.in_(list(job_ids)), JobRow.flow_run_id.is_not(None)
        )
        with self.database.reading() as connection:
            return {int(job_id): str(run) for job_id, run in connection.execute(wanted)}

    def release_faces(self, owner: str) -> None:
        """Gives every claim of ``owner`` back; the marks stay."""
        self._claim(JobRow.face_owner == owner, {"face_owner": None, "face_until": None})

    def unlogged(self, job_ids: Iterable[int]) -> list[Message]:
        """Messages that are not on their flow run's Logs tab yet, oldest first."""
        return self._messages(MessageRow.job_id.in_(list(job_ids)), ~MessageRow.logged)

    def messages(self, job_id: int) -> list[Message]:
        """Everything that was said about a job, oldest first."""
        return self._messages(MessageRow.job_id == job_id)

    def mark_logged(self, message_ids: Iterable[int]) -> None:
        """Notes that Prefect has these messages."""
        with self.database.writing() as connection:
            connection.execute(update(MessageRow).where(MessageRow.id.in_(list(message_ids))).values(logged=True))

    def run_deletions(self) -> list[str]:
        """Flow runs still to be deleted in Prefect."""
        with self.database.reading() as connection:
            return list(connection.execute(select(RunDeletionRow.flow_run_id).order_by(RunDeletionRow.asked)).scalars())

    def run_deleted(self, flow_run_id: str) -> None:
        """Notes that the flow run is gone."""
        with self.database.writing() as connection:
            connection.execute(delete(RunDeletionRow).where(RunDeletionRow.flow_run_id == flow_run_id))

    def backlog(self) -> int:
        """The number of jobs that Prefect does not show as they are."""
        with self.database.reading() as connection:
            return int(
                connection.execute(
                    select(func.count()).select_from(JobRow).where(JobRow.face_done < JobRow.face_seq)
                ).scalar_one()
            )

    # -- facts about the database -----------------------------------------------------------------------

    @property
    def identity(self) -> str:
        """A name that no other database has: two of them may share one Prefect server."""
        if self._identity is None:
            self._identity = self.meta("identity", lambda: uuid.uuid4().hex)
        return self._identity

    def meta(self, key: str, make: Callable[[], str]) -> str:
        """A fact that is made once, by whoever asks first."""
        with self.database.reading() as connection:
            found = connection.execute(select(MetaRow.value).where(MetaRow.key == key)).scalar()
        if found is not None:
            return str(found)
        try:
            with self.database.writing() as connection:
                connection.execute(insert(MetaRow).values(key=key, value=make()))
        except IntegrityError:
            pass  # another process was faster; its value is the one
        with self.database.reading() as connection:
            return str(connection.execute(select(MetaRow.value).where(MetaRow.key == key)).scalar_one())

    # -- inside ---------------------------------------------------------------------------------------

    def _read(self, statement: Any) -> list[JobRecord]:
        with self.database.reading() as connection:
            rows = connection.execute(statement).mappings().all()
            if not rows:
                return []
            groups: dict[int, list[str]] = {}
            named = select(GroupRow.job_id, GroupRow.name)
            ids = [row["id"] for row in rows]
            # A long list of ids becomes a range: statements have a limited number of parameters.
            wanted = GroupRow.job_id.in_(ids) if len(ids) <= 500 else GroupRow.job_id.between(min(ids), max(ids))
            for job_id, name in connection.execute(named.where(wanted)):
                groups.setdefault(job_id, []).append(name)
        return [_record(row, tuple(sorted(groups.get(row["id"], ())))) for row in rows]

    def _write(self, record: JobRecord, change: Change) -> JobRecord | None:
        values, nodes = storable(change.values), observed_rows(change.nodes)
        with self.database.writing() as connection:
            done = connection.execute(
                update(JobRow)
                .where(JobRow.id == record.id, JobRow.version == record.version)
                .values(version=record.version + 1, **_columns(values))
            )
            if done.rowcount != 1:
                return None
            if "groups" in values:
                self._write_groups(connection, record.id, values["groups"])
            write_observed(connection, record.id, nodes)
            if change.messages:
                connection.execute(
                    insert(MessageRow),
                    [
                        {
                            "job_id": record.id,
                            "time": clock.now(),
                            "level": level,
                            "text": clean(text),
                            "logged": False,
                        }
                        for level, text in change.messages
                    ],
                )
        return replace(record, version=record.version + 1, **values)

    def _claim(self, condition: ColumnElement[bool], values: dict[str, Any]) -> bool:
        with self.database.writing() as connection:
            return connection.execute(update(JobRow).where(condition).values(**values)).rowcount > 0

    @staticmethod
    def _write_groups(connection: Connection, job_id: int, groups: Sequence[str]) -> None:
        connection.execute(delete(GroupRow).where(GroupRow.job_id == job_id))
        if groups:
            connection.execute(insert(GroupRow), [{"job_id": job_id, "name": name} for name in groups])

    def _messages(self, *where: ColumnElement[bool]) -> list[Message]:
        columns = (MessageRow.id, MessageRow.job_id, MessageRow.time, MessageRow.level, MessageRow.text)
        with self.database.reading() as connection:
            rows = connection.execute(select(*columns).where(*where).order_by(MessageRow.id)).all()
        return [Message(*row) for row in rows]


def _flat(record: JobRecord) -> dict[str, Any]:
    values = {name: getattr(record, name) for name in _RECORD_FIELDS}
    return {**values, "state": record.state, "groups": record.groups}


def _columns(values: dict[str, Any]) -> dict[str, Any]:
    """Values by column: a state spreads over its columns, groups have a table of their own."""
    flat = {name: value for name, value in values.items() if name != "groups"}
    state: StatusState | None = flat.pop("state", None)
    if state is not None:
        flat.update(asdict(state))
        flat["watched"] = not statuses.is_final(state.as_status)
    return flat


def _record(row: Any, groups: tuple[str, ...]) -> JobRecord:
    return JobRecord(
        state=StatusState(**{name: row[name] for name in _STATE_FIELDS}),
        groups=groups,
        **{name: row[name] for name in _RECORD_FIELDS},
    )
