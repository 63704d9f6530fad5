"""What a person does with the queue of a running node, by the command, and how everything received is accounted for."""

import csv
import hashlib
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from integration.nodes import Node, config_text, running
from integration.peers import dataset_bytes, free_port, run, sample, storescp


def send(node: Node, *paths: Path) -> None:
    sent = run("storescu", "-aec", "VENTURI", "127.0.0.1", str(node.port), *paths)
    assert sent.returncode == 0, sent.stderr


def counts(node: Node) -> dict[tuple[str, str], int]:
    return {(one["destination"], one["state"]): one["count"] for one in node.status()["deliveries"]}


def journal(node: Node) -> list[tuple[str, int]]:
    entries = json.loads(node.command("queue journal", "--json").stdout)
    return [(entry["verb"], entry["changed"]) for entry in entries]


def accounted(node: Node, *options: str) -> dict[str, Any]:
    done = node.command("reconcile", "--json", *options)
    found: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (1 if found["unaccounted"] else 0), done.stderr
    return found


@pytest.fixture
def files(tmp_path: Path, corpus: Path) -> list[Path]:
    return [sample(corpus, name) for name in ("CT_small.dcm", "MR_small.dcm")]


def test_hold_release_drop_and_resend(tmp_path: Path, files: list[Path]) -> None:
    port = free_port()
    text = config_text(
        peers=f"  pacs: {{ae_title: ANY-SCP, host: 127.0.0.1, port: {port}}}",
        destinations="  main-pacs: {dicom: pacs}",
        to=", main-pacs",
    )
    with running(tmp_path, text) as node:
        send(node, *files)
        node.until(lambda: counts(node) == {("archive", "delivered"): 2, ("main-pacs", "pending"): 2}, 60)
        node.until(lambda: "main-pacs takes nothing since" in node.command("queue ls").stdout, 60)
        assert "takes nothing" not in node.command("queue ls", "--destination", "archive").stdout
        some = node.command("queue ls", "--limit", "1")
        assert some.stderr == "not all: more than 1 of pending; --limit shows more\n"
        assert node.command("queue ls", "--limit", "2").stderr == ""
        for action in ("ls", "retry -n", "resend -n"):
            misspelt = node.command(f"queue {action}", "--destination", "main-pcs")
            assert "no destination 'main-pcs' (there is: archive, main-pacs)" in misspelt.stderr
            assert misspelt.returncode == (0 if action == "ls" else 1)
        nobody = node.command("queue resend -n 999")
        assert nobody.stderr == "there is no delivery 999: venturi queue ls --state all\n"
        assert nobody.returncode == 1
        asked = node.command("queue hold", "--destination", "main-pacs", "--dry-run")
        assert asked.stdout == "2 are held (not really: --dry-run)\n"
        assert counts(node)["main-pacs", "pending"] == 2
        assert node.command("queue hold", "--destination", "main-pacs").stdout == "2 are held\n"
        assert counts(node)["main-pacs", "held"] == 2
        with storescp(tmp_path / "peer", "+B", "+xa", port=port):
            assert node.command("queue hold").returncode == 2, "of everything, only a retry is meant"
            study = str(dcmread(files[0]).StudyInstanceUID)
            assert node.command("queue release", "--study", study).stdout == "1 go on\n"
            node.until(lambda: counts(node).get(("main-pacs", "delivered")) == 1, 60)
            refused = node.command("queue drop", "--destination", "main-pacs")
            assert (refused.returncode, refused.stderr) == (2, "1 would be given up, for good: add --yes\n")
            dropped = node.command("queue drop", "--destination", "main-pacs", "--yes")
            assert dropped.stdout == "1 are given up\n"
            done = {("archive", "delivered"): 2, ("main-pacs", "delivered"): 1, ("main-pacs", "dropped"): 1}
            assert counts(node) == done
            assert "dropped" in node.command("queue ls", "--state", "dropped", "--json").stdout
            resent = node.command("queue resend", "--destination", "main-pacs", "--newer", "1h")
            assert resent.stdout == "1 deliveries will be sent again\n"
            (given_up,) = [row for row in node.deliveries() if row["state"] == "dropped"]
            none = node.command("queue resend -n", "--state", "dropped")
            assert (none.returncode, none.stdout[:2]) == (1, "0 ")
            assert none.stderr.startswith("none of these can be sent again: their bytes have been removed")
            assert (
                node.command(f"queue resend {given_up['id']}").stdout == "1 deliveries will be sent again\n"
            )
            node.until(lambda: counts(node).get(("main-pacs", "delivered")) == 2, 60)
            assert node.command("queue resend", "--older", "1h").stdout.startswith("0 ")
        assert {dataset_bytes(path) for path in (tmp_path / "peer").iterdir()} == {
            dataset_bytes(path) for path in (tmp_path / "archive").rglob("*.dcm")
        }
        assert journal(node) == [
            ("resend", 0),
            ("resend", 1),
            ("resend", 1),
            ("drop", 1),
            ("release", 1),
            ("hold", 2),
        ]
        assert "main-pacs" in node.command("queue journal").stdout
        found = accounted(node)
        assert found["unaccounted"] == 0
        assert sum(study["received"] for study in found["studies"]) == 2


