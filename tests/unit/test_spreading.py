"""What is made of an object's shares, whoever does them, is what one process makes: the same bytes, one outcome."""

import itertools
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from renditions import NATIVE, ct, made, read, rgb, saved, stored, target_of
from venturi.dataset import encapsulate, syntaxes
from venturi.dataset.syntaxes import Family, lookup
from venturi.model import Outcome, Reason, Target
from venturi.transcode import spreading
from venturi.transcode.engine import Engine
from venturi.transcode.messages import is_proper
from venturi.transcode.messages import read as read_message
from venturi.transcode.port import Compress
from venturi.transcode.shares import Done, Phase, Request, Share

FRAMES = 7
JPEG_LS = Target(syntaxes.JPEG_LS_LOSSLESS)


class Others:
    """A ``Spread`` whose shares are done in turn by the lead and by two other engines, as if over a pipe."""

    def __init__(self) -> None:
        self.engines = (None, Engine(), Engine())
        self.requests: list[Request] = []

    def __call__(self, request: Request, do: Callable[[Share], Done]) -> tuple[Done, ...]:
        heard = read_message(pickle.dumps(request))
        assert heard == request
        share = request.shares[0]
        assert is_proper(request, Compress("1", share.source, share.rendition, 1))
        self.requests.append(request)
        told: list[Done] = []
        for share, engine in zip(request.shares, itertools.cycle(self.engines), strict=False):
            done = engine.share(share) if engine else do(share)
            assert read_message(pickle.dumps(done)) == done
            told.append(done)
            if (
                done.refused
                or done.unused_bits
                or 0 < request.most_bytes < sum(d.written_bytes for d in told)
            ):
                break
        return tuple(told)


@pytest.fixture
def small_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spreading, "SHARE_BYTES", 1 << 14)


def of_frames(frames: list[np.ndarray], **attributes: object) -> Dataset:
    """An object of such frames."""
    first = frames[0]
    dataset = read("CT_small.dcm")
    dataset.Rows, dataset.Columns = first.shape[:2]
    dataset.NumberOfFrames = len(frames)
    dataset.BitsAllocated = 8 * first.itemsize
    dataset.BitsStored, dataset.HighBit = dataset.BitsAllocated, dataset.BitsAllocated - 1
    dataset.PixelRepresentation = int(first.dtype.kind == "i")
    dataset.SamplesPerPixel = 1 if first.ndim == 2 else 3
    if first.ndim == 3:
        dataset.PhotometricInterpretation, dataset.PlanarConfiguration = "RGB", 0
    del dataset.PixelPaddingValue
    for name, value in attributes.items():
        setattr(dataset, name, value)
        if name == "BitsStored":
            dataset.HighBit = value - 1
    data = b"".join(frame.tobytes() for frame in frames)
    dataset.PixelData = data + bytes(len(data) % 2)
    dataset["PixelData"].VR = "OB" if first.itemsize == 1 else "OW"
    return dataset


def rolled(frame: np.ndarray) -> list[np.ndarray]:
    """No two of them alike."""
    return [np.roll(frame, number, axis=1) for number in range(FRAMES)]


def grey() -> Dataset:
    return of_frames(rolled(ct(12)), BitsStored=12)


def signed() -> Dataset:
    return of_frames(rolled(ct(16, signed=True)))


def small() -> list[np.ndarray]:
    return rolled(np.ascontiguousarray(rgb()[:120, :121]))


def colour() -> Dataset:
    return of_frames(small())


def planar() -> Dataset:
    frames = [np.ascontiguousarray(frame.transpose(2, 0, 1)) for frame in small()]
    dataset = of_frames(small(), PlanarConfiguration=1)
    data = b"".join(frame.tobytes() for frame in frames)
    dataset.PixelData = data + bytes(len(data) % 2)
    return dataset


def odd() -> Dataset:
    """Frames of an odd length."""
    return of_frames(rolled(np.ascontiguousarray(ct(8, container=8)[:127, :127])))


def with_unused_bits(frame: int = FRAMES - 2) -> Dataset:
    frames = rolled(ct(12))
    frames[frame][0, 0] |= 1 << 14
    return of_frames(frames, BitsStored=12)


