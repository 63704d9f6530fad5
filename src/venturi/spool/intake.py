"""One receiver's folder of the spool: drafts under temporary names, and what was committed.

    rN/lock         flock-ed while a receiver lives
    rN/swept        there while no receiver has written since somebody swept the folder of one that ended
    rN/incoming/    <id>.part: what is being received; with no living receiver, it was never acknowledged
    rN/<bucket>/    <id>-<sha256>-<size>.dcm

When ``commit`` returns, bytes, name and folder are on disk. When it raises, nothing is left. After
SpoolFailed the whole intake refuses: the storage failed once, and a person must look.
"""

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

from venturi.dataset import part10
from venturi.errors import Damaged, Malformed, SpoolFailed, SpoolFull
from venturi.log import get_logger
from venturi.model import Envelope, Instance
from venturi.spool import naming
from venturi.spool.envelope import from_meta, to_meta
from venturi.spool.port import Known, nothing_known
from venturi.spool.shelf import Shelf, storage_error, sync_folder

_log = get_logger()

_BATCH = 500
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class LocalDraft:
    """An object on its way in; one thread uses it."""

    __slots__ = ("_descriptor", "_digest", "_envelope", "_id", "_intake", "_size", "path")

    def __init__(self, intake: "LocalIntake", envelope: Envelope) -> None:
        head = part10.encode(to_meta(envelope))
        self._intake = intake
        self._envelope = envelope
        self._id = naming.new_id()
        self.path = intake.incoming / f"{self._id}.part"
        self._digest = hashlib.sha256()
        self._size = 0
        self._descriptor = -1
        try:
            self._descriptor = os.open(self.path, _NEW_FILE, 0o600)
            _write_all(self._descriptor, head)
        except OSError as error:
            raise self._fail(error, "creating a file") from error

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append dataset bytes; see the port."""
        if self._descriptor < 0:
            raise SpoolFailed(f"the draft {self._id} is closed")
        self._digest.update(data)
        try:
            self._size += _write_all(self._descriptor, data)
        except OSError as error:
            raise self._fail(error, "writing") from error

    def commit(self) -> Instance:
        """Make it durable; see the port."""
        if self._descriptor < 0:
            raise SpoolFailed(f"the draft {self._id} is closed")
        instance = Instance(self._id, self._digest.hexdigest(), self._size, self._envelope)
        try:
            os.fdatasync(self._descriptor)  # with the length: fdatasync leaves out only the times
            self._close()
            self._intake.shelf.place(self.path, self._id, naming.original_name(instance))
        except OSError as error:
            raise self._fail(error, "syncing") from error
        return instance

    def discard(self) -> None:
        """Remove every trace; see the port."""
        with suppress(
            OSError
        ):  # an error that matters comes again at the next draft; the sweep removes the rest
            self._close()
        with suppress(OSError):
            self.path.unlink()

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _fail(self, error: OSError, doing: str) -> SpoolFull | SpoolFailed:
        self.discard()
        answer = storage_error(error, f"{doing} {self._id} in the spool")
        if isinstance(answer, SpoolFailed):
            self._intake.broken = str(answer)
        return answer


class LocalIntake:
    """A receiver's folder, locked while this object is open. Threads may share it."""

    def __init__(self, folder: Path, lock: int, corrupt: Path) -> None:
        self.incoming = folder / "incoming"
        self.shelf = Shelf(folder, naming.ORIGINAL_BUCKET_DIGITS)
        self.broken = ""
        """What the storage failed with; empty while it can be trusted."""
        self._lock = lock
        self._corrupt = corrupt
        try:
            self.incoming.mkdir(mode=0o700, exist_ok=True)
            for path in self.incoming.iterdir():
                path.unlink()  # nobody else writes here, and what was never committed was never acknowledged
            (folder / "swept").unlink(missing_ok=True)
            sync_folder(folder)
        except OSError as error:
            self.close()
            raise storage_error(error, f"opening {folder}") from error

    def create(self, envelope: Envelope) -> LocalDraft:
        """Begin a draft; see the port. Raises Malformed for an envelope no file meta group can hold."""
        if self.broken:
            raise SpoolFailed(f"the spool takes nothing more until it is restarted: {self.broken}")
        return LocalDraft(self, envelope)

    def sweep(self, known: Known = nothing_known) -> Iterator[Instance]:
        """Yield what was committed; see the port. Part files were removed when this intake was opened."""
        return committed(self.shelf, self._corrupt, known)

    def close(self) -> None:
        """Unlock the folder."""
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)


