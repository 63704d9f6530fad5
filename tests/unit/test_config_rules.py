"""What a rule may say: the target it becomes, and a place and a way out for each thing that would be ignored."""

from collections.abc import Iterator, Mapping
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from venturi.config.load import load
from venturi.config.targets import NEEDS, OPTIONS, TARGETS, ignored, taken_of
from venturi.dataset.syntaxes import BY_KEYWORD, BY_UID, lookup
from venturi.errors import ConfigError
from venturi.model import Target
from venturi.transcode.codecs import registry
from venturi.transcode.wishes import Wishes, wishes

REST = """\
peers: {ct: {ae_title: CT1, hosts: [10.1.0.0/24]}}
destinations: {archive: {folder: ./archive}}
routes: [{to: archive}]
"""
OPTION = {
    "jls_error": "jls_error: 2",
    "j2k_cr": "j2k_cr: 10",
    "j2k_psnr": "j2k_psnr: 60",
    "jpeg_quality": "jpeg_quality: 90",
}


def codecs() -> Mapping[str, Mapping[str, tuple[str, ...]]]:
    """Two encoders of JPEG 2000, one that takes no ratio."""
    return {
        BY_KEYWORD["JPEG2000"].uid: {"one": ("j2k_cr", "j2k_psnr"), "two": ("j2k_psnr",)},
        BY_KEYWORD["RLELossless"].uid: {"three": ()},
    }


def text_of(rule: str) -> str:
    return f"rules:\n  - {{name: r, {rule}}}\n{REST}"


def target_of(folder: Path, rule: str) -> Target:
    path = folder / "venturi.yaml"
    path.write_text(text_of(rule))
    return load(path, codecs).rules[0].target


def mistakes_of(folder: Path, rule: str) -> list[str]:
    path = folder / "venturi.yaml"
    path.write_text(text_of(rule))
    with pytest.raises(ConfigError) as caught:
        load(path, codecs)
    return [problem.removeprefix(f"{path}:") for problem in caught.value.problems]


def warnings_of(folder: Path, rule: str) -> list[str]:
    path = folder / "venturi.yaml"
    path.write_text(text_of(rule))
    return [warning.removeprefix(f"{path}:") for warning in load(path, codecs).warnings]


def written(keyword: str, *more: str) -> str:
    """A rule for a syntax with what it needs."""
    needs = [OPTION[NEEDS[keyword][0]], "lossy: {max_error: 4}"] if keyword in NEEDS else []
    return ", ".join((f"transfer_syntax: {keyword}", *needs, *more))


@pytest.mark.parametrize("keyword", TARGETS)
def test_every_syntax_that_is_made_can_be_asked_for(tmp_path: Path, keyword: str) -> None:
    target = target_of(tmp_path, written(keyword))
    assert target.transfer_syntax == BY_KEYWORD[keyword].uid
    by_uid = written(keyword).replace(f": {keyword}", f": {BY_KEYWORD[keyword].uid}", 1)
    assert target_of(tmp_path, by_uid) == target


@pytest.mark.parametrize("keyword", sorted(set(BY_KEYWORD) - set(TARGETS)))
def test_every_other_syntax_is_refused_with_those_that_are_made(tmp_path: Path, keyword: str) -> None:
    (problem,) = mistakes_of(tmp_path, f"transfer_syntax: {keyword}")
    assert problem.startswith(f"2:32: Venturi does not make {keyword}; choose as-received or one of ")
    assert all(name in problem for name in TARGETS)


def test_the_targets_are_what_the_codecs_make() -> None:
    assert set(registry().encoders()) == {BY_KEYWORD[keyword].uid for keyword in TARGETS}


@pytest.mark.parametrize("keyword", TARGETS)
def test_what_a_rule_may_say_is_what_the_default_encoder_takes(keyword: str) -> None:
    encoder = registry().encoders()[BY_KEYWORD[keyword].uid][0]
    refused = {key for key, _ in ignored(BY_KEYWORD[keyword], OPTIONS)}
    assert set(OPTIONS) - refused == encoder.takes
    assert encoder.lossy == (keyword in NEEDS)


