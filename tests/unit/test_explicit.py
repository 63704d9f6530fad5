"""The header transcoder keeps every value, says the right VR, and refuses what lies; its proof sees any change."""

import contextlib
import struct
import warnings
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence as PydicomSequence

from venturi.dataset import part10
from venturi.dataset.agrees import agrees
from venturi.dataset.explicit import TooLong, explicit
from venturi.dataset.scan import (
    DEEPEST,
    EXPLICIT_BE,
    EXPLICIT_LE,
    IMPLICIT_LE,
    PIXEL_DATA,
    Element,
    Encoding,
    encoding_of,
    items,
    scan,
)
from venturi.dataset.splice import encode_element
from venturi.dataset.syntaxes import lookup
from venturi.errors import Malformed

BUNDLED = Path(str(get_testdata_file("CT_small.dcm"))).parent
BOTH = pytest.mark.parametrize("encoding", [IMPLICIT_LE, EXPLICIT_BE])
UNDEFINED = 0xFFFFFFFF


def elements_of(data: bytes, encoding: Encoding) -> list[Element]:
    return [element for element in scan(data, encoding=encoding) if element.tag != PIXEL_DATA]


def converted(data: bytes, encoding: Encoding, most_bytes: int = 1 << 24) -> bytes:
    """Convert, and let the proof look at it."""
    elements = elements_of(data, encoding)
    result = explicit(data, elements, encoding, most_bytes)
    assert agrees(data, elements, encoding, result, list(scan(result))) == ""
    return result


def implicit(tag: int, value: bytes, length: int | None = None) -> bytes:
    return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(value) if length is None else length) + value


def item(content: bytes, length: int | None = None) -> bytes:
    return implicit(0xFFFEE000, content, length)


def vrs(data: bytes) -> dict[int, str]:
    return {element.tag: element.vr for element in scan(data)}


def convertible(folder: Path) -> Iterator[tuple[Path, bytes, Encoding]]:
    """All files below a folder that are implicit VR or big endian and whose datasets can be scanned."""
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        with path.open("rb") as file:
            try:
                meta, _ = part10.read(file)
            except Malformed:
                continue
            encoding = encoding_of(lookup(meta.transfer_syntax))
            data = file.read()
        if encoding != EXPLICIT_LE and not lookup(meta.transfer_syntax).deflated:
            with contextlib.suppress(Malformed):
                elements_of(data, encoding)
                yield path, data, encoding


def read(data: bytes, encoding: Encoding) -> Dataset:
    return read_dataset(BytesIO(data), encoding.implicit_vr, not encoding.big_endian)


WORD_TYPES = {"OW": "u2", "OF": "u4", "OL": "u4", "OD": "u8", "OV": "u8"}


def assert_same_values(source: Dataset, result: Dataset, big_endian: bool) -> int:
    """Compare what pydicom reads from both, all levels; gives the number of values compared."""
    tags = [tag for tag in source.keys() if tag.element and tag != PIXEL_DATA]  # noqa: SIM118  # a Dataset yields elements
    assert tags == list(result.keys())
    count = 0
    for tag in tags:
        before, after = source[tag], result[tag]
        assert before.VR == after.VR, tag
        if before.VR == "SQ":
            assert len(before.value) == len(after.value)
            for old, new in zip(before.value, after.value, strict=True):
                count += assert_same_values(old, new, big_endian)
            continue
        value = before.value
        if big_endian and before.VR in WORD_TYPES and value:  # these pydicom gives as the bytes they are
            words = WORD_TYPES[before.VR]
            value = np.frombuffer(value, ">" + words).astype("<" + words).tobytes()
        assert value == after.value, tag
        count += 1
    return count


LIES = {"Tag-0040-A170-VR-CS.dcm"}  # a code string where the dictionary has a sequence


