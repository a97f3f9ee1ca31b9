"""Faces: what Prefect must still show, and which process shows it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    and_,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    union,
    update,
)
from sqlalchemy import text as sql

from prefect_jobs import clock
from prefect_jobs.records import JobRecord, Message
from prefect_jobs.store.database import Database
from prefect_jobs.store.tables import JOBS, MESSAGES, NODES, RUN_DELETIONS
from prefect_jobs.store.values import storable

#: The end of a claim that was given back.
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Shown:
    """What Prefect shows of a job now; ``None``: unchanged."""

    record: JobRecord
    flow_run_id: str | None = None
    flow_state_id: str | None = None
    shown: dict[str, Any] | None = None
    #: What it shows is not all noted: it came to an error.
    failed: bool = False

    def values(self) -> dict[str, Any]:
        """By field of the job."""
        record = self.record
        tried = self.failed or (record.face_tried and record.face_seq <= record.face_done)
        given = {
            "flow_run_id": self.flow_run_id,
            "flow_state_id": self.flow_state_id,
            "face_shown": self.shown,
        }
        ended = {"face_until": _LONG_AGO} if tried else {"face_owner": None, "face_until": None}
        return {
            "face_done": record.face_seq,
            **ended,
            **{name: value for name, value in given.items() if value is not None},
        }


_IS_BEHIND = JOBS.c.face_done < JOBS.c.face_seq
#: Number of ids in one statement.
_CHUNK = 500

# Made once: making a statement takes longer than running it.
_CLAIM = (
    update(JOBS)
    .where(JOBS.c.id.in_(bindparam("ids", expanding=True)))
    .values(face_owner=bindparam("owner"), face_until=bindparam("until"))
)
_BEHIND = select(JOBS.c.id, JOBS.c.face_seq).where(JOBS.c.id.in_(bindparam("ids", expanding=True)), _IS_BEHIND)


class FaceStore:
    """What Prefect must still show, in one database; a part of :class:`prefect_jobs.store.store.Store`."""

    database: Database

    def records(self, job_ids: Sequence[int]) -> list[JobRecord]:
        """See :meth:`prefect_jobs.store.store.Store.records`."""
        raise NotImplementedError

    def claim_faces(self, owner: str, seconds: float, limit: int, only: Sequence[int] | None = None) -> list[JobRecord]:
        """Jobs that are behind (or have unlogged messages, or nodes that are behind), claimed for ``owner``. Each says
        whether an earlier claim was not followed by a note (``face_tried``)."""
        now = clock.now()
        values = {"owner": owner, "now": now, "many": limit, **({} if only is None else {"ids": list(only)})}
        claimable = _claimable(only is not None)
        # If nothing can be claimed, nothing need be locked.
        with self.database.reading() as connection:
            if connection.execute(claimable, values).first() is None:
                return []
        with self.database.writing() as connection:
            # In the order of ids, as in all writes of many jobs; jobs that are being written are left for later.
            rows = connection.execute(claimable.with_for_update(skip_locked=True), values).all()
            ids = [int(row.id) for row in rows]
            if ids:
                until = now + timedelta(seconds=seconds)
                connection.execute(_CLAIM, {"ids": ids, "owner": owner, "until": until})
        tried = {int(row.id) for row in rows if row.face_owner is not None}
        return [replace(record, face_tried=True) if record.id in tried else record for record in self.records(ids)]

    def face_shown(
        self,
        record: JobRecord,
        *,
        flow_run_id: str | None = None,
        flow_state_id: str | None = None,
        shown: dict[str, Any] | None = None,
        failed: bool = False,
    ) -> None:
        """Notes that Prefect shows ``record``, or that this has ``failed``. If the job has changed since, it stays
        behind."""
        self.faces_shown([Shown(record, flow_run_id, flow_state_id, shown, failed)])

    def faces_shown(self, faces: Sequence["Shown"]) -> None:
        """As :meth:`face_shown`, for many jobs in one transaction."""
        with self.database.writing() as connection:
            for face in sorted(faces, key=lambda face: face.record.id):
                values = storable(face.values())
                noted = connection.execute(update(JOBS).where(JOBS.c.id == face.record.id).values(**values))
                if noted.rowcount == 0 and face.flow_run_id is not None:
                    # Deleted while its run was being created: the run must be deleted, too.
                    known = select(RUN_DELETIONS).where(RUN_DELETIONS.c.flow_run_id == face.flow_run_id)
                    if connection.execute(known).first() is None:
                        row = {"flow_run_id": face.flow_run_id, "asked": clock.now()}
                        connection.execute(insert(RUN_DELETIONS).values(**row))

    def behind(self, job_ids: Iterable[int]) -> dict[int, int]:
        """The jobs that are behind: id → the last change that is to be shown."""
        with self.database.reading() as connection:
            rows = connection.execute(_BEHIND, {"ids": list(job_ids)})
            return {int(job_id): int(seq) for job_id, seq in rows}

    def runs_of(self, job_ids: Iterable[int]) -> dict[int, str]:
        """Job id → flow run id, for those that have one."""
        wanted = select(JOBS.c.id, JOBS.c.flow_run_id).where(
            JOBS.c.id.in_(list(job_ids)), JOBS.c.flow_run_id.is_not(None)
        )
        with self.database.reading() as connection:
            return {int(job_id): str(run) for job_id, run in connection.execute(wanted)}

    def release_faces(self, owner: str) -> None:
        """Releases every claim of ``owner``; the jobs stay behind, and it stays known that they were claimed."""
        with self.database.writing() as connection:
            mine = select(JOBS.c.id).where(JOBS.c.face_owner == owner).order_by(JOBS.c.id).with_for_update()
            ids = list(connection.execute(mine).scalars())
            still = update(JOBS).where(JOBS.c.id.in_(ids), JOBS.c.face_owner == owner)
            connection.execute(still.values(face_until=_LONG_AGO))

    def unlogged(self, job_ids: Iterable[int]) -> list[Message]:
        """Messages that are not on their flow run's Logs tab yet, oldest first."""
        return self._messages(MESSAGES.c.job_id.in_(list(job_ids)), ~MESSAGES.c.logged)

    def mark_logged(self, message_ids: Iterable[int]) -> None:
        """Notes that Prefect has these messages."""
        with self.database.writing() as connection:
            connection.execute(update(MESSAGES).where(MESSAGES.c.id.in_(list(message_ids))).values(logged=True))

    def run_deletions(self, limit: int | None = None, *, newest: bool = False) -> list[str]:
        """Flow runs still to be deleted in Prefect: all, or the first ``limit``, or those asked for last."""
        order = RUN_DELETIONS.c.asked.desc() if newest else RUN_DELETIONS.c.asked
        wanted = select(RUN_DELETIONS.c.flow_run_id).order_by(order).limit(limit)
        with self.database.reading() as connection:
            return list(connection.execute(wanted).scalars())

    def to_be_deleted(self, flow_run_ids: Sequence[str]) -> set[str]:
        """Those of these flow runs that are still to be deleted in Prefect."""
        found: set[str] = set()
        for start in range(0, len(flow_run_ids), _CHUNK):
            some = RUN_DELETIONS.c.flow_run_id.in_(flow_run_ids[start : start + _CHUNK])
            with self.database.reading() as connection:
                found.update(connection.execute(select(RUN_DELETIONS.c.flow_run_id).where(some)).scalars())
        return found

    def run_deleted(self, *flow_run_ids: str) -> None:
        """Notes that the flow runs were deleted."""
        with self.database.writing() as connection:
            connection.execute(delete(RUN_DELETIONS).where(RUN_DELETIONS.c.flow_run_id.in_(flow_run_ids)))

    def backlog(self) -> int:
        """The number of jobs that are behind."""
        with self.database.reading() as connection:
            return int(connection.execute(select(func.count()).select_from(JOBS).where(_IS_BEHIND)).scalar_one())

    def _messages(self, *where: ColumnElement[bool]) -> list[Message]:
        columns = (MESSAGES.c.id, MESSAGES.c.job_id, MESSAGES.c.time, MESSAGES.c.level, MESSAGES.c.text)
        with self.database.reading() as connection:
            rows = connection.execute(select(*columns).where(*where).order_by(MESSAGES.c.id)).all()
        return [Message(*row) for row in rows]


