"""Conditions: what each operator does with what a header says."""

import pickle
import string
from pathlib import Path
from typing import Any

import pydicom.data
import pytest
from hypothesis import given
from hypothesis import strategies as st

from venturi.dataset.facts import read_header
from venturi.model import Envelope
from venturi.rules.condition import Condition, number
from venturi.rules.facts import Facts
from venturi.rules.parse import ConditionError, parse

ENVELOPE = Envelope(
    sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
    sop_instance_uid="1.2.3",
    transfer_syntax="1.2.840.10008.1.2.1",
    calling_ae="CT1",
    called_ae="VENTURI",
    peer="ct",
    address="10.1.0.5",
    received_at=0.0,
)


class Header:
    """A header of a few given attributes, by path."""

    def __init__(self, attributes: dict[tuple[str, ...], tuple[str, ...]]) -> None:
        self.attributes = attributes

    def values(self, path: tuple[str, ...]) -> tuple[str, ...] | None:
        return self.attributes.get(path)


def facts(destination: str = "", size_bytes: int = 1000, **attributes: tuple[str, ...]) -> Facts:
    tags = {
        "Modality": "00080060",
        "ImageType": "00080008",
        "SliceThickness": "00180050",
        "NumberOfFrames": "00280008",
        "SeriesDescription": "0008103e",
        "StudyDate": "00080020",
        "SOPClassUID": "00080016",
        "DiffusionBValue": "00189087",
        "FrameIncrementPointer": "00280009",
        "RealWorldValueIntercept": "00409224",
        "RecommendedDisplayFrameRateInFloat": "00089459",
    }
    header = Header({(tags[name],): values for name, values in attributes.items()})
    return Facts(header, ENVELOPE, size_bytes, destination)


def holds(when: Any, subject: Facts) -> bool:
    return parse(when).matches(subject)


def problems(when: Any) -> str:
    with pytest.raises(ConditionError) as caught:
        parse(when)
    return str(caught.value)


def test_no_conditions_match_everything() -> None:
    assert Condition().matches(facts())
    assert parse({}).matches(facts())


def test_text_matches_the_value_and_not_another() -> None:
    assert holds({"Modality": "CT"}, facts(Modality=("CT",)))
    assert not holds({"Modality": "CT"}, facts(Modality=("MR",)))


def test_case_counts() -> None:
    assert not holds({"Modality": "CT"}, facts(Modality=("ct",)))
    assert not holds({"calling_ae": "ct1"}, facts())


def test_a_list_matches_any_of_its_texts() -> None:
    assert holds({"Modality": ["CT", "MR"]}, facts(Modality=("MR",)))
    assert not holds({"Modality": ["CT", "MR"]}, facts(Modality=("US",)))


def test_any_value_of_a_multi_valued_attribute_may_match() -> None:
    image_type = facts(ImageType=("ORIGINAL", "PRIMARY", "LOCALIZER"))
    assert holds({"ImageType": "LOCALIZER"}, image_type)
    assert not holds({"ImageType": {"not": "LOCALIZER"}}, image_type)


def test_all_keys_must_hold() -> None:
    when = {"Modality": "CT", "calling_ae": "CT1"}
    assert holds(when, facts(Modality=("CT",)))
    assert not holds({**when, "calling_ae": "CT2"}, facts(Modality=("CT",)))


def test_any_needs_one_of_its_conditions() -> None:
    when = {"any": [{"Modality": "US"}, {"Modality": "CT", "called_ae": "VENTURI"}]}
    assert holds(when, facts(Modality=("CT",)))
    assert not holds(when, facts(Modality=("MR",)))


@pytest.mark.parametrize(
    "test",
    ["CT", ["CT"], {"glob": "*"}, {"regex": ".*"}, {"present": "true"}, {"not": {"present": "false"}}],
)
def test_an_absent_attribute_fails(test: Any) -> None:
    assert not holds({"Modality": test}, facts())