def test_pydicom_reads_the_same_values_from_every_public_file(corpus: Path) -> None:
    compared = files = 0
    for folder in {corpus, BUNDLED}:
        for path, data, encoding in convertible(folder):
            if path.name in LIES:
                with pytest.raises(Malformed):
                    converted(data, encoding)
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                result = converted(data, encoding)
                compared += assert_same_values(
                    read(data, encoding), read(result, EXPLICIT_LE), encoding.big_endian
                )
            files += 1
    assert files >= 10
    assert compared >= 1000


TEXT = st.text("ABC 19_", max_size=9).map(str.strip)
WORDS = {
    "US": st.integers(0, 0xFFFF),
    "SS": st.integers(-0x8000, 0x7FFF),
    "UL": st.integers(0, 0xFFFFFFFF),
    "SL": st.integers(-0x80000000, 0x7FFFFFFF),
    "UV": st.integers(0, 2**64 - 1),
    "SV": st.integers(-(2**63), 2**63 - 1),
    "FL": st.floats(width=32, allow_nan=False),
    "FD": st.floats(allow_nan=False),
    "AT": st.integers(0, 0xFFFFFFFF),
}
LEAVES: dict[str, tuple[str, st.SearchStrategy[Any]]] = {
    "PatientID": ("LO", TEXT),
    "Modality": ("CS", TEXT),
    "Rows": ("US", WORDS["US"]),
    "PixelRepresentation": ("US", st.integers(0, 1)),
    "ReferencedFrameNumbers": ("US", st.lists(WORDS["US"], max_size=4)),
    "ReferencePixelX0": ("SL", WORDS["SL"]),
    "OverlayOrigin": ("SS", st.lists(WORDS["SS"], min_size=2, max_size=2)),
    "SimpleFrameList": ("UL", st.lists(WORDS["UL"], max_size=3)),
    "SelectorSVValue": ("SV", WORDS["SV"]),
    "SelectorUVValue": ("UV", WORDS["UV"]),
    "DisplayedAreaTopLeftHandCorner": ("SL", st.lists(WORDS["SL"], min_size=2, max_size=2)),
    "FrameIncrementPointer": ("AT", WORDS["AT"]),
    "DopplerCorrectionAngle": ("FD", WORDS["FD"]),
    "RecommendedDisplayFrameRateInFloat": ("FL", WORDS["FL"]),
    "RedPaletteColorLookupTableData": ("OW", st.binary(max_size=40).map(lambda value: value * 2)),
    "ICCProfile": ("OB", st.binary(max_size=9).map(lambda value: value * 2)),
    "PointCoordinatesData": ("OF", st.binary(max_size=9).map(lambda value: value * 4)),
    "TrackPointIndexList": ("OL", st.binary(max_size=9).map(lambda value: value * 4)),
    "VolumetricCurvePoints": ("OD", st.binary(max_size=9).map(lambda value: value * 8)),
    "TextValue": ("UT", TEXT),
}
SEQUENCES = ["ReferencedImageSequence", "SharedFunctionalGroupsSequence", "ContentSequence"]


@st.composite
def datasets(draw: st.DrawFn, depth: int = 3) -> Dataset:
    dataset = Dataset()
    for keyword in draw(st.lists(st.sampled_from(sorted(LEAVES)), unique=True, max_size=8)):
        vr, values = LEAVES[keyword]
        # Overlays are a repeating group: the dictionary has no tag for the keyword.
        tag = pydicom.datadict.tag_for_keyword(keyword) or 0x60020050
        dataset.add(DataElement(tag, vr, draw(values)))
    if draw(st.booleans()):
        dataset.add(DataElement(0x00090010, "LO", "SOMEBODY"))
        dataset.add(DataElement(0x00091001, "UN", draw(st.binary(max_size=5)) * 2))
    if depth:
        for keyword in draw(st.lists(st.sampled_from(SEQUENCES), unique=True, max_size=2)):
            inner = draw(st.lists(datasets(depth=depth - 1), max_size=3))
            for one in inner:
                one.is_undefined_length_sequence_item = draw(st.booleans())
            setattr(dataset, keyword, PydicomSequence(inner))
            dataset[keyword].is_undefined_length = draw(st.booleans())
    return dataset


