"""pydicom's tutorials on Pixel Data, step by step, done by Venturi with a rule: the same pixels, better described.

https://pydicom.github.io/pydicom/stable/tutorials/pixel_data/ part 1 (accessing) and part 3 (compression and
decompression). Each test does what a step of a tutorial does with pydicom's own functions, does the same with a rule
as it stands in the configuration, and compares. Where pydicom leaves something wrong behind, what is right is asserted.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom import examples
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, encapsulate_extended, get_frame
from pydicom.pixels import convert_color_space, iter_pixels, pixel_array
from pydicom.uid import (
    JPEG2000,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from renditions import (
    bundled,
    codestreams,
    config_file,
    encapsulated,
    made,
    read,
    saved,
    stored,
    target_of,
    transcode,
)
from venturi.errors import ConfigError
from venturi.model import Outcome, Reason

NATIVE_RULE = "transfer_syntax: ExplicitVRLittleEndian"


def path_of(example: str) -> Path:
    """The file of one of pydicom's examples."""
    return Path(str(examples.get_path(example)))


def dataset_of(example: str) -> Dataset:
    """A fresh copy of it."""
    return pydicom.dcmread(path_of(example))


def by_rule(source: Path, rule: str, folder: Path) -> tuple[Outcome, Dataset]:
    """What Venturi makes of a file with a rule, read by pydicom."""
    outcome, output = made(source, target_of(folder, rule), folder)
    return outcome, pydicom.dcmread(output)


def compressed(dataset: Dataset, syntax: str, **how: Any) -> Dataset:
    """What pydicom makes of it."""
    dataset.compress(syntax, **how)
    return dataset


def unpadded(dataset: Dataset) -> Dataset:
    """An image in which every value may change a little."""
    dataset.pop("PixelPaddingValue", None)
    return dataset


# --- part 1: accessing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keyword", ["RLELossless", "JPEGLSLossless", "JPEG2000Lossless"])
def test_pixel_array_of_a_rendition_is_that_of_the_original(keyword: str, tmp_path: Path) -> None:
    for example in ("ct", "mr", "rgb_color", "palette_color", "overlay"):
        _, result = by_rule(path_of(example), f"transfer_syntax: {keyword}", tmp_path)
        assert result.file_meta.TransferSyntaxUID.is_compressed
        assert np.array_equal(result.pixel_array, dataset_of(example).pixel_array), example


def test_frames_are_found_one_by_one(tmp_path: Path) -> None:
    source = path_of("rt_dose")
    assert dataset_of("rt_dose").NumberOfFrames == 15
    _, result = by_rule(source, "transfer_syntax: RLELossless", tmp_path)
    whole = pixel_array(result)
    assert whole.shape == (15, 10, 10)
    for index, (ours, theirs) in enumerate(zip(iter_pixels(result), iter_pixels(source), strict=True)):
        assert np.array_equal(ours, theirs)
        assert np.array_equal(pixel_array(result, index=index), theirs)
        assert get_frame(result.PixelData, index, number_of_frames=15)[:4] == b"\x04\0\0\0"


def test_components_stay_as_they_are_coded_unless_rgb_is_asked_for(tmp_path: Path) -> None:
    source = path_of("ybr_color")
    assert dataset_of("ybr_color").PhotometricInterpretation == "YBR_FULL_422"
    _, raw = by_rule(source, NATIVE_RULE, tmp_path)
    assert raw.PhotometricInterpretation == "YBR_FULL"
    _, rgb = by_rule(source, f"{NATIVE_RULE}\nas_rgb: true", tmp_path)
    assert rgb.PhotometricInterpretation == "RGB"
    assert np.array_equal(rgb.pixel_array, raw.pixel_array), "which pydicom converts"
    assert not np.array_equal(rgb.pixel_array, pixel_array(raw, raw=True))


# --- part 3: RLE ------------------------------------------------------------------------------------------------


