"""Which schema a ledger has, and making it ours. A newer one is never touched.

Alembic is imported only when there is something to upgrade: roles start often, and only one of them migrates.
"""

from pathlib import Path

import sqlalchemy as sa

from venturi.errors import LedgerNewer, Permanent
from venturi.ledger.tables import REVISIONS


def check(connection: sa.Connection, name: str) -> bool:
    """Whether the schema is this version's; False where it is older or missing. Raises LedgerNewer, Permanent."""
    found = revision(connection)
    if found is None and sa.inspect(connection).get_table_names():
        raise Permanent(f"{name} is a database, but not a ledger; name another file")
    if found is not None and found not in REVISIONS:
        raise LedgerNewer(
            f"{name} was written by a newer Venturi (schema {found}, known here up to {REVISIONS[-1]}): "
            "run that version, or restore the copy from before the upgrade"
        )
    return found == REVISIONS[-1]


def revision(connection: sa.Connection) -> str | None:
    """Read which migration the database is at, or None where none ever ran."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


def upgrade(connection: sa.Connection, revision: str = "head") -> None:
    """Run every migration that is missing, up to that one, in the connection's transaction."""
    from alembic import command  # noqa: PLC0415  # see above
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    folder = str(Path(__file__).parent / "migrations")
    config.set_main_option("script_location", folder.replace("%", "%%"))  # ConfigParser interpolates
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
