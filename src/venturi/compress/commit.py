"""Makes what was written lasting, many files at once: sync the file system, then the journal, then the names.

A file is done when its line is in the journal; only then it gets its name. So a name in the output that has no line is
not ours, and a line whose name is missing after a power cut is done again. One sync is for all that was finished in
the meantime, at most once a second: a sync for each file would cost more than encoding it.
"""

import ctypes
import errno
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from venturi.compress.journal import Journal, Record
from venturi.compress.place import Output, Taken
from venturi.compress.port import Left
from venturi.compress.report import Tally
from venturi.compress.walk import said
from venturi.log import get_logger

log = get_logger()

INTERVAL_S = 1.0
FULL = frozenset((errno.ENOSPC, errno.EDQUOT))
STOPPERS = FULL | {errno.EROFS}
"""Errors that every other file would meet too."""


@dataclass(frozen=True, slots=True)
class Made:
    """A file that is written, and not yet lasting."""

    record: Record
    part: str


class Committer:
    """A thread; see the module."""

    def __init__(self, output: Output, journal: Journal, tally: Tally, stop: Callable[[str], None]) -> None:
        """``stop`` is told in words why nothing more can be kept."""
        self._output = output
        self._journal = journal
        self._tally = tally
        self._stop = stop
        self._waiting: list[Made] = []
        self._taken_back: list[Record] = []
        self._unnamed = 0
        """Of those that have their line."""
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._root = os.open(output.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="committer")
        self._thread.start()

    def put(self, made: Made) -> None:
        """Take one."""
        with self._lock:
            self._waiting.append(made)

    def close(self) -> bool:
        """Commit the rest; whether all that has a line has its name. Otherwise the next run gives it."""
        self._closing.set()
        self._thread.join()
        os.close(self._root)
        return not self._unnamed

    def _run(self) -> None:
        try:
            while not self._closing.wait(INTERVAL_S):
                self._commit()
            self._commit()
            if self._taken_back:
                self._journal.add(self._taken_back)
            sync(self._root)  # the names, too
        except OSError as error:
            self._stop(f"the output can't be kept: {said(error)}")
        except Exception as error:  # a mistake of ours: nothing more gets a name
            log.exception("nothing more is kept")
            self._stop(f"the output can't be kept: {type(error).__name__}")

    def _commit(self) -> None:
        with self._lock:
            batch, self._waiting = self._waiting, []
        if not batch:
            return
        sync(self._root)
        self._journal.add([*self._taken_back, *(made.record for made in batch)])
        self._taken_back.clear()
        self._unnamed = len(batch)
        for made in batch:
            self._name(made)
            self._unnamed -= 1

    def _name(self, made: Made) -> None:
        record = made.record
        try:
            self._output.place(made.part, record.path, replace=record.replace)
        except Taken as error:
            why, detail = Left.CONFLICT, str(error)
        except OSError as error:
            if error.errno in STOPPERS:
                raise
            why, detail = Left.FAILED, said(error)
        else:
            self._tally.done(record)
            return
        self._taken_back.append(replace(record, output_bytes=-1))
        self._tally.left(record.path, why, detail, record.size_bytes)


def sync(descriptor: int) -> None:
    """Have on disk all that was written to the file system of an open file (syncfs(2)). Raises OSError."""
    syncfs = getattr(_LIBC, "syncfs", None)
    if syncfs is None:
        os.sync()
    elif syncfs(descriptor):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


_LIBC = ctypes.CDLL(None, use_errno=True)
