"""The object to transcode, whatever it came in: its header as explicit VR little endian, its frames as native bytes.

Implicit VR and big endian headers are converted (``dataset.explicit``), deflated datasets inflated into a file
without a name, native frames swapped where they are big endian, compressed ones decoded by a pinned decoder. One
frame at a time: memory does not grow with their number. Everything that can be told from headers is checked before
a decoder sees a byte; ``Refused`` or ``Malformed`` says what stood in the way.
"""

import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from venturi.dataset import fragments
from venturi.dataset.agrees import agrees
from venturi.dataset.contents import map_file
from venturi.dataset.explicit import TooLong, explicit
from venturi.dataset.inflate import inflate
from venturi.dataset.scan import (
    EXPLICIT_LE,
    PIXEL_DATA,
    Buffer,
    Element,
    Encoding,
    encoding_of,
    find,
    name,
    scan,
)
from venturi.dataset.splice import encode_element, encode_header
from venturi.dataset.syntaxes import Syntax, lookup
from venturi.model import Reason
from venturi.transcode.codecs.contract import Coded, Decoder
from venturi.transcode.dataset_file import DatasetFile
from venturi.transcode.frames import Frame, as_rgb, container, pixels, rebuild
from venturi.transcode.image import DIGITAL_SIGNATURES, FLOAT_PIXEL_DATA, Image, Values, describe
from venturi.transcode.refusal import Refused, blame

EXTENDED_OFFSETS, EXTENDED_LENGTHS = 0x7FE00001, 0x7FE00002
INFLATED_BYTES = 2 << 30
"""A deflated dataset that is larger is left as it is."""
FEW_FRAMES, LEAST_FRAME_BYTES = 4096, 64
"""Each frame costs time, whatever its size: more than a few must have come in so many bytes each, or 6 KB that
inflate to four million frames of one pixel keep a codec busy for an hour."""

_FRAGMENTS_WITHIN = tuple(encode_header(PIXEL_DATA, vr, 0xFFFFFFFF) for vr in ("OB", "OW"))

Bytes = NDArray[np.uint8]


class Pixels(Protocol):
    """Frames as native little-endian bytes, laid out as the image says."""

    libraries: str

    def frame(self, index: int) -> Bytes:
        """Give frame ``index`` (from 0). Raises Refused."""

    def again(self, index: int) -> Bytes:
        """Give it by another way, for the proof: another decoder, where there is one. Raises Refused."""

    def forget(self, index: int) -> None:
        """Let go of its bytes."""


@dataclass(frozen=True, slots=True)
class Original:
    """One object. ``header`` has no pixels in it where it had to be converted."""

    received: DatasetFile
    file: DatasetFile
    """The same, or what it was inflated to."""
    syntax: Syntax
    header: Buffer = field(repr=False)
    elements: list[Element]
    """Of ``header``: explicit VR little endian; Pixel Data stands for its place only."""
    values: Values
    """Of ``elements``."""
    image: Image
    """What the frames are."""
    pixels: Pixels
    pixel_bytes: int
    """Length of the Pixel Data as received."""
    lossless: bool = True
    """False where its codestreams say that they are lossy."""
    converted: "tuple[list[Element], Encoding] | None" = None
    """What the header was converted from."""

    @property
    def turned_rgb(self) -> bool:
        """Whether the frames are RGB because it was asked for."""
        return isinstance(self.pixels, _Rgb)

    def conversion_fault(self) -> str:
        """Compare a converted header with what it was made from; empty where they agree."""
        if self.converted is None:
            return ""
        found = [element for element in self.elements if element.tag != PIXEL_DATA]
        return agrees(self.file.data, *self.converted, self.header, found)


