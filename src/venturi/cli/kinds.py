"""One image of each kind, for ``venturi codecs --try``: real ones, as pydicom brings them, or recast from those.

Nothing here depends on the clock or on chance. What arrives compressed comes from other implementations where pydicom
has such a file; the rest is made by the engine itself.
"""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.pixels.processing import convert_color_space

from venturi.dataset import syntaxes
from venturi.dataset.syntaxes import lookup
from venturi.errors import Permanent
from venturi.model import Target
from venturi.transcode.port import Transcoder

PET, MAMMOGRAPHY = "1.2.840.10008.5.1.4.1.1.128", "1.2.840.10008.5.1.4.1.1.1.2"
DIGITAL_SIGNATURES = 0xFFFAFFFA
CROP = slice(56, 72)
BASE = "12 in 16 bits"

_BOUND = (("lossy_beyond", "as-received"), ("lossy_max_error", 65535.0))
LOSSY = (("j2k_psnr", (50.0,)), ("jls_error", 2), ("jpeg_quality", 90))
"""What a lossy encoder is asked for: the first of these that it takes, with no bound on the error."""

CAME_AS = (
    *("MR_small_implicit.dcm", "MR_small_bigendian.dcm", "image_dfl.dcm", "MR_small_RLE.dcm"),
    *("SC_rgb_jpeg_gdcm.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_jp2klossless.dcm"),
    *("SC_rgb_jpeg_dcmtk.dcm", "JPGExtended.dcm", "JPEGLSNearLossless_16.dcm", "693_J2KI.dcm"),
)
"""Real files by their transfer syntaxes."""
MADE = (
    Target(syntaxes.HTJ2K_LOSSLESS),
    Target(syntaxes.HTJ2K_LOSSLESS_RPCL),
    Target(syntaxes.HTJ2K, (("j2k_psnr", (50.0,)), *_BOUND)),
)


def target_of(transfer_syntax: str, takes: tuple[str, ...], lossy: bool) -> Target:
    """Ask for a syntax as broadly as a rule can: of all that lost nothing yet, whatever the saving."""
    if transfer_syntax in (syntaxes.EXPLICIT_VR_LITTLE_ENDIAN, syntaxes.IMPLICIT_VR_LITTLE_ENDIAN):
        return Target(transfer_syntax)
    parameters: dict[str, Any] = {"from": ("lossless", "uncompressed")}
    if lossy:
        parameters |= dict(_BOUND) | dict([option for option in LOSSY if option[0] in takes][:1])
    return Target(transfer_syntax, tuple(sorted(parameters.items())))


def write_all(folder: Path, engine: Transcoder) -> dict[str, Path]:
    """Write one file of each kind; by the kind's name, in the table's order. Raises Permanent, OSError."""
    written: dict[str, Path] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, about what is odd in its own files
        for number, (name, make) in enumerate(_KINDS.items()):
            written[name] = made = folder / f"{number}.dcm"
            make().save_as(made)
        for name, file in (("report, no pixels", "test-SR.dcm"), ("truncated", "MR_truncated.dcm")):
            written[name] = bundled(file)
        for file in CAME_AS:
            meta = pydicom.filereader.read_file_meta_info(bundled(file))
            written[f"came in {lookup(meta.TransferSyntaxUID)}"] = bundled(file)
    for target in MADE:
        uid = target.transfer_syntax or ""
        written[f"came in {lookup(uid)}"] = made = folder / f"{uid}.dcm"
        outcome = engine.transcode(written[BASE], target, made)
        if not outcome.transcoded:
            raise Permanent(f"no {lookup(uid)} to try with: {outcome.reason}: {outcome.detail}")
    return written


def bundled(name: str) -> Path:
    """One of pydicom's own files. Raises Permanent where pydicom was installed without them."""
    found = get_testdata_file(name, download=False)
    if not found:
        raise Permanent(f"pydicom was installed without its {name}")
    return Path(str(found))


def read(name: str) -> Dataset:
    """The same as a dataset."""
    return pydicom.dcmread(bundled(name))


def grey(
    stored: int,
    allocated: int,
    signed: bool = False,
    margin: float = 1 / 16,
    frame: Callable[[Any], Any] = lambda values: values,
) -> Dataset:
    """A CT slice stretched over so many bits, but for a margin at both ends; ``frame`` does more to its values."""
    dataset = read("CT_small.dcm")
    values = dataset.pixel_array.astype(np.int64)
    most = (1 << stored) - 1
    free = int(most * margin)
    values = free + (values - values.min()) * (most - 2 * free) // int(np.ptp(values))
    values = frame(values - (1 << stored - 1 if signed else 0))
    for keyword in ("PixelPaddingValue", "SmallestImagePixelValue", "LargestImagePixelValue"):
        if keyword in dataset:
            delattr(dataset, keyword)
    dataset.PixelRepresentation = int(signed)
    return _with(dataset, values.astype(f"<{'i' if signed else 'u'}{allocated // 8}"), stored)


