"""JPEG and JPEG-LS: what the encoders write, against other readers; what the decoders take, over public files,
other writers' codestreams and hostile bytes."""

import shutil
import struct
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import imagecodecs
import jpeg_ls
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import UID

from renditions import ct, image_of, rgb
from venturi.errors import Malformed
from venturi.model import Reason
from venturi.transcode.codecs import jpeg_decoder, jpeg_markers
from venturi.transcode.codecs.contract import Encoder, Options
from venturi.transcode.codecs.jpeg import JPEGBaseline, JPEGLosslessSV1
from venturi.transcode.codecs.jpeg_decoder import JPEGDecoder
from venturi.transcode.codecs.jpeg_ls import JPEGLSDecoder, JPEGLSLossless, JPEGLSNearLossless
from venturi.transcode.frames import Frame, pixels, rebuild
from venturi.transcode.image import Image
from venturi.transcode.original import settle
from venturi.transcode.refusal import Refused

PLAIN = Options()
BINDINGS = ("charls", "pyjpegls", "imagecodecs")
LOSSLESS: tuple[Encoder, ...] = (*map(JPEGLSLossless, BINDINGS), JPEGLosslessSV1())
NEAR: tuple[Encoder, ...] = tuple(map(JPEGLSNearLossless, BINDINGS))
DECODERS = {uid: decoder for decoder in (JPEGDecoder(), JPEGLSDecoder()) for uid in decoder.transfer_syntaxes}
DCMTK_READS = {"JPEGLSLossless": "dcmdjpls", "JPEGLosslessSV1": "dcmdjpeg", "JPEGBaseline": "dcmdjpeg"}


def named(encoder: Encoder) -> str:
    return f"{type(encoder).__name__}-{encoder.name}"


every_lossless = pytest.mark.parametrize("encoder", LOSSLESS, ids=named)
every_near = pytest.mark.parametrize("encoder", NEAR, ids=named)


def proven(encoder: Encoder, frame: Frame, image: Image) -> bytes:
    """Encode; the pinned decoder, and the decoder for what arrives, give every bit of the container back."""
    assert encoder.refusal(image, PLAIN) is None
    codestream = encoder.encode(frame, image, PLAIN)
    assert encoder.check(codestream, image, PLAIN) == ""
    assert encoder.check(codestream + b"\0", image, PLAIN) == ""  # a pad byte
    native = rebuild(frame, image)
    assert np.array_equal(rebuild(encoder.decode(codestream, image), image), native)
    decoder = DECODERS[encoder.transfer_syntax]
    assert decoder.starts(codestream[:16])
    coded = decoder.inspect(codestream, image)
    assert coded.lossless
    for decode in (decoder.decode, decoder.decode_again):
        assert np.array_equal(rebuild(settle(decode(codestream, image), coded, image), image), native)
    return codestream


# Lossless


@every_lossless
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("container", [8, 16])
def test_grey_of_every_depth_comes_back_exactly(encoder: Encoder, container: int, signed: bool) -> None:
    for bits in range(1, container + 1):
        frame = ct(bits, signed, container)
        proven(encoder, frame, image_of(frame, bits))


@every_lossless
@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
@pytest.mark.parametrize("planar", [0, 1])
def test_colour_comes_back_exactly_and_is_marked_as_what_it_is(
    encoder: Encoder, planar: int, photometric: str
) -> None:
    for bits in (8, 12):
        frame = rgb() if bits == 8 else rgb().astype("<u2") << 4
        image = image_of(frame, bits, photometric, planar)
        codestream = proven(encoder, pixels(rebuild(frame, image), image), image)
        assert encoder.photometric(image, PLAIN) == photometric
        assert encoder.planar(image) == 0
        if isinstance(encoder, JPEGLosslessSV1):
            transform = JPEGDecoder().inspect(codestream, image).transform
            assert transform == ("RGB" if photometric == "RGB" else "")
            other = replace(image, photometric="RGB" if photometric == "YBR_FULL" else "YBR_FULL")
            assert "markers call" in encoder.check(codestream, other, PLAIN)


@every_lossless
@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    bits=st.integers(1, 16),
    signed=st.booleans(),
    rows=st.integers(1, 24),
    columns=st.integers(1, 24),
    samples=st.sampled_from([1, 3]),
)
def test_noise_of_any_small_shape_comes_back_exactly(
    encoder: Encoder, seed: int, bits: int, signed: bool, rows: int, columns: int, samples: int
) -> None:
    low, high = (-(1 << (bits - 1)), 1 << (bits - 1)) if signed else (0, 1 << bits)
    shape = (rows, columns) if samples == 1 else (rows, columns, 3)
    noise = np.random.default_rng(seed).integers(low, high, shape)
    for width in (1, 2) if bits <= 8 else (2,):
        frame = noise.astype(f"<{'i' if signed else 'u'}{width}")
        proven(encoder, frame, image_of(frame, bits))


@every_lossless
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("stored", "container"), [(12, 16), (8, 16), (5, 8)])
def test_an_overlay_in_the_unused_bits_comes_back_when_all_bits_are_coded(
    encoder: Encoder, stored: int, container: int, signed: bool
) -> None:
    frame = ct(container, signed, container)
    image = replace(image_of(frame, stored), depth=container)
    assert encoder.keeps_unused_bits
    codestream = proven(encoder, frame, image)
    assert DECODERS[encoder.transfer_syntax].inspect(codestream, image).bits == container


