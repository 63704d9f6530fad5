"""A splice changes the listed elements and nothing else; encapsulated frames are found where the table says."""

import io
import struct
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.encaps import encapsulate_extended

from venturi.dataset.encapsulate import FrameWriter, OffsetTooLarge, frames
from venturi.dataset.scan import PIXEL_DATA, Element, scan
from venturi.dataset.splice import encode_element, splice
from venturi.errors import Malformed

VALUES = st.dictionaries(st.integers(0x00080000, 0x7FDFFFFF), st.binary(max_size=40), max_size=12)


def encoded(values: dict[int, bytes]) -> bytes:
    return b"".join(encode_element(tag, "OB", values[tag]) for tag in sorted(values))


def decoded(data: bytes) -> dict[int, bytes]:
    return {element.tag: data[element.start : element.end] for element in scan(data)}


def spliced(data: bytes, changes: dict[int, bytes | None]) -> bytes:
    out = io.BytesIO()
    splice(out, data, list(scan(data)), changes)
    return out.getvalue()


@given(VALUES, VALUES, st.data())
def test_a_splice_changes_only_the_listed_tags(
    values: dict[int, bytes], new: dict[int, bytes], draw: st.DataObject
) -> None:
    data = encoded(values)
    changes: dict[int, bytes | None] = {tag: encode_element(tag, "OB", new[tag]) for tag in new}
    known = sorted(values)
    for tag in draw.draw(st.lists(st.sampled_from(known))) if known else []:
        changes[tag] = draw.draw(st.sampled_from([None, encode_element(tag, "OB", b"other")]))
    expected = decoded(data) | {tag: change for tag, change in changes.items() if change is not None}
    for tag, change in changes.items():
        if change is None:
            expected.pop(tag, None)
    assert decoded(spliced(data, changes)) == expected


def test_no_changes_copy_every_byte() -> None:
    data = encoded({0x00080060: b"CT", 0x00100010: b"a^b", 0xFFFCFFFC & 0x7FDFFFFF: b"\0" * 100})
    assert spliced(data, {}) == data


def test_what_stands_behind_pixel_data_is_kept() -> None:
    padding = encode_element(0xFFFCFFFC, "OB", bytes(64))
    data = encode_element(0x00080060, "CS", b"CT") + encode_element(PIXEL_DATA, "OW", b"abcd") + padding

    def write(out: BinaryIO) -> None:
        out.write(b"<pixels>")

    out = io.BytesIO()
    splice(out, data, list(scan(data)), {}, write)
    assert out.getvalue() == encode_element(0x00080060, "CS", b"CT") + b"<pixels>" + padding


def encapsulated(streams: list[bytes], before: bytes = b"", extended: bool = False) -> bytes:
    out = io.BytesIO()
    out.write(before)
    writer = FrameWriter(out, len(streams), extended)
    for stream in streams:
        writer.add(stream)
    writer.finish()
    return out.getvalue()


@given(st.lists(st.binary(max_size=30), min_size=1, max_size=20))
def test_frames_are_read_back_through_the_offset_table(streams: list[bytes]) -> None:
    before = encode_element(0x00080060, "CS", b"CT")
    data = encapsulated(streams, before)
    pixel_data = list(scan(data))[-1]
    found = frames(data, pixel_data, len(streams))
    assert [data[f.offset : f.offset + f.length] for f in found] == [
        s + b"\0" * (len(s) % 2) for s in streams
    ]
    assert pixel_data.end == len(data)


@given(st.lists(st.binary(min_size=2, max_size=12), min_size=2, max_size=6), st.data())
def test_a_wrong_offset_table_is_refused(streams: list[bytes], draw: st.DataObject) -> None:
    data = bytearray(encapsulated(streams))
    pixel_data = list(scan(bytes(data)))[-1]
    entry = draw.draw(st.integers(0, len(streams) - 1))
    place = pixel_data.value + 8 + 4 * entry
    (right,) = struct.unpack_from("<L", data, place)
    wrong = draw.draw(st.integers(0, 0xFFFFFFFF).filter(lambda offset: offset != right))
    struct.pack_into("<L", data, place, wrong)
    with pytest.raises(Malformed, match=f"entry {entry} of the basic offset table"):
        frames(bytes(data), pixel_data, len(streams))


@pytest.mark.parametrize("count", [1, 3])
def test_another_number_of_frames_than_in_the_table_is_refused(count: int) -> None:
    data = encapsulated([b"ab", b"cd"])
    with pytest.raises(Malformed, match="basic offset table has 8 bytes"):
        frames(data, next(scan(data)), count)