def written(dataset: Dataset, encoding: Encoding) -> bytes:
    out = DicomBytesIO()
    out.is_implicit_VR, out.is_little_endian = encoding.implicit_vr, not encoding.big_endian
    write_dataset(out, dataset)
    return out.getvalue()


@BOTH
@settings(deadline=None, max_examples=60)
@given(dataset=datasets())
def test_nested_datasets_keep_tags_values_and_nesting(encoding: Encoding, dataset: Dataset) -> None:
    data = written(dataset, encoding)
    result = converted(data, encoding)
    assert_same_values(read(data, encoding), read(result, EXPLICIT_LE), encoding.big_endian)


def value_places(data: bytes, elements: list[Element], encoding: Encoding) -> Iterator[int]:
    """The offset of every byte that is of a value, at all levels."""
    for element in elements:
        if element.vr == "SQ" or (not element.vr and element.tag in (0x00081140, 0x0040A730, 0x52009229)):
            for start, end, inner in items(data, element, encoding):
                yield from value_places(data, list(scan(data, start, end, inner)), inner)
        else:
            yield from range(element.value, element.end)


@BOTH
@settings(deadline=None, max_examples=60)
@given(dataset=datasets(), draw=st.data())
def test_the_proof_sees_a_changed_byte_of_any_value(
    encoding: Encoding, dataset: Dataset, draw: st.DataObject
) -> None:
    data = bytearray(written(dataset, encoding))
    elements = elements_of(bytes(data), encoding)
    result = explicit(data, elements, encoding)
    places = list(value_places(bytes(data), elements, encoding))
    if places:
        data[draw.draw(st.sampled_from(places))] ^= draw.draw(st.integers(1, 255))
        assert "value" in agrees(data, elements, encoding, result, list(scan(result)))


@pytest.mark.parametrize(
    ("result", "difference"),
    [
        (b"", "(0008,0060) is missing"),
        (encode_element(0x00080061, "CS", b"CT"), "(0008,0061) stands where (0008,0060) must be"),
        (encode_element(0x00080060, "OB", b"CT"), "(0008,0060) has VR OB"),
        (encode_element(0x00080060, "CS", b"CTCT"), "(0008,0060) has 4 bytes, not 2"),
        (
            encode_element(0x00080060, "CS", b"CT") + encode_element(0x00100020, "LO", b""),
            "(0010,0020) is not in the source",
        ),
        (
            encode_element(0x00080000, "UL", bytes(4)) + encode_element(0x00080060, "CS", b"CT"),
            "(0008,0000) stands where (0008,0060) must be",
        ),
    ],
)
def test_the_proof_sees_another_element(result: bytes, difference: str) -> None:
    data = implicit(0x00080060, b"CT")
    found = agrees(data, elements_of(data, IMPLICIT_LE), IMPLICIT_LE, result, list(scan(result)))
    assert found == difference


@pytest.mark.parametrize("content", [b"", item(b""), item(implicit(0x00081155, b"1.")) * 3])
def test_the_proof_sees_another_number_of_items(content: bytes) -> None:
    data = implicit(0x00081140, content)
    two = implicit(0x00081140, item(implicit(0x00081155, b"1.")) * 2)
    result = explicit(two, elements_of(two, IMPLICIT_LE), IMPLICIT_LE)
    assert agrees(data, elements_of(data, IMPLICIT_LE), IMPLICIT_LE, result, list(scan(result)))


