"""Leases of monitors, checks of jobs, and an app's jobs in the order of their ids."""

import sqlalchemy as sa
from alembic import op

from prefect_jobs.store.tables import UtcDateTime

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "leases",
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("until", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
    )
    op.create_table(
        "job_checks",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("job_id", sa.Integer(), nullable=False),
        sa.Column("due", UtcDateTime(), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=True),
        sa.Column("until", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_job_checks_job_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job_checks")),
    )
    op.create_index(op.f("ix_job_checks_due"), "job_checks", ["due"])
    op.create_index(op.f("ix_job_checks_job_id"), "job_checks", ["job_id"])
    op.create_index("ix_jobs_label_id", "jobs", ["label", "id"])


def downgrade() -> None:
    op.drop_index("ix_jobs_label_id", table_name="jobs")
    op.drop_table("job_checks")
    op.drop_table("leases")
