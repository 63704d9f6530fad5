"""Part 10 framing: the file meta group in front of a dataset, and nothing behind it (PS3.10 7.1).

Guarantees: what ``encode`` writes, ``read`` gives back exactly, but for trailing padding; ``read`` never
looks beyond the group, and refuses a group of more than 64 KiB, whatever its lengths claim. The preamble is
always zero. Fails with ``Malformed``, which names the offset in the file.

Values are UTF-8 where they aren't ASCII, and bytes that aren't UTF-8 survive as surrogate escapes (PEP 383):
AE titles and UIDs come from the network, and a wrong one must not make an image impossible to store.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from mmap import mmap
from typing import BinaryIO

from venturi import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from venturi.errors import Malformed

LIMIT_BYTES = 65536
"""The largest file meta group that is written or read."""

_START = 132
_PREAMBLE = bytes(128) + b"DICM"
_LONG_LENGTH = frozenset(
    (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
)
_SHORT_LENGTH = frozenset(
    (
        *(b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO"),
        *(b"LT", b"PN", b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US"),
    )
)
_LEAD = struct.Struct("<HH2sH")
_CUT = "the file ends inside the element of the file meta group at offset {}"
_PADDING = {b"UI": b"\0"}  # every other text VR is padded with a space (PS3.5 6.2)


@dataclass(frozen=True, slots=True)
class FileMeta:
    """The file meta information of one Part 10 file (PS3.10 Table 7.1-1), without what is always the same."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax: str
    source_ae: str = ""
    sending_ae: str = ""
    receiving_ae: str = ""
    source_address: str = ""
    sending_address: str = ""
    receiving_address: str = ""
    private_creator: str = ""
    private_information: bytes = b""


_ELEMENTS: tuple[tuple[int, bytes, str], ...] = (
    (0x0002, b"UI", "sop_class_uid"),
    (0x0003, b"UI", "sop_instance_uid"),
    (0x0010, b"UI", "transfer_syntax"),
    (0x0016, b"AE", "source_ae"),
    (0x0017, b"AE", "sending_ae"),
    (0x0018, b"AE", "receiving_ae"),
    (0x0026, b"UR", "source_address"),
    (0x0027, b"UR", "sending_address"),
    (0x0028, b"UR", "receiving_address"),
    (0x0100, b"UI", "private_creator"),
    (0x0102, b"OB", "private_information"),
)
_FIELDS = {element: (vr, name) for element, vr, name in _ELEMENTS}
_ALWAYS = ("sop_class_uid", "sop_instance_uid", "transfer_syntax")


def encode(meta: FileMeta) -> bytes:
    """Make preamble, prefix and file meta group, in explicit VR little endian: the dataset goes right behind.

    Raises Malformed where a value is too long for its VR's length field, or the group for ``LIMIT_BYTES``.
    """
    parts = [_VERSION]
    for element, vr, name in _ELEMENTS:
        value = getattr(meta, name)
        if value or name in _ALWAYS:
            parts.append(_element(element, vr, _bytes(value, name)))
        if name == "transfer_syntax":
            parts.append(_OURS)
    group = b"".join(parts)
    if len(group) > LIMIT_BYTES:
        raise Malformed(f"the file meta group would have {len(group)} bytes; {LIMIT_BYTES} are allowed")
    return b"".join((_PREAMBLE, _element(0x0000, b"UL", struct.pack("<L", len(group))), group))


def read(file: BinaryIO | mmap) -> tuple[FileMeta, int]:
    """Read the meta group of a Part 10 file; also the offset of its dataset, where ``file`` is left.

    Other writers' groups are taken as they are: without a group length, with elements that are not kept here,
    with missing UIDs (then empty), but never without a transfer syntax. Elements must ascend (PS3.5 7.1).
    Raises Malformed.
    """
    file.seek(0)
    head = file.read(_START)
    if len(head) < _START or head[128:] != b"DICM":
        raise Malformed("not a Part 10 file: no DICM at offset 128")
    end: int | None = None
    offset, last = _START, -1
    found: dict[str, str | bytes] = {}
    take = file.read
    while end is None or offset < end:
        lead = take(4)
        if end is None and (len(lead) < 4 or lead[:2] != b"\2\0"):
            break
        element, vr, value, size = _element_from(take, lead, offset, end)
        if element <= last:
            raise Malformed(f"(0002,{element:04x}) at offset {offset} follows (0002,{last:04x})")
        offset += size
        last = element
        if element == 0:
            if (vr, len(value)) != (b"UL", 4):
                raise Malformed(f"the group length (0002,0000) at offset {_START} is not one UL value")
            end = offset + int.from_bytes(value, "little")
            if end > _START + 12 + LIMIT_BYTES:
                raise Malformed(f"the file meta group at offset {_START} claims to end at {end}: too long")
            take = BytesIO(file.read(end - offset)).read
        elif element in _FIELDS:
            name = _FIELDS[element][1]
            found[name] = value if name == "private_information" else _text(value)
    if not found.get("transfer_syntax"):
        raise Malformed(f"no Transfer Syntax UID (0002,0010) in the file meta group at offset {_START}")
    file.seek(offset)
    return FileMeta(**{"sop_class_uid": "", "sop_instance_uid": "", **found}), offset  # type: ignore[arg-type]  # only private_information is bytes


def _element(element: int, vr: bytes, value: bytes) -> bytes:
    if len(value) % 2:
        value += _PADDING.get(vr, b"\0" if vr == b"OB" else b" ")
    if vr in _LONG_LENGTH:
        return struct.pack("<HH2sHL", 2, element, vr, 0, len(value)) + value
    if len(value) > 0xFFFE:
        raise Malformed(f"(0002,{element:04x}) has {len(value)} bytes: too long for {vr.decode()}")
    return struct.pack("<HH2sH", 2, element, vr, len(value)) + value


def _bytes(value: str | bytes, name: str) -> bytes:
    if isinstance(value, bytes):
        return value
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise Malformed(f"{name} has a character that can't be written: {error.reason}") from error


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape").rstrip("\0 ")


def _element_from(
    take: Callable[[int], bytes], lead: bytes, offset: int, end: int | None
) -> tuple[int, bytes, bytes, int]:
    """Read the element at ``offset``, the tag of which is read already: tag, VR, value, and its size with the tag."""
    lead += take(4)
    if len(lead) < 8:
        raise Malformed(_CUT.format(offset))
    group, element, vr, length = _LEAD.unpack(lead)
    if group != 2:
        raise Malformed(f"({group:04x},{element:04x}) at offset {offset} is in a file meta group until {end}")
    size = 8 + length
    if vr in _LONG_LENGTH:
        more = take(4)
        if len(more) < 4:
            raise Malformed(_CUT.format(offset))
        length = int.from_bytes(more, "little")
        size = 12 + length
    elif vr not in _SHORT_LENGTH:
        raise Malformed(f"no value representation at offset {offset + 4} (PS3.10 7.1 asks for explicit VR)")
    if offset + size > (end if end is not None else _START + 12 + LIMIT_BYTES):
        raise Malformed(
            f"the element at offset {offset} has {length} bytes: more than the file meta group may have"
        )
    value = take(length)
    if len(value) < length:
        raise Malformed(_CUT.format(offset))
    return element, vr, value, size


_VERSION = _element(0x0001, b"OB", b"\0\1")
_OURS = _element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID.encode()) + _element(
    0x0013, b"SH", IMPLEMENTATION_VERSION_NAME.encode()
)
