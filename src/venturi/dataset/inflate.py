"""Inflate a deflated dataset (PS3.5 A.5: a raw RFC 1951 stream, no zlib header) piece by piece.

Guarantees: memory is a few pieces of 64 KiB, whatever the stream says; nothing follows the stream but the one NULL
byte that pads it to even length, or the trailer of a gzip file, CRC-32 and length (RFC 1952 2.3.1), which writers
are known to leave there, and which must then be right. Fails with ``Malformed`` for a corrupt or truncated stream or
anything else behind it, with ``TooLong`` for more than the caller allows (a bomb).
"""

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from venturi.dataset.explicit import TooLong
from venturi.dataset.scan import Buffer
from venturi.errors import Malformed

_PIECE_BYTES = 1 << 16


def inflate(buffer: Buffer, offset: int, out: BinaryIO, most_bytes: int) -> int:
    """Inflate the stream at ``offset`` to ``out``. Gives the number of bytes written: ``most_bytes`` at most.

    Raises Malformed, TooLong, or the OSError of ``out``; what came before is then in ``out``.
    """
    written = 0
    for piece in pieces(buffer, offset):
        written += len(piece)
        if written > most_bytes:
            raise TooLong(f"the deflated dataset has more than {most_bytes} bytes")
        out.write(piece)
    return written


def pieces(buffer: Buffer, offset: int) -> Iterator[bytes]:
    """Yield the inflated bytes, 64 KiB at a time at most. Raises Malformed after what is sound."""
    decoder = zlib.decompressobj(-zlib.MAX_WBITS)
    position, crc, length = offset, 0, 0
    waiting = b""
    while not decoder.eof:
        if not waiting:
            waiting = bytes(buffer[position : position + _PIECE_BYTES])
            position += len(waiting)
        try:
            piece = decoder.decompress(waiting, _PIECE_BYTES)
        except zlib.error as error:
            raise Malformed(f"the deflated dataset is corrupt before offset {position}") from error
        if piece:
            crc, length = zlib.crc32(piece, crc), length + len(piece)
            yield piece
        elif not waiting and not decoder.eof:
            raise Malformed(f"the deflated dataset is truncated at offset {position}")
        waiting = decoder.unconsumed_tail
    end = position - len(decoder.unused_data)
    trailer = struct.pack("<LL", crc, length & 0xFFFFFFFF)
    if bytes(buffer[end : end + 10]) not in (b"", b"\0", trailer, trailer + b"\0"):
        raise Malformed(f"{len(buffer) - end} bytes follow the deflated dataset at offset {end}")
