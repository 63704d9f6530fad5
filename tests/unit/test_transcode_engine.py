"""The engine transcodes what is sound, and passes everything else on with the reason."""

import hashlib
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from venturi.dataset import part10, syntaxes
from venturi.model import Outcome, Proof, Reason, Target
from venturi.transcode.codecs import Registry, registry
from venturi.transcode.codecs.contract import Encoder, Options
from venturi.transcode.engine import Engine
from venturi.transcode.frames import Frame
from venturi.transcode.image import MOST_FRAMES, Image

BY_SYNTAX: dict[str, Encoder] = {
    uid: encoders[0]
    for uid, encoders in registry().encoders().items()
    if not encoders[0].lossy and not syntaxes.lookup(uid).native
}
LOSSLESS = list(BY_SYNTAX)
NAMES = [syntaxes.lookup(uid).keyword for uid in LOSSLESS]
J2K = (syntaxes.JPEG_2000_LOSSLESS, syntaxes.HTJ2K_LOSSLESS, syntaxes.HTJ2K_LOSSLESS_RPCL)
every_target = pytest.mark.parametrize("syntax", LOSSLESS, ids=NAMES)
JLS = Target(syntaxes.JPEG_LS_LOSSLESS)


def bundled(name: str) -> Path:
    return Path(str(get_testdata_file(name)))


def ct() -> Dataset:
    return pydicom.dcmread(bundled("CT_small.dcm"))


def saved(folder: Path, dataset: Dataset) -> Path:
    path = folder / "source.dcm"
    dataset.save_as(path)
    return path


def transcode(source: Path, target: Target, folder: Path) -> tuple[Outcome, Path]:
    output = folder / "out.dcm"
    output.unlink(missing_ok=True)
    before = source.read_bytes()
    outcome = Engine().transcode(source, target, output)
    assert source.read_bytes() == before
    assert output.exists() is outcome.transcoded
    return outcome, output


def dataset_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        part10.read(file)
        return file.read()


def elements_of(path: Path) -> dict[int, bytes]:
    from venturi.dataset.scan import scan

    data = dataset_bytes(path)
    return {element.tag: data[element.start : element.end] for element in scan(data)}


# --- what is transcoded -----------------------------------------------------------------------------------------


@every_target
def test_the_outcome_describes_the_file_that_is_there(syntax: str, tmp_path: Path) -> None:
    outcome, output = transcode(bundled("CT_small.dcm"), Target(syntax), tmp_path)
    dataset = dataset_bytes(output)
    assert (outcome.transfer_syntax, outcome.reason, outcome.proof) == (syntax, None, Proof.PIXELS)
    assert (outcome.size_bytes, outcome.sha256) == (len(dataset), hashlib.sha256(dataset).hexdigest())
    assert (outcome.frames, outcome.pixel_bytes_before) == (1, 32768)
    assert 0 < outcome.pixel_bytes_after < 32768
    assert outcome.codec == BY_SYNTAX[syntax].libraries


@every_target
def test_the_same_source_and_target_give_the_same_bytes(syntax: str, tmp_path: Path) -> None:
    _, output = transcode(bundled("CT_small.dcm"), Target(syntax), tmp_path)
    first = output.read_bytes()
    _, output = transcode(bundled("CT_small.dcm"), Target(syntax), tmp_path)
    assert output.read_bytes() == first


@every_target
def test_only_pixel_data_changes_in_a_grey_image(syntax: str, tmp_path: Path) -> None:
    source = bundled("CT_small.dcm")
    _, output = transcode(source, Target(syntax), tmp_path)
    before, after = elements_of(source), elements_of(output)
    assert {tag for tag in before if before[tag] != after.get(tag)} == {0x7FE00010}
    assert before.keys() == after.keys()


@every_target
def test_every_frame_of_a_multiframe_is_there(syntax: str, tmp_path: Path) -> None:
    dataset = ct()
    pixels = dataset.pixel_array
    dataset.NumberOfFrames = 3
    dataset.PixelData = b"".join((pixels + step).astype("<i2").tobytes() for step in range(3))
    outcome, output = transcode(saved(tmp_path, dataset), Target(syntax), tmp_path)
    assert outcome.frames == 3
    decoded = pydicom.dcmread(output).pixel_array
    assert np.array_equal(decoded, np.stack([pixels + step for step in range(3)]))


