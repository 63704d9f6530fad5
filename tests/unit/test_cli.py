"""The command line as people meet it: help with examples, clear refusals, documented exit codes."""

import time
from pathlib import Path

import pytest

from conformance.test_ledger import decided, instance
from venturi.cli import VERBS, main
from venturi.ledger.database import open_database
from venturi.ledger.sql import SqlLedger

CONFIG = """\
node: {data: ./data}
peers: {pacs: {ae_title: PACS, host: 127.0.0.1, port: 1}, ct: {ae_title: CT, hosts: [127.0.0.1]}}
destinations: {archive: {folder: ./archive}}
routes: [{to: [archive]}]
"""


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "venturi.yaml"
    path.write_text(CONFIG)
    return str(path)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])
    assert ended.value.code == 0
    assert f"  venturi {verb}" in capsys.readouterr().out.partition("examples:")[2]


@pytest.mark.parametrize("words", [["echo", "nobody"], ["send", "nobody", "x.dcm"], ["echo", "ct"]])
def test_a_peer_that_can_not_be_called_is_refused_with_those_that_can(
    words: list[str], config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "-c", config]) == 2
    assert "those with one: pacs" in capsys.readouterr().err


def test_a_peer_that_does_not_answer_is_exit_code_1(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["echo", "pacs", "-c", config]) == 1
    assert "unreachable" in capsys.readouterr().out


def test_a_wrong_configuration_is_exit_code_2_with_its_place(
    config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(config).write_text(CONFIG.replace("to: [archive]", "to: [archiv]"))
    assert main(["check", "-c", config]) == 2
    assert f"{config}:4:16: there is no destination 'archiv'" in capsys.readouterr().err


def test_what_is_no_dicom_file_is_named(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", config, "-c", config]) == 1
    assert main(["explain", config, "-c", config, "--peer", "nobody"]) == 2
    assert "not DICOM" in capsys.readouterr().out


def test_the_ledger_is_made_anew_from_an_empty_spool(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ledger", "rebuild", "-c", config]) == 0
    assert "0 instances" in capsys.readouterr().out


@pytest.mark.parametrize(("days", "said"), [(7, False), (9, True)])
def test_status_says_what_is_kept_longer_than_asked(
    days: int, said: bool, config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Seven days is the default of node.retain.after, and a day more is no matter."""
    database = open_database(f"sqlite:///{tmp_path / 'data' / 'ledger.db'}", migrate=True)
    ledger = SqlLedger(database, lambda: time.time() - days * 86400)
    decided(ledger, instance(1), "archive")
    ledger.close()
    assert main(["status", "-c", config]) == 1, "the node does not run"
    assert ("originals are kept since" in capsys.readouterr().out) == said


@pytest.mark.parametrize(("verb", "more"), [("redecide", []), ("drop", ["--yes"]), ("hold", [])])
def test_what_is_on_its_way_is_said_to_be_left_as_it_is(
    verb: str, more: list[str], config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = SqlLedger(open_database(f"sqlite:///{tmp_path / 'data' / 'ledger.db'}", migrate=True))
    decided(ledger, instance(1), "archive")
    decided(ledger, instance(2), "archive", "pacs")
    ledger.claim_deliveries("archive", "somebody", 1, 60)
    ledger.close()
    assert main(["queue", verb, "--destination", "archive", "-c", config, *more]) == 0
    said = capsys.readouterr().out
    assert said.startswith("2 " if verb == "hold" else "1 ")
    assert ("\n1 are on their way at this moment, and left as they are" in said) == (verb != "hold")
