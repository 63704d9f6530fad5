"""Loading: what the file says becomes a Config, and every mistake in it is found with its place."""

import hashlib
import json
import pickle
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from venturi.config.load import load
from venturi.config.schema import (
    Config,
    DicomDestination,
    FolderDestination,
    Limits,
    Node,
    OnConflict,
    Peer,
    Rule,
)
from venturi.errors import ConfigError
from venturi.model import AS_RECEIVED, OnFailure, Target
from venturi.rules.condition import Condition

ROOT = Path(__file__).parents[2]
SHIPPED = [ROOT / "config" / "venturi.yaml", *sorted((ROOT / "config" / "examples").glob("*.yaml"))]

FULL = """\
node:
  ae_title: [VENTURI, VENTURI_LOSSY]    # one or several
  listen: 0.0.0.0:11112
  data: ./venturi-data
  tls: {certificate: node.pem, key: node.key, ca: peers.pem}
  limits: {associations: 32, min_free: 10%}
  retain: {original: until-delivered, after: 7d, rows: 400d}
console: {listen: 127.0.0.1:8080}
peers:
  ct:   {ae_title: [CT1, CT2], hosts: [10.1.0.0/24]}
  pacs: {ae_title: MAIN_PACS, host: pacs.example.org, port: 104}
  telerad: {ae_title: TELERAD, host: telerad.example.org}
rules:
  - name: teleradiology
    when: {destination: telerad, Modality: [CT, MR]}
    transfer_syntax: JPEG2000
    j2k_cr: [10]
    lossy: {max_error: 12, beyond: lossless, uid: new}
  - name: grey images
    when: {Modality: [CT, MR, CR, DX, MG], SamplesPerPixel: 1}
    transfer_syntax: JPEGLSLossless
    min_saving: 10%
    on_failure: keep
  - name: ultrasound clips
    when: {Modality: US, NumberOfFrames: {ge: 10}, calling_ae: {not: US3}}
    transfer_syntax: HTJ2KLossless
  - name: the rest
    transfer_syntax: as-received
destinations:
  archive:
    folder: ./archive
    path: "{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}.dcm"
    on_conflict: keep-both
  main-pacs: {dicom: pacs}
  telerad:   {dicom: telerad}
routes:
  - to: [archive]
  - when: {Modality: [CT, MR]}
    to: [main-pacs, telerad]
"""

SMALL = """\
peers: {ct: {ae_title: CT1, hosts: [10.1.0.0/24]}, pacs: {ae_title: PACS, host: pacs.example.org}}
destinations: {archive: {folder: ./archive}, pacs: {dicom: pacs}}
routes: [{to: [archive, pacs]}]
"""


def loaded(folder: Path, text: str) -> Config:
    path = folder / "venturi.yaml"
    path.write_text(text)
    return load(path)


def mistakes(folder: Path, text: str) -> list[str]:
    """What is said, without the file's name."""
    with pytest.raises(ConfigError) as caught:
        loaded(folder, text)
    return [problem.removeprefix(f"{folder}/venturi.yaml:") for problem in caught.value.problems]


def warnings(folder: Path, text: str) -> list[str]:
    return [warning.removeprefix(f"{folder}/venturi.yaml:") for warning in loaded(folder, text).warnings]


@pytest.fixture
def full(tmp_path: Path) -> Config:
    for name in ("node.pem", "node.key", "peers.pem"):
        (tmp_path / name).write_text("-")
    return loaded(tmp_path, FULL)


def test_a_full_file_becomes_typed_values(full: Config, tmp_path: Path) -> None:
    assert full.node.ae_title == ("VENTURI", "VENTURI_LOSSY")
    assert full.node.listen == ("0.0.0.0", 11112)
    assert (full.node.limits.min_free, full.node.limits.timeout_s) == (0.1, 30.0)
    assert (full.node.retain.after_s, full.node.retain.rows_s) == (7 * 86400, 400 * 86400)
    assert full.peers["ct"].hosts == (ip_network("10.1.0.0/24"),)
    assert full.peers["pacs"].ae_title == ("MAIN_PACS",)
    assert full.destinations["archive"] == FolderDestination(folder=tmp_path / "archive")
    assert full.destinations["telerad"] == DicomDestination(dicom="telerad")
    assert [route.to for route in full.routes] == [("archive",), ("main-pacs", "telerad")]


