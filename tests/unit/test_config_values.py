"""The small types: durations, percents, AE titles, hosts, networks, templates."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venturi.config import values
from venturi.config.template import PathTemplate


@pytest.mark.parametrize(
    ("convert", "text", "value"),
    [
        (values.duration_of, "30s", 30.0),
        (values.duration_of, "7d", 604800.0),
        (values.duration_of, "12h", 43200.0),
        (values.duration_of, "1.5m", 90.0),
        (values.duration_of, "500ms", 0.5),
        (values.duration_of, "0", 0.0),
        (values.percent_of, "10%", 0.1),
        (values.percent_of, "0.5 %", 0.005),
        (values.whole_of, "32", 32),
        (values.number_of, "2.5", 2.5),
        (values.flag_of, "true", True),
        (values.flag_of, "false", False),
        (values.port_of, "0", 0),
        (values.port_of, "65535", 65535),
        (values.host_port_of, "0.0.0.0:11112", ("0.0.0.0", 11112)),
        (values.host_port_of, "[::1]:104", ("::1", 104)),
        (values.host_port_of, "pacs.example.org:104", ("pacs.example.org", 104)),
        (values.ae_title_of, "  CT 1 ", "CT 1"),
        (values.ae_title_of, "*", "*"),
        (values.network_of, "10.1.0.0/24", values.IPv4Network("10.1.0.0/24")),
        (values.network_of, "10.1.0.5", values.IPv4Network("10.1.0.5/32")),
        (values.network_of, "fe80::/10", values.IPv6Network("fe80::/10")),
        (values.host_of, "[::1]", "::1"),
        (values.host_of, "PACS-1.local", "PACS-1.local"),
    ],
)
def test_text_becomes_a_value(convert: Callable[[str], Any], text: str, value: Any) -> None:
    assert convert(text) == value


@pytest.mark.parametrize(
    ("convert", "text"),
    [
        (values.duration_of, "5"),
        (values.duration_of, "7 days"),
        (values.duration_of, "-1s"),
        (values.percent_of, "10"),
        (values.percent_of, "101%"),
        (values.whole_of, "1.5"),
        (values.whole_of, "1_0"),
        (values.whole_of, "\u0661"),
        (values.number_of, "nan"),
        (values.flag_of, "yes"),
        (values.flag_of, "True"),
        (values.flag_of, ""),
        (values.port_of, "65536"),
        (values.port_of, "-1"),
        (values.host_port_of, "11112"),
        (values.host_port_of, "::1:104"),
        (values.host_port_of, ":104"),
        (values.host_port_of, "a b:104"),
        (values.host_of, "10.1.0"),
        (values.host_of, "[pacs]"),
        (values.ae_title_of, ""),
        (values.ae_title_of, "   "),
        (values.ae_title_of, "SEVENTEEN_LETTERS"),
        (values.ae_title_of, "A\\B"),
        (values.ae_title_of, "A\tB"),
        (values.ae_title_of, "\u00c4"),
        (values.network_of, "10.1.0.5/24"),
        (values.network_of, "pacs.example.org"),
        (values.name_of, "../etc"),
        (values.name_of, ".hidden"),
        (values.name_of, "a b"),
        (values.title_of, "(default)"),
        (values.title_of, "a\nb"),
    ],
)
def test_what_is_no_value_says_so(convert: Callable[[str], Any], text: str) -> None:
    with pytest.raises(ValueError, match=r"write|is not|neither"):
        convert(text)


def test_bits_beyond_the_prefix_are_answered_with_the_network_that_was_meant() -> None:
    with pytest.raises(ValueError, match=r"write 10\.1\.0\.0/24"):
        values.network_of("10.1.0.5/24")


CONVERTERS = st.sampled_from(
    [
        values.duration_of,
        values.percent_of,
        values.whole_of,
        values.number_of,
        values.flag_of,
        values.port_of,
        values.host_of,
        values.host_port_of,
        values.ae_title_of,
        values.network_of,
        values.name_of,
        values.title_of,
    ]
)


@given(CONVERTERS, st.text(max_size=20) | st.text("0123456789.:/[]%smhdA*", max_size=12))
def test_any_text_is_a_value_or_a_value_error(convert: Callable[[str], Any], text: str) -> None:
    said = ""
    try:
        convert(text)
    except ValueError as error:
        said = str(error)
    assert "\n" not in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{PatientNam}.dcm", "did you mean PatientName?"),
        ("/abs/{SOPInstanceUID}", "empty or begins with a dot"),
        ("../{SOPInstanceUID}", "empty or begins with a dot"),
        ("{StudyDate}{SOPInstanceUID}", "put a separator"),
        ("a\\b{SOPInstanceUID}", "don't belong"),
        ("{SOPInstanceUID", "don't belong"),
        ("{StudyInstanceUID}-{SeriesInstanceUID}-{SOPInstanceUID}", "put a / in it"),
    ],
)
def test_a_bad_template_says_what_to_do(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        PathTemplate(text)
