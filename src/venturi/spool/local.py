"""The spool as files under one folder: originals by receiver, renditions, and what was found damaged.

    receivers/r0/  r1/ ...           originals; see ``intake.py``
    renditions/incoming/             what is being written; older than an hour, it is nobody's
    renditions/<bucket>/             <id>-<target digest>.dcm
    corrupt/                         never deleted by a program

Files are 0600, folders 0700. Guarantees and failures are the port's. Any number of processes may use it.
"""

import itertools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from venturi.errors import Damaged
from venturi.log import get_logger
from venturi.model import Instance, Target
from venturi.spool import naming
from venturi.spool.intake import LocalIntake, adopt, check, committed, open_intake, set_aside
from venturi.spool.port import Known, nothing_known
from venturi.spool.shelf import Shelf, storage_error, sync_folder

_log = get_logger()

_ABANDONED_AFTER_S = 3600.0


class LocalRenditionDraft:
    """A rendition that is being written to ``path`` by whoever holds it."""

    def __init__(self, shelf: Shelf, instance: Instance, target: Target) -> None:
        self._shelf = shelf
        self._id = instance.id
        self._name = naming.rendition_name(instance, target)
        self._path = shelf.root / "incoming" / f"{self._name[:-4]}-{os.urandom(6).hex()}.part"

    @property
    def path(self) -> Path:
        """Where to write it; see the port."""
        return self._path

    def commit(self) -> None:
        """Sync it and give it its name; see the port. Raises SpoolFull, SpoolFailed; then nothing is left."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
            try:
                os.fchmod(descriptor, 0o600)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            self._shelf.place(self._path, self._id, self._name)
        except OSError as error:
            self.discard()
            raise storage_error(error, f"committing the rendition {self._name}") from error

    def discard(self) -> None:
        """Remove it; see the port. What can't be removed now is swept later."""
        with suppress(OSError):
            self._path.unlink()


def free_fraction(folder: Path) -> float:
    """Say how much is free there; see the port. Where inodes have no fixed number, space alone counts."""
    try:
        status = os.statvfs(folder)
    except OSError as error:
        raise storage_error(error, "looking at the free space") from error
    space = status.f_bavail / status.f_blocks if status.f_blocks else 1.0
    inodes = status.f_favail / status.f_files if status.f_files else 1.0
    return min(space, inodes)