def test_group_lengths_are_left_out_at_every_level() -> None:
    inner = implicit(0x00080000, struct.pack("<L", 10)) + implicit(0x00081155, b"1.")
    data = implicit(0x00080000, struct.pack("<L", 99)) + implicit(0x00081140, item(inner))
    data += implicit(0x00090000, bytes(4)) + implicit(0x00090010, b"ME")
    result = converted(data, IMPLICIT_LE)
    assert vrs(result) == {0x00081140: "SQ", 0x00090010: "LO"}
    assert b"\x08\x00\x00\x00UL" not in result
    with pytest.raises(Malformed, match="no group length"):
        converted(implicit(0x00080000, b"what is it"), IMPLICIT_LE)


def test_pixel_representation_of_the_level_or_of_those_around_it_decides_on_signs() -> None:
    padding = implicit(0x00280120, b"\1\0")
    unsigned, signed = (implicit(0x00280103, value) for value in (b"\0\0", b"\1\0"))
    zero_velocity = implicit(0x00189810, b"\0\0")  # comes before Pixel Representation

    def sign_of(outer: bytes, inner: bytes) -> tuple[str, ...]:
        result = converted(zero_velocity + outer + padding + implicit(0x52009229, item(inner)), IMPLICIT_LE)
        sequence = list(scan(result))[-1]
        ((start, end, _),) = items(result, sequence)
        nested = {element.tag: element.vr for element in scan(result, start, end)}
        return vrs(result)[0x00189810], vrs(result)[0x00280120], nested[0x00280120]

    assert sign_of(b"", padding) == ("US", "US", "US")
    assert sign_of(signed, padding) == ("SS", "SS", "SS")
    assert sign_of(signed, unsigned + padding) == ("SS", "SS", "US")
    assert sign_of(unsigned, signed + padding) == ("US", "US", "SS")
    assert sign_of(b"", signed + padding) == ("US", "US", "SS")


SIGNED, UNSIGNED = (implicit(0x00280103, value) for value in (b"\1\0", b"\0\0"))
BITS_16 = implicit(0x00280101, b"\x10\0")
HOUNSFIELD = implicit(0x00281052, b"-1024 ") + implicit(0x00281053, b"1 ")
DESCRIPTOR = implicit(0x00283002, struct.pack("<HhH", 256, -1024, 16))
VOI_LUT = implicit(0x00283010, item(DESCRIPTOR))


@pytest.mark.parametrize(
    ("data", "vr"),
    [
        (UNSIGNED + VOI_LUT, "US"),
        (SIGNED + VOI_LUT, "SS"),
        (UNSIGNED + HOUNSFIELD + VOI_LUT, "SS"),
        (BITS_16 + UNSIGNED + HOUNSFIELD + VOI_LUT, "SS"),
        (UNSIGNED + implicit(0x00281052, b"0 ") + implicit(0x00281053, b"2 ") + VOI_LUT, "US"),
        (UNSIGNED + implicit(0x00281052, b"0 ") + implicit(0x00281053, b"-1") + VOI_LUT, "SS"),
        (SIGNED + implicit(0x00281052, b"0 ") + VOI_LUT, "SS"),
        (BITS_16 + SIGNED + implicit(0x00281052, b"32768 ") + VOI_LUT, "US"),
        (SIGNED + implicit(0x00281052, b"what") + VOI_LUT, "SS"),
        (UNSIGNED + implicit(0x00281052, b"-inf") + VOI_LUT, "US"),
        (UNSIGNED + implicit(0x00281052, b"-1e999") + VOI_LUT, "US"),
        (UNSIGNED + implicit(0x00281052, b"sNaN") + VOI_LUT, "US"),
        (UNSIGNED + implicit(0x00281052, b"\xd9\xa1") + VOI_LUT, "US"),  # a digit, but not of ASCII
        (SIGNED + implicit(0x00283000, item(b"")) + VOI_LUT, "US"),  # what a modality LUT gives is unsigned
        (HOUNSFIELD + implicit(0x00283110, item(VOI_LUT)), "SS"),  # as in presentation states
        (VOI_LUT, "US"),
    ],
)
def test_what_a_voi_lut_maps_is_signed_as_the_modality_transformation_says(data: bytes, vr: str) -> None:
    result = converted(data, IMPLICIT_LE)
    assert struct.pack("<HH2sH", 0x0028, 0x3002, vr.encode(), 6) in result
    other = result.replace(
        b"\x28\0\x02\x30" + vr.encode(), b"\x28\0\x02\x30" + (b"US" if vr == "SS" else b"SS")
    )
    assert "has VR" in agrees(data, elements_of(data, IMPLICIT_LE), IMPLICIT_LE, other, list(scan(other)))


