"""Files under a folder: Part 10 files with a fresh file meta, each there whole or not at all.

An object is written under a temporary name, read back and compared with its SHA-256, synced, and only then
given its name; existing files are never overwritten unless the configuration says ``replace``, and then by later
receipts only, however often and in whatever order deliveries are tried: there, each file meta says which receipt it
is of (Private Information, PS3.10 7.1). What is reported as delivered survives loss of power.

What fails is answered: a damaged spool file is REFUSED as ``damaged`` and never delivered; a name that is
taken by other bytes under ``hold`` is REFUSED as ``conflict``; whatever the file system says (full,
read-only, not mounted) is LATER, with its words.
"""

import errno
import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed, wait
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from venturi import IMPLEMENTATION_CLASS_UID
from venturi.config.schema import FolderDestination
from venturi.config.template import PathTemplate, Values
from venturi.dataset import part10
from venturi.dataset.facts import FileHeader, read_header
from venturi.deliver.pace import Pace
from venturi.deliver.port import Ending, Parcel, Receipt
from venturi.deliver.reread import CHUNK_BYTES, digest, holds
from venturi.errors import Malformed, Permanent

INCOMING = ".incoming"
"""Where files are written before they have their name; no template makes a name with a leading dot."""
ABANDONED_AFTER_S = 3600.0
AT_ONCE = 4
"""Files written at once: the file system's journal commits what waits for it together."""

KEEP_BOTH, REPLACE, HOLD = "keep-both", "replace", "hold"
_NO_LINKS = frozenset((errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK))
"""What link(2) says on file systems without hard links (CIFS, exFAT)."""


class SourceDamaged(Permanent):
    """The file in the spool is not what the ledger knows of it."""


class NameTaken(Permanent):
    """The name belongs to other bytes, and the configuration says ``hold``."""


_locks: dict[str, threading.Lock] = {}


def _lock_of(folder: Path) -> threading.Lock:
    """The lock of a folder: several destinations may write there, and several couriers to one."""
    return _locks.setdefault(os.path.realpath(folder), threading.Lock())


class _Modes(NamedTuple):
    """Who may read what is written."""

    file: int
    folder: int


