"""Implicit VR little endian is made of everything, and explicit VR of what no codec takes: proven, and nothing lost."""

import struct
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels import pixel_array
from pydicom.sequence import Sequence

from renditions import NATIVE, bundled, dataset_bytes, made, read, saved, target_of, transcode
from venturi.dataset import implicit as implicit_part
from venturi.dataset.scan import IMPLICIT_LE, scan
from venturi.dataset.syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, RLE_LOSSLESS
from venturi.errors import Malformed
from venturi.model import Outcome, Proof, Reason, Target
from venturi.transcode import recast as recast_part

IMPLICIT = Target(IMPLICIT_VR_LITTLE_ENDIAN)
IMAGES = (
    *(
        "CT_small.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_RLE.dcm",
        "image_dfl.dcm",
        "JPEGLSNearLossless_08.dcm",
    ),
    *(
        "MR_small_jp2klossless.dcm",
        "SC_rgb_rle_16bit_2frame.dcm",
        "SC_rgb_jpeg_dcmtk.dcm",
        "SC_rgb_small_odd.dcm",
    ),
    *(
        "SC_rgb_small_odd_jpeg.dcm",
        "examples_palette.dcm",
        "rtdose_rle.dcm",
        "liver_1frame.dcm",
    ),
)
UNCHANGED = {"PhotometricInterpretation", "PlanarConfiguration", "PixelData"}
"""But for these."""


@pytest.mark.parametrize("name", IMAGES)
def test_every_image_becomes_implicit_with_the_same_pixels(name: str, tmp_path: Path) -> None:
    source = bundled(name)
    outcome, output = made(source, IMPLICIT, tmp_path)
    before, after = pydicom.dcmread(source), pydicom.dcmread(output)
    assert after.file_meta.TransferSyntaxUID == IMPLICIT_VR_LITTLE_ENDIAN == outcome.transfer_syntax
    assert outcome.proof is Proof.PIXELS
    assert after.SOPInstanceUID == after.file_meta.MediaStorageSOPInstanceUID == before.SOPInstanceUID
    if before.BitsAllocated > 1:
        assert np.array_equal(pixel_array(before, raw=True), pixel_array(after, raw=True))
    elif before.file_meta.TransferSyntaxUID == EXPLICIT_VR_LITTLE_ENDIAN:
        assert before.PixelData == after.PixelData
    assert list(tmp_path.iterdir()) == [output], "something was left behind"


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_RLE.dcm", "SC_rgb_rle.dcm", "reportsi.dcm"])
def test_nothing_else_changes(name: str, tmp_path: Path) -> None:
    source = bundled(name)
    _, output = made(source, IMPLICIT, tmp_path)
    before, after = pydicom.dcmread(source), pydicom.dcmread(output)
    for dataset in (before, after):
        dataset.remove_private_tags()  # whose VRs are not written
    for element in before:
        if element.keyword not in UNCHANGED and element.tag.element:
            assert after[element.tag].value == element.value, element.tag
    assert {element.tag for element in after} <= {element.tag for element in before}


def test_converted_back_it_is_what_it_was(tmp_path: Path) -> None:
    source = bundled("MR_small.dcm")  # has neither group lengths nor undefined lengths
    _, output = made(source, IMPLICIT, tmp_path)
    (tmp_path / "back").mkdir()
    _, back = made(output, NATIVE, tmp_path / "back")
    assert dataset_bytes(back) == dataset_bytes(source)


def test_the_outcome_describes_the_file(tmp_path: Path) -> None:
    outcome, output = made(bundled("MR_small_RLE.dcm"), IMPLICIT, tmp_path)
    data = dataset_bytes(output)
    assert outcome.target == IMPLICIT
    assert outcome.size_bytes == len(data)
    assert outcome.pixel_bytes_after == 64 * 64 * 2
    assert outcome.frames == 1
    again, _ = made(bundled("MR_small_RLE.dcm"), IMPLICIT, tmp_path)
    assert again.sha256 == outcome.sha256