def test_an_absent_number_fails_every_order() -> None:
    for operator in ("gt", "ge", "lt", "le"):
        assert not holds({"NumberOfFrames": {operator: "0"}}, facts())


@pytest.mark.parametrize("test", [{"not": "CT"}, {"not": {"glob": "C*"}}, {"present": "false"}])
def test_an_absent_attribute_fulfils_not_and_present_false(test: Any) -> None:
    assert holds({"Modality": test}, facts())


def test_an_empty_attribute_is_present_and_equals_the_empty_text() -> None:
    empty = facts(Modality=())
    assert holds({"Modality": {"present": "true"}}, empty)
    assert holds({"Modality": ""}, empty)
    assert holds({"NumberOfFrames": ""}, facts(NumberOfFrames=()))
    assert not holds({"Modality": "CT"}, empty)


def test_padding_does_not_count() -> None:
    assert holds({"Modality": "CT"}, facts(Modality=("CT ",)))
    assert holds({"SOPClassUID": "1.2.3"}, facts(SOPClassUID=("1.2.3\0",)))
    assert holds({"calling_ae": " CT1 "}, facts())


@pytest.mark.parametrize("value", ["5", "5.000", " 5.0", "+5", "0.5e1", "5."])
def test_numbers_compare_as_numbers(value: str) -> None:
    assert holds({"SliceThickness": "5"}, facts(SliceThickness=(value,)))


@pytest.mark.parametrize(
    "value", ["five", "nan", "inf", "", "5_0", "5 mm", "\u0665", "1e9999999999", "1" * 70]
)
def test_what_is_no_number_fails_every_numeric_test(value: str) -> None:
    subject = facts(SliceThickness=(value,))
    assert not any(holds({"SliceThickness": test}, subject) for test in ("5", {"gt": "0"}, {"le": "99"}))


def test_large_exponents_are_compared_at_once() -> None:
    assert holds({"SliceThickness": {"gt": "5"}}, facts(SliceThickness=("1e999999",)))


def test_order() -> None:
    ten = facts(NumberOfFrames=("10",))
    held = {op for op in ("gt", "ge", "lt", "le") if holds({"NumberOfFrames": {op: "10"}}, ten)}
    assert held == {"ge", "le"}
    assert holds({"NumberOfFrames": {"gt": "9"}}, ten)
    assert holds({"StudyDate": {"ge": "20200101"}}, facts(StudyDate=("20240229",)))


def test_single_precision_values_equal_the_number_that_was_meant() -> None:
    rate = facts(RecommendedDisplayFrameRateInFloat=("0.100000001",))
    assert holds({"RecommendedDisplayFrameRateInFloat": "0.1"}, rate)


def test_globs_match_whole_values() -> None:
    chest = facts(SeriesDescription=("CHEST CT 5mm",))
    assert holds({"SeriesDescription": {"glob": "*CT*"}}, chest)
    assert holds({"SeriesDescription": {"glob": ["HEAD*", "CHEST*"]}}, chest)
    assert not holds({"SeriesDescription": {"glob": "CT*"}}, chest)


def test_regular_expressions_are_searched() -> None:
    chest = facts(SeriesDescription=("CHEST CT 5mm",))
    assert holds({"SeriesDescription": {"regex": r"\d+mm$"}}, chest)
    assert holds({"SeriesDescription": {"regex": "(?i)chest"}}, chest)
    assert not holds({"SeriesDescription": {"regex": "^CT"}}, chest)


def test_transfer_syntaxes_go_by_keyword_uid_and_glob() -> None:
    assert holds({"transfer_syntax": "ExplicitVRLittleEndian"}, facts())
    assert holds({"transfer_syntax": "1.2.840.10008.1.2.1"}, facts())
    assert holds({"transfer_syntax": {"glob": "Explicit*"}}, facts())
    assert not holds({"transfer_syntax": ["RLELossless", "JPEG2000"]}, facts())