def test_after_a_change_of_rules_what_waits_is_decided_anew(tmp_path: Path, files: list[Path]) -> None:
    text = config_text(
        rules="  - {name: all, transfer_syntax: as-received}\n",
        peers=f"  pacs: {{ae_title: ANY-SCP, host: 127.0.0.1, port: {free_port()}}}",
        destinations="  main-pacs: {dicom: pacs}",
        to=", main-pacs",
    )
    with running(tmp_path, text) as node:
        send(node, files[0])
        node.until(lambda: counts(node) == {("archive", "delivered"): 1, ("main-pacs", "pending"): 1}, 60)
    node.config.write_text(text.replace("as-received", "RLELossless"))
    node.start()
    try:
        wanted = ("--destination", "main-pacs")
        for verb in ("queue redecide", "queue retry --redecide"):
            dry = node.command(verb, *wanted, "--dry-run").stdout
            assert dry == "1 are decided anew (not really: --dry-run)\n"
        assert node.command("queue retry --redecide", *wanted).stdout == "1 are decided anew\n"

        def rows() -> dict[str, dict[str, Any]]:
            said = json.loads(node.command("queue ls", "--state", "all", "--json").stdout)
            return {row["destination"]: row for row in said["deliveries"]}

        node.until(lambda: rows()["main-pacs"]["transfer_syntax"] == "1.2.840.10008.1.2.5", 60)
        assert rows()["main-pacs"]["state"] == "pending"
        assert rows()["archive"]["state"] == "delivered"
    finally:
        assert node.stop() == 0


def test_export_copies_what_was_received_or_made_of_it(tmp_path: Path, files: list[Path]) -> None:
    with running(tmp_path, config_text(rules="  - {name: all, transfer_syntax: RLELossless}\n")) as node:
        send(node, *files)
        node.until(lambda: counts(node) == {("archive", "delivered"): 2}, 60)
        exported = node.command("queue export", str(tmp_path / "out"), "--destination", "archive")
        assert exported.stdout.endswith(f"2 of 2 copied to {tmp_path / 'out'}\n"), exported.stdout
        made = sorted((tmp_path / "out").rglob("*.dcm"))
        assert [path.read_bytes() for path in made] == [
            path.read_bytes() for path in sorted((tmp_path / "archive").rglob("*.dcm"))
        ]
        study = str(dcmread(files[1]).StudyInstanceUID)
        node.command("queue export", str(tmp_path / "raw"), "--study", study, "--original")
        (original,) = (tmp_path / "raw").rglob("*.dcm")
        assert dcmread(original).file_meta.TransferSyntaxUID == dcmread(files[1]).file_meta.TransferSyntaxUID
        spooled = (tmp_path / "data" / "spool" / "receivers").rglob("*.dcm")
        assert hashlib.sha256(dataset_bytes(original)).hexdigest() in {
            path.name.split("-")[1] for path in spooled
        }


def test_everything_received_is_accounted_for(tmp_path: Path, files: list[Path]) -> None:
    text = config_text().replace("  - to: [archive]", "  - {when: {Modality: CT}, to: [archive]}")
    with running(tmp_path, text) as node:
        send(node, *files, files[0])
        node.until(lambda: counts(node) == {("archive", "delivered"): 2}, 60)
        node.until(lambda: node.status()["instances"].get("held") == 1, 60)
        found = accounted(node)
        by_received = {study["received"]: study for study in found["studies"]}
        assert by_received[2]["deliveries"] == [{"destination": "archive", "state": "delivered", "count": 2}]
        assert by_received[1]["held"] == 1
        table = node.command("reconcile").stdout
        assert "archive: 2 delivered" in table
        assert "nothing is unaccounted for" in table
        rows = list(csv.DictReader(io.StringIO(node.command("reconcile", "--csv").stdout)))
        assert {(row["received"], row["destination"], row["deliveries"]) for row in rows} == {
            ("2", "archive", "2"),
            ("1", "", "0"),
        }
    originals = sorted((tmp_path / "data" / "spool" / "receivers").rglob("*.dcm"))
    lost, stray = originals[0], originals[1]
    name = stray.name.replace(stray.name[:32], "0" * 31 + "1")
    shutil.copy(stray, stray.with_name(name))
    lost.unlink()
    found = accounted(node)
    assert (found["missing"], found["unrecorded"]) == ([lost.name[:32]], ["0" * 31 + "1"])
    said = node.command("reconcile").stderr
    assert f"unaccounted for: {lost.name[:32]}: in the ledger, but its bytes are not in the spool" in said