def test_where_pyjpegls_has_too_small_a_buffer_imagecodecs_encodes_without_a_spiff_header() -> None:
    frame = np.random.default_rng(1).integers(0, 4096, (3, 3)).astype("<u2")
    image = image_of(frame, 12)
    with pytest.raises(RuntimeError, match="destination buffer is too small"):
        jpeg_ls.encode_buffer(frame.tobytes(), 3, 3, 1, 12)
    codestream = proven(JPEGLSLossless(), frame, image)
    assert codestream[:4] == b"\xff\xd8\xff\xf7"
    assert codestream == JPEGLSLossless("imagecodecs").encode(frame, image, PLAIN)


@pytest.mark.parametrize("near", [0, 2])
@pytest.mark.parametrize(
    ("frame", "bits", "encodes"),
    [
        (ct(5, False, 8), 5, "imagecodecs"),
        (ct(8, True, 8), 8, "imagecodecs"),
        (rgb(), 8, "imagecodecs"),
        (ct(12, True), 12, "imagecodecs"),
        (ct(16), 16, "imagecodecs"),
        (ct(8), 8, "pyjpegls"),
        (ct(12), 12, "pyjpegls"),
    ],
)
def test_by_default_jpeg_ls_is_what_pyjpegls_makes_of_it(
    frame: Frame, bits: int, encodes: str, near: int
) -> None:
    image, options = image_of(frame, bits), Options(jls_error=near)
    kind = JPEGLSNearLossless if near else JPEGLSLossless
    if near:
        frame = np.clip(frame, frame.min() + near, frame.max() - near)
    assert kind().binding(image) == encodes
    assert kind().encode(frame, image, options) == kind("pyjpegls").encode(frame, image, options)


@every_lossless
def test_the_same_frame_gives_the_same_bytes_wherever_it_lies(encoder: Encoder) -> None:
    frame = ct()
    wide = np.repeat(frame, 2, axis=1)[:, ::2]
    assert encoder.encode(frame, image_of(frame, 12), PLAIN) == encoder.encode(
        wide, image_of(wide, 12), PLAIN
    )


@every_lossless
def test_samples_of_more_than_16_bits_are_refused(encoder: Encoder) -> None:
    refused = encoder.refusal(image_of(ct(20, container=32), 20), PLAIN)
    assert refused is not None
    assert refused.reason is Reason.BITS


@every_lossless
@pytest.mark.parametrize(
    "change",
    [{"rows": 64}, {"columns": 129}, {"samples": 3}, {"depth": 11}, {"signed": True}, {"bits_allocated": 8}],
)
def test_a_codestream_of_another_image_is_noticed(encoder: Encoder, change: dict[str, object]) -> None:
    frame = ct()
    codestream = encoder.encode(frame, image_of(frame, 12), PLAIN)
    changed = replace(image_of(frame, 12), **change)  # type: ignore[arg-type]  # the cases have the fields' types
    if (
        encoder.name == "imagecodecs"
        and isinstance(encoder, JPEGLSLossless)
        and {"depth", "signed"} & set(change)
    ):
        assert encoder.check(codestream, changed, PLAIN) == ""  # it codes all bits of the container
    else:
        assert encoder.check(codestream, changed, PLAIN) != ""


@every_lossless
@pytest.mark.parametrize("shape", [(1, 65535), (65535, 1), (1, 65535, 3)])
def test_the_longest_sides_come_back_exactly(encoder: Encoder, shape: tuple[int, ...]) -> None:
    frame = np.resize(ct(8, container=8), shape)
    proven(encoder, frame, image_of(frame, 8))


# Near-lossless


