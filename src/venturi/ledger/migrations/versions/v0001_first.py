"""The first schema: instances, renditions, deliveries, attempts and the journal."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make every table."""
    op.create_table(
        "instances",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("sop_class_uid", sa.Text, nullable=False),
        sa.Column("sop_instance_uid", sa.Text, nullable=False),
        sa.Column("transfer_syntax", sa.Text, nullable=False),
        sa.Column("calling_ae", sa.Text, nullable=False),
        sa.Column("called_ae", sa.Text, nullable=False),
        sa.Column("peer", sa.Text, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("received_at", sa.Double, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("held", sa.Text, nullable=False),
        sa.Column("conflict", sa.Boolean, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("lease_owner", sa.Text, nullable=True),
        sa.Column("lease_until", sa.Double, nullable=False),
        sa.Column("study_instance_uid", sa.Text, nullable=False),
        sa.Column("series_instance_uid", sa.Text, nullable=False),
        sa.Column("modality", sa.Text, nullable=False),
        sa.Column("config_digest", sa.Text, nullable=False),
        sa.Column("decided_at", sa.Double, nullable=True),
        sa.Column("gone_at", sa.Double, nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("instances_by_sop_instance", "instances", ["sop_instance_uid"], unique=False)
    op.create_index("instances_by_size", "instances", ["size_bytes"], unique=False)
    op.create_index("instances_by_study", "instances", ["study_instance_uid"], unique=False)
    op.create_index(
        "instances_decided",
        "instances",
        ["decided_at"],
        unique=False,
        sqlite_where=sa.text("state = 'decided'"),
        postgresql_where=sa.text("state = 'decided'"),
    )
    op.create_index(
        "instances_gone",
        "instances",
        ["gone_at"],
        unique=False,
        sqlite_where=sa.text("state = 'gone'"),
        postgresql_where=sa.text("state = 'gone'"),
    )
    op.create_index(
        "instances_held",
        "instances",
        ["id"],
        unique=False,
        sqlite_where=sa.text("held <> ''"),
        postgresql_where=sa.text("held <> ''"),
    )
    op.create_index(
        "instances_leased",
        "instances",
        ["lease_owner"],
        unique=False,
        sqlite_where=sa.text("lease_owner IS NOT NULL"),
        postgresql_where=sa.text("lease_owner IS NOT NULL"),
    )
    op.create_index(
        "instances_removable",
        "instances",
        ["id"],
        unique=False,
        sqlite_where=sa.text("state = 'removable'"),
        postgresql_where=sa.text("state = 'removable'"),
    )
    op.create_index(
        "instances_undecided",
        "instances",
        ["id"],
        unique=False,
        sqlite_where=sa.text("state = 'received' AND held = ''"),
        postgresql_where=sa.text("state = 'received' AND held = ''"),
    )
    op.create_table(
        "journal",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("verb", sa.Text, nullable=False),
        sa.Column("what", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "renditions",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("instance_id", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("transfer_syntax", sa.Text, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("proof", sa.Text, nullable=False),
        sa.Column("codec", sa.Text, nullable=False),
        sa.Column("frames", sa.Integer, nullable=False),
        sa.Column("pixel_bytes_before", sa.BigInteger, nullable=False),
        sa.Column("pixel_bytes_after", sa.BigInteger, nullable=False),
        sa.Column("made_at", sa.Double, nullable=False),
        sa.ForeignKeyConstraint(
            ["instance_id"],
            ["instances.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("instance_id", "digest", name="one_rendition_a_target"),
    )
    op.create_index(
        "renditions_made",
        "renditions",
        ["transfer_syntax", "reason", "pixel_bytes_before", "pixel_bytes_after"],
        unique=False,
    )
    op.create_table(
        "deliveries",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("instance_id", sa.Text, nullable=False),
        sa.Column("rendition_id", sa.Integer, nullable=False),
        sa.Column("destination", sa.Text, nullable=False),
        sa.Column("rule", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("sent_original", sa.Boolean, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("due_at", sa.Double, nullable=False),
        sa.Column("done_at", sa.Double, nullable=True),
        sa.Column("lease_owner", sa.Text, nullable=True),
        sa.Column("lease_until", sa.Double, nullable=False),
        sa.ForeignKeyConstraint(
            ["instance_id"],
            ["instances.id"],
        ),
        sa.ForeignKeyConstraint(
            ["rendition_id"],
            ["renditions.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index("deliveries_by_state", "deliveries", ["destination", "state"], unique=False)
    op.create_index("deliveries_by_instance", "deliveries", ["instance_id"], unique=False)
    op.create_index(
        "deliveries_due",
        "deliveries",
        ["destination", "due_at", "id"],
        unique=False,
        sqlite_where=sa.text("state = 'pending'"),
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_index(
        "deliveries_held",
        "deliveries",
        ["destination"],
        unique=False,
        sqlite_where=sa.text("state = 'held'"),
        postgresql_where=sa.text("state = 'held'"),
    )
    op.create_index(
        "deliveries_lease_ends",
        "deliveries",
        ["destination", "lease_until"],
        unique=False,
        sqlite_where=sa.text("lease_owner IS NOT NULL"),
        postgresql_where=sa.text("lease_owner IS NOT NULL"),
    )
    op.create_index(
        "deliveries_leased",
        "deliveries",
        ["lease_owner"],
        unique=False,
        sqlite_where=sa.text("lease_owner IS NOT NULL"),
        postgresql_where=sa.text("lease_owner IS NOT NULL"),
    )
    op.create_table(
        "attempts",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("delivery_id", sa.Integer, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("duration_s", sa.Double, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("due_at", sa.Double, nullable=False),
        sa.Column("sent_original", sa.Boolean, nullable=False),
        sa.ForeignKeyConstraint(
            ["delivery_id"],
            ["deliveries.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("attempts_by_delivery", "attempts", ["delivery_id"], unique=False)
