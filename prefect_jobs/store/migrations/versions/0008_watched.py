"""The index of jobs that are not final has all that is asked of them every few seconds."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_WATCHED = sa.text("watched")


def upgrade() -> None:
    _replace(["id", "version", "type", "scheduler", "status", "watched"])


def downgrade() -> None:
    _replace(["scheduler", "id"])


def _replace(columns: list[str]) -> None:
    op.drop_index("ix_jobs_watched", table_name="jobs")
    op.create_index("ix_jobs_watched", "jobs", columns, sqlite_where=_WATCHED, postgresql_where=_WATCHED)
