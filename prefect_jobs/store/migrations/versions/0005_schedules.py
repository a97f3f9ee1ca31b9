"""Schedules, and the schedule that a job comes from."""

import sqlalchemy as sa
from alembic import op

from prefect_jobs.store.tables import Json

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "schedules",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("label", sa.String(length=255), nullable=False),
        sa.Column("username", sa.String(length=255), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("type", sa.String(length=255), nullable=False),
        sa.Column("deployment_id", sa.String(length=36), nullable=True),
        sa.Column("timing", Json, nullable=False),
        sa.Column("parameters", Json, nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_schedules")),
    )
    op.create_index(op.f("ix_schedules_label"), "schedules", ["label"])
    op.create_index(op.f("ix_schedules_deployment_id"), "schedules", ["deployment_id"])
    op.add_column("jobs", sa.Column("schedule", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("jobs", "schedule")
    op.drop_table("schedules")
