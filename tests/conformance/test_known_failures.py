"""The silent wrong results that other programs give, or gave: each is guarded against, on real pixels."""

import ast
import json
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import imagecodecs
import jpeg_ls
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate_extended

import venturi.transcode
from renditions import (
    NATIVE,
    bundled,
    codestreams,
    dataset_bytes,
    encapsulated,
    made,
    read,
    saved,
    stored,
    target_of,
    transcode,
)
from venturi.dataset import part10, syntaxes
from venturi.errors import ConfigError
from venturi.model import Reason, Target

JPEG_2000 = (syntaxes.JPEG_2000_LOSSLESS, syntaxes.HTJ2K_LOSSLESS, syntaxes.HTJ2K_LOSSLESS_RPCL)
LOSSLESS = (syntaxes.RLE_LOSSLESS, syntaxes.JPEG_LS_LOSSLESS, syntaxes.JPEG_LOSSLESS_SV1, *JPEG_2000)
every_lossless = pytest.mark.parametrize(
    "syntax", LOSSLESS, ids=[syntaxes.lookup(uid).keyword for uid in LOSSLESS]
)


def ct(bits: int, container: int = 16, signed: bool = False) -> Dataset:
    """A real CT slice, scaled to the whole range of ``bits`` bits."""
    dataset = read("CT_small.dcm")
    grey = dataset.pixel_array.astype(np.int64)
    grey = (grey - grey.min()) * ((1 << bits) - 1) // int(np.ptp(grey)) - ((1 << (bits - 1)) if signed else 0)
    return with_pixels(dataset, grey.astype(f"<{'i' if signed else 'u'}{container // 8}"), bits)


def with_pixels(dataset: Dataset, frame: NDArray[np.integer], bits: int) -> Dataset:
    dataset.Rows, dataset.Columns = frame.shape[:2]
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8 * frame.itemsize, bits, bits - 1
    dataset.PixelRepresentation = int(frame.dtype.kind == "i")
    dataset.PixelData = frame.tobytes() + bytes(frame.nbytes % 2)
    dataset["PixelData"].VR = "OB" if frame.itemsize == 1 else "OW"
    dataset.pop("PixelPaddingValue", None)
    return dataset


def segment(codestream: bytes, marker: bytes) -> bytes:
    """The body of a JPEG marker segment."""
    place = codestream.index(marker)
    (length,) = struct.unpack_from(">H", codestream, place + 2)
    return codestream[place + 4 : place + 2 + length]


# --- 1 to 4: pixels that are not laid out as encoders think -----------------------------------------------------


@every_lossless
def test_01_colour_by_plane_is_rearranged_before_it_is_encoded(syntax: str, tmp_path: Path) -> None:
    dataset = read("examples_rgb_color.dcm")
    pixels = dataset.pixel_array
    dataset.PlanarConfiguration = 1
    dataset.PixelData = pixels.transpose(2, 0, 1).tobytes()
    _, output = made(saved(tmp_path, dataset), Target(syntax), tmp_path)
    assert np.array_equal(stored(output), pixels)
    (codestream,) = codestreams(output)
    if syntax == syntaxes.RLE_LOSSLESS:  # its segments are planes, whatever Planar Configuration says
        first = imagecodecs.packbits_decode(codestream[64 : struct.unpack_from("<L", codestream, 8)[0]])
        assert np.array_equal(np.frombuffer(first, np.uint8), pixels[..., 0].reshape(-1))
        return
    assert pydicom.dcmread(output).PlanarConfiguration == 0
    if syntax == syntaxes.JPEG_2000_LOSSLESS:  # decoded alone, without the dataset that might excuse it
        assert np.array_equal(imagecodecs.jpeg2k_decode(codestream), pixels)


