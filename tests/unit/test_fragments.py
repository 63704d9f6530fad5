"""Frames of encapsulated input are found where codestreams, tables and counts agree, and nowhere else."""

import contextlib
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.encaps import encapsulate, encapsulate_extended, generate_frames

from venturi.dataset import fragments, part10
from venturi.dataset.fragments import FramesUnclear, find, join
from venturi.dataset.scan import PIXEL_DATA, Element, scan
from venturi.dataset.splice import encode_element
from venturi.dataset.syntaxes import Family, lookup
from venturi.errors import Malformed

SOI = b"\xff\xd8\xff"
UNDEFINED = 0xFFFFFFFF


def starts(fragment: bytes) -> bool:
    assert len(fragment) <= 16
    return fragment.startswith(SOI)


def item(value: bytes) -> bytes:
    return struct.pack("<HHL", 0xFFFE, 0xE000, len(value)) + value


def pixel_data(items: list[bytes], table: bytes = b"", end: bytes = b"\xfe\xff\xdd\xe0\0\0\0\0") -> bytes:
    header = struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, UNDEFINED)
    return header + b"".join(map(item, [table, *items])) + end


def basic(*offsets: int) -> bytes:
    return struct.pack(f"<{len(offsets)}L", *offsets)


def extended(offsets: list[int], lengths: list[int]) -> bytes:
    return b"".join(
        encode_element(tag, "OV", struct.pack(f"<{len(numbers)}Q", *numbers))
        for tag, numbers in ((0x7FE00001, offsets), (0x7FE00002, lengths))
    )


def found(data: bytes, frames: int) -> list[bytes]:
    by_tag = {element.tag: element for element in scan(data)}
    tables = (by_tag[0x7FE00001], by_tag[0x7FE00002]) if 0x7FE00001 in by_tag else None
    parts = find(data, by_tag[PIXEL_DATA], frames, tables, starts)
    assert len(parts) == frames
    return [join(data, part) for part in parts]


A, B, C = (SOI + letter * 5 for letter in (b"a", b"b", b"c"))
MORE = b"more"


def test_all_fragments_are_the_only_frame() -> None:
    assert found(pixel_data([A, MORE, MORE]), 1) == [A + MORE + MORE]


def test_as_many_fragments_as_frames_are_one_each() -> None:
    assert found(pixel_data([A, B, C]), 3) == [A, B, C]


@pytest.mark.parametrize(
    "table", [b"", basic(0, 28, 44), basic(0, 99, 44), basic(0, 28), basic(0, 28, 44)[:-2]]
)
def test_frames_begin_where_codestreams_begin_whatever_an_unsound_table_says(table: bytes) -> None:
    assert found(pixel_data([A, MORE, B, C, MORE], table), 3) == [A + MORE, B, C + MORE]


@pytest.mark.parametrize("frames", [1, 2, 4, 0])
def test_another_number_of_frames_than_codestreams_is_unclear(frames: int) -> None:
    with pytest.raises(FramesUnclear, match="codestreams begin in 3 of 4 fragments"):
        found(pixel_data([A, B, C, MORE]), frames)


def test_a_sound_table_that_contradicts_the_codestreams_is_unclear() -> None:
    with pytest.raises(FramesUnclear, match="frame 1 begins in fragment 1, by its codestream in fragment 2"):
        found(pixel_data([A, MORE, B], basic(0, 16)), 2)


def test_one_fragment_for_each_frame_but_one_that_begins_none_is_unclear() -> None:
    with pytest.raises(FramesUnclear, match="codestreams begin in 2 of 3"):
        found(pixel_data([A, MORE, C], basic(0, 16, 28)), 3)


def test_a_first_fragment_that_begins_no_codestream_is_unclear() -> None:
    with pytest.raises(FramesUnclear, match="the first fragment"):
        found(pixel_data([MORE, A]), 1)


def test_an_extended_table_is_used_with_and_without_pad_bytes_in_its_lengths() -> None:
    for lengths in ([8, 8], [7, 8], [7, 7]):
        assert found(extended([0, 16], lengths) + pixel_data([A, B]), 2) == [A, B]


def test_a_sound_extended_table_that_contradicts_the_codestreams_is_unclear() -> None:
    with pytest.raises(FramesUnclear, match="by the extended offset table frame 1 begins in fragment 1"):
        found(extended([0, 16], [8, 4]) + pixel_data([A, MORE, B]), 2)


@pytest.mark.parametrize(
    "tables",
    [
        extended([0, 15], [8, 8]),
        extended([16, 0], [8, 8]),
        extended([0, 16], [8, 6]),
        extended([0, 16], [8, 2**63]),
        extended([0, 2**64 - 1], [8, 8]),
        extended([0], [8]),
        encode_element(0x7FE00001, "UT", b"x" * 16) + encode_element(0x7FE00002, "OB", b""),
    ],
)
def test_a_stale_extended_table_is_passed_over(tables: bytes) -> None:
    assert found(tables + pixel_data([A, B]), 2) == [A, B]