def both(source: Path, target: Target, folder: Path) -> tuple[Outcome, Others]:
    """The outcome of either way, which must be the same, and what was spread."""
    alone = Engine().transcode(source, target, folder / "alone.part")
    others = Others()
    (folder / "together").mkdir(exist_ok=True)
    output = folder / "together" / "x.part"
    together = Engine().transcode(source, target, output, others)
    assert together == alone
    if alone.transcoded:
        assert output.read_bytes() == (folder / "alone.part").read_bytes()
        output.unlink()
        (folder / "alone.part").unlink()
    assert list((folder / "together").iterdir()) == [], "no part is left"
    return alone, others


TARGETS = (
    syntaxes.JPEG_LS_LOSSLESS,
    syntaxes.RLE_LOSSLESS,
    syntaxes.HTJ2K_LOSSLESS,
    syntaxes.JPEG_2000_LOSSLESS,
)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dataset", [grey, signed, colour, planar, odd, with_unused_bits])
@pytest.mark.usefixtures("small_shares")
def test_whoever_does_the_shares_the_bytes_are_the_same(
    tmp_path: Path, dataset: Callable[[], Dataset], target: str
) -> None:
    source = saved(tmp_path, dataset())
    outcome, others = both(source, Target(target), tmp_path)
    phases = [request.shares[0].phase for request in others.requests]
    if dataset is with_unused_bits and lookup(target).family in (Family.JPEG_2000, Family.HTJ2K):
        assert (outcome.reason, phases) == (Reason.UNUSED_BITS, [Phase.ENCODE])
        return
    assert outcome.transcoded, outcome.detail
    assert phases == [Phase.ENCODE] * (1 + (dataset is with_unused_bits)) + [Phase.PROVE]
    assert len(others.requests[-1].shares) > len(others.engines)


@pytest.mark.parametrize("syntax", TARGETS)
@pytest.mark.parametrize(
    "target", [NATIVE, JPEG_LS, Target(syntaxes.HTJ2K_LOSSLESS, (("from", ("lossless",)),))]
)
@pytest.mark.usefixtures("small_shares")
def test_so_are_those_of_what_came_compressed(tmp_path: Path, syntax: str, target: Target) -> None:
    _, source = made(saved(tmp_path, odd()), Target(syntax), tmp_path)
    target = replace(target, parameters=(("from", ("lossless",)),) if target != NATIVE else ())
    outcome, others = both(source, target, tmp_path)
    if target.transfer_syntax == syntax:
        assert outcome.reason is Reason.SAME_SYNTAX
    else:
        assert outcome.transcoded, outcome.detail
        assert len(others.requests) == 2


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.usefixtures("small_shares")
def test_so_are_those_of_other_headers(tmp_path: Path, syntax: str) -> None:
    dataset = grey()
    if syntax == ExplicitVRBigEndian:
        swapped = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
        dataset.PixelData = swapped
    path = tmp_path / "other.dcm"
    dataset.file_meta.TransferSyntaxUID = syntax
    pydicom.dcmwrite(
        path,
        dataset,
        implicit_vr=syntax == ImplicitVRLittleEndian,
        little_endian=syntax != ExplicitVRBigEndian,
    )
    outcome, others = both(path, JPEG_LS, tmp_path)
    assert outcome.transcoded, outcome.detail
    assert len(others.requests) == 2


@pytest.mark.usefixtures("small_shares")
def test_what_is_lost_is_measured_over_all_shares(tmp_path: Path) -> None:
    rule = "transfer_syntax: JPEGLSNearLossless\njls_error: 3\nlossy: {max_error: 3}"
    outcome, others = both(saved(tmp_path, grey()), target_of(tmp_path, rule), tmp_path)
    assert outcome.transcoded, outcome.detail
    assert outcome.lossy is not None
    assert outcome.lossy.max_error == 3
    assert len(others.requests) == 2


@pytest.mark.usefixtures("small_shares")
def test_beyond_the_bound_the_shares_are_made_without_loss(tmp_path: Path) -> None:
    rule = "transfer_syntax: JPEG2000\nj2k_cr: [40]\nlossy: {max_error: 1, beyond: lossless}"
    outcome, others = both(saved(tmp_path, grey()), target_of(tmp_path, rule), tmp_path)
    assert outcome.transfer_syntax == syntaxes.JPEG_2000_LOSSLESS
    assert [request.shares[0].lossless_instead for request in others.requests] == [False, False, True, True]
    assert others.requests[1].shares[0].phase is Phase.PROVE