@every_near
@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    bits=st.integers(2, 16),
    signed=st.booleans(),
    near=st.integers(1, 255),
    margin=st.integers(0, 300),
    small=st.booleans(),
)
def test_near_lossless_never_differs_by_more_than_near_or_is_refused(
    encoder: Encoder, seed: int, bits: int, signed: bool, near: int, margin: int, small: bool
) -> None:
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    near = min(near, ((1 << bits) - 1) // 2)
    margin = min(margin, (high - low) // 2)
    random = np.random.default_rng(seed)
    frame = random.integers(low + margin, high - margin, (2, 3) if small else (17, 16), endpoint=True)
    frame = frame.astype(f"<{'i' if signed else 'u'}{1 if bits <= 8 and seed % 2 else 2}")
    image, options = image_of(frame, bits), Options(jls_error=near)
    assert encoder.refusal(image, options) is None
    try:
        codestream = encoder.encode(frame, image, options)
    except Refused:
        assert margin < near
        return
    assert encoder.check(codestream, image, options) == ""
    decoded = encoder.decode(codestream, image).astype(int)
    assert np.abs(decoded - frame).max() <= near
    assert decoded.min() >= low
    assert decoded.max() <= high
    coded = JPEGLSDecoder().inspect(codestream, image)
    assert not coded.lossless


@every_near
@pytest.mark.parametrize(
    ("bits", "container", "signed"),
    [(8, 8, True), (5, 8, False), (5, 8, True), (12, 16, True), (16, 16, True), (8, 16, False)],
)
@pytest.mark.parametrize("near", [1, 2, 7])
def test_values_nearer_than_near_to_an_open_end_are_refused_and_others_not(
    encoder: Encoder, bits: int, container: int, signed: bool, near: int
) -> None:
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    options, dtype = Options(jls_error=near), f"<{'i' if signed else 'u'}{container // 8}"

    def edges(margin: int) -> Frame:
        lowest, highest = (low + margin if signed else low), high - margin
        random = np.random.default_rng(0)
        ends = np.where(random.random((32, 32)) < 0.5, lowest, highest)
        return np.clip(ends + random.integers(-near, near + 1, ends.shape), lowest, highest).astype(dtype)

    inside = edges(near)
    decoded = encoder.decode(encoder.encode(inside, image_of(inside, bits), options), image_of(inside, bits))
    assert np.abs(decoded.astype(int) - inside).max() <= near
    assert low <= decoded.min()
    assert decoded.max() <= high
    outside = edges(near - 1)
    with pytest.raises(Refused) as caught:
        encoder.encode(outside, image_of(outside, bits), options)
    assert caught.value.reason is Reason.ERROR_BOUND


def test_without_the_refusal_signed_values_would_wrap_around() -> None:
    frame = np.where(np.random.default_rng(0).random((32, 32)) < 0.5, 32767, 32760).astype("<i2")
    codestream = bytes(jpeg_ls.encode_buffer(frame.tobytes(), 32, 32, 1, 16, 4))
    decoded = JPEGLSNearLossless().decode(codestream, image_of(frame, 16))
    assert np.abs(decoded.astype(int) - frame).max() > 60000


def test_unsigned_values_to_the_very_end_are_taken_where_the_precision_is_bits_stored() -> None:
    frame, options = ct(12), Options(jls_error=3)
    assert frame.max() == 4095
    decoded = NEAR[0].decode(NEAR[0].encode(frame, image_of(frame, 12), options), image_of(frame, 12))
    assert decoded.max() <= 4095


@every_near
@pytest.mark.parametrize(
    ("bits", "near", "depth", "reason"),
    [
        (12, 0, 12, Reason.BITS),
        (12, 256, 12, Reason.BITS),
        (4, 8, 4, Reason.BITS),
        (12, 2, 16, Reason.UNUSED_BITS),
    ],
)
def test_near_that_means_nothing_is_refused(
    encoder: Encoder, bits: int, near: int, depth: int, reason: Reason
) -> None:
    image = replace(image_of(ct(bits), bits), depth=depth)
    refused = encoder.refusal(image, Options(jls_error=near))
    assert refused is not None
    assert refused.reason is reason


@every_near
def test_a_near_that_was_not_asked_for_is_noticed(encoder: Encoder) -> None:
    frame = ct(11)
    image = image_of(frame, 12)
    codestream = encoder.encode(frame, image, Options(jls_error=2))
    assert "NEAR" in encoder.check(codestream, image, Options(jls_error=1))
    assert "NEAR" in JPEGLSLossless().check(codestream, image, PLAIN)


# Baseline


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "RGB", "YBR_FULL"])
def test_baseline_comes_back_in_its_own_colours_and_is_called_ybr_full_422(photometric: str) -> None:
    encoder = JPEGBaseline()
    frame = ct(8, container=8) if photometric == "MONOCHROME1" else rgb()
    image = image_of(frame, 8, photometric)
    errors = []
    for quality in (50, 80, 100):
        options = Options(jpeg_quality=quality)
        assert encoder.refusal(image, options) is None
        codestream = encoder.encode(frame, image, options)
        assert encoder.check(codestream, image, options) == ""
        errors.append(np.abs(encoder.decode(codestream, image).astype(int) - frame).mean())
        coded = JPEGDecoder().inspect(codestream, image)
        assert not coded.lossless
        assert coded.transform == ("" if image.samples == 1 else "YBR")
        again = JPEGDecoder().decode(codestream, image)
        assert np.array_equal(again, JPEGDecoder().decode_again(codestream, image))
        if photometric == "YBR_FULL":  # taken as it was
            assert np.array_equal(again, encoder.decode(codestream, image))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1
    assert encoder.photometric(image, PLAIN) == (photometric if image.samples == 1 else "YBR_FULL_422")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"bits_stored": 7}, Reason.BITS),
        ({"bits_allocated": 16, "bits_stored": 12}, Reason.BITS),
        ({"signed": True}, Reason.BITS),
        ({"photometric": "PALETTE COLOR"}, Reason.PHOTOMETRIC),
    ],
)
def test_baseline_takes_8_unsigned_bits_of_something_that_may_change(
    change: dict[str, object], reason: Reason
) -> None:
    image = replace(image_of(ct(8, container=8), 8), **change)  # type: ignore[arg-type]  # the fields' types
    refused = JPEGBaseline().refusal(image, Options(jpeg_quality=90))
    assert refused is not None
    assert refused.reason is reason
    assert JPEGBaseline().refusal(image_of(ct(8, container=8), 8), PLAIN) is not None  # no quality


# Other readers and writers


