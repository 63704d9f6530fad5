"""Storage commitment with Orthanc: it asks us, and we ask it (PS3.4 J)."""

import json
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from integration.nodes import Node, config_text, running
from integration.peers import free_port, orthanc, run, sample


class Orthanc:
    """One that knows a node as a modality."""

    def __init__(self, dicom: int, http: int) -> None:
        self.dicom, self._http = dicom, http

    def call(self, path: str, body: object = None, method: str = "") -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self._http}{path}", data, method=method or None)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or b"null")

    def asks(self, *references: tuple[str, str]) -> dict[str, Any]:
        """Ask the node for storage commitment, and wait for what it says."""
        asked = self.call(
            "/modalities/venturi/storage-commitment", {"DicomInstances": references, "Timeout": 60}
        )
        until = time.monotonic() + 90
        while (said := self.call(asked["Path"]))["Status"] == "Pending":
            assert time.monotonic() < until, said
            time.sleep(0.2)
        assert isinstance(said, dict)
        return said


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def peer(tmp_path: Path, port: int) -> Iterator[Orthanc]:
    modalities = {"venturi": {"AET": "VENTURI", "Host": "127.0.0.1", "Port": port}}
    with orthanc(tmp_path / "orthanc", DicomModalities=modalities) as (dicom, http):
        yield Orthanc(dicom, http)


def config(port: int, peer: Orthanc, destinations: str = "", to: str = "", rules: str = "") -> str:
    text = config_text(
        peers=f"  orthanc: {{ae_title: ORTHANC, host: 127.0.0.1, port: {peer.dicom}}}",
        destinations=destinations,
        to=to,
        **({"rules": rules} if rules else {}),
    )
    return text.replace("listen: 127.0.0.1:0", f"listen: 127.0.0.1:{port}")


def send(node: Node, path: Path) -> tuple[str, str]:
    """Send a file to a node: its SOP class and instance."""
    assert run("storescu", "-xs", "-R", "-aec", "VENTURI", "127.0.0.1", str(node.port), path).returncode == 0
    ds = dcmread(path, stop_before_pixels=True)
    return str(ds.SOPClassUID), str(ds.SOPInstanceUID)


def requests(node: Node) -> list[dict[str, Any]]:
    """What ``venturi commitment`` says, newest first."""
    said: list[dict[str, Any]] = json.loads(node.command("commitment", "--json").stdout)
    return said


def reasons(said: dict[str, Any]) -> dict[str, int]:
    """What was refused, and why."""
    return {each["SOPInstanceUID"]: each["FailureReason"] for each in said["Failures"]}


def test_orthanc_asks_and_is_told_the_truth(tmp_path: Path, corpus: Path, port: int, peer: Orthanc) -> None:
    with running(tmp_path, config(port, peer)) as node:
        ct, mr = (send(node, sample(corpus, name)) for name in ("CT_small.dcm", "MR_small.dcm"))
        node.settle(2)
        said = peer.asks(ct, mr)
        assert (said["Status"], len(said["Success"])) == ("Success", 2)
        unknown, other_class = (ct[0], "1.2.3.4"), ("1.2.840.10008.5.1.4.1.1.1", mr[1])
        said = peer.asks(ct, unknown, other_class)
        assert said["Status"] == "Failure"
        assert [each["SOPInstanceUID"] for each in said["Success"]] == [ct[1]]
        assert reasons(said) == {unknown[1]: 0x0112, other_class[1]: 0x0119}

        ((path,),) = [list((tmp_path / "archive").rglob(f"*{mr[1]}.dcm"))]
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        assert reasons(peer.asks(ct, mr)) == {mr[1]: 0x0110}
        path.write_bytes(whole)
        assert peer.asks(mr)["Status"] == "Success"
        path.unlink()
        assert reasons(peer.asks(ct, mr)) == {mr[1]: 0x0110}
        node.until(lambda: all(one["state"] == "reported" for one in requests(node)), 20)
        assert {(one["peer"], one["calling_ae"]) for one in requests(node)} == {("orthanc", "ORTHANC")}
        last = requests(node)[0]
        assert {each["sop_instance_uid"]: each["reason"] for each in last["references"]} == {
            ct[1]: "0000",
            mr[1]: "0110",
        }
        shown = node.command("commitment", str(last["id"])).stdout
        assert "committed" in shown
        assert "0110 processing failure" in shown


def test_orthanc_is_asked_and_commits_itself(tmp_path: Path, corpus: Path, port: int, peer: Orthanc) -> None:
    """What it has lost by then it gets again. It is told when it asks, too: by then the next node has committed."""
    text = config(port, peer, "  pacs: {dicom: orthanc, commit: true}", ", pacs")
    with running(tmp_path, text) as node:

        def states() -> list[str]:
            return [row["state"] for row in node.deliveries() if row["destination"] == "pacs"]

        lost = send(node, sample(corpus, "CT_small.dcm"))
        node.until(lambda: states() == ["delivered"], 60)
        for instance in peer.call("/instances"):
            peer.call(f"/instances/{instance}", method="DELETE")
        node.until(lambda: "commit-0112" in {row["status"] for row in node.deliveries()}, 60)
        assert node.command("queue retry").returncode == 0  # rather than wait
        other = send(node, sample(corpus, "MR_small.dcm"))
        node.until(lambda: states() == ["committed"] * 2, 60)
        assert len(peer.call("/instances")) == 2
        assert peer.asks(lost, other)["Status"] == "Success"
        said = node.command("queue show 2").stdout
        assert "commit-0112" in said or "commit-0112" in node.command("queue show 1").stdout


def test_what_only_a_lossy_copy_is_kept_of_is_not_promised(
    tmp_path: Path, corpus: Path, port: int, peer: Orthanc
) -> None:
    rules = """\
  - name: small
    when: {Modality: MR}
    transfer_syntax: JPEG2000
    j2k_cr: [10]
    lossy: {max_error: 1000, beyond: hold, uid: new}
  - name: rest
    transfer_syntax: as-received
"""
    with running(tmp_path, config(port, peer, rules=rules)) as node:
        ct, mr = (send(node, sample(corpus, name)) for name in ("CT_small.dcm", "MR_small.dcm"))
        node.settle(2)
        assert {row["sop_instance_uid"]: row["lossy"] is not None for row in node.deliveries()} == {
            ct[1]: False,
            mr[1]: True,
        }
        assert reasons(peer.asks(ct, mr)) == {mr[1]: 0x0110}