def test_paths_are_relative_to_the_file(full: Config, tmp_path: Path) -> None:
    assert full.node.data == tmp_path / "venturi-data"
    assert full.node.tls is not None
    assert full.node.tls.key == tmp_path / "node.key"


def test_rules_carry_targets(full: Config) -> None:
    lossy = (("j2k_cr", (10.0,)), ("lossy_max_error", 12.0))
    assert [rule.target for rule in full.rules] == [
        Target("1.2.840.10008.1.2.4.91", lossy),
        Target("1.2.840.10008.1.2.4.80", min_saving=0.1),
        Target("1.2.840.10008.1.2.4.201"),
        AS_RECEIVED,
    ]
    assert full.rules[3].when == Condition()


def test_the_digest_is_of_the_bytes(full: Config) -> None:
    assert full.digest == hashlib.sha256(FULL.encode()).hexdigest()[:16]


def test_a_config_survives_pickling(full: Config) -> None:
    assert pickle.loads(pickle.dumps(full)) == full


def test_parts_can_be_left_out(tmp_path: Path) -> None:
    config = loaded(tmp_path, SMALL)
    assert config.node.listen == ("127.0.0.1", 11112)
    assert config.node.data == tmp_path / "venturi-data"
    assert config.console is not None
    assert config.rules == ()


def test_the_console_can_be_off(tmp_path: Path) -> None:
    assert loaded(tmp_path, "console: off\n" + SMALL).console is None


def test_every_limit_has_its_unit(tmp_path: Path) -> None:
    text = SMALL + "node: {limits: {pdu: 64KiB, object: 2GiB, timeout: 1m}, receivers: 1, workers: 3}\n"
    assert loaded(tmp_path, text).node.limits == Limits(pdu_bytes=65536, object_bytes=2 << 30, timeout_s=60.0)


def test_models_can_be_built_by_a_program() -> None:
    assert Node(data=Path("/data"), listen=("127.0.0.1", 0)).listen.port == 0
    assert Peer(ae_title=("*",), hosts=(ip_network("127.0.0.0/8"),)).port == 104
    assert Rule(name="x", when=Condition(), target=AS_RECEIVED).on_failure is OnFailure.KEEP
    assert FolderDestination(folder=Path("/a"), on_conflict="hold").on_conflict is OnConflict.HOLD


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_file_loads(path: Path) -> None:
    config = load(path)
    assert config.routes
    assert config.rules
    assert not [warning for warning in config.warnings if "plaintext" not in warning]


def test_the_default_file_has_no_warnings_and_admits_anybody_from_here() -> None:
    config = load(ROOT / "config" / "venturi.yaml")
    assert config.warnings == ()
    assert config.node.listen == ("127.0.0.1", 11112)
    [peer] = config.peers.values()
    assert peer.ae_title == ("*",)
    assert all(network.is_loopback for network in peer.hosts)


def marked(text: str) -> tuple[str, str]:
    """The text without its mark, and the mark's place as ``line:column: ``."""
    before, _, after = text.partition("§")
    return before + after, f"{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}: "


