"""The whole node, by the real command, with real peers: what is acknowledged is kept, decided, proven and delivered."""

import hashlib
import json
import os
import signal
import subprocess
import threading
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pydicom.data
import pytest
from pydicom.filereader import read_partial
from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage, Verification

from integration.nodes import GREY_JPEG_LS, Node, config_text, running, venturi
from integration.peers import dataset_bytes, need, orthanc, storescp
from integration.peers import run as run_peer

REASONS_OF_NO_IMAGE = {"no-pixel-data", "float-pixel-data"}


def dataset_hash(path: Path) -> str:
    """The SHA-256 of a Part 10 file's dataset."""
    return hashlib.sha256(dataset_bytes(path)).hexdigest()


def has_sop_class(path: Path) -> bool:
    """Whether it is a Part 10 file of a composite instance."""
    try:
        meta = pydicom.filereader.read_file_meta_info(path)
        with path.open("rb") as file:
            read_partial(file, stop_when=lambda tag, *_: tag >= 0x00080020)
    except (pydicom.errors.InvalidDicomError, OSError, AttributeError, EOFError):
        return False
    return (
        "MediaStorageSOPInstanceUID" in meta
        and str(meta.get("MediaStorageSOPClassUID")) != "1.2.840.10008.1.3.10"
    )


class Sender:
    """A modality that goes on until it is stopped: it notes what was acknowledged, and connects again when cut off."""

    def __init__(self, port: int, template: Path, number: int) -> None:
        self.acknowledged: list[str] = []
        self._port = port
        self._template = pydicom.dcmread(template)
        self._number = number
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        ae = AE(f"SENDER{self._number}")
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 5
        ae.add_requested_context(CTImageStorage, "1.2.840.10008.1.2.1")
        count = 0
        while not self._stop.is_set():
            association = ae.associate("127.0.0.1", self._port, ae_title="VENTURI")
            while association.is_established and not self._stop.is_set():
                count += 1
                uid = f"1.2.826.0.1.3680043.8.498.{self._number}.{count}"
                self._template.SOPInstanceUID = uid
                self._template.file_meta.MediaStorageSOPInstanceUID = uid
                status = association.send_c_store(self._template)
                if status and status.Status == 0:
                    self.acknowledged.append(uid)
            if association.is_established:
                association.release()
            else:
                time.sleep(0.05)

    def stop(self) -> list[str]:
        """Stop; the SOP Instance UIDs that were answered with 0000."""
        self._stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive()
        return self.acknowledged


def archived(node: Node) -> Counter[str]:
    """How many files of each SOP instance the archive holds."""
    return Counter(
        str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID)
        for path in node.folder.glob("archive/**/*.dcm")
    )


def all_arrive(node: Node, acknowledged: list[str]) -> None:
    """Wait until the archive holds each of these SOP instances.

    What was durable and not yet acknowledged when its receiver died is there as well, and things are decided in no
    order: a number of instances says nothing about which.
    """
    until = time.monotonic() + 120
    while missing := set(acknowledged) - set(archived(node)):
        assert time.monotonic() < until, f"{missing} of {len(acknowledged)} are missing: {node.status()}"
        time.sleep(0.3)


def test_the_default_configuration_runs_as_it_stands(root: Path) -> None:
    checked = venturi("check", "-c", root / "config" / "venturi.yaml")
    assert checked.returncode == 0, checked.stderr


