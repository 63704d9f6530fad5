"""Patterns: what is refused because it could take for ever, and what passes."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from venturi.rules.pattern import MAX_STEPS, MAX_VALUE_CHARS, _steps, check_regex, glob_matches, regex_matches


@pytest.mark.parametrize(
    "text",
    [
        r"^HEAD",
        r"(?i)\bchest\b",
        r"^T[12]_(SE|TSE)_\d{1,3}mm$",
        r"A.*B.*C",
        r"(?:abc)+",
        r"[^]x]+\]",
        r"(?=.*CT)(?!LOC)",
        r"(?P<a>x)?",
        r"a{,3}b{2}",
        r"a{x}",
        "CT|MR|CR|DX|XA|NM|PT|US|MG|OT|SC|SR|ES|IO|PX|RF",
        r"\(1\+1\)*",
    ],
)
def test_everyday_expressions_pass(text: str) -> None:
    check_regex(text)


@pytest.mark.parametrize(
    "text", [r"(a+)+$", r"(a|a)*$", r"(a|ab)*c", r"([a-z]+)*\d", r"(a?){30}a{30}", r"((ab?c)+)+"]
)
def test_repeats_of_what_varies_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="could take forever"):
        check_regex(text)


@pytest.mark.parametrize(
    "text", [r".*.*.*.*x", r"a?" * 30, "(?:a|a)" * 24, r"\w*\w*\w*\d", "^" + "(?:(a)?)" * 25 + "b"]
)
def test_too_many_choices_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="could take too long"):
        check_regex(text)


@pytest.mark.parametrize("text", [r"(a)\1", r"(?P<x>a)(?P=x)", r"(a)?(?(1)b|c)", "(?#(|)a", "(?x) a # (b*)*"])
def test_what_cannot_be_bounded_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="refused"):
        check_regex(text)


@pytest.mark.parametrize("text", ["(", "*", "[a", "a" * 1001, "a{99999999999999999999}"])
def test_what_is_no_expression_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="regular expression"):
        check_regex(text)


def test_only_the_beginning_of_a_value_is_looked_at() -> None:
    assert regex_matches("x", ("a" * (MAX_VALUE_CHARS - 1) + "x",))
    assert not regex_matches("x", ("a" * MAX_VALUE_CHARS + "x",))


def test_only_so_much_of_all_values_is_looked_at() -> None:
    assert regex_matches("x", ("a",) * 900 + ("x",))
    assert not regex_matches("x", ("a",) * 2000 + ("x",))


def test_globs_are_case_sensitive_whole_and_quick() -> None:
    assert glob_matches("C[TR]?x*", ("CT-x.y",))
    assert not glob_matches("ct*", ("CT",))
    assert not glob_matches("*a" * 40 + "b", ("a" * 10_000,))


ATOMS = st.sampled_from(["a", "b", ".", "[ab]", r"\w", "(a)", "(a|b)", "(?:ab)", "^", "$", r"\d"])
REPEATS = st.sampled_from(["", "*", "+", "?", "{2}", "{1,3}", "*?", "{,2}"])
REGEXES = st.lists(st.tuples(ATOMS, REPEATS).map("".join), max_size=8).map("".join)


@given(REGEXES, st.text("ab1", max_size=20))
@settings(max_examples=200)
def test_what_passes_searches_as_the_standard_library_does(text: str, value: str) -> None:
    try:
        check_regex(text)
    except ValueError:
        return
    assert _steps(text) <= MAX_STEPS
    assert regex_matches(text, (value,)) is (re.search(text, value) is not None)


@given(st.text(max_size=30) | st.text(r"()[]{}*+?|\^$.a1,:=!<>P#x", max_size=12))
def test_any_text_is_an_expression_or_a_value_error(text: str) -> None:
    try:
        check_regex(text)
    except ValueError:
        return
    re.compile(text)
