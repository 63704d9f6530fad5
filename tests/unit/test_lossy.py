"""A lossy rendition says what it lost, who it is and where it comes from; what may lose nothing does not."""

import hashlib
import math
import uuid
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from renditions import (
    bundled,
    changed,
    codestreams,
    dataset_bytes,
    elements,
    made,
    read,
    saved,
    stored,
    target_of,
    transcode,
)
from venturi.dataset import syntaxes
from venturi.dataset.scan import PIXEL_DATA, scan
from venturi.dataset.uids import valid_uid
from venturi.model import Outcome, Proof, Reason, Target

QUALITY = {
    "JPEGBaseline8Bit": "jpeg_quality: 80",
    "JPEGLSNearLossless": "jls_error: 3",
    "JPEG2000": "j2k_cr: [8]",
    "HTJ2K": "j2k_psnr: [50]",
}
METHOD = {
    "JPEGBaseline8Bit": "ISO_10918_1",
    "JPEGLSNearLossless": "ISO_14495_1",
    "JPEG2000": "ISO_15444_1",
    "HTJ2K": "ISO_15444_15",
}
SIBLING = {
    "JPEGBaseline8Bit": syntaxes.JPEG_LOSSLESS_SV1,
    "JPEGLSNearLossless": syntaxes.JPEG_LS_LOSSLESS,
    "JPEG2000": syntaxes.JPEG_2000_LOSSLESS,
    "HTJ2K": syntaxes.HTJ2K_LOSSLESS,
}
every_syntax = pytest.mark.parametrize("syntax", QUALITY)
WRITTEN = {0x00080008, 0x00080018, 0x00082111, 0x00082112, 0x00089215, 0x00282110, 0x00282112, 0x00282114}


def mr() -> Dataset:
    """A signed image of 16 bits."""
    return read("MR_small.dcm")


def us() -> Dataset:
    """A part of a picture in RGB."""
    dataset = read("examples_rgb_color.dcm")
    dataset.PixelData = dataset.pixel_array[100:228, 100:292].tobytes()
    dataset.Rows, dataset.Columns = 128, 192
    return dataset