def wrapped(frame: Frame, bits: int, photometric: str = "") -> pydicom.Dataset:
    ds = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
    ds.Rows, ds.Columns = frame.shape[:2]
    ds.SamplesPerPixel = 1 if frame.ndim == 2 else 3
    ds.PhotometricInterpretation = photometric or ("MONOCHROME2" if frame.ndim == 2 else "RGB")
    if frame.ndim == 3:
        ds.PlanarConfiguration = 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8 * frame.itemsize, bits, bits - 1
    ds.PixelRepresentation = int(frame.dtype.kind == "i")
    for keyword in ("PixelPaddingValue", "SmallestImagePixelValue", "LargestImagePixelValue"):
        if keyword in ds:
            delattr(ds, keyword)
    ds.PixelData = frame.tobytes()
    ds["PixelData"].VR = "OB" if frame.itemsize == 1 else "OW"
    return ds


def by(tool: list[str], ds: pydicom.Dataset, folder: Path) -> pydicom.Dataset:
    """What another program makes of a dataset."""
    if shutil.which(tool[0]) is None:
        pytest.skip(f"{tool[0]} is not installed")
    before, after = folder / "before.dcm", folder / "after.dcm"
    ds.save_as(before)
    run = subprocess.run([*tool, before, after], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return pydicom.dcmread(after)


def stored(ds: pydicom.Dataset, like: Frame) -> Frame:
    flat = np.frombuffer(ds.PixelData, like.dtype)[: like.size]
    if like.ndim == 3 and ds.PlanarConfiguration:
        return flat.reshape(3, *like.shape[:2]).transpose(1, 2, 0)
    return flat.reshape(like.shape)


def encapsulated(codestream: bytes, encoder: Encoder, frame: Frame, bits: int) -> pydicom.Dataset:
    image = image_of(frame, bits)
    ds = wrapped(frame, bits, encoder.photometric(image, PLAIN))
    ds.file_meta.TransferSyntaxUID = UID(encoder.transfer_syntax)
    ds.PixelData = encapsulate([codestream])
    ds["PixelData"].VR = "OB"
    return ds


@every_lossless
@pytest.mark.parametrize(("bits", "container"), [(5, 8), (8, 8), (8, 16), (12, 16), (16, 16)])
@pytest.mark.parametrize("signed", [False, True])
def test_dcmtk_and_gdcm_read_the_same_pixels(
    encoder: Encoder, bits: int, container: int, signed: bool, tmp_path: Path
) -> None:
    frame = ct(bits, signed, container)
    ds = encapsulated(proven(encoder, frame, image_of(frame, bits)), encoder, frame, bits)
    assert np.array_equal(stored(by([DCMTK_READS[type(encoder).__name__]], ds, tmp_path), frame), frame)
    if bits < 8 and isinstance(encoder, JPEGLosslessSV1):
        return  # GDCM asserts that it can't be
    assert np.array_equal(stored(by(["gdcmconv", "--raw"], ds, tmp_path), frame), frame)


@every_lossless
def test_dcmtk_reads_what_the_unused_bits_held(encoder: Encoder, tmp_path: Path) -> None:
    frame = ct(16)
    codestream = proven(encoder, frame, replace(image_of(frame, 12), depth=16))
    ds = encapsulated(codestream, encoder, frame, 12)
    assert np.array_equal(stored(by([DCMTK_READS[type(encoder).__name__]], ds, tmp_path), frame), frame)


@every_lossless
@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
def test_dcmtk_and_gdcm_read_the_same_colours(encoder: Encoder, photometric: str, tmp_path: Path) -> None:
    frame = rgb()
    ds = encapsulated(proven(encoder, frame, image_of(frame, 8, photometric)), encoder, frame, 8)
    ds.PhotometricInterpretation = photometric
    dcmtk = DCMTK_READS[type(encoder).__name__]
    for tool in ([dcmtk, "+cn"] if dcmtk == "dcmdjpeg" else [dcmtk], ["gdcmconv", "--raw"]):
        assert np.array_equal(stored(by(tool, ds, tmp_path), frame), frame), tool


def test_two_huffman_tables_that_liblj92_would_take_are_noticed() -> None:
    frame = rgb()
    image = image_of(frame, 8, "YBR_FULL")
    codestream = bytes(
        imagecodecs.jpeg8_encode(frame, lossless=True, predictor=1, colorspace="ycbcr", outcolorspace="ycbcr")
    )
    assert np.array_equal(imagecodecs.ljpeg_decode(codestream), frame)  # which hides that the scan is wrong
    bare = without(0xE0, codestream)
    assert JPEGLosslessSV1().check(bare, image, PLAIN) == "2 Huffman tables, not one"
    try:
        decoded = JPEGDecoder().decode(bare, image)
    except ValueError:
        return
    assert not np.array_equal(decoded, JPEGDecoder().decode_again(bare, image))


def test_dcmtk_reads_baseline_as_the_colours_it_was_made_of(tmp_path: Path) -> None:
    frame, encoder = rgb(), JPEGBaseline()
    codestream = encoder.encode(frame, image_of(frame, 8), Options(jpeg_quality=95))
    read = by(["dcmdjpeg"], encapsulated(codestream, encoder, frame, 8), tmp_path)
    assert read.PhotometricInterpretation == "RGB"
    ours = encoder.decode(codestream, image_of(frame, 8)).astype(int)
    assert np.abs(stored(read, frame).astype(int) - ours).max() <= 1


@pytest.mark.parametrize("selection", range(1, 8))
def test_lossless_jpeg_of_every_selection_value_is_read(selection: int, tmp_path: Path) -> None:
    for frame, bits in ((ct(), 12), (ct(16), 16), (ct(8, container=8), 8), (rgb(), 8)):
        ds = by(["dcmcjpeg", "+el", "+sv", str(selection)], wrapped(frame, bits), tmp_path)
        both(ds, frame, image_of(frame, bits))


@pytest.mark.parametrize("interleave", ["+il", "+is", "+in"])
def test_jpeg_ls_of_every_interleave_mode_is_read(interleave: str, tmp_path: Path) -> None:
    frame = rgb()
    both(by(["dcmcjpls", interleave], wrapped(frame, 8), tmp_path), frame, image_of(frame, 8))


def both(ds: pydicom.Dataset, frame: Frame, image: Image) -> None:
    """Both ways of decoding give the frame, bit for bit."""
    decoder = DECODERS[str(ds.file_meta.TransferSyntaxUID)]
    codestream = next(generate_frames(ds.PixelData, number_of_frames=1))
    coded = decoder.inspect(codestream, image)
    assert coded.lossless
    for decode in (decoder.decode, decoder.decode_again):
        assert np.array_equal(settle(decode(codestream, image), coded, image), frame)


@pytest.mark.parametrize("options", [["+ee", "+bt"], ["+ee", "+be"], ["+eb", "+be", "+s2"]])
def test_lossy_jpeg_is_read_as_dcmtk_reads_it(options: list[str], tmp_path: Path) -> None:
    frame, bits = (rgb(), 8) if "+eb" in options else (ct(), 12)
    if "+be" in options and frame.ndim == 2:
        frame, bits = ct(8, container=8), 8
    ds = by(
        ["dcmcjpeg", *(option for option in options if option not in ("+bt", "+be"))],
        wrapped(frame, bits),
        tmp_path,
    )
    image = replace(image_of(frame, bits), photometric=ds.PhotometricInterpretation)
    codestream = next(generate_frames(ds.PixelData, number_of_frames=1))
    decoder = JPEGDecoder()
    assert not decoder.inspect(codestream, image).lossless
    decoded = decoder.decode(codestream, image).astype(int)
    read = stored(by(["dcmdjpeg", "+cn"], ds, tmp_path), frame).astype(int)
    assert np.abs(decoded - read).max() <= 1


# Public files

REFUSED = {
    # a zero byte more than the scan's, before EOI: pyjpegls, the second opinion, does not take it
    ("JLSL/MR1_JLSL", "RuntimeError"),
}


def public_codestreams(corpus: Path) -> Iterator[tuple[str, Path, Image, list[bytes], pydicom.Dataset]]:
    bundled = Path(str(get_testdata_file("CT_small.dcm"))).parent
    for folder in dict.fromkeys((corpus, bundled)):
        for path in sorted(item for item in folder.rglob("*") if item.is_file()):
            try:
                ds = pydicom.dcmread(path)
                syntax = str(ds.file_meta.TransferSyntaxUID)
                if syntax not in DECODERS or "Rows" not in ds:
                    continue
                image = Image(
                    rows=ds.Rows,
                    columns=ds.Columns,
                    samples=ds.SamplesPerPixel,
                    bits_allocated=ds.BitsAllocated,
                    bits_stored=ds.BitsStored,
                    signed=bool(ds.PixelRepresentation),
                    photometric=ds.PhotometricInterpretation,
                    planar=None if ds.SamplesPerPixel == 1 else 0,
                    frames=int(ds.get("NumberOfFrames", 1) or 1),
                    depth=ds.BitsStored,
                )
                codestreams = list(generate_frames(ds.PixelData, number_of_frames=image.frames))
            except Exception:  # not a file that pydicom reads
                continue
            yield syntax, path, image, codestreams, ds


@pytest.mark.filterwarnings("ignore")
def test_every_public_codestream_is_decoded_twice_alike_or_refused_for_a_known_reason(
    corpus: Path, tmp_path: Path
) -> None:
    read, refused, differ = 0, set(), []
    for syntax, path, image, codestreams, ds in public_codestreams(corpus):
        decoder, name = DECODERS[syntax], "/".join(path.parts[-2:])
        for index, codestream in enumerate(codestreams[:3]):
            try:
                coded = decoder.inspect(codestream, image)
                values = decoder.decode(codestream, image)
                again = decoder.decode_again(codestream, image)
            except Exception as error:
                refused.add((name, type(error).__name__))
                break
            if values.dtype != again.dtype or not np.array_equal(values, again):
                differ.append(f"{name} the second time")
            if coded.transform and coded.transform != ds.PhotometricInterpretation[:3]:
                differ.append(f"{name} is {ds.PhotometricInterpretation}, its markers say {coded.transform}")
            if index == 0 and not same_elsewhere(syntax, path, ds, settle(values, coded, image), tmp_path):
                differ.append(f"{name} by another reader")
        else:
            read += 1
    assert read >= 15
    assert not refused - REFUSED
    assert not differ


def same_elsewhere(syntax: str, path: Path, ds: pydicom.Dataset, frame: Frame, folder: Path) -> bool:
    """As pydicom reads JPEG-LS; as DCMTK reads JPEG, lossy within one step."""
    if syntax in JPEGLSDecoder.transfer_syntaxes:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return np.array_equal(pydicom.pixels.pixel_array(path, raw=True, index=0), frame)
    if shutil.which("dcmdjpeg") is None:
        return True
    after = folder / "after.dcm"
    if subprocess.run(["dcmdjpeg", "+cn", path, after], capture_output=True, check=False).returncode:
        return path.name == "SC_rgb_jpeg.dcm"  # its file meta group is not as DCMTK wants it
    other = stored(pydicom.dcmread(after), frame).astype(int)
    most = 0 if syntax in (JPEGLosslessSV1.transfer_syntax, "1.2.840.10008.1.2.4.57") else 1
    return bool(np.abs(other - frame).max() <= most)


# Hostile bytes


def start_of(marker: int, codestream: bytes) -> int:
    return codestream.index(bytes((0xFF, marker)))


def lossless_jpeg() -> bytes:
    frame = ct()
    return JPEGLosslessSV1().encode(frame, image_of(frame, 12), PLAIN)


def baseline() -> bytes:
    frame = rgb()
    return JPEGBaseline().encode(frame, image_of(frame, 8), Options(jpeg_quality=90))


def without(marker: int, codestream: bytes) -> bytes:
    """Take away every segment of a marker."""
    while bytes((0xFF, marker)) in codestream:
        at = start_of(marker, codestream)
        (length,) = struct.unpack_from(">H", codestream, at + 2)
        codestream = codestream[:at] + codestream[at + 2 + length :]
    return codestream


def changed(codestream: bytes, marker: int, offset: int, value: bytes) -> bytes:
    """Put other bytes into the first segment of a marker, ``offset`` bytes behind the marker."""
    at = start_of(marker, codestream) + 2 + offset
    return codestream[:at] + value + codestream[at + len(value) :]


def hostile() -> dict[str, tuple[JPEGDecoder | JPEGLSDecoder, bytes, str]]:
    jpeg, jls = JPEGDecoder(), JPEGLSDecoder()
    sv1, dct = lossless_jpeg(), baseline()
    ls = JPEGLSLossless().encode(ct(), image_of(ct(), 12), PLAIN)
    scan = start_of(0xDA, sv1)
    return {
        "nothing": (jpeg, b"", "SOI"),
        "two images in one frame": (jpeg, sv1 + sv1, "follows EOI"),
        "two JPEG-LS images": (jls, ls + ls, "follows EOI"),
        "no EOI": (jpeg, sv1[:-2], "without EOI"),
        "no EOI of JPEG-LS": (jls, ls[:-2], "without EOI"),
        "progressive": (jpeg, dct.replace(b"\xff\xc0", b"\xff\xc2", 1), "FFC2"),
        "arithmetic": (jpeg, dct.replace(b"\xff\xc0", b"\xff\xc9", 1), "FFC9"),
        "JPEG as JPEG-LS": (jls, sv1, "FFC3"),
        "JPEG-LS as JPEG": (jpeg, ls, "Malformed|marker|FFF7"),
        "two frame headers": (jpeg, sv1[:scan] + sv1[start_of(0xC3, sv1) :], "two frame headers"),
        "a scan of nothing": (
            jpeg,
            sv1[:scan] + sv1[scan:].replace(b"\xff\xda", b"\xff\xd9", 1),
            "follows EOI",
        ),
        "no frame header": (jpeg, without(0xC3, sv1), "before the frame header"),
        "no rows: DNL": (jpeg, changed(sv1, 0xC3, 3, b"\0\0"), "0 x 128"),
        "17 bits": (jpeg, changed(sv1, 0xC3, 2, b"\x11"), "17 bits"),
        "1 bit": (jpeg, changed(sv1, 0xC3, 2, b"\x01"), "1 bits"),
        "12 bits of baseline": (jpeg, changed(dct, 0xC0, 2, b"\x0c"), "12 bits"),
        "two components": (jpeg, changed(sv1, 0xC3, 7, b"\x02"), "2 components|components"),
        "no selection value": (jpeg, changed(sv1, 0xDA, 5, b"\0"), "Ss 0"),
        "a point transform": (jpeg, changed(sv1, 0xDA, 7, b"\x01"), "AhAl 1"),
        "no Huffman table": (jpeg, without(0xC4, sv1), "not defined"),
        "a Huffman table of more codes than fit": (jpeg, changed(sv1, 0xC4, 3, b"\xff"), "Huffman table"),
        "a difference of 17 bits": (jpeg, changed(sv1, 0xC4, 19, b"\x11"), "Huffman table"),
        "no quantisation table": (jpeg, without(0xDB, dct), "quantisation"),
        "a sampling factor of 0": (jpeg, changed(dct, 0xC0, 9, b"\0"), "sampling factors"),
        "a component that no scan codes": (jpeg, changed(dct, 0xDA, 3, b"\x02"), "scans code|components"),
        "a restart marker too many": (jpeg, sv1[:-10] + b"\xff\xd0" + sv1[-10:], "restart markers"),
        "restarts that do not come": (
            jpeg,
            sv1[:scan] + b"\xff\xdd\0\4\0\x80" + sv1[scan:],
            "restart markers",
        ),
        "a segment longer than the rest": (jpeg, changed(sv1, 0xC3, 0, b"\xff\xff"), "not there"),
        "a segment of length 0": (jpeg, changed(sv1, 0xC3, 0, b"\0\0"), "not there"),
        "4,097 segments": (jpeg, sv1[:2] + b"\xff\xfe\0\2" * 4097 + sv1[2:], "segments"),
        "a mapping table": (jls, ls[:2] + b"\xff\xf8\0\5\2\1\2" + ls[2:], "mapping tables"),
        "HP's colour transform": (jls, ls[:2] + b"\xff\xe8\0\7mrfx\1" + ls[2:], "colour transform"),
        "NEAR above half": (jls, changed(changed(ls, 0xF7, 2, b"\2"), 0xDA, 5, b"\2"), "NEAR 2"),
        "interleaved without need": (jls, changed(ls, 0xDA, 6, b"\1"), "interleave"),
    }


@pytest.mark.parametrize("case", list(hostile()))
def test_headers_that_lie_are_malformed_before_a_decoder_sees_them(case: str) -> None:
    decoder, codestream, words = hostile()[case]
    with pytest.raises(Malformed, match=words):
        decoder.inspect(codestream, image_of(ct(), 12))


@pytest.mark.parametrize("tail", [b"", b"\xff\xd9"], ids=["cut", "cut with EOI"])
@pytest.mark.parametrize("syntax", ["sv1", "baseline", "jpeg-ls"])
def test_every_beginning_of_a_codestream_is_noticed_or_has_all_pixels(syntax: str, tail: bytes) -> None:
    frame = np.ascontiguousarray(ct()[:32, :32])
    encoder: Encoder = JPEGLSLossless() if syntax == "jpeg-ls" else JPEGLosslessSV1()
    options = PLAIN
    if syntax == "baseline":
        frame, encoder, options = (
            np.ascontiguousarray(rgb()[200:232, 200:232]),
            JPEGBaseline(),
            Options(jpeg_quality=80),
        )
    image = image_of(frame, 8 if syntax == "baseline" else 12)
    codestream, decoder = encoder.encode(frame, image, options), DECODERS[encoder.transfer_syntax]
    whole, kept = decoder.decode(codestream, image), 0
    for length in range(len(codestream) - 2):
        try:
            cut = codestream[:length] + tail
            decoder.inspect(cut, image)
            decoded = decoder.decode(cut, image)
            assert np.array_equal(decoded, decoder.decode_again(cut, image)) is np.array_equal(decoded, whole)
            kept += int(np.array_equal(decoded, whole))
        except (Malformed, ValueError, RuntimeError):
            continue
    assert kept <= (3 if tail else 0)


@pytest.mark.parametrize("encoder", [JPEGLSLossless(), JPEGLosslessSV1()], ids=named)
def test_fill_bytes_before_a_marker_are_not_coded_data(encoder: Encoder) -> None:
    frame = ct()
    image, decoder = image_of(frame, 12), DECODERS[encoder.transfer_syntax]
    codestream = encoder.encode(frame, image, PLAIN)
    scan = start_of(0xDA, codestream)
    filled = codestream[:scan] + b"\xff\xff" + codestream[scan:-2] + b"\xff\xff" + codestream[-2:]
    ends = jpeg_markers.JPEG_ENDS if isinstance(encoder, JPEGLosslessSV1) else jpeg_markers.JPEG_LS_ENDS
    (plain,), (with_fill,) = (jpeg_markers.read(each, ends).scans for each in (codestream, filled))
    assert with_fill.end - with_fill.start == plain.end - plain.start
    assert decoder.inspect(filled, image) == decoder.inspect(codestream, image)
    assert np.array_equal(decoder.decode(filled, image), frame)


def in_strips(codestream: bytes, rows: int, count: int, interval: int) -> tuple[bytes, bytes]:
    """Repeat the only strip of an image as restart intervals; also gives the strip's coded data."""
    scan = start_of(0xDA, codestream)
    data = codestream[scan + 2 + struct.unpack_from(">H", codestream, scan + 2)[0] : -2]
    frame = start_of(0xC3, codestream) if b"\xff\xc3" in codestream else start_of(0xC0, codestream)
    head = codestream[: frame + 5] + struct.pack(">H", rows * count) + codestream[frame + 7 : scan]
    strips = b"".join(bytes((0xFF, 0xD0 + index % 8)) + data for index in range(-1, count - 1))[2:]
    header = codestream[scan : codestream.index(data)]
    return head + b"\xff\xdd\0\4" + struct.pack(">H", interval) + header + strips + b"\xff\xd9", data


@pytest.mark.parametrize("lossless", [True, False])
def test_restart_intervals_are_read_and_one_that_is_missing_or_short_is_noticed(lossless: bool) -> None:
    if lossless:
        strip = np.ascontiguousarray(ct()[64:65])
        single = JPEGLosslessSV1().encode(strip, image_of(strip, 12), PLAIN)
        codestream, data = in_strips(single, 1, 11, 128)
    else:
        strip = np.ascontiguousarray(ct(8, container=8)[64:72])
        single = JPEGBaseline().encode(strip, image_of(strip, 8), Options(jpeg_quality=90))
        codestream, data = in_strips(single, 8, 11, 16)
    decoder, image = JPEGDecoder(), image_of(strip, 12)
    assert decoder.inspect(codestream, image).rows == 11 * len(strip)
    expected = np.tile(decoder.decode(single, image), (11, 1))
    for decode in (decoder.decode, decoder.decode_again):
        assert np.array_equal(decode(codestream, image), expected)
    with pytest.raises(Malformed, match="9 restart markers, not 10"):
        decoder.inspect(codestream.replace(data + b"\xff\xd4", b"", 1), image)
    with pytest.raises(ValueError, match="coded data end before"):
        decoder.decode(codestream.replace(data + b"\xff\xd4", data[:-5] + b"\xff\xd4", 1), image)


def test_components_in_scans_of_their_own_are_read() -> None:
    planes = [np.ascontiguousarray(rgb()[..., index]) for index in range(3)]
    single = [JPEGLosslessSV1().encode(plane, image_of(plane, 8), PLAIN) for plane in planes]
    rows, columns = planes[0].shape
    frame = struct.pack(">BBHBHHB", 0xFF, 0xC3, 17, 8, rows, columns, 3) + b"\1\x11\0\2\x11\0\3\x11\0"
    scans = b""
    for index, codestream in enumerate(single):
        tables = codestream[start_of(0xC4, codestream) :]
        scans += changed(tables, 0xDA, 3, bytes((index + 1,)))[:-2]
    codestream, decoder, image = b"\xff\xd8" + frame + scans + b"\xff\xd9", JPEGDecoder(), image_of(rgb(), 8)
    assert decoder.inspect(codestream, image).samples == 3
    for decode in (decoder.decode, decoder.decode_again):
        assert np.array_equal(decode(codestream, image), rgb())


def test_jfif_and_adobe_say_what_the_components_are() -> None:
    frame = rgb()
    jfif = JPEGBaseline().encode(frame, image_of(frame, 8), Options(jpeg_quality=90))
    adobe = JPEGLosslessSV1().encode(frame, image_of(frame, 8), PLAIN)
    bare = without(0xE0, jfif)

    def said(codestream: bytes) -> str:
        return jpeg_decoder.transform(jpeg_decoder.read(codestream))

    assert (said(jfif), said(adobe), said(bare)) == ("YBR", "RGB", "")
    assert said(changed(adobe, 0xEE, 13, b"\1")) == "YBR"
    assert said(changed(adobe, 0xEE, 13, b"\2")) == ""
    assert said(jfif[:2] + adobe[2 : start_of(0xC3, adobe)] + jfif[2:]) == "YBR"


@settings(max_examples=200, deadline=None)
@given(
    data=st.binary(max_size=300),
    start=st.sampled_from([b"", b"\xff\xd8", b"\xff\xd8\xff\xc3\0\x0b", b"\xff\xd8\xff\xf7\0\x0b"]),
)
def test_bytes_that_are_no_codestream_are_malformed(data: bytes, start: bytes) -> None:
    for ends in (jpeg_markers.JPEG_ENDS, jpeg_markers.JPEG_LS_ENDS):
        with pytest.raises(Malformed):
            jpeg_markers.read(start + data, ends)


MUTATE = """
import resource, sys
import numpy as np
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
resource.setrlimit(resource.RLIMIT_CPU, (120, 120))
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/.."]
import test_codecs_jpeg as t
frame = np.ascontiguousarray(t.ct()[40:85, 40:85])
colour = np.ascontiguousarray(t.rgb()[200:245, 200:245])
cases = [(e, f, b) for e in t.LOSSLESS for f, b in ((frame, 12), (colour, 8))] + [(t.JPEGBaseline(), colour, 8)]
random = np.random.default_rng(7)
for encoder, pixels, bits in cases:
    image = t.image_of(pixels, bits)
    good = encoder.encode(pixels, image, t.Options(jpeg_quality=80))
    decoder = t.DECODERS[encoder.transfer_syntax]
    for _ in range(400):
        bad = bytearray(good)
        for _ in range(random.integers(1, 4)):
            at = int(random.integers(2, min(len(bad), 600) if random.random() < 0.5 else len(bad)))
            how = random.integers(4)
            if how == 0: del bad[at : at + int(random.integers(1, 20))]
            elif how == 1: bad[at:at] = random.bytes(int(random.integers(1, 20)))
            else: bad[at] = int(random.integers(256))
            if len(bad) < 50: break
        bad = bytes(bad)
        encoder.check(bad, image, t.PLAIN)
        try:
            coded = decoder.inspect(bad, image)
        except t.Malformed:
            continue
        if (coded.rows, coded.columns, coded.samples) != (image.rows, image.columns, image.samples):
            continue
        for decode in (decoder.decode, decoder.decode_again):
            try:
                decode(bad, image)
            except Exception:
                pass
print("alive")
"""


def test_mutated_codestreams_neither_crash_nor_hang_nor_take_memory() -> None:
    command = [sys.executable, "-c", MUTATE, str(Path(__file__).parent)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.stdout == "alive\n", f"exit code {run.returncode}: {run.stderr[-500:]}"
