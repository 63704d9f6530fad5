"""The proof catches every single-byte change of a rendition that matters."""

import io
import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.pixels.decoders.rle import _rle_decode_frame

from venturi.dataset import syntaxes
from venturi.dataset.encapsulate import frames
from venturi.dataset.scan import PIXEL_DATA
from venturi.dataset.splice import encode_element, splice
from venturi.errors import Malformed
from venturi.model import Reason, Target
from venturi.transcode.attributes import may_change
from venturi.transcode.codecs import registry
from venturi.transcode.codecs.contract import Encoder
from venturi.transcode.dataset_file import open_dataset
from venturi.transcode.engine import Engine
from venturi.transcode.image import Image
from venturi.transcode.lossy import derive
from venturi.transcode.original import open_original
from venturi.transcode.plan import Plan
from venturi.transcode.prove import prove
from venturi.transcode.refusal import Refused
from venturi.transcode.wishes import wishes

BY_SYNTAX: dict[str, Encoder] = {
    uid: encoders[0]
    for uid, encoders in registry().encoders().items()
    if not encoders[0].lossy and not syntaxes.lookup(uid).native
}
every_codec = pytest.mark.parametrize(
    "codec", BY_SYNTAX.values(), ids=[syntaxes.lookup(uid).keyword for uid in BY_SYNTAX]
)


def rle_pixels(codestream: bytes, image: Image) -> bytes:
    planes = _rle_decode_frame(codestream, image.rows, image.columns, image.samples, image.bits_allocated)
    if image.samples == 1:
        return bytes(planes)
    return np.frombuffer(planes, np.uint8).reshape(image.samples, -1).T.tobytes()


OTHER_DECODER: dict[str, Callable[[bytes, Image], bytes]] = {
    syntaxes.RLE_LOSSLESS: rle_pixels,
    syntaxes.JPEG_LS_LOSSLESS: lambda codestream, image: imagecodecs.jpegls_decode(codestream).tobytes(),
    syntaxes.JPEG_2000_LOSSLESS: lambda codestream, image: imagecodecs.jpeg2k_decode(codestream).tobytes(),
    syntaxes.HTJ2K_LOSSLESS: lambda codestream, image: imagecodecs.jpeg2k_decode(codestream).tobytes(),
    syntaxes.HTJ2K_LOSSLESS_RPCL: lambda codestream, image: imagecodecs.jpeg2k_decode(codestream).tobytes(),
    syntaxes.JPEG_LOSSLESS_SV1: lambda codestream, image: imagecodecs.jpeg8_decode(codestream).tobytes(),
}
"""Not the decoders the proof uses."""


def grey(folder: Path) -> Path:
    """A 32 x 32 part of a CT, in two frames."""
    dataset = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
    part = dataset.pixel_array[40:72, 40:72]
    dataset.Rows = dataset.Columns = 32
    dataset.NumberOfFrames = 2
    dataset.PixelData = part.tobytes() + (part + 1).tobytes()
    dataset.save_as(folder / "grey.dcm")
    return folder / "grey.dcm"


def colour(folder: Path) -> Path:
    dataset = pydicom.dcmread(str(get_testdata_file("examples_rgb_color.dcm")))
    dataset.PixelData = dataset.pixel_array[100:124, 100:124].tobytes()
    dataset.Rows = dataset.Columns = 24
    dataset.save_as(folder / "colour.dcm")
    return folder / "colour.dcm"


class Case:
    """A rendition, and how to prove a changed copy of it."""

    def __init__(self, source: Path, syntax: str, folder: Path, extended: bool = False) -> None:
        self.codec = BY_SYNTAX[syntax]
        self.output = folder / "out.dcm"
        target = Target(syntax, parameters=(("offset_table", "extended"),) if extended else ())
        outcome = Engine().transcode(source, target, self.output)
        assert outcome.transcoded, outcome.detail
        self.bytes = self.output.read_bytes()
        original = open_original(open_dataset(source), None, folder)
        self.plan = Plan(original, original.image, target, wishes(target), self.codec, extended)
        self.image = original.image
        self.native = b"".join(original.pixels.frame(index).tobytes() for index in range(self.image.frames))
        self.result = open_dataset(self.output)
        self.found = self.result.elements()
        self.pixel_data = next(element for element in self.found if element.tag == PIXEL_DATA)
        tables = [element for element in self.found if element.tag in (0x7FE00001, 0x7FE00002)]
        self.fragments = frames(
            self.result.data, self.pixel_data, self.image.frames, (tables[0], tables[1]) if tables else None
        )
        self.changed = folder / "changed.dcm"

    def refused(self, changed: bytes) -> bool:
        self.changed.write_bytes(changed)
        try:
            prove(self.plan, open_dataset(self.changed))
        except Refused as refused:
            return refused.reason is Reason.PROOF_FAILED
        except Malformed:  # not even a Part 10 file
            return True
        return False

    def pixels_by_another_decoder(self, data: bytes) -> bytes | None:
        decode = OTHER_DECODER[self.codec.transfer_syntax]
        out = io.BytesIO()
        for fragment in self.fragments:
            try:
                out.write(decode(data[fragment.offset : fragment.offset + fragment.length], self.image))
            except Exception:  # then it has no pixels to compare
                return None
        return out.getvalue()

    def without_or_with(self, start: int, end: int, new: bytes = b"") -> bytes:
        """The bytes from start to end are others."""
        return self.bytes[:start] + new + self.bytes[end:]

    def mutated(self, place: int, dice: random.Random) -> bytes:
        data = bytearray(self.bytes)
        data[place] ^= 1 << dice.randrange(8) if dice.random() < 0.5 else dice.randrange(1, 256)
        return bytes(data)


