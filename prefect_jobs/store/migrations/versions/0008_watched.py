"""The indexes of jobs that are not final have all that is asked of them every few seconds."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_WATCHED = sa.text("watched")


def upgrade() -> None:
    _replace(["id", "version", "type", "scheduler", "status", "watched"])
    for name, column in (("ix_jobs_timed", "timeout"), ("ix_jobs_limited", "concurrency_lease")):
        which = sa.text(f"watched AND {column} IS NOT NULL")
        op.create_index(name, "jobs", ["id"], sqlite_where=which, postgresql_where=which)


def downgrade() -> None:
    op.drop_index("ix_jobs_limited", table_name="jobs")
    op.drop_index("ix_jobs_timed", table_name="jobs")
    _replace(["scheduler", "id"])


def _replace(columns: list[str]) -> None:
    op.drop_index("ix_jobs_watched", table_name="jobs")
    op.create_index("ix_jobs_watched", "jobs", columns, sqlite_where=_WATCHED, postgresql_where=_WATCHED)