def test_a_descriptor_of_another_lut_is_signed_as_stored_values_are() -> None:
    result = converted(UNSIGNED + HOUNSFIELD + implicit(0x00283000, item(DESCRIPTOR)), IMPLICIT_LE)
    assert b"\x28\0\x02\x30US" in result


def test_the_proof_sees_a_wrong_sign() -> None:
    data = implicit(0x00280103, b"\1\0") + implicit(0x00280120, b"\1\0")
    wrong = converted(data, IMPLICIT_LE).replace(b"SS", b"US")
    assert "VR US" in agrees(data, elements_of(data, IMPLICIT_LE), IMPLICIT_LE, wrong, list(scan(wrong)))


@pytest.mark.parametrize(
    ("tag", "vr"),
    [
        (0x00283006, "OW"),  # US or OW
        (0x00281200, "OW"),  # US or SS or OW
        (0x00281201, "OW"),
        (0x54001010, "OW"),  # OB or OW
        (0x50123000, "OW"),  # repeating groups
        (0x60023000, "OW"),
        (0x60020010, "US"),
        (0x00090010, "LO"),  # a private creator
        (0x000900FF, "LO"),
        (0x00090100, "UN"),
        (0x00091010, "UN"),
        (0x60030010, "LO"),
        (0x60033000, "UN"),  # private, although it looks like an overlay
        (0x00087777, "UN"),  # of no dictionary
        (0xFFFCFFFC, "OB"),
    ],
)
def test_in_implicit_vr_the_dictionary_says_the_vr(tag: int, vr: str) -> None:
    assert vrs(converted(implicit(tag, b"ab"), IMPLICIT_LE)) == {tag: vr}


