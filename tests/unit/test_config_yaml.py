"""YAML as text with places: what it does by surprise is refused, and everything has its line and column."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venturi.config.yaml_lines import MAX_BYTES, MAX_NODES, Place, YamlError, read


def problems(text: str | bytes) -> list[tuple[int, int, str]]:
    raw = text.encode() if isinstance(text, str) else text
    try:
        found = read(raw).problems
    except YamlError as error:
        found = error.problems
    return [(place.line, place.column, message) for place, message in found]


@pytest.mark.parametrize(
    "scalar", ["NO", "00123", "20:00", "2024-02-29", "on", "1e3", "~", "null", "0x10", "1_000"]
)
def test_every_scalar_is_text(scalar: str) -> None:
    assert read(f"a: {scalar}\nb: [{scalar}]".encode()).data == {"a": scalar, "b": [scalar]}


def test_keys_and_values_have_places() -> None:
    document = read(b"\xef\xbb\xbfnode:\n  listen: x\npeers: {a: [b,  c]}\n")
    assert document.place(("node", "listen"), at_key=True) == (2, 3)
    assert document.place(("node", "listen")) == (2, 11)
    assert document.place(("peers", "a", 1)) == (3, 17)
    assert document.place(("peers", "a", 9)) == (3, 12)
    assert document.place(("nothing", "here")) == (1, 1)


def test_columns_count_characters() -> None:
    assert read('{"é": 1, b: 2}'.encode()).place(("b",), at_key=True) == Place(1, 10)


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("a: 1\nb: 2\na: 3", (3, 1), "given twice, first in line 1"),
        ("a:\nb: 1", (1, 1), "'a' has no value"),
        ("a: [1, ]\nb: [\n  , 1]", (3, 3), "not YAML"),
        ("a:\n  -\n  - 1", (2, 4), "an item without a value"),
        ("a: {<<: {b: 1}}", (1, 5), "merge keys"),
        ("a: !!python/object:os.system x", (1, 4), "tags such as"),
        ("a: !mine x", (1, 4), "tags such as !mine"),
        ("a: 1\n---\nb: 2", (2, 1), "a second document"),
        ("a: {(0008,0060): CT}", (1, 5), "quote it, '(gggg,eeee)'"),
        ('a: {(0019,xx0C,"X Y"): CT}', (1, 21), "quote a tag"),
        ("a: *CT*", (1, 7), "must be quoted"),
        ("a: *b", (1, 4), "refers to no anchor"),
        ("a: &b [1, *b]", (1, 11), "itself a part of"),
        ("a:\n\tb: 1", (2, 1), "replace the tab"),
        ("a: @b", (1, 4), "quote a text that begins"),
        ("a: b: c", (1, 5), "not YAML"),
        ("a: [b", (1, 6), "not YAML"),
        ("? [a]\n: b", (1, 3), "a key must be text"),
        ("", (1, 1), "the file is empty"),
        ("  \n\n", (1, 1), "the file is empty"),
        ("# nothing but a comment\n", (1, 1), "the file is empty"),
        (b"a: b\nc: \xff", (2, 4), "0xFF is not UTF-8"),
        ("a: b\nc: \x07", (2, 4), "U+0007"),
        ("[" * 40, (1, 33), "nested more than"),
    ],
)
def test_a_surprise_is_refused_with_its_place(text: str | bytes, place: tuple[int, int], words: str) -> None:
    [(line, column, message)] = problems(text)
    assert (line, column) == place
    assert words in message


def test_a_split_tag_is_one_mistake_and_its_neighbours_are_read() -> None:
    assert len(problems("{(0008,0060): CT, b: 1, (0019,xx0C,X): 2}")) == 2
    assert read(b"{(0008,0060): CT, b: 1}").data == {"b": "1"}


def test_a_tag_in_block_style_needs_no_quotes() -> None:
    assert read(b"(0008,0060): CT").data == {"(0008,0060)": "CT"}


def test_what_does_not_stop_the_reading_is_all_found() -> None:
    found = problems("a: 1\na: 2\nb: {(0008,0060): x}\nc: !x y\nd:\n")
    assert [line for line, _, _ in found] == [2, 3, 4, 5]


def test_aliases_are_expanded() -> None:
    assert read(b"a: &x [1, 2]\nb: *x").data == {"a": ["1", "2"], "b": ["1", "2"]}


def test_a_billion_laughs_is_refused_before_it_is_expanded() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    [(line, _, message)] = problems("\n".join(lines))
    assert (line, message) == (5, f"more than {MAX_NODES} values once its aliases are expanded")


def test_a_huge_file_is_refused() -> None:
    assert "is it the right one" in problems(b"#" * (MAX_BYTES + 1))[0][2]


@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_a_document_or_a_yaml_error(raw: bytes) -> None:
    try:
        places = list(read(raw).values.values())
    except YamlError as error:
        places = [place for place, _ in error.problems]
    assert places


@given(st.text(" \n\t:-[]{},&*!|>'\"%@`#?a(08)0<", max_size=40))
def test_any_punctuation_is_a_document_or_a_yaml_error(text: str) -> None:
    assert all(line >= 1 and column >= 1 for line, column, _ in problems(text))