@pytest.mark.parametrize("keyword", sorted(BY_KEYWORD))
def test_from_may_name_what_is_native_or_has_a_decoder(keyword: str) -> None:
    syntax = BY_KEYWORD[keyword]
    if syntax.native or registry().decoder(syntax.uid):
        assert taken_of(keyword) == taken_of(syntax.uid) == syntax.uid
    else:
        with pytest.raises(ValueError, match=f"Venturi does not decode {keyword}"):
            taken_of(keyword)


@pytest.mark.parametrize(
    ("rule", "wished"),
    [
        (written("JPEGBaseline8Bit"), {"lossy_max_error": 4.0}),
        (written("RLELossless", "codec: three"), {"codec": "three"}),
        (written("RLELossless", "offset_table: extended"), {"offset_table": "extended"}),
        (written("RLELossless", "prove: none"), {"prove": "none"}),
        (written("RLELossless", "from: lossless"), {"taken": ("lossless", "uncompressed")}),
        (
            written("RLELossless", "from: [JPEGLossless, 1.2.840.10008.1.2.4.70]"),
            {"taken": ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")},
        ),
        (written("ExplicitVRLittleEndian", "as_rgb: true"), {"as_rgb": True}),
        (written("ExplicitVRLittleEndian", "from: uncompressed"), {"taken": ("uncompressed",)}),
        (
            written("ExplicitVRLittleEndian", "from: JPEGBaseline8Bit"),
            {"taken": ("1.2.840.10008.1.2.4.50",)},
        ),
        (
            "transfer_syntax: HTJ2K, j2k_psnr: 70, lossy: {max_error: 0.5, beyond: hold, uid: keep, also: MG}",
            {"lossy_max_error": 0.5, "lossy_beyond": "hold", "lossy_uid": "keep", "lossy_also": ("MG",)},
        ),
    ],
)
def test_what_a_rule_says_is_what_the_transcoder_reads(
    tmp_path: Path, rule: str, wished: dict[str, object]
) -> None:
    found = wishes(target_of(tmp_path, rule))
    assert {name: getattr(found, name) for name in wished} == wished
    rest = set(Wishes.__slots__) - set(wished) - {"options"}
    assert all(getattr(found, name) == getattr(Wishes(), name) for name in rest)


def test_the_encoders_options_arrive(tmp_path: Path) -> None:
    for keyword, option, value in (
        ("JPEGLSNearLossless", "jls_error", 2),
        ("JPEG2000", "j2k_cr", (10.0,)),
        ("HTJ2K", "j2k_cr", (10.0,)),
        ("JPEGBaseline8Bit", "jpeg_quality", 90),
    ):
        assert getattr(wishes(target_of(tmp_path, written(keyword))).options, option) == value
    assert not wishes(target_of(tmp_path, written("HTJ2KLosslessRPCL", "use_mct: false"))).options.use_mct


@pytest.mark.parametrize(
    "default",
    [
        *(
            "from: uncompressed",
            "from: [uncompressed]",
            "offset_table: basic",
            "prove: pixels",
            "min_saving: 0%",
        ),
        "use_mct: true",
    ],
)
def test_a_default_that_is_written_out_changes_no_digest(tmp_path: Path, default: str) -> None:
    plain = target_of(tmp_path, written("JPEG2000Lossless"))
    assert plain == Target("1.2.840.10008.1.2.4.90")
    assert target_of(tmp_path, written("JPEG2000Lossless", default)).digest == plain.digest


def test_the_defaults_of_lossy_change_no_digest(tmp_path: Path) -> None:
    rule = "transfer_syntax: JPEG2000, j2k_cr: 10, lossy: {max_error: 12%s}"
    short = target_of(tmp_path, rule % "")
    assert short.parameters == (("j2k_cr", (10.0,)), ("lossy_max_error", 12.0))
    long = target_of(tmp_path, rule % ".0, beyond: lossless, uid: new, also: []")
    assert long.digest == short.digest


def test_lossless_targets_have_the_digests_they_had() -> None:
    assert Target("1.2.840.10008.1.2.4.80", min_saving=0.1).digest == "040cf220e5869a6e"
    assert Target("1.2.840.10008.1.2.5").digest == "76420f83dd34cde3"


def test_the_order_of_from_means_nothing(tmp_path: Path) -> None:
    entries = ("uncompressed", "RLELossless", "JPEGLossless")
    targets = {
        target_of(tmp_path, written("JPEGLSLossless", f"from: [{', '.join(order)}]"))
        for order in permutations(entries)
    }
    assert len(targets) == 1


def marked(rule: str) -> tuple[str, str]:
    """The rule without its mark, and the place of the mark."""
    before, _, after = rule.partition("§")
    return before + after, f"2:{len('  - {name: r, ') + len(before) + 1}: "


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (written("RLELossless", "§as_rgb: true"), "RLELossless takes no as_rgb"),
        (written("RLELossless", "§use_mct: false"), "RLELossless takes no use_mct"),
        (written("JPEGLSLossless", "§use_mct: true"), "JPEGLSLossless takes no use_mct"),
        (written("JPEG2000Lossless", "§jpeg_quality: 90"), "JPEG2000Lossless takes no jpeg_quality"),
        (written("ExplicitVRLittleEndian", "§offset_table: basic"), "ExplicitVRLittleEndian takes no offset_table"),
        (written("ExplicitVRLittleEndian", "§min_saving: 1%"), "ExplicitVRLittleEndian saves nothing"),
        (written("ExplicitVRLittleEndian", "§codec: x"), "ExplicitVRLittleEndian takes no codec"),
        (written("ExplicitVRLittleEndian", "§lossy: {max_error: 1}"), "ExplicitVRLittleEndian is lossless"),
        (written("ExplicitVRLittleEndian", "as_rgb: §yes"), "'yes' is neither true nor false"),
        (written("RLELossless", "from: §[]"), "at least one is needed"),
        (written("RLELossless", "from: §uncompresed"), "'uncompresed' is neither uncompressed nor lossless nor"),
        (written("RLELossless", "from: [lossless, §MPEG2MPML]"), "Venturi does not decode MPEG2MPML"),
        (written("RLELossless", "from: [§1.2.3.4, lossless]"), "Venturi does not decode 1.2.3.4"),
        (written("RLELossless", "from: §JPEG2000MCLossless"), "Venturi does not decode JPEG2000MCLossless"),
        (written("RLELossless", "from: [lossless, §JPEGBaseline8Bit]"), "JPEGBaseline8Bit is lossy, and lossy input"),
        (written("JPEG2000", "from: §JPEGLSNearLossless"), "JPEGLSNearLossless is lossy, and lossy input is never"),
        (written("RLELossless", "prove: §some"), "'some' is none of 'pixels' or 'none'"),
        (written("RLELossless", "offset_table: §none"), "'none' is none of 'basic' or 'extended'"),
        (written("RLELossless", "codec: §a b"), "'a b' is not a name"),
        (written("RLELossless", "codec: §thre"), "RLELossless has no codec 'thre'; did you mean three?"),
        (written("JPEG2000", "codec: two").replace("j2k_cr", "§j2k_cr"), "the codec 'two' takes no j2k_cr"),
        (written("JPEG2000", "§prove: none"), "JPEG2000 is lossy, and its error is measured on every sample"),
        ("transfer_syntax: §JPEGBaseline8Bit, lossy: {max_error: 9}", "JPEGBaseline8Bit needs jpeg_quality"),
        ("transfer_syntax: §HTJ2K, lossy: {max_error: 9}", "HTJ2K needs j2k_cr or j2k_psnr, exactly one"),
        ("transfer_syntax: §HTJ2K, j2k_cr: 9, j2k_psnr: 60, lossy: {max_error: 9}", "HTJ2K needs j2k_cr or j2k_psnr"),
        ("transfer_syntax: HTJ2K, j2k_cr: §[20, 10], lossy: {max_error: 9}", "HTJ2K has one quality layer"),
        ("transfer_syntax: JPEGBaseline8Bit, jpeg_quality: §101, lossy: {max_error: 9}", "jpeg_quality is 1 to 100"),
        ("transfer_syntax: JPEGBaseline8Bit, jpeg_quality: §0, lossy: {max_error: 9}", "jpeg_quality is 1 to 100"),
        ("transfer_syntax: §JPEGBaseline8Bit, jpeg_quality: 90", "JPEGBaseline8Bit is lossy, and that is asked for by"),
        ("transfer_syntax: JPEGLSNearLossless, jls_error: §3, lossy: {max_error: 2}", "jls_error 3 lets samples"),
        ("transfer_syntax: JPEGLSNearLossless, jls_error: §0, lossy: {max_error: 2}", "jls_error is 1 to 255"),
        (written("JPEG2000").replace("4}", "4, also: [MG, §CT]}"), "'CT' is none of 'MG'"),
        (written("JPEG2000").replace("4}", "4, beyond: §loss}"), "'loss' is none of"),
        *((f"transfer_syntax: as-received, §{key}", f"{key.split(':')[0]} means nothing as received") for key in (
            "codec: x", "from: lossless", "as_rgb: false", "offset_table: basic", "prove: none", "use_mct: false",
            "jpeg_quality: 3", "lossy: {max_error: 2}", "min_saving: 10%",
        )),
    ],
)  # fmt: skip
def test_what_would_be_ignored_or_can_not_be_is_a_mistake_with_its_place(
    tmp_path: Path, rule: str, words: str
) -> None:
    rule, place = marked(rule)
    assert [said for said in mistakes_of(tmp_path, rule) if said.startswith(place + words)], (
        place,
        mistakes_of(tmp_path, rule),
    )


