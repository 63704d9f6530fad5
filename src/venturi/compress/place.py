"""The output folder: unfinished files, what is there already, and giving files their names. Never through a link.

Unfinished files lie in one folder beside the journal, on the same file system, so that what a killed run leaves is
found without a walk, and no name grows too long. A name is given by link(2), which never replaces anything; where the
file system has no hard links, after a look.
"""

import errno
import os
from contextlib import suppress
from pathlib import Path

from venturi.compress.walk import JOURNAL_FOLDER

PARTS = "unfinished"
_NO_LINKS = frozenset((errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK))
"""What link(2) says on file systems without hard links (CIFS, exFAT)."""
_MOST_KNOWN = 4096


class Taken(Exception):
    """The name belongs to something that is not ours."""


class Output:
    """See the module."""

    def __init__(self, root: Path) -> None:
        """Make what is missing of it. Raises OSError; Taken where our own folder's name is taken."""
        root.mkdir(parents=True, exist_ok=True)
        self.root = root.resolve()
        self.own = self.root / JOURNAL_FOLDER
        self._parts = self.own / PARTS
        self.own.mkdir(exist_ok=True)
        if self.own.is_symlink():
            raise Taken(f"{self.own} is a link")
        self._mode = 0o666 & ~_umask()
        self._prefix = os.path.join(self._parts, os.urandom(8).hex())
        self._names = os.path.join(self.root, "")
        self._known: set[str] = set()

    def unfinished(self) -> set[str]:
        """What an earlier run has left, by name. Only for whoever holds the journal. Raises Taken, OSError."""
        self._parts.mkdir(exist_ok=True)
        if self._parts.is_symlink():
            raise Taken(f"{self._parts} is a link")
        return {entry.name for entry in os.scandir(self._parts)}

    def left_by(self, name: str) -> str:
        """Where that is."""
        return os.path.join(self._parts, name)

    def sweep(self) -> None:
        """Remove what is unfinished. Only for whoever holds the journal."""
        for entry in os.scandir(self._parts):
            os.unlink(entry.path)

    def part(self, number: int) -> str:
        """Where to write an unfinished file; no other run had that name."""
        return f"{self._prefix}-{number}.part"

    def finished(self, part: str, source: str) -> int:
        """Let nobody read a file that was written who may not read its source; its length. Raises OSError."""
        os.chmod(part, os.stat(source).st_mode & self._mode | 0o600)
        return os.stat(part).st_size

    def size_of(self, path: str) -> int | None:
        """The length of what is there under a name; -1 where it is no file, None where there is nothing."""
        try:
            status = os.lstat(self._names + path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return status.st_size if (status.st_mode & 0o170000) == 0o100000 else -1

    def place(self, part: str, path: str, *, replace: bool) -> None:
        """Give a part its name. Raises Taken, OSError."""
        self._make_folder(path.rpartition("/")[0])
        final = self._names + path
        try:
            if replace:
                os.replace(part, final)
                return
            try:
                os.link(part, final)
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                if self.size_of(path) is not None:
                    raise Taken("something else is there") from error
                os.replace(part, final)
                return
        except (FileExistsError, IsADirectoryError) as error:
            if os.path.samestat(os.lstat(part), os.lstat(final)):  # a run was killed between link and unlink
                os.unlink(part)
                return
            raise Taken("something else is there") from error
        os.unlink(part)

    def _make_folder(self, folder: str) -> None:
        if folder in self._known:
            return
        where = self.root / folder
        # Before anything is made: a link may lead anywhere, also into the source.
        if where.resolve() != where:
            raise Taken("a folder on its way is a link")
        try:
            where.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise Taken("a folder on its way is a file") from error
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known.add(folder)

    def close(self) -> None:
        """Leave nothing unfinished; what can't be removed now is swept by the next run."""
        with suppress(OSError):
            self.sweep()
            self._parts.rmdir()


def _umask() -> int:
    """Find what this process has: there is no other way to ask than to set it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
