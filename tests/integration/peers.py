"""Real DICOM peers for tests: DCMTK's tools and Orthanc, on free ports, stopped when a test ends."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

START_S = 20.0


def need(program: str) -> str:
    """The path of a peer program. Where it is missing, the test is skipped; under ``CI=true`` it fails."""
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        words = f"{program} is not installed (Debian: apt-get install dcmtk orthanc)"
        if os.environ.get("CI") == "true":
            pytest.fail(words)
        pytest.skip(words)
    return found


def sample(corpus: Path, name: str) -> Path:
    """A public DICOM file by its name: from the corpus, or else from those that come with pydicom."""
    import pydicom.data

    found = next(iter(sorted(corpus.rglob(name))), None)
    bundled = found or pydicom.data.get_testdata_file(name, download=False)
    if bundled is None:
        pytest.skip(f"{name} is not in {corpus}")
    return Path(str(bundled))


def free_port() -> int:
    """A TCP port that nobody uses now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def answers(port: int) -> bool:
    """Whether somebody accepts connections there."""
    with socket.socket() as sock:
        sock.settimeout(1)
        return sock.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def process(command: list[str], port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server that runs while the test does, from the moment it accepts connections."""
    with log.open("ab") as output:
        running = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    try:
        until = time.monotonic() + START_S
        while not answers(port):
            assert running.poll() is None, f"{command[0]} ended: {log.read_text(errors='replace')[-2000:]}"
            assert time.monotonic() < until, f"{command[0]} does not listen"
            time.sleep(0.05)
        yield running
    finally:
        running.terminate()
        try:
            running.wait(10)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


@contextlib.contextmanager
def storescp(folder: Path, *options: str, port: int | None = None, log: Path | None = None) -> Iterator[int]:
    """DCMTK's storescp, writing what it receives byte for byte into ``folder``; its port."""
    folder.mkdir(exist_ok=True)
    where = port or free_port()
    command = [need("storescp"), "-od", str(folder), *options, str(where)]
    with process(command, where, log or folder.parent / f"storescp-{where}.log"):
        yield where


@contextlib.contextmanager
def orthanc(folder: Path, **more: object) -> Iterator[tuple[int, int]]:
    """Orthanc without plugins, with ``more`` settings; its DICOM port and its HTTP port."""
    folder.mkdir(exist_ok=True)
    dicom, http = free_port(), free_port()
    config = folder / "orthanc.json"
    settings = {
        "Name": "test",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "DicomPort": dicom,
        "HttpPort": http,
        "DicomAet": "ORTHANC",
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "Plugins": [],
        **more,
    }
    config.write_text(json.dumps(settings))
    with process([need("Orthanc"), str(config)], http, folder / "orthanc.log"):
        until = time.monotonic() + START_S
        while not answers(dicom):
            assert time.monotonic() < until, "Orthanc does not listen for DICOM"
            time.sleep(0.05)
        yield dicom, http


def run(program: str, *args: str | Path, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
    """Run a peer's tool to its end."""
    command = [need(program), *map(str, args)]
    return subprocess.run(
        command, capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False
    )


def dataset_bytes(path: Path) -> bytes:
    """The dataset of a Part 10 file, without its file meta group (PS3.10 7.1), found without our own code."""
    import pydicom
    from pydicom.filereader import read_preamble

    with path.open("rb") as file:
        read_preamble(file, force=False)
        pydicom.filereader._read_file_meta_info(file)
        return file.read()
