"""The headers of a JPEG 2000 or HTJ2K codestream (ISO/IEC 15444-1 A.4 to A.7, 15444-15 A).

Read by ourselves, so that neither encoder nor decoder vouches for itself, and before any decoder allocates
what the header claims. ``read`` walks the main header and every tile-part header; of the packets it knows only
where they begin and end. It fails with ``Malformed``, and so it does where a codestream was cut: each tile-part has
its length, and EOC must follow the last one.
"""

import struct
from dataclasses import dataclass, field, replace

from venturi.errors import Malformed
from venturi.transcode.image import Image

SOC_SIZ = b"\xff\x4f\xff\x51"
_CAP, _COD, _COC, _TLM, _QCD, _QCC, _POC = 0xFF50, 0xFF52, 0xFF53, 0xFF55, 0xFF5C, 0xFF5D, 0xFF5F
_SOT, _SOD = 0xFF90, b"\xff\x93"
_EOC = b"\xff\xd9"
_SIZ = struct.Struct(">HHLLLLLLLLH")
_SEGMENT = struct.Struct(">HH")
_HT_RSIZ, _PART_2_RSIZ = 0x4000, 0x8000
_BLOCK_CODER, _HT = 0xC0, 0x40

MOST_SEGMENTS = 4096
"""Marker segments of one header: real ones have a dozen."""
MOST_TILES = 4096
"""Decoders keep some KiB for each tile a header claims, whether it comes or not."""
FEW_PACKETS = 1 << 16
"""More than these must have a byte each, the least that a packet has: else it is layers and precincts that are
claimed for nothing, and OpenJPEG takes minutes and a GB over 6 KB."""
LEAST_BLOCK_LOG2 = 6
"""Code-blocks of fewer than 64 coefficients: those of 4 x 4 cost OpenJPEG 500 MB for 4096 x 4096 pixels."""
LEAST_PRECINCT_LOG2 = 4
"""Precincts of fewer than 16 pixels a side: a header alone made OpenJPEG take 2.9 GB for 4096 x 4096 pixels."""


@dataclass(slots=True)
class _Coding:
    """What COD, COC, QCD, QCC and POC of any header said, gathered."""

    wavelets: set[int] = field(default_factory=set)
    block_coders: set[int] = field(default_factory=set)
    quantisations: set[int] = field(default_factory=set)
    transforms: set[int] = field(default_factory=set)
    layers: int = 0
    progression: int = 0
    decompositions: int = 0
    most_layers: int = 0
    """Of any tile."""
    most_decompositions: int = 0
    """Of any component of any tile."""
    precincts: set[bytes] = field(default_factory=set)
    """Their sizes by resolution; empty where each is a whole resolution (of up to 2^15)."""
    seen: list[int] = field(default_factory=list)
    tlm: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Header:
    """What a codestream says of itself."""

    rows: int
    columns: int
    samples: int
    bits: int
    signed: bool
    high_throughput: bool
    reversible: bool
    """Every component of every tile has the 5-3 wavelet."""
    quantised: bool
    """Any component of any tile has quantised coefficients."""
    transform: bool
    """The multiple component transform: RCT where the wavelet is reversible, else ICT."""
    layers: int
    progression: int
    """LRCP, RLCP, RPCL, PCRL, CPRL: 0 to 4 (Table A.16)."""
    decompositions: int
    uniform: bool
    """One COD and one QCD say it all: no component, tile or progression of its own."""
    tiles: int
    tile_parts: tuple[int, ...] = ()
    """Their lengths in bytes, in the order they come."""
    tlm: tuple[int, ...] = ()
    """The same as the TLM marker segments say; empty where there are none."""
    tail: bytes = b""
    """What follows EOC."""


def read(codestream: bytes) -> Header:
    """Read the headers of a bare codestream. Raises Malformed.

    Components that differ or are sub-sampled, images and tiles with an offset, extensions of Part 2 and blocks of
    both coders in one codestream are Malformed too: nobody writes them into DICOM, and not all decoders
    tell them apart.
    """
    if codestream[:4] != SOC_SIZ:
        raise Malformed("the codestream does not begin with SOC and SIZ (FF4F FF51)")
    try:
        return _read(codestream)
    except (struct.error, IndexError) as error:
        raise Malformed("the codestream is cut off within a header") from error