def test_every_file_of_the_corpus_that_is_sent_is_accounted_for(tmp_path: Path, corpus: Path) -> None:
    need("dcmsend")
    sent = [path for path in sorted(corpus.rglob("*")) if path.is_file() and has_sop_class(path)]
    lists = [sent[0::3], sent[1::3], sent[2::3]]
    with running(tmp_path) as node:
        dcmsend = ["dcmsend", "-v", "-dn", "--no-halt", "+ma", "-aec", "VENTURI", "127.0.0.1", str(node.port)]
        peers = [
            subprocess.Popen(
                [*dcmsend, *map(str, some)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            for some in lists
            if some
        ]
        said = [peer.communicate(timeout=300)[0] for peer in peers]
        accepted = sum(text.count("Received C-STORE Response (Success)") for text in said)
        refused = [line for text in said for line in text.splitlines() if line.startswith(("E:", "W:"))]
        status = node.settle(accepted)
        deliveries = node.deliveries()
        assert accepted > len(sent) * 0.9, refused
        assert sum(status["instances"].values()) == accepted
        assert len(deliveries) == accepted
        assert {row["state"] for row in deliveries} == {"delivered"}
        assert status["held"] == 0
        assert sum(not row["reason"] for row in deliveries) > 10
        for row in deliveries:
            where = node.folder / "archive" / row["detail"].split(" (")[0]
            assert where.is_file(), row
            if row["reason"]:
                assert row["transfer_syntax"] == row["source_syntax"]
            else:
                assert row["proof"] == "pixels"
            if row["proof"] == "pixels":
                assert same_pixels(spooled(node, row["instance_id"]), where), row


def spooled(node: Node, instance_id: str) -> Path:
    """The spool's file of an instance."""
    return next((node.folder / "data" / "spool" / "receivers").glob(f"*/*/{instance_id}-*.dcm"))


def same_pixels(one: Path, other: Path) -> bool:
    """Whether pydicom decodes both to the same samples; what is above Bits Stored it clears in codestreams alone."""
    pixels = [pydicom.pixels.pixel_array(str(path), raw=True) for path in (one, other)]
    dataset = pydicom.dcmread(one, stop_before_pixels=True)
    unused = dataset.BitsAllocated - dataset.BitsStored
    return pixels[0].dtype == pixels[1].dtype and np.array_equal(*(array << unused for array in pixels))


def test_the_spool_keeps_the_very_bytes_that_were_sent(tmp_path: Path, corpus: Path) -> None:
    with running(tmp_path) as node:
        text = config_text(peers=f"  itself: {{ae_title: VENTURI, host: 127.0.0.1, port: {node.port}}}")
        (tmp_path / "sender.yaml").write_text(text)
        sent = venturi("send", "itself", corpus, "-c", tmp_path / "sender.yaml", timeout_s=300)
        taken = [line for line in sent.stdout.splitlines() if line.startswith("taken")]
        assert len(taken) > 50, sent.stdout
        node.settle(len(taken))
        before = Counter(dataset_hash(Path(line.split()[1])) for line in taken)
        kept = (node.folder / "data" / "spool" / "receivers").glob("*/*/*.dcm")
        assert Counter(map(dataset_hash, kept)) == before
        as_received = [row for row in node.deliveries() if row["reason"]]
        assert as_received
        for row in as_received:
            where = node.folder / "archive" / row["detail"].split(" (")[0]
            assert dataset_hash(where) == dataset_hash(spooled(node, row["instance_id"]))


@pytest.mark.parametrize("victim", ["receive", "transcode", "deliver", "workers", "supervisor", "everything"])
def test_nothing_acknowledged_is_missing_after_kill_9(tmp_path: Path, victim: str) -> None:
    template = Path(str(pydicom.data.get_testdata_file("CT_small.dcm")))
    with running(tmp_path) as node:
        port = node.port
        node.config.write_text(node.config.read_text().replace("127.0.0.1:0", f"127.0.0.1:{port}"))
        senders = [Sender(port, template, number) for number in range(1, 4)]
        for _ in range(4):
            time.sleep(1.0)
            kill(node, victim)
        time.sleep(1.0)
        acknowledged = [uid for sender in senders for uid in sender.stop()]
        assert len(acknowledged) > 20
        assert len(set(acknowledged)) == len(acknowledged)
        all_arrive(node, acknowledged)


def kill(node: Node, victim: str) -> None:
    """``kill -9`` of what the test names."""
    roles = node.state["roles"]
    match victim:
        case "receive":
            node.kill_role("receive-0")
            node.kill_role("receive-1")
        case "workers":
            children = subprocess.run(
                ["pgrep", "-P", str(roles["transcode"])], capture_output=True, text=True, check=False
            )
            for pid in children.stdout.split():
                os.kill(int(pid), signal.SIGKILL)
        case "supervisor":
            node.process.kill()
            node.process.wait()
            # The roles see that their parent is gone and free the port.
            node.until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in roles.values()), 60)
            node.start()
        case "everything":
            node.process.kill()
            node.process.wait()
            for name in roles:
                node.kill_role(name)
            node.start()
        case _:
            node.kill_role(victim)