def test_a_mistake_in_a_value_does_not_make_it_missing(tmp_path: Path) -> None:
    rule = "transfer_syntax: JPEG2000, j2k_cr: x, lossy: {max_error: y}"
    said = mistakes_of(tmp_path, rule)
    assert [problem.split(": ", 1)[1] for problem in said] == ["'x' is not a number", "'y' is not a number"]


def test_all_mistakes_of_several_rules_are_said_at_once(tmp_path: Path) -> None:
    rule = (
        "transfer_syntax: RLELossless, codec: x, as_rgb: true, prove: y, from: z}\n"
        "  - {name: s, when: {Modality: CT}, transfer_syntax: JPEGXL}\n"
        "  - {name: t, when: {Modality: MR}, transfer_syntax: JPEG2000, codec: two, j2k_cr: 10, j2k_psnr: 20"
    )
    said = mistakes_of(tmp_path, rule)
    assert [problem.split(":")[0] for problem in said] == ["2", "2", "2", "2", "3", "4", "4", "4"]


def test_codecs_are_not_looked_for_where_no_rule_names_one(tmp_path: Path) -> None:
    def never() -> Mapping[str, Mapping[str, tuple[str, ...]]]:
        raise AssertionError("loaded for nothing")

    path = tmp_path / "venturi.yaml"
    path.write_text(text_of(written("JPEG2000")))
    load(path, never)


