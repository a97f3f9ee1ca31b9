"""The nodes of workflows."""

import sqlalchemy as sa
from alembic import op

from prefect_jobs.store.tables import Json

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "job_nodes",
        sa.Column("job_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("spec", Json, nullable=False),
        sa.Column("status", sa.String(length=255), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("native", Json, nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("shown", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_job_nodes_job_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "name", name=op.f("pk_job_nodes")),
    )
    op.create_index(
        "ix_job_nodes_behind",
        "job_nodes",
        ["job_id"],
        unique=False,
        sqlite_where=sa.text("shown < seq"),
        postgresql_where=sa.text("shown < seq"),
    )


def downgrade() -> None:
    op.drop_table("job_nodes")