class LocalSpool:
    """The spool under ``root``, which is made where it is missing."""

    def __init__(self, root: Path) -> None:
        self._receivers = root / "receivers"
        self._corrupt = root / "corrupt"
        self._renditions = Shelf(root / "renditions", naming.RENDITION_BUCKET_DIGITS)
        self._shelves: dict[str, Shelf] = {}
        try:
            _make(root)
            for folder in (self._receivers, self._corrupt, self._renditions.root, self._incoming):
                folder.mkdir(mode=0o700, exist_ok=True)
            for folder in (
                root.parent,
                root,
            ):  # also where an earlier start made them and had no time to sync
                sync_folder(folder)
        except OSError as error:
            raise storage_error(error, f"making the spool {root}") from error

    def intake(self) -> LocalIntake:
        """Take a receiver's part; see the port. Abandoned renditions are swept on the way."""
        self.sweep_renditions()
        return open_intake(self._receivers, self._corrupt)

    def sweep_renditions(self) -> int:
        """Remove renditions that were begun over an hour ago and never committed; how many."""
        removed = 0
        for path in self._incoming.iterdir():
            with suppress(FileNotFoundError):  # committed or discarded since it was listed
                if path.stat().st_mtime < time.time() - _ABANDONED_AFTER_S:
                    path.unlink()
                    removed += 1
        return removed

    def materialise(self, instance: Instance) -> Path:
        """Find the original; see the port. What is damaged stays where it is until ``quarantine``."""
        path = self._find(instance)
        if path is None:
            raise Damaged(f"{instance.id}: the original is not in the spool")
        name = naming.OriginalName(instance.id, instance.sha256, instance.size_bytes)
        try:
            check(path, name)
        except FileNotFoundError as error:
            raise Damaged(f"{instance.id}: the original is not in the spool") from error
        return path

    def draft_rendition(self, instance: Instance, target: Target) -> LocalRenditionDraft:
        """Begin a rendition; see the port."""
        return LocalRenditionDraft(self._renditions, instance, target)

    def abandon_renditions(self, instance: Instance) -> None:
        """Remove drafts; see the port. What can't be removed now is swept later."""
        for path in self._incoming.glob(f"{instance.id}-*.part"):
            with suppress(OSError):
                path.unlink()

    def materialise_rendition(self, instance: Instance, target: Target) -> Path:
        """Find a committed rendition; see the port."""
        path = self._renditions.path(instance.id, naming.rendition_name(instance, target))
        if not path.is_file():
            raise Damaged(f"{instance.id}: the rendition {target.digest} is not in the spool")
        return path

    def delete(self, instance: Instance) -> None:
        """Unlink original and renditions; see the port. The original goes last: this can be repeated."""
        try:
            for name in self._renditions.names(instance.id):
                self._renditions.remove(self._renditions.path(instance.id, name))
            while (path := self._find(instance)) is not None:
                self._shelf(path.parent.parent.name).remove(path)
        except OSError as error:
            raise storage_error(error, f"deleting {instance.id}") from error

    def delete_rendition(self, instance: Instance, target: Target) -> None:
        """Unlink one rendition; see the port."""
        path = self._renditions.path(instance.id, naming.rendition_name(instance, target))
        try:
            self._renditions.remove(path)
        except OSError as error:
            raise storage_error(error, f"deleting a rendition of {instance.id}") from error

    def quarantine(self, instance: Instance) -> None:
        """Move the original to ``corrupt/``; see the port."""
        path = self._find(instance)
        if path is not None:
            _log.error("quarantined", instance=instance.id, moved_to=str(self._corrupt))
            set_aside(path, self._corrupt)

    def iterate(self) -> Iterator[Instance]:
        """Yield every committed instance; see the port. What is damaged goes to ``corrupt/``."""
        for receiver in self._receiver_names():
            yield from committed(self._shelf(receiver), self._corrupt)

    def strays(self, known: Known) -> Iterator[str]:
        """Name what is not known; see the port. Nothing is opened or moved."""
        folders = [self._shelf(receiver).files() for receiver in self._receiver_names()]
        for files in (*folders, self._corrupt.iterdir()):
            while paths := list(itertools.islice(files, 500)):
                names = [naming.parse_original(path.name) for path in paths]
                ids = [name.id for name in names if name is not None]
                recorded = known(ids)
                yield from (each for each in ids if each not in recorded)

    def adopt(self, record: Callable[[Sequence[Instance]], int], known: Known = nothing_known) -> int:
        """Have recorded what receivers left that have ended; see the port."""
        return adopt(
            [self._receivers / name for name in self._receiver_names()], self._corrupt, record, known
        )

    def try_out(self) -> None:
        """Write and sync something; see the port."""
        path = self._receivers.parent / f"try-{os.getpid()}.part"
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                os.write(descriptor, bytes(1 << 18))
                os.fdatasync(descriptor)
            finally:
                os.close(descriptor)
                path.unlink()
            sync_folder(path.parent)
        except OSError as error:
            raise storage_error(error, "trying the storage out") from error

    def free_fraction(self) -> float:
        """Say how much is free; see the port."""
        return free_fraction(self._receivers)

    @property
    def _incoming(self) -> Path:
        return self._renditions.root / "incoming"

    def _receiver_names(self) -> list[str]:
        found = (path.name for path in self._receivers.iterdir())
        return sorted(
            (name for name in found if name[:1] == "r" and name[1:].isdecimal()), key=lambda r: int(r[1:])
        )

    def _shelf(self, receiver: str) -> Shelf:
        return self._shelves.setdefault(
            receiver, Shelf(self._receivers / receiver, naming.ORIGINAL_BUCKET_DIGITS)
        )

    def _find(self, instance: Instance) -> Path | None:
        """Look through the receivers' folders: an instance does not say who received it."""
        name = naming.original_name(instance)
        for receiver in self._receiver_names():
            path = self._shelf(receiver).path(instance.id, name)
            if path.is_file():
                return path
        return None


def _make(folder: Path) -> None:
    """Make a folder and its missing parents, each with its name on disk before anything is put into it."""
    if not folder.is_dir():
        _make(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        sync_folder(folder.parent)
