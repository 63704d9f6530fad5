"""``venturi codecs --try`` with the real engine: the committed table is what it prints, and its images are real."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from venturi import node
from venturi.cli import kinds, main
from venturi.dataset import syntaxes
from venturi.model import Reason
from venturi.transcode.codecs import registry

PLUGIN = Path(__file__).parents[1] / "plugins" / "deflated_frames"
BEGIN, END = (
    "<!-- venturi codecs --try --markdown: begin -->\n",
    "<!-- venturi codecs --try --markdown: end -->",
)
BROKEN = """
from deflated_frames import DeflatedFrames

class Broken(DeflatedFrames):
    transfer_syntax = "1.2.3.4"
    def encode(self, frame, image, options):
        raise RuntimeError("no")

def codecs():
    return [Broken()]
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return kinds.write_all(tmp_path_factory.mktemp("kinds"), node.engine())


@pytest.fixture(scope="module")
def tried() -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "venturi", "codecs", "--try", "--json"]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert run.returncode == 0, run.stderr
    found: list[dict[str, Any]] = json.loads(run.stdout)
    return found


def test_the_committed_table_is_what_the_command_prints(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (root / "docs" / "transcoding.md").read_text()
    assert main(["codecs", "--try", "--markdown"]) == 0
    committed = page.partition(BEGIN)[2].partition(END)[0]
    assert committed == capsys.readouterr().out, "say `make docs`, and say in the changelog what changed"


def test_every_kind_is_tried_in_every_syntax(tried: list[dict[str, Any]], written: dict[str, Path]) -> None:
    pairs = [(row["kind"], row["transfer_syntax"]) for row in tried]
    assert len(pairs) == len(set(pairs))
    assert set(pairs) == {(kind, uid) for kind in written for uid in registry().encoders()}


def test_what_is_encoded_is_proven_and_what_is_not_has_a_reason(tried: list[dict[str, Any]]) -> None:
    for row in tried:
        lossy = syntaxes.lookup(row["transfer_syntax"]).lossy
        if row["reason"] is None:
            assert row["proof"] == ("bound" if lossy else "pixels")
            assert row["ratio"] > 0 or row["kind"] == "report, no pixels"
        else:
            assert row["reason"] in set(Reason)
            assert row["proof"] == "original"


def test_ordinary_images_become_every_lossless_syntax(tried: list[dict[str, Any]]) -> None:
    ordinary = {
        "8 bits",
        "12 in 16 bits",
        "16 bits",
        "16 bits, signed",
        "RGB by pixel",
        "RGB by plane",
        "3 frames",
    }
    found = {
        (row["kind"], row["transfer_syntax"]): row["reason"]
        for row in tried
        if row["kind"] in ordinary and not syntaxes.lookup(row["transfer_syntax"]).lossy
    }
    assert found
    assert {reason for reason in found.values() if reason} == {Reason.SAME_SYNTAX}


def test_what_may_lose_nothing_becomes_no_lossy_syntax(tried: list[dict[str, Any]]) -> None:
    kept = {
        "PALETTE COLOR",
        "Pixel Padding Value",
        "PET",
        "mammography",
        "lossy history",
        "overlay in high bits",
    }
    found = {
        row["kind"]: row["reason"]
        for row in tried
        if row["kind"] in kept and syntaxes.lookup(row["transfer_syntax"]).lossy
    }
    assert found == dict.fromkeys(kept, Reason.NEVER_LOSSY)


@pytest.mark.parametrize(
    ("kind", "stored", "allocated", "signed"),
    [
        ("8 bits", 8, 8, 0),
        ("8 in 16 bits", 8, 16, 0),
        ("10 in 16 bits", 10, 16, 0),
        ("14 in 16 bits", 14, 16, 0),
        ("16 bits", 16, 16, 0),
        ("12 in 16 bits, signed", 12, 16, 1),
        ("16 bits, signed", 16, 16, 1),
        ("32 bits", 32, 32, 0),
    ],
)
def test_a_sample_is_what_its_name_says(
    kind: str, stored: int, allocated: int, signed: int, written: dict[str, Path]
) -> None:
    dataset = pydicom.dcmread(written[kind])
    assert (dataset.BitsStored, dataset.BitsAllocated, dataset.PixelRepresentation) == (
        stored,
        allocated,
        signed,
    )
    assert len(np.unique(dataset.pixel_array)) > 100
    assert "PixelPaddingValue" not in dataset


def test_samples_with_something_special_have_it(written: dict[str, Path]) -> None:
    def of(kind: str) -> Any:
        return pydicom.dcmread(written[kind])

    plain, planes = of("RGB by pixel"), of("RGB by plane")
    assert (plain.PlanarConfiguration, planes.PlanarConfiguration) == (0, 1)
    assert plain.PixelData != planes.PixelData
    assert np.array_equal(plain.pixel_array, planes.pixel_array)
    assert of("3 frames").pixel_array.shape == (3, 128, 128)
    assert (np.frombuffer(of("overlay in high bits").PixelData, "<u2") >> 12).any()
    assert "FloatPixelData" in of("floating point")
    assert kinds.DIGITAL_SIGNATURES in of("digitally signed")
    assert of("12 in 16, to both ends").pixel_array.max() == 4095
    assert of("12 in 16 bits").pixel_array.max() < 4095


@pytest.mark.parametrize("number", range(len(kinds.CAME_AS)))
def test_what_came_compressed_is_another_implementations_file(number: int, written: dict[str, Path]) -> None:
    path = kinds.bundled(kinds.CAME_AS[number])
    assert path in written.values()


def test_the_same_kinds_are_written_byte_for_byte_each_time(written: dict[str, Path], tmp_path: Path) -> None:
    again = kinds.write_all(tmp_path, node.engine())
    assert list(again) == list(written)
    assert all(again[kind].read_bytes() == path.read_bytes() for kind, path in written.items())


def with_plugin(*arguments: str, paths: list[Path]) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join([*map(str, paths), environment.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "venturi", "codecs", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=120)


def test_what_another_package_adds_is_listed_as_its_own() -> None:
    run = with_plugin("--json", paths=[PLUGIN])
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    for rows in (found["makes"], found["reads"]):
        (row,) = [row for row in rows if row["package"]]
        assert (row["keyword"], row["package"]) == ("DeflatedImageFrameCompression", "deflated-frames")
    assert found["packages"]["deflated-frames"] == "1.0"
    assert "added by deflated-frames" in with_plugin(paths=[PLUGIN]).stdout


def test_a_codec_that_does_not_work_here_is_exit_code_1_with_its_reason(tmp_path: Path) -> None:
    info = tmp_path / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[venturi.codecs]\nbroken = broken:codecs\n")
    (tmp_path / "broken.py").write_text(BROKEN)
    run = with_plugin("--try", paths=[tmp_path, PLUGIN])
    assert run.returncode == 1, run.stderr
    assert Reason.ENCODER_FAILED in run.stdout
    assert "8 bits: 1.2.3.4: frame 0: RuntimeError: no" in run.stdout