@pytest.mark.parametrize("tag", [0x00100020, 0x00280120, 0x00280010])
def test_a_value_too_long_for_its_vr_becomes_un(tag: int) -> None:
    for size, known in ((0xFFFE, True), (0x10000, False)):
        value = b"ab" * (size // 2)
        result = converted(implicit(tag, value), IMPLICIT_LE)
        assert (vrs(result)[tag] != "UN") is known
        assert result.endswith(value)


def test_a_long_value_of_a_long_vr_keeps_it() -> None:
    assert vrs(converted(implicit(0x00283006, bytes(1 << 17)), IMPLICIT_LE)) == {0x00283006: "OW"}


def test_a_private_sequence_of_undefined_length_stays_implicit_byte_for_byte() -> None:
    content = item(implicit(0x00080000, bytes(4)) + implicit(0x00100020, b"odd"), None)
    content += item(implicit(0x00091002, b"", UNDEFINED) + implicit(0xFFFEE0DD, b""))
    data = implicit(0x00091001, content, UNDEFINED) + implicit(0xFFFEE0DD, b"")
    result = converted(data, IMPLICIT_LE)
    assert result == b"\x09\x00\x01\x10UN\0\0\xff\xff\xff\xff" + data[8:]


def test_sequences_and_items_get_defined_lengths_and_empty_ones_stay_empty() -> None:
    inner = implicit(0x00081155, b"1.")
    ends = implicit(0xFFFEE00D, b""), implicit(0xFFFEE0DD, b"")
    undefined = implicit(0x00081140, item(inner + ends[0], UNDEFINED) + item(b"") + ends[1], UNDEFINED)
    defined = implicit(0x00081140, item(inner) + item(b""))
    expected = struct.pack("<HH2sHL", 8, 0x1140, b"SQ", 0, 26) + item(encode_element(0x00081155, "UI", b"1."))
    expected += item(b"")
    assert converted(undefined, IMPLICIT_LE) == converted(defined, IMPLICIT_LE) == expected
    empty = struct.pack("<HH2sHL", 8, 0x1140, b"SQ", 0, 0)
    assert converted(implicit(0x00081140, b""), IMPLICIT_LE) == empty
    assert converted(implicit(0x00081140, ends[1], UNDEFINED), IMPLICIT_LE) == empty


def big(tag: int, vr: bytes, value: bytes) -> bytes:
    head = struct.pack(">HH2s", tag >> 16, tag & 0xFFFF, vr)
    if vr in (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SV", b"UN", b"UV"):
        return head + struct.pack(">HL", 0, len(value)) + value
    return head + struct.pack(">H", len(value)) + value


def test_big_endian_words_are_swapped_by_their_size_and_bytes_are_not() -> None:
    value = bytes(range(16))
    two = bytes(byte for index in range(0, 16, 2) for byte in (index + 1, index))
    four = bytes(byte for index in range(0, 16, 4) for byte in range(index + 3, index - 1, -1))
    eight = bytes([*range(7, -1, -1), *range(15, 7, -1)])
    sizes = {1: ["OB", "UN", "LO", "UI"], 2: ["US", "SS", "OW", "AT"], 4: ["UL", "SL", "FL", "OF", "OL"]}
    sizes[8] = ["FD", "OD", "OV", "SV", "UV"]
    for size, swapped in ((1, value), (2, two), (4, four), (8, eight)):
        for vr in sizes[size]:
            result = converted(big(0x00091001, vr.encode(), value), EXPLICIT_BE)
            (element,) = scan(result)
            assert (element.vr, result[element.value :]) == (vr, swapped)


def test_values_longer_than_a_piece_are_swapped_whole() -> None:
    value = bytes(range(256)) * (3 << 12)
    result = converted(big(0x00281201, b"OW", value), EXPLICIT_BE)
    assert result[12::2] == value[1::2]
    assert result[13::2] == value[::2]


LYING = [
    (implicit(0x00100020, b"odd"), IMPLICIT_LE, "odd length"),
    (big(0x00080018, b"UI", b"1.2"), EXPLICIT_BE, "odd length"),
    (big(0x00280010, b"UL", b"123456"), EXPLICIT_BE, "no whole number of values of VR UL"),
    (struct.pack(">HH2sHL", 9, 0x1001, b"UN", 0, UNDEFINED) + bytes.fromhex("feffdde000000000"), EXPLICIT_BE,
     "undefined length with VR UN"),
    (implicit(0x00100020, b"", UNDEFINED) + implicit(0xFFFEE0DD, b""), IMPLICIT_LE, "undefined length with VR LO"),
    (implicit(0x00081140, implicit(0x00100020, b"ab")), IMPLICIT_LE, "where an item"),
    (implicit(0x00081140, item(implicit(0x00100020, b"ab") * 2)), IMPLICIT_LE, "out of order or twice"),
    (implicit(0x00081140, item(implicit(0x00100020, b"ab", 99))), IMPLICIT_LE, "claims 99 bytes"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "encoding", "words"), LYING)
def test_what_lies_about_itself_is_refused(data: bytes, encoding: Encoding, words: str) -> None:
    elements = elements_of(data, encoding)
    with pytest.raises(Malformed, match=words):
        explicit(data, elements, encoding)


def nested(depth: int, undefined: bool, content: bytes = b"") -> bytes:
    for _ in range(depth):
        if undefined:
            content = item(content + implicit(0xFFFEE00D, b""), UNDEFINED) + implicit(0xFFFEE0DD, b"")
            content = implicit(0x0040A730, content, UNDEFINED)
        else:
            content = implicit(0x0040A730, item(content))
    return content


@pytest.mark.parametrize("undefined", [False, True])
def test_nesting_has_a_limit(undefined: bool) -> None:
    converted(nested(15 if undefined else DEEPEST, undefined), IMPLICIT_LE)
    with pytest.raises(Malformed, match="nested"):
        converted(nested(DEEPEST + (not undefined), undefined), IMPLICIT_LE)


def test_much_that_is_nested_deeply_costs_no_walk_for_each_depth() -> None:
    data = nested(40, undefined=True, content=implicit(0x00091001, bytes(8000)))
    with pytest.raises(Malformed, match="too much is nested"):
        converted(data, IMPLICIT_LE)


@pytest.mark.parametrize("most_bytes", [0, 7, 100, 109])
def test_longer_output_than_allowed_is_refused(most_bytes: int) -> None:
    data = implicit(0x00081140, item(implicit(0x00091001, bytes(78))))
    assert len(converted(data, IMPLICIT_LE, 110)) == 110
    with pytest.raises(TooLong):
        converted(data, IMPLICIT_LE, most_bytes)


def test_what_is_explicit_already_is_no_work() -> None:
    with pytest.raises(ValueError, match="needs no conversion"):
        explicit(b"", [], EXPLICIT_LE)


SEEDS = {
    IMPLICIT_LE: ["rtplan.dcm", "MR_small_implicit.dcm", "nested_priv_SQ.dcm", "priv_SQ.dcm"],
    EXPLICIT_BE: ["ExplVR_BigEnd.dcm", "MR_small_bigendian.dcm", "rtdose_expb.dcm"],
}


@BOTH
@settings(deadline=None, max_examples=150)
@given(draw=st.data())
def test_hostile_bytes_are_converted_rightly_or_refused(encoding: Encoding, draw: st.DataObject) -> None:
    path = BUNDLED / draw.draw(
        st.sampled_from([name for name in SEEDS[encoding] if (BUNDLED / name).exists()])
    )
    with path.open("rb") as file:
        part10.read(file)
        data = bytearray(file.read(6000))
    for _ in range(draw.draw(st.integers(1, 6))):
        place = draw.draw(st.integers(0, len(data) - 1))
        data[place] = draw.draw(st.sampled_from([0, 1, 8, 0x10, 0x28, 0x40, 0xE0, 0xFE, 0xFF]))
    elements = []
    with contextlib.suppress(Malformed):
        elements.extend(scan(data, encoding=encoding))
    try:
        result = explicit(data, elements, encoding, 1 << 16)
    except (Malformed, TooLong):
        return
    assert len(result) <= 1 << 16
    assert agrees(data, elements, encoding, result, list(scan(result))) == ""


@BOTH
@settings(deadline=None, max_examples=100)
@given(parts=st.lists(st.sampled_from([
    *(struct.pack("<L", number) for number in (0, 4, 8, 40, UNDEFINED)), b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0",
    b"\xfe\xff\xdd\xe0", b"\x08\x00\x40\x11", b"\x28\x00\x03\x01", b"\x28\x00\x20\x01", b"\x09\x00\x01\x10",
    b"\xff\xfe\xe0\x00", b"\x00\x08\x11\x40", b"SQ\0\0", b"UN\0\0", b"US\0\2", b"\0\0\0\2",
]), max_size=30))  # fmt: skip
def test_any_mix_of_headers_is_converted_rightly_or_refused(encoding: Encoding, parts: list[bytes]) -> None:
    data = b"".join(parts)
    elements = []
    with contextlib.suppress(Malformed):
        elements.extend(scan(data, encoding=encoding))
    with contextlib.suppress(Malformed, TooLong):
        result = explicit(data, elements, encoding, 1 << 16)
        assert agrees(data, elements, encoding, result, list(scan(result))) == ""
