"""The ledger's tables, as this version of Venturi knows them; ``migrations/`` makes and changes them.

Statements compare states with ``inline`` literals: SQLite uses a partial index only where the statement's own text
implies the index's condition.
"""

import re

import sqlalchemy as sa
from sqlalchemy.engine import Dialect

REVISIONS = ("0001", "0002", "0003", "0004", "0005")
"""Every schema this version can find, oldest first; the last is the one it works with."""

metadata = sa.MetaData()


class NetworkText(sa.types.TypeDecorator[str]):
    r"""Text that may hold what no database takes: NUL and surrogate escapes are kept as ``\uXXXX``."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Escape."""
        if value is None or (value.isascii() and "\\" not in value and "\0" not in value):
            return value
        return re.sub(r"[\\\0\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        """Take escapes back."""
        if value is None or "\\" not in value:
            return value
        return re.sub(r"\\u([0-9a-f]{4})", lambda found: chr(int(found[1], 16)), value)


def inline(text: str) -> sa.ColumnElement[str]:
    """Make a constant of ours (never data) that stands in the statement's text."""
    if not (text.isalpha() or not text):
        raise ValueError(f"{text!r} is not a word of ours")
    return sa.literal_column(f"'{text}'", sa.Text)


def _partial(name: str, *columns: str, where: str) -> sa.Index:
    return sa.Index(name, *columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))


instances = sa.Table(
    "instances",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("sop_class_uid", NetworkText, nullable=False),
    sa.Column("sop_instance_uid", NetworkText, nullable=False),
    sa.Column("transfer_syntax", NetworkText, nullable=False),
    sa.Column("calling_ae", NetworkText, nullable=False),
    sa.Column("called_ae", NetworkText, nullable=False),
    sa.Column("peer", NetworkText, nullable=False),
    sa.Column("address", NetworkText, nullable=False),
    sa.Column("received_at", sa.Double, nullable=False),
    sa.Column("state", sa.Text, nullable=False),  # received, decided, removable, gone
    sa.Column("held", sa.Text, nullable=False),  # why it waits for a person, or empty
    sa.Column("conflict", sa.Boolean, nullable=False),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("lease_owner", sa.Text),
    sa.Column("lease_until", sa.Double, nullable=False),
    sa.Column("study_instance_uid", NetworkText, nullable=False),
    sa.Column("series_instance_uid", NetworkText, nullable=False),
    sa.Column("modality", NetworkText, nullable=False),
    sa.Column("config_digest", sa.Text, nullable=False),
    sa.Column("decided_at", sa.Double),
    sa.Column("gone_at", sa.Double),
    sa.Index("instances_by_sop_instance", "sop_instance_uid", "sha256"),
    sa.Index("instances_by_study", "study_instance_uid"),
    sa.Index(
        "instances_by_size", "size_bytes"
    ),  # for the sum alone: a narrow index is read instead of wide rows
    _partial("instances_undecided", "id", where="state = 'received' AND held = ''"),
    _partial("instances_decided", "decided_at", where="state = 'decided'"),
    _partial("instances_removable", "id", where="state = 'removable'"),
    _partial("instances_gone", "gone_at", where="state = 'gone'"),
    _partial("instances_in_conflict", "id", where="conflict"),
    _partial("instances_held", "id", where="held <> ''"),
    _partial("instances_leased", "lease_owner", where="lease_owner IS NOT NULL"),
)