@pytest.mark.parametrize(
    ("replace", "by", "words"),
    [
        ("ct:   {", "ct:   {§ae_tilte: X, ", "'ae_tilte' is not a key here; did you mean ae_title?"),
        ("listen: 0.0.0.0:11112", "listen: §11112", "'11112' is not HOST:PORT"),
        ("node.key", "§nothing.key", "there is no file"),
        ("ca: peers.pem", "ca: §~/peers.pem", "~ is not expanded"),
        ("tls: {certificate: node.pem, ", "tls: §{", "'certificate' is missing"),
        ("min_free: 10%", "min_free: §10", "'10' is not a percentage"),
        ("min_free: 10%", "min_free: §100%", "'100%': this must be less than 1"),
        ("associations: 32", "associations: §0", "'0': this must be greater than or equal to 1"),
        ("after: 7d", "§after_s: 7d", "'after_s' is not a key here"),
        ("until-delivered", "§forever", "'forever' is none of"),
        ("console: {listen: 127.0.0.1:8080}", "console: §[x]", "a mapping belongs here"),
        ("10.1.0.0/24", "§10.1.0.9/24", "'10.1.0.9/24' has bits set beyond its prefix"),
        ("[10.1.0.0/24]", "§{a: b}", "a list belongs here"),
        ("ct:   {ae_title: [CT1, CT2]", "ct:   {ae_title: §[]", "at least one is needed"),
        ("ct:   {", "§c t:   {", "'c t' is not a name"),
        (", port: 104", ", port: §x", "'x' is not a port"),
        (", hosts: [10.1.0.0/24]}\n  pacs", "}\n  §pacs: {ae_title: P}\n  packs", "peer 'pacs': say where it"),
        ("  - name: grey images\n", "  - name: §teleradiology\n", "two rules have the name"),
        ("name: the rest", "§named: the rest", "'named' is not a key here; did you mean name?"),
        ("name: the rest\n    transfer", "§transfer", "'name' is missing"),
        ("destination: telerad", "destination: §telerd", "there is no destination 'telerd'; did you mean telerad?"),
        ("JPEGLSLossless", "§JPEGLSLosles", "'JPEGLSLosles' is not a transfer syntax's keyword or UID; did you"),
        ("HTJ2KLossless", "§MPEG2MPML", "Venturi does not make MPEG2MPML; choose"),
        ("HTJ2KLossless", "§1.2.3.4", "Venturi does not make 1.2.3.4; choose"),
        ("HTJ2KLossless", "§HTJ2K", "HTJ2K is lossy"),
        ("HTJ2KLossless", "§ExplicitVRBigEndian", "Venturi does not make ExplicitVRBig"),
        ("HTJ2KLossless", "§[RLELossless]", "one value belongs here, not a list"),
        ("min_saving: 10%", "§jls_error: 2", "JPEGLSLossless takes no jls_error"),
        ("min_saving: 10%", "§j2k_cr: 2", "JPEGLSLossless takes no j2k_cr"),
        ("min_saving: 10%", "§lossy: {max_error: 2}", "JPEGLSLossless is lossless"),
        ("JPEG2000\n    j2k_cr: [10]\n    lossy: {", "§JPEG2000\n    j2k_cr: [10]\n    los: {", "JPEG2000 is lossy"),
        ("JPEG2000\n    j2k_cr: [10]\n", "§JPEG2000\n", "JPEG2000 needs j2k_cr or j2k_psnr"),
        ("j2k_cr: [10]", "j2k_cr: §[10, 20]", "j2k_cr takes ratios above 1, from high to low"),
        ("j2k_cr: [10]", "j2k_psnr: §[80, 60]", "j2k_psnr takes decibels above 0, from low to high"),
        ("max_error: 12", "max_error: §-1", "max_error is 0 or more"),
        ("{max_error: 12, ", "§{", "'max_error' is missing"),
        ("on_failure: keep", "on_failure: §drop", "'drop' is none of 'keep' or 'hold'"),
        ("as-received\n", "as-received\n    §min_saving: 5%\n", "min_saving means nothing as received"),
        ("when: {Modality: US,", "§whn: {Modality: US,", "'whn' is not a key here; did you mean when?"),
        ("Modality: US", "§modality: US", "modality is neither an attribute's keyword"),
        ("{ge: 10}", "{ge: §ten}", "NumberOfFrames is a number (IS)"),
        ("{Modality: US, ", "{§(0008,0060): US, ", "YAML splits this tag at its comma: quote it"),
        ("hosts: [10.1.0.0/24]", "hosts: 10.1.0.9, accept: {sop_classes: [§CTStorage]}", "'CTStorage' is"),
        ("hosts: [10.1.0.0/24]", "hosts: 10.1.0.9, accept: {transfer_syntaxes: §JPEGLS}", "'JPEGLS' is not a transfer"),
        ("hosts: [10.1.0.0/24]", "hosts: 10.1.0.9, accept: {associations: §0}", ""),
        ("hosts: [10.1.0.0/24]", "hosts: 10.1.0.9, accept: {user_identity: §none}", "'none' is none of"),
        ("hosts: [10.1.0.0/24]", "hosts: 10.1.0.9, accept: {deny: {§modality: CT}}", "modality is neither"),
        ("hosts: [10.1.0.0/24]", "hosts: 10.1.0.9, accept: {deny: {§destination: archive}}", "what is denied"),
        ("hosts: [10.1.0.0/24]", "hosts: 10.1.0.9, accept: {§class: CT}", "'class' is not a key here"),
        ("main-pacs: {dicom: pacs}", "main-pacs: {dicom: §pac}", "there is no peer 'pac'; did you mean pacs?"),
        ("main-pacs: {dicom: pacs}", "main-pacs: {dicom: §ct}", "peer 'ct' has no host: to connect to"),
        ("main-pacs: {dicom: pacs}", "main-pacs: §{}", "a destination is {folder: PATH}, {dicom: PEER}"),
        ("main-pacs: {dicom: pacs}", "main-pacs: {folder: x, §dicom: pacs}", "'dicom' is not a key here"),
        ("on_conflict: keep-both", "on_conflict: §rename", "'rename' is none of"),
        ('"{StudyInstanceUID}', '§"{StudyInstanceUI}', "'{StudyInstanceUI}"),
        ("- to: [archive]", "- to: [§archiv]", "there is no destination 'archiv'; did you mean archive?"),
        ("- to: [archive]", "- §{}", "'to' is missing"),
        ("when: {Modality: [CT, MR]}\n    to", "when: {§destination: archive}\n    to", "a route chooses destinations"),
        ("routes:\n", "§route:\n", "'route' is not a key here; did you mean routes?"),
    ],
)  # fmt: skip
def test_a_mistake_is_answered_with_its_place_and_what_to_do(
    full: Config, tmp_path: Path, replace: str, by: str, words: str
) -> None:
    assert replace in FULL
    text, place = marked(FULL.replace(replace, by, 1))
    found = mistakes(tmp_path, text)
    assert [problem for problem in found if problem.startswith(place + words)], (place, found)


