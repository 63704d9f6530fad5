"""The header transcoder to implicit VR keeps every value, refuses what would mean something else, and can be undone."""

import contextlib
import struct
import warnings
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from unit.test_explicit import BUNDLED, UNDEFINED, assert_same_values, datasets, item, read, written
from unit.test_explicit import implicit as implicit_element
from venturi.dataset import part10
from venturi.dataset.agrees_implicit import agrees_implicit
from venturi.dataset.explicit import TooLong, explicit
from venturi.dataset.implicit import implicit
from venturi.dataset.scan import DEEPEST, EXPLICIT_LE, IMPLICIT_LE, scan
from venturi.dataset.splice import encode_element, encode_header
from venturi.dataset.syntaxes import EXPLICIT_VR_LITTLE_ENDIAN
from venturi.errors import Malformed


def implicit_of(data: bytes) -> bytes:
    """Convert without a proof."""
    out = BytesIO()
    implicit(out, data, list(scan(data)))
    return out.getvalue()


def converted(data: bytes) -> bytes:
    """Convert, and let the proof look at it."""
    result = implicit_of(data)
    assert agrees_implicit(data, scan(data), result, scan(result, encoding=IMPLICIT_LE)) == ""
    return result


def explicit_of(data: bytes) -> bytes:
    """Back again: implicit VR in explicit."""
    return explicit(data, list(scan(data, encoding=IMPLICIT_LE)), IMPLICIT_LE)


@settings(deadline=None, max_examples=150)
@given(dataset=datasets())
def test_converting_back_gives_the_same(dataset: Dataset) -> None:
    whole = explicit_of(written(dataset, IMPLICIT_LE))  # explicit, in the one form that ``explicit`` writes
    assert explicit_of(converted(whole)) == whole


@settings(deadline=None, max_examples=150)
@given(dataset=datasets())
def test_nested_datasets_keep_tags_values_and_nesting(dataset: Dataset) -> None:
    data = written(dataset, EXPLICIT_LE)
    before, after = read(data, EXPLICIT_LE), read(converted(data), IMPLICIT_LE)
    assert_same_values(before, after, big_endian=False)


@settings(deadline=None, max_examples=100)
@given(dataset=datasets(), draw=st.data())
def test_the_proof_sees_a_changed_byte(dataset: Dataset, draw: st.DataObject) -> None:
    data = written(dataset, EXPLICIT_LE)
    result = bytearray(converted(data))
    if not result:
        return
    place = draw.draw(st.integers(0, len(result) - 1))
    result[place] ^= draw.draw(st.integers(1, 255))
    try:
        found = list(scan(result, encoding=IMPLICIT_LE))
    except Malformed:
        return
    assert agrees_implicit(data, scan(data), bytes(result), found)


def test_pydicom_reads_the_same_values_from_every_public_file(corpus: Path) -> None:
    files = compared = 0
    for path in sorted(file for folder in {corpus, BUNDLED} for file in folder.rglob("*") if file.is_file()):
        with path.open("rb") as file:
            try:
                meta, _ = part10.read(file)
                data = file.read()
                if meta.transfer_syntax != EXPLICIT_VR_LITTLE_ENDIAN or not list(scan(data)):
                    continue
                result = converted(data)
            except Malformed:
                continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                before, after = read(data, EXPLICIT_LE), read(result, IMPLICIT_LE)
                for dataset in (before, after):
                    dataset.remove_private_tags()  # whose VRs are not written
                compared += assert_same_bytes(before, after)
            except (NotImplementedError, ValueError, OverflowError):
                continue  # what pydicom does not read either way
        files += 1
    assert files >= 50
    assert compared >= 5000


def assert_same_bytes(before: Dataset, after: Dataset) -> int:
    """Compare what both say, all levels; VRs may be others of the same meaning."""
    tags = [tag for tag in before.keys() if tag.element]  # noqa: SIM118  # a Dataset yields elements
    assert tags == list(after.keys())
    count = 0
    for tag in tags:
        if before.get_item(tag).VR == "UN":
            continue
        old, new = before[tag], after[tag]
        if old.VR == "SQ":
            assert len(old.value) == len(new.value)
            count += sum(assert_same_bytes(*pair) for pair in zip(old.value, new.value, strict=True))
        elif old.VR == new.VR:
            assert old.value == new.value or old.value != old.value, tag
            count += 1
    return count


def test_values_stand_behind_tag_and_length() -> None:
    data = encode_element(0x00100020, "LO", b"ID") + encode_element(0x00420011, "OB", b"%PDF")
    assert converted(data) == implicit_element(0x00100020, b"ID") + implicit_element(0x00420011, b"%PDF")


def test_group_lengths_are_left_out_and_what_is_none_is_refused() -> None:
    kept = encode_element(0x00080060, "CS", b"CT")
    assert converted(encode_element(0x00080000, "UL", bytes(4)) + kept) == implicit_element(0x00080060, b"CT")
    with pytest.raises(Malformed, match="no group length"):
        converted(encode_element(0x00080000, "UL", bytes(8)) + kept)


