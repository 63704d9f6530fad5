"""Renditions as other implementations decode them: DCMTK and GDCM get the original's bytes back."""

import shutil
import subprocess
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

from venturi.dataset import syntaxes
from venturi.model import Reason, Target
from venturi.transcode.engine import Engine

PEERS = {
    "dcmdjpls": (["dcmdjpls"], {syntaxes.JPEG_LS_LOSSLESS}),
    "dcmdrle": (["dcmdrle"], {syntaxes.RLE_LOSSLESS}),
    "gdcmconv": (
        ["gdcmconv", "--raw"],
        {syntaxes.JPEG_LS_LOSSLESS, syntaxes.RLE_LOSSLESS, syntaxes.JPEG_2000_LOSSLESS},
    ),
}
PAIRS = [(peer, syntax) for peer in PEERS for syntax in sorted(PEERS[peer][1])]


def made(folder: Path, bits: int, container: int, signed: bool) -> Path:
    """A real CT slice in other depths."""
    dataset = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
    grey = dataset.pixel_array.astype(np.int64)
    grey = (grey - grey.min()) * ((1 << bits) - 1) // int(np.ptp(grey)) - ((1 << (bits - 1)) if signed else 0)
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = container, bits, bits - 1
    dataset.PixelRepresentation = int(signed)
    dataset.PixelData = grey.astype(f"<{'i' if signed else 'u'}{container // 8}").tobytes()
    for keyword in ("PixelPaddingValue", "SmallestImagePixelValue", "LargestImagePixelValue"):
        if keyword in dataset:
            delattr(dataset, keyword)
    path = folder / f"{bits}-in-{container}-{signed}.dcm"
    dataset.save_as(path)
    return path


def decoded(peer: str, source: Path, syntax: str, folder: Path) -> pydicom.Dataset:
    if shutil.which(peer) is None:
        pytest.skip(f"{peer} is not installed")
    output, back = folder / "out.dcm", folder / "back.dcm"
    outcome = Engine().transcode(source, Target(syntax), output)
    assert outcome.transcoded, outcome.detail
    run = subprocess.run([*PEERS[peer][0], output, back], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(back)


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
    source = made(tmp_path, bits, container, signed)
    back = decoded(peer, source, syntax, tmp_path)
    assert back.PixelData == pydicom.dcmread(source).PixelData


@pytest.mark.parametrize("syntax", [syntaxes.JPEG_LS_LOSSLESS])
@pytest.mark.parametrize("bits", [1, 4, 7])
def test_few_bits_in_a_byte_are_read_by_dcmtk(syntax: str, bits: int, tmp_path: Path) -> None:
    source = made(tmp_path, bits, 8, signed=False)
    assert decoded("dcmdjpls", source, syntax, tmp_path).PixelData == pydicom.dcmread(source).PixelData


@pytest.mark.parametrize(("peer", "syntax"), PAIRS)
@pytest.mark.parametrize("planar", [0, 1])
def test_colour_pixels_come_back(peer: str, syntax: str, planar: int, tmp_path: Path) -> None:
    dataset = pydicom.dcmread(str(get_testdata_file("examples_rgb_color.dcm")))
    pixels = dataset.pixel_array
    dataset.PlanarConfiguration = planar
    dataset.PixelData = (pixels.transpose(2, 0, 1) if planar else pixels).tobytes()
    source = tmp_path / "source.dcm"
    dataset.save_as(source)
    back = decoded(peer, source, syntax, tmp_path)
    assert back.PhotometricInterpretation == "RGB"
    assert np.array_equal(back.pixel_array, pixels)


@pytest.mark.parametrize("syntax", sorted(PEERS["gdcmconv"][1]))
@pytest.mark.parametrize("kind", ["16-bit colour", "5 bits in a byte"])
def test_what_gdcm_cannot_read_is_not_made(kind: str, syntax: str, tmp_path: Path) -> None:
    source = made(tmp_path, 5, 8, signed=False)
    if kind == "16-bit colour":
        dataset = pydicom.dcmread(source)
        grey = dataset.pixel_array.astype("<u2") * 2047
        dataset.PixelData = np.stack([grey, grey[::-1], grey[:, ::-1]], axis=-1).tobytes()
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
        dataset.save_as(source)
    if syntax == syntaxes.RLE_LOSSLESS:
        assert Engine().transcode(source, Target(syntax), tmp_path / "out.dcm").reason is Reason.BITS
        return
    back = decoded("gdcmconv", source, syntax, tmp_path)
    assert np.array_equal(back.pixel_array, pydicom.dcmread(source).pixel_array)


@pytest.mark.parametrize("syntax", sorted(PEERS["dcmdjpls"][1] | PEERS["gdcmconv"][1]))
def test_multiframe_and_palette_come_back(syntax: str, tmp_path: Path) -> None:
    for name in ("examples_palette.dcm", "emri_small.dcm"):
        found = get_testdata_file(name, download=False)
        if found is None:
            continue
        folder = tmp_path / name
        folder.mkdir()
        back = decoded("gdcmconv", Path(str(found)), syntax, folder)
        assert np.array_equal(back.pixel_array, pydicom.dcmread(str(found)).pixel_array)


@pytest.mark.parametrize("syntax", sorted({syntax for _, syntax in PAIRS}))
def test_dciodvfy_finds_no_error_that_the_original_does_not_have(syntax: str, tmp_path: Path) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed")

    def errors(path: Path) -> set[str]:
        run = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False)
        return {line for line in run.stderr.splitlines() if line.startswith("Error")}

    for name in ("CT_small.dcm", "examples_rgb_color.dcm"):
        source, output = Path(str(get_testdata_file(name))), tmp_path / name
        assert Engine().transcode(source, Target(syntax), output).transcoded
        assert not errors(output) - errors(source)