renditions = sa.Table(
    "renditions",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("instance_id", sa.Text, sa.ForeignKey("instances.id"), nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("target", sa.Text, nullable=False),  # JSON: transfer syntax, parameters, min_saving
    sa.Column("state", sa.Text, nullable=False),  # ready, failed
    sa.Column("transfer_syntax", NetworkText, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),  # empty: transcoded
    sa.Column("detail", NetworkText, nullable=False),
    sa.Column("proof", sa.Text, nullable=False),
    sa.Column("codec", sa.Text, nullable=False),
    sa.Column("frames", sa.Integer, nullable=False),
    sa.Column("pixel_bytes_before", sa.BigInteger, nullable=False),
    sa.Column("pixel_bytes_after", sa.BigInteger, nullable=False),
    sa.Column("made_at", sa.Double, nullable=False),
    sa.Column("hold", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("lossy_sop_instance_uid", NetworkText),  # NULL, like those below: nothing was lost
    sa.Column("lossy_ratio", sa.Double),
    sa.Column("lossy_max_error", sa.BigInteger),
    sa.Column("lossy_psnr_db", sa.Double),  # NULL also where nothing differs
    sa.UniqueConstraint("instance_id", "digest", name="one_rendition_a_target"),
    sa.Index(
        *("renditions_made", "transfer_syntax", "reason", "proof"),
        *("pixel_bytes_before", "pixel_bytes_after"),
    ),  # for totals
    _partial(
        "renditions_by_sop_instance", "lossy_sop_instance_uid", where="lossy_sop_instance_uid IS NOT NULL"
    ),
)

deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("instance_id", sa.Text, sa.ForeignKey("instances.id"), nullable=False),
    sa.Column("rendition_id", sa.Integer, sa.ForeignKey("renditions.id"), nullable=False),
    sa.Column("destination", sa.Text, nullable=False),
    sa.Column("rule", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),  # pending, delivered, committed, held
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("detail", NetworkText, nullable=False),
    sa.Column("sent_original", sa.Boolean, nullable=False),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("due_at", sa.Double, nullable=False),
    sa.Column("done_at", sa.Double),
    sa.Column("lease_owner", sa.Text),
    sa.Column("lease_until", sa.Double, nullable=False),
    sa.Column("instead", sa.Text, nullable=False, server_default=""),  # why it is not what the rule says
    sa.Column("member", sa.Text, nullable=False, server_default=""),  # of a group: which one has it
    sa.Column("place", NetworkText, nullable=False, server_default=""),  # in a folder
    sa.Column("commit_due_at", sa.Double),  # NULL: nobody is asked whether it is stored for good
    sa.Index("deliveries_by_instance", "instance_id"),
    _partial("deliveries_due", "destination", "due_at", "id", where="state = 'pending'"),
    _partial("deliveries_held", "destination", where="state = 'held'"),
    sa.Index("deliveries_by_state", "destination", "state"),
    _partial(
        "deliveries_uncommitted",
        *("destination", "commit_due_at"),
        where="state = 'delivered' AND commit_due_at IS NOT NULL",
    ),
    _partial("deliveries_leased", "lease_owner", where="lease_owner IS NOT NULL"),
    _partial("deliveries_lease_ends", "destination", "lease_until", where="lease_owner IS NOT NULL"),
    sqlite_autoincrement=True,  # an id once shown to a person never means another delivery
)

attempts = sa.Table(
    "attempts",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("delivery_id", sa.Integer, sa.ForeignKey("deliveries.id"), nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("duration_s", sa.Double, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("detail", NetworkText, nullable=False),
    sa.Column("due_at", sa.Double, nullable=False),
    sa.Column("sent_original", sa.Boolean, nullable=False),
    sa.Index("attempts_by_delivery", "delivery_id"),
)

memberships = sa.Table(
    "memberships",
    metadata,
    sa.Column("destination", sa.Text, primary_key=True),  # a group
    sa.Column("study_instance_uid", NetworkText, primary_key=True),
    sa.Column("member", sa.Text, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
    sa.Index("memberships_by_age", "at"),
)

commitments = sa.Table(
    "commitments",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("transaction_uid", NetworkText, nullable=False),
    sa.Column("destination", sa.Text, nullable=False),  # asked by us; empty: we were asked
    sa.Column("peer", NetworkText, nullable=False),
    sa.Column("calling_ae", NetworkText, nullable=False),
    sa.Column("called_ae", NetworkText, nullable=False),
    sa.Column("state", sa.Text, nullable=False),  # open, answered, reported; asked, done, refused
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("until", sa.Double, nullable=False),
    sa.Column("due_at", sa.Double),  # open: judged again; answered: told again; NULL: when the peer is here
    sa.Column("answered_at", sa.Double),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("detail", NetworkText, nullable=False),
    sa.Column("lease_owner", sa.Text),
    sa.Column("lease_until", sa.Double, nullable=False),
    sa.Index("commitments_by_transaction", "transaction_uid"),
    sa.Index("commitments_by_age", "at"),
    _partial("commitments_to_judge", "due_at", where="state = 'open'"),
    _partial("commitments_leased", "lease_owner", where="lease_owner IS NOT NULL"),
    _partial("commitments_to_tell", "peer", where="state = 'answered'"),
    sqlite_autoincrement=True,
)

commitment_items = sa.Table(
    "commitment_items",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("commitment_id", sa.Integer, sa.ForeignKey("commitments.id"), nullable=False),
    sa.Column("sop_class_uid", NetworkText, nullable=False),
    sa.Column("sop_instance_uid", NetworkText, nullable=False),
    sa.Column("delivery_id", sa.Integer),  # which we ask about; it may be forgotten before
    sa.Column("reason", sa.Integer),  # NULL: not certain yet; 0: committed; else the Failure Reason
    sa.Index("commitment_items_by_commitment", "commitment_id"),
)

acceptances = sa.Table(
    "acceptances",
    metadata,
    sa.Column("destination", sa.Text, primary_key=True),
    sa.Column("sop_class_uid", NetworkText, primary_key=True),
    sa.Column("transfer_syntax", NetworkText, primary_key=True),
    sa.Column("accepted", sa.Boolean, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
)

journal = sa.Table(
    "journal",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("who", NetworkText, nullable=False),
    sa.Column("verb", sa.Text, nullable=False),
    sa.Column("what", sa.Text, nullable=False),  # JSON
)
