"""Runs migrations over the connection that ``schema.upgrade`` hands in, inside its transaction; no other settings."""

from alembic import context

from venturi.ledger.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