@pytest.mark.parametrize("make", [grey, colour])
@every_codec
def test_a_changed_byte_of_pixel_data_is_caught_whenever_pixels_change(
    codec: Encoder, make: Callable[[Path], Path], tmp_path: Path
) -> None:
    case = Case(make(tmp_path), codec.transfer_syntax, tmp_path)
    dice = random.Random(20)
    honest = case.pixels_by_another_decoder(case.bytes)
    assert honest == case.native
    caught = 0
    for _ in range(500):
        changed = case.mutated(dice.randrange(case.pixel_data.start, case.pixel_data.end), dice)
        refused = case.refused(changed)
        caught += refused
        if not refused:
            assert case.pixels_by_another_decoder(changed) in (honest, None)
    assert caught > 400


@every_codec
def test_a_changed_byte_of_any_other_element_is_caught(codec: Encoder, tmp_path: Path) -> None:
    case = Case(grey(tmp_path), codec.transfer_syntax, tmp_path)
    dice = random.Random(21)
    places = [
        place
        for element in case.found
        if element.tag not in may_change(codec)
        for place in range(element.start, element.end)
    ]
    for place in dice.sample(places, 200):
        assert case.refused(case.mutated(place, dice)), f"byte {place}"


@every_codec
def test_a_changed_description_of_the_colours_is_caught(codec: Encoder, tmp_path: Path) -> None:
    case = Case(colour(tmp_path), codec.transfer_syntax, tmp_path)
    dice = random.Random(22)
    for element in case.found:
        if element.tag in (0x00280004, 0x00280006):
            for place in range(element.start, element.value + (element.length or 0)):
                assert case.refused(case.mutated(place, dice)), f"byte {place} of {element}"


def test_swapped_frames_a_lost_frame_and_a_cut_file_are_caught(tmp_path: Path) -> None:
    case = Case(grey(tmp_path), syntaxes.RLE_LOSSLESS, tmp_path)
    first, second = case.fragments
    head, tail = case.bytes[: first.offset - 8], case.bytes[second.offset + second.length :]
    one = case.bytes[first.offset - 8 : first.offset + first.length]
    two = case.bytes[second.offset - 8 : second.offset + second.length]
    assert not case.refused(head + one + two + tail)
    assert case.refused(head + two + one + tail)
    assert case.refused(head + one + one + tail)
    assert case.refused(head + one + tail)
    assert case.refused(case.bytes[:-1])
    assert case.refused(case.bytes + b"\0")
    assert case.refused(b"")


def test_another_instance_or_syntax_in_the_file_meta_is_caught(tmp_path: Path) -> None:
    case = Case(grey(tmp_path), syntaxes.JPEG_LS_LOSSLESS, tmp_path)
    uid = case.result.meta.sop_instance_uid.encode()
    other = uid[:-1] + (b"1" if uid[-1:] != b"1" else b"2")
    meta, rest = case.bytes[: case.result.offset], case.bytes[case.result.offset :]
    assert case.refused(meta.replace(uid, other) + rest)
    assert case.refused(meta.replace(b"1.2.840.10008.1.2.4.80", b"1.2.840.10008.1.2.4.81") + rest)


