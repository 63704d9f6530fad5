"""Connections and transactions: SQLite today, and the one place that knows it is.

WAL with synchronous=FULL: what a transaction committed survives loss of power. Writers begin IMMEDIATE, so that
two of them queue up for the lock instead of failing half way. A database that is locked for longer than
``_BUSY_S``, or full, is Temporary; one that is damaged is Permanent.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from venturi.errors import Permanent, Temporary
from venturi.ledger import schema

_BUSY_S = 30
_READ = {"venturi_read": True}


class Database:
    """An engine with two kinds of transactions."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """Open a transaction that holds the write lock; it commits at the end, or leaves nothing."""
        with _translated(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Open a transaction that sees one state of the ledger and waits for nobody."""
        with _translated(), self._engine.connect().execution_options(**_READ) as connection:
            yield connection

    def close(self) -> None:
        """Free all connections."""
        self._engine.dispose()


def open_database(url: str, migrate: bool) -> Database:
    """Open ``sqlite:////absolute/path``; with ``migrate``, make or upgrade it (the file is 0600).

    Raises LedgerNewer; Permanent where it is missing or older and ``migrate`` is False; Temporary where it is locked.
    """
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError as error:
        raise Permanent(f"{url!r} is not a database URL; expected sqlite:////path/ledger.db") from error
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database == ":memory:":
        raise Permanent("the ledger must be a file: sqlite:////path/ledger.db")
    path = Path(parsed.database)
    if migrate:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise Permanent(f"the ledger {path} can't be made: {error.strerror}") from error
    elif not path.exists():
        raise Permanent(f"there is no ledger at {path}: start `venturi run` once, which makes it")
    database = Database(_engine(parsed))
    try:
        with database.read() as connection:
            current = schema.check(connection, str(path))
        if not current and not migrate:
            raise Permanent(
                f"the ledger {path} is of an older Venturi: start `venturi run`, which upgrades it"
            )
        if not current:
            with database.write() as connection:
                if not schema.check(connection, str(path)):  # nobody else did it while we waited for the lock
                    schema.upgrade(connection)
    except BaseException:
        database.close()
        raise
    return database


@cache
def insert_or_ignore(dialect: str, table: sa.Table) -> sa.Insert:
    """INSERT that passes over rows whose key is there already."""
    if dialect == "postgresql":
        return postgresql.insert(table).on_conflict_do_nothing()
    return sqlite.insert(table).on_conflict_do_nothing()


def _engine(url: sa.URL) -> sa.Engine:
    engine = sa.create_engine(url, connect_args={"timeout": _BUSY_S}, pool_size=4, max_overflow=12)
    sa.event.listen(engine, "connect", _prepare)
    sa.event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # the driver begins nothing by itself: _begin does
    cursor = connection.cursor()
    for setting in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        cursor.execute(f"PRAGMA {setting}")
    cursor.close()


def _begin(connection: sa.Connection) -> None:
    reading = connection.get_execution_options().get("venturi_read", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


@contextmanager
def _translated() -> Iterator[None]:
    """Say of the database's errors whether trying again can help."""
    try:
        yield
    except (sa.exc.OperationalError, sa.exc.TimeoutError) as error:
        raise Temporary(f"the ledger can't be used now: {getattr(error, 'orig', None) or error}") from error
    except sa.exc.DatabaseError as error:
        raise Permanent(f"the ledger refuses: {error.orig}") from error