def _read(codestream: bytes) -> Header:
    header, capabilities, tile = _siz(codestream)
    coding = _Coding()
    position = _segments(codestream, 2, coding)
    if coding.seen.count(_COD) != 1 or coding.seen.count(_QCD) != 1:
        raise Malformed("the main header does not have one COD and one QCD")
    tile_parts, end = _tile_parts(codestream, position, header.tiles, coding)
    _require_packets(codestream, header, tile, coding)
    if len(coding.block_coders) != 1 or not coding.block_coders <= {0, _HT}:
        raise Malformed("code-blocks of both coders, or of none that is known")
    high_throughput = coding.block_coders == {_HT}
    if (_CAP in coding.seen) is not high_throughput or bool(capabilities & _HT_RSIZ) is not high_throughput:
        raise Malformed("Rsiz, CAP and the style of the code-blocks disagree on high throughput")
    if len(coding.transforms) != 1 or not coding.transforms <= {0, 1}:
        raise Malformed("the component transform is unknown, or differs among tiles")
    if not coding.wavelets <= {0, 1} or not coding.quantisations <= {0, 1, 2}:
        raise Malformed("the wavelet or the style of quantisation is unknown")
    transform = coding.transforms == {1}
    if transform and (header.samples != 3 or len(coding.wavelets) != 1):
        raise Malformed("a component transform of other than three components of one wavelet")
    return replace(
        header,
        high_throughput=high_throughput,
        reversible=coding.wavelets == {1},
        quantised=coding.quantisations != {0},
        transform=transform,
        layers=coding.layers,
        progression=coding.progression,
        decompositions=coding.decompositions,
        uniform=sum(marker in (_COD, _COC, _QCD, _QCC, _POC) for marker in coding.seen) == 2,
        tile_parts=tile_parts,
        tlm=tuple(coding.tlm),
        tail=codestream[end:],
    )


