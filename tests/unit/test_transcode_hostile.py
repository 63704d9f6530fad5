"""Nothing that a sender can write changes a pixel unseen, costs more than it honestly needs, or ends a worker."""

import struct
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from renditions import NATIVE, bundled, codestreams, encapsulated, made, read, saved, stored, transcode
from venturi.dataset import encapsulate, syntaxes
from venturi.model import Reason, Target
from venturi.transcode import encode
from venturi.transcode.codecs import codestream as headers
from venturi.transcode.codecs.jpeg_2000_decoder import JPEG2000Decoder

JLS = Target(syntaxes.JPEG_LS_LOSSLESS)
RLE = Target(syntaxes.RLE_LOSSLESS)
BASELINE = Target(syntaxes.EXPLICIT_VR_LITTLE_ENDIAN, (("from", (syntaxes.JPEG_BASELINE,)),))
NEAR = Target(
    syntaxes.JPEG_LS_NEAR_LOSSLESS, (("jls_error", 1), ("lossy_beyond", "hold"), ("lossy_max_error", 1.0))
)


def test_no_letter_of_a_name_is_told_where_its_length_lies(tmp_path: Path) -> None:
    dataset = read("CT_small.dcm")
    dataset.PatientName = "MUSTER^MAGDA"
    source = saved(tmp_path, dataset)
    name = b"\x10\0\x10\0PN\x0c\0MUSTER"
    assert source.read_bytes().count(name) == 1
    source.write_bytes(source.read_bytes().replace(name, name.replace(b"\x0c", b"\x04")))
    outcome, _ = transcode(source, JLS, tmp_path)
    assert outcome.reason is Reason.MALFORMED
    assert b"ER^M".hex() not in outcome.detail
    assert name_of(b"ER^M") not in outcome.detail
    assert b"AG".hex() not in outcome.detail


def name_of(letters: bytes) -> str:
    """Four letters as a tag would be told."""
    group, element = struct.unpack("<HH", letters)
    return f"{group:04x},{element:04x}"


def with_icon(dataset: Dataset, undefined: bool, compressed: bool) -> Dataset:
    """The dataset with an icon inside of another sequence."""
    icon = Dataset()
    for keyword in ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"):
        setattr(icon, keyword, getattr(dataset, keyword))
    icon.SamplesPerPixel, icon.PhotometricInterpretation = 1, "MONOCHROME2"
    icon.add_new("PixelData", "OB" if compressed else "OW", dataset.PixelData if compressed else bytes(8192))
    icon["PixelData"].is_undefined_length = compressed
    outer = Dataset()
    outer.IconImageSequence = [icon]
    dataset.ReferencedImageSequence = [outer]
    for sequence in (dataset["ReferencedImageSequence"], outer["IconImageSequence"]):
        sequence.is_undefined_length = undefined
    return dataset


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("target", [NATIVE, Target(JLS.transfer_syntax, (("from", ("lossless",)),))])
def test_a_compressed_icon_never_ends_up_under_another_syntax(
    undefined: bool, target: Target, tmp_path: Path
) -> None:
    source = saved(tmp_path, with_icon(read("MR_small_RLE.dcm"), undefined, compressed=True))
    outcome, _ = transcode(source, target, tmp_path)
    assert outcome.reason is Reason.UNSUPPORTED_INPUT_SYNTAX
    assert "(0008,1140)" in outcome.detail


def test_a_native_icon_is_no_hindrance(tmp_path: Path) -> None:
    source = saved(tmp_path, with_icon(read("MR_small_RLE.dcm"), True, compressed=False))
    _, output = made(source, NATIVE, tmp_path)
    assert (stored(output) == stored(bundled("MR_small.dcm"))).all()


