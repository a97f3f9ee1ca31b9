"""The tables: one definition for SQLite and PostgreSQL. Changes are Alembic migrations, in the folder beside this."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    TypeDecorator,
)
from sqlalchemy import (
    text as sql,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import UserDefinedType

from prefect_jobs.store.values import dump_json, load_node_json

#: The newest migration; a database with another one is not changed.
SCHEMA_HEAD = "0008"
#: The table of the schema's version; not Alembic's own name, so that another application (such as Prefect) may use
#: the same database.
VERSION_TABLE = "prefect_jobs_version"


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC on both databases. SQLite has no zones, so there times are stored without one."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        return dialect.type_descriptor(DateTime(timezone=dialect.name == "postgresql"))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"A time without a zone cannot be stored: {value!r}. Use aware times.")
        value = value.astimezone(UTC)
        return value if dialect.name == "postgresql" else value.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class _Json(TypeDecorator[Any]):
    """JSON; on PostgreSQL its JSONB, whose dialect is not loaded for a database in SQLite."""

    impl = JSON(none_as_null=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        if dialect.name != "postgresql":
            return super().load_dialect_impl(dialect)
        from sqlalchemy.dialects.postgresql import JSONB

        return dialect.type_descriptor(JSONB(none_as_null=True))


Json = _Json()


class _NodeJson(UserDefinedType[dict[str, Any]]):
    """JSON on SQLite that is read faster; see :func:`load_node_json`."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """As a column of JSON."""
        return "JSON"

    def bind_processor(self, dialect: Dialect) -> Any:
        return lambda value: None if value is None else dump_json(value)

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        return lambda text: None if text is None else load_node_json(text)


NodeJson = Json.with_variant(_NodeJson(), "sqlite")


class Base(DeclarativeBase):
    """Root of the tables; constraint names are fixed, so that migrations can name them.

    The conditions of indexes are SQLite's alone here: those of PostgreSQL are in the migrations, which make the tables,
    and would load its dialect for each database.
    """

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class JobRow(Base):
    """One job; :class:`prefect_jobs.records.JobRecord` explains the columns."""

    __tablename__ = "jobs"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    version: Mapped[int] = mapped_column(Integer, default=1)
    label: Mapped[str] = mapped_column(String(255))
    type: Mapped[str] = mapped_column(String(255))
    class_name: Mapped[str] = mapped_column(String(255))
    #: At most 1,024 characters as set; ``{id}`` may have made it longer.
    name: Mapped[str] = mapped_column(Text)
    user: Mapped[str] = mapped_column("username", String(255))
    description: Mapped[str] = mapped_column(Text, default="")
    workspace: Mapped[str] = mapped_column(Text, default="")
    creation_time: Mapped[datetime] = mapped_column(UtcDateTime)
    status_code: Mapped[str] = mapped_column(String(3))
    status: Mapped[str] = mapped_column(String(255))
    status_class: Mapped[str] = mapped_column(String(40))
    status_message: Mapped[str] = mapped_column(Text, default="")
    observed_status: Mapped[str | None] = mapped_column(String(255))
    attempt: Mapped[int] = mapped_column(Integer, default=0)
    has_run: Mapped[bool] = mapped_column(Boolean, default=False)
    crashed: Mapped[bool] = mapped_column(Boolean, default=False)
    execute_time: Mapped[datetime | None] = mapped_column(UtcDateTime)
    start_time: Mapped[datetime | None] = mapped_column(UtcDateTime)
    completion_time: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_status_update: Mapped[datetime | None] = mapped_column(UtcDateTime)
    extended_properties: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    process_results_function: Mapped[str | None] = mapped_column(Text)
    spec: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    native: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    scheduler: Mapped[str | None] = mapped_column(String(255))
    remote_id: Mapped[str | None] = mapped_column(String(255))
    submission_token: Mapped[str | None] = mapped_column(String(64))
    submitting_since: Mapped[datetime | None] = mapped_column(UtcDateTime)
    flow_run_id: Mapped[str | None] = mapped_column(String(36))
    engine_run: Mapped[bool] = mapped_column(Boolean, default=False)
    flow_state_id: Mapped[str | None] = mapped_column(String(36))
    face_seq: Mapped[int] = mapped_column(Integer, default=0)
    face_done: Mapped[int] = mapped_column(Integer, default=0)
    face_shown: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    #: The process that shows the job in Prefect, and until when that claim holds.
    face_owner: Mapped[str | None] = mapped_column(String(64))
    face_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    results_owner: Mapped[str | None] = mapped_column(String(64))
    results_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    schedule: Mapped[str | None] = mapped_column(Text)
    deployment_id: Mapped[str | None] = mapped_column(String(36))
    timeout: Mapped[float | None] = mapped_column(Float)
    concurrency_lease: Mapped[str | None] = mapped_column(String(36))
    worker: Mapped[str | None] = mapped_column(Text)
    retries: Mapped[int | None] = mapped_column(Integer)
    retry_delay: Mapped[float | None] = mapped_column(Float)
    #: The job must still be polled: it is not final.
    watched: Mapped[bool] = mapped_column(Boolean, default=True)

    __table_args__ = (
        Index("ix_jobs_label_id", "label", "id"),
        Index("ix_jobs_label_user", "label", "username", "id"),
        Index("ix_jobs_label_status", "label", "status", "id"),
        Index("ix_jobs_label_creation_time", "label", "creation_time", "id"),
        Index("ix_jobs_label_type", "label", "type", "id"),
        Index("ix_jobs_flow_run_id", "flow_run_id", unique=True),
        Index("ix_jobs_submission_token", "submission_token", unique=True),
        Index("ix_jobs_remote_id", "scheduler", "remote_id"),
        Index(
            "ix_jobs_behind",
            "id",
            sqlite_where=sql("face_done < face_seq"),
        ),
        Index(
            "ix_jobs_watched",
            "id",
            "version",
            "type",
            "scheduler",
            "status",
            "watched",
            sqlite_where=sql("watched"),
        ),
        Index("ix_jobs_timed", "id", sqlite_where=sql("watched AND timeout IS NOT NULL")),
        Index("ix_jobs_limited", "id", sqlite_where=sql("watched AND concurrency_lease IS NOT NULL")),
        # Ids are never used again: a flow run's idempotency key contains one.
        {"sqlite_autoincrement": True},
    )


class ScheduleRow(Base):
    """A schedule; :class:`prefect_jobs.records.ScheduleRecord` explains the columns."""

    __tablename__ = "schedules"

    #: Digest of app, user and name, which together may be too long for an index.
    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    label: Mapped[str] = mapped_column(String(255), index=True)
    user: Mapped[str] = mapped_column("username", String(255))
    name: Mapped[str] = mapped_column(Text)
    type: Mapped[str] = mapped_column(String(255))
    deployment_id: Mapped[str | None] = mapped_column(String(36), index=True)
    timing: Mapped[dict[str, Any]] = mapped_column(Json)
    parameters: Mapped[dict[str, Any]] = mapped_column(Json)
    rules: Mapped[dict[str, Any]] = mapped_column(Json, default=dict, server_default=sql("'{}'"))


class DeploymentRow(Base):
    """A deployment in Prefect whose runs become jobs of this database, besides those of schedules."""

    __tablename__ = "deployments"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    label: Mapped[str] = mapped_column(String(255))


class GroupRow(Base):
    """A group of people with which a job is shared; there may be several."""

    __tablename__ = "job_groups"

    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(255), primary_key=True, index=True)


class NodeRow(Base):
    """A node of a workflow; :class:`prefect_jobs.records.NodeRecord` explains the columns."""

    __tablename__ = "job_nodes"

    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(255), primary_key=True)
    position: Mapped[int] = mapped_column(Integer)
    spec: Mapped[dict[str, Any]] = mapped_column(NodeJson)
    status: Mapped[str] = mapped_column(String(255))
    message: Mapped[str] = mapped_column(Text)
    native: Mapped[dict[str, Any]] = mapped_column(NodeJson)
    seq: Mapped[int] = mapped_column(Integer)
    shown: Mapped[int] = mapped_column(Integer)

    __table_args__ = (
        Index(
            "ix_job_nodes_behind",
            "job_id",
            sqlite_where=sql("shown < seq"),
        ),
    )


class BlobRow(Base):
    """Bytes of a job, by their kind: its ``result``, or the ``graph`` that is submitted again."""

    __tablename__ = "job_blobs"

    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16), primary_key=True)
    data: Mapped[bytes] = mapped_column(LargeBinary)
    time: Mapped[datetime] = mapped_column(UtcDateTime)


class MessageRow(Base):
    """A message about a job, for people; ``logged`` once it is on its flow run's Logs tab."""

    __tablename__ = "job_messages"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    time: Mapped[datetime] = mapped_column(UtcDateTime)
    level: Mapped[int] = mapped_column(Integer)
    text: Mapped[str] = mapped_column(Text)
    #: The status that it tells of, and who has set it; none: it tells of something else.
    status: Mapped[str | None] = mapped_column(String(255))
    who: Mapped[str | None] = mapped_column(String(255))
    logged: Mapped[bool] = mapped_column(Boolean, default=False)

    __table_args__ = (
        Index(
            "ix_job_messages_unlogged",
            "job_id",
            sqlite_where=sql("NOT logged"),
        ),
        {"sqlite_autoincrement": True},
    )


class RunDeletionRow(Base):
    """A flow run whose job was deleted, and that is still to be deleted in Prefect."""

    __tablename__ = "run_deletions"

    flow_run_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    asked: Mapped[datetime] = mapped_column(UtcDateTime)


class LeaseRow(Base):
    """An activity that only one process may do at a time, and the process that does it."""

    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(String(255), primary_key=True)
    owner: Mapped[str] = mapped_column(String(64))
    until: Mapped[datetime] = mapped_column(UtcDateTime)


class CheckRow(Base):
    """A check of a job, and the process that runs it."""

    __tablename__ = "job_checks"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    due: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    owner: Mapped[str | None] = mapped_column(String(64))
    until: Mapped[datetime | None] = mapped_column(UtcDateTime)


class MetaRow(Base):
    """Facts about this database: its identity, its signing key."""

    __tablename__ = "prefect_jobs_meta"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[str] = mapped_column(Text)
