"""Runs that Prefect starts: deployments, the rules of schedules, and what their jobs keep of the run."""

import sqlalchemy as sa
from alembic import op

from prefect_jobs.store.tables import Json

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "deployments",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("label", sa.String(length=255), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deployments")),
    )
    op.add_column("schedules", sa.Column("rules", Json, nullable=False, server_default=sa.text("'{}'")))
    op.add_column("jobs", sa.Column("deployment_id", sa.String(length=36), nullable=True))
    op.add_column("jobs", sa.Column("timeout", sa.Float(), nullable=True))
    op.add_column("jobs", sa.Column("concurrency_lease", sa.String(length=36), nullable=True))
    op.add_column("jobs", sa.Column("worker", sa.Text(), nullable=True))
    op.add_column("jobs", sa.Column("retries", sa.Integer(), nullable=True))
    op.add_column("jobs", sa.Column("retry_delay", sa.Float(), nullable=True))


def downgrade() -> None:
    op.drop_column("jobs", "retry_delay")
    op.drop_column("jobs", "retries")
    op.drop_column("jobs", "worker")
    op.drop_column("jobs", "concurrency_lease")
    op.drop_column("jobs", "timeout")
    op.drop_column("jobs", "deployment_id")
    op.drop_column("schedules", "rules")
    op.drop_table("deployments")
