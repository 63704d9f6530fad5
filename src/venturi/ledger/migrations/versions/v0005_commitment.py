"""Storage commitment: what is asked of us and by us; and where exactly a delivery went.

Of deliveries that are there nobody is asked, until the role that delivers finds that somebody is to be.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add tables, columns and indices."""
    op.add_column("deliveries", sa.Column("member", sa.Text, nullable=False, server_default=""))
    op.add_column("deliveries", sa.Column("place", sa.Text, nullable=False, server_default=""))
    op.add_column("deliveries", sa.Column("commit_due_at", sa.Double))
    _partial(
        "deliveries_uncommitted",
        "deliveries",
        ["destination", "commit_due_at"],
        "state = 'delivered' AND commit_due_at IS NOT NULL",
    )
    op.create_table(
        "commitments",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("transaction_uid", sa.Text, nullable=False),
        sa.Column("destination", sa.Text, nullable=False),
        sa.Column("peer", sa.Text, nullable=False),
        sa.Column("calling_ae", sa.Text, nullable=False),
        sa.Column("called_ae", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("until", sa.Double, nullable=False),
        sa.Column("due_at", sa.Double),
        sa.Column("answered_at", sa.Double),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("lease_owner", sa.Text),
        sa.Column("lease_until", sa.Double, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("commitments_by_transaction", "commitments", ["transaction_uid"], unique=False)
    op.create_index("commitments_by_age", "commitments", ["at"], unique=False)
    _partial("commitments_to_judge", "commitments", ["due_at"], "state = 'open'")
    _partial("commitments_leased", "commitments", ["lease_owner"], "lease_owner IS NOT NULL")
    _partial("commitments_to_tell", "commitments", ["peer"], "state = 'answered'")
    op.create_table(
        "commitment_items",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("commitment_id", sa.Integer, sa.ForeignKey("commitments.id"), nullable=False),
        sa.Column("sop_class_uid", sa.Text, nullable=False),
        sa.Column("sop_instance_uid", sa.Text, nullable=False),
        sa.Column("delivery_id", sa.Integer),
        sa.Column("reason", sa.Integer),
    )
    op.create_index("commitment_items_by_commitment", "commitment_items", ["commitment_id"], unique=False)


def _partial(name: str, table: str, columns: list[str], where: str) -> None:
    op.create_index(
        name,
        table,
        columns,
        unique=False,
        sqlite_where=sa.text(where),
        postgresql_where=sa.text(where),
    )
