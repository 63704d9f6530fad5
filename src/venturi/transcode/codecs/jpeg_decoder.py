"""JPEG from anybody (ISO/IEC 10918-1, PS3.5 8.2.1): libjpeg-turbo decodes; liblj92 decodes lossless ones again.

Both are imagecodecs'. libjpeg-turbo only warns, unheard, where coded data end early, and fills what is missing; so a
frame is decoded twice, once with other bytes behind its coded data: those change the result only where data were
missing. liblj92 trusts its tables, so they are checked here before; and it gives each component a table of its own,
whatever the scan selects: as a rule that is right, and else the second result differs.

What can't be noticed is a wrong bit that leaves as many samples behind it: JPEG has no checksum.
"""

from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from venturi.dataset.syntaxes import JPEG_BASELINE, JPEG_EXTENDED, JPEG_LOSSLESS, JPEG_LOSSLESS_SV1
from venturi.errors import Malformed
from venturi.transcode.codecs import jpeg_markers as markers
from venturi.transcode.codecs.contract import Coded
from venturi.transcode.codecs.jpeg_markers import SOF0, SOF1, SOF3, Codestream, Scan
from venturi.transcode.image import Image

TURBO, LJ92 = "imagecodecs/libjpeg-turbo", "imagecodecs/liblj92"

_FILLER = bytes((0x5A, 0xA5, 0x3C, 0xC3)) * 16

_Samples = NDArray[np.integer[Any]]


class JPEGDecoder:
    """JPEG from anybody: Huffman-coded, sequential, baseline, extended or lossless of any selection value."""

    transfer_syntaxes = frozenset({JPEG_BASELINE, JPEG_EXTENDED, JPEG_LOSSLESS, JPEG_LOSSLESS_SV1})
    libraries = f"{TURBO}, {LJ92}"

    def starts(self, fragment: bytes) -> bool:
        """SOI, and another marker behind it."""
        return fragment[:3] == b"\xff\xd8\xff"

    def inspect(self, codestream: bytes, image: Image) -> Coded:
        """Read all headers, and count restart markers (ISO/IEC 10918-1 B, E.1.4). Raises Malformed."""
        coded = read(codestream)
        return Coded(
            rows=coded.rows,
            columns=coded.columns,
            samples=len(coded.components),
            bits=coded.bits,
            signed=None,
            lossless=coded.process == SOF3,
            transform=transform(coded) if len(coded.components) == 3 else "",
        )

    def decode(self, codestream: bytes, image: Image) -> _Samples:
        """Decode to unsigned samples, 8 bits for precisions up to 8, else 16; chrominance upsampled.

        Raises ValueError where coded data end before the frame, or a restart interval, is complete.
        """
        coded = read(codestream)
        decoded = _turbo(codestream, coded)
        if not np.array_equal(decoded, _turbo(_filled(codestream, coded), coded)):
            raise ValueError("coded data end before the frame is complete")
        return decoded

    def decode_again(self, codestream: bytes, image: Image) -> _Samples:
        """Decode lossless JPEG by liblj92 if it has one scan without restarts, the rest by libjpeg-turbo again."""
        coded = read(codestream)
        if coded.process == SOF3 and len(coded.scans) == 1 and not _restart_interval(coded):
            return imagecodecs.ljpeg_decode(codestream)
        return _turbo(codestream, coded)


def _turbo(codestream: bytes, coded: Codestream) -> _Samples:
    """Decode without colour conversion, which equal colour spaces mean."""
    space = None if len(coded.components) == 1 else "ycbcr"
    return imagecodecs.jpeg8_decode(codestream, colorspace=space, outcolorspace=space)


def _filled(codestream: bytes, coded: Codestream) -> bytes:
    """Put bytes behind the coded data of each restart interval, which a whole interval leaves unread."""
    parts, position = list[bytes](), 0
    for scan in coded.scans:
        for end in (*scan.restarts.tolist(), scan.end):
            parts += codestream[position:end], _FILLER
            position = end
    return b"".join((*parts, codestream[position:]))


