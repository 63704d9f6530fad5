"""RLE: what the encoders write, against other readers; what the decoder takes, over public files and hostile bytes."""

import shutil
import struct
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import RLELossless

from renditions import ct, image_of, rgb
from venturi.errors import Malformed
from venturi.model import Reason
from venturi.transcode.codecs.contract import Encoder, Options
from venturi.transcode.codecs.rle import RLE_CODECS, RLEDecoder
from venturi.transcode.frames import Frame, pixels, rebuild
from venturi.transcode.image import Image
from venturi.transcode.original import settle

PLAIN = Options()
ENCODERS: tuple[Encoder, ...] = RLE_CODECS[:3]
DECODER = RLEDecoder()

every_encoder = pytest.mark.parametrize("encoder", ENCODERS, ids=lambda encoder: encoder.name)


def proven(encoder: Encoder, frame: Frame, image: Image) -> bytes:
    """Encode; the pinned decoder, and the decoder for what arrives, give every bit of the container back."""
    assert encoder.refusal(image, PLAIN) is None
    codestream = encoder.encode(frame, image, PLAIN)
    assert encoder.check(codestream, image, PLAIN) == ""
    assert len(codestream) % 2 == 0  # so that no pad byte follows, which would be a segment's
    native = rebuild(frame, image)
    assert np.array_equal(rebuild(encoder.decode(codestream, image), image), native)
    assert DECODER.starts(codestream[:16])
    coded = DECODER.inspect(codestream, image)
    assert coded.lossless
    for decode in (DECODER.decode, DECODER.decode_again):
        assert np.array_equal(rebuild(settle(decode(codestream, image), coded, image), image), native)
    return codestream


@every_encoder
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("container", [8, 16, 32])
def test_grey_of_every_depth_comes_back_exactly(encoder: Encoder, container: int, signed: bool) -> None:
    for bits in range(1, container + 1) if container < 32 else (1, 17, 31, 32):
        frame = ct(bits, signed, container)
        proven(encoder, frame, image_of(frame, bits))


@every_encoder
@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_colour_comes_back_exactly_and_keeps_its_planar_configuration(
    encoder: Encoder, bits: int, planar: int
) -> None:
    frame = rgb(bits)
    image = image_of(frame, bits, "YBR_FULL", planar)
    proven(encoder, pixels(rebuild(frame, image), image), image)
    assert encoder.planar(image) == planar
    assert encoder.photometric(image, PLAIN) == "YBR_FULL"


@every_encoder
@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("width", [1, 2])
def test_one_pixel_comes_back_exactly(encoder: RLELossless, width: int, samples: int) -> None:
    frame = np.arange(samples, dtype=f"<u{width}").reshape((1, 1) if samples == 1 else (1, 1, samples))
    proven(encoder, frame, image_of(frame, 8 * width))


@every_encoder
@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    width=st.sampled_from([1, 2, 4, 8]),
    rows=st.integers(1, 12),
    columns=st.integers(1, 300),
    samples=st.sampled_from([1, 3]),
    values=st.sampled_from([1, 2, 256]),
)
def test_noise_and_runs_of_any_shape_come_back_exactly(
    encoder: Encoder, seed: int, width: int, rows: int, columns: int, samples: int, values: int
) -> None:
    noise = np.random.default_rng(seed).integers(0, values, (rows, columns, samples, width), dtype=np.uint8)
    frame = noise.view(f"<u{width}")[..., 0]
    frame = np.ascontiguousarray(frame[..., 0] if samples == 1 else frame)
    if width * samples > 15:
        return
    proven(encoder, frame, image_of(frame, 8 * width))


@every_encoder
def test_an_overlay_in_the_unused_bits_comes_back(encoder: Encoder) -> None:
    frame = ct(16)
    proven(encoder, frame, image_of(frame, 12))
    proven(encoder, frame, replace(image_of(frame, 12), depth=16))
    assert encoder.keeps_unused_bits


@every_encoder
def test_more_than_15_segments_are_refused(encoder: Encoder) -> None:
    refused = encoder.refusal(replace(image_of(rgb(), 8), bits_allocated=64, bits_stored=64), PLAIN)
    assert refused is not None
    assert refused.reason is Reason.BITS


def test_each_row_is_coded_for_itself() -> None:
    frame = np.zeros((3, 100), np.uint8)
    for encoder in ENCODERS:
        assert encoder.encode(frame, image_of(frame, 8), PLAIN)[64:] == b"\x9d\0" * 3  # 3 runs of 100


