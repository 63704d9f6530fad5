"""The two receivers that are compared, each as a running program that the benchmark can send to, count and read.

Venturi    ``venturi run`` with one rule and one folder; everything as durable as it always is
Orthanc    Debian's, with IngestTranscoding; SyncStorageArea on (its default), its SQLite with synchronous=NORMAL (it
           has no setting for that), PDUs as long as it takes. It compresses JPEG-LS by itself (DCMTK), and JPEG 2000
           with the plugin orthanc-gdcm, which is loaded for that only: it crashes on JPEG-LS.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancGdcm.so")
SYNTAXES = {
    "JPEGLSLossless": "1.2.840.10008.1.2.4.80",
    "JPEG2000Lossless": "1.2.840.10008.1.2.4.90",
    "HTJ2KLossless": "1.2.840.10008.1.2.4.201",
}
START_S = 60.0
LOOK_S = 0.02
"""Between two looks for the last rendition: a listing of a few hundred names."""


@dataclass(frozen=True)
class Contender:
    """A receiver and what it is asked to make."""

    name: str
    program: str
    syntax: str
    proven: bool = False


class Running(Protocol):
    """A receiver that runs."""

    pid: int
    port: int
    called: str

    def stored(self) -> int:
        """How many renditions are stored, by a count that costs the receiver little."""

    def counted(self) -> int:
        """How many are stored, by what the receiver itself says."""

    def rendition(self, study: str, series: str, uid: str) -> bytes:
        """The Part 10 file that became of an object."""


def free_port() -> int:
    """A TCP port that nobody uses now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def orthanc_program() -> str | None:
    """Where Orthanc is, if it is installed."""
    return shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin")


def missing(contender: Contender) -> str:
    """What a contender needs that is not here, or nothing."""
    if contender.program != "orthanc":
        return ""
    if orthanc_program() is None:
        return "Orthanc is not installed (Debian: apt-get install orthanc)"
    if contender.syntax == "JPEG2000Lossless" and not PLUGIN.exists():
        return "Orthanc's GDCM plugin is not installed (Debian: apt-get install orthanc-gdcm)"
    return ""


@contextlib.contextmanager
def process(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as output:
        running = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    try:
        yield running
    finally:
        running.send_signal(signal.SIGTERM)
        try:
            running.wait(60)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def started(holds: Callable[[], bool], running: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_S
    while not holds():
        if running.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"{running.args!r} did not start: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.05)


def answers(port: int) -> bool:
    with socket.socket() as sock:
        sock.settimeout(1)
        return sock.connect_ex(("127.0.0.1", port)) == 0


class Orthanc:
    """Orthanc as it runs."""

    called = "ORTHANC"

    def __init__(self, pid: int, port: int, http: int) -> None:
        self.pid, self.port, self._http = pid, port, http

    def _get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._http}/{path}", timeout=60) as answer:
            data: bytes = answer.read()
        return data

    def stored(self) -> int:
        """It answers when it has stored, so there is nothing to wait for."""
        return self.counted()

    def counted(self) -> int:
        """What ``/statistics`` says."""
        return int(json.loads(self._get("statistics"))["CountInstances"])

    def rendition(self, study: str, series: str, uid: str) -> bytes:
        """The file of the instance with that UID, as it is stored."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._http}/tools/lookup", data=uid.encode(), method="POST"
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            found = [one["ID"] for one in json.load(answer) if one["Type"] == "Instance"]
        return self._get(f"instances/{found[0]}/file")


@contextlib.contextmanager
def orthanc(folder: Path, contender: Contender) -> Iterator[Orthanc]:
    """Run Orthanc in a folder."""
    folder.mkdir(parents=True)
    port, http = free_port(), free_port()
    settings = {
        "Name": "benchmark",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "DicomPort": port,
        "HttpPort": http,
        "DicomAet": "ORTHANC",
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowStore": True,
        "MaximumPduLength": 131072,
        "SyncStorageArea": True,
        "IngestTranscoding": SYNTAXES[contender.syntax],
        "Plugins": [str(PLUGIN)] if contender.syntax == "JPEG2000Lossless" else [],
    }
    config, log = folder / "orthanc.json", folder / "orthanc.log"
    config.write_text(json.dumps(settings))
    program = orthanc_program()
    assert program is not None
    with process([program, str(config)], log) as running:
        started(lambda: answers(http) and answers(port), running, log)
        yield Orthanc(running.pid, port, http)


CONFIG = """\
node:
  ae_title: VENTURI
  listen: 127.0.0.1:0
  data: ./data
  limits: {{min_free: 1%}}
console: off
peers:
  any: {{ae_title: "*", hosts: [127.0.0.1]}}
rules:
  - name: all
    transfer_syntax: {syntax}
    prove: {prove}
destinations:
  archive:
    folder: ./archive
    path: "{{StudyInstanceUID}}/{{SeriesInstanceUID}}/{{SOPInstanceUID}}.dcm"
routes:
  - to: [archive]
"""


class Venturi:
    """``venturi run`` as it runs."""

    called = "VENTURI"

    def __init__(self, pid: int, port: int, folder: Path) -> None:
        self.pid, self.port, self._folder = pid, port, folder
        self._archive = folder / "archive"

    def stored(self) -> int:
        """Files in the destination that have their name."""
        found = 0
        for study in os.scandir(self._archive) if self._archive.exists() else ():
            if not study.name.startswith("."):
                found += sum(len(os.listdir(series)) for series in os.scandir(study.path))  # noqa: PTH208  # no objects for hundreds
        return found

    def counted(self) -> int:
        """What ``venturi status --json`` says was delivered. Raises RuntimeError where anything is as received."""
        command = [
            sys.executable,
            "-m",
            "venturi",
            "status",
            "-c",
            str(self._folder / "venturi.yaml"),
            "--json",
        ]
        said = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        wrong = [made for made in said["renditions"] if made["reason"]]
        if wrong:
            raise RuntimeError(f"not everything was transcoded: {wrong}")
        return sum(found["count"] for found in said["deliveries"] if found["state"] == "delivered")

    def rendition(self, study: str, series: str, uid: str) -> bytes:
        """The delivered file."""
        return (self._archive / study / series / f"{uid}.dcm").read_bytes()


@contextlib.contextmanager
def venturi(folder: Path, contender: Contender) -> Iterator[Venturi]:
    """Run the real command in a folder."""
    folder.mkdir(parents=True)
    prove = "pixels" if contender.proven else "none"
    config, log = folder / "venturi.yaml", folder / "venturi.log"
    config.write_text(CONFIG.format(syntax=contender.syntax, prove=prove))
    state = folder / "data" / "run" / "node.json"
    with process([sys.executable, "-m", "venturi", "run", "-c", str(config)], log) as running:
        started(state.exists, running, log)
        yield Venturi(running.pid, int(json.loads(state.read_text())["listen"].rpartition(":")[2]), folder)


def run(folder: Path, contender: Contender) -> contextlib.AbstractContextManager[Running]:
    """Run a contender in a folder that is not there yet."""
    return orthanc(folder, contender) if contender.program == "orthanc" else venturi(folder, contender)


def wait_for(count: Callable[[], int], wanted: int, timeout_s: float) -> float:
    """When there were so many, on the monotonic clock. Raises RuntimeError after the timeout, or for too many."""
    until = time.monotonic() + timeout_s
    while (found := count()) != wanted:
        if time.monotonic() > until or found > wanted:
            raise RuntimeError(f"{found} renditions are stored, not {wanted}")
        time.sleep(LOOK_S)
    return time.monotonic()