def test_a_frame_that_was_not_added_stops_the_writer() -> None:
    writer = FrameWriter(io.BytesIO(), 2)
    writer.add(b"ab")
    with pytest.raises(ValueError, match="1 of 2 frames"):
        writer.finish()


def test_an_offset_that_no_basic_offset_table_can_hold_is_refused() -> None:
    class Huge(bytes):
        def __len__(self) -> int:
            return 0xFFFFFFFE

    class Nowhere(io.BytesIO):
        def write(self, data: object) -> int:
            return 0

    writer = FrameWriter(Nowhere(), 2)
    writer.add(Huge())
    with pytest.raises(OffsetTooLarge):
        writer.add(b"ab")
    writer = FrameWriter(Nowhere(), 2, extended=True)
    writer.add(Huge())
    writer.add(b"ab")
    writer.finish()
    assert writer.size_bytes == 8 + 8 + 0xFFFFFFFE + 8 + 2 + 8


@pytest.mark.parametrize("extended", [False, True])
def test_a_frame_that_no_item_can_hold_is_refused(extended: bool) -> None:
    class Huger(bytes):
        def __len__(self) -> int:
            return 0xFFFFFFFF

    with pytest.raises(OffsetTooLarge):
        FrameWriter(io.BytesIO(), 1, extended).add(Huger())


def test_a_table_that_no_element_can_hold_is_refused() -> None:
    with pytest.raises(OffsetTooLarge):
        FrameWriter(io.BytesIO(), 1 << 30)
    with pytest.raises(OffsetTooLarge):
        FrameWriter(io.BytesIO(), 1 << 29, extended=True)


def extended_of(data: bytes) -> tuple[tuple[Element, Element], Element]:
    *_, offsets, lengths, pixel_data = scan(data)
    return (offsets, lengths), pixel_data


@given(st.lists(st.binary(max_size=30), min_size=1, max_size=20))
def test_frames_are_read_back_through_the_extended_offset_table(streams: list[bytes]) -> None:
    data = encapsulated(streams, encode_element(0x00080060, "CS", b"CT"), extended=True)
    extended, pixel_data = extended_of(data)
    found = frames(data, pixel_data, len(streams), extended)
    assert [data[f.offset : f.offset + f.length] for f in found] == [
        s + b"\0" * (len(s) % 2) for s in streams
    ]


@given(st.lists(st.binary(min_size=1, max_size=30), min_size=1, max_size=20))
def test_pydicom_writes_the_same_extended_offset_table(streams: list[bytes]) -> None:
    data = encapsulated(streams, extended=True)
    extended, pixel_data = extended_of(data)
    value, *tables = encapsulate_extended(streams)
    assert [data[element.value : element.end] for element in extended] == tables
    assert data[pixel_data.value : pixel_data.end - 8] == value


@given(st.lists(st.binary(min_size=2, max_size=12), min_size=2, max_size=6), st.data())
def test_a_wrong_extended_offset_table_is_refused(streams: list[bytes], draw: st.DataObject) -> None:
    data = bytearray(encapsulated(streams, extended=True))
    extended, pixel_data = extended_of(bytes(data))
    entry = draw.draw(st.integers(0, len(streams) - 1))
    place = draw.draw(st.sampled_from(extended)).value + 8 * entry
    (right,) = struct.unpack_from("<Q", data, place)
    struct.pack_into("<Q", data, place, draw.draw(st.integers(0, 2**64 - 1).filter(lambda new: new != right)))
    with pytest.raises(Malformed, match=f"entry {entry} of the"):
        frames(bytes(data), pixel_data, len(streams), extended)


def test_an_extended_offset_table_is_read_with_an_empty_basic_one_only_and_of_its_own_vr() -> None:
    data = encapsulated([b"ab", b"cd"], extended=True)
    extended, pixel_data = extended_of(data)
    with pytest.raises(Malformed, match="basic offset table has 0 bytes"):
        frames(data, pixel_data, 2)
    with pytest.raises(Malformed, match="3 frames need 24 of OV"):
        frames(data, pixel_data, 3, extended)
    wrong = (extended[0]._replace(vr="OB"), extended[1])
    with pytest.raises(Malformed, match="16 bytes of VR OB"):
        frames(data, pixel_data, 2, wrong)
    both = data[: pixel_data.start] + encapsulated([b"ab", b"cd"])
    with pytest.raises(Malformed, match="a basic and an extended"):
        frames(both, list(scan(both))[-1], 2, extended)