def wrapped(codestream: bytes, frame: Frame, bits: int) -> pydicom.Dataset:
    ds = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
    ds.Rows, ds.Columns = frame.shape[:2]
    ds.SamplesPerPixel = 1 if frame.ndim == 2 else 3
    ds.PhotometricInterpretation = "MONOCHROME2" if frame.ndim == 2 else "RGB"
    if frame.ndim == 3:
        ds.PlanarConfiguration = 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8 * frame.itemsize, bits, bits - 1
    ds.PixelRepresentation = int(frame.dtype.kind == "i")
    for keyword in ("PixelPaddingValue", "SmallestImagePixelValue", "LargestImagePixelValue"):
        if keyword in ds:
            delattr(ds, keyword)
    ds.file_meta.TransferSyntaxUID = RLELossless
    ds.PixelData = encapsulate([codestream])
    ds["PixelData"].VR = "OB"
    return ds


@pytest.mark.parametrize(
    ("frame", "bits"),
    [
        (ct(5, False, 8), 5),
        (ct(8, False, 8), 8),
        (ct(12, True), 12),
        (ct(16), 16),
        (ct(16), 12),
        (rgb(), 8),
        (rgb(16), 16),
        (np.random.default_rng(1).integers(0, 1 << 16, (50, 300)).astype("<u2"), 16),
        (ct(16)[:, :1].copy(), 16),
        (np.arange(4, dtype="<u2").repeat(150).reshape(2, 300), 16),
    ],
    ids=[
        *("5 in 8", "8 in 8", "12 in 16 signed", "16 in 16", "12 in 16 with an overlay", "RGB", "16-bit RGB"),
        *("noise", "rows of a pixel", "runs over 128"),
    ],
)
def test_dcmtk_and_gdcm_read_the_same_pixels(frame: Frame, bits: int, tmp_path: Path) -> None:
    before, after = tmp_path / "before.dcm", tmp_path / "after.dcm"
    wrapped(ENCODERS[0].encode(frame, image_of(frame, bits), PLAIN), frame, bits).save_as(before)
    tools = [["dcmdrle"]]
    gdcm_cannot = bits < 8 or frame.itemsize * frame.ndim == 6 or (bits == 12 and frame.max() > 4095)
    if not gdcm_cannot:
        tools.append(["gdcmconv", "--raw"])
    for tool in tools:
        if shutil.which(tool[0]) is None:
            pytest.skip(f"{tool[0]} is not installed")
        subprocess.run([*tool, before, after], capture_output=True, check=True)
        ds = pydicom.dcmread(after)
        read = np.frombuffer(ds.PixelData, frame.dtype)[: frame.size]
        if frame.ndim == 3 and ds.PlanarConfiguration:
            read = read.reshape(3, -1).T
        assert np.array_equal(read.reshape(frame.shape), frame), tool


@pytest.mark.filterwarnings("ignore")
def test_every_public_file_is_decoded_as_pydicom_does(corpus: Path) -> None:
    read, wrong = 0, []
    bundled = Path(str(get_testdata_file("CT_small.dcm"))).parent
    for folder in dict.fromkeys((corpus, bundled)):
        for path in sorted(item for item in folder.rglob("*") if item.is_file()):
            try:
                ds = pydicom.dcmread(path)
                if ds.file_meta.TransferSyntaxUID != RLELossless or ds.BitsAllocated < 8:
                    continue
            except Exception:  # not a file that pydicom reads
                continue
            grey = ds.SamplesPerPixel == 1
            shape = (ds.Rows, ds.Columns) if grey else (ds.Rows, ds.Columns, 3)
            dtype = f"<{'i' if ds.PixelRepresentation else 'u'}{ds.BitsAllocated // 8}"
            image = image_of(np.empty(shape, dtype), ds.BitsStored, ds.PhotometricInterpretation)
            count = int(ds.get("NumberOfFrames", 1) or 1)
            codestreams = generate_frames(ds.PixelData, number_of_frames=count)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                expected = pydicom.pixels.pixel_array(path, raw=True)
            for index, codestream in enumerate(codestreams):
                coded = DECODER.inspect(codestream, image)
                assert DECODER.starts(codestream[:16])
                for decode in (DECODER.decode, DECODER.decode_again):
                    frame = settle(decode(codestream, image), coded, image)
                    if not np.array_equal(frame, expected[index] if count > 1 else expected):
                        wrong.append(f"{path} frame {index}")
            read += 1
    assert read >= 9
    assert not wrong


GOOD = ENCODERS[0].encode(ct(), image_of(ct(), 12), PLAIN)


