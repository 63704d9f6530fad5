"""The benchmark of folder compression runs, small, with the real command; its figures are nobody's business here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SMALL = ("--scale", "0.002", "--repeat", "1", "--raw-seconds", "0.05", "-j", "2")

OTHER = """\
import sys
from pathlib import Path
from pydicom import dcmread
from pydicom.uid import RLELossless
source, out = Path(sys.argv[1]), Path(sys.argv[2])
out.mkdir()
for path in source.glob("*.dcm"):
    dataset = dcmread(path)
    if "COMPRESSED":
        dataset.PixelData = bytes(len(dataset.PixelData))
        dataset.compress(RLELossless)
    dataset.save_as(out / path.name)
"""
"""A contender that compresses nothing, or something else."""


def run(script: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, BENCHMARKS / script, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)


def test_every_contender_is_measured_and_checked(tmp_path: Path) -> None:
    asked = ("--kinds", "CT,US", "--syntaxes", "JPEG2000Lossless,HTJ2KLossless")
    figures = tmp_path / "figures.json"
    done = run(
        "transcode.py", *SMALL, *asked, "--large-gb", "0.02", "--work", tmp_path / "work", "--json", figures
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(figures.read_text())
    measured = {(row["syntax"], row["kind"]): set(row["commands"]) for row in found["rows"]}
    every = {"script", "proven", "unproven"}
    assert measured == {
        ("JPEG2000Lossless", "CT"): every,
        ("JPEG2000Lossless", "US"): every,
        ("HTJ2KLossless", "CT"): every - {"script"},
        ("HTJ2KLossless", "US"): every - {"script"},
    }
    assert [row["syntax"] for row in found["large"]] == ["HTJ2KLossless"]
    for row in found["rows"] + found["large"]:
        for usages in row["commands"].values():
            assert all(usage["cpu_s"] > 0 and usage["parent_mb"] > 0 for usage in usages)
    assert "| HTJ2KLossless, CT: proven at least 4.5 times the script's JPEG2000Lossless |" in done.stdout
    kept = {path.name.split("-")[0] for path in (tmp_path / "work").iterdir()}
    assert kept == {"samples", "large"}


@pytest.mark.parametrize("compressed", ["", "yes"])
def test_a_contender_that_does_something_else_is_noticed(tmp_path: Path, compressed: str) -> None:
    script = tmp_path / "other.py"
    script.write_text(OTHER.replace("COMPRESSED", compressed))
    asked = ("--kinds", "MR", "--syntaxes", "RLELossless", "--large-gb", "0", "--work", tmp_path / "work")
    done = run("transcode.py", *SMALL, *asked, "--compress", f"{sys.executable} {script}")
    assert done.returncode == 1
    assert ("other pixels than in" if compressed else "not RLELossless") in done.stderr


def test_the_profile_of_an_object_knows_its_stages() -> None:
    done = run("profile_object.py", "MR", "--to", "RLELossless", "--count", "2", "--repeat", "1")
    assert done.returncode == 0, done.stderr
    for stage in ("codec: encode", "codec: decode", "header: scan", "header: proof", "digests", "the parent"):
        assert f"| {stage}" in done.stdout
