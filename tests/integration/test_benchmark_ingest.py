"""benchmarks/ingest.py from end to end, with a few images: everything but the figures."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from peers import need

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "ingest.py"
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancGdcm.so")


def ingest(folder: Path, *contenders: str) -> str:
    command = [
        sys.executable,
        SCRIPT,
        "--count",
        "4",
        "--repeat",
        "1",
        "--folder",
        folder,
        "--contenders",
        *contenders,
    ]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert list(folder.iterdir()) == []
    return done.stdout


def rows(text: str, name: str) -> list[list[str]]:
    """The cells of a contender's rows in the first table."""
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if "|" in line]
    return [row for row in cells if row[0] == name]


def test_venturi_beside_orthanc(tmp_path: Path) -> None:
    need("Orthanc")
    said = ingest(tmp_path, "orthanc-jpeg-ls", "jpeg-ls")
    ours, theirs = rows(said, "Venturi, JPEG-LS, unproven"), rows(said, "Orthanc, JPEG-LS")
    assert [row[1] for row in ours] == [row[1] for row in theirs] == ["1", "4"]
    for row in ours:
        assert float(row[3]) > 0  # times Orthanc
        assert all(role in row[6] for role in ("receive", "transcode", "worker", "deliver"))
    assert "4 associations: at least 1 times Orthanc, JPEG-LS" in said
    assert "1 association: p99 at most a third" in said
    assert said.count("to a receiver that does nothing") == 2


def test_proven_htj2k_beside_orthancs_jpeg_2000(tmp_path: Path) -> None:
    need("Orthanc")
    if not PLUGIN.exists():
        words = "Orthanc's GDCM plugin is not installed (Debian: apt-get install orthanc-gdcm)"
        if os.environ.get("CI") == "true":
            pytest.fail(words)
        pytest.skip(words)
    said = ingest(tmp_path, "orthanc-j2k", "htj2k-proven")
    assert "4 associations: at least 4 times Orthanc, JPEG 2000" in said
    assert len(rows(said, "Venturi, HTJ2K, proven")) == 2
