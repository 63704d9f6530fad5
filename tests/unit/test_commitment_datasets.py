"""Datasets of storage commitment: what is written is read back, pydicom reads the same, and garbage is Malformed."""

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from venturi.dataset.commitment import read_request, read_result, write_request, write_result
from venturi.dataset.syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from venturi.errors import Malformed
from venturi.model import CommitmentRequest, CommitmentResult, Reference

SYNTAXES = [EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN]
CT = "1.2.840.10008.5.1.4.1.1.2"

uids = st.lists(st.integers(0, 10**9), min_size=2, max_size=6).map(lambda parts: ".".join(map(str, parts)))
references = st.builds(Reference, uids, uids)
syntaxes = st.sampled_from(SYNTAXES)


@given(st.builds(CommitmentRequest, uids, st.lists(references, min_size=1).map(tuple)), syntaxes)
def test_a_request_is_read_as_it_was_written(request: CommitmentRequest, syntax: str) -> None:
    assert read_request(write_request(request, syntax), syntax) == request


@given(
    st.builds(
        CommitmentResult,
        uids,
        st.lists(references).map(tuple),
        st.lists(st.tuples(references, st.integers(0, 65535))).map(tuple),
    ),
    syntaxes,
)
def test_a_result_is_read_as_it_was_written(result: CommitmentResult, syntax: str) -> None:
    assert read_result(write_result(result, syntax), syntax) == result


@given(st.binary(max_size=300), syntaxes)
def test_garbage_is_malformed_or_read(data: bytes, syntax: str) -> None:
    for read in (read_request, read_result):
        try:
            read(data, syntax)
        except Malformed:
            continue


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_pydicom_reads_what_is_written(syntax: str) -> None:
    result = CommitmentResult("1.2.3", (Reference(CT, "1.2.4"),), ((Reference(CT, "1.2.5"), 0x0112),))
    ds = dcmread(BytesIO(write_result(result, syntax)), force=True)
    implicit = syntax == IMPLICIT_VR_LITTLE_ENDIAN
    assert ds.original_encoding[0] is implicit
    assert ds.TransactionUID == "1.2.3"
    assert ds.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "1.2.4"
    assert ds.FailedSOPSequence[0].ReferencedSOPInstanceUID == "1.2.5"
    assert ds.FailedSOPSequence[0].FailureReason == 0x0112


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize("undefined", [False, True])
def test_what_pydicom_writes_is_read(implicit: bool, undefined: bool) -> None:
    item, ds = Dataset(), Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CT, "1.2.4"
    item.is_undefined_length_sequence_item = undefined
    ds.TransactionUID = "1.2.3"
    ds.StorageMediaFileSetID = "MEDIA"
    ds.ReferencedSOPSequence = [item]
    ds["ReferencedSOPSequence"].is_undefined_length = undefined
    out = DicomBytesIO()
    out.is_little_endian, out.is_implicit_VR = True, implicit
    write_dataset(out, ds)
    request = read_request(out.getvalue(), SYNTAXES[implicit])
    assert request == CommitmentRequest("1.2.3", (Reference(CT, "1.2.4"),))


def test_what_is_missing_or_no_uid_is_malformed() -> None:
    good = write_request(CommitmentRequest("1.2.3", (Reference(CT, "1.2.4"),)), EXPLICIT_VR_LITTLE_ENDIAN)
    for bad in (
        good.replace(b"1.2.4", b"x.2.4"),
        good.replace(b"1.2.3", b"../.."),
        good[:14],  # no reference
        good[:-1],
        b"",
    ):
        with pytest.raises(Malformed):
            read_request(bad, EXPLICIT_VR_LITTLE_ENDIAN)


def test_a_failure_without_a_reason_is_a_processing_failure() -> None:
    result = CommitmentResult("1.2.3", (), ((Reference(CT, "1.2.5"), 0x0112),))
    data = write_result(result, IMPLICIT_VR_LITTLE_ENDIAN)
    cut = data.replace(
        b"\x08\x00\x97\x11\x02\x00\x00\x00\x12\x01", b"\x08\x00\x98\x11\x02\x00\x00\x00\x12\x01"
    )
    assert read_result(cut, IMPLICIT_VR_LITTLE_ENDIAN).failed == ((Reference(CT, "1.2.5"), 0x0110),)