@pytest.mark.parametrize("length", [None, UNDEFINED])
@pytest.mark.parametrize("tag", [0x00081140, 0x00091010])
def test_sequences_get_undefined_lengths_private_ones_too(tag: int, length: int | None) -> None:
    inner = encode_element(0x00081155, "UI", b"1.2\0")
    end = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0) if length else b""
    content = item(inner) + end
    data = encode_header(tag, "SQ", length or len(content)) + content
    ends = struct.pack("<HHLHHL", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    assert converted(data) == implicit_element(
        tag, item(implicit_element(0x00081155, b"1.2\0"), UNDEFINED) + ends, UNDEFINED
    )


def test_un_of_undefined_length_stays_as_it_is() -> None:
    content = item(implicit_element(0x00081155, b"1.2\0")) + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    data = encode_header(0x00091010, "UN", UNDEFINED) + content
    assert converted(data) == implicit_element(0x00091010, content, UNDEFINED)
    assert explicit_of(converted(data)) == data


def test_un_that_readers_take_for_a_sequence_must_be_one() -> None:
    content = item(implicit_element(0x00081155, b"1.2\0"))
    assert converted(encode_element(0x00081140, "UN", content)) == implicit_element(0x00081140, content)
    with pytest.raises(Malformed):
        converted(encode_element(0x00081140, "UN", item(encode_element(0x00081155, "UI", b"1.2\0"))[:-2]))


@pytest.mark.parametrize(
    ("tag", "vr", "value"),
    [
        (0x00280010, "SS", b"\xff\xff"),  # Rows, as if they could be negative
        (0x00280030, "FD", bytes(8)),  # Pixel Spacing is text
        (0x00201041, "US", b"\1\0"),  # Slice Location, too
        (0x00081140, "LO", b"text"),  # a sequence
        (0x00180081, "SQ", b""),  # no sequence
        (0x00280120, "SS", b"\x30\xf8"),  # Pixel Padding Value, where stored values have no sign
        (0x00283006, "UL", bytes(4)),  # LUT Data has 16 bits
        (0x00081030, "UT", b"a\\b "),  # one text becomes two
        (0x00080070, "LT", b"a\\b "),
        (0x00204000, "LO", b"a\\b "),  # two become one
    ],
)
def test_what_would_mean_something_else_is_refused(tag: int, vr: str, value: bytes) -> None:
    with pytest.raises(Malformed, match=f"VR {vr}"):
        converted(encode_element(tag, vr, value))


@pytest.mark.parametrize(
    ("tag", "vr"),
    [
        *((0x00280120, "US"), (0x00280120, "SS"), (0x00080070, "SH"), (0x7FE00010, "OB"), (0x7FE00010, "OW")),
        *((0x00283006, "OW"), (0x00283006, "US"), (0x00091010, "FD"), (0x00280010, "UN"), (0x00080001, "UL")),
        *((0x60003000, "OB"), (0x00281201, "US"), (0x00081030, "UT"), (0x00204000, "LO")),
    ],
)
def test_what_means_the_same_is_kept(tag: int, vr: str) -> None:
    value = bytes(8) if vr in ("FD",) else b"\1\0\2\0"
    assert converted(encode_element(tag, vr, value)) == implicit_element(tag, value)


def test_what_is_written_as_signed_stays_where_stored_values_are() -> None:
    padding = encode_element(0x00280120, "SS", b"\x30\xf8")
    signed, unsigned = (encode_element(0x00280103, "US", value) for value in (b"\1\0", b"\0\0"))
    before = encode_element(0x00189810, "SS", b"\x30\xf8")  # comes before Pixel Representation
    nested = encode_element(0x00880200, "SQ", item(padding))
    for data in (
        before + signed + padding,
        signed + nested,
        encode_element(0x00880200, "SQ", item(signed + padding)),
    ):
        converted(data)
    for data in (before + unsigned, nested + b"", encode_element(0x00880200, "SQ", item(unsigned + padding))):
        with pytest.raises(Malformed, match="VR SS"):
            converted(data)


def test_odd_lengths_and_compressed_pixels_are_refused() -> None:
    with pytest.raises(Malformed, match="an odd length"):
        converted(encode_header(0x00100020, "LO", 1) + b"x")
    fragments = item(b"") + item(b"ab") + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    with pytest.raises(Malformed, match="is compressed"):
        converted(encode_header(0x7FE00010, "OB", UNDEFINED) + fragments)


def test_nesting_has_a_limit() -> None:
    data = b""
    for _ in range(DEEPEST + 1):
        data = encode_element(0x00081140, "SQ", item(data))
    with pytest.raises(Malformed, match="deeper than"):
        converted(data)


def test_the_proof_sees_another_nesting() -> None:
    data = encode_element(0x00081140, "SQ", item(b""))
    for result, words in (
        (b"", "missing"),
        (implicit_element(0x00081140, item(b"")), "not to be known as a sequence"),
        (implicit_element(0x00081140, struct.pack("<HHL", 0xFFFE, 0xE0DD, 0), UNDEFINED), "too few items"),
        (implicit_element(0x00081150, b""), "stands where"),
    ):
        assert words in agrees_implicit(data, scan(data), result, scan(result, encoding=IMPLICIT_LE))


@settings(deadline=None, max_examples=300)
@given(parts=st.lists(st.sampled_from([
    *(struct.pack("<L", number) for number in (0, 4, 8, 40, UNDEFINED)), b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0",
    b"\xfe\xff\xdd\xe0", b"\x08\x00\x40\x11", b"\x28\x00\x03\x01", b"\x28\x00\x20\x01", b"\x09\x00\x01\x10",
    b"SQ\0\0", b"UN\0\0", b"US\2\0", b"\2\0\0\0",
]), max_size=30))  # fmt: skip
def test_any_mix_of_headers_is_converted_rightly_or_refused(parts: list[bytes]) -> None:
    data = b"".join(parts)
    with contextlib.suppress(Malformed, TooLong):
        elements = list(scan(data))
        assert converted(data) is not None
        assert elements is not None