@pytest.mark.parametrize(
    ("name", "syntax"),
    [
        ("rtplan.dcm", EXPLICIT_VR_LITTLE_ENDIAN),
        ("reportsi.dcm", IMPLICIT_VR_LITTLE_ENDIAN),
        ("parametric_map_float.dcm", IMPLICIT_VR_LITTLE_ENDIAN),
        ("liver_1frame.dcm", IMPLICIT_VR_LITTLE_ENDIAN),
    ],
)
def test_what_has_no_pixels_for_codecs_goes_too(name: str, syntax: str, tmp_path: Path, corpus: Path) -> None:
    source = next(iter(corpus.rglob(name)), None) or bundled(name)
    outcome, output = made(source, Target(syntax), tmp_path)
    before, after = pydicom.dcmread(source), pydicom.dcmread(output)
    assert outcome.transfer_syntax == after.file_meta.TransferSyntaxUID == syntax
    for keyword in ("PixelData", "FloatPixelData", "RTPlanLabel", "ContentSequence", "BeamSequence"):
        assert before.get(keyword) == after.get(keyword)


def single_bit(folder: Path) -> Path:
    dataset = read("liver_1frame.dcm")
    dataset.file_meta.TransferSyntaxUID = IMPLICIT_VR_LITTLE_ENDIAN
    dataset.save_as(folder / "implicit.dcm", implicit_vr=True, little_endian=True)
    return folder / "implicit.dcm"


def test_pixels_that_no_codec_takes_become_explicit_untouched(tmp_path: Path) -> None:
    source = single_bit(tmp_path)
    outcome, output = made(source, NATIVE, tmp_path)
    after = pydicom.dcmread(output)
    assert after.file_meta.TransferSyntaxUID == EXPLICIT_VR_LITTLE_ENDIAN
    assert after.PixelData == pydicom.dcmread(source).PixelData
    assert outcome.pixel_bytes_after == len(after.PixelData)


def test_a_truncated_image_stays_as_truncated_as_it_is(tmp_path: Path) -> None:
    dataset = read("CT_small.dcm")
    dataset.PixelData = dataset.PixelData[:1000]
    _, output = made(saved(tmp_path, dataset), IMPLICIT, tmp_path)
    assert pydicom.dcmread(output).PixelData == dataset.PixelData


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("MR_small_implicit.dcm", Reason.SAME_SYNTAX),
        ("GDCMJ2K_TextGBR.dcm", Reason.FRAMES),
        ("liver_expb_1frame.dcm", Reason.SEGMENTATION_BITS),
    ],
)
def test_what_is_not_made_says_why(name: str, reason: Reason, tmp_path: Path) -> None:
    outcome, _ = transcode(bundled(name), IMPLICIT, tmp_path)
    assert outcome.reason is reason
    assert outcome.target == IMPLICIT
    assert not (tmp_path / "out.dcm").exists()


def signed(dataset: Dataset) -> None:
    dataset.DigitalSignaturesSequence = Sequence([Dataset()])


def lying(dataset: Dataset) -> None:
    dataset.add_new(0x00280030, "FD", [1.0, 1.0])  # Pixel Spacing is text


def compressed_icon(dataset: Dataset) -> None:
    icon = Dataset()
    icon.add_new(0x7FE00010, "OB", pydicom.encaps.encapsulate([b"\0" * 64]))
    icon["PixelData"].is_undefined_length = True
    dataset.IconImageSequence = Sequence([icon])


@pytest.mark.parametrize(
    ("change", "reason"),
    [(signed, Reason.SIGNED_OBJECT), (lying, Reason.MALFORMED), (compressed_icon, Reason.MALFORMED)],
)
def test_what_would_be_another_object_is_refused(change: object, reason: Reason, tmp_path: Path) -> None:
    dataset = read("CT_small.dcm")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        change(dataset)  # type: ignore[operator]  # a function
        outcome, _ = transcode(saved(tmp_path, dataset), IMPLICIT, tmp_path)
    assert outcome.reason is reason


