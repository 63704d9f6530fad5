"""What came compressed is encoded anew where a rule takes it and it has lost nothing; else it goes on as it is."""

from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from renditions import (
    bundled,
    changed,
    codestreams,
    elements,
    encapsulated,
    made,
    read,
    saved,
    stored,
    target_of,
    transcode,
)
from venturi.dataset import syntaxes
from venturi.errors import ConfigError
from venturi.model import Proof, Reason, Target
from venturi.transcode.attributes import may_change
from venturi.transcode.codecs import registry
from venturi.transcode.codecs.contract import Encoder

LOSSLESS = (
    *(syntaxes.RLE_LOSSLESS, syntaxes.JPEG_LOSSLESS, syntaxes.JPEG_LOSSLESS_SV1, syntaxes.JPEG_LS_LOSSLESS),
    *(syntaxes.JPEG_2000_LOSSLESS, syntaxes.HTJ2K_LOSSLESS, syntaxes.HTJ2K_LOSSLESS_RPCL),
)
TARGETS = tuple(uid for uid in LOSSLESS if uid != syntaxes.JPEG_LOSSLESS)
KEYWORD = {uid: syntaxes.lookup(uid).keyword for uid in LOSSLESS}
PAIRS = [(syntax, target) for syntax in LOSSLESS for target in TARGETS if syntax != target]
TAKE_LOSSLESS = ("from", ("lossless", "uncompressed"))
LOSSY_FILES = (
    *("SC_rgb_jpeg_dcmtk.dcm", "JPGExtended.dcm", "JPEGLSNearLossless_08.dcm", "JPEGLSNearLossless_16.dcm"),
    *("693_J2KI.dcm", "JPEG2000.dcm", "examples_ybr_color.dcm"),
)
OF_THE_PIXELS = {0x7FE00010, 0x00280004, 0x00280006, 0x00280000, 0x7FE00000}


def grey(frames: int = 2) -> Dataset:
    """Real signed frames that differ."""
    dataset = read("MR_small.dcm")
    rolled = [np.roll(dataset.pixel_array, 5 * step, axis=1) for step in range(frames)]
    dataset.PixelData = np.stack(rolled).tobytes()
    dataset.NumberOfFrames = frames
    return dataset


def colour() -> Dataset:
    """A part of a real picture."""
    dataset = read("examples_rgb_color.dcm")
    dataset.PixelData = dataset.pixel_array[100:164, 200:296].tobytes()
    dataset.Rows, dataset.Columns = 64, 96
    return dataset


def coded(dataset: Dataset, syntax: str, folder: Path, **parameters: object) -> Path:
    """The dataset in that syntax: by the engine, or, what it does not make, by imagecodecs."""
    if syntax == syntaxes.JPEG_LOSSLESS:
        frames = dataset.pixel_array.view("u2").reshape(-1, dataset.Rows, dataset.Columns)
        lossless = [imagecodecs.ljpeg_encode(np.ascontiguousarray(frame)) for frame in frames]
        assert lossless[0][lossless[0].index(b"\xff\xda") + 4 + 1 + 2] == 6, "another selection value than 1"
        return saved(folder, encapsulated(dataset, lossless, syntax))
    (folder / "coded").mkdir(exist_ok=True)
    target = Target(syntax, tuple(sorted(parameters.items())))  # type: ignore[arg-type]  # tests give known ones
    return made(saved(folder, dataset), target, folder / "coded")[1]


def rule(target: str, taken: str) -> str:
    return f"transfer_syntax: {KEYWORD[target]}\n" + (f"from: {taken}" if taken else "")


# --- what is taken ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("syntax", "target"), PAIRS, ids=[f"{KEYWORD[syntax]}-{KEYWORD[target]}" for syntax, target in PAIRS]
)
def test_lossless_pixels_are_encoded_anew_and_stay_the_same(syntax: str, target: str, tmp_path: Path) -> None:
    pictures = [grey()]
    if syntax != syntaxes.JPEG_LOSSLESS:  # which imagecodecs encodes grey only
        pictures.append(colour())
    for dataset in pictures:
        native = dataset.pixel_array.copy()
        source = coded(dataset, syntax, tmp_path)
        outcome, output = made(source, target_of(tmp_path, rule(target, "lossless")), tmp_path)
        assert (outcome.transfer_syntax, outcome.proof) == (target, Proof.PIXELS)
        assert np.array_equal(stored(output), native)
        assert changed(source, output) <= OF_THE_PIXELS
        assert pydicom.dcmread(output).SOPInstanceUID == pydicom.dcmread(source).SOPInstanceUID
        decoder = registry().decoder(syntax)
        assert decoder is not None
        assert outcome.codec.startswith(f"{decoder.libraries}; ")
        received = pydicom.dcmread(source).PixelData
        assert outcome.pixel_bytes_before == len(received) + 8  # its delimiter