def test_without_the_codecs_any_name_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "venturi.yaml"
    path.write_text(text_of(written("RLELossless", "codec: somebodys")))
    assert load(path).rules[0].target.parameters == (("codec", "somebodys"),)


BROUGHT = "DeflatedImageFrameCompression"


def with_more() -> Mapping[str, Mapping[str, tuple[str, ...]]]:
    """As if packages brought these syntaxes."""
    more = {
        BROUGHT: {"zlib": ()},
        "JPEGXLLossless": {"jxl": ("use_mct",)},
        "JPEGXL": {"jxl": ()},
        "MPEG2MPML": {"x": ()},
        "JPEGXLJPEGRecompression": {},  # only read
    }
    return {BY_KEYWORD[keyword].uid: encoders for keyword, encoders in more.items()}


def loaded_with_more(folder: Path, rule: str) -> Target:
    path = folder / "venturi.yaml"
    path.write_text(text_of(rule))
    return load(path, with_more).rules[0].target


def test_a_lossless_syntax_that_another_package_brings_can_be_asked_for(tmp_path: Path) -> None:
    rule = f"transfer_syntax: {BROUGHT}, codec: zlib, from: lossless, offset_table: extended, min_saving: 5%"
    target = loaded_with_more(tmp_path, rule)
    assert target.transfer_syntax == BY_KEYWORD[BROUGHT].uid
    assert [name for name, _ in target.parameters] == ["codec", "from", "offset_table"]
    loaded_with_more(tmp_path, "transfer_syntax: JPEGXLLossless, use_mct: false")