def open_original(
    file: DatasetFile, decoder: Decoder | None, scratch: Path, to_rgb: bool = False
) -> Original:
    """Describe and check it. ``scratch`` is a folder for what must be inflated.

    ``decoder`` is for the file's transfer syntax, and needed where that is encapsulated; with ``to_rgb`` YBR_FULL
    becomes RGB. Raises Refused, Malformed, OSError.
    """
    syntax, received = lookup(file.meta.transfer_syntax), file
    if syntax.deflated:
        file = inflated(file, scratch)
    encoding = encoding_of(syntax)
    source = list(scan(file.data, file.offset, encoding=encoding))
    pixel_data = _pixel_data(source)
    if encoding == EXPLICIT_LE:  # in others it is Malformed
        _require_no_fragments_within(file, source)
    header, elements, converted = _header(file, source, encoding)
    values = Values(header, elements)
    image = describe(values, encapsulated=not syntax.native)
    if image.frames > FEW_FRAMES and image.frames * LEAST_FRAME_BYTES > received.size_bytes:
        raise Refused(Reason.TOO_LARGE, f"{image.frames} frames in {received.size_bytes} bytes")
    frames: Pixels
    lossless = True
    if syntax.native:
        frames = _Native(file, pixel_data, image, big_endian=encoding.big_endian)
        pixel_bytes = image.pixel_bytes
    elif decoder is None:
        raise Refused(Reason.UNSUPPORTED_INPUT_SYNTAX, f"no decoder for {syntax}")
    else:
        coded = _Coded(file, source, pixel_data, image, decoder)
        frames, image, lossless = coded, coded.image, coded.lossless
        pixel_bytes = pixel_data.end - pixel_data.value
    if to_rgb and image.photometric == "YBR_FULL":
        if image.bits_stored != 8 or image.bits_allocated != 8 or image.signed:
            raise Refused(Reason.PHOTOMETRIC, f"YBR_FULL becomes RGB with 8 bits only; {image}")
        frames = _Rgb(frames, image)
        image = replace(image, photometric="RGB")
    return Original(
        received, file, syntax, header, elements, values, image, frames, pixel_bytes, lossless, converted
    )


def inflated(file: DatasetFile, scratch: Path) -> DatasetFile:
    """Inflate a deflated dataset into a file without a name, in that folder. Raises Refused, Malformed, OSError."""
    with tempfile.TemporaryFile(dir=scratch) as out:
        try:
            inflate(file.data, file.offset, out, INFLATED_BYTES)
        except TooLong as error:
            raise Refused(Reason.TOO_LARGE, str(error)) from error
        out.flush()
        return DatasetFile(file.path, file.meta, 0, map_file(out.fileno()))


def _pixel_data(elements: list[Element]) -> Element:
    """Find it, and refuse what is never transcoded."""
    if find(elements, DIGITAL_SIGNATURES):
        raise Refused(Reason.SIGNED_OBJECT, "a signature may cover what would change")
    for tag in FLOAT_PIXEL_DATA:
        if find(elements, tag):
            raise Refused(Reason.FLOAT_PIXEL_DATA, f"{name(tag)} is present")
    pixel_data = find(elements, PIXEL_DATA)
    if pixel_data is None:
        raise Refused(Reason.NO_PIXEL_DATA)
    if pixel_data.vr not in ("OB", "OW", ""):
        raise Refused(Reason.IMAGE_ATTRIBUTES, f"Pixel Data has VR {pixel_data.vr}")
    return pixel_data


def _require_no_fragments_within(file: DatasetFile, elements: list[Element]) -> None:
    """Refuse compressed Pixel Data within a sequence: an icon (PS3.5 A.4) would stay in the old syntax under the new.

    Its header is looked for, at any depth; nobody has these twelve bytes in a sequence for another reason.
    """
    for element in elements:
        if element.vr in ("SQ", "UN") and any(
            file.data.find(header, element.value, element.end) >= 0 for header in _FRAGMENTS_WITHIN
        ):
            raise Refused(Reason.UNSUPPORTED_INPUT_SYNTAX, f"{name(element.tag)} has compressed Pixel Data")


def _header(
    file: DatasetFile, source: list[Element], encoding: Encoding
) -> tuple[Buffer, list[Element], tuple[list[Element], Encoding] | None]:
    if encoding == EXPLICIT_LE:
        return file.data, source, None
    before = [element for element in source if element.tag < PIXEL_DATA]
    after = [element for element in source if element.tag > PIXEL_DATA]
    try:
        head = explicit(file.data, before, encoding)
        tail = explicit(file.data, after, encoding)
    except TooLong as error:
        raise Refused(Reason.TOO_LARGE, str(error)) from error
    header = b"".join((head, encode_element(PIXEL_DATA, "OW", b""), tail))
    return header, list(scan(header)), (before + after, encoding)


