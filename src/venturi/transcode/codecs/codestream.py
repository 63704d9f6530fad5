"""The main header of a JPEG 2000 or HTJ2K codestream (ISO/IEC 15444-1 A.4 to A.6, 15444-15 A).

Read by ourselves, so that neither encoder nor decoder vouches for itself, and before any decoder allocates
what the header claims. Never raises: what is wrong is said in words.
"""

import struct
from dataclasses import dataclass

from venturi.transcode.image import Image

_SOC_SIZ = b"\xff\x4f\xff\x51"
_CAP, _COD, _COC, _QCD, _SOT = 0xFF50, 0xFF52, 0xFF53, 0xFF5C, 0xFF90
_MOST_SEGMENTS = 64
_SIZ = struct.Struct(">HHLLLLLLLLH")
_HT_RSIZ = 0x4000
_HT_STYLE = 0x40


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a header must say beside the image's dimensions."""

    bits: int
    transform: bool
    """The reversible component transform (RCT)."""
    high_throughput: bool


def check(codestream: bytes, image: Image, wanted: Wanted) -> str:
    """Say what the header says that it should not; empty where all is well."""
    try:
        return _check(codestream, image, wanted)
    except (struct.error, IndexError):
        return "the codestream's header is truncated"


def _check(codestream: bytes, image: Image, wanted: Wanted) -> str:
    if codestream[:4] != _SOC_SIZ:
        return "does not begin with SOC and SIZ (FF4F FF51)"
    if codestream.rstrip(b"\0")[-2:] != b"\xff\xd9":
        return "does not end with EOC (FFD9)"
    problem = _check_siz(codestream, image, wanted)
    if problem:
        return problem
    position = 4 + int.from_bytes(codestream[4:6], "big")
    seen = set()
    for _ in range(_MOST_SEGMENTS):
        marker, length = struct.unpack_from(">HH", codestream, position)
        if marker == _SOT:
            break
        seen.add(marker)
        if marker == _COC:
            return "components are coded differently (COC)"
        if marker == _COD:
            problem = _check_cod(codestream, position, wanted)
        if marker == _QCD and codestream[position + 4] & 0x1F:
            problem = "coefficients are quantised"
        if problem:
            return problem
        position += 2 + length
    else:
        return "no tile begins"
    if not {_COD, _QCD} <= seen or (_CAP in seen) is not wanted.high_throughput:
        return "COD, QCD or CAP is missing, or CAP is there"
    return ""


def _check_siz(codestream: bytes, image: Image, wanted: Wanted) -> str:
    _, capabilities, x1, y1, x0, y0, tile_x, tile_y, tile_x0, tile_y0, components = _SIZ.unpack_from(
        codestream, 4
    )
    if (x0, y0, tile_x0, tile_y0) != (0, 0, 0, 0) or tile_x < x1 or tile_y < y1:
        return "the image has an offset or several tiles"
    if (y1, x1, components) != (image.rows, image.columns, image.samples):
        return f"{y1} x {x1} x {components} in the codestream, not {image}"
    for index in range(components):
        size, dx, dy = struct.unpack_from(">BBB", codestream, 4 + _SIZ.size + 3 * index)
        bits, signed = (size & 0x7F) + 1, bool(size & 0x80)
        if (bits, signed, dx, dy) != (wanted.bits, image.signed, 1, 1):
            return f"component {index}: {bits} bits, signed {signed}, sampled {dx} x {dy}; {image} wanted"
    if bool(capabilities & _HT_RSIZ) is not wanted.high_throughput:
        return f"capabilities are {capabilities:04x}"
    return ""


def _check_cod(codestream: bytes, position: int, wanted: Wanted) -> str:
    layers, transform, _, _, _, style, wavelet = struct.unpack_from(">HBBBBBB", codestream, position + 6)
    if wavelet != 1:
        return "the wavelet is not the reversible 5-3"
    if transform != int(wanted.transform):
        return f"component transform {transform}, not {int(wanted.transform)}"
    if layers != 1 or bool(style & _HT_STYLE) is not wanted.high_throughput:
        return f"{layers} layers, code-block style {style:02x}"
    return ""
