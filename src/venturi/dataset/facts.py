"""The header of a Part 10 file as rules see it: attributes by tag, as text.

For: the rules (it is a ``rules.facts.Header``) and the ledger's summary. It reads every syntax whose
dataset can be walked: explicit and implicit VR, big endian, deflated (inflated in memory, at most
``INFLATED_BYTES``), encapsulated. Values are read only when asked for, through a memory map; Pixel Data
never is.

Fails softly: of a dataset that is malformed somewhere, the attributes before that place are there, and
``fault`` says what is wrong. Only a file that is no Part 10 file at all raises ``Malformed``.
"""

import mmap
import re
import struct
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self

from venturi.dataset import charsets, inflate, part10
from venturi.dataset.contents import contents
from venturi.dataset.dictionary import private_vr_of, vr_of
from venturi.dataset.scan import Buffer, Element, Encoding, encoding_of, items, scan
from venturi.dataset.syntaxes import lookup
from venturi.dataset.uids import valid_uid
from venturi.errors import Malformed
from venturi.model import HeaderSummary

INFLATED_BYTES = 64 << 20
"""Of a deflated dataset, this much is looked at: headers come before Pixel Data."""
VALUE_BYTES = 1 << 16
"""Of one value, this much is read: longer ones are cut, not loaded."""
PATH_BYTES = 1 << 20
"""Of the values at one path through sequences, this much is read, all items together."""
MOST_ITEMS = 1 << 16
"""Of the items at each step of a path, this many are looked into."""

_NUMBERS = {
    "US": "H",
    "SS": "h",
    "UL": "L",
    "SL": "l",
    "UV": "Q",
    "SV": "q",
    "FL": "f",
    "FD": "d",
}
_BYTES = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "SQ"))
_SINGLE = frozenset(("LT", "ST", "UT", "UR"))
_IN_CHARACTER_SET = frozenset(("LO", "LT", "PN", "SH", "ST", "UC", "UT", "UN"))
_SPECIFIC_CHARACTER_SET = 0x00080005
_PIXEL_REPRESENTATION = 0x00280103
_CODE = re.compile(r"[A-Z0-9_ ]{1,16}", re.ASCII)