def eight() -> Dataset:
    """Grey, unsigned, 8 bits."""
    dataset = mr()
    pixels = dataset.pixel_array
    dataset.PixelData = (pixels * 255 // pixels.max()).astype("u1").tobytes()
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    return dataset


def rule(syntax: str, lossy: str = "", more: str = "") -> str:
    bound = "" if "max_error" in lossy else "max_error: 65535"
    inside = ", ".join(filter(None, (bound, lossy)))
    return f"transfer_syntax: {syntax}\n{QUALITY[syntax]}\nlossy: {{{inside}}}\n{more}"


def lossy(dataset: Dataset, syntax: str, folder: Path, words: str = "") -> tuple[Outcome, Path, Path]:
    """The outcome, the source and the rendition."""
    source = saved(folder, dataset)
    outcome, output = made(source, target_of(folder, rule(syntax, words)), folder)
    assert outcome.lossy is not None
    return outcome, source, output


def decoded(path: Path) -> NDArray[np.int64]:
    """Stored values, by pydicom; JPEG baseline by imagecodecs, in the colours that were encoded."""
    if pydicom.dcmread(path).file_meta.TransferSyntaxUID == syntaxes.JPEG_BASELINE:
        return np.asarray(imagecodecs.jpeg8_decode(codestreams(path)[0])).astype(np.int64)
    return stored(path)


# --- what is written --------------------------------------------------------------------------------------------


@every_syntax
@pytest.mark.parametrize("make", [eight, us])
def test_everything_the_standard_asks_for_is_written_and_nothing_else(
    syntax: str, make: Callable[[], Dataset], tmp_path: Path
) -> None:
    dataset = make()
    for keyword in ("SmallestImagePixelValue", "LargestImagePixelValue"):
        dataset.add_new(keyword, "US", 1)
    _, source, output = lossy(dataset, syntax, tmp_path)
    before, after = pydicom.dcmread(source), pydicom.dcmread(output)
    assert changed(source, output) - {PIXEL_DATA, 0x00280004} == (WRITTEN | {0x00280106, 0x00280107}) - (
        {0x00080008} if before.ImageType[0] == "DERIVED" else set()
    )
    assert after.ImageType == ["DERIVED", *before.ImageType[1:]]
    assert after.LossyImageCompression == "01"
    assert after.LossyImageCompressionMethod == METHOD[syntax]
    assert after.SOPInstanceUID != before.SOPInstanceUID
    assert valid_uid(after.SOPInstanceUID)
    assert after.file_meta.MediaStorageSOPInstanceUID == after.SOPInstanceUID
    assert after.file_meta.MediaStorageSOPClassUID == before.SOPClassUID
    assert "SmallestImagePixelValue" not in after
    assert "LargestImagePixelValue" not in after
    (source_image,) = after.SourceImageSequence
    assert source_image.ReferencedSOPInstanceUID == before.SOPInstanceUID
    assert source_image.ReferencedSOPClassUID == before.SOPClassUID
    (purpose,) = source_image.PurposeOfReferenceCodeSequence
    assert (purpose.CodeValue, purpose.CodingSchemeDesignator) == ("121320", "DCM")
    assert purpose.CodeMeaning == "Uncompressed predecessor"
    (derivation,) = after.DerivationCodeSequence
    assert (derivation.CodeValue, derivation.CodingSchemeDesignator) == ("113040", "DCM")
    assert derivation.CodeMeaning == "Lossy Compression"
    assert syntax in after.DerivationDescription
    for word in QUALITY[syntax].replace("[", "").replace("]", "").split(": "):
        assert word in after.DerivationDescription


@pytest.mark.parametrize(
    ("syntax", "photometric"),
    [
        ("JPEGBaseline8Bit", "YBR_FULL_422"),
        ("JPEGLSNearLossless", "RGB"),
        ("JPEG2000", "YBR_ICT"),
        ("HTJ2K", "YBR_ICT"),
    ],
)
def test_colours_are_described_as_they_are_coded(syntax: str, photometric: str, tmp_path: Path) -> None:
    _, _, output = lossy(us(), syntax, tmp_path)
    result = pydicom.dcmread(output)
    assert (result.PhotometricInterpretation, result.PlanarConfiguration) == (photometric, 0)


@every_syntax
def test_the_uid_is_new_and_the_same_each_time(syntax: str, tmp_path: Path) -> None:
    outcome, source, output = lossy(eight(), syntax, tmp_path)
    first = output.read_bytes()
    again, _ = made(source, outcome.target, tmp_path)
    assert again == outcome
    assert output.read_bytes() == first, "no clock, no chance"
    assert outcome.lossy is not None
    uid = outcome.lossy.sop_instance_uid
    assert pydicom.dcmread(output).SOPInstanceUID == uid
    assert uuid.UUID(int=int(uid.removeprefix("2.25."))).version == 5
    assert hashlib.sha256(dataset_bytes(output)).hexdigest() == outcome.sha256


def test_another_target_or_other_bytes_under_one_uid_are_another_image(tmp_path: Path) -> None:
    dataset = eight()
    uids = {lossy(dataset, syntax, tmp_path)[0].lossy for syntax in QUALITY}
    uids.add(lossy(dataset, "JPEG2000", tmp_path, "max_error: 65534")[0].lossy)
    dataset.PatientComments = "other bytes"
    uids.add(lossy(dataset, "JPEG2000", tmp_path)[0].lossy)
    assert len({measured.sop_instance_uid for measured in uids if measured}) == 6


@every_syntax
def test_a_rule_may_keep_the_uid_and_then_it_is_not_its_own_source(syntax: str, tmp_path: Path) -> None:
    outcome, source, output = lossy(eight(), syntax, tmp_path, "uid: keep")
    uid = pydicom.dcmread(source).SOPInstanceUID
    result = pydicom.dcmread(output)
    assert outcome.lossy is not None
    assert result.SOPInstanceUID == result.file_meta.MediaStorageSOPInstanceUID == uid
    assert outcome.lossy.sop_instance_uid == uid
    assert "SourceImageSequence" not in result
    assert (result.LossyImageCompression, result.ImageType[0]) == ("01", "DERIVED")


def item(**attributes: str) -> Dataset:
    dataset = Dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


@pytest.mark.parametrize("undefined", [False, True])
def test_sources_and_derivations_that_are_there_stay_and_ours_come_last(
    undefined: bool, tmp_path: Path
) -> None:
    dataset = mr()
    older = item(ReferencedSOPClassUID="1.2", ReferencedSOPInstanceUID="1.2.3")
    older.PurposeOfReferenceCodeSequence = Sequence([item(CodeValue="121322", CodeMeaning="x")])
    dataset.SourceImageSequence = Sequence([older, older])
    dataset.DerivationCodeSequence = Sequence([item(CodeValue="113072", CodeMeaning="Multiplanar")])
    dataset.DerivationDescription = "Reformatted"
    for keyword in ("SourceImageSequence", "DerivationCodeSequence"):
        dataset[keyword].is_undefined_length = undefined
        for each in dataset[keyword].value:
            each.is_undefined_length_sequence_item = undefined
    _, source, output = lossy(dataset, "JPEG2000", tmp_path)
    before, after = pydicom.dcmread(source), pydicom.dcmread(output)
    assert list(after.SourceImageSequence)[:2] == list(before.SourceImageSequence)
    assert after.SourceImageSequence[2].ReferencedSOPInstanceUID == before.SOPInstanceUID
    assert [each.CodeValue for each in after.DerivationCodeSequence] == ["113072", "113040"]
    assert after.DerivationDescription.startswith("Reformatted; Lossy compression: JPEG2000")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (["ORIGINAL", "PRIMARY", "AXIAL"], ["DERIVED", "PRIMARY", "AXIAL"]),
        (["DERIVED", "SECONDARY"], ["DERIVED", "SECONDARY"]),
        (["ORIGINAL"], ["DERIVED", "PRIMARY"]),
        (None, ["DERIVED", "PRIMARY"]),
    ],
)
def test_image_type_says_derived(before: list[str] | None, after: list[str], tmp_path: Path) -> None:
    dataset = mr()
    dataset.ImageType = before
    if before is None:
        del dataset.ImageType
    _, _, output = lossy(dataset, "JPEG2000", tmp_path)
    assert pydicom.dcmread(output).ImageType == after