@pytest.mark.parametrize("extended", [False, True], ids=["basic", "extended"])
def test_an_element_lost_added_doubled_or_moved_is_caught(extended: bool, tmp_path: Path) -> None:
    case = Case(grey(tmp_path), syntaxes.RLE_LOSSLESS, tmp_path, extended)
    assert not case.refused(case.bytes)
    assert case.found[-1].tag > PIXEL_DATA, "something stands behind the pixels, too"
    added = encode_element(0x00090010, "LO", b"SOMEBODY")
    ends = {first.end: second.tag for first, second in pairwise(case.found)}
    for element, following in pairwise((*case.found, None)):
        assert element is not None
        own = case.bytes[element.start : element.end]
        assert case.refused(case.without_or_with(element.start, element.end)), f"{element} lost"
        assert case.refused(case.without_or_with(element.end, element.end, own)), f"{element} doubled"
        assert case.refused(case.without_or_with(element.end, element.end, added)), f"added behind {element}"
        if following is not None:
            other = case.bytes[following.start : following.end]
            moved = case.without_or_with(element.start, following.end, other + own)
            assert case.refused(moved), f"{element} and {following} change places"
    assert any(tag > 0x00090010 for tag in ends.values())
    offset = case.result.offset
    assert case.refused(case.without_or_with(offset, offset, added))


def test_a_group_length_that_comes_back_is_caught(tmp_path: Path) -> None:
    """It may change, and is left out: anywhere it would lie."""
    case = Case(grey(tmp_path), syntaxes.RLE_LOSSLESS, tmp_path)
    for element in case.found:
        stale = encode_element(element.tag >> 16 << 16, "UL", b"\4\0\0\0")
        assert case.refused(case.without_or_with(element.start, element.start, stale)), f"before {element}"


@pytest.mark.parametrize(
    ("tag", "becomes"),
    [
        (0x00100010, encode_element(0x00100010, "PN", b"A^B")),
        (0x00090010, encode_element(0x00090010, "LO", b"SOMEBODY")),
        (0x00280004, encode_element(0x00280006, "US", b"\0\0")),
        (0x00280004, encode_element(0x00280004, "CS", b"RGB") + encode_element(0x00280005, "US", b"\0\0")),
        (0x00280004, encode_element(0x00280004, "CS", b"MONOCHROME2") + b"\0"),
        (0x00280004, b""),
    ],
    ids=["a name", "a new element", "another tag", "two elements", "an element and a byte", "nothing"],
)
def test_a_plan_that_would_change_more_than_it_may_is_caught(
    tag: int, becomes: bytes, tmp_path: Path
) -> None:
    """Also where the file is just what was planned: the proof has its own opinion of what may change, and how."""
    case = Case(grey(tmp_path), syntaxes.RLE_LOSSLESS, tmp_path)
    planned = {**case.plan.changes(), tag: becomes}
    vars(case.plan)["_before_measured"] = planned
    out = io.BytesIO()
    pixel_data = case.bytes[case.pixel_data.start : case.pixel_data.end]
    original = case.plan.original
    splice(out, original.header, original.elements, planned, lambda stream: stream.write(pixel_data))
    assert case.refused(case.bytes[: case.result.offset] + out.getvalue())


def test_an_element_among_the_offset_tables_is_caught(tmp_path: Path) -> None:
    """The tables are written right before the pixels: what stands between them in the source comes before, unsorted."""
    dataset = pydicom.dcmread(grey(tmp_path))
    dataset.add_new(0x7FE00005, "UN", b"what")
    dataset.save_as(tmp_path / "between.dcm")
    target = Target(syntaxes.RLE_LOSSLESS, parameters=(("offset_table", "extended"),))
    outcome = Engine().transcode(tmp_path / "between.dcm", target, tmp_path / "out.dcm")
    assert outcome.reason is Reason.PROOF_FAILED


def test_a_changed_word_of_what_was_lost_is_caught(tmp_path: Path) -> None:
    source, output, changed = grey(tmp_path), tmp_path / "out.dcm", tmp_path / "changed.dcm"
    dataset = pydicom.dcmread(source)
    del dataset.PixelPaddingValue  # what has one is never lossy
    dataset.save_as(source)
    target = Target(syntaxes.JPEG_LS_NEAR_LOSSLESS, parameters=(("jls_error", 2), ("lossy_max_error", 2.0)))
    assert Engine().transcode(source, target, output).transcoded
    original, wished = open_original(open_dataset(source), None, tmp_path), wishes(target)
    encoder = registry().encoders()[syntaxes.JPEG_LS_NEAR_LOSSLESS][0]
    derivation = derive(original, target, wished)
    plan = Plan(original, original.image, target, wished, encoder, extended=False, derivation=derivation)
    assert prove(plan, open_dataset(output)).lossy is not None
    result, data = open_dataset(output), output.read_bytes()
    dice = random.Random(23)
    for element in result.elements():
        if element.tag not in may_change(encoder) or element.tag == PIXEL_DATA:
            continue
        for place in range(element.start, element.end):
            mutated = bytearray(data)
            mutated[place] ^= 1 << dice.randrange(8)
            changed.write_bytes(mutated)
            with pytest.raises(Refused) as refused:
                prove(plan, open_dataset(changed))
            assert refused.value.reason is Reason.PROOF_FAILED, f"byte {place} of {element}"