class Folder:
    """One folder destination."""

    def __init__(self, config: FolderDestination, pace: Pace | None = None) -> None:
        """The configuration has been checked when it was loaded. The folder itself need not be there yet."""
        self._pace = pace if pace is not None else Pace()
        self._root = config.folder
        self._mount, self._min_free = config.mount, config.min_free
        self._modes = _Modes(config.file_mode, config.folder_mode)
        self._template = PathTemplate(config.path)
        self._on_conflict = config.on_conflict
        self._swept = False
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="folder")
        """It has no threads before the first few parcels come together."""
        self._lock = _lock_of(config.folder)
        """Held over what two threads must not do at once: making folders, and giving names."""

    def deliver(self, parcels: Sequence[Parcel]) -> Iterator[Receipt]:
        """Store each parcel, a few at once, so that they wait for the disk together; see the port.

        Those of one SOP instance one after the other: the first to come has the name.
        """
        if len(parcels) == 1:
            yield self._stored(parcels[0])
            return
        of_one: dict[str, list[Parcel]] = {}
        for parcel in parcels:
            of_one.setdefault(parcel.envelope.sop_instance_uid, []).append(parcel)
        waiting = [self._pool.submit(self._all_stored, same) for same in of_one.values()]
        try:
            for done in as_completed(waiting):
                yield from done.result()
        finally:
            for done in waiting:
                done.cancel()
            wait(waiting)  # what is in hand is finished, and found there the next time

    def probe(self) -> str:
        """Look whether a file can be written; see the port."""
        try:
            self._look()
            path = self._incoming() / f"probe-{os.urandom(8).hex()}.part"
            path.touch()
            path.unlink()
        except OSError as error:
            return _words(error)
        return ""

    def rest(self) -> None:
        """Nothing is kept for more that costs anything; see the port."""

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()

    def _all_stored(self, parcels: Sequence[Parcel]) -> list[Receipt]:
        return [self._stored(parcel) for parcel in parcels]

    def _stored(self, parcel: Parcel) -> Receipt:
        self._pace.object()
        self._pace.bytes(parcel.outcome.size_bytes)
        began = time.monotonic()
        ending, status, detail, place = self._store(parcel)
        there = ending is not Ending.LATER
        took_s = time.monotonic() - began
        return Receipt(parcel.delivery, ending, status, detail, duration_s=took_s, there=there, place=place)

    def _store(self, parcel: Parcel) -> tuple[Ending, str, str, str]:
        try:
            self._look()
            incoming = self._incoming()
            with parcel.rendition.open("rb") as source:
                meta, offset = part10.read(source)
                with read_header(parcel.rendition) as header:
                    relative = self._template.render(_values(header, meta))
                temporary = incoming / f"{parcel.delivery}-{os.urandom(8).hex()}.part"
                try:
                    head = self._head(meta, parcel)
                    _write(temporary, head, meta, parcel, source.fileno(), offset, self._modes.file)
                    where, note = self._place(temporary, relative, parcel)
                finally:
                    with suppress(FileNotFoundError):
                        temporary.unlink()
        except (SourceDamaged, Malformed) as error:
            return Ending.REFUSED, "damaged", str(error), ""
        except NameTaken as error:
            return Ending.REFUSED, "conflict", str(error), ""
        except OSError as error:
            return Ending.LATER, errno.errorcode.get(error.errno or 0, "OSError"), _words(error), ""
        return Ending.DELIVERED, "", f"{where}{note}", str(where)

    def _look(self) -> None:
        """Look whether anything may be written. Raises OSError."""
        if self._mount is not None and not os.path.ismount(self._mount):
            raise OSError(errno.ENODEV, f"nothing is mounted at {self._mount}")
        if self._min_free:
            with self._lock:
                _make_folders(self._root, self._modes.folder)
            status = os.statvfs(self._root)
            if status.f_bavail < self._min_free * status.f_blocks:
                raise OSError(errno.ENOSPC, f"less than {self._min_free:.0%} of the space is free")

    def _incoming(self) -> Path:
        folder = self._root / INCOMING
        with self._lock:
            _make_folders(self._root, self._modes.folder)
            _make_folders(folder, 0o700)
            if not self._swept:
                for path in folder.iterdir():
                    with suppress(FileNotFoundError):  # another courier's, finished since it was listed
                        if path.stat().st_mtime < time.time() - ABANDONED_AFTER_S:
                            path.unlink()
                self._swept = True
        return folder

    def _head(self, meta: part10.FileMeta, parcel: Parcel) -> bytes:
        """Make the fresh file meta."""
        marked = self._on_conflict == REPLACE
        return part10.encode(
            part10.FileMeta(
                sop_class_uid=meta.sop_class_uid,
                sop_instance_uid=meta.sop_instance_uid,
                transfer_syntax=meta.transfer_syntax,
                source_ae=parcel.envelope.calling_ae,
                private_creator=IMPLEMENTATION_CLASS_UID if marked else "",
                private_information=parcel.instance.id.encode() if marked else b"",
            )
        )

    def _place(self, temporary: Path, relative: PurePosixPath, parcel: Parcel) -> tuple[PurePosixPath, str]:
        """Give the file its name; where it is now, and what is to be said about that."""
        sha256 = parcel.outcome.sha256
        with self._lock:  # until the folder's own name is on disk, nobody reports a file in it
            _make_folders((self._root / relative).parent, self._modes.folder)
        if self._on_conflict == REPLACE:
            final = self._root / relative
            with self._lock:
                existed = final.exists()
                if existed and _receipt_of(final) > parcel.instance.id:
                    return relative, " (not replaced: a later receipt is there)"
                temporary.replace(final)
            _sync_folder(final.parent)
            return relative, " (replaced)" if existed else ""
        for attempt, digits in enumerate((0, 8, 64)):
            name = relative if not digits else _second_name(relative, sha256[:digits])
            final = self._root / name
            with (
                self._lock
            ):  # without hard links, a name that is being taken looks like one whose holder died
                linked = _link(temporary, final)
            if linked:
                _sync_folder(final.parent)
                return name, " (the name was taken by other bytes)" if attempt else ""
            if holds(final, parcel.outcome):
                _sync_file(final)  # whoever wrote it may have died before it was safe
                _sync_folder(final.parent)
                return name, " (already there)"
            if self._on_conflict == HOLD:
                raise NameTaken(f"{relative} is there with other bytes")
        raise NameTaken(f"{relative} and its second names are there with other bytes")


