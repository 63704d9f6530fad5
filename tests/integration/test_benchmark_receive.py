"""benchmarks/receive.py from end to end, with a few images: everything but the figures."""

import subprocess
import sys
from pathlib import Path

from integration.peers import need

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "receive.py"


def test_venturi_beside_dcmtk_and_pynetdicom(tmp_path: Path) -> None:
    need("storescp")
    (tmp_path / "work").mkdir()
    contenders = ("Venturi, durable", "DCMTK storescp +B", "pynetdicom storescp")
    options = [
        "--kinds",
        "MR",
        "--associations",
        "1,2",
        "--scale",
        "0.002",
        "--samples",
        tmp_path / "samples",
    ]
    command = [sys.executable, SCRIPT, *options, "--folder", tmp_path / "work", "--contenders", *contenders]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines() if "|" in line
    ]
    assert [(row[0], row[1]) for row in rows[2:]] == [
        (name, number) for name in contenders for number in "12"
    ]
    assert all(float(row[2]) > 0 and float(row[5]) >= 0 for row in rows[2:])
    assert "Unmodified storescu, one association, images/s: Venturi, durable" in done.stdout
    assert list((tmp_path / "work").iterdir()) == []
