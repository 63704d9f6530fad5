"""Paths made from values that come from the network."""

import hashlib
from pathlib import PurePosixPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from venturi.config.template import PathTemplate, encode

STUDY, SERIES, INSTANCE, MODALITY = "0020000d", "0020000e", "00080018", "00080060"
DEFAULT = "{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}.dcm"

texts = st.text(max_size=120) | st.text(alphabet="._-%/\\ab\0", max_size=100)
values = st.none() | st.lists(texts, max_size=1).map(tuple)


def canonical(value: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """No value and an empty one are the same thing in DICOM (PS3.5 7.4.2)."""
    return () if value == ("",) else value


def render(template: str, **found: tuple[str, ...] | None) -> PurePosixPath:
    return PathTemplate(template).render(lambda path: found.get(f"t{'_'.join(path)}"))


def test_uids_stay_as_they_are() -> None:
    path = render(DEFAULT, t0020000d=("1.2.3",), t0020000e=("1.2.3.4",), t00080018=("1.2.3.4.5",))
    assert path == PurePosixPath("1.2.3/1.2.3.4/1.2.3.4.5.dcm")


def test_what_is_missing_or_empty_has_a_word_of_its_own() -> None:
    assert render(DEFAULT, t0020000e=(), t00080018=("1.2",)) == PurePosixPath("_missing/_empty/1.2.dcm")


def test_a_path_that_wants_to_escape_is_a_name() -> None:
    path = render(DEFAULT, t0020000d=("../../etc",), t0020000e=("/",), t00080018=("..",))
    assert path == PurePosixPath("%2E.%2F..%2Fetc/%2F/%2E..dcm")


@given(values, values, values)
@example(("..",), (".",), ("a/../b",))
@example(("",), ("\0",), ("\ud800",))
def test_no_value_leaves_the_folder_or_makes_a_name_too_long(
    study: tuple[str, ...] | None, series: tuple[str, ...] | None, instance: tuple[str, ...] | None
) -> None:
    path = render(DEFAULT, t0020000d=study, t0020000e=series, t00080018=instance)
    assert not path.is_absolute()
    assert len(path.parts) == 3
    for part in path.parts:
        assert not part.startswith(".")
        assert part.isascii()
        assert len(part) <= 240
        assert not set(part) & set("/\\\0")


@given(values, values)
@example(None, ("_missing",))
@example((), ("_empty",))
@example(("a" * 81,), ("a" * 82,))
@example(("%2E",), (".",))
def test_different_values_never_give_the_same_name(
    one: tuple[str, ...] | None, other: tuple[str, ...] | None
) -> None:
    assert (encode(one) == encode(other)) == (canonical(one) == canonical(other))


@given(values, values, values, values)
@example(("x-y",), ("z",), ("x",), ("y-z",))
@pytest.mark.parametrize("template", ["{Modality}-{SOPInstanceUID}.dcm", "a{Modality}b_c{SOPInstanceUID}"])
def test_two_values_in_one_name_can_not_run_into_each_other(
    template: str,
    one: tuple[str, ...] | None,
    two: tuple[str, ...] | None,
    three: tuple[str, ...] | None,
    four: tuple[str, ...] | None,
) -> None:
    first = render(template, t00080060=one, t00080018=two)
    second = render(template, t00080060=three, t00080018=four)
    same = (canonical(one), canonical(two)) == (canonical(three), canonical(four))
    assert (first == second) == same


def test_parts_of_dates_hashes_and_words_for_what_is_missing() -> None:
    template = "{StudyDate.year}/{StudyDate.month}-{StudyDate.day}/{PatientID.sha256}/{StationName|unknown}"
    digest = hashlib.sha256(b"4711").hexdigest()
    found = render(template, t00080020=("20260131",), t00100020=("4711",), t00081010=("CT1",))
    assert found == PurePosixPath("2026/01-31", digest, "CT1")
    assert render(template, t00080020=("yesterday",)) == PurePosixPath(
        "_no-date/_no-date-_no-date/_missing/unknown"
    )


def test_sequences_tags_and_private_attributes() -> None:
    template = '{ProcedureCodeSequence.CodeValue}/{(0008,0060)}/{(0019,xx0C,"SIEMENS / MR")}'
    found = {"t00081032_00080100": ("X1",), "t00080060": ("CT",), "t0019000c:SIEMENS / MR": ("5",)}
    assert render(template, **found) == PurePosixPath("X1/CT/5")


@given(values, values)
@example(None, ("unknown",))
@example(("%75nknown",), ("unknown",))
def test_a_word_for_what_is_missing_is_no_value_s(
    one: tuple[str, ...] | None, other: tuple[str, ...] | None
) -> None:
    first, second = (render("{StationName|unknown}", t00081010=value) for value in (one, other))
    assert (first == second) == ((canonical(one) or ()) == (canonical(other) or ()))


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("/archive/{SOPInstanceUID}", "a name that is empty"),
        ("../{SOPInstanceUID}", "begins with a dot"),
        (".incoming/{SOPInstanceUID}", "begins with a dot"),
        ("a//{SOPInstanceUID}", "a name that is empty"),
        ("", "a name that is empty"),
        ("{SOPInstanceUID", "don't belong"),
        ("{NoSuchKeyword}", "NoSuchKeyword is neither an attribute's keyword"),
        ("{}", "names no attribute"),
        ("{Modality.year}/{SOPInstanceUID}", "Modality is no date"),
        ("{PixelData}", "has no text"),
        ("{StudyDate|a/b}/{SOPInstanceUID}", "can't stand for what is missing"),
        ("{StudyDate|_x}/{SOPInstanceUID}", "can't stand for what is missing"),
        ("{Modality|a-b}-{SOPInstanceUID}", "can't stand for what is missing"),
        ("{Modality}{SOPInstanceUID}", "separator"),
        ("{Modality}x{SOPInstanceUID}", "separator"),
        ("{Modality}-{Modality}-{SOPInstanceUID}-x", "longer"),
        ("ä{SOPInstanceUID}", "don't belong"),
    ],
)
def test_a_template_that_can_not_be_kept_safe_is_refused(template: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PathTemplate(template)
