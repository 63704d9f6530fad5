"""Part 10 framing: what is written is read back, others' files are understood, and lies are refused."""

import io
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.data import get_testdata_file

from venturi import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from venturi.dataset.part10 import LIMIT_BYTES, FileMeta, encode, read
from venturi.errors import Malformed

CT = FileMeta("1.2.840.10008.5.1.4.1.1.2", "1.2.3.4", "1.2.840.10008.1.2.1", source_ae="CT1")


class Watched(io.BytesIO):
    """A file that remembers how far anybody looked."""

    furthest = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.furthest = max(self.furthest, self.tell())
        return data


def group(*elements: bytes, length: int | None = None) -> bytes:
    body = b"".join(elements)
    head = struct.pack("<HH2sHL", 2, 0, b"UL", 4, len(body) if length is None else length)
    return bytes(128) + b"DICM" + head + body


def short(element: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", 2, element, vr, len(value)) + value


SYNTAX = short(0x10, b"UI", b"1.2.840.10008.1.2\0")

# what a network can deliver as an AE title or UID: any bytes, read as UTF-8 or Latin-1, padding trimmed
words = (
    st.binary(max_size=70).map(lambda b: b.decode("utf-8", "surrogateescape"))
    | st.binary(max_size=70).map(lambda b: b.decode("latin-1"))
).map(lambda text: text.rstrip(" \0"))


@settings(deadline=None)
@given(
    st.builds(
        FileMeta,
        sop_class_uid=words,
        sop_instance_uid=words,
        transfer_syntax=words.filter(bool),
        source_ae=words,
        sending_ae=words,
        receiving_ae=words,
        source_address=words,
        sending_address=words,
        receiving_address=words,
        private_creator=words,
        private_information=st.binary(max_size=300).map(lambda b: b + b"." * (len(b) % 2)),
    ),
    st.binary(max_size=40),
)
def test_whatever_the_network_sent_is_read_back_exactly(meta: FileMeta, dataset: bytes) -> None:
    head = encode(meta)
    file = io.BytesIO(head + dataset)
    assert read(file) == (meta, len(head))
    assert file.read() == dataset


def test_pydicom_reads_what_is_written() -> None:
    meta = FileMeta(
        *(f"1.2.{n}" for n in (1, 2)), "1.2.840.10008.1.2", "A", "BC", "D", "10.0.0.1", "x", "y", "1.9", b"{}"
    )
    found = dcmread(io.BytesIO(encode(meta))).file_meta
    assert found.MediaStorageSOPClassUID == "1.2.1"
    assert found.MediaStorageSOPInstanceUID == "1.2.2"
    assert found.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert found.ImplementationVersionName == IMPLEMENTATION_VERSION_NAME
    assert (found.SourceApplicationEntityTitle, found.ReceivingApplicationEntityTitle) == ("A", "D")
    assert (found.SourcePresentationAddress, found.PrivateInformation) == ("10.0.0.1", b"{}")
    assert len(encode(meta)) == 128 + 4 + 12 + found.FileMetaInformationGroupLength


def test_the_preamble_is_zero_and_empty_options_are_left_out() -> None:
    data = encode(CT)
    assert data[:132] == bytes(128) + b"DICM"
    assert "PrivateInformation" not in dcmread(io.BytesIO(data)).file_meta


@pytest.mark.parametrize(
    "name", ["CT_small.dcm", "JPEG2000.dcm", "SC_rgb_rle.dcm", "image_dfl.dcm", "ExplVR_BigEnd.dcm"]
)
def test_other_writers_files_are_understood(name: str) -> None:
    path = Path(str(get_testdata_file(name)))
    expected = dcmread(path, stop_before_pixels=True)
    with path.open("rb") as file:
        meta, offset = read(file)
    assert meta.sop_instance_uid == expected.file_meta.MediaStorageSOPInstanceUID
    assert meta.transfer_syntax == expected.file_meta.TransferSyntaxUID
    assert offset == 128 + 4 + 12 + expected.file_meta.FileMetaInformationGroupLength


def test_the_whole_corpus_is_understood_and_survives_a_round_trip(corpus: Path) -> None:
    seen = 0
    for path in sorted(corpus.rglob("*.dcm")):
        with path.open("rb") as file:
            if file.read(132)[128:] != b"DICM" or b"\x02\x00\x10\x00UI" not in file.read(2000):
                continue
            meta, _ = read(file)
        assert read(io.BytesIO(encode(meta))) == (meta, len(encode(meta))), path.name
        seen += 1
    assert seen > 20


def test_a_group_without_its_length_ends_where_the_dataset_begins() -> None:
    head = bytes(128) + b"DICM" + SYNTAX
    file = Watched(head + b"\x08\0\x18\0UI\x02\x001\0")
    meta, offset = read(file)
    assert (meta.transfer_syntax, offset) == ("1.2.840.10008.1.2", len(head))
    assert file.furthest == len(head) + 4
    assert file.tell() == len(head)


def test_nothing_beyond_the_group_is_looked_at() -> None:
    head = encode(CT)
    file = Watched(head + bytes(100_000))
    read(file)
    assert file.furthest == len(head)


def test_a_deflated_dataset_that_looks_like_group_2_is_not_taken_for_it() -> None:
    head = encode(CT)
    assert read(io.BytesIO(head + b"\x02\0\xff\0UI\x02\x001\0"))[1] == len(head)


def test_elements_of_others_are_skipped() -> None:
    others = struct.pack("<HH2sHL", 2, 0x200, b"UN", 0, 4) + b"what"
    assert read(io.BytesIO(group(SYNTAX, short(0x13, b"SH", b"OTHER "), others)))[0].transfer_syntax


@pytest.mark.parametrize(
    ("data", "where"),
    [
        (b"", "offset 128"),
        (bytes(200), "offset 128"),
        (encode(CT)[:150], "offset"),
        (encode(CT)[:-1], "offset"),
        (group(SYNTAX, length=LIMIT_BYTES + 1), "too long"),
        (group(SYNTAX, length=0xFFFFFFFF), "too long"),
        (group(SYNTAX, length=len(SYNTAX) - 2), "offset 144"),
        (group(SYNTAX, length=len(SYNTAX) + 8) + b"\x08\0\x05\0CS\0\0", r"\(0008,0005\) at offset 170"),
        (group(SYNTAX, SYNTAX), r"follows \(0002,0010\)"),
        (group(short(0x12, b"UI", b"1\0"), SYNTAX), r"follows \(0002,0012\)"),
        (group(short(0x02, b"UI", b"1\0")), "Transfer Syntax"),
        (group(struct.pack("<HHL", 2, 0x10, 18) + b"1.2.840.10008.1.2\0"), "explicit VR"),
        (group(struct.pack("<HH2sHL", 2, 0x102, b"OB", 0, 0xFFFFFFFF)), "offset 144"),
        (bytes(128) + b"DICM" + short(0, b"US", b"\0\0") + SYNTAX, "group length"),
        (bytes(128) + b"DICM" + struct.pack("<HH2sHL", 2, 1, b"OB", 0, 70000) + bytes(70000), "offset 132"),
    ],
)
def test_lies_and_stumps_are_refused_with_the_place(data: bytes, where: str) -> None:
    with pytest.raises(Malformed, match=where):
        read(io.BytesIO(data))


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_garbage_behind_the_prefix_is_refused_or_read_never_anything_else(tail: bytes) -> None:
    file = Watched(bytes(128) + b"DICM" + tail)
    try:
        _, offset = read(file)
    except Malformed:
        return
    assert offset <= 132 + len(tail)


@pytest.mark.parametrize(
    "meta",
    [
        FileMeta("1" * 65535, "1", "1"),
        FileMeta("1", "1", "1", private_information=bytes(LIMIT_BYTES)),
        FileMeta("1", "1", "\ud800"),
    ],
)
def test_what_could_not_be_read_back_is_not_written(meta: FileMeta) -> None:
    with pytest.raises(Malformed):
        encode(meta)