def colour(values: NDArray[Any], photometric: str = "RGB", planar: int = 0) -> Dataset:
    """An ultrasound image with other samples: (rows, columns, 3)."""
    dataset = read("examples_rgb_color.dcm")
    dataset.PhotometricInterpretation, dataset.PlanarConfiguration = photometric, planar
    laid_out = values.transpose(2, 0, 1) if planar else values
    rows, columns = values.shape[:2]
    return _with(dataset, np.ascontiguousarray(laid_out), values.itemsize * 8, rows, columns)


def _with(
    dataset: Dataset, values: NDArray[Any], stored: int, rows: int | None = None, columns: int | None = None
) -> Dataset:
    dataset.Rows, dataset.Columns = rows or values.shape[-2], columns or values.shape[-1]
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = values.itemsize * 8, stored, stored - 1
    data = values.tobytes()
    dataset.PixelData = data + bytes(len(data) % 2)
    dataset["PixelData"].VR = "OB" if values.itemsize == 1 else "OW"
    return dataset


def changed(dataset: Dataset, **values: Any) -> Dataset:
    """The dataset with other values."""
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def rgb() -> NDArray[Any]:
    """Samples of a colour image of 8 bits."""
    return read("examples_rgb_color.dcm").pixel_array


def floating() -> Dataset:
    """A parametric map's kind of pixels."""
    dataset = grey(16, 16)
    dataset.FloatPixelData = dataset.pixel_array.astype("<f4").tobytes()
    del dataset.PixelData
    dataset.BitsAllocated = 32
    return dataset


def overlay() -> Dataset:
    """12 bits of pixels and an overlay plane in bit 12 (PS3.3 C.9.2, retired)."""
    dataset = grey(12, 16, frame=lambda values: values | (values > values.mean()).astype(np.int64) << 12)
    dataset.add_new(0x60000010, "US", dataset.Rows)
    dataset.add_new(0x60000011, "US", dataset.Columns)
    dataset.add_new(0x60000040, "CS", "G")
    dataset.add_new(0x60000050, "SS", [1, 1])
    dataset.add_new(0x60000100, "US", 16)
    dataset.add_new(0x60000102, "US", 12)
    return dataset


def signed_object() -> Dataset:
    """A dataset with a Digital Signatures Sequence (PS3.3 C.12.1.1.3); what it signs does not matter here."""
    dataset, signature = grey(12, 16), Dataset()
    signature.MACIDNumber = 1
    dataset.add_new(DIGITAL_SIGNATURES, "SQ", [signature])
    return dataset


_KINDS: dict[str, Callable[[], Dataset]] = {
    "8 bits": lambda: grey(8, 8),
    "8 in 16 bits": lambda: grey(8, 16),
    "10 in 16 bits": lambda: grey(10, 16),
    BASE: lambda: grey(12, 16),
    "14 in 16 bits": lambda: grey(14, 16),
    "16 bits": lambda: grey(16, 16),
    "12 in 16 bits, signed": lambda: grey(12, 16, signed=True),
    "16 bits, signed": lambda: read("MR_small.dcm"),
    "12 in 16, to both ends": lambda: grey(12, 16, margin=0),
    "to both ends, signed": lambda: grey(12, 16, signed=True, margin=0),
    "32 bits": lambda: grey(32, 32),
    "1 bit, segmentation": lambda: read("liver_1frame.dcm"),
    "floating point": floating,
    "overlay in high bits": overlay,
    "HighBit 15 of 12 bits": lambda: changed(grey(12, 16, frame=lambda values: values << 4), HighBit=15),
    "PALETTE COLOR": lambda: read("examples_palette.dcm"),
    "RGB by pixel": lambda: colour(rgb()),
    "RGB by plane": lambda: colour(rgb(), planar=1),
    "RGB, 16 bits": lambda: colour(rgb().astype("<u2") * 257),
    "YBR_FULL": lambda: colour(convert_color_space(rgb(), "RGB", "YBR_FULL"), "YBR_FULL"),
    "YBR_FULL_422 native": lambda: read("SC_ybr_full_422_uncompressed.dcm"),
    "16 x 16 pixels": lambda: grey(12, 16, frame=lambda values: values[CROP, CROP]),
    "3 frames": lambda: changed(
        grey(12, 16, frame=lambda values: np.stack([np.roll(values, shift, 0) for shift in range(3)])),
        NumberOfFrames=3,
    ),
    "Pixel Padding Value": lambda: read("CT_small.dcm"),
    "PET": lambda: changed(grey(16, 16), Modality="PT", SOPClassUID=PET),
    "mammography": lambda: changed(grey(12, 16), Modality="MG", SOPClassUID=MAMMOGRAPHY),
    "lossy history": lambda: changed(grey(12, 16), LossyImageCompression="01"),
    "digitally signed": signed_object,
}
