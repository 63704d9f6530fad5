"""Decompression gives the pixels that were coded, described as they are now, and changes nothing else."""

import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate_extended
from pydicom.pixels import convert_color_space
from pydicom.sequence import Sequence

from renditions import (
    NATIVE,
    bundled,
    changed,
    codestreams,
    elements,
    encapsulated,
    made,
    read,
    saved,
    stored,
    target_of,
    transcode,
)
from venturi.dataset import syntaxes
from venturi.dataset.scan import PIXEL_DATA
from venturi.model import Proof, Reason, Target
from venturi.transcode.codecs import Registry, registry
from venturi.transcode.codecs.contract import Decoder
from venturi.transcode.engine import Engine
from venturi.transcode.image import Image

OF_THE_PIXELS = {PIXEL_DATA, 0x00280004, 0x00280006, 0x00280000, 0x7FE00000}  # and lengths of groups
EXPLICIT_INPUT = (
    *("MR_small_RLE.dcm", "SC_rgb_rle.dcm", "SC_rgb_rle_16bit_2frame.dcm", "SC_rgb_rle_32bit_2frame.dcm"),
    *("rtdose_rle.dcm", "MR_small_jpeg_ls_lossless.dcm", "JPEGLSNearLossless_08.dcm"),
    *("JPEGLSNearLossless_16.dcm", "SC_rgb_jls_lossy_line.dcm", "SC_rgb_jls_lossy_sample.dcm"),
    *("MR_small_jp2klossless.dcm", "J2K_pixelrep_mismatch.dcm", "examples_jpeg2k.dcm", "693_J2KI.dcm"),
    *("JPEG2000.dcm", "SC_rgb_gdcm_KY.dcm"),
)
CONVERTED_INPUT = (
    *(
        "MR_small_implicit.dcm",
        "MR_small_bigendian.dcm",
        "ExplVR_BigEnd.dcm",
        "SC_rgb_small_odd_big_endian.dcm",
    ),
    "rtdose.dcm",
)
JPEG_INPUT = (
    *("JPGExtended.dcm", "SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_dcmtk_+eb+cr.dcm", "SC_rgb_dcmtk_+eb+cy+np.dcm"),
    *("SC_rgb_dcmtk_+eb+cy+s2.dcm", "SC_rgb_small_odd_jpeg.dcm", "SC_jpeg_no_color_transform.dcm"),
    *("SC_rgb_jpeg_gdcm.dcm", "examples_ybr_color.dcm"),
)


def ct(frames: int = 1) -> Dataset:
    dataset = read("CT_small.dcm")
    if frames > 1:
        rolled = [np.roll(dataset.pixel_array, 8 * step, axis=0) for step in range(frames)]
        dataset.NumberOfFrames, dataset.PixelData = frames, np.stack(rolled).tobytes()
    return dataset


def rgb() -> Dataset:
    return read("examples_rgb_color.dcm")


def coded(dataset: Dataset, syntax: str, folder: Path, *parameters: tuple[str, Any]) -> Path:
    """The dataset in a compressed syntax, as the engine makes it."""
    (folder / "coded").mkdir(exist_ok=True)
    lossy = syntaxes.lookup(syntax).lossy
    bound = (("lossy_also", ("MG",)), ("lossy_beyond", "hold"), ("lossy_max_error", 1e6)) if lossy else ()
    target = Target(syntax, tuple(sorted((*parameters, *bound))))
    return made(saved(folder, dataset), target, folder / "coded")[1]


# --- the pixels -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*EXPLICIT_INPUT, *CONVERTED_INPUT])
def test_every_value_is_what_pydicom_decodes(name: str, tmp_path: Path) -> None:
    outcome, output = made(bundled(name), NATIVE, tmp_path)
    assert np.array_equal(stored(output), stored(bundled(name)))
    assert (outcome.proof, outcome.lossy) == (Proof.PIXELS, None)


@pytest.mark.parametrize("name", JPEG_INPUT)
def test_jpeg_differs_by_one_at_most_from_what_another_idct_gives(name: str, tmp_path: Path) -> None:
    pytest.importorskip("libjpeg", reason="pydicom decodes JPEG by pylibjpeg-libjpeg")
    _, output = made(bundled(name), NATIVE, tmp_path)
    apart = np.abs(stored(output) - stored(bundled(name)))
    assert apart.max() <= (0 if name == "SC_rgb_jpeg_gdcm.dcm" else 1)  # that one is lossless


