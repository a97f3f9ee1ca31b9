"""The history of jobs: which status a message tells of, and who has set it."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("job_messages", sa.Column("status", sa.String(length=255), nullable=True))
    op.add_column("job_messages", sa.Column("who", sa.String(length=255), nullable=True))


def downgrade() -> None:
    op.drop_column("job_messages", "who")
    op.drop_column("job_messages", "status")