def test_what_another_package_reads_can_be_taken(tmp_path: Path) -> None:
    target = loaded_with_more(tmp_path, f"transfer_syntax: RLELossless, from: [uncompressed, {BROUGHT}]")
    assert dict(target.parameters)["from"] == (BY_KEYWORD[BROUGHT].uid, "uncompressed")
    target = loaded_with_more(
        tmp_path, "transfer_syntax: ExplicitVRLittleEndian, from: JPEGXLJPEGRecompression"
    )
    assert dict(target.parameters)["from"] == (BY_KEYWORD["JPEGXLJPEGRecompression"].uid,)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (f"transfer_syntax: {BROUGHT}, use_mct: false", f"{BROUGHT} takes no use_mct"),
        (f"transfer_syntax: {BROUGHT}, as_rgb: true", f"{BROUGHT} takes no as_rgb"),
        (f"transfer_syntax: {BROUGHT}, codec: zip", f"{BROUGHT} has no codec 'zip'"),
        ("transfer_syntax: JPEGXL, lossy: {max_error: 1}", "Venturi does not make JPEGXL"),
        ("transfer_syntax: MPEG2MPML", "Venturi does not make MPEG2MPML"),
        ("transfer_syntax: JPEGXLJPEGRecompression", "Venturi does not make JPEGXLJPEGRecompression"),
        ("transfer_syntax: RLELossless, from: JPEG2000MC", "Venturi does not decode JPEG2000MC"),
    ],
)
def test_what_another_package_brings_has_its_limits(tmp_path: Path, rule: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        loaded_with_more(tmp_path, rule)


LOSSY = "transfer_syntax: JPEG2000, j2k_cr: 10, lossy: {max_error: 2%s}"


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (written("RLELossless", "prove: §none"), "unproven: images are passed on"),
        ("when: {Modality: §[CT, PT]}, " + LOSSY % "", "PT is never lossy: what its beyond: says, lossless,"),
        (
            "when: {Modality: §NM}, " + LOSSY % ", beyond: hold",
            "NM is never lossy: what its beyond: says, hold,",
        ),
        (
            "when: {transfer_syntax: §RLELossless}, transfer_syntax: JPEG2000Lossless",
            "RLELossless is not among what from: takes (uncompressed): it goes on as received",
        ),
        (
            "when: {transfer_syntax: §JPEG2000}, transfer_syntax: ExplicitVRLittleEndian, from: [RLELossless]",
            "JPEG2000 is not among what from: takes (RLELossless): it goes on as received",
        ),
        (
            "when: {transfer_syntax: §JPEGBaseline8Bit}, transfer_syntax: JPEG2000Lossless, from: lossless",
            "JPEGBaseline8Bit is not among what from: takes (lossless, uncompressed): it goes on as received",
        ),
        (LOSSY % ", uid: §keep", "two images under one SOP Instance UID"),
        ("when: {Modality: §MG}, " + LOSSY % "", "MG is lossy only by name, lossy: {also: [MG]}"),
    ],
)
def test_what_is_probably_not_meant_is_a_warning(tmp_path: Path, rule: str, words: str) -> None:
    rule, place = marked(rule)
    (warning,) = warnings_of(tmp_path, rule)
    assert warning.startswith(place + words)


