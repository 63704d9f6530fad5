"""benchmarks/receive.py from end to end, with a few images of every kind: everything but the figures."""

import subprocess
import sys
from pathlib import Path

from integration.peers import need

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "receive.py"
KINDS = ("CT", "MR", "CONTEXTS", "MG", "LARGE")
VENTURI, DCMTK, PYNETDICOM = "Venturi, durable", "DCMTK storescp +B", "pynetdicom storescp"


def receive(folder: Path, *options: object) -> subprocess.CompletedProcess[str]:
    work = folder / "work"
    work.mkdir()
    command = [sys.executable, SCRIPT, "--samples", folder / "samples", "--folder", work, *options]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300, check=False)
    assert list(work.iterdir()) == []
    return done


def rows(text: str) -> list[list[str]]:
    """The cells of all the tables."""
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if "|" in line]


def test_every_kind_beside_dcmtk(tmp_path: Path) -> None:
    need("storescp")
    contenders = (VENTURI, DCMTK)
    options = ["--scale", 0.002, "--large-bytes", 2_000_000, "--associations", "1,2"]
    done = receive(tmp_path, *options, "--contenders", *contenders)
    assert done.returncode == 0, done.stderr
    found = rows(done.stdout)
    measured = [row for row in found if len(row) == 8 and row[1] in "12"]
    assert [(row[0], row[1]) for row in measured] == [(name, n) for name in contenders for n in "12"] * len(
        KINDS
    )
    assert all(float(row[2]) > 0 and float(row[5]) >= 0 for row in measured)
    split = [row for row in found if len(row) == 7 and row[1] in "12"]
    assert [row[0] for row in split] == [VENTURI] * 2 * len(KINDS)
    assert all("supervisor" in row[6] for row in split)
    for kind in KINDS:
        assert f"### {kind}: " in done.stdout
    aims = {row[0]: row[2] for row in found if row[-1] in ("yes", "no")}
    for n in ("1 association", "2 associations"):
        for kind in KINDS:
            assert f"{kind}, {n}: the sender alone to the fastest receiver, at least 1" in aims
        assert f"CT, {n}: CPU of {VENTURI}, ms a CT, at most 0.5" in aims
    for kind in ("CT", "MR"):
        assert f"{kind}, from an unmodified storescu: {VENTURI} to {DCMTK}, at least 20" in aims
    assert done.stdout.count(f"Unmodified storescu, one association, images/s: {VENTURI} ") == 2


def test_rounds_in_turns_beside_pynetdicom(tmp_path: Path) -> None:
    options = ["--kinds", "CONTEXTS", "--scale", 0.002, "--associations", "1", "--repeat", 2]
    done = receive(tmp_path, *options, "--contenders", VENTURI, PYNETDICOM)
    assert done.returncode == 0, done.stderr
    turns = [line.rpartition(",")[0] for line in done.stderr.splitlines() if line.endswith("/s")]
    assert turns == [f"CONTEXTS, {name}" for name in (VENTURI, PYNETDICOM) * 2]


def test_eight_large_ones_at_once(tmp_path: Path) -> None:
    options = ["--kinds", "LARGE", "--large-bytes", 1_000_000, "--associations", "8"]
    done = receive(tmp_path, *options, "--contenders", VENTURI)
    assert done.returncode == 0, done.stderr
    assert "### LARGE: 8 of 1," in done.stdout
    (reached,) = [row for row in rows(done.stdout) if "RSS of a receiver" in row[0]]
    assert float(reached[1]) > 0


def test_what_does_not_fit_on_the_disk_is_not_begun(tmp_path: Path) -> None:
    done = receive(
        tmp_path, "--kinds", "MG", "--scale", 0.001, "--associations", 10**6, "--contenders", VENTURI
    )
    assert done.returncode == 2
    assert "GB are stored, and " in done.stderr
