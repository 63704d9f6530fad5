"""The scan finds what is there, refuses what lies, and survives any bytes."""

import contextlib
import struct
import warnings
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file

from venturi.dataset import part10
from venturi.dataset.scan import (
    DEEPEST,
    EXPLICIT_BE,
    EXPLICIT_LE,
    IMPLICIT_LE,
    MOST_ELEMENTS,
    Element,
    Encoding,
    encoding_of,
    items,
    scan,
)
from venturi.dataset.splice import encode_element
from venturi.dataset.syntaxes import lookup
from venturi.errors import Malformed

UNDEFINED = 0xFFFFFFFF
ITEM = struct.pack("<HHL", 0xFFFE, 0xE000, UNDEFINED)
ITEM_END = struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
SEQUENCE_END = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
MODALITY = encode_element(0x00080060, "CS", b"CT")
FOLLOWING = encode_element(0x00100020, "LO", b"x ")


def undefined(vr: bytes, group: int = 0x0008, element: int = 0x1140) -> bytes:
    return struct.pack("<HH2sHL", group, element, vr, 0, UNDEFINED)


def dataset_of(path: str | Path) -> tuple[bytes, Encoding]:
    with Path(path).open("rb") as file:
        meta, _ = part10.read(file)
        return file.read(), encoding_of(lookup(meta.transfer_syntax))


def all_malformed_or_elements(data: bytes, encoding: Encoding) -> list[Element]:
    found = []
    with contextlib.suppress(Malformed):
        found.extend(scan(data, encoding=encoding))
    return found


@pytest.mark.parametrize(
    "name",
    [
        "CT_small.dcm",  # explicit
        "rtplan.dcm",  # implicit, sequences
        "ExplVR_BigEnd.dcm",
        "MR_small_bigendian.dcm",
        "JPEG2000.dcm",  # encapsulated
        "UN_sequence.dcm",  # UN of undefined length
        "nested_priv_SQ.dcm",
        "priv_SQ.dcm",
        "reportsi.dcm",
    ],
)
def test_the_elements_are_those_that_pydicom_finds(name: str) -> None:
    found = get_testdata_file(name, download=False)
    if found is None:
        pytest.skip(f"{name} is not bundled")
    data, encoding = dataset_of(str(found))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(str(found))
    expected = sorted(int(element.tag) for element in dataset)
    assert [element.tag for element in scan(data, encoding=encoding)] == expected


def test_elements_follow_each_other_without_a_gap_and_fill_the_dataset() -> None:
    data, encoding = dataset_of(str(get_testdata_file("CT_small.dcm")))
    found = list(scan(data, encoding=encoding))
    assert [element.start for element in found] == [0, *(element.end for element in found[:-1])]
    assert found[-1].end == len(data)


def test_a_sequence_of_undefined_length_ends_behind_its_delimiter() -> None:
    data = undefined(b"SQ") + ITEM + MODALITY + ITEM_END + SEQUENCE_END + FOLLOWING
    sequence, following = scan(data)
    assert (sequence.length, sequence.end) == (None, len(data) - len(FOLLOWING))
    assert following.tag == 0x00100020


def test_un_of_undefined_length_holds_implicit_vr() -> None:
    inner = struct.pack("<HHL", 0x0008, 0x0060, 2) + b"CT"
    data = undefined(b"UN", 0x0009, 0x1001) + ITEM + inner + ITEM_END + SEQUENCE_END
    (sequence,) = scan(data)
    ((start, end, encoding),) = items(data, sequence)
    assert encoding == IMPLICIT_LE
    assert [element.tag for element in scan(data, start, end, encoding)] == [0x00080060]