@every_lossless
@pytest.mark.parametrize("bits", [1, 7, 8])
def test_02_few_bits_in_16_stay_samples_of_16_for_every_reader(
    syntax: str, bits: int, tmp_path: Path
) -> None:
    source = saved(tmp_path, ct(bits))
    _, output = made(source, Target(syntax), tmp_path)
    assert np.array_equal(stored(output), stored(source))
    (codestream,) = codestreams(output)
    if syntax == syntaxes.RLE_LOSSLESS:
        assert struct.unpack_from("<L", codestream) == (2,)
    elif syntax == syntaxes.JPEG_LS_LOSSLESS:
        assert segment(codestream, b"\xff\xf7")[0] > 8
        assert imagecodecs.jpegls_decode(codestream).dtype == np.uint16
    elif syntax == syntaxes.JPEG_LOSSLESS_SV1:
        assert imagecodecs.jpeg8_decode(codestream).dtype == np.uint16
    else:
        assert codestream[42] & 0x7F > 7  # Ssiz is the precision less one (ISO/IEC 15444-1 A.5.1)


def test_03_near_lossless_jpeg_ls_of_signed_values_near_the_ends_is_refused(tmp_path: Path) -> None:
    source = saved(tmp_path, ct(12, signed=True))
    rule = "transfer_syntax: JPEGLSNearLossless\njls_error: 3\nlossy: {max_error: 3, beyond: "
    outcome, _ = transcode(source, target_of(tmp_path, rule + "as-received}"), tmp_path)
    assert outcome.reason is Reason.ERROR_BOUND
    outcome, output = made(source, target_of(tmp_path, rule + "lossless}"), tmp_path)
    assert (outcome.transfer_syntax, outcome.lossy) == (syntaxes.JPEG_LS_LOSSLESS, None)
    assert np.array_equal(stored(output), stored(source))


def test_03_signed_values_away_from_the_ends_stay_within_the_bound(tmp_path: Path) -> None:
    dataset = ct(12, signed=True)
    inside = np.clip(dataset.pixel_array, -2048 + 3, 2047 - 3).astype("<i2")
    source = saved(tmp_path, with_pixels(dataset, inside, 12))
    rule = "transfer_syntax: JPEGLSNearLossless\njls_error: 3\nlossy: {max_error: 3}"
    outcome, output = made(source, target_of(tmp_path, rule), tmp_path)
    assert outcome.lossy is not None
    assert int(np.abs(stored(output) - inside).max()) == outcome.lossy.max_error == 3


@pytest.mark.parametrize(("bits", "near", "made_of_it"), [(8, 127, True), (8, 128, False), (12, 255, True)])
def test_03_near_is_half_the_range_at_most(bits: int, near: int, made_of_it: bool, tmp_path: Path) -> None:
    source = saved(tmp_path, ct(bits, container=8 if bits == 8 else 16))
    rule = f"transfer_syntax: JPEGLSNearLossless\njls_error: {near}\nlossy: {{max_error: 4095, beyond: hold}}"
    outcome, _ = transcode(source, target_of(tmp_path, rule), tmp_path)
    assert outcome.reason is (None if made_of_it else Reason.BITS)
    with pytest.raises(ConfigError, match="jls_error is 1 to 255"):
        target_of(tmp_path, rule.replace(f"jls_error: {near}", "jls_error: 256"))


@every_lossless
def test_04_bits_above_bits_stored_are_carried_or_the_image_is_refused(syntax: str, tmp_path: Path) -> None:
    dataset = ct(12)
    overlay = dataset.pixel_array | ((dataset.pixel_array > 2000).astype("<u2") << 13)
    source = saved(tmp_path, with_pixels(dataset, overlay, 12))
    outcome, output = transcode(source, Target(syntax), tmp_path)
    if syntax in JPEG_2000:
        assert outcome.reason is Reason.UNUSED_BITS
        return
    assert outcome.reason is None
    _, back = made(saved_copy(output, tmp_path), NATIVE, tmp_path)
    assert pydicom.dcmread(back).PixelData == overlay.tobytes()


@every_lossless
def test_04_a_high_bit_that_is_not_the_last_stored_is_refused(syntax: str, tmp_path: Path) -> None:
    dataset = ct(12)
    dataset.PixelData = (dataset.pixel_array << 4).tobytes()
    dataset.HighBit = 15
    outcome, _ = transcode(saved(tmp_path, dataset), Target(syntax), tmp_path)
    assert outcome.reason is Reason.HIGH_BIT


