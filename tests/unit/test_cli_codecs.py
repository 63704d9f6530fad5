"""``venturi codecs``: it lists what there is, and nothing else."""

import json
from importlib.metadata import version
from typing import Any

import pytest

from venturi.cli import main
from venturi.cli.codecs import WORDS
from venturi.cli.kinds import target_of
from venturi.config.load import load
from venturi.dataset import syntaxes
from venturi.model import Reason
from venturi.transcode.codecs import registry
from venturi.transcode.wishes import wishes

FRAME = """\
peers: {{here: {{ae_title: "*", hosts: [127.0.0.1]}}}}
rules:
  - {rule}
destinations: {{main: {{folder: ./archive}}}}
routes: [{{to: [main]}}]
"""


def listed(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main(["codecs", "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_every_encoder_is_listed_with_its_name_and_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    made = {(row["transfer_syntax"], row["codec"]): row for row in listed(capsys)["makes"]}
    encoders = registry().encoders()
    assert set(made) == {(uid, encoder.name) for uid, named in encoders.items() for encoder in named}
    for uid, named in encoders.items():
        for encoder in named:
            row = made[uid, encoder.name]
            assert set(row["options"]) == encoder.takes
            assert row["libraries"] == encoder.libraries
            assert row["lossy"] is encoder.lossy
            assert row["default"] is (encoder is named[0])
            assert row["package"] == ""


def test_what_is_read_is_what_has_a_decoder_and_what_is_uncompressed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    read = {row["transfer_syntax"]: row["libraries"] for row in listed(capsys)["reads"]}
    decoders = {uid: registry().decoder(uid) for uid in syntaxes.BY_UID}
    for uid, syntax in syntaxes.BY_UID.items():
        decoder = decoders[uid]
        assert (uid in read) is (syntax.native or decoder is not None), syntax
        if decoder is not None:
            assert read[uid] == decoder.libraries


def test_the_packages_are_those_that_encode_and_decode_with_their_versions(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = listed(capsys)
    used = {
        library.partition("/")[0]
        for row in [*found["makes"], *found["reads"]]
        for library in row["libraries"].split(", ")
        if library
    }
    assert found["packages"] == {name: version(name) for name in used}


def test_the_table_names_every_codec_whole_at_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["codecs"]) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    words = shown.replace(",", " ").split()
    for named in registry().encoders().values():
        for encoder in named:
            for word in (encoder.name, *encoder.takes, *encoder.libraries.split(", ")):
                assert not word or word in words


def test_a_rule_that_names_a_listed_codec_with_its_options_loads(
    capsys: pytest.CaptureFixture[str], tmp_path: Any
) -> None:
    values = {
        "jls_error": "2",
        "j2k_cr": "[20, 10]",
        "j2k_psnr": "[60]",
        "jpeg_quality": "90",
        "use_mct": "false",
    }
    for row in listed(capsys)["makes"]:
        if row["codec"] == "native":
            continue
        options = [name for name in row["options"] if name != "j2k_cr"]
        given = {name: values[name] for name in options} | (
            {"lossy": "{max_error: 9}"} if row["lossy"] else {}
        )
        rule = {"name": "x", "transfer_syntax": row["keyword"], "codec": row["codec"], **given}
        path = tmp_path / "venturi.yaml"
        written = "{" + ", ".join(f"{key}: {value}" for key, value in rule.items()) + "}"
        path.write_text(FRAME.format(rule=written))
        made = load(path).rules[0].target
        assert wishes(made).codec == row["codec"]


def test_markdown_without_trying_is_a_mistake_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["codecs", "--markdown"]) == 2
    assert "--try" in capsys.readouterr().err


def test_every_reason_of_the_closed_list_has_its_words() -> None:
    assert set(WORDS) == set(Reason)


def test_every_syntax_is_tried_with_what_it_needs_and_takes() -> None:
    for uid, named in registry().encoders().items():
        encoder = named[0]
        wished = wishes(target_of(uid, tuple(sorted(encoder.takes)), encoder.lossy))
        asked = {name for name in ("jls_error", "j2k_psnr", "jpeg_quality") if getattr(wished.options, name)}
        assert asked <= encoder.takes
        assert bool(asked) is encoder.lossy
        assert (wished.lossy_max_error is not None) is encoder.lossy