@lru_cache
def _claimable(some: bool) -> Select[Any]:
    """The ids of jobs that may be claimed, and who has claimed them before; among ``some`` jobs, or among all.

    All are asked for every few seconds, so what is behind is found by indexes: no row of a job that Prefect shows is
    read.
    """
    free = or_(
        JOBS.c.face_owner.is_(None), JOBS.c.face_owner == bindparam("owner"), JOBS.c.face_until < bindparam("now")
    )
    has_run = JOBS.c.flow_run_id.is_not(None)
    found = select(JOBS.c.id, JOBS.c.face_owner).order_by(JOBS.c.id).limit(bindparam("many", type_=Integer()))
    if some:
        unlogged = select(MESSAGES.c.job_id).where(~MESSAGES.c.logged, MESSAGES.c.job_id == JOBS.c.id)
        nodes = select(NODES.c.job_id).where(NODES.c.job_id == JOBS.c.id, NODES.c.shown < NODES.c.seq)
        behind = or_(_IS_BEHIND, and_(has_run, unlogged.exists()), and_(has_run, nodes.exists()))
        return found.where(behind, free, JOBS.c.id.in_(bindparam("ids", expanding=True)))
    other = JOBS.alias()
    candidates = union(
        select(other.c.id).where(other.c.face_done < other.c.face_seq),
        select(MESSAGES.c.job_id).where(sql("NOT logged")),  # as in the condition of the index
        select(NODES.c.job_id).where(NODES.c.shown < NODES.c.seq),
    )
    return found.where(JOBS.c.id.in_(candidates), or_(_IS_BEHIND, has_run), free)
