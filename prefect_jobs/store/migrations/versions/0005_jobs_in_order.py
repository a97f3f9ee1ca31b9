"""An index for an app's jobs in the order of their ids, as lists have them unless told otherwise."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_jobs_label_id", "jobs", ["label", "id"])


def downgrade() -> None:
    op.drop_index("ix_jobs_label_id", table_name="jobs")