class Level:
    """One dataset, or one item of a sequence: its elements, scanned as far as somebody has asked."""

    def __init__(
        self,
        buffer: Buffer,
        start: int,
        end: int,
        encoding: Encoding,
        outer: "Level | None" = None,
        until: int = 1 << 32,
    ) -> None:
        self.fault: Malformed | None = None
        self._buffer = buffer
        self.encoding = encoding
        self._scan = scan(buffer, start, end, encoding, until)
        self._found: dict[int, Element] = {}
        self._last = -1
        self._outer = outer
        self._codec: str | None = None

    def element(self, tag: int) -> Element | None:
        """Find the element of that tag, or None."""
        while self._last < tag and self._advance():
            pass
        return self._found.get(tag)

    def finish(self) -> None:
        """Scan to the end, or to the fault."""
        while self._advance():
            pass

    def private(self, group: int, low: int, creator: str) -> int | None:
        """Find the tag of element ``low`` in the block that ``creator`` reserved (PS3.5 7.8.1), or None."""
        for block in range(0x10, 0x100):
            element = self.element(group << 16 | block)
            if element is not None and self.text(element, "LO") == (creator,):
                return group << 16 | block << 8 | low
        return None

    def items(self, element: Element) -> Iterator["Level"]:
        """Yield the items of a sequence, those before a fault."""
        try:
            for start, end, encoding in items(self._buffer, element, self.encoding):
                yield Level(self._buffer, start, end, encoding, self)
        except Malformed as fault:
            self.fault = self.fault or fault

    def text(self, element: Element, vr: str) -> tuple[str, ...]:
        """Read an element with a given VR: its values as text without padding; () where it is empty."""
        if element.length is None or vr in _BYTES:
            return ()
        value = bytes(self._buffer[element.value : element.value + min(element.length, VALUE_BYTES)])
        if vr in _NUMBERS:
            return self._numbers(value, _NUMBERS[vr])
        if vr == "AT":
            pairs = struct.iter_unpack(self._order + "HH", value[: len(value) // 4 * 4])
            return tuple(f"{group:04x}{tag:04x}" for group, tag in pairs)
        decoded = charsets.decode(value, self.codec if vr in _IN_CHARACTER_SET else charsets.DEFAULT)
        if vr in _SINGLE:
            decoded = decoded.rstrip(" \0")
            return (decoded,) if decoded else ()
        values = tuple(part.strip(" \0") for part in decoded.split("\\"))
        return values if values != ("",) else ()

    @property
    def codec(self) -> str:
        """Of this level's text: its own Specific Character Set, or that around it (PS3.3 C.12.1.1.2)."""
        if self._codec is None:
            own = self.element(_SPECIFIC_CHARACTER_SET)
            if own is not None:
                self._codec = charsets.codec_for(self.text(own, "CS"))
            else:
                self._codec = self._outer.codec if self._outer else charsets.DEFAULT
        return self._codec

    def signed(self) -> bool:
        """Whether "US or SS" is SS here: by Pixel Representation of this level or of those around it."""
        own = self.element(_PIXEL_REPRESENTATION)
        if own is not None:
            return self.text(own, "US") == ("1",)
        return self._outer.signed() if self._outer else False

    @property
    def _order(self) -> str:
        return ">" if self.encoding.big_endian else "<"

    def _numbers(self, value: bytes, code: str) -> tuple[str, ...]:
        size = struct.calcsize("<" + code)
        numbers = struct.iter_unpack(self._order + code, value[: len(value) // size * size])
        if code == "f":
            return tuple(f"{number:.9g}" for (number,) in numbers)  # 9 digits tell any two binary32 apart
        return tuple(repr(number) for (number,) in numbers)

    def _advance(self) -> bool:
        try:
            element = next(self._scan, None)
        except Malformed as fault:
            self.fault = fault
            element = None
        if element is None:
            self._last = 1 << 32
            return False
        self._found[element.tag] = element
        self._last = element.tag
        return True


class FileHeader:
    """The attributes of one file. Close it, or use it in a ``with``."""

    def __init__(self, meta: part10.FileMeta, buffer: Buffer, top: Level) -> None:
        self.meta = meta
        self._buffer = buffer
        self._top = top

    def values(self, path: tuple[str, ...]) -> tuple[str, ...] | None:
        """Read the values at a path: see ``rules.facts.Header``. Bytes (OB, OW) have no text and give ().

        Raises ValueError for a step that is not a tag.
        """
        levels = iter((self._top,))
        for step in path[:-1]:
            levels = islice(_descend(levels, step), MOST_ITEMS)
        found = False
        values: list[str] = []
        count = 0
        left = PATH_BYTES
        for level in levels:
            element = _find(level, path[-1])
            if element is None:
                continue
            found = True
            vr = _vr(level, element, path[-1])
            if vr == "SQ" or element.length is None:
                count += sum(1 for _ in level.items(element)) if element.tag != 0x7FE00010 else 0
                values = [str(count)]
            else:
                values.extend(level.text(element, vr))
                left -= min(element.length, VALUE_BYTES)
                if left <= 0:
                    break
        return tuple(values) if found else None

    @property
    def fault(self) -> Malformed | None:
        """What makes the dataset unreadable from some place on, or None; walks all of it that is looked at."""
        self._top.finish()
        return self._top.fault

    def summary(self) -> HeaderSummary:
        """Read the facts for the ledger; what is not a UID or a code, as it should be, is left empty."""
        study = self._first("0020000d")
        series = self._first("0020000e")
        modality = self._first("00080060")
        return HeaderSummary(
            study_instance_uid=study if valid_uid(study) else "",
            series_instance_uid=series if valid_uid(series) else "",
            modality=modality if _CODE.fullmatch(modality) else "",
        )

    def _first(self, tag: str) -> str:
        values = self.values((tag,))
        return values[0] if values else ""

    def close(self) -> None:
        """Free the memory map."""
        if isinstance(self._buffer, mmap.mmap):
            self._buffer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_header(path: Path, until: int = 1 << 32, most_bytes: int | None = None) -> FileHeader:
    """Open the header of a Part 10 file. Raises Malformed where it is none, OSError where unreadable.

    Of the dataset, what comes before the tag ``until`` is there, within ``most_bytes`` (of a deflated one: once it is
    inflated, ``INFLATED_BYTES`` at most). A header that is longer has a fault there.
    """
    data = contents(path)
    buffer: Buffer = data
    meta, offset = part10.read(BytesIO(data) if isinstance(data, bytes) else data)
    syntax = lookup(meta.transfer_syntax)
    if syntax.deflated:
        inflated = _inflate(buffer, offset, INFLATED_BYTES if most_bytes is None else most_bytes)
        if isinstance(buffer, mmap.mmap):
            buffer.close()
        buffer, offset = inflated, 0
    end = len(buffer) if most_bytes is None else min(len(buffer), offset + most_bytes)
    return FileHeader(meta, buffer, Level(buffer, offset, end, encoding_of(syntax), until=until))


def _inflate(buffer: Buffer, offset: int, room: int) -> bytes:
    """Inflate a dataset (PS3.5 A.5: raw RFC 1951) as far as it is sound and not too long."""
    parts: list[bytes] = []
    # Where it is not sound, what came before is scanned; the scan then reports where the dataset ends too early.
    with suppress(Malformed):
        for piece in inflate.pieces(buffer, offset):
            parts.append(piece[:room])
            room -= len(parts[-1])
            if not room:
                break
    return b"".join(parts)


def _descend(levels: Iterator[Level], step: str) -> Iterator[Level]:
    for level in levels:
        element = _find(level, step)
        if element is not None and _vr(level, element, step) == "SQ":
            yield from level.items(element)


def _find(level: Level, step: str) -> Element | None:
    tag_text, _, creator = step.partition(":")
    if len(tag_text) != 8:
        raise ValueError(f"not a tag of eight hexadecimal digits: {step}")
    if not creator:
        return level.element(int(tag_text, 16))
    private = level.private(int(tag_text[:4], 16), int(tag_text[6:], 16), creator)
    return None if private is None else level.element(private)


def _vr(level: Level, element: Element, step: str) -> str:
    """Tell the VR to read an element with: its own, or, where that says nothing, the dictionaries'."""
    if element.vr not in ("", "UN"):
        return element.vr
    if element.length is None:
        return "SQ"
    tag = element.tag
    creator = step.partition(":")[2]
    try:
        if creator:
            vr = private_vr_of(tag, creator)
        elif tag >> 16 & 1:
            vr = "LO" if 0x10 <= tag & 0xFFFF <= 0xFF else "UN"
        else:
            vr = "UL" if tag & 0xFFFF == 0 else vr_of(tag)
    except KeyError:
        return "UN"
    if " or " not in vr:
        return vr
    if vr.startswith("OB"):
        return "OW"
    return "SS" if level.signed() and "SS" in vr else "US"