def test_empty_fragments_at_the_end_belong_to_no_frame() -> None:
    assert found(pixel_data([A, B, b"", b""], basic(0, 16)), 2) == [A, B]
    with pytest.raises(FramesUnclear, match="codestreams begin in 2"):
        found(pixel_data([A, B, b""], basic(0, 16, 32)), 3)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (pixel_data([A, b"", B]), "fragment 1 is empty"),
        (pixel_data([b"", A]), "fragment 0 is empty"),
        (pixel_data([A + b"x", B]), "odd length"),
        (pixel_data([]), "no fragments"),
        (pixel_data([b""]), "no fragments"),
        (
            struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, UNDEFINED) + b"\xfe\xff\xdd\xe0\0\0\0\0",
            "no item for",
        ),
        (encode_element(PIXEL_DATA, "OB", item(A)), "defined length"),
    ],
)
def test_fragments_that_no_standard_allows_are_unclear(data: bytes, words: str) -> None:
    with pytest.raises(FramesUnclear, match=words):
        found(data, 1)


def test_a_missing_delimiter_is_unclear() -> None:
    data = pixel_data([A], end=b"")
    element = Element(PIXEL_DATA, "OB", 0, 12, None, len(data))
    with pytest.raises(FramesUnclear, match="no item that fits"):
        find(data, element, 1, None, starts)


def test_too_many_fragments_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fragments, "MOST_FRAGMENTS", 3)
    assert len(found(pixel_data([A] * 3), 3)) == 3
    with pytest.raises(FramesUnclear, match="more than 3 fragments"):
        found(pixel_data([A] * 4), 4)


CODESTREAMS = st.lists(st.binary(max_size=40).map(lambda data: SOI + data), min_size=1, max_size=8)


@settings(deadline=None)
@given(CODESTREAMS, st.integers(1, 3), st.booleans())
def test_frames_that_pydicom_encapsulated_come_back(
    streams: list[bytes], split: int, has_table: bool
) -> None:
    streams = [stream + bytes(8) for stream in streams]  # long enough to be split
    data = struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, UNDEFINED)
    data += encapsulate(streams, fragments_per_frame=split, has_bot=has_table) + b"\xfe\xff\xdd\xe0\0\0\0\0"
    assert found(data, len(streams)) == [stream + b"\0" * (len(stream) % 2) for stream in streams]


@settings(deadline=None)
@given(CODESTREAMS)
def test_frames_that_pydicom_encapsulated_with_an_extended_table_come_back(streams: list[bytes]) -> None:
    value, offsets, lengths = encapsulate_extended(streams)
    data = encode_element(0x7FE00001, "OV", offsets) + encode_element(0x7FE00002, "OV", lengths)
    data += struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, UNDEFINED) + value + b"\xfe\xff\xdd\xe0\0\0\0\0"
    assert found(data, len(streams)) == [stream + b"\0" * (len(stream) % 2) for stream in streams]


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.sampled_from([A, B, MORE, b"", SOI, SOI + b"\0"]), max_size=6),
    st.binary(max_size=12) | st.sampled_from([basic(0), basic(0, 16), basic(0, 16, 32)]),
    st.integers(0, 4),
    st.lists(st.tuples(st.integers(0, 80), st.integers(0, 255)), max_size=3),
)
def test_hostile_fragments_are_found_rightly_or_unclear(
    items: list[bytes], table: bytes, frames: int, changes: list[tuple[int, int]]
) -> None:
    data = bytearray(pixel_data(items, table))
    for place, value in changes:
        data[place % len(data)] = value
    with contextlib.suppress(Malformed):
        frames_found = found(bytes(data), frames)
        assert all(frame.startswith(SOI) and len(frame) % 2 == 0 for frame in frames_found)


BEGINNINGS = {
    Family.JPEG: SOI,
    Family.JPEG_LS: SOI,
    Family.JPEG_2000: b"\xff\x4f\xff\x51",
    Family.HTJ2K: b"\xff\x4f\xff\x51",
}


def test_pydicom_finds_the_same_frames_in_every_public_file(corpus: Path) -> None:
    compared = 0
    for path in sorted(corpus.rglob("*")):
        if not path.is_file():
            continue
        with path.open("rb") as file:
            try:
                meta, offset = part10.read(file)
            except Malformed:
                continue
        beginning = BEGINNINGS.get(lookup(meta.transfer_syntax).family)
        if beginning is None:
            continue
        data = path.read_bytes()
        with contextlib.suppress(Malformed):
            by_tag = {element.tag: element for element in scan(data, offset)}
            if PIXEL_DATA not in by_tag:
                continue
            dataset = dcmread(path)
            count = int(dataset.get("NumberOfFrames", 1) or 1)
            parts = find(
                data, by_tag[PIXEL_DATA], count, None, lambda head, begin=beginning: head.startswith(begin)
            )  # type: ignore[misc]  # mypy infers no default's type
            assert [join(data, part) for part in parts] == list(
                generate_frames(dataset.PixelData, number_of_frames=count)
            )
            compared += 1
    assert compared >= 10
