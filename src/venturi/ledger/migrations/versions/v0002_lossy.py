"""Renditions: what was lost, under which SOP Instance UID, and whether a person must decide.

Rows that are there lost nothing and waited for nobody. Totals tell how renditions are proven, so their index does too.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns and indices."""
    op.add_column("renditions", sa.Column("hold", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("renditions", sa.Column("lossy_sop_instance_uid", sa.Text, nullable=True))
    op.add_column("renditions", sa.Column("lossy_ratio", sa.Double, nullable=True))
    op.add_column("renditions", sa.Column("lossy_max_error", sa.BigInteger, nullable=True))
    op.add_column("renditions", sa.Column("lossy_psnr_db", sa.Double, nullable=True))
    op.create_index(
        "renditions_by_sop_instance",
        "renditions",
        ["lossy_sop_instance_uid"],
        unique=False,
        sqlite_where=sa.text("lossy_sop_instance_uid IS NOT NULL"),
        postgresql_where=sa.text("lossy_sop_instance_uid IS NOT NULL"),
    )
    op.drop_index("renditions_made", "renditions")
    op.create_index(
        "renditions_made",
        "renditions",
        ["transfer_syntax", "reason", "proof", "pixel_bytes_before", "pixel_bytes_after"],
        unique=False,
    )
