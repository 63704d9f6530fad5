"""Every codec of the registry, over every kind of pixel it takes, and over all public files."""

import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file

from venturi.dataset import syntaxes
from venturi.dataset.encapsulate import frames
from venturi.dataset.scan import PIXEL_DATA
from venturi.model import Proof, Reason, Target
from venturi.transcode.attributes import MAY_CHANGE
from venturi.transcode.codecs import CODECS, Codec
from venturi.transcode.dataset_file import open_dataset
from venturi.transcode.engine import Engine
from venturi.transcode.frames import Frame, native, pixels, rebuild
from venturi.transcode.image import Image

BY_NAME = {syntaxes.lookup(codec.transfer_syntax).keyword: codec for codec in CODECS}
every_codec = pytest.mark.parametrize("codec", CODECS, ids=list(BY_NAME))

OF_OTHER_BITS = ["JPEGLSLossless", "JPEG2000Lossless", "HTJ2KLossless"]
NOT_TRANSCODED = {
    # bits above Bits Stored hold an overlay or garbage: only RLE keeps them
    **{
        (name, codec): Reason.UNUSED_BITS
        for name in (
            *("ovly_p01.dcm", "12bitSigned_0x0F0F.dcm", "12bitUnsigned.dcm", "12bitUnsigned_0x0F0F.dcm"),
            "mlut_18.dcm",
        )
        for codec in OF_OTHER_BITS
    },
    # 27 bytes of colour noise: pyjpegls has too small a buffer for them
    ("SC_rgb_small_odd.dcm", "JPEGLSLossless"): Reason.ENCODER_FAILED,
    # 16-bit colour in RLE: GDCM mixes up its bytes
    ("SC_rgb_16bit.dcm", "RLELossless"): Reason.BITS,
    ("SC_rgb_16bit_2frame.dcm", "RLELossless"): Reason.BITS,
}
"""Honest native files of 8 to 16 bits that are passed on all the same, and why."""

SINGLE = Image(
    rows=0,
    columns=0,
    samples=1,
    bits_allocated=16,
    bits_stored=12,
    signed=False,
    photometric="MONOCHROME2",
    planar=None,
    frames=1,
    offset=0,
)


def image_of(frame: Frame, stored: int, photometric: str = "", planar: int = 0) -> Image:
    samples = 1 if frame.ndim == 2 else frame.shape[2]
    return replace(
        SINGLE,
        rows=frame.shape[0],
        columns=frame.shape[1],
        samples=samples,
        bits_allocated=8 * frame.itemsize,
        bits_stored=stored,
        signed=frame.dtype.kind == "i",
        photometric=photometric or ("MONOCHROME2" if samples == 1 else "RGB"),
        planar=None if samples == 1 else planar,
    )


def ct(bits: int, signed: bool, container: int) -> Frame:
    """A real CT slice, scaled to the whole range of ``bits`` bits."""
    grey = pydicom.dcmread(str(get_testdata_file("CT_small.dcm"))).pixel_array.astype(np.int64)
    grey = (grey - grey.min()) * ((1 << bits) - 1) // int(np.ptp(grey)) - ((1 << (bits - 1)) if signed else 0)
    return grey.astype(f"<{'i' if signed else 'u'}{container // 8}")


def round_trip(codec: Codec, frame: Frame, image: Image) -> None:
    assert codec.refusal(image) is None
    codestream = codec.encode(frame, image)
    assert codec.check(codestream, image) == ""
    assert codec.check(codestream + b"\0", image) == ""  # a pad byte
    decoded = codec.decode(codestream, image)
    assert np.array_equal(rebuild(decoded, image), rebuild(frame, image))


@every_codec
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(
    ("bits", "container"),
    [
        (1, 8),
        (2, 8),
        (4, 8),
        (7, 8),
        (8, 8),
        (1, 16),
        (7, 16),
        (8, 16),
        (9, 16),
        (12, 16),
        (14, 16),
        (16, 16),
    ],
)
def test_grey_of_every_depth_comes_back_exactly(
    codec: Codec, bits: int, container: int, signed: bool
) -> None:
    frame = ct(bits, signed, container)
    image = image_of(frame, bits)
    if codec is BY_NAME["RLELossless"] and bits < container == 8:
        refused = codec.refusal(image)
        assert refused is not None
        assert refused.reason is Reason.BITS
    else:
        round_trip(codec, frame, image)