def test_a_peer_that_is_any_title_cannot_be_a_destination(tmp_path: Path) -> None:
    text, place = marked(
        SMALL.replace("{dicom: pacs}", "{dicom: §pacs}").replace("ae_title: PACS", 'ae_title: "*"')
    )
    assert mistakes(tmp_path, text) == [
        f"{place}peer 'pacs' has the AE title *, which can't be called: name one first"
    ]


def test_all_mistakes_are_said_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    found = mistakes(
        tmp_path,
        "node: {listen: x}\npeers: {a: {ae_title: A}, a: {}}\nrules:\n"
        "  - {name: r, when: {foo: 1, destination: nowhere}, transfer_syntax: RLE, jls_error: 3}\n"
        "destinations: {d: {folder: f, path: /x}}\nroutes: [{to: [e]}]\nextra: 1\nconsole:\n",
    )
    places = [tuple(map(int, problem.split(":")[:2])) for problem in found]
    assert places == sorted(places)
    assert [line for line, _ in places] == [1, 2, 2, 4, 4, 4, 5, 6, 7, 8]


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("", "when: {Modality: CT}, "),
        ("when: {Modality: CT}, ", "when: {peer: ct, Modality: CT}, "),
        ("", ""),
    ],
)
def test_a_rule_that_can_never_win_is_an_error(tmp_path: Path, earlier: str, later: str) -> None:
    rules = f"""\
rules:
  - {{name: first, {earlier}transfer_syntax: RLELossless}}
  - {{name: second, {later}transfer_syntax: JPEGLSLossless}}
"""
    [problem] = mistakes(tmp_path, rules + SMALL)
    assert problem.startswith("3:12: this rule can never win: whatever it matches, 'first' matches before it")