def header(*numbers: int) -> bytes:
    return struct.pack("<16L", *numbers, *[0] * (16 - len(numbers)))


@pytest.mark.parametrize(
    ("codestream", "words"),
    [
        (b"", "too few"),
        (GOOD[:63], "too few"),
        (header(1, 64) + GOOD[64:], "1 segments, not 2"),
        (header(2, 60, 5000) + GOOD[64:], "behind the header"),
        (header(2, 64, 5000, 6000) + GOOD[64:], "too many"),
        (header(2, 64, 64) + GOOD[64:], "ascend"),
        (header(2, 64, 1 << 31) + GOOD[64:], "ascend"),
        (header(2, 64, len(GOOD)) + GOOD[64:], "ascend"),
        (header(0xFFFFFFFF, 64) + GOOD[64:], "4294967295 segments"),
    ],
)
def test_a_header_that_lies_is_malformed(codestream: bytes, words: str) -> None:
    image = image_of(ct(), 12)
    with pytest.raises(Malformed, match=words):
        DECODER.inspect(codestream, image)
    for encoder in ENCODERS:
        assert words in encoder.check(codestream, image, PLAIN)


@pytest.mark.parametrize(
    ("segment", "words"),
    [
        (b"\x03\1\2\3\4", "4 bytes, not 5"),
        (b"\x05\1\2\3\4\5\6", "TOO_SMALL"),
        (b"\x04\1\2\3\4\5\0\6", "TOO_SMALL"),
        (b"\xfb\1", "TOO_SMALL"),
        (b"\x04\1\2", "CORRUPT"),
    ],
    ids=["too short", "too long", "more than a pad byte behind it", "a run too long", "cut"],
)
def test_a_segment_of_another_length_than_its_plane_raises(segment: bytes, words: str) -> None:
    image = image_of(np.zeros((1, 5), np.uint8), 8)
    codestream = header(1, 64) + segment
    with pytest.raises((ValueError, RuntimeError), match=words):
        DECODER.decode(codestream, image)
    for encoder in ENCODERS:
        with pytest.raises((ValueError, RuntimeError), match=words):
            encoder.decode(codestream, image)


def test_a_panic_of_pylibjpeg_rle_is_an_exception() -> None:
    image = image_of(np.zeros((1, 6), "<u2"), 16)
    codestream = header(2, 64, 66) + b"\xfb\1" + b"\x81\2"
    with pytest.raises(ValueError, match="gave up"):
        DECODER.decode_again(codestream, image)


@pytest.mark.parametrize(
    "fragment", [b"", b"\1\0\0\0", header(0, 64)[:16], header(16, 64)[:16], header(3, 0)[:16]]
)
def test_what_is_no_header_starts_no_frame(fragment: bytes) -> None:
    assert not DECODER.starts(fragment)


def test_every_beginning_of_a_frame_is_noticed() -> None:
    frame = np.ascontiguousarray(ct()[:16, :16])
    image = image_of(frame, 12)
    codestream = ENCODERS[0].encode(frame, image, PLAIN).rstrip(b"\0")
    for length in range(len(codestream)):
        for decode in (DECODER.decode, DECODER.decode_again):
            with pytest.raises((Malformed, ValueError, RuntimeError)):
                decode(codestream[:length], image)


MUTATE = """
import resource, sys
import numpy as np
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
resource.setrlimit(resource.RLIMIT_CPU, (120, 120))
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/.."]
import test_codecs_rle as t
random = np.random.default_rng(7)
for pixels, bits in ((t.ct()[:40, :40], 12), (t.rgb()[:40, :40], 8), (t.rgb(16)[:40, :40], 16)):
    pixels = np.ascontiguousarray(pixels)
    image = t.image_of(pixels, bits)
    good = t.ENCODERS[0].encode(pixels, image, t.PLAIN)
    for _ in range(1000):
        bad = bytearray(good)
        for _ in range(random.integers(1, 4)):
            at = int(random.integers(0, 64 if random.random() < 0.3 else len(bad)))
            bad[at] = int(random.integers(256))
        bad = bytes(bad)
        t.DECODER.starts(bad[:16])
        for step in (t.DECODER.inspect, t.DECODER.decode, t.DECODER.decode_again):
            try:
                step(bad, image)
            except Exception:
                pass
print("alive")
"""


def test_mutated_frames_neither_crash_nor_hang_nor_take_memory() -> None:
    command = [sys.executable, "-c", MUTATE, str(Path(__file__).parent)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.stdout == "alive\n", f"exit code {run.returncode}: {run.stderr[-500:]}"
