"""Header facts are the values that are in the file, as rules compare them."""

import struct
import warnings
import zlib
from pathlib import Path

import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.multival import MultiValue

from venturi.dataset import facts, part10
from venturi.dataset.facts import read_header
from venturi.dataset.splice import encode_element
from venturi.dataset.syntaxes import EXPLICIT_VR_LITTLE_ENDIAN
from venturi.errors import Malformed

PATIENT_NAME = "00100010"
DEFLATED = "1.2.840.10008.1.2.1.99"


def file_of(folder: Path, dataset: bytes, syntax: str = EXPLICIT_VR_LITTLE_ENDIAN) -> Path:
    path = folder / "object.dcm"
    path.write_bytes(part10.encode(part10.FileMeta("1.2.3", "1.2.3.4", syntax)) + dataset)
    return path


def values(path: Path, *steps: str) -> tuple[str, ...] | None:
    with read_header(path) as header:
        return header.values(steps)


def bundled(name: str) -> Path:
    found = get_testdata_file(name, download=False)
    if found is None:
        pytest.skip(f"{name} is not bundled")
    return Path(str(found))


FILES = (
    *(
        "CT_small.dcm",
        "MR_small.dcm",
        "rtplan.dcm",
        "rtdose.dcm",
        "ExplVR_BigEnd.dcm",
        "MR_small_bigendian.dcm",
    ),
    *("JPEG2000.dcm", "SC_rgb_rle.dcm", "image_dfl.dcm", "reportsi.dcm", "liver_1frame.dcm"),
)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "keyword",
    [
        "SOPClassUID",
        "Modality",
        "Manufacturer",
        "StudyInstanceUID",
        "PatientID",
        "ImageType",
        "InstanceNumber",
    ],
)
def test_text_is_what_pydicom_reads(name: str, keyword: str) -> None:
    path = bundled(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(path)
    expected = None
    if keyword in dataset:
        value = dataset[keyword].value
        several = value if isinstance(value, MultiValue) else [value]
        expected = () if value in (None, "") else tuple(str(one).strip() for one in several)
    assert values(path, f"{int(pydicom.datadict.tag_for_keyword(keyword) or 0):08x}") == expected


@pytest.mark.parametrize("name", ["CT_small.dcm", "ExplVR_BigEnd.dcm", "rtdose.dcm", "image_dfl.dcm"])
def test_numbers_are_read_in_the_byte_order_of_the_dataset(name: str) -> None:
    path = bundled(name)
    dataset = pydicom.dcmread(path)
    for tag, number in (("00280010", dataset.Rows), ("00280011", dataset.Columns)):
        assert values(path, tag) == (str(number),)


def test_absent_and_empty_are_told_apart(tmp_path: Path) -> None:
    path = file_of(tmp_path, encode_element(0x00080060, "CS", b""))
    assert values(path, "00080060") == ()
    assert values(path, "00080070") is None


@pytest.mark.parametrize(
    ("vr", "value", "expected"),
    [
        ("CS", b"ORIGINAL\\PRIMARY ", ("ORIGINAL", "PRIMARY")),
        ("UI", b"1.2.3\0", ("1.2.3",)),
        ("LO", b"  a b  ", ("a b",)),
        ("LO", b"a\\\\b", ("a", "", "b")),
        ("LT", b"a\\b ", ("a\\b",)),
        ("US", struct.pack("<3H", 1, 2, 65535), ("1", "2", "65535")),
        ("SS", struct.pack("<h", -5), ("-5",)),
        ("UL", struct.pack("<L", 1 << 31), ("2147483648",)),
        ("SV", struct.pack("<q", -(1 << 40)), ("-1099511627776",)),
        ("UV", struct.pack("<Q", 1 << 63), ("9223372036854775808",)),
        ("FD", struct.pack("<d", 0.1), ("0.1",)),
        ("FL", struct.pack("<f", 0.5), ("0.5",)),
        ("AT", struct.pack("<HH", 0x0018, 0x1063), ("00181063",)),
        ("OB", b"\1\2\3\4", ()),
    ],
)
def test_values_of_each_vr(tmp_path: Path, vr: str, value: bytes, expected: tuple[str, ...]) -> None:
    path = file_of(tmp_path, encode_element(0x00081234, vr, value))
    assert values(path, "00081234") == expected


@pytest.mark.parametrize(
    ("charset", "encoded", "expected"),
    [
        (b"ISO_IR 100", "Äneas^Rüdiger".encode("latin-1"), "Äneas^Rüdiger"),
        (b"ISO_IR 192", "Ελένη".encode(), "Ελένη"),
        (b"ISO_IR 144", "Люкс".encode("iso8859-5"), "Люкс"),
        (b"ISO_IR 126", "Διονυσιος".encode("iso8859-7"), "Διονυσιος"),
        (b"GB18030", "王^小东".encode("gb18030"), "王^小东"),
        (b"ISO_IR 192", b"\xff\xfe", "ÿþ"),  # not UTF-8: read as Latin-1 rather than not at all
        (b"no such set", b"plain", "plain"),
    ],
)
def test_text_is_read_in_its_specific_character_set(
    tmp_path: Path, charset: bytes, encoded: bytes, expected: str
) -> None:
    dataset = encode_element(0x00080005, "CS", charset) + encode_element(0x00100010, "PN", encoded)
    assert values(file_of(tmp_path, dataset), PATIENT_NAME) == (expected,)


def sequence(tag: int, *item_contents: bytes) -> bytes:
    inside = b"".join(
        struct.pack("<HHL", 0xFFFE, 0xE000, len(content)) + content for content in item_contents
    )
    return encode_element(tag, "SQ", inside)


def test_every_item_of_a_sequence_is_looked_into_and_a_sequence_gives_its_number_of_items(
    tmp_path: Path,
) -> None:
    dataset = sequence(
        0x00081140, encode_element(0x00081150, "UI", b"1.2"), b"", encode_element(0x00081150, "UI", b"1.3")
    )
    path = file_of(tmp_path, dataset)
    assert values(path, "00081140", "00081150") == ("1.2", "1.3")
    assert values(path, "00081140") == ("3",)
    assert values(path, "00081140", "00081155") is None
    assert values(path, "00081115", "00081150") is None


def test_private_elements_are_found_in_the_block_of_their_creator(tmp_path: Path) -> None:
    dataset = (
        encode_element(0x00090010, "LO", b"OTHER")
        + encode_element(0x00090011, "LO", b"ACME 1.1")
        + encode_element(0x00091001, "LO", b"wrong")
        + encode_element(0x00091101, "LO", b"right")
    )
    path = file_of(tmp_path, dataset)
    assert values(path, "00090001:ACME 1.1") == ("right",)
    assert values(path, "00090001:NOBODY") is None


def test_private_text_of_vr_un_can_be_matched(tmp_path: Path) -> None:
    dataset = encode_element(0x00090010, "LO", b"ACME") + encode_element(0x00091001, "UN", b"text")
    assert values(file_of(tmp_path, dataset), "00090001:ACME") == ("text",)


def test_what_comes_before_a_fault_is_read_and_the_fault_is_told(tmp_path: Path) -> None:
    dataset = encode_element(0x00080060, "CS", b"CT") + encode_element(0x00100020, "LO", b"1234")[:-1]
    with read_header(file_of(tmp_path, dataset)) as header:
        assert header.values(("00080060",)) == ("CT",)
        assert header.values(("00100020",)) is None
        assert "claims 4 bytes; 3 are left" in str(header.fault)


def test_a_sound_file_has_no_fault() -> None:
    with read_header(bundled("CT_small.dcm")) as header:
        assert header.fault is None


def test_of_a_deflated_bomb_only_the_beginning_is_inflated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facts, "INFLATED_BYTES", 1 << 20)
    dataset = encode_element(0x00080060, "CS", b"CT") + encode_element(0x7FE00010, "OB", bytes(50 << 20))
    packer = zlib.compressobj(wbits=-15)
    path = file_of(tmp_path, packer.compress(dataset) + packer.flush(), DEFLATED)
    with read_header(path) as header:
        assert header.values(("00080060",)) == ("CT",)
        assert "claims" in str(header.fault)


