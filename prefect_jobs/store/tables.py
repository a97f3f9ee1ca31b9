"""The tables: one definition for SQLite and PostgreSQL. Changes are Alembic migrations, in the folder beside this.

They are tables of SQLAlchemy's core: records are read and written by statements, so that its ORM, whose import takes a
tenth of a second, is not needed."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
)
from sqlalchemy import (
    text as sql,
)
from sqlalchemy.types import UserDefinedType

from prefect_jobs.store.values import dump_json, load_node_json

#: The newest migration; a database with another one is not changed.
SCHEMA_HEAD = "0009"
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

#: Constraint names are fixed, so that migrations can name them. The conditions of indexes are SQLite's alone here:
#: those of PostgreSQL are in the migrations, which make the tables, and would load its dialect for each database.
METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

#: Indexes that PostgreSQL does not have, or has in another form.
AS_ON_SQLITE = {"as on": "sqlite"}

#: One job; :class:`prefect_jobs.records.JobRecord` explains the columns.
JOBS = Table(
    "jobs",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("version", Integer, default=1, nullable=False),
    Column("label", String(255), nullable=False),
    Column("type", String(255), nullable=False),
    Column("class_name", String(255), nullable=False),
    #: At most 1,024 characters as set; ``{id}`` may have made it longer.
    Column("name", Text, nullable=False),
    Column("username", String(255), nullable=False, key="user"),
    Column("description", Text, default="", nullable=False),
    Column("workspace", Text, default="", nullable=False),
    Column("creation_time", UtcDateTime, nullable=False),
    Column("status_code", String(3), nullable=False),
    Column("status", String(255), nullable=False),
    Column("status_class", String(40), nullable=False),
    Column("status_message", Text, default="", nullable=False),
    Column("observed_status", String(255)),
    Column("attempt", Integer, default=0, nullable=False),
    Column("has_run", Boolean, default=False, nullable=False),
    Column("crashed", Boolean, default=False, nullable=False),
    Column("execute_time", UtcDateTime),
    Column("start_time", UtcDateTime),
    Column("completion_time", UtcDateTime),
    Column("last_status_update", UtcDateTime),
    Column("extended_properties", Json, default=dict, nullable=False),
    Column("process_results_function", Text),
    Column("spec", Json, default=dict, nullable=False),
    Column("native", Json, default=dict, nullable=False),
    Column("scheduler", String(255)),
    Column("remote_id", String(255)),
    Column("submission_token", String(64)),
    Column("submitting_since", UtcDateTime),
    Column("flow_run_id", String(36)),
    Column("engine_run", Boolean, default=False, nullable=False),
    Column("flow_state_id", String(36)),
    Column("face_seq", Integer, default=0, nullable=False),
    Column("face_done", Integer, default=0, nullable=False),
    Column("face_shown", Json, default=dict, nullable=False),
    #: The process that shows the job in Prefect, and until when that claim holds.
    Column("face_owner", String(64)),
    Column("face_until", UtcDateTime),
    Column("results_owner", String(64)),
    Column("results_until", UtcDateTime),
    Column("schedule", Text),
    Column("deployment_id", String(36)),
    Column("timeout", Float),
    Column("concurrency_lease", String(36)),
    Column("worker", Text),
    Column("retries", Integer),
    Column("retry_delay", Float),
    #: The job must still be polled: it is not final.
    Column("watched", Boolean, default=True, nullable=False),
    Index("ix_jobs_label_id", "label", "id"),
    Index("ix_jobs_label_user", "label", "user", "id"),
    Index("ix_jobs_label_user_creation_time", "label", "user", "creation_time", "id"),
    # The columns after the id are for lists of active jobs: of a user, by time.
    Index("ix_jobs_label_status", "label", "status", "id", "user", "creation_time"),
    Index("ix_jobs_label_creation_time", "label", "creation_time", "id"),
    # On PostgreSQL the newest are first. There is none of last_status_update, which each poll may change.
    Index("ix_jobs_label_execute_time", "label", "execute_time", "id", "user", info=AS_ON_SQLITE),
    Index("ix_jobs_label_completion_time", "label", "completion_time", "id", "user", info=AS_ON_SQLITE),
    Index("ix_jobs_label_type", "label", "type", "id"),
    Index("ix_jobs_flow_run_id", "flow_run_id", unique=True),
    Index("ix_jobs_submission_token", "submission_token", unique=True),
    Index("ix_jobs_remote_id", "remote_id", "label"),
    # Texts without a limit, which PostgreSQL does not take in an index.
    Index("ix_jobs_label_name", "label", "name", "id", "user", info=AS_ON_SQLITE),
    Index(
        "ix_jobs_label_schedule",
        "label",
        "schedule",
        "id",
        sqlite_where=sql("schedule IS NOT NULL"),
        info=AS_ON_SQLITE,
    ),
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
    sqlite_autoincrement=True,
)

#: A schedule; :class:`prefect_jobs.records.ScheduleRecord` explains the columns.
SCHEDULES = Table(
    "schedules",
    METADATA,
    #: Digest of app, user and name, which together may be too long for an index.
    Column("key", String(64), primary_key=True),
    Column("label", String(255), index=True, nullable=False),
    Column("username", String(255), nullable=False, key="user"),
    Column("name", Text, nullable=False),
    Column("type", String(255), nullable=False),
    Column("deployment_id", String(36), index=True),
    Column("timing", Json, nullable=False),
    Column("parameters", Json, nullable=False),
    Column("rules", Json, default=dict, server_default=sql("'{}'"), nullable=False),
)

#: A deployment in Prefect whose runs become jobs of this database, besides those of schedules.
DEPLOYMENTS = Table(
    "deployments",
    METADATA,
    Column("id", String(36), primary_key=True),
    Column("label", String(255), nullable=False),
)

#: A group of people with which a job is shared; there may be several.
GROUPS = Table(
    "job_groups",
    METADATA,
    Column("job_id", ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("name", String(255), primary_key=True, index=True),
)

#: A node of a workflow; :class:`prefect_jobs.records.NodeRecord` explains the columns.
NODES = Table(
    "job_nodes",
    METADATA,
    Column("job_id", ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("name", String(255), primary_key=True),
    Column("position", Integer, nullable=False),
    Column("spec", NodeJson, nullable=False),
    Column("status", String(255), nullable=False),
    Column("message", Text, nullable=False),
    Column("native", NodeJson, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("shown", Integer, nullable=False),
    Index(
        "ix_job_nodes_behind",
        "job_id",
        sqlite_where=sql("shown < seq"),
    ),
)

#: Bytes of a job, by their kind: its ``result``, or the ``graph`` that is submitted again.
BLOBS = Table(
    "job_blobs",
    METADATA,
    Column("job_id", ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("data", LargeBinary, nullable=False),
    Column("time", UtcDateTime, nullable=False),
)

#: A message about a job, for people; ``logged`` once it is on its flow run's Logs tab.
MESSAGES = Table(
    "job_messages",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("job_id", ForeignKey("jobs.id", ondelete="CASCADE"), index=True, nullable=False),
    Column("time", UtcDateTime, nullable=False),
    Column("level", Integer, nullable=False),
    Column("text", Text, nullable=False),
    #: The status that it tells of, and who has set it; none: it tells of something else.
    Column("status", String(255)),
    Column("who", String(255)),
    Column("logged", Boolean, default=False, nullable=False),
    Index(
        "ix_job_messages_unlogged",
        "job_id",
        sqlite_where=sql("NOT logged"),
    ),
    sqlite_autoincrement=True,
)

#: A flow run whose job was deleted, and that is still to be deleted in Prefect.
RUN_DELETIONS = Table(
    "run_deletions",
    METADATA,
    Column("flow_run_id", String(36), primary_key=True),
    Column("asked", UtcDateTime, nullable=False),
)

#: An activity that only one process may do at a time, and the process that does it.
LEASES = Table(
    "leases",
    METADATA,
    Column("name", String(255), primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("until", UtcDateTime, nullable=False),
)

#: A check of a job, and the process that runs it.
CHECKS = Table(
    "job_checks",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("job_id", ForeignKey("jobs.id", ondelete="CASCADE"), index=True, nullable=False),
    Column("due", UtcDateTime, index=True, nullable=False),
    Column("owner", String(64)),
    Column("until", UtcDateTime),
)

#: Facts about this database: its identity, its signing key.
META = Table(
    "prefect_jobs_meta",
    METADATA,
    Column("key", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)