class _Native:
    """Native Pixel Data (PS3.5 8.1.1), the length of which is what the attributes say."""

    libraries = ""

    def __init__(self, file: DatasetFile, pixel_data: Element, image: Image, big_endian: bool) -> None:
        self._file, self._image, self._start = file, image, pixel_data.value
        self._words = self._others = 1
        if big_endian:  # OW has 16-bit words, also of 8-bit samples; OB has bytes (PS3.5 7.3, 8.1.2)
            self._others = 2 if pixel_data.vr == "OW" else 1
            self._words = max(self._others, image.bits_allocated // 8)
        if pixel_data.length is None:
            raise Refused(Reason.LENGTH, "native Pixel Data has an undefined length")
        expected = image.pixel_bytes
        if pixel_data.length not in (expected, expected + expected % 2):
            words = f"Pixel Data has {pixel_data.length} bytes; {image} need {expected + expected % 2}"
            raise Refused(Reason.LENGTH, words)
        if self._words == 2 and pixel_data.length % 2:
            raise Refused(Reason.LENGTH, f"Pixel Data of {pixel_data.length} bytes is no 16-bit words")

    def frame(self, index: int) -> Bytes:
        found = self._swapped(index, self._words)
        if self._words != self._others and not np.array_equal(found, self._swapped(index, self._others)):
            # Some writers swap whole samples, some the words or bytes of the VR, and nothing says which did.
            words = f"{self._image.bits_allocated} bits allocated in words of {8 * self._others}"
            raise Refused(
                Reason.IMAGE_ATTRIBUTES, f"frame {index}: {words}, big endian: the order is unclear"
            )
        return found

    def again(self, index: int) -> Bytes:
        if self._words == 1:
            return self.frame(index)
        first, stored = self._stored(index, self._words)
        turned = stored.reshape(-1, self._words)[:, ::-1].reshape(-1)
        return np.ascontiguousarray(turned[first : first + self._image.frame_bytes])

    def forget(self, index: int) -> None:
        size = self._image.frame_bytes
        self._file.forget(self._start + index * size, self._start + (index + 1) * size)

    def _swapped(self, index: int, words: int) -> Bytes:
        first, stored = self._stored(index, words)
        if words > 1:
            stored = stored.view(f">u{words}").astype(f"<u{words}").view(np.uint8)
        return stored[first : first + self._image.frame_bytes]

    def _stored(self, index: int, words: int) -> tuple[int, Bytes]:
        """The whole words that hold a frame, and where in them it begins: frames may be of odd length."""
        size = self._image.frame_bytes
        begin = index * size // words * words
        end = -(-(index + 1) * size // words) * words
        stored = np.frombuffer(self._file.data, np.uint8, end - begin, self._start + begin)
        return index * size - begin, stored


class _Coded:
    """Encapsulated Pixel Data (PS3.5 A.4), each frame of which says itself what the header says of it."""

    def __init__(
        self, file: DatasetFile, source: list[Element], pixel_data: Element, image: Image, decoder: Decoder
    ) -> None:
        self._file, self._decoder = file, decoder
        self.libraries = decoder.libraries
        if pixel_data.length is not None:
            raise Refused(Reason.FRAMES, "compressed Pixel Data is not encapsulated")
        offsets, lengths = find(source, EXTENDED_OFFSETS), find(source, EXTENDED_LENGTHS)
        extended = (offsets, lengths) if offsets and lengths else None
        with blame(Reason.FRAMES, "fragments"):
            self._frames = fragments.find(file.data, pixel_data, image.frames, extended, decoder.starts)
        self._header_image = image
        self._first = self._inspect(self._codestream(0), 0)
        self.image = replace(
            image, photometric=_decoded_photometric(image, self._first), planar=image.planar and 0
        )
        self.lossless = self._first.lossless

    def frame(self, index: int) -> Bytes:
        return self._decoded(index, again=False)

    def again(self, index: int) -> Bytes:
        return self._decoded(index, again=True)

    def forget(self, index: int) -> None:
        parts = self._frames[index]
        self._file.forget(parts[0][0], parts[-1][0] + parts[-1][1])

    def _codestream(self, index: int) -> bytes:
        return fragments.join(self._file.data, self._frames[index])

    def _inspect(self, codestream: bytes, index: int) -> Coded:
        image = self._header_image
        with blame(Reason.CODESTREAM, f"frame {index}"):
            coded = self._decoder.inspect(codestream, image)
        if (coded.rows, coded.columns, coded.samples) != (image.rows, image.columns, image.samples):
            words = f"{coded.rows} x {coded.columns} x {coded.samples} in the codestream, not {image}"
            raise Refused(Reason.CODESTREAM, f"frame {index}: {words}")
        sign = image.bits_allocated if coded.bits == image.bits_allocated else image.bits_stored
        wrong_sign = coded.signed and not image.signed
        no_sign = image.signed and not coded.signed and coded.bits != sign
        if coded.bits > image.bits_allocated or wrong_sign or no_sign:
            words = f"{coded.bits} bits, signed {coded.signed}, in the codestream; {image} in the header"
            raise Refused(Reason.CODESTREAM, f"frame {index}: {words}")
        return coded

    def _decoded(self, index: int, again: bool) -> Bytes:
        codestream = self._codestream(index)
        coded = self._inspect(codestream, index)
        if (
            replace(coded, lossless=self._first.lossless) != self._first
            or coded.lossless < self._first.lossless
        ):
            raise Refused(Reason.CODESTREAM, f"frame {index} is coded in another way than the first")
        decode = self._decoder.decode_again if again else self._decoder.decode
        with blame(Reason.DECODER_FAILED, f"frame {index}"):
            return rebuild(settle(decode(codestream, self.image), coded, self.image), self.image)


class _Rgb:
    """YBR_FULL frames as RGB (PS3.3 C.7.6.3.1.2), which rounds: only where a rule asks for it."""

    def __init__(self, inner: Pixels, image: Image) -> None:
        self._inner, self._image, self.libraries = inner, image, inner.libraries

    def frame(self, index: int) -> Bytes:
        return self._converted(self._inner.frame(index))

    def again(self, index: int) -> Bytes:
        return self._converted(self._inner.again(index))

    def forget(self, index: int) -> None:
        self._inner.forget(index)

    def _converted(self, frame: Bytes) -> Bytes:
        return rebuild(as_rgb(pixels(frame, self._image)), self._image)


def _decoded_photometric(image: Image, coded: Coded) -> str:
    """What the components are once they are decoded. Raises Refused where header and codestream disagree."""
    said = image.photometric
    if image.samples == 1:
        return said
    if (said, coded.transform) in (("RGB", "YBR"), ("YBR_FULL", "RGB"), ("YBR_FULL_422", "RGB")):
        words = (
            f"PhotometricInterpretation is {said}, the codestream says its components are {coded.transform}"
        )
        raise Refused(Reason.CODESTREAM, words)
    if said in ("YBR_RCT", "YBR_ICT"):
        if coded.transform != said.removeprefix("YBR_"):
            words = f"PhotometricInterpretation is {said}, the codestream has transform {coded.transform or 'none'}"
            raise Refused(Reason.CODESTREAM, words)
        return "RGB"
    if said.startswith("YBR") and coded.transform in ("RCT", "ICT"):
        raise Refused(
            Reason.CODESTREAM, f"PhotometricInterpretation is {said}, but {coded.transform} was applied"
        )
    return "YBR_FULL" if said == "YBR_FULL_422" else said


def settle(values: NDArray[np.integer[Any]], coded: Coded, image: Image) -> Frame:
    """Put decoded values into the container the header describes, the sign extended where the coding knows none.

    Raises Refused where a value does not fit.
    """
    shape = (image.rows, image.columns) + ((image.samples,) if image.samples > 1 else ())
    if values.shape != shape:
        raise Refused(Reason.DECODER_FAILED, f"the decoder gave {values.shape}, not {shape}")
    wanted = container(image)
    if image.signed and not coded.signed:
        shift = image.bits_allocated - coded.bits
        unsigned = values.astype(f"<u{wanted.itemsize}", copy=False)
        settled: Frame = (unsigned << shift).view(wanted) >> shift if shift else unsigned.view(wanted)
        return settled
    if values.dtype != wanted:
        limits = np.iinfo(wanted)
        if values.min() < limits.min or values.max() > limits.max:
            raise Refused(Reason.CODESTREAM, f"decoded values do not fit {image}")
    return values.astype(wanted, copy=False)