def _siz(codestream: bytes) -> tuple[Header, int, tuple[int, int]]:
    """Image and tile size (A.5.1), Rsiz, and columns and rows of the largest tile."""
    length, capabilities, x1, y1, x0, y0, tile_x, tile_y, tile_x0, tile_y0, samples = _SIZ.unpack_from(
        codestream, 4
    )
    if samples not in (1, 3) or length != 38 + 3 * samples:
        raise Malformed(f"{samples} components, SIZ of {length} bytes: one or three are known in DICOM")
    if capabilities & _PART_2_RSIZ:
        raise Malformed(f"Rsiz {capabilities:04x}: extensions of ISO/IEC 15444-2")
    if (x0, y0, tile_x0, tile_y0) != (0, 0, 0, 0):
        raise Malformed("the image or its tiles have an offset")
    if not (0 < x1 <= 0xFFFF and 0 < y1 <= 0xFFFF and tile_x and tile_y):
        raise Malformed(f"{y1} x {x1} pixels in tiles of {tile_y} x {tile_x}")
    components = {struct.unpack_from(">BBB", codestream, 4 + _SIZ.size + 3 * i) for i in range(samples)}
    size, dx, dy = components.pop()
    if components or (dx, dy) != (1, 1):
        raise Malformed("the components differ or are sub-sampled")
    tiles = -(-x1 // tile_x) * -(-y1 // tile_y)
    if tiles > MOST_TILES:
        raise Malformed(f"{tiles} tiles; {MOST_TILES} at most")
    header = Header(
        rows=y1,
        columns=x1,
        samples=samples,
        bits=(size & 0x7F) + 1,
        signed=bool(size & 0x80),
        high_throughput=False,
        reversible=False,
        quantised=False,
        transform=False,
        layers=0,
        progression=0,
        decompositions=0,
        uniform=False,
        tiles=tiles,
    )
    return header, capabilities, (min(tile_x, x1), min(tile_y, y1))


def _segments(codestream: bytes, position: int, coding: _Coding) -> int:
    """Gather the marker segments from ``position``; give the offset of the SOT or SOD that ends them."""
    for _ in range(MOST_SEGMENTS):
        if codestream[position : position + 2] == _SOD:
            return position
        marker, length = _SEGMENT.unpack_from(codestream, position)
        if marker == _SOT:
            return position
        if not 0xFF50 <= marker <= 0xFF6F or length < 2:
            raise Malformed(f"marker {marker:04x} of {length} bytes in a header")
        end = position + 2 + length
        if end > len(codestream):
            raise Malformed(f"marker {marker:04x} is cut off")
        _segment(marker, codestream[position + 4 : end], coding)
        position = end
    raise Malformed(f"more than {MOST_SEGMENTS} marker segments in a header")


def _segment(marker: int, value: bytes, coding: _Coding) -> None:
    """One marker segment; in codestreams of at most three components their index has one byte."""
    first = marker not in coding.seen
    coding.seen.append(marker)
    if marker == _COD:
        own_precincts, progression, layers, transform, decompositions, _, _, style, wavelet = (
            struct.unpack_from(">BBHBBBBBB", value)
        )
        _coding(coding, own_precincts, value[5:])
        coding.most_layers = max(coding.most_layers, layers)
        if first:  # a tile's own COD comes later
            coding.progression, coding.layers, coding.decompositions = progression, layers, decompositions
        coding.transforms.add(transform)
        coding.wavelets.add(wavelet)
        coding.block_coders.add(style & _BLOCK_CODER)
    elif marker == _COC:
        _coding(coding, value[1], value[2:])
        coding.wavelets.add(value[6])
        coding.block_coders.add(value[5] & _BLOCK_CODER)
    elif marker == _QCD:
        coding.quantisations.add(value[0] & 0x1F)
    elif marker == _QCC:
        coding.quantisations.add(value[1] & 0x1F)
    elif marker == _TLM:
        coding.tlm += _tlm(value)


def _coding(coding: _Coding, style: int, parameters: bytes) -> None:
    """SPcod or SPcoc (Tables A.15, A.20): refuse small blocks and precincts, sizes of which are powers of two."""
    decompositions, width, height = parameters[0], parameters[1], parameters[2]
    if width + height + 4 < LEAST_BLOCK_LOG2:
        raise Malformed(f"code-blocks of less than {1 << LEAST_BLOCK_LOG2} coefficients")
    coding.most_decompositions = max(coding.most_decompositions, decompositions)
    sizes = parameters[5:] if style & 1 else b""
    if style & 1 and len(sizes) != decompositions + 1:
        raise Malformed(f"{len(sizes)} sizes of precincts for {decompositions + 1} resolutions")
    if any(min(size & 0xF, size >> 4) < LEAST_PRECINCT_LOG2 for size in sizes):
        raise Malformed(f"precincts of less than {1 << LEAST_PRECINCT_LOG2} pixels a side")
    coding.precincts.add(sizes)


def _require_packets(codestream: bytes, header: Header, tile: tuple[int, int], coding: _Coding) -> None:
    """Refuse more packets than there can be in so many bytes: one a layer, resolution, component and precinct."""
    packets = 0
    for down in range(coding.most_decompositions + 1):
        width, height = (-(-side >> down) for side in tile)
        sizes = {each[-1 - down] for each in coding.precincts if len(each) > down} or {0xFF}
        packets += max(-(-width >> (size & 0xF)) * -(-height >> (size >> 4)) for size in sizes)
    packets *= coding.most_layers * header.samples * header.tiles
    if packets > max(FEW_PACKETS, len(codestream)):
        raise Malformed(f"{packets} packets in {len(codestream)} bytes")


def _tlm(value: bytes) -> list[int]:
    """Lengths of the tile-parts (A.7.1)."""
    sizes = value[1]
    index, length = (sizes >> 4) & 3, 4 if sizes & 0x40 else 2
    step = index + length
    if index == 3 or (len(value) - 2) % step:
        raise Malformed("a TLM marker segment is not a whole number of entries")
    return [int.from_bytes(value[at + index : at + step], "big") for at in range(2, len(value), step)]


def _tile_parts(codestream: bytes, position: int, tiles: int, coding: _Coding) -> tuple[tuple[int, ...], int]:
    """Walk the tile-parts to EOC (A.4.2): their lengths, and the offset behind EOC."""
    lengths: list[int] = []
    parts, claimed = [0] * tiles, [0] * tiles
    while codestream[position : position + 2] != _EOC:
        marker, size, tile, length, part, count = struct.unpack_from(">HHHLBB", codestream, position)
        if marker != _SOT or size != 10:
            raise Malformed(f"marker {marker:04x} where a tile-part or EOC must be")
        if length == 0:  # the last one may go "to the EOC" without a length
            length = len(codestream.rstrip(b"\0")) - len(_EOC) - position
        if tile >= tiles or part != parts[tile] or (claimed[tile] and part >= claimed[tile]):
            raise Malformed(f"tile-part {part} of tile {tile} is out of order, or of no tile")
        parts[tile] += 1
        claimed[tile] = count or claimed[tile]
        data = _segments(codestream, position + 12, coding)
        if codestream[data : data + 2] != _SOD or data + 2 > position + length:
            raise Malformed(f"tile-part {part} of tile {tile} is shorter than its header")
        if position + length + len(_EOC) > len(codestream):
            raise Malformed(f"tile-part {part} of tile {tile} is cut off")
        lengths.append(length)
        position += length
    if not all(parts) or any(many and many != got for many, got in zip(claimed, parts, strict=True)):
        raise Malformed("tiles or tile-parts are missing")
    return tuple(lengths), position + len(_EOC)


RPCL = 2
THUMBNAIL = 64
"""No more rows and columns than this in the lowest resolution of HTJ2K Lossless RPCL (PS3.5 10.18)."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the header of a codestream of ours must say beside the image's dimensions."""

    bits: int
    high_throughput: bool
    reversible: bool
    transform: bool
    layers: int = 1
    rpcl: bool = False
    """What PS3.5 10.18 asks of HTJ2K Lossless RPCL: the progression, TLM, and a small lowest resolution."""


def check(codestream: bytes, image: Image, wanted: Wanted) -> str:
    """Say what the headers of a codestream of ours say that they should not; empty where all is well."""
    try:
        header = read(codestream)
    except Malformed as error:
        return str(error)
    if (header.rows, header.columns, header.samples) != (image.rows, image.columns, image.samples):
        return f"{header.rows} x {header.columns} x {header.samples} in the codestream, not {image}"
    if (header.bits, header.signed) != (wanted.bits, image.signed):
        return f"{header.bits} bits, signed {header.signed}, not {wanted.bits} bits for {image}"
    if header.tiles != 1 or not header.uniform or header.tail.strip(b"\0"):
        return "several tiles, components coded differently, or something behind EOC"
    if header.high_throughput is not wanted.high_throughput:
        return "the block coder is of the other part of ISO/IEC 15444"
    if header.reversible is not wanted.reversible or header.quantised is wanted.reversible:
        return f"5-3 wavelet {header.reversible}, quantised {header.quantised}; lossless {wanted.reversible}"
    if header.transform is not wanted.transform:
        return f"component transform {header.transform}, not {wanted.transform}"
    if header.layers != wanted.layers:
        return f"{header.layers} layers, not {wanted.layers}"
    return _check_rpcl(header) if wanted.rpcl else ""


def _check_rpcl(header: Header) -> str:
    largest = max(header.rows, header.columns)
    if header.progression != RPCL:
        return f"progression {header.progression}, not RPCL"
    if header.tlm != header.tile_parts:
        return "TLM does not list the tile-parts"
    if -(-largest >> header.decompositions) > THUMBNAIL:
        return f"{header.decompositions} decompositions of {largest} pixels leave more than {THUMBNAIL}"
    return ""
