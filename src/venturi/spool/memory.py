"""The spool in memory, for tests: what it forgets at exit, nobody was promised.

``capacity_bytes`` makes it full like a disk; setting ``broken`` makes commits fail like a failing one. Files
that other rooms need as paths are written to a temporary folder, which goes when the spool is garbage.
"""

import hashlib
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from venturi.dataset import part10
from venturi.errors import Damaged, SpoolFailed, SpoolFull
from venturi.model import Envelope, Instance, Target
from venturi.spool import naming
from venturi.spool.envelope import to_meta
from venturi.spool.port import Known, nothing_known


@dataclass
class _Part:
    """What one receiver committed."""

    taken: bool = False
    swept: bool = False
    objects: dict[str, tuple[Instance, bytes]] = field(default_factory=dict)


class MemoryDraft:
    """An object on its way in."""

    def __init__(self, spool: "MemorySpool", part: _Part, envelope: Envelope) -> None:
        part10.encode(to_meta(envelope))  # as strict as files about what can be kept
        self._spool, self._part, self._envelope = spool, part, envelope
        self._id = naming.new_id()
        self._data: bytearray | None = bytearray()

    @property
    def path(self) -> Path:
        """Write it to a file; see the port."""
        path = self._spool.folder / f"{self._id}.part"
        path.write_bytes(part10.encode(to_meta(self._envelope)) + self._open())
        return path

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append dataset bytes; see the port."""
        whole = self._open()
        whole += data
        if not self._spool.has_room(len(whole)):
            self.discard()
            raise SpoolFull(f"no room for {self._id}")

    def commit(self) -> Instance:
        """Keep it; see the port."""
        data = bytes(self._open())
        self.discard()
        if self._spool.broken:
            raise SpoolFailed(f"the spool is broken: {self._id}")
        instance = Instance(self._id, hashlib.sha256(data).hexdigest(), len(data), self._envelope)
        self._part.objects[self._id] = (instance, data)
        return instance

    def discard(self) -> None:
        """Forget it; see the port."""
        self._data = None

    def _open(self) -> bytearray:
        if self._data is None:
            raise SpoolFailed(f"the draft {self._id} is closed")
        return self._data


class MemoryIntake:
    """One receiver's part."""

    def __init__(self, spool: "MemorySpool", part: _Part) -> None:
        self._spool, self._part = spool, part
        part.taken, part.swept = True, False

    def create(self, envelope: Envelope) -> MemoryDraft:
        """Begin a draft; see the port."""
        if self._spool.broken:
            raise SpoolFailed("the spool is broken")
        return MemoryDraft(self._spool, self._part, envelope)

    def sweep(self, known: Known = nothing_known) -> Iterator[Instance]:
        """Yield what was committed; see the port."""
        recorded = known(list(self._part.objects))
        return (held for held, _ in list(self._part.objects.values()) if held.id not in recorded)

    def close(self) -> None:
        """Give the part free."""
        self._part.taken = False


class MemoryRenditionDraft:
    """A rendition in the temporary folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self._final = folder / name
        self._path = folder / f"{name[:-4]}-{naming.new_id()}.part"

    @property
    def path(self) -> Path:
        """Where to write it; see the port."""
        return self._path

    def commit(self) -> None:
        """Give it its name; see the port."""
        try:
            self._path.replace(self._final)
        except OSError as error:
            raise SpoolFailed(f"committing the rendition {self._final.name}: {error.strerror}") from error

    def discard(self) -> None:
        """Remove it; see the port."""
        self._path.unlink(missing_ok=True)


class MemorySpool:
    """A spool that lives as long as this object."""

    def __init__(self, capacity_bytes: int | None = None) -> None:
        self.capacity_bytes = capacity_bytes
        self.broken = False
        self.quarantined: list[Instance] = []
        self._parts: list[_Part] = []
        self._lock = threading.Lock()
        self._temporary = tempfile.TemporaryDirectory(prefix="venturi-spool-")
        self.folder = Path(self._temporary.name)
        """For what is needed as a file."""

    def intake(self) -> MemoryIntake:
        """Take the first part that is free; see the port."""
        with self._lock:
            part = next((part for part in self._parts if not part.taken), None)
            if part is None:
                part = _Part()
                self._parts.append(part)
            return MemoryIntake(self, part)

    def materialise(self, instance: Instance) -> Path:
        """Write the original to a file; see the port."""
        for part in self._parts:
            if instance.id in part.objects:
                found, data = part.objects[instance.id]
                path = self.folder / naming.original_name(found)
                if not path.exists():
                    path.write_bytes(part10.encode(to_meta(found.envelope)) + data)
                return path
        raise Damaged(f"{instance.id}: the original is not in the spool")

    def draft_rendition(self, instance: Instance, target: Target) -> MemoryRenditionDraft:
        """Begin a rendition; see the port."""
        return MemoryRenditionDraft(self.folder, naming.rendition_name(instance, target))

    def abandon_renditions(self, instance: Instance) -> None:
        """Remove drafts; see the port."""
        for path in self.folder.glob(f"{instance.id}-*.part"):
            path.unlink()

    def materialise_rendition(self, instance: Instance, target: Target) -> Path:
        """Find a rendition; see the port."""
        path = self.folder / naming.rendition_name(instance, target)
        if not path.exists():
            raise Damaged(f"{instance.id}: the rendition {target.digest} is not in the spool")
        return path

    def delete(self, instance: Instance) -> None:
        """Forget original and renditions; see the port."""
        for part in self._parts:
            part.objects.pop(instance.id, None)
        for path in self.folder.glob(f"{instance.id}-*"):
            path.unlink()

    def delete_rendition(self, instance: Instance, target: Target) -> None:
        """Forget one rendition; see the port."""
        (self.folder / naming.rendition_name(instance, target)).unlink(missing_ok=True)

    def quarantine(self, instance: Instance) -> None:
        """Put the original among the ``quarantined``; see the port."""
        for part in self._parts:
            if part.objects.pop(instance.id, None):
                self.quarantined.append(instance)
        (self.folder / naming.original_name(instance)).unlink(missing_ok=True)

    def iterate(self) -> Iterator[Instance]:
        """Yield every committed instance; see the port."""
        for part in list(self._parts):
            yield from (instance for instance, _ in list(part.objects.values()))

    def strays(self, known: Known) -> Iterator[str]:
        """Name what is not known; see the port."""
        ids = [one.id for one in (*self.iterate(), *self.quarantined)]
        recorded = known(ids)
        return (each for each in ids if each not in recorded)

    def adopt(self, record: Callable[[Sequence[Instance]], int], known: Known = nothing_known) -> int:
        """Have recorded what receivers left that have ended; see the port."""
        recorded = 0
        for part in [part for part in self._parts if not (part.taken or part.swept)]:
            old = known(list(part.objects))
            recorded += record([held for held, _ in part.objects.values() if held.id not in old])
            part.swept = True
        return recorded

    def try_out(self) -> None:
        """Fail where it is broken; see the port."""
        if self.broken:
            raise SpoolFailed("the spool is broken")

    def free_fraction(self) -> float:
        """Say what of the capacity is free; 1.0 without one."""
        return 1.0 if self.capacity_bytes is None else max(0.0, 1.0 - self._used() / self.capacity_bytes)

    def has_room(self, size_bytes: int) -> bool:
        """Whether so many more bytes fit."""
        return self.capacity_bytes is None or self._used() + size_bytes <= self.capacity_bytes

    def _used(self) -> int:
        return sum(len(data) for part in self._parts for _, data in part.objects.values())