def test_a_rule_that_asks_for_more_first_is_no_shadow(tmp_path: Path) -> None:
    rules = """\
rules:
  - {name: first, when: {peer: ct, Modality: CT}, transfer_syntax: RLELossless}
  - {name: second, when: {Modality: CT}, transfer_syntax: JPEGLSLossless}
  - {name: third, transfer_syntax: as-received}
"""
    assert warnings(tmp_path, rules + SMALL) == []


NEAR = "rules: [{name: n, transfer_syntax: §JPEGLSNearLossless, jls_error: 2, lossy: {max_error: 2}}]\n"
RULE = "rules: [{name: n, when: {%s}, transfer_syntax: RLELossless}]\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (SMALL.replace(" pacs: {dicom", " §pacs: {dicom").replace("[archive, pacs]", "[archive]"), "no route names"),
        ("§" + SMALL.replace("routes: [{to: [archive, pacs]}]", ""), "no routes: everything is received and held"),
        ("node: {listen: §0.0.0.0:104}\n" + SMALL, "DICOM in plaintext beyond this machine"),
        ("console: {listen: §0.0.0.0:80}\n" + SMALL, "the status page has no login"),
        (SMALL.replace("ct: {ae_title: CT1, hosts: [10.1.0.0/24]", '§ct: {ae_title: "*", hosts: ["::/0"]'), "peer"),
        (SMALL.replace("./archive", './archive, path: §"{PatientID}/{SOPInstanceUID}"'), "PatientID in paths"),
        (SMALL.replace("./archive", "§./venturi-data/x"), "this folder and node.data are inside each other"),
        (SMALL.replace("pacs: {dicom: pacs}", "pacs: {folder: §archive}"), "destinations 'archive' and 'pacs' share"),
        (
            SMALL.replace("pacs: {dicom: pacs}", "pacs: {folder: §archive, on_conflict: replace}"),
            "destinations 'archive' and 'pacs' share one folder: what one delivers is replaced by the other",
        ),
        (NEAR + SMALL, "near-lossless JPEG-LS may be far off on signed pixels"),
        (RULE % "called_ae: §X" + SMALL, "'X' is none of node.ae_title"),
        (RULE % "calling_ae: §X" + SMALL, "no peer has the AE title 'X'"),
        (RULE % "Modality: §ct" + SMALL, "Modality is a code string"),
        (SMALL.replace("routes: [", "routes: [{when: {Modality: CT}, §to: []}, "), "this discards nothing"),
    ],
)  # fmt: skip
def test_what_is_probably_not_meant_is_a_warning_with_its_place(
    tmp_path: Path, text: str, words: str
) -> None:
    text, place = marked(text)
    found = warnings(tmp_path, text)
    assert [warning for warning in found if warning.startswith(place + words)], (place, found)


def test_a_certificate_that_a_peer_can_not_show_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "ct.pem").write_text("")
    text, place = marked(SMALL.replace("ae_title: CT1, ", "ae_title: CT1, §certificate: ct.pem, "))
    found = warnings(tmp_path, text)
    assert [warning for warning in found if warning.startswith(f"{place}there is no node.tls")], (
        place,
        found,
    )


def test_near_lossless_on_unsigned_pixels_is_no_surprise(tmp_path: Path) -> None:
    text = NEAR.replace("§", "").replace("name", "when: {PixelRepresentation: 0}, name") + SMALL
    assert warnings(tmp_path, text) == []


def test_an_unknown_peer_in_a_condition_is_an_error(tmp_path: Path) -> None:
    text = RULE % "any: [{peer: §[ct, ctt]}]" + SMALL
    text, place = marked(text)
    assert mistakes(tmp_path, text) == [
        f"{place[:-1]} there is no peer 'ctt'; did you mean ct? (there is: ct, pacs)"
    ]


@pytest.mark.parametrize("name", ["missing.yaml", "."])
def test_a_file_that_cannot_be_read_is_a_config_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="the configuration can't be read"):
        load(tmp_path / name)


