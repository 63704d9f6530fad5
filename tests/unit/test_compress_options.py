"""The options of ``venturi compress`` are a rule's keys: the same targets, the same mistakes."""

import argparse
import re
from pathlib import Path

import pytest

from renditions import target_of
from venturi.cli import compress, main
from venturi.cli.tables import printable, span
from venturi.compress.port import FAULTS, TROUBLES, Left
from venturi.config.targets import KEYS
from venturi.errors import ConfigError

CONFIG = """\
peers: {here: {ae_title: "*", hosts: [127.0.0.1]}}
destinations: {archive: {folder: ./archive}, viewer: {folder: ./viewer}}
routes: [{to: [archive, viewer]}]
"""


def ordered(*words: str, folder: Path) -> compress.Order:
    parser = argparse.ArgumentParser()
    compress.configure(parser)
    return compress.ordered(parser.parse_args([str(folder), str(folder / "out"), *words]))[0]


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ("--to HTJ2KLossless", "transfer_syntax: HTJ2KLossless"),
        ("--to 1.2.840.10008.1.2.5", "transfer_syntax: RLELossless"),
        ("--to ExplicitVRLittleEndian --as-rgb", "transfer_syntax: ExplicitVRLittleEndian\nas_rgb: true"),
        (
            "--to JPEG2000 --j2k-cr 20 10 --lossy-max-error 12 --beyond hold --uid keep --also MG",
            "transfer_syntax: JPEG2000\nj2k_cr: [20, 10]\n"
            "lossy: {max_error: 12, beyond: hold, uid: keep, also: [MG]}",
        ),
        (
            "--to JPEGLSNearLossless --jls-error 2 --lossy-max-error 2",
            "transfer_syntax: JPEGLSNearLossless\njls_error: 2\nlossy: {max_error: 2}",
        ),
        (
            "--to HTJ2K --j2k-psnr 60 --lossy-max-error 9.5",
            "transfer_syntax: HTJ2K\nj2k_psnr: [60]\nlossy: {max_error: 9.5}",
        ),
        (
            "--to JPEGBaseline8Bit --jpeg-quality 90 --lossy-max-error 40",
            "transfer_syntax: JPEGBaseline8Bit\njpeg_quality: 90\nlossy: {max_error: 40}",
        ),
        (
            "--to JPEG2000Lossless --no-mct --codec pylibjpeg-openjpeg --from lossless --min-saving 5% --prove none "
            "--offset-table extended",
            "transfer_syntax: JPEG2000Lossless\nuse_mct: false\ncodec: pylibjpeg-openjpeg\nfrom: lossless\n"
            "min_saving: 5%\nprove: none\noffset_table: extended",
        ),
    ],
)
def test_options_mean_what_a_rule_means(options: str, rule: str, tmp_path: Path) -> None:
    order = ordered(*options.split(), folder=tmp_path)
    assert order.target == target_of(tmp_path, rule)
    assert order.digest == order.target.digest
    assert order.words == options