def test_rle(tmp_path: Path) -> None:
    theirs = compressed(dataset_of("ct"), RLELossless, encoding_plugin="pylibjpeg")
    outcome, ours = by_rule(path_of("ct"), "transfer_syntax: RLELossless", tmp_path)
    assert ours.file_meta.TransferSyntaxUID == theirs.file_meta.TransferSyntaxUID == RLELossless
    assert np.array_equal(ours.pixel_array, theirs.pixel_array)
    assert len(ours.PixelData) <= len(theirs.PixelData)
    assert ours["PixelData"].VR == "OB"
    assert outcome.pixel_bytes_before == 32768
    _, same = by_rule(path_of("ct"), "transfer_syntax: RLELossless\ncodec: pylibjpeg-rle", tmp_path)
    assert same.PixelData == theirs.PixelData


def test_a_lossless_copy_is_the_same_instance(tmp_path: Path) -> None:
    uid = dataset_of("ct").SOPInstanceUID  # pydicom gives a new one, unless it is told not to
    for keyword in ("RLELossless", "JPEGLSLossless", "JPEG2000Lossless", "HTJ2KLossless"):
        _, ours = by_rule(path_of("ct"), f"transfer_syntax: {keyword}", tmp_path)
        assert ours.SOPInstanceUID == ours.file_meta.MediaStorageSOPInstanceUID == uid


def image_of(array: NDArray[np.uint8]) -> Dataset:
    """A new dataset around an array."""
    dataset = dataset_of("ct")
    dataset.Rows, dataset.Columns = array.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    return dataset


def test_a_new_dataset_around_an_array(tmp_path: Path) -> None:
    array = np.ones((320, 480), "uint8")
    theirs = compressed(image_of(array), RLELossless, arr=array, encoding_plugin="pylibjpeg")
    native = image_of(array)
    native.PixelData = array.tobytes()
    _, ours = by_rule(saved(tmp_path, native), "transfer_syntax: RLELossless", tmp_path)
    assert ours.PixelData == theirs.PixelData


def test_an_array_that_does_not_fit_its_description_is_refused_by_both(tmp_path: Path) -> None:
    dataset = dataset_of("ct")
    array = np.zeros((dataset.Rows, dataset.Columns + 1), "<i2")
    with pytest.raises(ValueError, match="Mismatch"):
        dataset.compress(RLELossless, array)
    dataset.PixelData = array.tobytes()
    target = target_of(tmp_path, "transfer_syntax: RLELossless")
    outcome, _ = transcode(saved(tmp_path, dataset), target, tmp_path)
    assert outcome.reason is Reason.LENGTH


@pytest.mark.parametrize(("plugin", "codec"), [("pylibjpeg", "pylibjpeg-rle"), ("pydicom", "pydicom")])
def test_choosing_the_plugin(plugin: str, codec: str, tmp_path: Path) -> None:
    theirs = compressed(dataset_of("ct"), RLELossless, encoding_plugin=plugin)
    outcome, ours = by_rule(path_of("ct"), f"transfer_syntax: RLELossless\ncodec: {codec}", tmp_path)
    assert outcome.codec.startswith(f"{codec},")
    assert ours.PixelData == theirs.PixelData


def test_a_plugin_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No plugin"):
        compressed(dataset_of("ct"), RLELossless, encoding_plugin="pillow")
    with pytest.raises(ConfigError, match="has no codec 'pillow'"):
        target_of(tmp_path, "transfer_syntax: RLELossless\ncodec: pillow")


# --- part 3: JPEG-LS --------------------------------------------------------------------------------------------


def test_jpeg_ls_lossless(tmp_path: Path) -> None:
    theirs = compressed(dataset_of("ct"), JPEGLSLossless)
    _, ours = by_rule(path_of("ct"), "transfer_syntax: JPEGLSLossless", tmp_path)
    assert ours.PixelData == theirs.PixelData
    assert np.array_equal(ours.pixel_array, dataset_of("ct").pixel_array)


NEAR = "transfer_syntax: JPEGLSNearLossless\njls_error: 3\nlossy: {max_error: 3}"


def marks(result: Dataset) -> tuple[Any, ...]:
    """What PS3.3 C.7.6.1.1.5 asks of an image that lost something."""
    return (result.LossyImageCompression, result.LossyImageCompressionMethod, result.ImageType[0])


