"""Keys of conditions: keywords, tags, private attributes, paths into sequences."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venturi.rules.keys import parse_key
from venturi.rules.units import size_bytes


@pytest.mark.parametrize(
    ("text", "path", "vr"),
    [
        ("Modality", ("00080060",), "CS"),
        ("(0008,0060)", ("00080060",), "CS"),
        ("(0008, 103E)", ("0008103e",), "LO"),
        ("0008,103e", ("0008103e",), "LO"),
        ("0008103E", ("0008103e",), "LO"),
        ('(0019,xx0C,"SIEMENS MR HEADER")', ("0019000c:SIEMENS MR HEADER",), "IS"),
        ("(0019,XX0c, SIEMENS MR HEADER)", ("0019000c:SIEMENS MR HEADER",), "IS"),
        ('(0019,0C,"SIEMENS MR HEADER")', ("0019000c:SIEMENS MR HEADER",), "IS"),
        ('(0099,xx01,"Who.knows, (R)")', ("00990001:Who.knows, (R)",), "UN"),
        ("(0019,0010)", ("00190010",), "LO"),
        ("RequestAttributesSequence.RequestedProcedureID", ("00400275", "00401001"), "SH"),
        (
            'RequestAttributesSequence.(0019,xx0C,"A.B").00080060',
            ("00400275", "0019000c:A.B", "00080060"),
            "CS",
        ),
        ("(6000,0010)", ("60000010",), "US"),
    ],
)
def test_a_key_is_a_path(text: str, path: tuple[str, ...], vr: str) -> None:
    key = parse_key(text, [])
    assert (key.path, key.vr) == (path, vr)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("modality", "did you mean Modality?"),
        ("peeer", "did you mean peer?"),
        ("(0019,100C)", "name its creator: '(0019,xx0C,\"CREATOR\")'"),
        ('(0018,xx0C,"SIEMENS")', "is not private"),
        ("Modality.PatientID", "not a sequence (CS)"),
        ("Modality.", "not a sequence"),
        ("ModalityX Y", "neither an attribute's keyword"),
        ("(0008,0060)x", "is not understood"),
        ("(0002,0010)", "is not part of the dataset"),
        ("", "names no attribute"),
        ("(0008,006)", "names no attribute"),
    ],
)
def test_what_names_nothing_says_what_to_write(text: str, advice: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse_key(text, ["peer"])
    assert advice in str(caught.value)


@given(st.text(alphabet='(0019,xXcC)"AB. ModalitySequence', max_size=40) | st.text(max_size=20))
def test_any_text_is_a_key_or_a_value_error(text: str) -> None:
    try:
        key = parse_key(text, [])
    except ValueError:
        return
    assert all(len(step.partition(":")[0]) == 8 for step in key.path)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        ("10MB", 10_000_000),
        ("10 MiB", 10 << 20),
        ("1.5kB", 1500),
        ("2tib", 2 << 40),
        ("7B", 7),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert size_bytes(text) == size


@pytest.mark.parametrize("text", ["", "MB", "-1", "1e3", "10 bananas", "1,5MB", "10M"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        size_bytes(text)