def test_a_deflated_dataset_is_inflated(tmp_path: Path) -> None:
    _, output = made(bundled("image_dfl.dcm"), NATIVE, tmp_path)
    assert np.array_equal(stored(output), read("image_dfl.dcm").pixel_array)


@pytest.mark.parametrize("syntax", [syntaxes.RLE_LOSSLESS, syntaxes.JPEG_LS_LOSSLESS])
def test_frames_of_odd_length_follow_each_other_without_padding(syntax: str, tmp_path: Path) -> None:
    dataset = read("SC_rgb_small_odd.dcm")
    frame = dataset.pixel_array
    dataset.NumberOfFrames = 3
    native = b"".join((frame ^ step).tobytes() for step in range(3))
    dataset.PixelData = native + b"\0"
    assert len(native) == 81
    outcome, output = made(coded(dataset, syntax, tmp_path), NATIVE, tmp_path)
    assert pydicom.dcmread(output).PixelData == native + b"\0"
    assert outcome.frames == 3


@pytest.mark.parametrize("vr", ["OW", "OB"])
@pytest.mark.parametrize("frames", [1, 3])
def test_big_endian_bytes_are_swapped_where_they_are_words(vr: str, frames: int, tmp_path: Path) -> None:
    native = np.random.default_rng(1).integers(0, 256, 9 * frames).astype("u1").tobytes()
    padded = native + bytes(len(native) % 2)
    dataset = read("CT_small.dcm")
    dataset.Rows = dataset.Columns = 3
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.NumberOfFrames = frames
    for tag in (0x00280120, 0x7FE00010, 0xFFFCFFFC):
        dataset.pop(tag, None)
    dataset.file_meta.TransferSyntaxUID = syntaxes.EXPLICIT_VR_BIG_ENDIAN
    source = tmp_path / "source.dcm"
    pydicom.dcmwrite(source, dataset, implicit_vr=False, little_endian=False)
    as_written = padded if vr == "OB" else np.frombuffer(padded, ">u2").astype("<u2").tobytes()
    with source.open("ab") as file:  # what pydicom would not write so
        file.write(struct.pack(">HH2sHL", 0x7FE0, 0x0010, vr.encode(), 0, len(padded)) + as_written)
    _, output = made(source, NATIVE, tmp_path)
    result = pydicom.dcmread(output)
    assert (result.PixelData, result["PixelData"].VR) == (padded, "OB")


# --- their description ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXPLICIT_INPUT)
def test_only_what_describes_the_pixels_changes(name: str, tmp_path: Path) -> None:
    _, output = made(bundled(name), NATIVE, tmp_path)
    assert changed(bundled(name), output) <= OF_THE_PIXELS
    result = pydicom.dcmread(output)
    vr = "OB" if result.BitsAllocated == 8 else "OW"
    assert (result["PixelData"].VR, result["PixelData"].is_undefined_length) == (vr, False)
    assert result.file_meta.TransferSyntaxUID == syntaxes.EXPLICIT_VR_LITTLE_ENDIAN
    assert result.file_meta.MediaStorageSOPInstanceUID == read(name).file_meta.MediaStorageSOPInstanceUID


@pytest.mark.parametrize(
    ("syntax", "before", "parameters"),
    [
        (syntaxes.JPEG_2000_LOSSLESS, "YBR_RCT", ()),
        (syntaxes.HTJ2K_LOSSLESS, "YBR_RCT", ()),
        (syntaxes.JPEG_2000_LOSSLESS, "RGB", (("use_mct", False),)),
        (syntaxes.JPEG_2000, "YBR_ICT", (("j2k_cr", (10.0,)),)),
        (syntaxes.HTJ2K, "YBR_ICT", (("j2k_psnr", (40.0,)),)),
    ],
)
def test_a_component_transform_is_undone_and_the_colours_are_rgb_again(
    syntax: str, before: str, parameters: tuple[tuple[str, Any], ...], tmp_path: Path
) -> None:
    source = coded(rgb(), syntax, tmp_path, *parameters)
    assert pydicom.dcmread(source).PhotometricInterpretation == before
    _, output = made(source, NATIVE, tmp_path)
    assert pydicom.dcmread(output).PhotometricInterpretation == "RGB"
    assert np.array_equal(stored(output), stored(source))