@pytest.mark.parametrize(
    "rule",
    [
        "when: {transfer_syntax: RLELossless}, transfer_syntax: JPEG2000Lossless, from: lossless",
        "when: {transfer_syntax: RLELossless}, transfer_syntax: JPEG2000Lossless, from: [RLELossless]",
        "when: {transfer_syntax: ImplicitVRLittleEndian}, transfer_syntax: JPEG2000Lossless",
        "when: {transfer_syntax: JPEG2000}, transfer_syntax: ExplicitVRLittleEndian",
        "when: {transfer_syntax: {not: RLELossless}}, transfer_syntax: JPEG2000Lossless",
        "when: {transfer_syntax: RLELossless}, transfer_syntax: as-received",
    ],
)
def test_a_rule_that_takes_what_it_asks_for_is_no_surprise(tmp_path: Path, rule: str) -> None:
    assert warnings_of(tmp_path, rule) == []


@pytest.mark.parametrize("when", ["{Modality: CT}", "{Modality: {not: PT}}", "{SOPClassUID: {glob: '*PT'}}"])
def test_a_lossy_rule_that_leaves_those_out_is_no_surprise(tmp_path: Path, when: str) -> None:
    assert warnings_of(tmp_path, f"when: {when}, " + LOSSY % "") == []
    assert warnings_of(tmp_path, "when: {Modality: MG}, " + LOSSY % ", also: MG") == []


def values() -> Iterator[st.SearchStrategy[str]]:
    keys = {
        "jls_error": ["0", "2", "300"], "j2k_cr": ["10", "[20, 10]", "1"], "j2k_psnr": ["60", "[80, 60]"],
        "jpeg_quality": ["90", "0"], "use_mct": ["true", "false", "x"], "codec": ["one", "two", "four", "a b"],
        "from": ["lossless", "uncompressed", "[RLELossless, lossless]", "JPEG2000", "x", "[]"],
        "as_rgb": ["true", "false"], "offset_table": ["basic", "extended"], "prove": ["pixels", "none"],
        "lossy": ["{max_error: 4}", "{max_error: 1, also: MG, uid: keep}", "{beyond: hold}", "x"],
        "min_saving": ["5%", "x"],
    }  # fmt: skip
    for key, texts in keys.items():
        yield st.sampled_from(texts).map(lambda text, key=key: f"{key}: {text}")


@given(
    st.sampled_from((*TARGETS, "as-received", "JPEGXL", "x")),
    st.lists(st.one_of(*values()), max_size=5, unique_by=lambda text: text.split(":")[0]),
)
@settings(max_examples=200, deadline=None)
def test_a_rule_is_refused_or_becomes_what_the_transcoder_can_read(
    tmp_path_factory: pytest.TempPathFactory, syntax: str, said: list[str]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    try:
        target = target_of(folder, ", ".join((f"transfer_syntax: {syntax}", *said)))
    except ConfigError:
        return
    wished = wishes(target)
    names = [name for name, _ in target.parameters]
    assert names == sorted(names)
    if target.transfer_syntax is None:
        assert target == Target()
        return
    made = lookup(target.transfer_syntax)
    assert (wished.lossy_max_error is not None) == made.lossy == (str(made) in NEEDS)
    if made.lossy:
        assert wished.prove == "pixels"
    if str(made) != "ExplicitVRLittleEndian":
        assert not any(BY_UID[entry].lossy for entry in wished.taken if entry in BY_UID)
