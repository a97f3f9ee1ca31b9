"""Lists of jobs by status, user, time, name, schedule and remote id are read in indexes."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

#: On SQLite alone: PostgreSQL refuses a row whose indexed text is long.
_OF_TEXTS = (
    ("ix_jobs_label_name", ["label", "name", "id", "username"], None),
    ("ix_jobs_label_schedule", ["label", "schedule", "id"], sa.text("schedule IS NOT NULL")),
)
_TIMES = ("execute_time", "completion_time")


def upgrade() -> None:
    _replace("ix_jobs_label_status", ["label", "status", "id", "username", "creation_time"])
    _replace("ix_jobs_remote_id", ["remote_id", "label"])
    op.create_index("ix_jobs_label_user_creation_time", "jobs", ["label", "username", "creation_time", "id"])
    for time in _TIMES:
        # SQLite reads it in both directions; PostgreSQL has nulls at the end in one alone, which is the newest first.
        order = [sa.text(f"{time} DESC NULLS LAST"), sa.text("id DESC")] if _on_postgresql() else [time, "id"]
        op.create_index(f"ix_jobs_label_{time}", "jobs", ["label", *order, "username"])
    if not _on_postgresql():
        for name, columns, which in _OF_TEXTS:
            op.create_index(name, "jobs", columns, sqlite_where=which)
        # Among indexes that help alike, SQLite takes the one that was made last: these go through the rows in order.
        _replace("ix_jobs_label_user", ["label", "username", "id"])
        _replace("ix_jobs_label_id", ["label", "id"])


def downgrade() -> None:
    if not _on_postgresql():
        for name, *_ in _OF_TEXTS:
            op.drop_index(name, table_name="jobs")
    for time in _TIMES:
        op.drop_index(f"ix_jobs_label_{time}", table_name="jobs")
    op.drop_index("ix_jobs_label_user_creation_time", table_name="jobs")
    _replace("ix_jobs_remote_id", ["scheduler", "remote_id"])
    _replace("ix_jobs_label_status", ["label", "status", "id"])


def _replace(name: str, columns: list[str]) -> None:
    op.drop_index(name, table_name="jobs")
    op.create_index(name, "jobs", columns)


def _on_postgresql() -> bool:
    return bool(op.get_context().dialect.name == "postgresql")