@pytest.mark.parametrize("syntax", LOSSLESS, ids=KEYWORD.values())
@pytest.mark.parametrize(
    ("taken", "takes"),
    [
        ("", False),
        ("uncompressed", False),
        ("lossless", True),
        ("OWN", True),
        ("[uncompressed, OWN]", True),
        ("[uncompressed, OTHER]", False),
        ("OTHER", False),
    ],
)
def test_a_rule_takes_what_it_names(syntax: str, taken: str, takes: bool, tmp_path: Path) -> None:
    other = syntaxes.RLE_LOSSLESS if syntax != syntaxes.RLE_LOSSLESS else syntaxes.JPEG_LS_LOSSLESS
    target = next(uid for uid in TARGETS if uid not in (syntax, other))
    taken = taken.replace("OWN", KEYWORD[syntax]).replace("OTHER", KEYWORD[other])
    source = coded(grey(1), syntax, tmp_path)
    outcome, _ = transcode(source, target_of(tmp_path, rule(target, taken)), tmp_path)
    assert outcome.reason is (None if takes else Reason.NOT_NATIVE), outcome.detail


@pytest.mark.parametrize("name", ["MR_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm"])
@pytest.mark.parametrize(
    ("taken", "takes"),
    [("", True), ("uncompressed", True), ("lossless", True), ("RLELossless", False), ("OWN", True)],
)
def test_uncompressed_pixels_are_taken_unless_a_rule_names_others_only(
    name: str, taken: str, takes: bool, tmp_path: Path
) -> None:
    own = str(syntaxes.lookup(read(name).file_meta.TransferSyntaxUID))
    target = target_of(tmp_path, rule(syntaxes.JPEG_LS_LOSSLESS, taken.replace("OWN", own)))
    outcome, _ = transcode(bundled(name), target, tmp_path)
    assert outcome.reason is (None if takes else Reason.NOT_NATIVE)


@pytest.mark.parametrize("syntax", TARGETS, ids=[KEYWORD[uid] for uid in TARGETS])
def test_the_same_syntax_is_never_made_again(syntax: str, tmp_path: Path) -> None:
    source = coded(grey(1), syntax, tmp_path)
    outcome, _ = transcode(source, Target(syntax, (TAKE_LOSSLESS,)), tmp_path)
    assert outcome.reason is Reason.SAME_SYNTAX


def test_a_saving_is_reckoned_from_the_codestreams_that_came(tmp_path: Path) -> None:
    source = coded(grey(), syntaxes.JPEG_LS_LOSSLESS, tmp_path)
    target = target_of(tmp_path, rule(syntaxes.RLE_LOSSLESS, "lossless") + "\nmin_saving: 1%")
    outcome, _ = transcode(source, target, tmp_path)
    assert outcome.reason is Reason.NO_SAVING


@pytest.mark.parametrize("table", ["basic", "extended"])
def test_offset_tables_are_those_of_the_new_codestreams(table: str, tmp_path: Path) -> None:
    source = coded(grey(3), syntaxes.RLE_LOSSLESS, tmp_path, offset_table="extended")
    wanted = target_of(tmp_path, rule(syntaxes.JPEG_LS_LOSSLESS, "lossless") + f"\noffset_table: {table}")
    _, output = made(source, wanted, tmp_path)
    result = pydicom.dcmread(output)
    assert ("ExtendedOffsetTable" in result) is (table == "extended")
    if table == "extended":
        lengths = np.frombuffer(result.ExtendedOffsetTableLengths, "<u8").tolist()
        assert lengths == [len(frame) for frame in codestreams(output)]
    assert np.array_equal(stored(output), grey(3).pixel_array)


@pytest.mark.parametrize(
    ("before", "target", "after"),
    [
        (syntaxes.JPEG_2000_LOSSLESS, syntaxes.JPEG_LS_LOSSLESS, "RGB"),
        (syntaxes.JPEG_2000_LOSSLESS, syntaxes.HTJ2K_LOSSLESS, "YBR_RCT"),
        (syntaxes.RLE_LOSSLESS, syntaxes.JPEG_2000_LOSSLESS, "YBR_RCT"),
    ],
)
def test_the_colours_are_described_as_they_are_coded_now(
    before: str, target: str, after: str, tmp_path: Path
) -> None:
    source = coded(colour(), before, tmp_path)
    _, output = made(source, Target(target, (TAKE_LOSSLESS,)), tmp_path)
    assert pydicom.dcmread(output).PhotometricInterpretation == after


# --- what has lost something ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOSSY_FILES)
@pytest.mark.parametrize("target", TARGETS, ids=[KEYWORD[uid] for uid in TARGETS])
def test_lossy_input_is_never_encoded_again(name: str, target: str, tmp_path: Path) -> None:
    for taken, reason in (("", Reason.NOT_NATIVE), ("lossless", Reason.LOSSY_INPUT)):
        outcome, _ = transcode(bundled(name), target_of(tmp_path, rule(target, taken)), tmp_path)
        assert outcome.reason is reason, outcome.detail