@pytest.mark.parametrize("syntax", [syntaxes.RLE_LOSSLESS, syntaxes.JPEG_LS_LOSSLESS])
@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
@pytest.mark.parametrize("planar", [0, 1])
def test_planar_configuration_says_how_the_bytes_are_laid_out(
    syntax: str, photometric: str, planar: int, tmp_path: Path
) -> None:
    dataset = rgb()
    pixels = dataset.pixel_array
    dataset.PhotometricInterpretation, dataset.PlanarConfiguration = photometric, planar
    dataset.PixelData = (pixels.transpose(2, 0, 1) if planar else pixels).tobytes()
    _, output = made(coded(dataset, syntax, tmp_path), NATIVE, tmp_path)
    result = pydicom.dcmread(output)
    laid_out = pixels.transpose(2, 0, 1) if result.PlanarConfiguration else pixels
    assert result.PixelData == laid_out.tobytes()
    assert result.PhotometricInterpretation == photometric


def test_subsampled_jpeg_becomes_ybr_full_and_keeps_its_components(tmp_path: Path) -> None:
    _, output = made(bundled("SC_rgb_dcmtk_+eb+cy+s2.dcm"), NATIVE, tmp_path)
    assert read("SC_rgb_dcmtk_+eb+cy+s2.dcm").PhotometricInterpretation == "YBR_FULL_422"
    result = pydicom.dcmread(output)
    assert result.PhotometricInterpretation == "YBR_FULL"
    assert len(result.PixelData) == result.Rows * result.Columns * 3


def test_as_rgb_gives_what_pydicom_converts_to_but_for_rounding(tmp_path: Path) -> None:
    noise = np.random.default_rng(2).integers(0, 256, (64, 64, 3)).astype("u1")
    for name, frame in (("picture", rgb().pixel_array), ("every colour", noise)):
        dataset = rgb()
        ybr = convert_color_space(frame, "RGB", "YBR_FULL") if name == "picture" else frame
        dataset.Rows, dataset.Columns = ybr.shape[:2]
        dataset.PhotometricInterpretation, dataset.PixelData = "YBR_FULL", ybr.tobytes()
        source = coded(dataset, syntaxes.JPEG_2000_LOSSLESS, tmp_path)
        rule = "transfer_syntax: ExplicitVRLittleEndian\nas_rgb: true"
        _, output = made(source, target_of(tmp_path, rule), tmp_path)
        apart = np.abs(stored(output) - convert_color_space(ybr, "YBR_FULL", "RGB").astype(np.int64))
        # pydicom's matrix has four digits; that of PS3.3 C.7.6.3.1.2, inverted, decides a few roundings otherwise.
        assert apart.max() <= 1
        assert np.mean(apart > 0) < 0.001
        assert pydicom.dcmread(output).PhotometricInterpretation == "RGB"
        _, output = made(source, NATIVE, tmp_path)
        assert np.array_equal(stored(output), ybr)
        assert pydicom.dcmread(output).PhotometricInterpretation == "YBR_FULL"


def test_as_rgb_also_turns_what_is_native_already(tmp_path: Path) -> None:
    target = target_of(tmp_path, "transfer_syntax: ExplicitVRLittleEndian\nas_rgb: true")
    dataset = rgb()
    outcome, _ = transcode(saved(tmp_path, dataset), target, tmp_path)
    assert outcome.reason is Reason.SAME_SYNTAX
    ybr = convert_color_space(dataset.pixel_array, "RGB", "YBR_FULL")
    dataset.PixelData, dataset.PhotometricInterpretation = ybr.tobytes(), "YBR_FULL"
    _, output = made(saved(tmp_path, dataset), target, tmp_path)
    result = pydicom.dcmread(output)
    assert result.PhotometricInterpretation == "RGB"
    wanted = convert_color_space(ybr, "YBR_FULL", "RGB").astype(int)
    assert int(np.abs(stored(output) - wanted).max()) <= 1