@every_codec
@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
def test_colour_comes_back_exactly_in_its_own_layout(codec: Codec, planar: int, photometric: str) -> None:
    frame = pydicom.dcmread(str(get_testdata_file("examples_rgb_color.dcm"))).pixel_array
    image = image_of(frame, 8, photometric, planar)
    stored = rebuild(frame, image)
    assert np.array_equal(pixels(stored, image), frame)
    round_trip(codec, frame, image)


@every_codec
@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (3, 5), (16, 16), (31, 33)])
def test_small_images_come_back_exactly(codec: Codec, shape: tuple[int, int]) -> None:
    frame = np.ascontiguousarray(np.resize(ct(12, False, 16), shape) // 8)
    image = image_of(frame, 12)
    try:
        codestream = codec.encode(frame, image)
    except RuntimeError:
        assert codec is BY_NAME["JPEGLSLossless"], "only pyjpegls fails on a few pixels"
        return
    assert codec.check(codestream, image) == ""
    assert np.array_equal(codec.decode(codestream, image), frame)


@every_codec
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), bits=st.integers(1, 16), signed=st.booleans(), side=st.integers(8, 40))
def test_noise_comes_back_exactly_or_is_refused_by_the_encoder(
    codec: Codec, seed: int, bits: int, signed: bool, side: int
) -> None:
    low, high = (-(1 << (bits - 1)), 1 << (bits - 1)) if signed else (0, 1 << bits)
    frame = np.random.default_rng(seed).integers(low, high, (side, side)).astype("<i2" if signed else "<u2")
    image = image_of(frame, bits)
    try:
        codestream = codec.encode(frame, image)
    except RuntimeError:
        return
    assert codec.check(codestream, image) == ""
    assert np.array_equal(codec.decode(codestream, image), frame)


@every_codec
def test_the_same_frame_gives_the_same_bytes(codec: Codec) -> None:
    frame = ct(12, False, 16)
    image = image_of(frame, 12)
    assert codec.encode(frame, image) == codec.encode(frame, image)


@every_codec
@pytest.mark.parametrize("change", [{"rows": 64}, {"columns": 129}, {"samples": 3, "photometric": "RGB"}])
def test_a_codestream_of_other_dimensions_is_noticed_before_it_is_decoded(
    codec: Codec, change: dict[str, object]
) -> None:
    frame = ct(12, False, 16)
    image = image_of(frame, 12)
    codestream = codec.encode(frame, image)
    changed = replace(image, **change)  # type: ignore[arg-type]  # the cases above have the fields' types
    if codec is BY_NAME["RLELossless"] and "samples" not in change:
        with pytest.raises(ValueError, match="segment 0 has"):  # RLE's header has no dimensions
            codec.decode(codestream, changed)
    else:
        assert codec.check(codestream, changed) != ""


@every_codec
def test_every_beginning_of_a_codestream_is_refused_or_fails_to_decode_to_the_frame(codec: Codec) -> None:
    frame = np.ascontiguousarray(ct(12, False, 16)[:32, :32])
    image = image_of(frame, 12)
    codestream = codec.encode(frame, image)
    for length in range(0, len(codestream) - 2, 7):
        cut = codestream[:length]
        if not codec.check(cut, image):
            try:
                same = np.array_equal(codec.decode(cut, image), frame)
            except Exception:  # any refusal will do
                same = False
            assert not same


def public_files(corpus: Path) -> Iterator[Path]:
    bundled = Path(str(get_testdata_file("CT_small.dcm"))).parent
    folders = [bundled] if corpus == bundled else [corpus, bundled]
    for folder in folders:
        yield from (path for path in sorted(folder.rglob("*")) if path.is_file())