@every_target
def test_colour_by_plane_comes_out_right(syntax: str, tmp_path: Path) -> None:
    dataset = pydicom.dcmread(bundled("examples_rgb_color.dcm"))
    pixels = dataset.pixel_array
    dataset.PlanarConfiguration = 1
    dataset.PixelData = pixels.transpose(2, 0, 1).tobytes()
    outcome, output = transcode(saved(tmp_path, dataset), Target(syntax), tmp_path)
    assert outcome.reason is None
    result = pydicom.dcmread(output)
    assert np.array_equal(result.pixel_array, pixels)
    assert result.PlanarConfiguration == (1 if syntax == syntaxes.RLE_LOSSLESS else 0)


@every_target
@pytest.mark.parametrize(("photometric", "transformed"), [("RGB", "YBR_RCT"), ("YBR_FULL", "YBR_FULL")])
def test_photometric_interpretation_says_what_the_codestream_does(
    syntax: str, photometric: str, transformed: str, tmp_path: Path
) -> None:
    dataset = pydicom.dcmread(bundled("examples_rgb_color.dcm"))
    dataset.PhotometricInterpretation = photometric
    outcome, output = transcode(saved(tmp_path, dataset), Target(syntax), tmp_path)
    assert outcome.reason is None
    expected = transformed if syntax in J2K else photometric
    assert pydicom.dcmread(output).PhotometricInterpretation == expected


@every_target
def test_palette_indices_are_kept(syntax: str, tmp_path: Path) -> None:
    source = bundled("examples_palette.dcm")
    outcome, output = transcode(source, Target(syntax), tmp_path)
    assert outcome.reason is None
    assert np.array_equal(pydicom.dcmread(output).pixel_array, pydicom.dcmread(source).pixel_array)


@every_target
def test_what_must_stay_stays(syntax: str, tmp_path: Path) -> None:
    dataset = ct()
    dataset.LossyImageCompression = "01"
    dataset.add_new(0xFFFCFFFC, "OB", bytes(64))
    dataset.add_new(0x00280006, "US", 0)  # Planar Configuration may not be there with one sample
    dataset.add_new(0x7FE00001, "OV", bytes(8))  # a stale extended offset table
    dataset.add_new(0x7FE00002, "OV", bytes(8))
    source = saved(tmp_path, dataset)
    _, output = transcode(source, Target(syntax), tmp_path)
    before, after = elements_of(source), elements_of(output)
    assert before.keys() - after.keys() == {0x00280006, 0x7FE00001, 0x7FE00002}
    assert {tag for tag in after if before[tag] != after[tag]} == {0x7FE00010}
    assert pydicom.dcmread(output).file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID


@every_target
def test_the_envelope_keeps_ae_titles_and_loses_addresses(syntax: str, tmp_path: Path) -> None:
    meta = part10.FileMeta(
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        sop_instance_uid="1.2.3",
        transfer_syntax=syntaxes.EXPLICIT_VR_LITTLE_ENDIAN,
        source_ae="CT1",
        sending_ae="CT1",
        receiving_ae="VENTURI",
        source_address="10.0.0.1",
        private_creator="1.2.3.4",
        private_information=b"peer",
    )
    source = tmp_path / "source.dcm"
    source.write_bytes(part10.encode(meta) + dataset_bytes(bundled("CT_small.dcm")))
    _, output = transcode(source, Target(syntax), tmp_path)
    with output.open("rb") as file:
        written, _ = part10.read(file)
    assert written == part10.FileMeta(
        meta.sop_class_uid,
        meta.sop_instance_uid,
        syntax,
        source_ae="CT1",
        sending_ae="CT1",
        receiving_ae="VENTURI",
    )


def test_an_unpadded_odd_length_is_honest_too(tmp_path: Path) -> None:
    dataset = ct()
    dataset.Rows, dataset.Columns, dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = (
        31,
        33,
        8,
        8,
        7,
    )
    dataset.PixelRepresentation = 0
    dataset.PixelData = bytes(range(256)) * 4 + b"\0"  # 1025 bytes: too long by two, an odd number
    outcome, _ = transcode(saved(tmp_path, dataset), JLS, tmp_path)
    assert outcome.reason is Reason.LENGTH
    dataset.PixelData = (bytes(range(256)) * 4)[: 31 * 33] + b"\0"
    outcome, _ = transcode(saved(tmp_path, dataset), JLS, tmp_path)
    assert outcome.reason is None


# --- what is passed on ------------------------------------------------------------------------------------------


def set_all(**attributes: object) -> Callable[[Dataset], None]:
    def change(dataset: Dataset) -> None:
        for keyword, value in attributes.items():
            setattr(dataset, keyword, value)

    return change


