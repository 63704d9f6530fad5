"""Every lossless encoder of the registry, over every kind of pixel it takes."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file

from renditions import ct, image_of
from venturi.dataset import syntaxes
from venturi.model import Reason
from venturi.transcode.codecs import registry
from venturi.transcode.codecs.contract import Encoder, Options
from venturi.transcode.frames import Frame, pixels, rebuild
from venturi.transcode.image import Image

ENCODERS = {
    f"{syntaxes.lookup(uid).keyword}-{encoder.name}": encoder
    for uid, encoders in registry().encoders().items()
    for encoder in encoders
    if not encoder.lossy
}
every_codec = pytest.mark.parametrize("codec", ENCODERS.values(), ids=list(ENCODERS))
PLAIN = Options()


def round_trip(codec: Encoder, frame: Frame, image: Image) -> None:
    assert codec.refusal(image, PLAIN) is None
    codestream = codec.encode(frame, image, PLAIN)
    assert codec.check(codestream, image, PLAIN) == ""
    if not syntaxes.lookup(codec.transfer_syntax).native:
        assert codec.check(codestream + b"\0", image, PLAIN) == ""  # a pad byte
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
    codec: Encoder, bits: int, container: int, signed: bool
) -> None:
    frame = ct(bits, signed, container)
    image = image_of(frame, bits)
    if codec.name == "pylibjpeg-openjpeg" and (bits, container) == (1, 8):
        refused = codec.refusal(image, PLAIN)  # it codes noise of one bit wrongly, and says nothing
        assert refused is not None
        assert refused.reason is Reason.BITS
    else:
        round_trip(codec, frame, image)


@every_codec
@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
def test_colour_comes_back_exactly_in_its_own_layout(codec: Encoder, planar: int, photometric: str) -> None:
    frame = pydicom.dcmread(str(get_testdata_file("examples_rgb_color.dcm"))).pixel_array
    image = image_of(frame, 8, photometric, planar)
    stored = rebuild(frame, image)
    assert np.array_equal(pixels(stored, image), frame)
    round_trip(codec, frame, image)


@every_codec
@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (3, 5), (16, 16), (31, 33)])
def test_small_images_come_back_exactly(codec: Encoder, shape: tuple[int, int]) -> None:
    frame = np.ascontiguousarray(np.resize(ct(12, False, 16), shape) // 8)
    image = image_of(frame, 12)
    if codec.refusal(image, PLAIN) is None:
        round_trip(codec, frame, image)
    else:
        assert codec.name == "pylibjpeg-openjpeg", "which has six resolutions, always"


@every_codec
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), bits=st.integers(1, 16), signed=st.booleans(), side=st.integers(8, 40))
def test_noise_comes_back_exactly_or_is_refused_by_the_encoder(
    codec: Encoder, seed: int, bits: int, signed: bool, side: int
) -> None:
    low, high = (-(1 << (bits - 1)), 1 << (bits - 1)) if signed else (0, 1 << bits)
    frame = np.random.default_rng(seed).integers(low, high, (side, side)).astype("<i2" if signed else "<u2")
    image = image_of(frame, bits)
    try:
        codestream = codec.encode(frame, image, PLAIN)
    except RuntimeError:
        return
    assert codec.check(codestream, image, PLAIN) == ""
    assert np.array_equal(codec.decode(codestream, image), frame)


@every_codec
def test_the_same_frame_gives_the_same_bytes(codec: Encoder) -> None:
    frame = ct(12, False, 16)
    image = image_of(frame, 12)
    assert codec.encode(frame, image, PLAIN) == codec.encode(frame, image, PLAIN)


@every_codec
@pytest.mark.parametrize("change", [{"rows": 64}, {"columns": 129}, {"samples": 3, "photometric": "RGB"}])
def test_a_codestream_of_other_dimensions_is_noticed_before_it_is_decoded(
    codec: Encoder, change: dict[str, object]
) -> None:
    frame = ct(12, False, 16)
    image = image_of(frame, 12)
    codestream = codec.encode(frame, image, PLAIN)
    changed = replace(image, **change)  # type: ignore[arg-type]  # the cases above have the fields' types
    if codec.transfer_syntax == syntaxes.RLE_LOSSLESS and "samples" not in change:
        with pytest.raises(ValueError, match="segment 0 has"):  # RLE's header has no dimensions
            codec.decode(codestream, changed)
    else:
        assert codec.check(codestream, changed, PLAIN) != ""


@every_codec
def test_every_beginning_of_a_codestream_is_refused_or_fails_to_decode_to_the_frame(codec: Encoder) -> None:
    frame = np.ascontiguousarray(ct(12, False, 16)[:32, :32])
    image = image_of(frame, 12)
    codestream = codec.encode(frame, image, PLAIN)
    for length in range(0, len(codestream) - 2, 7):
        cut = codestream[:length]
        if not codec.check(cut, image, PLAIN):
            try:
                same = np.array_equal(codec.decode(cut, image), frame)
            except Exception:  # any refusal will do
                same = False
            assert not same


MEASURE = """
import resource, sys
from pathlib import Path
from venturi.model import Reason, Target
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
