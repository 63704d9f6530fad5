"""The notes of a run: one JSON line for each file that is done, in the output. Who holds it is alone there.

A line is written when what it tells of is safely on disk (``commit.py``), so after a power cut it is true; what has no
line is done again. A line says of which unfinished file it is, so that whoever comes after a kill can give it its name.
The first line says for what the run is: a run that asks for something else is refused. Lines that were torn off are
passed over, and a later line for a path replaces an earlier one.

Memory: two numbers for each line. Bytes of names that are not UTF-8 are kept as JSON's escapes of lone surrogates.
"""

import fcntl
import json
import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from venturi.compress.port import Order
from venturi.compress.walk import JOURNAL_FOLDER
from venturi.errors import ConfigError, Temporary

VERSION = 1
NAME = "journal.jsonl"


@dataclass(frozen=True, slots=True)
class Record:
    """What became of one file, where something of it is in the output."""

    path: str
    size_bytes: int
    mtime_ns: int
    output_bytes: int
    """-1: this line takes back an earlier one."""
    came_as: str = ""
    """The transfer syntax UID."""
    became: str = ""
    reason: str = ""
    """A ``Reason`` or ``Left``: then the same bytes are there."""
    detail: str = ""
    proof: str = ""
    codec: str = ""
    rule: str = ""
    part: str = ""
    """The name of the unfinished file."""
    replace: bool = False
    """Whether what was there under the path may be replaced."""

    def line(self) -> bytes:
        """As it is written; what is empty is left out."""
        values = {name: getattr(self, name) for name in Record.__slots__}
        given = {name: value for name, value in values.items() if value is not False and value != ""}
        return json.dumps(given, separators=(",", ":")).encode() + b"\n"


class Journal:
    """See the module. One thread looks things up, one adds lines."""

    def __init__(self, folder: Path, order: Order) -> None:
        """Open it, or begin it.

        Raises Temporary (another run has it), ConfigError (it is for something else), OSError.
        """
        path = folder / NAME
        self._lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise Temporary(f"another venturi compress is at work in {order.output}") from error
            self._file = path.open("rb")
            self._places: dict[int, int] = {}
            """By hash of the path: where its last line is. Whoever looks compares the path there."""
            self._end = self._read(order)
        except BaseException:
            os.close(self._lock)
            raise

    def _read(self, order: Order) -> int:
        """Index the lines; where the last whole one ends."""
        head = {"venturi_compress": VERSION, "source": str(_root(order.source)), "digest": order.digest}
        end = 0
        for number, line in enumerate(self._file):
            if not line.endswith(b"\n"):
                break
            fields = _fields(line)
            if number == 0:
                _compare(fields, head, order)
            elif isinstance(path := fields.get("path"), str):
                self._places[hash(path)] = end
            end += len(line)
        os.ftruncate(self._lock, end)
        return end or self._write(0, json.dumps(head | {"asked": order.words}).encode() + b"\n")

    def find(self, path: str) -> Record | None:
        """Look up what an earlier run has written of a file."""
        place = self._places.get(hash(path))
        if place is None:
            return None
        self._file.seek(place)
        fields = _fields(self._file.readline())
        try:
            record = Record(**fields)
        except TypeError:
            return None
        return record if record.path == path and record.output_bytes >= 0 else None

    def records_of(self, parts: Collection[str]) -> list[Record]:
        """Find the records of unfinished files, as far as they are noted."""
        if not parts:
            return []
        self._file.seek(0)
        lines = [fields for fields in map(_fields, self._file) if fields.get("part") in parts]
        records = [self.find(fields.get("path", "")) for fields in lines]
        return list(
            dict.fromkeys(record for record in records if record is not None and record.part in parts)
        )

    def add(self, records: Iterable[Record]) -> None:
        """Write lines and have them on disk. Raises OSError; then none of them is there."""
        self._end = self._write(self._end, b"".join(record.line() for record in records))

    def _write(self, end: int, lines: bytes) -> int:
        try:
            left = memoryview(lines)
            at = end
            while left:
                written = os.pwrite(self._lock, left, at)
                left, at = left[written:], at + written
            os.fsync(self._lock)
        except OSError:
            os.ftruncate(self._lock, end)
            raise
        return at

    def close(self) -> None:
        """Let another run have it."""
        self._file.close()
        os.close(self._lock)


def _fields(line: bytes) -> dict[str, Any]:
    """A line's; none where it is not whole."""
    try:
        fields = json.loads(line)
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}


def _root(source: Path) -> Path:
    """What paths are relative to."""
    whole = source.resolve()
    return whole if whole.is_dir() else whole.parent


def _compare(found: dict[str, Any], wanted: dict[str, Any], order: Order) -> None:
    """Refuse a journal that is for something else. Raises ConfigError."""
    own = order.output / JOURNAL_FOLDER
    instead = f"choose another OUT, or remove {own} to begin anew, with OUT empty or --overwrite"
    if found.get("venturi_compress") != VERSION:
        raise ConfigError([f"{order.output} has a journal that this version can't read: {instead}"])
    if found.get("source") != wanted["source"]:
        raise ConfigError([f"{order.output} holds what was made of {found.get('source')}: {instead}"])
    if found.get("digest") != wanted["digest"]:
        raise ConfigError([f"{order.output} holds what was made with {found.get('asked')}: {instead}"])