def without(keyword: str) -> Callable[[Dataset], None]:
    return lambda dataset: delattr(dataset, keyword)


def signed(dataset: Dataset) -> None:
    dataset.add_new(0xFFFAFFFA, "SQ", Sequence([Dataset()]))


def float_pixels(dataset: Dataset) -> None:
    dataset.FloatPixelData = bytes(4)


@every_target
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (without("PixelData"), Reason.NO_PIXEL_DATA),
        (float_pixels, Reason.FLOAT_PIXEL_DATA),
        (signed, Reason.SIGNED_OBJECT),
        (set_all(BitsAllocated=1, BitsStored=1, HighBit=0), Reason.SEGMENTATION_BITS),
        (set_all(BitsAllocated=12), Reason.IMAGE_ATTRIBUTES),
        (set_all(BitsStored=0), Reason.IMAGE_ATTRIBUTES),
        (set_all(BitsStored=17, HighBit=16), Reason.IMAGE_ATTRIBUTES),
        (set_all(HighBit=14), Reason.HIGH_BIT),
        (set_all(PixelRepresentation=2), Reason.IMAGE_ATTRIBUTES),
        (set_all(Rows=0), Reason.IMAGE_ATTRIBUTES),
        (set_all(Rows=127), Reason.LENGTH),
        (set_all(NumberOfFrames=2), Reason.LENGTH),
        (set_all(NumberOfFrames=0), Reason.IMAGE_ATTRIBUTES),
        (without("Rows"), Reason.IMAGE_ATTRIBUTES),
        (without("BitsStored"), Reason.IMAGE_ATTRIBUTES),
        (without("PhotometricInterpretation"), Reason.PHOTOMETRIC),
        (set_all(PhotometricInterpretation="RGB"), Reason.PHOTOMETRIC),
        (set_all(SamplesPerPixel=2), Reason.PHOTOMETRIC),
        (set_all(SamplesPerPixel=3, PhotometricInterpretation="RGB"), Reason.IMAGE_ATTRIBUTES),
        (set_all(SamplesPerPixel=3, PhotometricInterpretation="YBR_FULL_422"), Reason.PHOTOMETRIC),
        (set_all(PixelData=bytes(32770)), Reason.LENGTH),
        (set_all(PixelData=b""), Reason.LENGTH),
    ],
)
def test_each_guard_passes_the_object_on_with_its_reason(
    syntax: str, change: Callable[[Dataset], None], reason: Reason, tmp_path: Path
) -> None:
    dataset = ct()
    change(dataset)
    source = saved(tmp_path, dataset)
    outcome, _ = transcode(source, Target(syntax), tmp_path)
    received = dataset_bytes(source)
    assert outcome.reason is reason, outcome.detail
    assert outcome.proof is Proof.ORIGINAL
    assert outcome.transfer_syntax == syntaxes.EXPLICIT_VR_LITTLE_ENDIAN
    assert (outcome.size_bytes, outcome.sha256) == (len(received), hashlib.sha256(received).hexdigest())


def test_frames_that_number_of_frames_leaves_out_are_not_dropped(tmp_path: Path) -> None:
    dataset = ct()
    dataset.PixelData = dataset.PixelData * 2
    outcome, _ = transcode(saved(tmp_path, dataset), JLS, tmp_path)
    assert (outcome.reason, outcome.detail[:29]) == (Reason.LENGTH, "Pixel Data has 65536 bytes; 1")


def test_more_frames_than_an_offset_table_should_have_are_refused(tmp_path: Path) -> None:
    dataset = ct()
    dataset.Rows, dataset.Columns, dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 1, 1, 8, 8, 7
    dataset.NumberOfFrames = MOST_FRAMES + 1
    dataset.PixelData = bytes(MOST_FRAMES + 2)
    outcome, _ = transcode(saved(tmp_path, dataset), JLS, tmp_path)
    assert outcome.reason is Reason.TOO_LARGE


@every_target
def test_bits_above_bits_stored_are_kept_or_the_image_is_refused(syntax: str, tmp_path: Path) -> None:
    dataset = ct()
    overlay = (dataset.pixel_array.astype("<u2") & 0x0FFF) | 0x1000
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 12, 11, 0
    dataset.PixelData = overlay.tobytes()
    outcome, output = transcode(saved(tmp_path, dataset), Target(syntax), tmp_path)
    assert outcome.reason is (Reason.UNUSED_BITS if syntax in J2K else None)
    if outcome.transcoded:
        back, native = tmp_path / "back.dcm", Target(syntaxes.EXPLICIT_VR_LITTLE_ENDIAN)
        assert Engine().transcode(output, native, back).transcoded
        assert pydicom.dcmread(back).PixelData == dataset.PixelData