def test_sigterm_finishes_and_a_second_start_goes_on(tmp_path: Path) -> None:
    template = Path(str(pydicom.data.get_testdata_file("CT_small.dcm")))
    with running(tmp_path) as node:
        sender = Sender(node.port, template, 1)
        time.sleep(1.5)
        assert node.stop() == 0
        acknowledged = sender.stop()
        assert acknowledged
        node.start()
        all_arrive(node, acknowledged)
        assert not any(line.get("how", "").startswith("killed") for line in node.said())


def test_sighup_applies_a_good_configuration_and_refuses_a_bad_one_whole(tmp_path: Path) -> None:
    ct = Path(str(pydicom.data.get_testdata_file("CT_small.dcm")))
    with running(tmp_path) as node:
        before = node.state["roles"]
        good = node.config.read_text()
        node.config.write_text(good.replace("JPEGLSLossless", "JPEGLSLosless"))
        node.process.send_signal(signal.SIGHUP)
        node.until(lambda: any(line["event"].startswith("reload refused") for line in node.said()), 15)
        assert node.state["roles"] == before
        problem = next(line for line in node.said() if line["event"].startswith("reload refused"))
        assert f"{node.config}:" in problem["problems"][0]
        node.config.write_text(good.replace("JPEGLSLossless", "RLELossless"))
        node.process.send_signal(signal.SIGHUP)
        node.until(lambda: set(node.state["roles"].values()).isdisjoint(before.values()), 30)
        send_one(node, ct)
        node.settle(1)
        assert node.deliveries()[0]["transfer_syntax"] == "1.2.840.10008.1.2.5"


def send_one(node: Node, path: Path, ae_title: str = "VENTURI") -> int:
    """C-STORE one file; the status."""
    ae = AE("TESTER")
    dataset = pydicom.dcmread(path)
    ae.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
    association = ae.associate("127.0.0.1", node.port, ae_title=ae_title)
    assert association.is_established
    try:
        return int(association.send_c_store(dataset).Status)
    finally:
        association.release()


def test_roles_are_of_one_session_where_nice_counts_and_each_has_a_group_that_no_ctrl_c_reaches(
    tmp_path: Path,
) -> None:
    with running(tmp_path) as node:
        roles = node.state["roles"]
        assert {os.getsid(pid) for pid in roles.values()} == {os.getsid(node.process.pid)}
        assert all(os.getpgid(pid) == pid for pid in roles.values())
        nice = {name.split("-")[0]: os.getpriority(os.PRIO_PROCESS, pid) for name, pid in roles.items()}
        assert nice["transcode"] == nice["deliver"] == nice["receive"] + 10


def test_a_stranger_is_refused(tmp_path: Path) -> None:
    text = config_text().replace(
        'any: {ae_title: "*", hosts: [127.0.0.1]}', "ct: {ae_title: CT1, hosts: [127.0.0.1]}"
    )
    with running(tmp_path, text) as node:
        for calling, called, diagnostic in (("CT2", "VENTURI", 3), ("CT1", "NOBODY", 7)):
            ae = AE(calling)
            ae.add_requested_context(Verification)
            association = ae.associate("127.0.0.1", node.port, ae_title=called)
            assert association.is_rejected
            assert association.acceptor.primitive.diagnostic == diagnostic