def test_sequences_nested_as_deep_as_allowed_are_walked_and_deeper_ones_are_refused() -> None:
    def nested(depth: int) -> bytes:
        return (undefined(b"SQ") + ITEM) * depth + (ITEM_END + SEQUENCE_END) * depth

    assert len(list(scan(nested(DEEPEST)))) == 1
    with pytest.raises(Malformed, match="nested deeper"):
        list(scan(nested(DEEPEST + 1)))
    with pytest.raises(Malformed, match="nested deeper"):
        list(scan(nested(100_000)))


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (MODALITY[:-1], "claims 2 bytes; 1 are left"),
        (MODALITY + b"\x10", "too few for an element"),
        (FOLLOWING + MODALITY, "out of order"),
        (MODALITY + MODALITY, "out of order or twice"),
        (MODALITY.replace(b"CS", b"ZZ"), "no valid VR"),
        (undefined(b"OB")[:9], "truncated in its header"),
        (undefined(b"OB"), "may not have an undefined length"),
        (undefined(b"SQ") + ITEM + MODALITY, "too few for an element"),
        (undefined(b"SQ") + MODALITY, "where an item must be"),
        (undefined(b"SQ") + ITEM + SEQUENCE_END, "where an element must be"),
        (undefined(b"SQ") + SEQUENCE_END[:-1] + b"\x01", "at offset 12 claims"),
        (undefined(b"OB", 0x7FE0, 0x0010) + ITEM, "has no length"),
        (encode_element(0x00020010, "UI", b"1.2"), "may not be in a dataset"),
        (ITEM_END, "may not be in a dataset"),
    ],
)
def test_what_lies_about_itself_is_refused_with_the_place(data: bytes, what: str) -> None:
    with pytest.raises(Malformed, match=what) as caught:
        list(scan(data))
    assert "offset" in str(caught.value)


def test_elements_before_the_fault_are_given() -> None:
    found = scan(MODALITY + FOLLOWING[:-1])
    assert next(found).tag == 0x00080060
    with pytest.raises(Malformed):
        next(found)


@given(st.binary(max_size=400), st.sampled_from([EXPLICIT_LE, EXPLICIT_BE, IMPLICIT_LE]))
def test_any_bytes_give_elements_or_malformed_and_nothing_else(data: bytes, encoding: Encoding) -> None:
    for element in all_malformed_or_elements(data, encoding):
        assert element.start < element.value <= element.end <= len(data)


MUTABLE = {
    name: dataset_of(str(get_testdata_file(name, download=False)))
    for name in (
        "CT_small.dcm",
        "rtplan.dcm",
        "ExplVR_BigEnd.dcm",
        "SC_rgb_jpeg_dcmtk.dcm",
        "UN_sequence.dcm",
    )
    if get_testdata_file(name, download=False)
}


@settings(max_examples=300)
@given(st.sampled_from(sorted(MUTABLE)), st.data())
def test_mutated_objects_give_elements_or_malformed_and_nothing_else(name: str, draw: st.DataObject) -> None:
    original, encoding = MUTABLE[name]
    data = bytearray(original[:6000])
    for _ in range(draw.draw(st.integers(1, 8))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    for element in all_malformed_or_elements(bytes(data), encoding):
        assert element.end <= len(data)
        if element.vr in ("SQ", "UN", ""):
            try:
                for start, end, inner in items(data, element, encoding):
                    assert element.value <= start <= end <= element.end
                    all_malformed_or_elements(bytes(data[start:end]), inner)
            except Malformed:
                pass


def test_elements_without_end_are_refused_before_they_fill_the_memory() -> None:
    empty = [
        struct.pack("<HH2sH", 0x0009 + (n >> 16), n & 0xFFFF, b"LO", 0) for n in range(MOST_ELEMENTS + 1)
    ]
    assert len(list(scan(b"".join(empty[:-1])))) == MOST_ELEMENTS
    with pytest.raises(Malformed, match="more than 65536 elements"):
        list(scan(b"".join(empty)))


def test_a_scan_ends_before_a_tag_and_does_not_look_at_what_is_there() -> None:
    head = encode_element(0x00100020, "LO", b"x ")
    endless = b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff" + b"\xfe\xff\0\xe0\0\0\0\0" * 3
    assert [element.tag for element in scan(head + endless, until=0x7FE00008)] == [0x00100020]
    assert [element.tag for element in scan(head + head[:4], until=0x00100020)] == []
    with pytest.raises(Malformed):
        list(scan(head + endless))