@pytest.mark.parametrize(
    "keyword", ["JPEGBaseline8Bit", "JPEGExtended12Bit", "JPEGLSNearLossless", "JPEG2000", "HTJ2K"]
)
def test_a_rule_can_not_even_name_it(keyword: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="never encoded again"):
        target_of(tmp_path, rule(syntaxes.JPEG_LS_LOSSLESS, f"[lossless, {keyword}]"))


@pytest.mark.parametrize("name", LOSSY_FILES)
def test_nor_does_the_engine_if_a_target_names_it(name: str, tmp_path: Path) -> None:
    syntax = str(read(name).file_meta.TransferSyntaxUID)
    target = Target(syntaxes.HTJ2K_LOSSLESS, (("from", (syntax,)),))
    outcome, _ = transcode(bundled(name), target, tmp_path)
    assert outcome.reason is Reason.LOSSY_INPUT


@pytest.mark.parametrize(
    ("name", "claimed"),
    [
        ("JPEGLSNearLossless_08.dcm", syntaxes.JPEG_LS_LOSSLESS),
        ("SC_rgb_jls_lossy_sample.dcm", syntaxes.JPEG_LS_LOSSLESS),
        ("JPEG2000.dcm", syntaxes.JPEG_2000_LOSSLESS),
        ("SC_rgb_jpeg_dcmtk.dcm", syntaxes.JPEG_LOSSLESS_SV1),
        ("JPGExtended.dcm", syntaxes.JPEG_LOSSLESS),
    ],
)
def test_a_lossy_codestream_under_the_name_of_a_lossless_syntax_is_known_by_its_header(
    name: str, claimed: str, tmp_path: Path
) -> None:
    dataset = read(name)
    dataset.file_meta.TransferSyntaxUID = claimed
    source = saved(tmp_path, dataset)
    outcome, _ = transcode(source, Target(syntaxes.RLE_LOSSLESS, (TAKE_LOSSLESS,)), tmp_path)
    assert outcome.reason is Reason.LOSSY_INPUT, outcome.detail


@pytest.mark.parametrize("near", [0, 1])
def test_a_lossy_frame_among_lossless_ones_is_found(near: int, tmp_path: Path) -> None:
    frame = read("MR_small.dcm").pixel_array.view("<u2")
    frames = [imagecodecs.jpegls_encode(frame, level=level) for level in (0, near)]
    dataset = encapsulated(read("MR_small.dcm"), frames, syntaxes.JPEG_LS_LOSSLESS)
    target = Target(syntaxes.RLE_LOSSLESS, (TAKE_LOSSLESS,))
    outcome, _ = transcode(saved(tmp_path, dataset), target, tmp_path)
    assert outcome.reason is (Reason.CODESTREAM if near else None), outcome.detail


def test_a_codestream_that_was_cut_short_of_its_last_layers_changes_no_more_when_it_is_encoded(
    tmp_path: Path,
) -> None:
    dataset = read(
        "693_J2KI.dcm"
    )  # the reversible wavelet, unquantised: its header can't tell that it is lossy
    dataset.file_meta.TransferSyntaxUID = syntaxes.JPEG_2000_LOSSLESS
    source = saved(tmp_path, dataset)
    _, output = made(source, Target(syntaxes.JPEG_LS_LOSSLESS, (TAKE_LOSSLESS,)), tmp_path)
    assert np.array_equal(stored(output), stored(source))
    assert pydicom.dcmread(output).LossyImageCompression == "01"


def test_a_lossless_codestream_in_a_syntax_that_may_be_lossy_is_not_encoded_either(tmp_path: Path) -> None:
    source = coded(grey(1), syntaxes.JPEG_2000_LOSSLESS, tmp_path)
    dataset = pydicom.dcmread(source)
    dataset.file_meta.TransferSyntaxUID = syntaxes.JPEG_2000
    target = Target(syntaxes.RLE_LOSSLESS, (TAKE_LOSSLESS,))
    outcome, _ = transcode(saved(tmp_path, dataset), target, tmp_path)
    assert outcome.reason is Reason.LOSSY_INPUT


def test_an_image_that_was_lossy_once_and_is_coded_without_loss_now_keeps_its_marks(tmp_path: Path) -> None:
    dataset = grey(1)
    dataset.LossyImageCompression = "01"
    dataset.LossyImageCompressionRatio, dataset.LossyImageCompressionMethod = "10", "ISO_15444_1"
    source = coded(dataset, syntaxes.RLE_LOSSLESS, tmp_path)
    _, output = made(source, Target(syntaxes.JPEG_LS_LOSSLESS, (TAKE_LOSSLESS,)), tmp_path)
    for tag in (0x00282110, 0x00282112, 0x00282114):
        assert elements(output)[tag] == elements(source)[tag]