@every_target
def test_negative_values_without_sign_extension_come_back_the_same(syntax: str, tmp_path: Path) -> None:
    dataset = ct()
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 12, 11, 1
    dataset.PixelData = (np.arange(128 * 128) % 4096).astype("<u2").tobytes()
    outcome, _ = transcode(saved(tmp_path, dataset), Target(syntax), tmp_path)
    assert outcome.reason is (Reason.UNUSED_BITS if syntax in J2K else None)


def test_unused_bits_are_looked_at_in_the_last_frame_too(tmp_path: Path) -> None:
    dataset = ct()
    pixels = dataset.pixel_array.astype("<u2") & 0x0FFF
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation, dataset.NumberOfFrames = 12, 11, 0, 2
    last = pixels.copy()
    last[-1, -1] |= 0x8000
    dataset.PixelData = pixels.tobytes() + last.tobytes()
    outcome, _ = transcode(saved(tmp_path, dataset), Target(syntaxes.JPEG_2000_LOSSLESS), tmp_path)
    assert (outcome.reason, outcome.detail[:7]) == (Reason.UNUSED_BITS, "frame 1")


@every_target
def test_32_bits_are_for_rle_alone(syntax: str, tmp_path: Path) -> None:
    dataset = ct()
    dataset.PixelData = (dataset.pixel_array.astype("<i4") * 65537).tobytes()
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 32, 32, 31
    outcome, _ = transcode(saved(tmp_path, dataset), Target(syntax), tmp_path)
    assert outcome.reason is (None if syntax == syntaxes.RLE_LOSSLESS else Reason.BITS)


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (Target(), Reason.ASKED),
        (Target(syntaxes.EXPLICIT_VR_LITTLE_ENDIAN), Reason.SAME_SYNTAX),
        (Target("1.2.840.10008.1.2.4.110"), Reason.UNSUPPORTED_TARGET),
        (Target(syntaxes.JPEG_LS_LOSSLESS, (("codec", "none-such"),)), Reason.UNSUPPORTED_TARGET),
        (Target(syntaxes.JPEG_LS_LOSSLESS, (("from", ("lossless-ish",)),)), Reason.NOT_NATIVE),
        (Target(syntaxes.JPEG_LS_LOSSLESS, (("jls_error", 2),)), Reason.UNSUPPORTED_TARGET),
        (Target(syntaxes.JPEG_LS_LOSSLESS, min_saving=0.99), Reason.NO_SAVING),
    ],
)
def test_targets_that_are_not_made(target: Target, reason: Reason, tmp_path: Path) -> None:
    outcome, _ = transcode(bundled("CT_small.dcm"), target, tmp_path)
    assert outcome.reason is reason


def test_a_saving_that_is_reached_is_enough_and_none_asked_for_may_even_grow(tmp_path: Path) -> None:
    outcome, _ = transcode(bundled("CT_small.dcm"), Target(syntaxes.RLE_LOSSLESS, min_saving=0.1), tmp_path)
    assert outcome.reason is None
    dataset = ct()
    noise = np.random.default_rng(7).integers(-32768, 32767, (128, 128)).astype("<i2")
    dataset.PixelData = noise.tobytes()
    source = saved(tmp_path, dataset)
    outcome, _ = transcode(source, Target(syntaxes.RLE_LOSSLESS), tmp_path)
    assert outcome.pixel_bytes_after > outcome.pixel_bytes_before
    outcome, _ = transcode(source, Target(syntaxes.RLE_LOSSLESS, min_saving=0.01), tmp_path)
    assert outcome.reason is Reason.NO_SAVING


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("JPEG2000.dcm", Reason.NOT_NATIVE),
        ("SC_rgb_jpeg_dcmtk.dcm", Reason.NOT_NATIVE),
        ("rtplan.dcm", Reason.NO_PIXEL_DATA),
        ("MR_truncated.dcm", Reason.MALFORMED),
        ("README.txt", Reason.MALFORMED),
    ],
)
def test_other_input_is_passed_on(name: str, reason: Reason, tmp_path: Path) -> None:
    found = get_testdata_file(name, download=False)
    if found is None:
        pytest.skip(f"{name} is not bundled")
    outcome, _ = transcode(Path(str(found)), JLS, tmp_path)
    assert outcome.reason is reason