def _words(error: OSError) -> str:
    return f"the folder can't be written: {error.strerror or type(error).__name__}"


def _values(header: FileHeader, meta: part10.FileMeta) -> Values:
    """Look attributes up in the dataset; UIDs that it does not show come from its file meta."""

    def values(path: tuple[str, ...]) -> tuple[str, ...] | None:
        found = header.values(path)
        if not found and path == ("00080018",) and meta.sop_instance_uid:
            return (meta.sop_instance_uid,)
        if not found and path == ("00080016",) and meta.sop_class_uid:
            return (meta.sop_class_uid,)
        return found

    return values


def _second_name(relative: PurePosixPath, digits: str) -> PurePosixPath:
    return relative.with_name(f"{relative.stem}.{digits}{relative.suffix}")


def _write(
    path: Path, head: bytes, meta: part10.FileMeta, parcel: Parcel, source: int, offset: int, mode: int
) -> None:
    """Write a synced Part 10 file and prove that its dataset is the rendition's."""
    outcome = parcel.outcome
    if os.fstat(source).st_size - offset != outcome.size_bytes:
        raise SourceDamaged(f"{parcel.instance.id}: the file in the spool has not the size it had")
    if meta.transfer_syntax != outcome.transfer_syntax:
        raise SourceDamaged(f"{parcel.instance.id}: the file in the spool has another transfer syntax")
    target = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        _write_all(target, head)
        _copy(source, offset, target, outcome.size_bytes)
        if digest(target, len(head)) != outcome.sha256:
            if digest(source, offset) != outcome.sha256:
                raise SourceDamaged(f"{parcel.instance.id}: the file in the spool has not the SHA-256 it had")
            raise OSError(errno.EIO, "what was written reads back differently")
        os.fchmod(target, mode)  # whatever the umask is
        os.fsync(target)
    finally:
        os.close(target)


def _write_all(target: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(target, view) :]


def _copy(source: int, offset: int, target: int, count: int) -> None:
    """Copy ``count`` bytes in the kernel, or, where the file systems can't, through here."""
    done = 0
    in_kernel = True
    while done < count:
        if in_kernel:
            try:
                copied = os.copy_file_range(source, target, min(count - done, 1 << 30), offset + done)
            except OSError as error:
                if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
                    raise
                in_kernel = False
                continue
            if copied == 0:
                in_kernel = False  # some network file systems say so instead of failing
            done += copied
        else:
            data = os.pread(source, min(count - done, CHUNK_BYTES), offset + done)
            if not data:
                return  # the source shrank: the digest tells
            _write_all(target, data)
            done += len(data)


def _link(temporary: Path, final: Path) -> bool:
    """Give the file its name without overwriting; False where the name is taken."""
    try:
        os.link(temporary, final)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        try:  # reserve the name, then replace the reservation
            os.close(os.open(final, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            if final.stat().st_size:
                return False  # an empty file is a reservation whose holder died
        temporary.replace(final)
    return True


def _receipt_of(path: Path) -> str:
    """The id of the instance that a file was made of, ordered by time; empty where it is not one of ours."""
    try:
        with path.open("rb") as file:
            meta, _ = part10.read(file)
    except Malformed:
        return ""
    ours = meta.private_creator == IMPLEMENTATION_CLASS_UID
    return meta.private_information.decode("ascii", "replace") if ours else ""


def _make_folders(folder: Path, mode: int) -> None:
    """Make a folder and its missing parents, each of them durable."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for path in reversed(missing):
        path.mkdir(mode=0o700, exist_ok=True)
        path.chmod(mode)  # whatever the umask is
        _sync_folder(path.parent)


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