def test_near_lossless_of_unsigned_pixels(tmp_path: Path) -> None:
    original = dataset_of("rgb_color").pixel_array.astype(int)
    theirs = compressed(dataset_of("rgb_color"), JPEGLSNearLossless, jls_error=3)
    outcome, ours = by_rule(path_of("rgb_color"), NEAR, tmp_path)
    assert np.array_equal(ours.pixel_array, theirs.pixel_array)
    assert outcome.lossy is not None
    assert int(np.abs(ours.pixel_array.astype(int) - original).max()) == outcome.lossy.max_error == 3
    assert marks(ours) == ("01", "ISO_14495_1", "DERIVED")  # pydicom writes none of these
    assert ours.SOPInstanceUID != dataset_of("rgb_color").SOPInstanceUID


def test_near_lossless_of_signed_pixels_within_the_range(tmp_path: Path) -> None:
    original = dataset_of("ct").pixel_array.astype(int)
    assert (original.min(), original.max()) == (128, 2191)
    theirs = compressed(dataset_of("ct"), JPEGLSNearLossless, jls_error=3)
    outcome, ours = by_rule(saved(tmp_path, unpadded(dataset_of("ct"))), NEAR, tmp_path)
    assert np.array_equal(ours.pixel_array, theirs.pixel_array)
    assert outcome.lossy is not None
    assert outcome.lossy.max_error == 3


def test_an_image_with_a_padding_value_loses_nothing_whatever_the_rule_says(tmp_path: Path) -> None:
    assert dataset_of("ct").PixelPaddingValue == -2000
    for rule in (NEAR, "transfer_syntax: JPEG2000\nj2k_cr: [5, 2]\nlossy: {max_error: 1000}"):
        outcome, ours = by_rule(path_of("ct"), rule, tmp_path)
        assert outcome.lossy is None
        assert np.array_equal(ours.pixel_array, dataset_of("ct").pixel_array)