def test_what_no_route_wants_is_held_and_decided_anew_on_retry(tmp_path: Path) -> None:
    ct = Path(str(pydicom.data.get_testdata_file("CT_small.dcm")))
    text = config_text().replace("  - to: [archive]", "  - when: {Modality: MR}\n    to: [archive]")
    with running(tmp_path, text) as node:
        assert send_one(node, ct) == 0
        node.settle(1)
        held = json.loads(node.command("queue ls", "--json").stdout)["held_instances"]
        assert [row["held"] for row in held] == ["no-route"]
        node.config.write_text(text.replace("Modality: MR", "Modality: CT"))
        node.process.send_signal(signal.SIGHUP)
        node.until(lambda: any(line["event"] == "reloading" for line in node.said()), 15)
        time.sleep(2)
        assert node.command("queue retry").returncode == 0
        node.until(lambda: node.status()["held"] == 0 and node.deliveries(), 30)
        node.settle(1)
        assert [row["state"] for row in node.deliveries()] == ["delivered"]


def test_resend_delivers_again_and_show_lists_the_attempts(tmp_path: Path) -> None:
    ct = Path(str(pydicom.data.get_testdata_file("CT_small.dcm")))
    with running(tmp_path) as node:
        assert send_one(node, ct) == 0
        node.settle(1)
        row = node.deliveries()[0]
        archive_file = next(node.folder.glob("archive/**/*.dcm"))
        archive_file.unlink()
        assert node.command("queue resend", str(row["id"])).returncode == 0
        node.until(archive_file.is_file, 30)
        node.settle(1)
        shown = json.loads(node.command("queue show", str(row["id"]), "--json").stdout)
        assert [attempt["state"] for attempt in shown["attempts"]] == ["delivered", "delivered"]
        assert node.command("queue show", "99").returncode == 1


def test_status_says_whether_it_runs(tmp_path: Path) -> None:
    with running(tmp_path) as node:
        assert node.command("status").returncode == 0
        assert "running on 127.0.0.1" in node.command("status").stdout
    assert node.command("status").returncode == 1


def test_explain_says_the_rule_and_what_the_image_becomes(tmp_path: Path) -> None:
    config = tmp_path / "venturi.yaml"
    config.write_text(config_text())
    ct = str(pydicom.data.get_testdata_file("CT_small.dcm"))
    text = venturi("explain", ct, "-c", config)
    assert text.returncode == 0, text.stderr
    assert "rule 'colour' does not match" in text.stdout
    assert "rule 'all else' wins" in text.stdout
    assert "every pixel proven equal" in text.stdout
    told = json.loads(venturi("explain", ct, "-c", config, "--json").stdout)[0]
    outcome = told["destinations"][0]["outcome"]
    assert outcome["transfer_syntax"] == "1.2.840.10008.1.2.4.80"
    assert outcome["pixel_bytes_after"] < outcome["pixel_bytes_before"]


def test_demo_accounts_for_every_sample(tmp_path: Path) -> None:
    shown = venturi("demo", "--keep", tmp_path / "demo", "--json")
    assert shown.returncode == 0, shown.stderr
    rows = json.loads(shown.stdout)
    assert {row["state"] for row in rows} == {"delivered"}
    assert any(row["proof"] == "pixels" for row in rows)
    assert {row["destination"] for row in rows} == {"archive", "viewer"}
    for row in rows:
        assert list((tmp_path / "demo" / row["destination"]).rglob("*.dcm"))


def last_attempt(node: Node, delivery: int) -> dict[str, Any]:
    """``venturi queue show``: the last attempt of a delivery."""
    attempts: list[dict[str, Any]] = json.loads(node.command("queue show", str(delivery), "--json").stdout)[
        "attempts"
    ]
    return attempts[-1]