def test_no_text_of_the_header_gets_into_a_detail(tmp_path: Path) -> None:
    dataset = ct()
    dataset.PhotometricInterpretation = "DOE JANE"
    outcome, _ = transcode(saved(tmp_path, dataset), JLS, tmp_path)
    assert outcome.reason is Reason.PHOTOMETRIC
    assert "DOE" not in outcome.detail


class Broken:
    """The JPEG-LS codec, with one part of it broken."""

    def __init__(self, **broken: Callable[..., object]) -> None:
        self._codec = BY_SYNTAX[syntaxes.JPEG_LS_LOSSLESS]
        for name, replacement in broken.items():
            setattr(self, name, replacement)

    def __getattr__(self, name: str) -> object:
        return getattr(self._codec, name)


def fails(error: Exception) -> Callable[..., object]:
    def method(*arguments: object) -> object:
        raise error

    return method


def encode_wrongly(frame: Frame, image: Image, options: Options) -> bytes:
    changed = frame.copy()
    changed[5, 5] += 1
    return BY_SYNTAX[syntaxes.JPEG_LS_LOSSLESS].encode(changed, image, options)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ({"encode": fails(RuntimeError("no"))}, Reason.ENCODER_FAILED),
        ({"encode": fails(MemoryError())}, Reason.TOO_LARGE),
        ({"encode": encode_wrongly}, Reason.PROOF_FAILED),
        ({"encode": lambda frame, image, options: b""}, Reason.PROOF_FAILED),
        ({"decode": fails(ValueError("no"))}, Reason.PROOF_FAILED),
        ({"decode": fails(MemoryError())}, Reason.TOO_LARGE),
        ({"decode": lambda codestream, image: np.zeros((128, 128), "<u2")}, Reason.PROOF_FAILED),
        ({"photometric": lambda image, options: "YBR_RCT"}, None),
    ],
)
def test_a_codec_that_fails_or_lies_leaves_the_original(
    broken: dict[str, Callable[..., object]], reason: Reason | None, tmp_path: Path
) -> None:
    engine = Engine(Registry([Broken(**broken)]))  # type: ignore[list-item]  # it has a codec's parts
    output = tmp_path / "out.dcm"
    outcome = engine.transcode(bundled("CT_small.dcm"), JLS, output)
    assert outcome.reason is reason
    assert output.exists() is (reason is None)


def test_an_output_that_exists_is_never_overwritten(tmp_path: Path) -> None:
    source = tmp_path / "source.dcm"
    source.write_bytes(bundled("CT_small.dcm").read_bytes())
    with pytest.raises(FileExistsError):
        Engine().transcode(source, JLS, source)
    assert source.read_bytes() == bundled("CT_small.dcm").read_bytes()


def test_a_full_disk_is_not_the_objects_fault() -> None:
    with pytest.raises(OSError, match="No such file"):
        Engine().transcode(bundled("CT_small.dcm"), JLS, Path("/nonexistent/out.dcm"))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_hostile_objects_are_outcomes(tmp_path: Path, data: st.DataObject) -> None:
    original = bundled("MR_small.dcm").read_bytes()
    changed = bytearray(original)
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.one_of(st.integers(0, 2000), st.integers(0, len(changed) - 1)))
        changed[place] = data.draw(st.integers(0, 255))
    source = tmp_path / "source.dcm"
    source.write_bytes(
        bytes(changed[: data.draw(st.sampled_from([len(changed), len(changed) - 1, 1700, 900]))])
    )
    outcome, _ = transcode(source, Target(data.draw(st.sampled_from(LOSSLESS))), tmp_path)
    assert outcome.reason is None or isinstance(outcome.reason, Reason)


def test_group_lengths_of_changed_groups_are_left_out(tmp_path: Path) -> None:
    dataset = dataset_bytes(bundled("examples_rgb_color.dcm"))
    place = dataset.index(struct.pack("<HH2s", 0x0028, 0x0002, b"US"))
    with_length = dataset[:place] + struct.pack("<HH2sHL", 0x0028, 0, b"UL", 4, 1234) + dataset[place:]
    meta = part10.FileMeta("1.2", "1.2.3", syntaxes.EXPLICIT_VR_LITTLE_ENDIAN)
    source = tmp_path / "source.dcm"
    source.write_bytes(part10.encode(meta) + with_length)
    _, output = transcode(source, Target(syntaxes.JPEG_2000_LOSSLESS), tmp_path)
    assert 0x00280000 not in elements_of(output)
    _, output = transcode(source, Target(syntaxes.RLE_LOSSLESS), tmp_path)  # changes nothing of group 0028
    assert elements_of(output)[0x00280000] == elements_of(source)[0x00280000]