def honest_native(path: Path) -> bool:
    """Whether pydicom sees an ordinary native image of 8 to 16 bits."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ds = pydicom.dcmread(path)
            if ds.file_meta.TransferSyntaxUID != syntaxes.EXPLICIT_VR_LITTLE_ENDIAN or "PixelData" not in ds:
                return False
            expected = ds.Rows * ds.Columns * ds.SamplesPerPixel * ds.BitsAllocated // 8
            expected *= int(ds.get("NumberOfFrames", 1) or 1)
            return (
                ds.BitsAllocated in (8, 16)
                and ds.HighBit == ds.BitsStored - 1
                and len(ds.PixelData) in (expected, expected + expected % 2)
                and not ds.PhotometricInterpretation.startswith("YBR_FULL_")
            )
        except Exception:  # not a file pydicom reads either
            return False


@every_codec
def test_every_public_file_is_transcoded_and_proven_or_passed_on_with_a_reason(
    codec: Codec, corpus: Path, tmp_path: Path
) -> None:
    engine, output = Engine(), tmp_path / "out.dcm"
    keyword = syntaxes.lookup(codec.transfer_syntax).keyword
    transcoded, wrong = 0, []
    for path in public_files(corpus):
        before = path.stat()
        outcome = engine.transcode(path, Target(codec.transfer_syntax), output)
        assert path.stat().st_mtime_ns == before.st_mtime_ns
        assert output.exists() is outcome.transcoded
        if outcome.transcoded:
            transcoded += 1
            assert outcome.proof is Proof.PIXELS
            compare(path, output, outcome.frames)
            output.unlink()
        if honest_native(path):
            expected = NOT_TRANSCODED.get((path.name, keyword))
            if outcome.reason is not expected:
                wrong.append(f"{path}: {outcome.reason}: {outcome.detail}")
    assert not wrong
    assert transcoded > 30


def compare(source: Path, output: Path, count: int) -> None:
    """By pydicom, apart from the engine's own proof: same pixels, and all other elements byte for byte."""
    before, after = open_dataset(source), open_dataset(output)
    kept = {e.tag: before.data[e.start : e.end] for e in before.elements() if e.tag not in MAY_CHANGE}
    written = {e.tag: after.data[e.start : e.end] for e in after.elements() if e.tag not in MAY_CHANGE}
    assert kept == written
    pixel_data = next(element for element in after.elements() if element.tag == PIXEL_DATA)
    assert len(frames(after.data, pixel_data, count)) == count
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        old, new = pydicom.dcmread(source), pydicom.dcmread(output)
        assert after.meta.sop_instance_uid == before.meta.sop_instance_uid
        if old.BitsStored > 1 and "12bit" not in source.name and source.name != "ovly_p01.dcm":
            assert np.array_equal(new.pixel_array, old.pixel_array)


def test_native_reads_each_frame_where_it_is() -> None:
    frame = ct(12, False, 16)
    image = replace(image_of(frame, 12), frames=3, offset=5)
    data = b"xxxxx" + b"".join((frame + index).astype("<u2").tobytes() for index in range(3))
    for index in range(3):
        assert np.array_equal(pixels(native(data, image, index), image), frame + index)


MEASURE = """
import resource, sys
from pathlib import Path
from venturi.model import Target
from venturi.transcode.engine import Engine
source, output = Path(sys.argv[1]), Path(sys.argv[2])
small = Engine().transcode(Path(sys.argv[4]), Target(sys.argv[3]), output)
output.unlink()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
outcome = Engine().transcode(source, Target(sys.argv[3]), output)
assert outcome.transcoded and small.transcoded, outcome
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("syntax", [syntaxes.RLE_LOSSLESS, syntaxes.HTJ2K_LOSSLESS])
def test_memory_does_not_grow_with_the_number_of_frames(syntax: str, tmp_path: Path) -> None:
    single = Path(str(get_testdata_file("CT_small.dcm")))
    dataset = pydicom.dcmread(single)
    dataset.NumberOfFrames = 4096
    dataset.PixelData = dataset.PixelData * 4096  # 128 MiB
    source = tmp_path / "source.dcm"
    dataset.save_as(source)
    command = [sys.executable, "-c", MEASURE, source, tmp_path / "out.dcm", syntax, single]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(run.stdout) < 80 << 10, f"{run.stdout} KiB more than for one frame"
