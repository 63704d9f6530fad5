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
        asked = self.call("/modalities/venturi/storage-commitment", {"DicomInstances": references, "Timeout": 60})
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


def test_orthanc_asks_and_is_told_the_truth(tmp_path: Path, corpus: Path, port: int, peer: Orthanc) -> None:
    with running(tmp_path, config(port, peer)) as node:
        ct, mr = (send(node, sample(corpus, name)) for name in ("CT_small.dcm", "MR_small.dcm"))
        node.settle(2)
        said = peer.asks(ct, mr)
        assert said["Status"] == "Success", said
        assert len(said["Success"]) == 2
        assert peer.asks(ct, (ct[0], "1.2.3.4"), ("1.2.840.10008.5.1.4.1.1.1", mr[1])) == {
            **said,
            "Status": "Failure",
            "Success": [{"SOPClassUID": ct[0], "SOPInstanceUID": ct[1]}],
            "Failures": [
                {
                    "SOPClassUID": ct[0],
                    "SOPInstanceUID": "1.2.3.4",
                    "Description": "One or more of the elements in the Referenced SOP Instance Sequence was not available",
                    "FailureReason": 0x0112,
                },
                {
                    "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1",
                    "SOPInstanceUID": mr[1],
                    "Description": "The SOP Class of an element in the Referenced SOP Instance Sequence did not correspond "
                    "to the SOP class registered for this SOP Instance at the SCP",
                    "FailureReason": 0x0119,
                },
            ],
        }


def test_orthanc_is_asked_and_commits_itself(tmp_path: Path, corpus: Path, port: int, peer: Orthanc) -> None:
    text = config(port, peer, "  pacs: {dicom: orthanc, commit: true}", ", pacs")
    with running(tmp_path, text) as node:
        for name in ("CT_small.dcm", "MR_small.dcm"):
            send(node, sample(corpus, name))
        node.settle(2)
        node.until(lambda: [row["state"] for row in node.deliveries() if row["destination"] == "pacs"] == ["committed"] * 2, 60)
