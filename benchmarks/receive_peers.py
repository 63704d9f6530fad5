"""The receivers that receive.py compares, each as a running program: Venturi, DCMTK, Orthanc and pynetdicom."""

import contextlib
import json
import shutil
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ingest_peers import answers, free_port, orthanc_program, process, started

PRELOAD = "/usr/lib/x86_64-linux-gnu/libeatmydata.so"

CONFIG = """\
node:
  listen: 127.0.0.1:{port}
  data: ./data
  limits: {{min_free: 1%}}
console: off
peers: {{any: {{ae_title: "*", hosts: [127.0.0.1]}}}}
rules: [{{name: all, transfer_syntax: as-received}}]
destinations: {{archive: {{folder: ./archive}}}}
routes: [{{to: [archive]}}]
"""


DURABLE, UNSYNCED = "Venturi, durable", "Venturi, without syncs"
DCMTK, ORTHANC, PYNETDICOM = "DCMTK storescp +B", "Orthanc", "pynetdicom storescp"


@dataclass(frozen=True)
class Receiver:
    """One that runs."""

    pid: int
    port: int
    called: str
    stored: Callable[[], int]


def _files(folder: Path, pattern: str = "*") -> int:
    return sum(1 for path in folder.rglob(pattern) if path.is_file())


@contextlib.contextmanager
def venturi(folder: Path, *, syncs: bool) -> Iterator[Receiver]:
    port = free_port()
    (folder / "venturi.yaml").write_text(CONFIG.format(port=port))
    command = [
        sys.executable,
        "-m",
        "venturi",
        "run",
        "--only",
        "receive",
        "-c",
        str(folder / "venturi.yaml"),
    ]
    if not syncs:
        command = ["env", f"LD_PRELOAD={PRELOAD}", *command]
    state = folder / "data" / "run" / "node.json"
    with process(command, folder / "log") as running:
        started(state.exists, running, folder / "log")
        spool = folder / "data" / "spool" / "receivers"
        yield Receiver(running.pid, port, "VENTURI", lambda: _files(spool, "*.dcm"))


@contextlib.contextmanager
def storescp(folder: Path, *command: str) -> Iterator[Receiver]:
    port, out = free_port(), folder / "out"
    out.mkdir()
    words = [word.format(port=port, out=out) for word in command]
    with process(words, folder / "log") as running:
        started(lambda: answers(port), running, folder / "log")
        yield Receiver(running.pid, port, "ANY", lambda: _files(out))


@contextlib.contextmanager
def orthanc(folder: Path) -> Iterator[Receiver]:
    port, http = free_port(), free_port()
    settings = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "DicomPort": port,
        "HttpPort": http,
        "DicomAet": "ORTHANC",
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowStore": True,
        "MaximumPduLength": 131072,
        "Plugins": [],
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    program = orthanc_program()
    assert program is not None

    def stored() -> int:
        with urllib.request.urlopen(f"http://127.0.0.1:{http}/statistics", timeout=60) as answer:
            return int(json.load(answer)["CountInstances"])

    with process([program, str(folder / "orthanc.json")], folder / "log") as running:
        started(lambda: answers(http) and answers(port), running, folder / "log")
        yield Receiver(running.pid, port, "ORTHANC", stored)


STORESCP = ("storescp", "+B", "+xa", "--fork", "-pdu", "131072", "-od", "{out}", "{port}")
# It prefers implicit VR where it has the choice (-xe: it does not).
PYTHON = (sys.executable, "-m", "pynetdicom", "storescp", "{port}", "-od", "{out}", "-q", "-xe")
CONTENDERS: dict[str, Callable[[Path], contextlib.AbstractContextManager[Receiver]]] = {
    DURABLE: lambda folder: venturi(folder, syncs=True),
    UNSYNCED: lambda folder: venturi(folder, syncs=False),
    DCMTK: lambda folder: storescp(folder, *STORESCP),
    ORTHANC: orthanc,
    PYNETDICOM: lambda folder: storescp(folder, *PYTHON),
}


def missing(name: str) -> str:
    """What a contender needs that is not here, or nothing."""
    if name == UNSYNCED and not Path(PRELOAD).exists():
        return "libeatmydata is not installed (Debian: apt-get install libeatmydata1)"
    if name == ORTHANC and orthanc_program() is None:
        return "Orthanc is not installed (Debian: apt-get install orthanc)"
    return "" if name != DCMTK or shutil.which("storescp") else "DCMTK is not installed"
