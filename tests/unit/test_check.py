"""``venturi check``: what it prints, where, and its exit codes."""

import argparse
import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from venturi.cli import check, common
from venturi.config.load import load
from venturi.config.schema import Config
from venturi.errors import ConfigError
from venturi.model import OnFailure, Target

ROOT = Path(__file__).parents[2]
DEFAULT = ROOT / "config" / "venturi.yaml"
HOSPITAL = ROOT / "config" / "examples" / "hospital-router.yaml"
BAD = "peers: {ct: {ae_tilte: CT1}}\ndestinations: {}\nroutes: [{to: [x]}]\n"


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    check.configure(parser)
    return check.run(parser.parse_args(arguments))


def printed(config: Config, width: int = 80) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(check.summary(config))
    return out.getvalue()


def test_the_default_configuration_is_right(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("-c", str(DEFAULT)) == 0
    assert "no warnings" in capsys.readouterr().out


def test_mistakes_go_to_standard_error_with_their_places(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(BAD)
    assert run("-c", str(path)) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert [line.split(": ")[0] for line in said.err.splitlines()] == [
        f"{path}:{place}" for place in ("1:13", "1:14", "3:16")
    ]


def test_json_has_the_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(BAD)
    assert run("-c", str(path), "--json") == 2
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is False
    assert len(told["problems"]) == 3


def test_json_says_what_each_destination_gets(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("-c", str(HOSPITAL), "--json") == 0
    told = json.loads(capsys.readouterr().out)
    old = told["destinations"]["old"]
    assert old["where"] == "DICOM to OLD_PACS at 10.20.0.9:4006"
    assert [rule["transfer_syntax"] for rule in old["rules"]] == ["1.2.840.10008.1.2.5", None]
    assert told["digest"] == load(HOSPITAL).digest


@pytest.mark.parametrize(
    "path", [DEFAULT, *sorted((ROOT / "config" / "examples").glob("*.yaml"))], ids=lambda p: p.stem
)
def test_it_is_readable_at_80_columns(path: Path) -> None:
    config = load(path)
    text = printed(config)
    assert max(map(len, text.splitlines())) <= 80
    words = "".join(text.split())
    for name in (*config.peers, *config.destinations):
        assert name in words
    for rule in config.rules:
        assert all(word in words for word in rule.name.split())


def test_a_rule_for_another_destination_is_left_out() -> None:
    config = load(HOSPITAL)
    assert [rule.name for rule in check.relevant(config, "old")] == [
        "the old PACS knows RLE only",
        "the old PACS, anything else",
    ]
    assert "the old PACS, anything else" not in [rule.name for rule in check.relevant(config, "main")]


def test_no_matching_rule_is_shown_as_the_default(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        "peers: {a: {ae_title: A, hosts: [10.0.0.1]}}\ndestinations: {d: {folder: d}}\nroutes: [{to: d}]\n"
        "rules: [{name: ct, when: {Modality: CT, destination: d}, transfer_syntax: RLELossless}]\n"
    )
    text = printed(load(path))
    assert "(default)" in text
    assert "destination is d" not in text


def test_names_from_the_file_are_not_markup(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        'peers: {a: {ae_title: "[red]A[/]", hosts: [10.0.0.1]}}\ndestinations: {d: {folder: d}}\nroutes: [{to: d}]\n'
        'rules: [{name: "[/] x", transfer_syntax: RLELossless}]\n'
    )
    text = printed(load(path))
    assert "[red]A[/]" in text
    assert "[/] x" in text


def test_a_target_in_words() -> None:
    parameters = (("from", ("lossless", "uncompressed")), ("j2k_cr", (20.0, 10.0)), ("lossy_max_error", 12.0))
    target = Target("1.2.840.10008.1.2.4.91", parameters, 0.1)
    assert check.becomes(target, OnFailure.HOLD) == (
        "JPEG2000 (j2k_cr 20, 10, from lossless) if that saves 10%, lossy: no sample more than 12 off, or else "
        "without loss; a new SOP Instance UID; held if it fails"
    )
    parameters = (
        ("lossy_also", ("MG",)),
        ("lossy_beyond", "hold"),
        ("lossy_max_error", 1.5),
        ("lossy_uid", "keep"),
    )
    assert check.becomes(Target("1.2.840.10008.1.2.4.203", parameters)) == (
        "HTJ2K, lossy, MG too: no sample more than 1.5 off, or else held; the same SOP Instance UID"
    )
    parameters = (("from", ("1.2.840.10008.1.2.5",)), ("prove", "none"), ("use_mct", False))
    assert check.becomes(Target("1.2.840.10008.1.2.4.90", parameters)) == (
        "JPEG2000Lossless (use_mct false, from RLELossless), NOT PROVEN"
    )


def test_codecs_that_are_not_there_are_mistakes_like_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(
        "peers: {a: {ae_title: A, hosts: [10.0.0.1]}}\ndestinations: {d: {folder: d}}\nroutes: [{to: e}]\n"
        "rules: [{name: n, transfer_syntax: RLELossless, codec: pyjpegls, prove: some}]\n"
    )
    assert run("-c", str(path)) == 2
    said = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[0] for line in said] == [f"{path}:{place}" for place in ("3:15", "4:56", "4:73")]
    assert "RLELossless has no codec 'pyjpegls' (it has: imagecodecs, pylibjpeg-rle" in said[1]


def test_the_configuration_is_looked_for_here_and_in_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = argparse.Namespace(config=None)
    with pytest.raises(ConfigError, match="give -c FILE"):
        common.config_path(asked)
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "venturi.yaml").write_text(DEFAULT.read_text())
    assert common.load_config(asked).path == tmp_path / "config" / "venturi.yaml"
    (tmp_path / "venturi.yaml").write_text(DEFAULT.read_text())
    assert common.load_config(asked).path == tmp_path / "venturi.yaml"
