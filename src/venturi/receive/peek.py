"""The SOP class and instance that a dataset names in its own first bytes, without decoding anything.

A C-STORE command names an object, and so does the dataset behind it; when they disagree, one of them belongs
to another object. This looks at the first elements only, as far as they are there, and says nothing rather
than guess.
"""

import struct
import zlib

from venturi.dataset.syntaxes import Family, lookup

LIMIT_BYTES = 16384
"""How far to look: (0008,0018) stands within the first few hundred bytes of real objects."""

SOP_CLASS_UID = 0x00080016
SOP_INSTANCE_UID = 0x00080018
_LONG_LENGTH = frozenset(
    (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
)


class Peek:
    """Collects the first bytes of a dataset and reads the two UIDs from them."""

    def __init__(self, transfer_syntax: str) -> None:
        syntax = lookup(transfer_syntax)
        self._implicit = syntax.implicit_vr
        unknown = syntax.family is Family.UNKNOWN and not syntax.keyword
        self._order = ">" if syntax.big_endian else "<"
        self._deflated = syntax.deflated
        self._head: bytearray | None = None if unknown else bytearray()

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes; those beyond ``LIMIT_BYTES`` are ignored."""
        if self._head is not None and len(self._head) < LIMIT_BYTES:
            self._head += data[: LIMIT_BYTES - len(self._head)]

    @property
    def full(self) -> bool:
        """Whether more bytes can't add anything."""
        return self._head is None or len(self._head) >= LIMIT_BYTES

    def uids(self) -> tuple[str | None, str | None]:
        """SOP Class UID and SOP Instance UID (0008,0016 and 0008,0018), each None where it can't be told.

        Explicit and implicit VR, big endian and deflated datasets are read (PS3.5 7.1, A.5); an undefined length before
        them, or anything out of order, ends the search.
        """
        found: dict[int, str] = {}
        head, at, last, order = bytes(self._head or b""), 0, -1, self._order
        if self._deflated:
            try:
                head = zlib.decompressobj(-zlib.MAX_WBITS).decompress(head, LIMIT_BYTES)
            except zlib.error:
                return None, None
        while at + 8 <= len(head) and SOP_INSTANCE_UID not in found:
            group, element = struct.unpack_from(order + "HH", head, at)
            tag = group << 16 | element
            if tag <= last or tag > SOP_INSTANCE_UID:
                break
            last = tag
            if self._implicit:
                length, start = struct.unpack_from(order + "L", head, at + 4)[0], at + 8
            elif head[at + 4 : at + 6] in _LONG_LENGTH:
                if at + 12 > len(head):
                    break
                length, start = struct.unpack_from(order + "L", head, at + 8)[0], at + 12
            else:
                length, start = struct.unpack_from(order + "H", head, at + 6)[0], at + 8
            at = start + length
            if length == 0xFFFFFFFF or at > len(head):
                break
            if tag in (SOP_CLASS_UID, SOP_INSTANCE_UID):
                found[tag] = head[start:at].decode("latin-1").rstrip("\0 ")
        return found.get(SOP_CLASS_UID), found.get(SOP_INSTANCE_UID)