@pytest.mark.parametrize("step", [0, 1])
def test_big_endian_in_bytes_is_read_only_where_every_order_gives_the_same(step: int, tmp_path: Path) -> None:
    dataset = read(
        "examples_rgb_color.dcm"
    )  # 16 bits in OB are against the standard, and there are such files
    values = dataset.pixel_array.astype(">u2") * 257 + step
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset["PixelData"].VR = "OB"
    dataset.PixelData = values.tobytes()
    dataset.file_meta.TransferSyntaxUID = syntaxes.EXPLICIT_VR_BIG_ENDIAN
    source = tmp_path / "source.dcm"
    pydicom.dcmwrite(source, dataset, implicit_vr=False, little_endian=False, force_encoding=True)
    outcome, output = transcode(source, NATIVE, tmp_path)
    assert outcome.reason is (Reason.IMAGE_ATTRIBUTES if step else None)
    assert step or (stored(output) == values).all()


@pytest.mark.parametrize("word", [2, 4])
@pytest.mark.parametrize("target", [NATIVE, RLE])
def test_big_endian_of_32_bits_is_left_alone_since_writers_disagree(
    word: int, target: Target, tmp_path: Path
) -> None:
    # DCMTK swaps the 16-bit words that OW has, pydicom whole samples: nothing in the file says which.
    dataset = read("rtdose_expb.dcm")
    values = read("rtdose.dcm").PixelData
    swapped = np.frombuffer(values, f"<u{word}").byteswap().tobytes()
    source = tmp_path / "source.dcm"
    whole = bundled("rtdose_expb.dcm").read_bytes()
    assert whole.count(dataset.PixelData) == 1
    source.write_bytes(whole.replace(dataset.PixelData, swapped))
    outcome, _ = transcode(source, target, tmp_path)
    assert outcome.reason is Reason.IMAGE_ATTRIBUTES
    assert "big endian" in outcome.detail


def test_big_endian_bytes_of_16_bit_samples_are_left_alone_too(tmp_path: Path) -> None:
    whole = bundled("MR_small_bigendian.dcm").read_bytes()
    header = b"\x7f\xe0\x00\x10OW\0\0"
    assert whole.count(header) == 1
    source = tmp_path / "source.dcm"
    source.write_bytes(whole.replace(header, header.replace(b"OW", b"OB")))
    outcome, _ = transcode(source, NATIVE, tmp_path)
    assert outcome.reason is Reason.IMAGE_ATTRIBUTES


def test_a_frame_that_no_item_can_hold_is_refused_and_not_tried_forever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encapsulate, "_MOST", 3000)  # else it would be one of 4 GiB
    outcome, _ = transcode(bundled("CT_small.dcm"), JLS, tmp_path)
    assert outcome.reason is Reason.TOO_LARGE