def test_as_rgb_leaves_grey_and_rgb_as_they_are(tmp_path: Path) -> None:
    target = target_of(tmp_path, "transfer_syntax: ExplicitVRLittleEndian\nas_rgb: true")
    for name in ("MR_small_RLE.dcm", "examples_jpeg2k.dcm"):
        _, output = made(bundled(name), target, tmp_path)
        assert np.array_equal(stored(output), stored(bundled(name)))


def test_offset_tables_are_removed(tmp_path: Path) -> None:
    source = coded(ct(3), syntaxes.JPEG_LS_LOSSLESS, tmp_path, ("offset_table", "extended"))
    assert {0x7FE00001, 0x7FE00002} <= elements(source).keys()
    _, output = made(source, NATIVE, tmp_path)
    assert changed(source, output) == {PIXEL_DATA, 0x7FE00001, 0x7FE00002}
    assert not {0x7FE00001, 0x7FE00002} & elements(output).keys()


@pytest.mark.parametrize("name", ["693_J2KI.dcm", "SC_rgb_gdcm_KY.dcm"])
def test_an_image_that_lost_something_stays_marked(name: str, tmp_path: Path) -> None:
    _, output = made(bundled(name), NATIVE, tmp_path)
    before, after = read(name), pydicom.dcmread(output)
    assert after.LossyImageCompression == "01"
    assert after.SOPInstanceUID == before.SOPInstanceUID
    for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod", "ImageType"):
        assert after.get(keyword) == before.get(keyword)


# --- headers that must be converted -----------------------------------------------------------------------------


def with_private_and_nested(dataset: Dataset) -> Dataset:
    """Everything a header can hold that is hard to convert."""
    block = dataset.private_block(0x0029, "VENTURI TEST", create=True)
    block.add_new(0x01, "LO", "text of a private element")
    block.add_new(0x02, "OB", bytes(range(7)) + b"\0")
    inner = Dataset()
    inner.ReferencedSOPInstanceUID = "1.2.3.4"
    inner.Rows = 258
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = Sequence([inner, Dataset()])
    item.CodeMeaning = "nested"
    dataset.ReferencedImageSequence = Sequence([item, item])
    dataset.add_new(0x00280121, "SS", -2000)
    return dataset


@pytest.mark.parametrize("syntax", [syntaxes.IMPLICIT_VR_LITTLE_ENDIAN, syntaxes.EXPLICIT_VR_BIG_ENDIAN])
@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("target", [NATIVE, Target(syntaxes.JPEG_LS_LOSSLESS)])
def test_a_converted_header_says_the_same(
    syntax: str, undefined: bool, target: Target, tmp_path: Path
) -> None:
    dataset = with_private_and_nested(ct())
    dataset["ReferencedImageSequence"].is_undefined_length = undefined
    if syntax == syntaxes.EXPLICIT_VR_BIG_ENDIAN:
        dataset.PixelData = dataset.pixel_array.astype(">i2").tobytes()
    dataset.file_meta.TransferSyntaxUID = syntax
    source = tmp_path / "source.dcm"
    implicit = syntax == syntaxes.IMPLICIT_VR_LITTLE_ENDIAN
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pydicom.dcmwrite(source, dataset, implicit_vr=implicit, little_endian=implicit)
    _, output = made(source, target, tmp_path)
    before, after = pydicom.dcmread(source), pydicom.dcmread(output)
    tags = [element.tag for element in before]
    assert tags == [element.tag for element in after]
    for tag in tags:
        if tag != PIXEL_DATA:
            assert before[tag] == after[tag]
    assert np.array_equal(stored(output), stored(bundled("CT_small.dcm")))


@pytest.mark.filterwarnings("ignore:The value length")
def test_a_text_too_long_for_its_vr_becomes_un_with_the_same_bytes(tmp_path: Path) -> None:
    dataset = ct()
    dataset.add_new(0x00104000, "LT", "x" * 70_000)
    dataset.file_meta.TransferSyntaxUID = syntaxes.IMPLICIT_VR_LITTLE_ENDIAN
    source = tmp_path / "source.dcm"
    pydicom.dcmwrite(source, dataset, implicit_vr=True, little_endian=True)
    _, output = made(source, NATIVE, tmp_path)
    assert (
        elements(output)[0x00104000] == struct.pack("<HH2sHL", 0x10, 0x4000, b"UN", 0, 70_000) + b"x" * 70_000
    )