def test_a_rule_may_ask_for_it(tmp_path: Path) -> None:
    assert target_of(tmp_path, "transfer_syntax: ImplicitVRLittleEndian") == IMPLICIT
    as_rgb = target_of(tmp_path, "transfer_syntax: ImplicitVRLittleEndian\nas_rgb: true")
    (tmp_path / "plain").mkdir()
    source = bundled("SC_rgb_dcmtk_+eb+cy+np.dcm")
    _, plain = made(source, IMPLICIT, tmp_path / "plain")
    _, output = made(source, as_rgb, tmp_path)
    assert pydicom.dcmread(plain).PhotometricInterpretation == "YBR_FULL"
    assert pydicom.dcmread(output).PhotometricInterpretation == "RGB"


def test_from_says_what_is_taken(tmp_path: Path) -> None:
    only_rle = target_of(tmp_path, "transfer_syntax: ImplicitVRLittleEndian\nfrom: RLELossless")
    assert dict(only_rle.parameters) == {"from": (RLE_LOSSLESS,)}
    assert made(bundled("MR_small_RLE.dcm"), only_rle, tmp_path)[0].transcoded
    assert transcode(bundled("CT_small.dcm"), only_rle, tmp_path)[0].reason is Reason.NOT_NATIVE
    assert transcode(bundled("reportsi.dcm"), only_rle, tmp_path)[0].reason is Reason.NO_PIXEL_DATA


@pytest.mark.parametrize("place", [20, 300, 2000, -3])
def test_a_wrong_byte_in_the_rendition_is_found(
    place: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoiled(path: Path) -> object:
        if path.name == "out.dcm":
            data = bytearray(path.read_bytes())
            offset = len(data) - len(dataset_bytes(path))
            where = place if place < 0 else offset + place
            data[where] ^= 1
            path.write_bytes(data)
        return open_dataset(path)

    open_dataset = recast_part.open_dataset
    monkeypatch.setattr(recast_part, "open_dataset", spoiled)
    outcome, _ = transcode(bundled("CT_small.dcm"), IMPLICIT, tmp_path)
    assert outcome.reason in (Reason.PROOF_FAILED, Reason.MALFORMED)


def test_memory_does_not_grow_with_the_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No piece that is written is longer than a chunk, however long a value is."""
    source = bundled("SC_rgb_rle_16bit_2frame.dcm")
    longest = []

    class Watching:
        def __init__(self, out: object) -> None:
            self._out = out

        def write(self, piece: bytes) -> int:
            longest.append(len(piece))
            return self._out.write(piece)  # type: ignore[attr-defined, no-any-return]

    real = implicit_part.implicit
    monkeypatch.setattr(implicit_part, "_CHUNK_BYTES", 4096)
    monkeypatch.setattr(recast_part, "implicit", lambda out, *rest: real(Watching(out), *rest))  # type: ignore[arg-type]
    outcome: Outcome = made(source, IMPLICIT, tmp_path)[0]
    assert max(longest) == 4096
    assert outcome.size_bytes > 50_000


def test_every_element_of_the_result_is_where_the_scan_finds_it(tmp_path: Path) -> None:
    _, output = made(bundled("CT_small.dcm"), IMPLICIT, tmp_path)
    data = dataset_bytes(output)
    found = list(scan(data, encoding=IMPLICIT_LE))
    assert found[0].start == 0
    assert found[-1].end == len(data)
    first = struct.unpack_from("<HHL", data)
    assert first == (0x0008, 0x0005, 10)


def test_what_cannot_be_scanned_leaves_nothing(tmp_path: Path) -> None:
    source = tmp_path / "cut.dcm"
    source.write_bytes(bundled("CT_small.dcm").read_bytes()[:5000])
    outcome, output = transcode(source, IMPLICIT, tmp_path)
    assert outcome.reason is Reason.MALFORMED
    assert not output.exists()
    with pytest.raises(Malformed):
        list(scan(dataset_bytes(source)))
