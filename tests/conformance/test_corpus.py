"""Every public file to every output syntax is proven, or passed on with a reason of the closed list."""

import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from public import TARGETS, committed, public_files
from pydicom.pixels import pixel_array

from venturi.dataset import syntaxes
from venturi.model import Outcome, Proof, Reason, Target
from venturi.transcode.codecs import registry
from venturi.transcode.engine import Engine

LOSSLESS = [
    keyword
    for keyword, target in TARGETS.items()
    if not (syntax := syntaxes.lookup(target.transfer_syntax or "")).lossy and not syntax.native
]
OVER_16 = {
    # bits above Bits Stored hold an overlay or garbage, which readers of JPEG 2000 would take for pixels
    (name, keyword): Reason.UNUSED_BITS
    for name in (
        *("ovly_p01.dcm", "12bitSigned_0x0F0F.dcm", "12bitUnsigned.dcm", "12bitUnsigned_0x0F0F.dcm"),
        "mlut_18.dcm",
    )
    for keyword in ("JPEG2000Lossless", "HTJ2KLossless", "HTJ2KLosslessRPCL")
}
"""Honest native files of 8 to 16 bits that are passed on all the same, and why."""


@pytest.mark.parametrize("keyword", TARGETS)
def test_every_public_file_is_transcoded_and_proven_or_passed_on_with_a_reason(
    keyword: str, corpus: Path, tmp_path: Path
) -> None:
    engine, output, target = Engine(), tmp_path / "out.dcm", TARGETS[keyword]
    counter: Counter[str] = Counter()
    compared = 0
    for path in public_files(corpus):
        before = path.stat()
        outcome = engine.transcode(path, target, output)
        assert path.stat().st_mtime_ns == before.st_mtime_ns
        assert output.exists() is outcome.transcoded
        assert outcome.reason is None or isinstance(outcome.reason, Reason)
        counter[outcome.reason or "transcoded"] += 1
        if outcome.transcoded:
            compared += check(path, output, outcome, target)
            output.unlink()
        if keyword in LOSSLESS and honest_native(path):
            assert outcome.reason is OVER_16.get((path.name, keyword)), (path, outcome.detail)
    expected = committed(corpus)[keyword]
    assert counter["transcoded"] >= expected["transcoded"], dict(counter)
    assert set(counter) <= set(expected), dict(counter)
    assert compared or "JPEG" in keyword


def check(path: Path, output: Path, outcome: Outcome, target: Target) -> int:
    """Look at a rendition with pydicom, which shares no code with the proof; 1 where it can decode both."""
    assert outcome.transfer_syntax == target.transfer_syntax
    lossy = syntaxes.lookup(outcome.transfer_syntax).lossy
    assert outcome.proof is (Proof.BOUND if lossy else Proof.PIXELS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before, after = pydicom.dcmread(path), pydicom.dcmread(output)
        assert (after.get("SOPInstanceUID") != before.get("SOPInstanceUID")) is lossy
        assert after.file_meta.TransferSyntaxUID == target.transfer_syntax
        try:
            was, now = visible(path), visible(output)
        except (RuntimeError, ValueError, AttributeError, TypeError, NotImplementedError, KeyError):
            return 0  # pydicom has no decoder for it, or does not like the header
    # of lossy JPEG, no two decoders round alike (ISO/IEC 10918-2)
    jpeg = {before.file_meta.TransferSyntaxUID, outcome.transfer_syntax} & {
        syntaxes.JPEG_BASELINE,
        syntaxes.JPEG_EXTENDED,
    }
    were_rgb = before.PhotometricInterpretation in ("RGB", "YBR_RCT")
    if lossy and jpeg and were_rgb and after.PhotometricInterpretation != "RGB":
        now = pixel_array(output).astype(np.int64)
    error = int(np.abs(was - now).max())
    assert abs(error - (outcome.lossy.max_error if outcome.lossy else 0)) <= (3 if jpeg else 0)
    return 1


def visible(path: Path) -> NDArray[np.int64]:
    """Stored values by pydicom, without colour conversion and without what is above Bits Stored."""
    dataset = pydicom.dcmread(path, stop_before_pixels=True)
    values = pixel_array(path, raw=True).astype(np.int64)
    bits = dataset.BitsStored
    values &= (1 << bits) - 1
    if dataset.PixelRepresentation:
        values -= (values >> (bits - 1)) << bits
    return values


def honest_native(path: Path) -> bool:
    """Whether pydicom sees an ordinary native image of 8 to 16 bits."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ds = pydicom.dcmread(path)
            if not syntaxes.lookup(ds.file_meta.TransferSyntaxUID).native or "PixelData" not in ds:
                return False
            expected = ds.Rows * ds.Columns * ds.SamplesPerPixel * ds.BitsAllocated // 8
            expected *= int(ds.get("NumberOfFrames", 1) or 1)
            return (
                ds.BitsAllocated in (8, 16)
                and ds.HighBit == ds.BitsStored - 1
                and len(ds.PixelData) in (expected, expected + expected % 2)
            )
        except Exception:  # not a file pydicom reads either
            return False


def test_there_is_a_target_for_every_encoder() -> None:
    assert {target.transfer_syntax for target in TARGETS.values()} == set(registry().encoders())
