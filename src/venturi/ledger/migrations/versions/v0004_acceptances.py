"""What destinations' peers accepted; and why a delivery is of another rendition than its rule says.

Deliveries that are there are of what their rules say.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the table and the column."""
    op.create_table(
        "acceptances",
        sa.Column("destination", sa.Text, primary_key=True),
        sa.Column("sop_class_uid", sa.Text, primary_key=True),
        sa.Column("transfer_syntax", sa.Text, primary_key=True),
        sa.Column("accepted", sa.Boolean, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
    )
    op.add_column("deliveries", sa.Column("instead", sa.Text, nullable=False, server_default=""))
