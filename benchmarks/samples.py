"""The objects that the benchmarks use: public images, tiled to the sizes that modalities send.

No two have the same pixels: each is cut out of its tiled source at another place. Nothing is noise or zeros, which
compress like nothing real. The source is VENTURI_CORPUS (default ``../shared/corpus``) where that has the WG-04
reference images, else what pydicom bundles, which is smaller and compresses a little better.

    python benchmarks/samples.py FOLDER [--scale 0.1]
"""

import argparse
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom.data
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

CORPUS = Path(os.environ.get("VENTURI_CORPUS", Path(__file__).parents[2] / "shared" / "corpus"))
ROOT = "1.2.826.0.1.3680043.10.1671.9"


@dataclass(frozen=True)
class Kind:
    """One kind of image: how many, how large, and of which real images."""

    name: str
    count: int
    rows: int
    columns: int
    sources: tuple[str, ...]
    """Of WG-04."""
    bundled: tuple[str, ...]
    """Of pydicom, where there are no others."""
    bits_stored: int = 0
    """0: as the source has it. More: the source's values shifted up, and real low bits of another place below."""
    frames: int = 1


CT = Kind("CT", 1200, 512, 512, ("CT1_UNC", "CT2_UNC"), ("CT_small.dcm",))
MR = Kind("MR", 2400, 256, 256, ("MR1_UNC", "MR3_UNC", "MR4_UNC"), ("MR_small.dcm",))
DX = Kind("DX", 40, 2560, 2048, ("SC1_UNC", "RG2_UNC"), ("CT_small.dcm",), bits_stored=12)
MG = Kind("MG", 10, 4096, 3328, ("SC1_UNC", "RG2_UNC"), ("CT_small.dcm",), bits_stored=14)
US = Kind("US", 1, 480, 640, ("US1_UNC",), ("examples_rgb_color.dcm",), frames=100)
KINDS = (CT, MR, DX, MG, US)


def source(kind: Kind, number: int) -> Dataset:
    """Read the real image that the ``number``-th of a kind is cut from."""
    folder = CORPUS / "wg04" / "REF"
    if folder.is_dir():
        return pydicom.dcmread(folder / kind.sources[number % len(kind.sources)])
    return pydicom.dcmread(
        str(pydicom.data.get_testdata_file(kind.bundled[number % len(kind.bundled)], download=False))
    )


def cut(pixels: NDArray[Any], rows: int, columns: int, number: int) -> NDArray[Any]:
    """Cut ``rows`` x ``columns`` out of endlessly tiled pixels, at a place that ``number`` chooses.

    It is another one for each number below the number of pixels: both factors are odd, the sides even, and what is
    equal down differs to the right.
    """
    down = number * 37 % pixels.shape[0]
    right = (number * 101 + number // pixels.shape[0] * 7) % pixels.shape[1]
    times = (-(-(rows + down) // pixels.shape[0]), -(-(columns + right) // pixels.shape[1]))
    tiled = np.tile(pixels, times + (1,) * (pixels.ndim - 2))
    return np.ascontiguousarray(tiled[down : down + rows, right : right + columns])


def frame(kind: Kind, dataset: Dataset, number: int) -> NDArray[Any]:
    """Give one frame, in the container of its source."""
    pixels = dataset.pixel_array
    found = cut(pixels, kind.rows, kind.columns, number)
    missing = kind.bits_stored - dataset.BitsStored if kind.bits_stored else 0
    if missing > 0:
        low = cut(pixels, kind.rows, kind.columns, number + 1) & ((1 << missing) - 1)
        found = (found << missing) | low
    return found


def write(kind: Kind, number: int, path: Path) -> None:
    """Write the ``number``-th object of a kind as a Part 10 file in explicit VR little endian."""
    dataset = source(kind, number)
    place = [known.name for known in KINDS].index(kind.name) + 1
    uid = f"{ROOT}.{place}.{number + 1}"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    frames = [frame(kind, dataset, number + index) for index in range(kind.frames)]
    dataset.Rows, dataset.Columns = kind.rows, kind.columns
    if kind.bits_stored > dataset.BitsStored:
        dataset.BitsStored, dataset.HighBit = kind.bits_stored, kind.bits_stored - 1
    if kind.frames > 1:
        dataset.NumberOfFrames = kind.frames
    for keyword in ("SmallestImagePixelValue", "LargestImagePixelValue"):
        if keyword in dataset:
            del dataset[keyword]
    dataset.PixelData = b"".join(each.tobytes() for each in frames)
    dataset.save_as(path, enforce_file_format=True)


def make(folder: Path, kinds: tuple[Kind, ...] = KINDS, scale: float = 1.0) -> Iterator[tuple[Kind, Path]]:
    """Write all that are not there yet: ``folder/NAME/NNNNN.dcm``. A clip that is scaled has fewer frames."""
    for each in kinds:
        frames = max(2, round(each.frames * scale)) if each.frames > 1 else 1
        kind = replace(each, frames=frames)
        (folder / kind.name).mkdir(parents=True, exist_ok=True)
        for number in range(max(1, round(kind.count * scale))):
            path = folder / kind.name / f"{number:05}.dcm"
            if not path.exists():
                write(kind, number, path)
            yield each, path


def make_large(path: Path, size_bytes: int) -> None:
    """Write one multi-frame CT of at least so many bytes, of the frames of ``CT``, without holding it."""
    dataset = source(CT, 0)
    frames = -(-size_bytes // (CT.rows * CT.columns * 2))
    pixels = [frame(CT, dataset, number) for number in range(64)]
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{ROOT}.8.{frames}"
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.Rows, dataset.Columns, dataset.NumberOfFrames = CT.rows, CT.columns, frames
    dataset.PixelData = b""
    dataset.save_as(path, enforce_file_format=True)
    header = b"\xe0\x7f\x10\x00OW\0\0"
    text = path.read_bytes()
    at = text.rindex(header)
    with path.open("wb") as file:
        file.write(text[: at + 8])
        file.write((frames * pixels[0].nbytes).to_bytes(4, "little"))
        for index in range(frames):
            # Another first pixel for each, so that no two frames are equal.
            pixels[index % 64].reshape(-1)[0] = index % 1000
            file.write(pixels[index % 64].tobytes())
        file.write(text[at + 12 :])


def main() -> None:
    """Make them all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scale", type=float, default=1.0, help="so many times the usual number of files")
    arguments = parser.parse_args()
    for kind, path in make(arguments.folder, scale=arguments.scale):
        print(kind.name, path, path.stat().st_size)


if __name__ == "__main__":
    main()