def open_intake(receivers: Path, corrupt: Path) -> LocalIntake:
    """Take the first receiver's folder that no living process holds. Raises SpoolFull, SpoolFailed."""
    number = 0
    while True:
        folder = receivers / f"r{number}"
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            sync_folder(receivers)
            lock = _lock(folder)
        except OSError as error:
            raise storage_error(error, f"opening {folder}") from error
        if lock is not None:
            return LocalIntake(folder, lock, corrupt)
        number += 1


def adopt(
    folders: Iterable[Path], corrupt: Path, record: Callable[[Sequence[Instance]], int], known: Known
) -> int:
    """Have recorded what is in the folders of receivers that have ended, each folder once; see the port."""
    recorded = 0
    for folder in folders:
        if (folder / "swept").exists():
            continue
        try:
            lock = _lock(folder)
        except OSError as error:
            raise storage_error(error, f"opening {folder}") from error
        if lock is None:
            continue  # its receiver lives, and records what it takes
        intake = LocalIntake(folder, lock, corrupt)
        try:
            found = intake.sweep(known)
            while batch := list(islice(found, _BATCH)):
                recorded += record(batch)
            with suppress(OSError):  # a full disk: it is swept once more, which changes nothing
                (folder / "swept").touch(0o600)
        finally:
            intake.close()
    return recorded


def _lock(folder: Path) -> int | None:
    """Lock a receiver's folder; None where a living process holds it. Raises OSError."""
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        if isinstance(error, BlockingIOError):
            return None
        raise
    return lock


def committed(shelf: Shelf, corrupt: Path, known: Known = nothing_known) -> Iterator[Instance]:
    """Yield every instance of a receiver's shelf but the known; damaged files are logged and moved to ``corrupt``."""
    files = shelf.files()
    while paths := list(islice(files, _BATCH)):
        names = [naming.parse_original(path.name) for path in paths]
        recorded = known([name.id for name in names if name is not None])
        for path, name in zip(paths, names, strict=True):
            if name is None:
                _log.warning("not a spool file", path=str(path))
            elif name.id not in recorded and (instance := _read(path, name, corrupt)) is not None:
                yield instance


def _read(path: Path, name: naming.OriginalName, corrupt: Path) -> Instance | None:
    """Look into a file; None where it is gone, unreadable, or damaged and set aside."""
    try:
        return Instance(name.id, name.sha256, name.size_bytes, check(path, name))
    except FileNotFoundError:
        pass  # removed since the folder was listed
    except Damaged as error:
        _log.error("damaged", instance=name.id, error=str(error), moved_to=str(corrupt))
        set_aside(path, corrupt)
    except OSError as error:
        _log.error("unreadable", instance=name.id, error=str(error))
    return None


def check(path: Path, name: naming.OriginalName) -> Envelope:
    """Read the envelope and compare the length with the name's. Raises Damaged, OSError."""
    with path.open("rb") as file:
        try:
            meta, offset = part10.read(file)
            envelope = from_meta(meta, naming.made_at(name.id))
        except Malformed as error:
            raise Damaged(f"{name.id}: {error}") from error
        size_bytes = os.fstat(file.fileno()).st_size - offset
    if size_bytes != name.size_bytes:
        raise Damaged(f"{name.id}: its dataset has {size_bytes} bytes, and had {name.size_bytes}")
    return envelope


def set_aside(path: Path, corrupt: Path) -> None:
    """Move a file to ``corrupt`` and make that durable; errors are logged: the file stays where it was."""
    try:
        path.rename(corrupt / path.name)
        sync_folder(corrupt)
        sync_folder(path.parent)
    except FileNotFoundError:
        return
    except OSError as error:
        _log.error("can't be moved to corrupt", path=str(path), error=str(error))


def _write_all(descriptor: int, data: bytes | bytearray | memoryview) -> int:
    """Write every byte, also where the system takes them in parts; how many."""
    written = os.write(descriptor, data)
    if written < len(data):  # rare: a signal, or the last free block
        with memoryview(data) as view:
            while written < len(view):
                written += os.write(descriptor, view[written:])
    return written