def read(codestream: bytes) -> Codestream:
    """Read all headers of baseline, extended or lossless Huffman-coded JPEG. Raises Malformed."""
    coded = markers.read(codestream, markers.JPEG_ENDS)
    if coded.process not in (SOF0, SOF1, SOF3):
        raise Malformed(f"frame header FF{coded.process:02X}: not baseline, extended or lossless Huffman")
    lossless = coded.process == SOF3
    depths = {SOF0: (8,), SOF1: (8, 12), SOF3: range(2, 17)}[coded.process]
    if len(coded.components) not in (1, 3) or coded.bits not in depths:
        raise Malformed(f"{len(coded.components)} components of {coded.bits} bits")
    factors = [factor for each in coded.components for factor in (each.horizontal, each.vertical)]
    if not all(1 <= factor <= 4 for factor in factors) or (lossless and coded.subsampled):
        raise Malformed("sampling factors are not from 1 to 4, or components of lossless JPEG are subsampled")
    for scan in coded.scans:
        first, last, approximation = scan.parameters
        # Some encoders write Se 0 for 63, which is all that a sequential scan can mean.
        if approximation or (not 1 <= first <= 7 or last if lossless else first or last not in (0, 63)):
            raise Malformed(f"a scan with Ss {first}, Se {last}, AhAl {approximation}")
        _check_tables(coded, scan)
    if coded.process != SOF3 and not coded.bodies(markers.DQT):
        raise Malformed("there is no quantisation table")
    _count_restarts(codestream, coded)
    return coded


def _check_tables(coded: Codestream, scan: Scan) -> None:
    """Raise Malformed unless the Huffman tables that a scan selects are there before it, and sound."""
    defined = huffman_tables(coded, scan)
    for selected in scan.tables:
        wanted = {selected >> 4} if coded.process == SOF3 else {selected >> 4, 0x10 | selected & 15}
        if not wanted <= set(defined):
            raise Malformed("a scan selects a Huffman table that is not defined")


def huffman_tables(coded: Codestream, scan: Scan) -> list[int]:
    """Give TcTh of all Huffman tables defined before a scan (B.2.4.2). Raises Malformed where one is not sound."""
    defined = []
    most = 16 if coded.process == SOF3 else 255
    for segment in coded.others[: scan.before]:
        position = 0
        while segment.marker == markers.DHT and position < len(segment.body):
            where, *counts = segment.body[position : position + 17]
            symbols = segment.body[position + 17 : position + 17 + sum(counts)]
            codes = sum(count << (15 - index) for index, count in enumerate(counts))
            sound = len(counts) == 16 and len(symbols) == sum(counts) and codes <= 1 << 16
            if not sound or max(symbols, default=256) > most:
                raise Malformed(f"a Huffman table has {len(symbols)} of {sum(counts)} symbols, or wrong ones")
            defined.append(where)
            position += 17 + len(symbols)
    return defined


def _count_restarts(codestream: bytes, coded: Codestream) -> None:
    """Raise Malformed unless every scan has all its restart markers, in their order."""
    interval = _restart_interval(coded)
    for scan in coded.scans:
        expected = -(-_units(coded, scan) // interval) - 1 if interval else 0
        found = len(scan.restarts)
        numbers = np.frombuffer(codestream, np.uint8)[scan.restarts + 1] & 7
        if found != expected or (numbers != np.arange(found) & 7).any():
            raise Malformed(f"{found} restart markers, not {expected} in ascending order")


def _restart_interval(coded: Codestream) -> int:
    """Minimum coded units between restart markers, 0 without them (B.2.4.4). Raises Malformed where scans differ."""
    intervals = {int.from_bytes(body, "big") for body in coded.bodies(markers.DRI)} or {0}
    if len(intervals) > 1:
        raise Malformed("restart intervals differ")
    return intervals.pop()


def _units(coded: Codestream, scan: Scan) -> int:
    """Count the minimum coded units of a scan (ISO/IEC 10918-1 A.2)."""
    size = 1 if coded.process == SOF3 else 8
    widest = max(each.horizontal for each in coded.components)
    highest = max(each.vertical for each in coded.components)
    if len(scan.names) > 1:
        return -(-coded.columns // (size * widest)) * -(-coded.rows // (size * highest))
    only = next(each for each in coded.components if each.name == scan.names[0])
    columns = -(-coded.columns * only.horizontal // widest)
    rows = -(-coded.rows * only.vertical // highest)
    return -(-columns // size) * -(-rows // size)


def transform(coded: Codestream) -> str:
    """What markers, or else components named R, G and B, say of colour; JFIF's word comes first, as in libjpeg."""
    if any(body[:5] == b"JFIF\0" for body in coded.bodies(markers.APP0)):
        return "YBR"
    for body in coded.bodies(markers.APP14):
        if body[:5] == b"Adobe" and len(body) >= 12:
            return {0: "RGB", 1: "YBR"}.get(body[11], "")
    return "RGB" if bytes(each.name for each in coded.components) == b"RGB" else ""
