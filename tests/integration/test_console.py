"""The status page and the metrics, over HTTP from a running node."""

import urllib.error
import urllib.request
from pathlib import Path

import pydicom.data

from integration.nodes import config_text, running
from integration.peers import free_port
from integration.test_node import send_one


def get(port: int, path: str) -> str:
    """A page of the console."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return str(answer.read().decode())


def reachable(port: int) -> bool:
    """Whether the console is healthy."""
    try:
        return get(port, "/healthz") == "ok\n"
    except urllib.error.URLError:
        return False


def test_the_console_shows_what_came_and_names_nobody(tmp_path: Path) -> None:
    ct = Path(str(pydicom.data.get_testdata_file("CT_small.dcm")))
    dataset = pydicom.dcmread(ct)
    port = free_port()
    text = config_text().replace("console: off", f"console: {{listen: 127.0.0.1:{port}}}")
    with running(tmp_path, text) as node:
        assert send_one(node, ct) == 0
        node.settle(1)
        node.until(lambda: reachable(port), 30)
        page, metrics = get(port, "/"), get(port, "/metrics")
        assert "transcoded and proven" in page
        assert 'venturi_deliveries{destination="archive",state="delivered"} 1.0' in metrics
        assert 'venturi_renditions{proof="pixels",reason="",syntax="JPEGLSLossless"} 1.0' in metrics
        for shown in (page, metrics, node.log.read_text()):
            assert str(dataset.PatientID) not in shown
            assert str(dataset.PatientName) not in shown