@every_lossless
def test_04_sign_extension_is_no_data(syntax: str, tmp_path: Path) -> None:
    source = saved(tmp_path, ct(12, signed=True))
    _, output = made(source, Target(syntax), tmp_path)
    assert np.array_equal(stored(output), stored(source))


def saved_copy(path: Path, folder: Path) -> Path:
    copy = folder / "copy.dcm"
    copy.write_bytes(path.read_bytes())
    return copy


# --- 5 to 9: what encoders and readers can't do -----------------------------------------------------------------


@pytest.mark.parametrize("syntax", JPEG_2000)
def test_05_more_bits_than_jpeg_2000_keeps_are_refused(syntax: str, tmp_path: Path) -> None:
    outcome, _ = transcode(bundled("rtdose_1frame.dcm"), Target(syntax), tmp_path)  # 32 bits
    assert outcome.reason is Reason.BITS


@every_lossless
@pytest.mark.parametrize("name", ["SC_rgb_small_odd.dcm", "1 x 40", "31 x 33"])
def test_05_images_of_few_pixels_come_back(syntax: str, name: str, tmp_path: Path) -> None:
    source = bundled("SC_rgb_small_odd.dcm")
    if name != source.name:
        rows, columns = map(int, name.split(" x "))
        source = saved(tmp_path, with_pixels(read("CT_small.dcm"), ct(12).pixel_array[:rows, :columns], 12))
    _, output = made(source, Target(syntax), tmp_path)
    assert np.array_equal(stored(output), stored(source))


@every_lossless
@pytest.mark.parametrize("bits", [1, 2])
def test_05_noise_of_one_or_two_bits_comes_back_or_is_left_alone(
    syntax: str, bits: int, tmp_path: Path
) -> None:
    noise = np.random.default_rng(5).integers(0, 1 << bits, (64, 64)).astype("u1")
    source = saved(tmp_path, with_pixels(read("CT_small.dcm"), noise, bits))
    outcome, output = transcode(source, Target(syntax), tmp_path)
    if outcome.transcoded:
        assert np.array_equal(stored(output), noise)
    else:
        assert outcome.reason in (Reason.ENCODER_FAILED, Reason.PROOF_FAILED)


@pytest.mark.parametrize("side", [1, 3, 5, 8])
def test_06_a_few_pixels_of_noise_are_encoded_although_one_encoder_has_too_small_a_buffer(
    side: int, tmp_path: Path
) -> None:
    noise = np.random.default_rng(6).integers(0, 256, (side, side)).astype("u1")
    with pytest.raises(RuntimeError, match="destination buffer is too small"):
        jpeg_ls.encode_buffer(noise.tobytes(), side, side, 1, 8, lossy_error=0, interleave_mode=0)
    source = saved(tmp_path, with_pixels(read("CT_small.dcm"), noise, 8))
    _, output = made(source, Target(syntaxes.JPEG_LS_LOSSLESS), tmp_path)
    assert np.array_equal(stored(output).reshape(side, side), noise)


@every_lossless
def test_07_big_endian_samples_are_swapped(syntax: str, tmp_path: Path) -> None:
    _, output = made(bundled("MR_small_bigendian.dcm"), Target(syntax), tmp_path)
    assert np.array_equal(stored(output), stored(bundled("MR_small.dcm")))


@every_lossless
@pytest.mark.parametrize("frames", [None, "", "1", "2", "4"])
def test_08_a_wrong_number_of_frames_drops_none_silently(
    syntax: str, frames: str | None, tmp_path: Path
) -> None:
    dataset = read("CT_small.dcm")
    dataset.PixelData = dataset.PixelData * 3
    if frames is not None:
        dataset.add_new(0x00280008, "IS", frames)
    outcome, _ = transcode(saved(tmp_path, dataset), Target(syntax), tmp_path)
    assert outcome.reason is Reason.LENGTH