@pytest.mark.usefixtures("small_shares")
def test_the_refusal_is_that_of_the_first_frame(tmp_path: Path) -> None:
    dataset = with_unused_bits(3)
    dataset.PixelData = dataset.PixelData[: 6 * 32768] + with_unused_bits(6).PixelData[6 * 32768 :]
    rule = "transfer_syntax: JPEGLSNearLossless\njls_error: 3\nlossy: {max_error: 3, beyond: as-received}"
    outcome, _ = both(saved(tmp_path, dataset), target_of(tmp_path, rule), tmp_path)
    assert outcome.reason is Reason.UNUSED_BITS
    assert outcome.detail.startswith("frame 3:")


@pytest.mark.parametrize("saving", [0.1, 0.55, 0.7, 0.95, 1.0])
@pytest.mark.usefixtures("small_shares")
def test_a_saving_that_is_too_small_is_refused_at_the_same_frame(tmp_path: Path, saving: float) -> None:
    outcome, others = both(saved(tmp_path, grey()), replace(JPEG_LS, min_saving=saving), tmp_path)
    assert outcome.reason in (None, Reason.NO_SAVING)
    assert outcome.transcoded is (saving == 0.1)
    assert len(others.requests) == 1 + outcome.transcoded


@pytest.mark.usefixtures("small_shares")
def test_a_frame_too_far_for_the_basic_table_gives_an_extended_one_and_is_not_encoded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = saved(tmp_path, grey())
    monkeypatch.setattr(encapsulate, "_MOST", 50_000)
    outcome, others = both(source, JPEG_LS, tmp_path)
    assert outcome.transcoded, outcome.detail
    assert [request.shares[0].phase for request in others.requests] == [Phase.ENCODE, Phase.PROVE]


@pytest.mark.usefixtures("small_shares")
def test_without_proof_and_with_the_extended_table(tmp_path: Path) -> None:
    rule = "transfer_syntax: JPEGLSLossless\nprove: none\noffset_table: extended"
    outcome, others = both(saved(tmp_path, colour()), target_of(tmp_path, rule), tmp_path)
    assert outcome.transcoded, outcome.detail
    assert len(others.requests) == 2


@pytest.mark.usefixtures("small_shares")
def test_a_rendition_that_changed_after_it_was_written_is_found_out(
    tmp_path: Path,
) -> None:
    class Changes(Others):
        def __call__(self, request: Request, do: Callable[[Share], Done]) -> tuple[Done, ...]:
            share = request.shares[4]
            if share.phase is Phase.PROVE:
                with Path(share.rendition).open("r+b") as file:
                    file.seek(share.end - 2000)
                    byte = file.read(1)[0]
                    file.seek(share.end - 2000)
                    file.write(bytes((byte ^ 16,)))
            return super().__call__(request, do)

    source, output = saved(tmp_path, grey()), tmp_path / "x.part"
    outcome = Engine().transcode(source, JPEG_LS, output, Changes())
    assert outcome.reason is Reason.PROOF_FAILED
    assert outcome.detail.startswith("frame 4:")
    assert not output.exists()


@pytest.mark.usefixtures("small_shares")
def test_a_share_that_nobody_has_proven_is_missed(tmp_path: Path) -> None:
    class LeavesOut(Others):
        def __call__(self, request: Request, do: Callable[[Share], Done]) -> tuple[Done, ...]:
            told = super().__call__(request, do)
            return told if request.shares[0].phase is Phase.ENCODE else told[:-1]

    with pytest.raises(RuntimeError, match="missing"):  # it ends the worker: the object is tried again alone
        Engine().transcode(saved(tmp_path, grey()), JPEG_LS, tmp_path / "x.part", LeavesOut())
    assert not (tmp_path / "x.part").exists()


@pytest.mark.usefixtures("small_shares")
def test_a_disk_that_is_full_under_one_share_leaves_no_part(tmp_path: Path) -> None:
    class Full(Others):
        def __call__(self, request: Request, do: Callable[[Share], Done]) -> tuple[Done, ...]:
            super().__call__(request, do)
            raise OSError

    source = saved(tmp_path, grey())
    (tmp_path / "out").mkdir()
    with pytest.raises(OSError):  # noqa: PT011  # this one
        Engine().transcode(source, JPEG_LS, tmp_path / "out" / "x.part", Full())
    assert list((tmp_path / "out").iterdir()) == []


def test_small_objects_are_not_spread(tmp_path: Path) -> None:
    outcome, others = both(saved(tmp_path, grey()), JPEG_LS, tmp_path)
    assert outcome.transcoded
    assert others.requests == []
    assert stored(saved(tmp_path, grey())).shape[0] == FRAMES