def test_uids_go_by_keyword() -> None:
    ct = facts(SOPClassUID=("1.2.840.10008.5.1.4.1.1.2",))
    assert holds({"SOPClassUID": "CTImageStorage"}, ct)
    assert "did you mean CTImageStorage" in problems({"SOPClassUID": "CTImageStorag"})


def test_tags_as_values_are_compared_however_they_are_written() -> None:
    assert holds({"FrameIncrementPointer": "(0018,1063)"}, facts(FrameIncrementPointer=("00181063",)))


def test_sizes_have_units() -> None:
    assert holds({"bytes": {"ge": "10MB"}}, facts(size_bytes=10_000_000))
    assert holds({"bytes": {"lt": "512KiB"}}, facts(size_bytes=512 * 1024 - 1))
    assert not holds({"bytes": {"lt": "512KiB"}}, facts(size_bytes=512 * 1024))


def test_destination_is_absent_while_routes_are_asked() -> None:
    assert holds({"destination": "archive"}, facts(destination="archive"))
    assert not holds({"destination": "archive"}, facts())


@pytest.mark.parametrize(
    ("when", "words"),
    [
        ("CT", "conditions are a mapping"),
        ({"modality": "CT"}, "did you mean Modality?"),
        ({"calling_aet": "CT"}, "did you mean calling_ae?"),
        ({"(0008": "CT"}, "quote it"),
        ({"Modality": []}, "empty list"),
        ({"Modality": [["CT"]]}, "takes text or a list of texts"),
        ({"Modality": {"gt": "3"}}, "has no order"),
        ({"Modality": {"like": "3"}}, "is not an operator"),
        ({"Modality": {"regx": "3"}}, "did you mean regex?"),
        ({"Modality": {"glob": "a", "not": "b"}}, "give one operator"),
        ({"Modality": {"not": {"not": "b"}}}, "one other operator"),
        ({"Modality": {"present": "maybe"}}, "takes true or false"),
        ({"NumberOfFrames": "many"}, "is a number (IS)"),
        ({"NumberOfFrames": {"gt": ["1", "2"]}}, "takes one number"),
        ({"StudyDate": {"gt": "2020-01-01"}}, "YYYYMMDD"),
        ({"ImageType": "ORIGINAL\\PRIMARY"}, "compared one by one"),
        ({"calling_ae": "SEVENTEEN_LETTERS"}, "1 to 16 characters"),
        ({"calling_ae": {"present": "true"}}, "always present"),
        ({"transfer_syntax": "JPEGLS"}, "not a transfer syntax"),
        ({"bytes": {"gt": "10 bananas"}}, "is not a size"),
        ({"bytes": {"glob": "1*"}}, "is a number"),
        ({"PixelData": "x"}, "bulk data"),
        ({"any": []}, "takes a list of conditions"),
        ({"any": ["CT"]}, "conditions are a mapping"),
        ({"SeriesDescription": {"regex": "("}}, "not a regular expression"),
        ({"TransferSyntaxUID": "1.2"}, "ask for transfer_syntax"),
        ({"Modality": None}, "takes text"),
    ],
)
def test_a_mistake_says_what_to_do(when: Any, words: str) -> None:
    assert words in problems(when)


def test_all_mistakes_are_found_with_their_paths() -> None:
    with pytest.raises(ConditionError) as caught:
        parse({"Foo": "1", "any": [{"Modality": "CT"}, {"NumberOfFrames": {"gt": "x"}}], "Modality": []})
    assert [problem.path for problem in caught.value.problems] == [
        ("Foo",),
        ("any", 1, "NumberOfFrames", "gt"),
        ("Modality",),
    ]


def test_explain_says_each_test_and_what_it_saw() -> None:
    seen = parse({"Modality": ["CT", "MR"], "NumberOfFrames": {"ge": "10"}, "bytes": {"lt": "1kB"}}).explain(
        facts(Modality=("MR",), size_bytes=2000)
    )
    assert [(test.text, test.held, test.saw) for test in seen] == [
        ("Modality is CT or MR", True, "MR"),
        ("NumberOfFrames >= 10", False, "absent"),
        ("bytes < 1,000", False, "2000"),
    ]