def test_signed_pixels_outside_the_range_are_a_trap_that_a_rule_does_not_fall_into(tmp_path: Path) -> None:
    dataset = unpadded(dataset_of("ct"))
    pixels = dataset.pixel_array.astype(int)
    # The whole range of 16 bits: in pydicom's words, not in the closed interval that NEAR needs.
    wide = ((pixels - 128) * 65535 // (2191 - 128) - 32768).astype("<i2")
    dataset.PixelData = wide.tobytes()
    source = saved(tmp_path, dataset)
    theirs = compressed(pydicom.dcmread(source), JPEGLSNearLossless, jls_error=3)
    assert np.abs(theirs.pixel_array.astype(int) - wide).max() > 65000, "the trap"
    outcome, ours = by_rule(source, NEAR, tmp_path)
    assert (outcome.transfer_syntax, outcome.lossy) == (JPEGLSLossless, None)
    assert np.array_equal(ours.pixel_array, wide)


# --- part 3: JPEG 2000 ------------------------------------------------------------------------------------------


def test_jpeg_2000_lossless(tmp_path: Path) -> None:
    theirs = compressed(dataset_of("ct"), JPEG2000Lossless)
    rule = "transfer_syntax: JPEG2000Lossless\ncodec: pylibjpeg-openjpeg"
    _, ours = by_rule(path_of("ct"), rule, tmp_path)
    assert ours.PixelData == theirs.PixelData
    _, ours = by_rule(path_of("ct"), "transfer_syntax: JPEG2000Lossless", tmp_path)
    assert np.array_equal(ours.pixel_array, theirs.pixel_array)


def test_the_component_transform_on_and_off(tmp_path: Path) -> None:
    plain = compressed(dataset_of("rgb_color"), JPEG2000Lossless)
    transformed = dataset_of("rgb_color")
    transformed.PhotometricInterpretation = "YBR_RCT"  # which is how pydicom is asked for it
    transformed.compress(JPEG2000Lossless)
    rule = "transfer_syntax: JPEG2000Lossless\ncodec: pylibjpeg-openjpeg"
    for words, theirs, photometric in (("", transformed, "YBR_RCT"), ("\nuse_mct: false", plain, "RGB")):
        _, ours = by_rule(path_of("rgb_color"), rule + words, tmp_path)
        assert ours.PhotometricInterpretation == photometric
        assert ours.PixelData == theirs.PixelData
        assert np.array_equal(ours.pixel_array, dataset_of("rgb_color").pixel_array)
    assert len(transformed.PixelData) < len(plain.PixelData) / 2


def layers(codestream: bytes) -> int:
    """ISO/IEC 15444-1 A.6.1."""
    place = codestream.index(b"\xff\x52")
    return int.from_bytes(codestream[place + 6 : place + 8], "big")


@pytest.mark.parametrize(
    ("how", "words", "count"),
    [
        ({"j2k_cr": [5, 2]}, "j2k_cr: [5, 2]", 2),
        ({"j2k_cr": [10]}, "j2k_cr: [10]", 1),
        ({"j2k_psnr": [60, 80]}, "j2k_psnr: [60, 80]", 2),
    ],
)
def test_jpeg_2000_lossy_with_quality_layers(
    how: dict[str, list[float]], words: str, count: int, tmp_path: Path
) -> None:
    theirs = compressed(dataset_of("ct"), JPEG2000, **how)
    source = saved(tmp_path, unpadded(dataset_of("ct")))
    rule = f"transfer_syntax: JPEG2000\n{words}\nlossy: {{max_error: 5000}}"
    outcome, ours = by_rule(source, rule, tmp_path)
    assert ours.PixelData == theirs.PixelData
    assert layers(get_frame(ours.PixelData, 0, number_of_frames=1)) == count
    assert outcome.lossy is not None
    original = stored(path_of("ct"))
    # As the decoder has it; and it is written where pydicom writes nothing.
    assert int(np.abs(ours.pixel_array.astype(int) - original).max()) == outcome.lossy.max_error
    assert marks(ours) == ("01", "ISO_15444_1", "DERIVED")
    assert float(ours.LossyImageCompressionRatio) == pytest.approx(outcome.lossy.ratio, abs=0.001)


def test_the_irreversible_transform_is_named(tmp_path: Path) -> None:
    theirs = dataset_of("rgb_color")
    theirs.PhotometricInterpretation = "YBR_ICT"
    theirs.compress(JPEG2000, j2k_cr=[10])
    rule = "transfer_syntax: JPEG2000\nj2k_cr: [10]\nlossy: {max_error: 255}"
    for words, photometric in (("", "YBR_ICT"), ("\nuse_mct: false", "RGB")):
        _, ours = by_rule(path_of("rgb_color"), rule + words, tmp_path)
        assert ours.PhotometricInterpretation == photometric
        assert (ours.PixelData == theirs.PixelData) is (photometric == "YBR_ICT")


def test_layers_in_the_wrong_order_are_found_when_the_rule_is_read(tmp_path: Path) -> None:
    for words in ("j2k_cr: [2, 5]", "j2k_psnr: [80, 60]"):
        with pytest.raises(ConfigError, match="from"):
            target_of(tmp_path, f"transfer_syntax: JPEG2000\n{words}\nlossy: {{max_error: 9}}")


@pytest.mark.parametrize("keyword", ["JPEG2000Lossless", "JPEGLSLossless", "HTJ2KLossless"])
def test_colour_by_plane_is_described_as_it_is_coded(keyword: str, tmp_path: Path) -> None:
    dataset = dataset_of("rgb_color")
    pixels = dataset.pixel_array
    dataset.PlanarConfiguration, dataset.PixelData = 1, pixels.transpose(2, 0, 1).tobytes()
    _, ours = by_rule(saved(tmp_path, dataset), f"transfer_syntax: {keyword}", tmp_path)
    assert ours.PlanarConfiguration == 0  # pydicom leaves 1
    assert np.array_equal(ours.pixel_array, pixels)


# --- part 3: data that other packages encoded -------------------------------------------------------------------


def third_party(array: NDArray[np.uint8]) -> bytes:
    """Another package's encoder."""
    return bytes(imagecodecs.jpeg8_encode(array, level=90))


def test_frames_of_another_package_in_basic_and_in_extended_encapsulation(tmp_path: Path) -> None:
    array = (dataset_of("ct").pixel_array // 9).astype("uint8")
    frames = [third_party(np.roll(array, 16 * step, axis=0)) for step in range(3)]
    basic = encapsulated(image_of(array), frames, JPEGBaseline8Bit)
    extended = encapsulated(image_of(array), frames, JPEGBaseline8Bit)
    extended.PixelData, extended.ExtendedOffsetTable, extended.ExtendedOffsetTableLengths = (
        encapsulate_extended(frames)
    )
    expected = np.stack([imagecodecs.jpeg8_decode(frame) for frame in frames])
    for dataset in (basic, extended):
        outcome, ours = by_rule(saved(tmp_path, dataset), NATIVE_RULE, tmp_path)
        assert outcome.frames == 3
        assert np.array_equal(ours.pixel_array, expected)
        assert "ExtendedOffsetTable" not in ours


def test_our_encapsulation_is_that_of_pydicom(tmp_path: Path) -> None:
    source = path_of("rt_dose")
    _, output = made(source, target_of(tmp_path, "transfer_syntax: RLELossless"), tmp_path)
    frames = codestreams(output)
    assert pydicom.dcmread(output).PixelData == encapsulate(frames)
    rule = "transfer_syntax: RLELossless\noffset_table: extended"
    _, ours = by_rule(source, rule, tmp_path)
    theirs = encapsulate_extended(frames)
    assert (ours.PixelData, ours.ExtendedOffsetTable, ours.ExtendedOffsetTableLengths) == theirs


def test_a_stale_extended_offset_table_is_not_left_behind(tmp_path: Path) -> None:
    dataset = dataset_of("ct")
    dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths = bytes(8), bytes(8)
    _, ours = by_rule(saved(tmp_path, dataset), "transfer_syntax: RLELossless", tmp_path)
    assert "ExtendedOffsetTable" not in ours  # pydicom leaves both
    assert "ExtendedOffsetTableLengths" not in ours


# --- part 3: decompression --------------------------------------------------------------------------------------


def test_decompression(tmp_path: Path) -> None:
    theirs = dataset_of("jpeg2k")
    theirs.decompress()
    _, ours = by_rule(path_of("jpeg2k"), NATIVE_RULE, tmp_path)
    assert not ours.file_meta.TransferSyntaxUID.is_compressed
    assert ours.PixelData == theirs.PixelData
    for keyword in ("PhotometricInterpretation", "PlanarConfiguration", "BitsAllocated", "SamplesPerPixel"):
        assert ours[keyword].value == theirs[keyword].value
    assert ours["PixelData"].VR == theirs["PixelData"].VR == "OB"
    assert ours.SOPInstanceUID == dataset_of("jpeg2k").SOPInstanceUID  # pydicom gives a new one


@pytest.mark.parametrize(
    "name",
    ["MR_small_RLE.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_jp2klossless.dcm", "rtdose_rle.dcm"],
)
def test_decompression_of_every_scheme(name: str, tmp_path: Path) -> None:
    theirs = read(name)
    theirs.decompress()
    _, ours = by_rule(bundled(name), NATIVE_RULE, tmp_path)
    assert ours.PixelData == theirs.PixelData


@pytest.mark.parametrize(("as_rgb", "photometric"), [(True, "RGB"), (False, "YBR_FULL")])
def test_decompression_with_and_without_conversion_to_rgb(
    as_rgb: bool, photometric: str, tmp_path: Path
) -> None:
    source = dataset_of("rgb_color")
    ybr = convert_color_space(source.pixel_array, "RGB", "YBR_FULL")
    source.PhotometricInterpretation = "YBR_FULL"
    source.compress(JPEG2000Lossless, ybr)
    file = saved(tmp_path, source)
    source.decompress(as_rgb=as_rgb)
    # False is Venturi's default: converting YBR to RGB rounds, and is no lossless decompression.
    rule = f"{NATIVE_RULE}\nas_rgb: true" if as_rgb else NATIVE_RULE
    _, ours = by_rule(file, rule, tmp_path)
    assert ours.PhotometricInterpretation == source.PhotometricInterpretation == photometric
    result = pixel_array(ours, raw=True)
    if not as_rgb:
        assert ours.PixelData == source.PixelData
        assert np.array_equal(result, ybr)
        return
    # pydicom's matrix has four digits; the standard's, inverted, rounds one value in thousands otherwise.
    apart = np.abs(result.astype(int) - convert_color_space(ybr, "YBR_FULL", "RGB"))
    assert apart.max() <= 1
    assert np.mean(apart > 0) < 0.001


def test_the_decoder_is_pinned_and_agrees_with_the_plugin_one_would_name(tmp_path: Path) -> None:
    theirs = dataset_of("jpeg2k")
    theirs.decompress(decoding_plugin="pylibjpeg")
    outcome, ours = by_rule(path_of("jpeg2k"), NATIVE_RULE, tmp_path)
    assert ours.PixelData == theirs.PixelData
    assert outcome.codec.startswith("pylibjpeg-openjpeg, imagecodecs/openjpeg"), (
        "one decodes, the other proves"
    )


# --- recompression ----------------------------------------------------------------------------------------------


def recompressed(syntax: str) -> Callable[[Dataset], Dataset]:
    def both_steps(dataset: Dataset) -> Dataset:
        dataset.decompress(as_rgb=False)
        return compressed(dataset, syntax)

    return both_steps


@pytest.mark.parametrize(
    ("keyword", "again"),
    [("RLELossless", recompressed(RLELossless)), ("JPEGLSLossless", recompressed(JPEGLSLossless))],
)
def test_what_pydicom_does_in_two_steps_is_one_rule(
    keyword: str, again: Callable[[Dataset], Dataset], tmp_path: Path
) -> None:
    theirs = again(dataset_of("jpeg2k"))
    rule = f"transfer_syntax: {keyword}\nfrom: lossless"
    _, ours = by_rule(path_of("jpeg2k"), rule, tmp_path)
    assert ours.file_meta.TransferSyntaxUID == theirs.file_meta.TransferSyntaxUID
    assert np.array_equal(ours.pixel_array, theirs.pixel_array)
    assert ours.PhotometricInterpretation == theirs.PhotometricInterpretation == "RGB"
    assert ours.SOPInstanceUID == dataset_of("jpeg2k").SOPInstanceUID


def test_without_being_asked_nobody_encodes_what_is_compressed(tmp_path: Path) -> None:
    target = target_of(tmp_path, "transfer_syntax: RLELossless")
    outcome, _ = transcode(path_of("jpeg2k"), target, tmp_path)
    assert outcome.reason is Reason.NOT_NATIVE


# --- and by command ---------------------------------------------------------------------------------------------


def explain(config: Path, file: Path) -> dict[str, Any]:
    """What ``venturi explain --json`` says of one file for the one destination."""
    command = [sys.executable, "-m", "venturi", "explain", "-c", config, "--json", file]
    told = subprocess.run(command, capture_output=True, check=True, env=dict(os.environ), timeout=120)
    (answer,) = json.loads(told.stdout)
    (destination,) = answer["destinations"]
    outcome: dict[str, Any] = destination["outcome"]
    return outcome


def test_the_command_tells_the_same(tmp_path: Path) -> None:
    theirs = compressed(dataset_of("ct"), RLELossless, encoding_plugin="pylibjpeg")
    rule = "transfer_syntax: RLELossless\ncodec: pylibjpeg-rle"
    outcome = explain(config_file(tmp_path, rule), path_of("ct"))
    assert (outcome["transfer_syntax"], outcome["proof"]) == (str(RLELossless), "pixels")
    assert outcome["pixel_bytes_after"] == len(theirs.PixelData) + 8  # the sequence delimiter
    outcome = explain(config_file(tmp_path, NEAR), path_of("rgb_color"))
    assert outcome["lossy"]["max_error"] == 3
    outcome = explain(config_file(tmp_path, NATIVE_RULE), path_of("jpeg2k"))
    assert outcome["pixel_bytes_after"] == 480 * 640 * 3
