"""Renditions as other implementations see them: DCMTK, GDCM and dciodvfy, and their decompression beside ours."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from peers import need, run
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from renditions import NATIVE, bundled, made, read, saved, stored, target_of, transcode
from venturi.dataset import syntaxes
from venturi.model import Outcome, Reason, Target

LOSSLESS = {
    "dcmdrle": (syntaxes.RLE_LOSSLESS,),
    "dcmdjpls": (syntaxes.JPEG_LS_LOSSLESS,),
    "dcmdjpeg": (syntaxes.JPEG_LOSSLESS_SV1,),
    "gdcmconv": (
        *(syntaxes.RLE_LOSSLESS, syntaxes.JPEG_LOSSLESS_SV1, syntaxes.JPEG_LS_LOSSLESS),
        *(syntaxes.JPEG_2000_LOSSLESS, syntaxes.HTJ2K_LOSSLESS, syntaxes.HTJ2K_LOSSLESS_RPCL),
    ),
}
OPTIONS = {"gdcmconv": ["--raw"], "dcmdjpeg": ["+cn"]}  # decompress; no colour conversion
HTJ2K = (syntaxes.HTJ2K_LOSSLESS, syntaxes.HTJ2K_LOSSLESS_RPCL, syntaxes.HTJ2K)
PAIRS = [
    pytest.param(peer, syntax, id=f"{peer}-{syntaxes.lookup(syntax)}")
    for peer, known in LOSSLESS.items()
    for syntax in known
]
EVERY = [
    syntaxes.lookup(uid).keyword for uid in dict.fromkeys(uid for known in LOSSLESS.values() for uid in known)
]
LOSSY = {
    "JPEGBaseline8Bit": "jpeg_quality: 85",
    "JPEGLSNearLossless": "jls_error: 2",
    "JPEG2000": "j2k_cr: [6]",
    "HTJ2K": "j2k_cr: [6]",
}


def made_of(bits: int, container: int, signed: bool) -> Dataset:
    """A real CT slice in other depths."""
    dataset = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
    grey = dataset.pixel_array.astype(np.int64)
    grey = (grey - grey.min()) * ((1 << bits) - 1) // int(np.ptp(grey)) - ((1 << (bits - 1)) if signed else 0)
    return with_values(dataset, grey.astype(f"<{'i' if signed else 'u'}{container // 8}"), bits)


def with_values(dataset: Dataset, values: NDArray[np.integer], bits: int) -> Dataset:
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8 * values.itemsize, bits, bits - 1
    dataset.PixelRepresentation = int(values.dtype.kind == "i")
    dataset.PixelData = values.tobytes()
    for keyword in ("PixelPaddingValue", "SmallestImagePixelValue", "LargestImagePixelValue"):
        dataset.pop(keyword, None)
    return dataset


def colour() -> Dataset:
    """A part of a real picture."""
    dataset = read("examples_rgb_color.dcm")
    dataset.PixelData = dataset.pixel_array[100:200, 60:180].tobytes()
    dataset.Rows, dataset.Columns = 100, 120
    return dataset


def renamed(file: Path, folder: Path) -> Path:
    """HTJ2K as JPEG 2000: GDCM and dciodvfy do not know its UIDs, but the OpenJPEG in GDCM decodes it."""
    dataset = pydicom.dcmread(file)
    if dataset.file_meta.TransferSyntaxUID not in HTJ2K:
        return file
    dataset.file_meta.TransferSyntaxUID = syntaxes.JPEG_2000
    dataset.save_as(folder / "renamed.dcm")
    return folder / "renamed.dcm"


def read_by(peer: str, file: Path, folder: Path) -> Dataset:
    """The file as a peer decompresses it."""
    back = folder / f"back-{peer}.dcm"
    result = run(peer, *OPTIONS.get(peer, []), renamed(file, folder), back)
    assert result.returncode == 0, result.stderr
    return pydicom.dcmread(back)


def decoded(peer: str, source: Path, syntax: str, folder: Path) -> Dataset:
    need(peer)
    return read_by(peer, made(source, Target(syntax), folder)[1], folder)


# --- what we compress without loss ------------------------------------------------------------------------------


@pytest.mark.parametrize(("peer", "syntax"), PAIRS)
@pytest.mark.parametrize(
    ("bits", "container", "signed"),
    [
        *((8, 8, False), (8, 8, True), (8, 16, False), (8, 16, True), (12, 16, False), (12, 16, True)),
        *((16, 16, False), (16, 16, True)),
    ],
)
def test_grey_pixels_come_back_byte_for_byte(
    peer: str, syntax: str, bits: int, container: int, signed: bool, tmp_path: Path
) -> None:
    dataset = made_of(bits, container, signed)
    back = decoded(peer, saved(tmp_path, dataset), syntax, tmp_path)
    assert back.PixelData == dataset.PixelData


@pytest.mark.parametrize(
    ("peer", "syntax"),
    [
        *(("dcmdrle", syntaxes.RLE_LOSSLESS), ("dcmdjpls", syntaxes.JPEG_LS_LOSSLESS)),
        *(("gdcmconv", syntaxes.RLE_LOSSLESS), ("gdcmconv", syntaxes.JPEG_LS_LOSSLESS)),
        *(("dcmdjpeg", syntaxes.JPEG_LOSSLESS_SV1), ("gdcmconv", syntaxes.JPEG_LOSSLESS_SV1)),
    ],
)
def test_bits_above_bits_stored_come_back_too(peer: str, syntax: str, tmp_path: Path) -> None:
    dataset = made_of(12, 16, signed=False)
    overlay = dataset.pixel_array | ((dataset.pixel_array > 2000).astype("<u2") << 13)
    dataset.PixelData = overlay.tobytes()
    back = np.frombuffer(decoded(peer, saved(tmp_path, dataset), syntax, tmp_path).PixelData, "<u2")
    if peer == "gdcmconv" and syntax != syntaxes.JPEG_LS_LOSSLESS:
        back = back | (overlay.reshape(-1) & 0xF000)  # GDCM clears these bits, in DCMTK's own files too
    assert np.array_equal(back, overlay.reshape(-1))


@pytest.mark.parametrize("bits", [1, 4, 7])
@pytest.mark.parametrize("peer", ["dcmdrle", "dcmdjpls", "dcmdjpeg"])
def test_few_bits_in_a_byte_are_read_by_dcmtk(peer: str, bits: int, tmp_path: Path) -> None:
    dataset = made_of(bits, 8, signed=False)
    back = decoded(peer, saved(tmp_path, dataset), LOSSLESS[peer][0], tmp_path)
    assert back.PixelData == dataset.PixelData


@pytest.mark.parametrize(("peer", "syntax"), PAIRS)
@pytest.mark.parametrize("planar", [0, 1])
def test_colour_pixels_come_back(peer: str, syntax: str, planar: int, tmp_path: Path) -> None:
    dataset = colour()
    pixels = dataset.pixel_array
    dataset.PlanarConfiguration = planar
    dataset.PixelData = (pixels.transpose(2, 0, 1) if planar else pixels).tobytes()
    back = decoded(peer, saved(tmp_path, dataset), syntax, tmp_path)
    assert back.PhotometricInterpretation == "RGB"
    assert np.array_equal(back.pixel_array, pixels)


@pytest.mark.parametrize(
    ("peer", "syntax"), [("dcmdrle", syntaxes.RLE_LOSSLESS), ("dcmdjpls", syntaxes.JPEG_LS_LOSSLESS)]
)
def test_colour_of_16_bits_comes_back(peer: str, syntax: str, tmp_path: Path) -> None:
    dataset = colour()
    pixels = dataset.pixel_array.astype("<u2") * 257
    source = saved(tmp_path, with_values(dataset, pixels, 16))
    assert np.array_equal(decoded(peer, source, syntax, tmp_path).pixel_array, pixels)


@pytest.mark.parametrize(("peer", "syntax"), PAIRS)
@pytest.mark.parametrize("table", ["basic", "extended"])
def test_frames_and_palette_indices_come_back(peer: str, syntax: str, table: str, tmp_path: Path) -> None:
    need(peer)
    target = Target(syntax, (("offset_table", table),) if table != "basic" else ())
    dataset = made_of(12, 16, signed=False)
    frames = np.stack([np.roll(dataset.pixel_array, 9 * step, axis=0) for step in range(3)])
    dataset.NumberOfFrames, dataset.PixelData = 3, frames.tobytes()
    _, output = made(saved(tmp_path, dataset), target, tmp_path)
    assert read_by(peer, output, tmp_path).PixelData == frames.tobytes()
    _, output = made(bundled("examples_palette.dcm"), target, tmp_path)
    assert read_by(peer, output, tmp_path).PixelData == read("examples_palette.dcm").PixelData


# --- what we compress with loss ---------------------------------------------------------------------------------


def lossy(dataset: Dataset, syntax: str, folder: Path) -> tuple[Outcome, Path]:
    words = f"transfer_syntax: {syntax}\n{LOSSY[syntax]}\nlossy: {{max_error: 65535, beyond: hold}}"
    return made(saved(folder, dataset), target_of(folder, words), folder)


GREY: dict[str, Callable[[], Dataset]] = {
    "8 bits": lambda: made_of(8, 8, signed=False),
    "12 bits": lambda: with_values(
        made_of(12, 16, signed=False), made_of(11, 16, signed=False).pixel_array + 99, 12
    ),
    "signed": lambda: with_values(made_of(12, 16, signed=True), made_of(11, 16, signed=True).pixel_array, 12),
}


@pytest.mark.parametrize(
    ("syntax", "peer", "kind"),
    [
        *((syntax, "gdcmconv", kind) for syntax in list(LOSSY)[1:] for kind in GREY),
        *(("JPEGLSNearLossless", "dcmdjpls", kind) for kind in GREY),
        *(("JPEGBaseline8Bit", peer, "8 bits") for peer in ("dcmdjpeg", "gdcmconv")),
    ],
)
def test_peers_see_no_larger_error_than_was_measured(
    syntax: str, peer: str, kind: str, tmp_path: Path
) -> None:
    need(peer)
    dataset = GREY[kind]()
    native = dataset.pixel_array.astype(np.int64)
    outcome, output = lossy(dataset, syntax, tmp_path)
    assert outcome.lossy is not None
    back = read_by(peer, output, tmp_path).pixel_array.astype(np.int64)
    seen = int(np.abs(back - native).max())
    exact = syntax == "JPEGLSNearLossless" or peer == "dcmdjpeg"
    # Wavelets and cosines in floating point: no last digit is fixed, so another decoder may round otherwise.
    assert abs(seen - outcome.lossy.max_error) <= (0 if exact else 1)


@pytest.mark.parametrize(
    ("syntax", "peer"),
    [
        *(("JPEGLSNearLossless", "dcmdjpls"), ("JPEGLSNearLossless", "gdcmconv")),
        *(("JPEG2000", "gdcmconv"), ("HTJ2K", "gdcmconv"), ("JPEGBaseline8Bit", "dcmdjpeg")),
    ],
)
def test_peers_see_the_colours(syntax: str, peer: str, tmp_path: Path) -> None:
    need(peer)
    dataset = colour()
    native = dataset.pixel_array.astype(np.int64)
    outcome, output = lossy(dataset, syntax, tmp_path)
    assert outcome.lossy is not None
    back = read_by(peer, output, tmp_path).pixel_array  # as RGB
    seen = int(np.abs(back.astype(np.int64) - native).max())
    assert abs(seen - outcome.lossy.max_error) <= (0 if syntax == "JPEGLSNearLossless" else 2)


# --- the objects ------------------------------------------------------------------------------------------------


def errors(path: Path, folder: Path) -> set[str]:
    """What dciodvfy, which reads the whole information object, calls an error."""
    result = run("dciodvfy", renamed(path, folder))
    assert result.stderr, "it said nothing at all"
    return {line for line in result.stderr.splitlines() if line.startswith("Error")}


@pytest.mark.parametrize("keyword", [*EVERY, "ExplicitVRLittleEndian"])
@pytest.mark.parametrize(
    "name", ["CT_small.dcm", "MR_small_implicit.dcm", "examples_rgb_color.dcm", "MR_small_RLE.dcm"]
)
def test_dciodvfy_finds_no_error_that_the_original_does_not_have(
    keyword: str, name: str, tmp_path: Path
) -> None:
    need("dciodvfy")
    target = target_of(tmp_path, f"transfer_syntax: {keyword}\nfrom: lossless")
    outcome, output = transcode(bundled(name), target, tmp_path)
    if outcome.reason is Reason.SAME_SYNTAX:
        return
    assert outcome.transcoded, outcome.detail
    assert not errors(output, tmp_path) - errors(bundled(name), tmp_path)


@pytest.mark.parametrize("syntax", LOSSY)
@pytest.mark.parametrize("kind", ["grey", "colour"])
@pytest.mark.parametrize("uid", ["new", "keep"])
def test_dciodvfy_finds_no_new_error_in_a_lossy_rendition(
    syntax: str, kind: str, uid: str, tmp_path: Path
) -> None:
    need("dciodvfy")
    dataset = colour() if kind == "colour" else made_of(8, 8, signed=False)
    source = saved(tmp_path, dataset)
    words = (
        f"transfer_syntax: {syntax}\n{LOSSY[syntax]}\nlossy: {{max_error: 65535, beyond: hold, uid: {uid}}}"
    )
    _, output = made(source, target_of(tmp_path, words), tmp_path)
    assert not errors(output, tmp_path) - errors(source, tmp_path)


@pytest.mark.parametrize("keyword", [*EVERY, *LOSSY])
def test_dcmtk_reads_the_whole_file_without_a_complaint(keyword: str, tmp_path: Path) -> None:
    need("dcmdump")
    words = f"transfer_syntax: {keyword}\n"
    if keyword in LOSSY:
        words += f"{LOSSY[keyword]}\nlossy: {{max_error: 65535, beyond: hold}}"
    _, output = made(saved(tmp_path, made_of(8, 8, signed=False)), target_of(tmp_path, words), tmp_path)
    result = run("dcmdump", "-q", "+E", output)  # -q: no warnings; so what is left is an error
    assert (result.returncode, result.stderr) == (0, "")


# --- what others compressed -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("peer", "name"),
    [
        *(("dcmdjpeg", name) for name in ("JPEG-lossy.dcm", "JPGExtended.dcm", "SC_rgb_jpeg_gdcm.dcm")),
        *(
            ("dcmdjpeg", f"SC_rgb_dcmtk_+eb+c{kind}.dcm")
            for kind in ("r", "y+n1", "y+n2", "y+np", "y+s2", "y+s4")
        ),
        *(("dcmdjpeg", f"SC_jpeg_no_color_transform{end}.dcm") for end in ("", "_2")),
        *(("dcmdjpeg", f"SC_rgb_jpeg_{end}.dcm") for end in ("app14_dcmd", "dcmtk", "lossy_gdcm")),
        *(("dcmdjpeg", "SC_rgb_small_odd_jpeg.dcm"), ("dcmdjpeg", "examples_ybr_color.dcm")),
        *(
            ("dcmdrle", name)
            for name in ("MR_small_RLE.dcm", "SC_rgb_rle_2frame.dcm", "SC_rgb_rle_16bit.dcm")
        ),
        *(("dcmdjpls", name) for name in ("MR_small_jpeg_ls_lossless.dcm", "JPEGLSNearLossless_08.dcm")),
        *(("dcmdjpls", name) for name in ("JPEGLSNearLossless_16.dcm", "SC_rgb_jls_lossy_line.dcm")),
        *(
            ("gdcmconv", name)
            for name in ("MR_small_jp2klossless.dcm", "examples_jpeg2k.dcm", "693_J2KI.dcm")
        ),
        *(("gdcmconv", name) for name in ("JPEG2000.dcm", "SC_rgb_gdcm_KY.dcm", "MR_small_RLE.dcm")),
    ],
)
def test_we_decompress_as_they_do(peer: str, name: str, tmp_path: Path) -> None:
    theirs = read_by(peer, bundled(name), tmp_path)
    _, output = made(bundled(name), NATIVE, tmp_path)
    ours = pydicom.dcmread(output)
    assert ours.PhotometricInterpretation == theirs.PhotometricInterpretation
    raw = stored(tmp_path / f"back-{peer}.dcm")
    assert np.array_equal(stored(output), raw)


@pytest.mark.parametrize("syntax", ["+ti", "+tb", "+td"])
def test_what_dcmtk_writes_in_other_encodings_comes_back(syntax: str, tmp_path: Path) -> None:
    """Implicit VR, big endian, deflated: converted by DCMTK, and back by us."""
    other = tmp_path / "other.dcm"
    for name in ("CT_small.dcm", "examples_rgb_color.dcm", "SC_rgb_small_odd.dcm"):
        assert run("dcmconv", syntax, bundled(name), other).returncode == 0
        _, output = made(other, NATIVE, tmp_path)
        assert np.array_equal(stored(output), stored(bundled(name)))
        before, after = pydicom.dcmread(other), pydicom.dcmread(output)
        assert [element.tag for element in before] == [element.tag for element in after]
        assert all(
            element.value == after[element.tag].value for element in before if element.tag < 0x7FE00000
        )
