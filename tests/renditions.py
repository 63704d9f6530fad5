"""What tests of transcoding share: real objects, a rule by the real loader, and renditions as pydicom sees them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels import pixel_array

from venturi import node
from venturi.config.load import load
from venturi.dataset import part10, syntaxes
from venturi.dataset.scan import scan
from venturi.model import Outcome, Target
from venturi.transcode.engine import Engine
from venturi.transcode.frames import Frame
from venturi.transcode.image import Image

CONFIG = """\
peers: {here: {ae_title: "*", hosts: [127.0.0.1]}}
destinations: {archive: {folder: ./archive}}
routes: [{to: [archive]}]
rules:
  - name: the rule
"""
NATIVE = Target(syntaxes.EXPLICIT_VR_LITTLE_ENDIAN)


def bundled(name: str) -> Path:
    """A public file that comes with pydicom."""
    return Path(str(get_testdata_file(name, download=False)))


def read(name: str) -> Dataset:
    """The same as a dataset."""
    return pydicom.dcmread(bundled(name))


def config_file(folder: Path, rule: str) -> Path:
    """A configuration with one rule, given as YAML."""
    path = folder / "venturi.yaml"
    path.write_text(CONFIG + "".join(f"    {line.strip()}\n" for line in rule.strip().splitlines()))
    return path


def target_of(folder: Path, rule: str) -> Target:
    """What such a rule asks for, as the daemon loads it. Raises ConfigError."""
    return load(config_file(folder, rule), node.known_codecs).rules[0].target


def saved(folder: Path, dataset: Dataset) -> Path:
    """The dataset as a file."""
    path = folder / "source.dcm"
    dataset.save_as(path)
    return path


def transcode(
    source: Path, target: Target, folder: Path, engine: Engine | None = None
) -> tuple[Outcome, Path]:
    """The outcome, and where the rendition is if there is one. The source must stay as it is."""
    output = folder / "out.dcm"
    output.unlink(missing_ok=True)
    before = source.read_bytes()
    outcome = (engine or Engine()).transcode(source, target, output)
    assert source.read_bytes() == before
    assert output.exists() is outcome.transcoded
    return outcome, output


def made(source: Path, target: Target, folder: Path) -> tuple[Outcome, Path]:
    """The same where it must succeed."""
    outcome, output = transcode(source, target, folder)
    assert outcome.transcoded, (outcome.reason, outcome.detail)
    return outcome, output


def stored(path: Path) -> NDArray[np.int64]:
    """Stored values by pydicom, as they are coded: no colour conversion."""
    return pixel_array(path, raw=True).astype(np.int64)


def dataset_bytes(path: Path) -> bytes:
    """The file without its meta group."""
    with path.open("rb") as file:
        part10.read(file)
        return file.read()


def elements(path: Path) -> dict[int, bytes]:
    """Every top-level element with its header, by tag. Explicit VR little endian."""
    data = dataset_bytes(path)
    return {element.tag: data[element.start : element.end] for element in scan(data)}


def changed(before: Path, after: Path) -> set[int]:
    """Tags of the elements that differ."""
    was, now = elements(before), elements(after)
    return {tag for tag in was.keys() | now.keys() if was.get(tag) != now.get(tag)}


def codestreams(path: Path) -> list[bytes]:
    """Every frame's codestream, by pydicom."""
    dataset = pydicom.dcmread(path)
    frames = int(dataset.get("NumberOfFrames", 1) or 1)
    return list(generate_frames(dataset.PixelData, number_of_frames=frames))


def encapsulated(
    dataset: Dataset, frames: Sequence[bytes], syntax: str, *, fragments: int = 1, table: bool = True
) -> Dataset:
    """The same dataset with other codestreams."""
    dataset.PixelData = encapsulate(list(frames), fragments_per_frame=fragments, has_bot=table)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = syntax
    if len(frames) > 1:
        dataset.NumberOfFrames = len(frames)
    return dataset


def image_of(frame: Frame, stored: int, photometric: str = "", planar: int = 0) -> Image:
    """Describe one frame, without a file around it."""
    samples = 1 if frame.ndim == 2 else frame.shape[2]
    return Image(
        rows=frame.shape[0],
        columns=frame.shape[1],
        samples=samples,
        bits_allocated=8 * frame.itemsize,
        bits_stored=stored,
        signed=frame.dtype.kind == "i",
        photometric=photometric or ("MONOCHROME2" if samples == 1 else "RGB"),
        planar=None if samples == 1 else planar,
        frames=1,
        depth=stored,
    )


def ct(bits: int = 12, signed: bool = False, container: int = 16) -> Frame:
    """A real CT slice, scaled to the whole range of ``bits`` bits."""
    grey = read("CT_small.dcm").pixel_array.astype(np.int64)
    grey = (grey - grey.min()) * ((1 << bits) - 1) // int(np.ptp(grey)) - ((1 << (bits - 1)) if signed else 0)
    return grey.astype(f"<{'i' if signed else 'u'}{container // 8}")


def rgb(bits: int = 8) -> Frame:
    """A real picture, widened to ``bits`` bits."""
    frame: Frame = read("examples_rgb_color.dcm").pixel_array
    return frame if bits == 8 else frame.astype("<u2") << (bits - 8) | frame
