"""UIDs are judged by PS3.5 9.1, and text from the network can't write to a log what it likes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import UID, UID_dictionary

from venturi.dataset.uids import printable, valid_uid


@pytest.mark.parametrize("uid", ["1.2", "0.0", "1.2.840.10008.1.2", "2.25." + "9" * 39, "1." + "2" * 62])
def test_uids_are_valid(uid: str) -> None:
    assert valid_uid(uid)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "1.",
        ".1",
        "1..2",
        "1.02",
        "00.1",
        "1.2 ",
        "1.2\0",
        "1.2\n",
        "1.a",
        "1.-2",
        "1.²",
        "1.٣",
        "../../x",
        "1." + "2" * 63,
    ],
)
def test_other_text_is_not_a_uid(text: str) -> None:
    assert not valid_uid(text)


def test_every_registered_uid_is_valid() -> None:
    assert [uid for uid in UID_dictionary if not valid_uid(uid)] == []


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")  # the text is meant to be invalid
@settings(deadline=None)
@given(st.from_regex(r"[0-9.]{1,70}", fullmatch=True).filter(lambda text: "." in text))
def test_pydicom_agrees_on_digits_and_dots(text: str) -> None:
    assert valid_uid(text) == UID(text).is_valid


@settings(deadline=None)
@given(st.text() | st.binary().map(lambda b: b.decode("utf-8", "surrogateescape")))
def test_printable_text_is_printable_and_means_one_thing(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert shown.encode("ascii", "backslashreplace").decode("unicode_escape") == text


def test_escapes_and_newlines_are_shown_and_plain_text_stays() -> None:
    assert printable("CT 1\n\x1b[2J\\") == "CT 1\\n\\x1b[2J\\\\"
    assert printable("MÜNCHEN") == "MÜNCHEN"