def test_bytes_that_are_not_deflated_are_a_fault(tmp_path: Path) -> None:
    with read_header(file_of(tmp_path, b"\xff" * 100, DEFLATED)) as header:
        assert header.values(("00080060",)) is None


def test_a_file_that_is_no_part_10_file_is_malformed(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"")
    with pytest.raises(Malformed):
        read_header(path)


def test_the_summary_takes_codes_and_uids_and_nothing_else(tmp_path: Path) -> None:
    good = (
        encode_element(0x00080060, "CS", b"CT")
        + encode_element(0x0020000D, "UI", b"1.2.3")
        + encode_element(0x0020000E, "UI", b"1.2.4")
    )
    with read_header(file_of(tmp_path, good)) as header:
        summary = header.summary()
    assert (summary.modality, summary.study_instance_uid, summary.series_instance_uid) == (
        "CT",
        "1.2.3",
        "1.2.4",
    )
    bad = encode_element(0x00080060, "CS", b"Doe^John") + encode_element(0x0020000D, "UI", b"Doe^John")
    with read_header(file_of(tmp_path, bad)) as header:
        assert header.summary() == type(summary)()


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    dataset=st.binary(max_size=300),
    syntax=st.sampled_from(
        [EXPLICIT_VR_LITTLE_ENDIAN, "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", DEFLATED, "9.9"]
    ),
)
def test_any_dataset_can_be_asked(tmp_path: Path, dataset: bytes, syntax: str) -> None:
    with read_header(file_of(tmp_path, dataset, syntax)) as header:
        for path in (("00080060",), ("00081140", "00081150"), ("00090001:ACME",), ("7fe00010",)):
            answer = header.values(path)
            assert answer is None or isinstance(answer, tuple)
        assert header.fault is None or isinstance(header.fault, Malformed)


def test_of_items_without_end_only_so_many_are_looked_into(tmp_path: Path) -> None:
    def sequence(value: bytes, count: int) -> Path:
        code = encode_element(0x00080100, "SH", value)
        item = struct.pack("<HHL", 0xFFFE, 0xE000, len(code)) + code
        return file_of(tmp_path, encode_element(0x00081032, "SQ", item * count))

    found = values(sequence(b"AB", facts.MOST_ITEMS + 5), "00081032", "00080100")
    assert found == ("AB",) * facts.MOST_ITEMS
    found = values(sequence(b"A\\" * 30_000, 40), "00081032", "00080100")
    assert found is not None
    assert len(found) <= facts.PATH_BYTES + 40
    assert values(sequence(b"AB", facts.MOST_ITEMS + 5), "00081032") == (str(facts.MOST_ITEMS + 5),)