def test_every_key_of_a_rule_has_its_option() -> None:
    keys = {key.partition(".")[0] for key, _ in compress.RULE_OPTIONS.values()}
    assert keys == {"transfer_syntax", *KEYS}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("", "say what to make: --to SYNTAX"),
        ("--to HTJ2KLosless", "--to: 'HTJ2KLosless' is not a transfer syntax's keyword or UID; did you mean"),
        ("--to MPEG2MPML", "--to: Venturi does not make MPEG2MPML"),
        ("--to as-received --codec x", "--codec: --codec means nothing as received"),
        ("--to RLELossless --j2k-cr 10", "--j2k-cr: RLELossless takes no --j2k-cr (it would be ignored)"),
        ("--to JPEG2000 --j2k-cr 10", "--to: JPEG2000 is lossy, and that is asked for by name: add --lossy-max"),
        ("--to JPEG2000 --lossy-max-error 9", "--to: JPEG2000 needs --j2k-cr or --j2k-psnr, exactly one"),
        ("--to JPEG2000 --j2k-cr 10 --beyond hold", "--lossy-max-error: "),
        ("--to JPEG2000 --j2k-cr 10 20 --lossy-max-error 9", "--j2k-cr: --j2k-cr takes ratios above 1, from high"),
        ("--to JPEG2000 --j2k-cr ten --lossy-max-error 9", "--j2k-cr: 'ten' is not a number"),
        ("--to JPEG2000 --j2k-cr 9 --lossy-max-error 9 --beyond keep", "--lossy-max-error: 'keep' is none of"),
        ("--to RLELossless --lossy-max-error 9", "--lossy-max-error: RLELossless is lossless, so --lossy-max-error"),
        ("--to RLELossless --codec gdcm", "--codec: RLELossless has no --codec 'gdcm'"),
        ("--to RLELossless --min-saving 0.1", "--min-saving: '0.1' is not a percentage"),
        ("--to RLELossless --from JPEGBaseline8Bit", "--from: JPEGBaseline8Bit is lossy"),
        ("--to RLELossless --prove never", "--prove: 'never' is none of"),
        ("--to RLELossless --destination x", "--destination goes with -c"),
        ("--to RLELossless --to JPEG2000 --codec x", "--codec"),
    ],
)  # fmt: skip
def test_a_mistake_is_said_of_the_option(options: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        ordered(*options.split(), folder=tmp_path)
    assert any(problem.startswith(said) for problem in error.value.problems), error.value.problems


def test_all_mistakes_are_said_at_once_and_the_exit_code_is_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--to", "JPEGLSNearLossless", "--jls-error", "300", "--prove", "none"]
    assert main(["compress", str(tmp_path), str(tmp_path / "out"), *words]) == 2
    said = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in said] == ["--to", "--prove", "--jls-error"]
    assert not (tmp_path / "out").exists()


def test_what_is_unproven_is_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ordered("--to", "RLELossless", "--prove", "none", folder=tmp_path)
    assert capsys.readouterr().err.startswith("--prove: unproven: ")


def test_the_one_destination_is_taken_and_of_several_one_must_be_named(tmp_path: Path) -> None:
    config = tmp_path / "venturi.yaml"
    config.write_text(CONFIG)
    with pytest.raises(ConfigError, match="say which with --destination: archive, viewer"):
        ordered("-c", str(config), folder=tmp_path)
    with pytest.raises(ConfigError, match="no destination 'archiv'; it has: archive, viewer"):
        ordered("-c", str(config), "--destination", "archiv", folder=tmp_path)
    with pytest.raises(ConfigError, match="--to: a rule of"):
        ordered("-c", str(config), "--to", "RLELossless", folder=tmp_path)
    viewer = ordered("-c", str(config), "--destination", "viewer", folder=tmp_path)
    archive = ordered("-c", str(config), "--destination", "archive", folder=tmp_path)
    assert (viewer.destination, viewer.target) == ("viewer", None)
    assert viewer.digest != archive.digest
    config.write_text(CONFIG.replace(", viewer: {folder: ./viewer}", "").replace(", viewer", ""))
    assert ordered("-c", str(config), folder=tmp_path).destination == "archive"


def test_the_page_names_every_reason_and_every_option() -> None:
    page = (Path(__file__).parents[2] / "docs" / "compress.md").read_text()
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| (yes)? ?\| ", page, re.MULTILINE))
    assert {Left(name) for name in rows} == set(Left)
    assert {Left(name) for name, trouble in rows.items() if trouble} == TROUBLES
    told = page.partition("an image was copied because of")[2].partition("\n- 2")[0]
    assert set(re.findall(r"`([a-z-]+)`", told)) == FAULTS
    assert all(option in page for option in compress.RULE_OPTIONS)


def test_names_and_times_can_be_shown() -> None:
    assert printable("M\udcfc\x1b[31m\u202eller é") == "M\\udcfc\\x1b[31m\\u202eller é"
    assert [span(s) for s in (0.04, 42, 200, 7500)] == ["0.0 s", "42 s", "3 min 20 s", "2 h 5 min"]