@pytest.mark.parametrize("extra", [2, 32768, -2])
def test_08_trailing_or_missing_bytes_are_not_passed_over(extra: int, tmp_path: Path) -> None:
    dataset = read("CT_small.dcm")
    dataset.PixelData = (dataset.PixelData + bytes(32768))[: 32768 + extra]
    outcome, _ = transcode(saved(tmp_path, dataset), Target(syntaxes.JPEG_LS_LOSSLESS), tmp_path)
    assert outcome.reason is Reason.LENGTH


@pytest.mark.parametrize("part", [0.3, 0.7, 0.95])
@pytest.mark.parametrize("target", [NATIVE, Target(syntaxes.RLE_LOSSLESS, (("from", ("lossless",)),))])
def test_09_a_truncated_jpeg_ls_frame_is_no_image(part: float, target: Target, tmp_path: Path) -> None:
    whole = bundled("MR_small_jpeg_ls_lossless.dcm")
    (codestream,) = codestreams(whole)
    cut = codestream[: int(len(codestream) * part) // 2 * 2]
    dataset = encapsulated(read(whole.name), [cut], syntaxes.JPEG_LS_LOSSLESS)
    source = saved(tmp_path, dataset)
    outcome, _ = transcode(source, target, tmp_path)
    assert outcome.reason in (Reason.DECODER_FAILED, Reason.CODESTREAM)


# --- 10 and 11: what a rule asks for ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "place", "words"),
    [
        ("transfer_syntax: JPEGLSLossless\njls_error: 2", "7:5", "takes no jls_error"),
        ("transfer_syntax: JPEG2000Lossless\nj2k_cr: [10]", "7:5", "takes no j2k_cr"),
        ("transfer_syntax: JPEG2000Lossless\nj2k_psnr: [60]", "7:5", "takes no j2k_psnr"),
        ("transfer_syntax: RLELossless\njpeg_quality: 90", "7:5", "takes no jpeg_quality"),
        ("transfer_syntax: JPEG2000\nj2k_cr: [10]", "6:22", "lossy"),
    ],
)
def test_10_parameters_that_an_encoder_would_ignore_are_refused_at_load(
    rule: str, place: str, words: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        target_of(tmp_path, rule)
    assert any(f":{place}:" in line and words in line for line in caught.value.problems), caught.value


@pytest.mark.parametrize("name", ["jls_error", "jpeg_quality", "j2k_cr", "j2k_psnr"])
def test_10_the_engine_refuses_them_too(name: str, tmp_path: Path) -> None:
    target = Target(syntaxes.JPEG_LS_LOSSLESS, ((name, (10.0,) if name.startswith("j2k") else 2),))
    outcome, _ = transcode(bundled("CT_small.dcm"), target, tmp_path)
    assert outcome.reason is Reason.UNSUPPORTED_TARGET


@pytest.mark.parametrize("syntax", ["JPEG2000", "HTJ2K"])
@pytest.mark.parametrize("quality", ["j2k_cr: [10]", "j2k_psnr: [50]"])
def test_11_a_ratio_or_psnr_bounds_no_error_so_the_error_is_measured(
    syntax: str, quality: str, tmp_path: Path
) -> None:
    source = bundled("MR_small.dcm")
    rule = f"transfer_syntax: {syntax}\n{quality}\nlossy: {{max_error: BOUND}}"
    outcome, output = made(source, target_of(tmp_path, rule.replace("BOUND", "65535")), tmp_path)
    assert outcome.lossy is not None
    error = int(np.abs(stored(output) - stored(source)).max())
    assert error == outcome.lossy.max_error > 2
    outcome, output = made(source, target_of(tmp_path, rule.replace("BOUND", str(error - 1))), tmp_path)
    assert outcome.transfer_syntax == getattr(
        syntaxes, "HTJ2K_LOSSLESS" if syntax == "HTJ2K" else "JPEG_2000_LOSSLESS"
    )
    assert np.array_equal(stored(output), stored(source))
    assert "error-beyond-bound" in outcome.detail


# --- 12: encapsulated input -------------------------------------------------------------------------------------


def frames_in(syntax: str, folder: Path) -> tuple[list[bytes], list[NDArray[np.int64]]]:
    """Three frames that differ, each in its own codestream."""
    found, pixels = [], []
    for step in range(3):
        dataset = ct(12)
        frame = np.roll(dataset.pixel_array, 16 * step, axis=0)
        _, output = made(saved(folder, with_pixels(dataset, frame, 12)), Target(syntax), folder)
        found.append(codestreams(output)[0])
        pixels.append(frame.astype(np.int64))
    return found, pixels


def multiframe(folder: Path, frames: Sequence[bytes], syntax: str, **how: int) -> Path:
    return saved(folder, encapsulated(ct(12), frames, syntax, **how))  # type: ignore[arg-type]  # table is a bool


@every_lossless
@pytest.mark.parametrize("fragments", [1, 3])
@pytest.mark.parametrize("table", [False, True])
def test_12_frames_of_several_fragments_are_put_together_with_or_without_a_table(
    syntax: str, fragments: int, table: bool, tmp_path: Path
) -> None:
    frames, pixels = frames_in(syntax, tmp_path)
    source = multiframe(tmp_path, frames, syntax, fragments=fragments, table=table)
    outcome, output = made(source, NATIVE, tmp_path)
    assert outcome.frames == 3
    assert np.array_equal(stored(output), np.stack(pixels))


@every_lossless
@pytest.mark.parametrize("number", [None, 1, 2, 4])
def test_12_a_number_of_frames_that_the_codestreams_deny_is_not_believed(
    syntax: str, number: int | None, tmp_path: Path
) -> None:
    frames, _ = frames_in(syntax, tmp_path)
    dataset = encapsulated(ct(12), frames, syntax, table=False)
    if number is None:
        del dataset.NumberOfFrames
    else:
        dataset.NumberOfFrames = number
    outcome, _ = transcode(saved(tmp_path, dataset), NATIVE, tmp_path)
    assert outcome.reason is Reason.FRAMES


@every_lossless
def test_12_an_offset_table_that_contradicts_the_codestreams_is_not_believed(
    syntax: str, tmp_path: Path
) -> None:
    frames, pixels = frames_in(syntax, tmp_path)
    dataset = encapsulated(ct(12), frames, syntax, fragments=2)
    data = bytearray(dataset.PixelData)
    (length,) = struct.unpack_from("<L", data, 20 + 4)  # of the first fragment, behind a table of 12 bytes
    struct.pack_into("<L", data, 12, length + 8)  # the second frame begins in the first one's second fragment
    dataset.PixelData = bytes(data)
    outcome, _ = transcode(saved(tmp_path, dataset), NATIVE, tmp_path)
    assert outcome.reason is Reason.FRAMES
    struct.pack_into("<3L", data, 8, 0, 6, 7)  # a table that hits no item says nothing
    dataset.PixelData = bytes(data)
    _, output = made(saved(tmp_path, dataset), NATIVE, tmp_path)
    assert np.array_equal(stored(output), np.stack(pixels))


def test_12_an_extended_offset_table_that_contradicts_the_codestreams_is_not_believed(
    tmp_path: Path,
) -> None:
    frames, pixels = frames_in(syntaxes.JPEG_LS_LOSSLESS, tmp_path)
    dataset = encapsulated(ct(12), frames, syntaxes.JPEG_LS_LOSSLESS)
    dataset.PixelData, dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths = encapsulate_extended(
        frames
    )
    dataset["PixelData"].VR = "OB"
    source = saved(tmp_path, dataset)
    _, output = made(source, NATIVE, tmp_path)
    assert np.array_equal(stored(output), np.stack(pixels))
    # Four fragments of which two belong to the first frame: the table takes each for a frame.
    halves = [frames[0][:2000], frames[0][2000:], *frames[1:]]
    dataset.PixelData, table, lengths = encapsulate_extended(halves)
    dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths = table[:24], lengths[:24]
    dataset["PixelData"].VR = "OB"
    outcome, _ = transcode(saved(tmp_path, dataset), NATIVE, tmp_path)
    assert outcome.reason is Reason.FRAMES


# --- 13 to 18: libraries ----------------------------------------------------------------------------------------

WORKER = """
import hashlib, json, sys, threading
from pathlib import Path
from venturi.model import Target
from venturi.transcode.engine import Engine

def start(thread):
    raise AssertionError("the engine must not make threads")

threading.Thread.start = start
target = Target(sys.argv[2], (("codec", "pylibjpeg-openjpeg"),))
seen = set()
for turn in range(8):
    output = Path(sys.argv[3]) / f"{turn}.dcm"
    outcome = Engine().transcode(Path(sys.argv[1]), target, output)
    assert outcome.transcoded, outcome
    seen.add(outcome.sha256)
print(json.dumps(sorted(seen)))
"""


def test_13_two_processes_use_openjpegs_encoder_at_once_and_neither_makes_threads(tmp_path: Path) -> None:
    running = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        command = [sys.executable, "-c", WORKER, bundled("CT_small.dcm"), syntaxes.JPEG_2000_LOSSLESS]
        running.append(subprocess.Popen([*command, tmp_path / name], stdout=subprocess.PIPE))
    answers = [process.communicate(timeout=120)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0]
    first, second = map(json.loads, answers)
    assert len(first) == 1
    assert first == second


def test_13_no_module_of_an_encoders_process_imports_threads() -> None:
    folder = Path(str(venturi.transcode.__file__)).parent
    for name in (
        "engine",
        "prove",
        "original",
        "plan",
        "lossy",
        "worker",
        "codecs/jpeg_2000",
        "codecs/htj2k",
    ):
        tree = ast.parse((folder / f"{name}.py").read_text())
        imported = {
            alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
        }
        imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not imported & {"threading", "concurrent.futures", "multiprocessing.pool", "asyncio"}, name


@pytest.mark.parametrize("part", [0.5, 0.8, 0.95])
def test_14_an_htj2k_frame_that_one_decoder_returns_as_garbage_is_refused(
    part: float, tmp_path: Path
) -> None:
    _, output = made(bundled("CT_small.dcm"), Target(syntaxes.HTJ2K_LOSSLESS), tmp_path)
    (codestream,) = codestreams(output)
    cut = codestream[: int(len(codestream) * part) // 2 * 2]
    garbage = imagecodecs.htj2k_decode(cut)  # no error
    assert not np.array_equal(garbage, stored(output))
    dataset = encapsulated(pydicom.dcmread(output), [cut], syntaxes.HTJ2K_LOSSLESS)
    outcome, _ = transcode(saved(tmp_path, dataset), NATIVE, tmp_path)
    assert outcome.reason in (Reason.CODESTREAM, Reason.DECODER_FAILED)


@pytest.mark.parametrize("seed", range(4))
def test_14_a_damaged_htj2k_frame_is_refused_or_decoded_by_openjpeg_alone(seed: int, tmp_path: Path) -> None:
    outcome, output = made(bundled("CT_small.dcm"), Target(syntaxes.HTJ2K_LOSSLESS), tmp_path)
    assert outcome.codec.endswith("pylibjpeg-openjpeg")
    damaged = bytearray(codestreams(output)[0])
    dice = np.random.default_rng(seed)
    for place in dice.integers(200, len(damaged) - 2, 20):
        damaged[place] = dice.integers(0, 255)
    dataset = encapsulated(pydicom.dcmread(output), [bytes(damaged)], syntaxes.HTJ2K_LOSSLESS)
    outcome, _ = transcode(saved(tmp_path, dataset), NATIVE, tmp_path)
    assert outcome.reason is Reason.DECODER_FAILED


@pytest.mark.parametrize("target", [NATIVE, Target(syntaxes.HTJ2K_LOSSLESS, (("from", ("lossless",)),))])
def test_15_jp2_boxes_inside_a_frame_reach_no_decoder(target: Target, tmp_path: Path) -> None:
    source = bundled("GDCMJ2K_TextGBR.dcm")
    assert codestreams(source)[0][4:8] == b"jP  "
    outcome, _ = transcode(source, target, tmp_path)
    assert outcome.reason is Reason.FRAMES


@pytest.mark.parametrize("syntax", JPEG_2000)
def test_15_what_we_write_begins_with_the_codestream(syntax: str, tmp_path: Path) -> None:
    for name in ("CT_small.dcm", "examples_rgb_color.dcm"):
        _, output = made(bundled(name), Target(syntax), tmp_path)
        assert codestreams(output)[0].startswith(b"\xff\x4f\xff\x51")


@pytest.mark.parametrize("bits", [9, 12, 15])
def test_16_signed_samples_are_whole_containers_in_jpeg_ls(bits: int, tmp_path: Path) -> None:
    source = saved(tmp_path, ct(bits, signed=True))
    _, output = made(source, Target(syntaxes.JPEG_LS_LOSSLESS), tmp_path)
    (codestream,) = codestreams(output)
    assert segment(codestream, b"\xff\xf7")[0] == 16
    values = imagecodecs.jpegls_decode(codestream).view("<i2")  # as a reader that extends no sign has them
    assert values.min() < 0
    assert np.array_equal(values, stored(source))


def test_17_lossless_jpeg_has_selection_value_1(tmp_path: Path) -> None:
    for name in ("CT_small.dcm", "examples_rgb_color.dcm"):
        _, output = made(bundled(name), Target(syntaxes.JPEG_LOSSLESS_SV1), tmp_path)
        assert segment(codestreams(output)[0], b"\xff\xda")[-3] == 1  # Ss (ISO/IEC 10918-1 B.2.3)


@pytest.mark.parametrize("syntax", [syntaxes.HTJ2K_LOSSLESS, syntaxes.HTJ2K_LOSSLESS_RPCL])
def test_17_htj2k_of_rgb_says_that_it_was_transformed_and_has_the_containers_precision(
    syntax: str, tmp_path: Path
) -> None:
    _, output = made(bundled("examples_rgb_color.dcm"), Target(syntax), tmp_path)
    assert pydicom.dcmread(output).PhotometricInterpretation == "YBR_RCT"
    assert np.array_equal(stored(output), stored(bundled("examples_rgb_color.dcm")))
    source = saved(tmp_path, ct(12))
    _, output = made(source, Target(syntax), tmp_path)
    assert codestreams(output)[0][42] == 15
    assert pydicom.dcmread(output).BitsStored == 12


def test_17_jpeg_xl_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not make JPEGXLLossless"):
        target_of(tmp_path, "transfer_syntax: JPEGXLLossless")
    outcome, _ = transcode(bundled("CT_small.dcm"), Target("1.2.840.10008.1.2.4.110"), tmp_path)
    assert outcome.reason is Reason.UNSUPPORTED_TARGET


@pytest.mark.parametrize(
    ("uid", "keyword"),
    [
        ("1.2.840.10008.1.2.4.110", "JPEGXLLossless"),
        ("1.2.840.10008.1.2.4.111", "JPEGXLJPEGRecompression"),
        ("1.2.840.10008.1.2.4.112", "JPEGXL"),
        ("1.2.840.10008.1.2.8.1", "DeflatedImageFrameCompression"),
    ],
)
def test_18_syntaxes_newer_than_pydicom_are_known_by_name_and_passed_on(
    uid: str, keyword: str, tmp_path: Path
) -> None:
    dataset = read("CT_small.dcm")
    source = tmp_path / "source.dcm"
    meta = part10.FileMeta(dataset.SOPClassUID, dataset.SOPInstanceUID, uid)
    source.write_bytes(part10.encode(meta) + dataset_bytes(bundled("CT_small.dcm")))
    outcome, _ = transcode(source, NATIVE, tmp_path)
    assert (outcome.reason, outcome.transfer_syntax) == (Reason.UNSUPPORTED_INPUT_SYNTAX, uid)
    assert keyword in outcome.detail