def test_memory_that_runs_out_anywhere_is_the_object_s_own_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_memory(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(encode, "pixels", out_of_memory)
    outcome, _ = transcode(bundled("CT_small.dcm"), JLS, tmp_path)
    assert outcome.reason is Reason.TOO_LARGE


def test_a_sop_instance_uid_that_is_no_text_is_no_reason_to_die(tmp_path: Path) -> None:
    dataset = read("CT_small.dcm")
    del dataset.PixelPaddingValue
    uid = dataset.file_meta.MediaStorageSOPInstanceUID.encode()
    source = saved(tmp_path, dataset)
    source.write_bytes(source.read_bytes().replace(uid, b"\xff" + uid[1:], 1))
    outcome, _ = transcode(source, NEAR, tmp_path)
    assert outcome.reason is Reason.IMAGE_ATTRIBUTES
    made(source, JLS, tmp_path)


def of_one_pixel(frames: int, syntax: str) -> Dataset:
    dataset = read("CT_small.dcm")
    dataset.PixelData = np.resize(dataset.pixel_array.astype("<i2"), frames).tobytes()
    dataset.Rows = dataset.Columns = 1
    dataset.NumberOfFrames = frames
    dataset.file_meta.TransferSyntaxUID = syntax
    return dataset


@pytest.mark.parametrize(
    "syntax", [syntaxes.EXPLICIT_VR_LITTLE_ENDIAN, "1.2.840.10008.1.2.1.99"], ids=["as it is", "deflated"]
)
def test_many_frames_of_next_to_nothing_are_refused(syntax: str, tmp_path: Path) -> None:
    outcome, _ = transcode(saved(tmp_path, of_one_pixel(1 << 16, syntax)), JLS, tmp_path)
    assert outcome.reason is Reason.TOO_LARGE
    few = of_one_pixel(100, syntax)
    _, output = made(saved(tmp_path, few), RLE, tmp_path)
    assert stored(output).reshape(-1).tolist() == np.frombuffer(few.PixelData, "<i2").tolist()


@pytest.mark.parametrize("label", ["YBR_FULL", "YBR_FULL_422"])
def test_components_named_r_g_b_are_not_taken_for_ybr(label: str, tmp_path: Path) -> None:
    dataset = read("examples_rgb_color.dcm")
    pixels = dataset.pixel_array
    codestream = imagecodecs.jpeg8_encode(pixels, level=95, colorspace="rgb", outcolorspace="rgb")
    adobe = codestream.find(b"\xff\xee")
    (length,) = struct.unpack_from(">H", codestream, adobe + 2)
    codestream = codestream[:adobe] + codestream[adobe + 2 + length :]
    dataset.PhotometricInterpretation = label
    source = saved(tmp_path, encapsulated(dataset, [codestream], syntaxes.JPEG_BASELINE))
    outcome, _ = transcode(source, BASELINE, tmp_path)
    assert outcome.reason is Reason.CODESTREAM
    dataset.PhotometricInterpretation = "RGB"
    _, output = made(saved(tmp_path, dataset), BASELINE, tmp_path)
    assert np.abs(stored(output) - pixels).max() < 60  # and not green


def claiming(layers: int = 1, block: int = 4, precincts: bytes = b"", tile: int = 512) -> bytes:
    """A codestream of 512 x 512 pixels with nothing in its tiles."""
    siz = struct.pack(">HLLLLLLLLHBBB", 0, 512, 512, 0, 0, tile, tile, 0, 0, 1, 7, 1, 1)
    size = block - 2
    cod = struct.pack(">BBHBBBBBB", bool(precincts), 0, layers, 0, 5, size, size, 0, 1) + precincts
    qcd = bytes((0x40, *[64] * 16))
    segments = ((0xFF51, siz), (0xFF52, cod), (0xFF5C, qcd))
    main = b"".join(struct.pack(">HH", marker, len(body) + 2) + body for marker, body in segments)
    tiles = (512 // tile) ** 2
    parts = (struct.pack(">HHHLBBHH", 0xFF90, 10, at, 16, 0, 1, 0xFF93, 0) for at in range(tiles))
    return b"\xff\x4f" + main + b"".join(parts) + b"\xff\xd9"


@pytest.mark.parametrize(
    "codestream",
    [
        claiming(layers=65535),
        claiming(layers=65535, precincts=b"\x44" * 6),
        claiming(layers=65535, tile=8),
        claiming(layers=100, precincts=b"\x44" * 6),
        claiming(block=2),
        claiming(precincts=b"\x88" * 5),
        claiming(precincts=b"\x88" * 7),
    ],
)
def test_a_jpeg_2000_header_of_claims_is_refused_before_it_costs_anything(
    codestream: bytes, tmp_path: Path
) -> None:
    dataset = read("CT_small.dcm")
    dataset.Rows = dataset.Columns = 512
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    source = saved(tmp_path, encapsulated(dataset, [codestream], syntaxes.JPEG_2000_LOSSLESS))
    outcome, _ = transcode(source, NATIVE, tmp_path)
    assert outcome.reason is Reason.CODESTREAM


def test_modest_claims_and_real_codestreams_are_read(corpus: Path) -> None:
    for codestream in (claiming(), claiming(layers=20, precincts=b"\x88" * 6), claiming(tile=64, block=3)):
        assert headers.read(codestream).rows == 512
    for name in ("MR_small_jp2klossless.dcm", "JPEG2000.dcm", "693_J2KI.dcm", "examples_jpeg2k.dcm"):
        for codestream in codestreams(bundled(name)):
            assert JPEG2000Decoder().starts(codestream)
            headers.read(codestream)