@pytest.mark.parametrize("text", ["[1]", "x", "- a"])
def test_a_file_that_is_no_mapping_is_a_config_error(tmp_path: Path, text: str) -> None:
    [problem] = mistakes(tmp_path, text)
    assert problem.startswith("1:1: the file must be a mapping")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "venturi.yaml"


def only_config_errors(file: Path, raw: bytes) -> None:
    file.write_bytes(raw)
    try:
        said = load(file).warnings
    except ConfigError as error:
        said = (*error.problems, *([] if error.problems else ["nothing is said"]))
    assert all(words.startswith(f"{file}:") for words in said)


@given(raw=st.binary(max_size=100))
def test_arbitrary_bytes_are_a_config_or_a_config_error(file: Path, raw: bytes) -> None:
    only_config_errors(file, raw)


@given(
    at=st.integers(0, len(FULL)),
    cut=st.integers(0, 40),
    insert=st.text(" \n:-[]{},&*!'\"#%ax1", max_size=8)
    | st.sampled_from(["[a]", "{a: b}", "\n", "null", "''"]),
)
@settings(max_examples=150, deadline=None)
def test_a_damaged_file_is_a_config_or_a_config_error(file: Path, at: int, cut: int, insert: str) -> None:
    only_config_errors(file, (FULL[:at] + insert + FULL[at + cut :]).encode())


KEYS = [
    "node",
    "ae_title",
    "listen",
    "data",
    "tls",
    "limits",
    "peers",
    "hosts",
    "host",
    "port",
    "rules",
    "name",
    "when",
    "transfer_syntax",
    "j2k_cr",
    "lossy",
    "max_error",
    "beyond",
    "also",
    "from",
    "codec",
    "as_rgb",
    "offset_table",
    "prove",
    "use_mct",
    "jpeg_quality",
    "destinations",
    "folder",
    "path",
    "dicom",
    "routes",
    "to",
    "any",
    "Modality",
    "destination",
    "not",
    "gt",
]


NODES = st.recursive(
    st.sampled_from(
        [
            "x",
            "",
            "1",
            "10%",
            "7d",
            "CT",
            "archive",
            "as-received",
            "JPEG2000",
            "*",
            "off",
            "::1",
            "10",
            "lossless",
            "none",
        ]
    ),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=3,
        )
    ),
    max_leaves=10,
)


@given(
    st.fixed_dictionaries(
        {}, optional=dict.fromkeys(["node", "peers", "rules", "destinations", "routes"], NODES)
    )
)
@settings(max_examples=150, deadline=None)
def test_any_shape_is_a_config_or_a_config_error(file: Path, data: dict[str, object]) -> None:
    only_config_errors(file, json.dumps(data).encode())


UNTIL_COMMITTED = """\
node: {{retain: {{original: until-committed}}, commitment: 2h}}
peers:
  pacs: {{ae_title: PACS, host: 127.0.0.1}}
destinations:
  archive: {{folder: ./archive{folder}}}
  pacs: {{dicom: pacs{pacs}}}
  either: {{first_of: [archive, pacs]}}
routes:
  - to: [{to}]
"""


@pytest.mark.parametrize(
    ("folder", "pacs", "to", "warned"),
    [
        ("", "", "archive", False),
        ("", "", "pacs", True),
        ("", ", commit: true", "pacs", False),
        (", commit: false", "", "archive", True),
        (", commit: false", "", "archive, pacs, either", True),
        ("", "", "either", False),
    ],
)
def test_originals_that_would_be_kept_for_ever_are_a_warning(
    tmp_path: Path, folder: str, pacs: str, to: str, warned: bool
) -> None:
    text = UNTIL_COMMITTED.format(folder=folder, pacs=pacs, to=to)
    assert [words for words in warnings(tmp_path, text) if "kept for ever" in words] != [] or not warned
    assert warned or not [words for words in warnings(tmp_path, text) if "kept for ever" in words]
    assert loaded(tmp_path, text).node.commitment_s == 7200