def test_explain_shows_no_control_characters_and_cuts_what_is_long() -> None:
    [seen] = parse({"SeriesDescription": "x"}).explain(facts(SeriesDescription=("\x1b[31m" + "A" * 100,)))
    assert seen.saw.isprintable()
    assert len(seen.saw) == 63


def test_a_condition_survives_pickling() -> None:
    condition = parse({"any": [{"Modality": {"regex": "^C"}}], "(0028,0002)": "1"})
    assert pickle.loads(pickle.dumps(condition)) == condition


def test_conditions_ask_real_files() -> None:
    path = pydicom.data.get_testdata_file("CT_small.dcm")
    with read_header(Path(str(path))) as header:
        ct = Facts(header, ENVELOPE, 39_205)
        for when in (
            {"Modality": "CT", "SamplesPerPixel": "1.0", "BitsStored": {"ge": "12"}},
            {"SliceThickness": "5", "SeriesDescription": {"present": "false"}},
            {"ImageType": ["LOCALIZER", "AXIAL"], "(0028,0100)": "16"},
            {'(0009,xx01,"GEMS_IDEN_01")': "GE_GENESIS_FF"},
            {"OtherPatientIDsSequence": "2", "OtherPatientIDsSequence.TypeOfPatientID": "TEXT"},
        ):
            assert [test for test in parse(when).explain(ct) if not test.held] == []
        assert not holds({'(0009,xx01,"SOMEBODY ELSE")': {"present": "true"}}, ct)


VALUES = st.lists(st.sampled_from(["CT", "MR", "", "5", "5.0", "x y", "\0", "\u2603"]), max_size=3).map(tuple)
SUBJECTS = st.builds(
    lambda have, size: facts(size_bytes=size, **have),
    st.dictionaries(st.sampled_from(["Modality", "SliceThickness", "SeriesDescription"]), VALUES),
    st.integers(0, 1 << 40),
)
TESTS = st.one_of(
    st.tuples(
        st.sampled_from(["Modality", "SeriesDescription"]), st.sampled_from(["CT", "5", ["MR", "x y"], ""])
    ),
    st.tuples(st.just("SliceThickness"), st.sampled_from(["5", {"gt": "4"}, {"le": "5.0"}, ["1", "5"]])),
    st.tuples(st.just("SeriesDescription"), st.sampled_from([{"glob": "*T"}, {"regex": "^x"}])),
)


@given(TESTS, SUBJECTS)
def test_not_is_the_complement(test: tuple[str, Any], subject: Facts) -> None:
    key, value = test
    assert holds({key: {"not": value}}, subject) is not holds({key: value}, subject)


@given(st.lists(TESTS, max_size=4), SUBJECTS)
def test_any_of_all_is_or_and_a_mapping_is_and(tests: list[tuple[str, Any]], subject: Facts) -> None:
    each = [holds({key: value}, subject) for key, value in tests]
    if tests:
        assert holds({"any": [{key: value} for key, value in tests]}, subject) is any(each)
    merged = dict(tests)
    assert holds(merged, subject) is all(holds({key: value}, subject) for key, value in merged.items())


@given(st.dictionaries(st.text(string.printable, max_size=12), st.recursive(
    st.none() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["not", "gt", "glob", "regex", "present", "x"]) | st.text(max_size=4), inner, max_size=2),
    max_leaves=6,
), max_size=3))  # fmt: skip
def test_whatever_is_written_is_a_condition_or_a_condition_error(when: Any) -> None:
    for raw in (when, {"Modality": when, "any": [when]}):
        try:
            condition = parse(raw)
        except ConditionError:
            continue
        condition.matches(facts(Modality=("CT",)))
        assert condition.words()


@given(st.text(max_size=30))
def test_number_reads_any_text(text: str) -> None:
    value = number(text)
    assert value is None or value.is_finite()