def test_it_forwards_to_dcmtk_and_orthanc_each_in_what_it_takes(tmp_path: Path, corpus: Path) -> None:
    ct = Path(str(pydicom.data.get_testdata_file("CT_small.dcm")))
    node_folder = tmp_path / "node"
    node_folder.mkdir()
    with (
        storescp(tmp_path / "any", "+xa", "+B") as any_port,
        storescp(tmp_path / "plain", "+xe", "+B") as plain_port,
        orthanc(tmp_path / "orthanc") as (orthanc_port, http_port),
    ):
        text = config_text(
            peers=f"""\
  any-syntax: {{ae_title: ANY, host: 127.0.0.1, port: {any_port}}}
  plain: {{ae_title: PLAIN, host: 127.0.0.1, port: {plain_port}}}
  orthanc: {{ae_title: ORTHANC, host: 127.0.0.1, port: {orthanc_port}}}
""",
            destinations="""\
  to-any: {dicom: any-syntax}
  to-plain: {dicom: plain}
  to-orthanc: {dicom: orthanc}
""",
            to=", to-any, to-plain, to-orthanc",
        ).replace('any: {ae_title: "*", hosts: [127.0.0.1]}', 'sender: {ae_title: "*", hosts: [127.0.0.1]}')
        with running(node_folder, text) as node:
            assert "C-ECHO answered 0000" in node.command("echo", "orthanc").stdout
            assert send_one(node, ct) == 0
            node.settle(1)
            rows = {row["destination"]: row for row in node.deliveries()}
            assert {row["state"] for row in rows.values()} == {"delivered"}
            assert {row["status"] for name, row in rows.items() if name != "archive"} == {"0000"}
            sent_original = {
                name: last_attempt(node, row["id"])["sent_original"] for name, row in rows.items()
            }
            assert sent_original == {"archive": False, "to-any": False, "to-plain": True, "to-orthanc": False}
            compressed, plain = next((tmp_path / "any").iterdir()), next((tmp_path / "plain").iterdir())
            assert dataset_hash(plain) == dataset_hash(spooled(node, rows["archive"]["instance_id"]))
            assert same_pixels(ct, compressed)
            assert dataset_hash(compressed) == dataset_hash(next(node.folder.glob("archive/**/*.dcm")))
            with urllib.request.urlopen(f"http://127.0.0.1:{http_port}/instances") as answer:
                (stored,) = json.load(answer)
            with urllib.request.urlopen(f"http://127.0.0.1:{http_port}/instances/{stored}/file") as answer:
                (tmp_path / "back.dcm").write_bytes(answer.read())
            assert same_pixels(ct, tmp_path / "back.dcm")


def test_dcmtk_reads_what_the_archive_holds(tmp_path: Path) -> None:
    ct = Path(str(pydicom.data.get_testdata_file("CT_small.dcm")))
    with running(tmp_path) as node:
        assert send_one(node, ct) == 0
        node.settle(1)
        archive_file = next(node.folder.glob("archive/**/*.dcm"))
        assert "=JPEGLSLossless" in run_peer("dcmdump", archive_file).stdout
        assert run_peer("dcmdjpls", archive_file, tmp_path / "back.dcm").returncode == 0
        assert pydicom.dcmread(tmp_path / "back.dcm").PixelData == pydicom.dcmread(ct).PixelData


def test_many_modalities_at_once_are_all_served(tmp_path: Path) -> None:
    template = Path(str(pydicom.data.get_testdata_file("CT_small.dcm")))
    with running(tmp_path, config_text(GREY_JPEG_LS)) as node:
        senders = [Sender(node.port, template, number) for number in range(1, 13)]
        time.sleep(4)
        acknowledged = [sender.stop() for sender in senders]
        assert all(acknowledged)
        total = sum(map(len, acknowledged))
        status = node.settle(total)
        assert status["held"] == 0
        assert sum(archived(node).values()) >= total