@pytest.mark.parametrize(("length", "kept"), [(900, True), (1020, False)])
def test_a_description_that_would_not_fit_its_vr_makes_room(length: int, kept: bool, tmp_path: Path) -> None:
    dataset = mr()
    dataset.DerivationDescription = "x" * length
    _, _, output = lossy(dataset, "JPEG2000", tmp_path)
    words = pydicom.dcmread(output).DerivationDescription
    assert words.startswith("x") is kept
    assert "Lossy compression: JPEG2000, j2k_cr 8" in words
    assert len(words) <= 1024


# --- what is measured -------------------------------------------------------------------------------------------


def signed_12() -> Dataset:
    dataset = mr()
    pixels = dataset.pixel_array.astype(np.int64)
    dataset.PixelData = (pixels * 4000 // pixels.max() - 2000).astype("<i2").tobytes()
    dataset.BitsStored, dataset.HighBit = 12, 11
    return dataset


def three_frames() -> Dataset:
    dataset = mr()
    pixels = dataset.pixel_array
    dataset.PixelData = np.stack([pixels, np.roll(pixels, 9, axis=0), pixels // 2]).tobytes()
    dataset.NumberOfFrames = 3
    return dataset


@pytest.mark.parametrize(
    ("syntax", "make"),
    [
        *((syntax, make) for syntax in QUALITY for make in (eight, us)),
        *((syntax, make) for syntax in list(QUALITY)[1:] for make in (mr, signed_12, three_frames)),
    ],
)
def test_error_psnr_and_ratio_are_those_that_others_reckon(
    syntax: str, make: Callable[[], Dataset], tmp_path: Path
) -> None:
    dataset = make()
    outcome, source, output = lossy(dataset, syntax, tmp_path)
    measured = outcome.lossy
    assert measured is not None
    assert outcome.proof is Proof.BOUND
    before, after = stored(source), decoded(output)
    error = np.abs(after - before)
    assert measured.max_error == error.max() > 0
    mean = np.mean(np.square(error.astype(np.float64)))
    psnr_db = 10 * math.log10((2**dataset.BitsStored - 1) ** 2 / mean)
    assert measured.psnr_db == pytest.approx(psnr_db, abs=0.006)
    pixel_data = next(e for e in scan(dataset_bytes(output)) if e.tag == PIXEL_DATA)
    encoded = pixel_data.end - pixel_data.value
    native = before.size * dataset.BitsAllocated // 8
    assert outcome.pixel_bytes_after == encoded
    assert measured.ratio == pytest.approx(native / encoded)
    written = pydicom.dcmread(output).LossyImageCompressionRatio
    assert str(written) == f"{native / encoded:.3f}"


def test_the_ratio_is_written_in_the_sixteen_bytes_of_a_decimal_string(tmp_path: Path) -> None:
    _, _, output = lossy(mr(), "JPEG2000", tmp_path)
    element = elements(output)[0x00282112]
    assert element[4:8] == b"DS\x10\x00"
    assert float(element[8:].decode()) > 1


@every_syntax
def test_the_bound_is_exact(syntax: str, tmp_path: Path) -> None:
    outcome, source, _ = lossy(eight(), syntax, tmp_path)
    assert outcome.lossy is not None
    error = outcome.lossy.max_error
    for bound, reached in ((error, True), (error + 0.5, True), (error - 0.5, False), (error - 1, False)):
        if syntax == "JPEGLSNearLossless" and bound < 3:
            continue  # such a rule is refused at load: NEAR itself is beyond it
        target = target_of(tmp_path, rule(syntax, f"max_error: {bound}, beyond: as-received"))
        outcome, _ = transcode(source, target, tmp_path)
        assert outcome.reason is (None if reached else Reason.ERROR_BOUND), (bound, outcome.detail)


@every_syntax
@pytest.mark.parametrize("make", [eight, us])
def test_beyond_the_bound_it_is_made_without_loss_or_kept_or_held(
    syntax: str, make: Callable[[], Dataset], tmp_path: Path
) -> None:
    source = saved(tmp_path, make())
    tight = "max_error: 0" if syntax != "JPEGLSNearLossless" else ""
    target = target_of(tmp_path, rule(syntax, tight))
    if not tight:  # NEAR is kept; so let the rule's bound be less than the target says
        parameters = dict(target.parameters) | {"lossy_max_error": 0.0}
        target = Target(target.transfer_syntax, tuple(sorted(parameters.items())))
    outcome, output = made(source, target, tmp_path)
    assert (outcome.transfer_syntax, outcome.proof) == (SIBLING[syntax], Proof.PIXELS)
    assert (outcome.lossy, outcome.hold) == (None, False)
    assert "error-beyond-bound" in outcome.detail
    assert np.array_equal(stored(output), stored(source))
    assert not changed(source, output) & WRITTEN
    for beyond in ("as-received", "hold"):
        parameters = dict(target.parameters) | {"lossy_beyond": beyond}
        other = Target(target.transfer_syntax, tuple(sorted(parameters.items())))
        outcome, _ = transcode(source, other, tmp_path)
        assert (outcome.reason, outcome.hold) == (Reason.ERROR_BOUND, beyond == "hold")


def test_several_quality_layers_are_made(tmp_path: Path) -> None:
    source = saved(tmp_path, mr())
    words = "transfer_syntax: JPEG2000\nj2k_cr: [20, 10, 4]\nlossy: {max_error: 65535}"
    outcome, output = made(source, target_of(tmp_path, words), tmp_path)
    codestream = codestreams(output)[0]
    place = codestream.index(b"\xff\x52")  # COD: Lcod, Scod, progression, layers (ISO/IEC 15444-1 A.6.1)
    assert int.from_bytes(codestream[place + 6 : place + 8], "big") == 3
    assert outcome.lossy is not None
    assert "j2k_cr 20.0/10.0/4.0" in pydicom.dcmread(output).DerivationDescription


# --- what may lose nothing --------------------------------------------------------------------------------------

STORAGE = "1.2.840.10008.5.1.4.1.1."


def kind(uid: str, modality: str = "MR") -> Callable[[Dataset], None]:
    def change(dataset: Dataset) -> None:
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = uid
        dataset.Modality = modality

    return change


def of(**attributes: object) -> Callable[[Dataset], None]:
    def change(dataset: Dataset) -> None:
        for keyword, value in attributes.items():
            setattr(dataset, keyword, value)

    return change


def palette(dataset: Dataset) -> None:
    dataset.PhotometricInterpretation = "PALETTE COLOR"


def supplemental_palette(dataset: Dataset) -> None:
    """Grey, but for the highest values, which are colours."""
    for tag in (0x00281101, 0x00281102, 0x00281103):
        dataset.add_new(tag, "US", [16, 240, 16])


def derived_lossy(dataset: Dataset) -> None:
    code = item(CodeValue="113040", CodingSchemeDesignator="DCM", CodeMeaning="Lossy Compression")
    dataset.DerivationCodeSequence = Sequence([code])


def padded(dataset: Dataset) -> None:
    dataset.add_new(0x00280120, "US", 0)


def embedded_overlay(dataset: Dataset) -> None:
    dataset.add_new(0x60020010, "US", 64)
    dataset.add_new(0x60020100, "US", 16)
    dataset.add_new(0x60020102, "US", 12)


def separate_overlay(dataset: Dataset) -> None:
    dataset.add_new(0x60020010, "US", 64)
    dataset.add_new(0x60023000, "OW", bytes(512))


def small_letters(dataset: Dataset) -> None:
    dataset[0x00080060] = RawDataElement(Tag(0x00080060), "CS", 2, b"pt", 0, False, True)


def unreadable_sources(dataset: Dataset) -> None:
    value = b"\xfe\xff\x00\xe0\x00\x00\x00\x00"  # an empty item, in an element that says UN
    dataset[0x00082112] = RawDataElement(Tag(0x00082112), "UN", len(value), value, 0, False, True)


def meta_says_otherwise(dataset: Dataset) -> None:
    dataset.SOPClassUID = f"{STORAGE}66.4"


def only_meta_says_so(dataset: Dataset) -> None:
    dataset.file_meta.MediaStorageSOPClassUID = f"{STORAGE}66.4"


NEVER = {
    "segmentation": kind(f"{STORAGE}66.4"),
    "label map": kind(f"{STORAGE}66.7"),
    "dose": kind(f"{STORAGE}481.2"),
    "parametric map": kind(f"{STORAGE}30"),
    "PET": kind(f"{STORAGE}128"),
    "enhanced PET": kind(f"{STORAGE}130"),
    "converted PET": kind(f"{STORAGE}128.1"),
    "NM": kind(f"{STORAGE}20"),
    "SEG by modality": of(Modality="SEG"),
    "RTDOSE by modality": of(Modality="RTDOSE"),
    "PT by modality": of(Modality="PT"),
    "NM by modality": of(Modality="NM"),
    "PT among several": of(Modality=["CT", "PT"]),
    "PT in small letters": small_letters,
    "segmentation by the dataset alone": meta_says_otherwise,
    "segmentation by the file meta group alone": only_meta_says_so,
    "palette": palette,
    "palette for some values": supplemental_palette,
    "padding": padded,
    "overlay in the pixels": embedded_overlay,
    "lossy before": of(LossyImageCompression="01"),
    "lossy before, in a word of its own": of(LossyImageCompression="YES"),
    "lossy before, for some of it": of(LossyImageCompression=["00", "01"]),
    "lossy before, by its derivation alone": derived_lossy,
    "lossy ratio": of(LossyImageCompressionRatio="10"),
    "lossy method": of(LossyImageCompressionMethod="ISO_15444_1"),
    "source sequence that can't be appended to": unreadable_sources,
}
MAMMOGRAPHY = {
    "MG": of(Modality="MG"),
    "MG among several": of(Modality=["MG", "CR"]),
    **{end: kind(f"{STORAGE}{end}") for end in ("1.2", "1.2.1", "13.1.3", "13.1.4", "13.1.5")},
}


@every_syntax
@pytest.mark.parametrize("why", [*NEVER, *MAMMOGRAPHY])
def test_what_may_lose_nothing_is_made_without_loss(syntax: str, why: str, tmp_path: Path) -> None:
    dataset = eight()
    (NEVER | MAMMOGRAPHY)[why](dataset)
    source = saved(tmp_path, dataset)
    outcome, output = made(source, target_of(tmp_path, rule(syntax)), tmp_path)
    assert (outcome.transfer_syntax, outcome.lossy) == (SIBLING[syntax], None)
    assert "never-lossy" in outcome.detail
    assert np.array_equal(stored(output), stored(source))
    assert not changed(source, output) & WRITTEN


@pytest.mark.parametrize("why", [*NEVER, *MAMMOGRAPHY])
@pytest.mark.parametrize("beyond", ["as-received", "hold"])
def test_or_it_goes_on_as_received_or_waits(why: str, beyond: str, tmp_path: Path) -> None:
    dataset = eight()
    (NEVER | MAMMOGRAPHY)[why](dataset)
    target = target_of(tmp_path, rule("JPEG2000", f"beyond: {beyond}"))
    outcome, _ = transcode(saved(tmp_path, dataset), target, tmp_path)
    assert (outcome.reason, outcome.hold) == (Reason.NEVER_LOSSY, beyond == "hold")


@pytest.mark.parametrize("why", MAMMOGRAPHY)
def test_mammography_is_lossy_where_the_rule_names_it(why: str, tmp_path: Path) -> None:
    dataset = eight()
    MAMMOGRAPHY[why](dataset)
    assert lossy(dataset, "JPEG2000", tmp_path, "also: [MG]")[0].transcoded


@pytest.mark.parametrize("why", NEVER)
def test_and_that_name_frees_nothing_else(why: str, tmp_path: Path) -> None:
    dataset = eight()
    NEVER[why](dataset)
    target = target_of(tmp_path, rule("JPEG2000", "also: [MG], beyond: hold"))
    outcome, _ = transcode(saved(tmp_path, dataset), target, tmp_path)
    assert outcome.reason is Reason.NEVER_LOSSY


@pytest.mark.parametrize(
    "change", [separate_overlay, of(LossyImageCompression="00"), of(LossyImageCompressionRatio="")]
)
def test_what_looks_like_it_and_is_not_is_made(change: Callable[[Dataset], None], tmp_path: Path) -> None:
    dataset = eight()
    change(dataset)
    assert lossy(dataset, "JPEG2000", tmp_path)[0].transcoded


@every_syntax
def test_lossy_input_is_not_made_lossy_again(syntax: str, tmp_path: Path) -> None:
    target = target_of(tmp_path, rule(syntax, more="from: lossless"))
    for name in ("JPEGLSNearLossless_08.dcm", "SC_rgb_jpeg_dcmtk.dcm", "693_J2KI.dcm"):
        outcome, _ = transcode(bundled(name), target, tmp_path)
        same = outcome.transfer_syntax == target.transfer_syntax
        assert outcome.reason is (Reason.SAME_SYNTAX if same else Reason.LOSSY_INPUT)


def test_lossless_input_is_made_lossy_where_the_rule_takes_it(tmp_path: Path) -> None:
    words = rule("JPEG2000", more="from: lossless")
    outcome, output = made(bundled("MR_small_RLE.dcm"), target_of(tmp_path, words), tmp_path)
    assert outcome.lossy is not None
    error = np.abs(stored(output) - stored(bundled("MR_small_RLE.dcm")))
    assert error.max() == outcome.lossy.max_error
    native = stored(output).size * 2
    assert outcome.lossy.ratio == pytest.approx(native / outcome.pixel_bytes_after)
