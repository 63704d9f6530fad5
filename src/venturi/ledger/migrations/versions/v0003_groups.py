"""Which member of a group gets a study; and instances of one UID with other bytes are found quickly, and counted.

Rows that are there are of no group.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the table and the index."""
    op.create_table(
        "memberships",
        sa.Column("destination", sa.Text, primary_key=True),
        sa.Column("study_instance_uid", sa.Text, primary_key=True),
        sa.Column("member", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
    )
    op.create_index("memberships_by_age", "memberships", ["at"], unique=False)
    op.create_index(
        "instances_in_conflict",
        "instances",
        ["id"],
        unique=False,
        sqlite_where=sa.text("conflict"),
        postgresql_where=sa.text("conflict"),
    )
    op.drop_index("instances_by_sop_instance", "instances")
    op.create_index("instances_by_sop_instance", "instances", ["sop_instance_uid", "sha256"], unique=False)