# --- what can't be told, or does not agree ----------------------------------------------------------------------


def header(**attributes: object) -> Callable[[Dataset], None]:
    def change(dataset: Dataset) -> None:
        for keyword, value in attributes.items():
            setattr(dataset, keyword, value)

    return change


def jpeg(name: str) -> Callable[[Path], Path]:
    return lambda folder: bundled(name)


def engine_made(make: Callable[[], Dataset], syntax: str) -> Callable[[Path], Path]:
    return lambda folder: coded(make(), syntax, folder)


GREY_J2K = engine_made(ct, syntaxes.JPEG_2000_LOSSLESS)
GREY_JLS = engine_made(ct, syntaxes.JPEG_LS_LOSSLESS)
GREY_SV1 = engine_made(ct, syntaxes.JPEG_LOSSLESS_SV1)
GREY_HTJ2K = engine_made(ct, syntaxes.HTJ2K_LOSSLESS)
RGB_J2K = engine_made(rgb, syntaxes.JPEG_2000_LOSSLESS)


@pytest.mark.parametrize(
    ("source", "change"),
    [
        *((kind, header(Rows=64)) for kind in (GREY_J2K, GREY_JLS, GREY_SV1, GREY_HTJ2K)),
        *((kind, header(Columns=129)) for kind in (GREY_J2K, GREY_JLS, GREY_SV1, GREY_HTJ2K)),
        (GREY_J2K, header(PixelRepresentation=0)),
        (GREY_J2K, header(BitsAllocated=8, BitsStored=8, HighBit=7)),
        (GREY_JLS, header(BitsAllocated=8, BitsStored=8, HighBit=7, PixelRepresentation=0)),
        (GREY_J2K, header(SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0)),
        (RGB_J2K, header(SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2")),
        (RGB_J2K, header(PhotometricInterpretation="YBR_ICT")),
        (RGB_J2K, header(PhotometricInterpretation="YBR_FULL")),
        (engine_made(rgb, syntaxes.JPEG_LS_LOSSLESS), header(PhotometricInterpretation="YBR_RCT")),
        (jpeg("SC_rgb_jpeg_dcmtk.dcm"), header(PhotometricInterpretation="RGB")),  # JFIF says YBR
        (jpeg("SC_rgb_jpeg_app14_dcmd.dcm"), header(PhotometricInterpretation="YBR_FULL")),  # Adobe says RGB
        (jpeg("MR_small_RLE.dcm"), header(BitsAllocated=8, BitsStored=8, HighBit=7)),
    ],
)
@pytest.mark.parametrize("target", [NATIVE, Target(syntaxes.JPEG_2000_LOSSLESS, (("from", ("lossless",)),))])
def test_a_header_that_its_codestream_denies_is_not_believed(
    source: Callable[[Path], Path], change: Callable[[Dataset], None], target: Target, tmp_path: Path
) -> None:
    dataset = pydicom.dcmread(source(tmp_path))
    change(dataset)
    syntax = dataset.file_meta.TransferSyntaxUID
    outcome, _ = transcode(saved(tmp_path, dataset), target, tmp_path)
    if target.transfer_syntax != NATIVE.transfer_syntax and syntaxes.lookup(syntax).lossy:
        assert outcome.reason is Reason.LOSSY_INPUT
    elif target.transfer_syntax == syntax:
        assert outcome.reason is Reason.SAME_SYNTAX
    else:
        assert outcome.reason is Reason.CODESTREAM, outcome.detail


def test_a_frame_that_is_coded_in_another_way_than_the_first_is_refused(tmp_path: Path) -> None:
    grey = ct()
    grey.BitsStored, grey.HighBit, grey.PixelRepresentation = 12, 11, 0
    first = codestreams(coded(grey, syntaxes.JPEG_2000_LOSSLESS, tmp_path))
    grey.BitsStored, grey.HighBit = 13, 12
    second = codestreams(coded(grey, syntaxes.JPEG_2000_LOSSLESS, tmp_path))
    dataset = encapsulated(grey, [*first, *second], syntaxes.JPEG_2000_LOSSLESS)
    dataset.BitsStored, dataset.HighBit = 12, 11
    outcome, _ = transcode(saved(tmp_path, dataset), NATIVE, tmp_path)
    assert (outcome.reason, outcome.detail[:7]) == (Reason.CODESTREAM, "frame 1")


class Fickle:
    """A decoder whose second result differs from its first in one sample."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder

    def __getattr__(self, name: str) -> object:
        return getattr(self._decoder, name)

    def decode_again(self, codestream: bytes, image: Image) -> NDArray[np.integer[Any]]:
        result = self._decoder.decode_again(codestream, image).copy()
        result.reshape(-1)[-1] ^= 1
        return result


@pytest.mark.parametrize(
    "name", ["MR_small_RLE.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_jp2klossless.dcm"]
)
@pytest.mark.parametrize("target", [NATIVE, Target(syntaxes.HTJ2K_LOSSLESS, (("from", ("lossless",)),))])
def test_two_decodings_that_differ_prove_nothing(name: str, target: Target, tmp_path: Path) -> None:
    decoder = registry().decoder(str(read(name).file_meta.TransferSyntaxUID))
    encoder = registry().encoders()[str(target.transfer_syntax)][0]
    assert decoder is not None
    outcome, _ = transcode(bundled(name), target, tmp_path, Engine(Registry([encoder, decoder])))
    assert outcome.transcoded
    fickle = Registry([encoder, Fickle(decoder)])  # type: ignore[list-item]  # it has a decoder's parts
    outcome, _ = transcode(bundled(name), target, tmp_path, Engine(fickle))
    assert (outcome.reason, outcome.detail[:28]) == (Reason.PROOF_FAILED, "frame 0: 1 of 8192 bytes dif")


def test_extended_offset_tables_of_others_are_read(tmp_path: Path) -> None:
    source = coded(ct(3), syntaxes.JPEG_LS_LOSSLESS, tmp_path)
    frames = codestreams(source)
    dataset = pydicom.dcmread(source)
    pixel_data, dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths = encapsulate_extended(frames)
    dataset.PixelData = pixel_data
    _, output = made(saved(tmp_path, dataset), NATIVE, tmp_path)
    assert pydicom.dcmread(output).PixelData == ct(3).PixelData


# --- what a rule takes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("taken", "name", "reason"),
    [
        ("", "693_J2KI.dcm", None),
        ("", "MR_small_RLE.dcm", None),
        ("from: RLELossless", "MR_small_RLE.dcm", None),
        ("from: RLELossless", "MR_small_jp2klossless.dcm", Reason.NOT_NATIVE),
        ("from: [JPEG2000]", "693_J2KI.dcm", None),
        ("from: lossless", "MR_small_jp2klossless.dcm", None),
        ("from: lossless", "693_J2KI.dcm", Reason.LOSSY_INPUT),
        ("from: uncompressed", "MR_small_RLE.dcm", Reason.NOT_NATIVE),
        ("from: uncompressed", "MR_small_implicit.dcm", None),
        ("from: RLELossless", "MR_small_implicit.dcm", Reason.NOT_NATIVE),
        ("from: ImplicitVRLittleEndian", "MR_small_implicit.dcm", None),
        ("from: ImplicitVRLittleEndian", "MR_small_bigendian.dcm", Reason.NOT_NATIVE),
        ("from: RLELossless", "rtplan.dcm", Reason.NO_PIXEL_DATA),  # or ``on_failure: hold`` would hold plans
    ],
)
def test_a_rule_says_what_it_decompresses(
    taken: str, name: str, reason: Reason | None, tmp_path: Path
) -> None:
    target = target_of(tmp_path, f"transfer_syntax: ExplicitVRLittleEndian\n{taken}")
    outcome, _ = transcode(bundled(name), target, tmp_path)
    assert outcome.reason is reason, outcome.detail


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("MR_small.dcm", Reason.SAME_SYNTAX),
        ("GDCMJ2K_TextGBR.dcm", Reason.FRAMES),
        ("liver_expb_1frame.dcm", Reason.SEGMENTATION_BITS),
        ("reportsi.dcm", Reason.SAME_SYNTAX),
    ],
)
def test_what_is_not_decompressed_goes_on_with_the_reason(name: str, reason: Reason, tmp_path: Path) -> None:
    outcome, _ = transcode(bundled(name), NATIVE, tmp_path)
    assert outcome.reason is reason