# --- the law ----------------------------------------------------------------------------------------------------

TEXT = st.text("ABC xyz\\09", max_size=12)
PLAIN: dict[int, tuple[str, st.SearchStrategy[object]]] = {
    0x00080001: ("UL", st.integers(0, 2**32 - 1)),
    0x00080008: ("CS", st.sampled_from(["ORIGINAL\\PRIMARY", "DERIVED\\SECONDARY\\X"])),
    0x00081030: ("LO", TEXT),
    0x00100010: ("PN", TEXT),
    0x00280006: ("US", st.integers(0, 1)),
    0x00280106: ("SS", st.integers(-5, 5)),
    0x00282110: ("CS", st.just("00")),
    0x00291001: ("LO", TEXT),
    0x00291002: ("OB", st.binary(max_size=20).map(lambda data: data + bytes(len(data) % 2))),
    0x00400555: ("SQ", st.just([])),
    0x7FE00001: ("OV", st.binary(min_size=8, max_size=8)),
    0x7FE00003: ("UV", st.integers(0, 2**64 - 1)),
    0xFFFCFFFC: ("OB", st.just(bytes(6))),
}
FORMS = {
    syntaxes.EXPLICIT_VR_LITTLE_ENDIAN: (False, True),
    syntaxes.IMPLICIT_VR_LITTLE_ENDIAN: (True, True),
    syntaxes.EXPLICIT_VR_BIG_ENDIAN: (False, False),
}
MAKERS = tuple(
    encoders[0]
    for uid, encoders in registry().encoders().items()
    if uid != syntaxes.IMPLICIT_VR_LITTLE_ENDIAN  # whose elements are others: test_recast.py
)
QUALITY = {
    syntaxes.JPEG_LS_NEAR_LOSSLESS: ("jls_error", 1),
    syntaxes.JPEG_2000: ("j2k_psnr", (60.0,)),
    syntaxes.HTJ2K: ("j2k_psnr", (60.0,)),
    syntaxes.JPEG_BASELINE: ("jpeg_quality", 90),
}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    extra=st.fixed_dictionaries({}, optional={tag: values for tag, (_, values) in PLAIN.items()}),
    form=st.sampled_from(list(FORMS)),
    encoder=st.sampled_from(MAKERS),
    extended=st.booleans(),
)
def test_whatever_a_header_holds_nothing_changes_that_may_not(
    extra: dict[int, object], form: str, encoder: Encoder, extended: bool, tmp_path: Path
) -> None:
    dataset = read("MR_small.dcm")
    pixels = dataset.pixel_array[:32, :40]
    if encoder.transfer_syntax == syntaxes.JPEG_BASELINE:
        pixels = (pixels >> 3).astype("u1")
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.Rows, dataset.Columns = pixels.shape
    implicit, little = FORMS[form]
    dataset.PixelData = pixels.astype(pixels.dtype.newbyteorder("<" if little else ">")).tobytes()
    for tag, value in extra.items():
        dataset.add_new(tag, PLAIN[tag][0], value)
    if 0x00291001 in extra or 0x00291002 in extra:
        dataset.add_new(0x00290010, "LO", "VENTURI TEST")
    dataset.file_meta.TransferSyntaxUID = form
    source = tmp_path / "source.dcm"
    pydicom.dcmwrite(source, dataset, implicit_vr=implicit, little_endian=little)
    parameters = {"lossy_beyond": "hold", "lossy_max_error": 1e6} if encoder.lossy else {}
    if encoder.lossy:
        name, value = QUALITY[encoder.transfer_syntax]
        parameters[name] = value
    if extended and encoder.name != "native":
        parameters["offset_table"] = "extended"
    target = Target(encoder.transfer_syntax, tuple(sorted(parameters.items())))
    outcome, output = transcode(source, target, tmp_path)
    if form == encoder.transfer_syntax:
        assert outcome.reason is Reason.SAME_SYNTAX
        return
    assert outcome.transcoded, (outcome.reason, outcome.detail)
    before, after = pydicom.dcmread(source), pydicom.dcmread(output)
    kept = {element.tag for element in before} | {element.tag for element in after}
    for tag in kept - may_change(encoder):
        assert before[tag].value == after[tag].value, tag
        # VR: what nobody knows without a dictionary is UN, as pydicom reads it from implicit VR
        assert before[tag].VR == after[tag].VR, tag
    if form == syntaxes.EXPLICIT_VR_LITTLE_ENDIAN:
        assert changed(source, output) <= may_change(encoder)
    if not encoder.lossy:
        assert np.array_equal(stored(output), pixels)
