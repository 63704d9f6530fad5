"""A codec of another package is found by its entry point, used by a rule, and proven like ours."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

PLUGIN = Path(__file__).parents[1] / "plugins" / "deflated_frames"
CONFIG = """
peers: {{here: {{ae_title: "*", hosts: [127.0.0.1]}}}}
rules:
  - name: deflated
    transfer_syntax: {syntax}
{more}
destinations: {{archive: {{folder: ./archive}}}}
routes: [{{to: [archive]}}]
"""
CT = Path(str(get_testdata_file("CT_small.dcm")))


def venturi(*arguments: str | Path, plugin: Path | None = PLUGIN) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ)
    paths = [str(plugin)] if plugin else []
    environment["PYTHONPATH"] = os.pathsep.join((*paths, *filter(None, [os.environ.get("PYTHONPATH")])))
    command = [sys.executable, "-m", "venturi", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=120)


def config(folder: Path, syntax: str, more: str = "") -> Path:
    path = folder / "venturi.yaml"
    path.write_text(CONFIG.format(syntax=syntax, more=more))
    return path


def test_a_rule_uses_a_syntax_that_another_package_brings(tmp_path: Path) -> None:
    path = config(tmp_path, "DeflatedImageFrameCompression", "    min_saving: 10%")
    found = venturi("explain", "-c", path, "--json", CT)
    assert found.returncode == 0, found.stderr
    (told,) = json.loads(found.stdout)
    outcome = told["destinations"][0]["outcome"]
    assert (outcome["transfer_syntax"], outcome["proof"]) == ("1.2.840.10008.1.2.8.1", "pixels")
    assert outcome["codec"] == "zlib, zlib"


def test_a_rule_takes_what_another_package_reads(tmp_path: Path) -> None:
    path = config(tmp_path, "RLELossless", "    from: [uncompressed, DeflatedImageFrameCompression]")
    assert venturi("check", "-c", path).returncode == 0
    found = venturi("check", "-c", path, plugin=None)
    assert found.returncode == 2
    assert f"{path}:6:26: Venturi does not decode DeflatedImageFrameCompression" in found.stderr


def test_without_the_package_the_same_rule_is_a_mistake_with_its_place(tmp_path: Path) -> None:
    path = config(tmp_path, "DeflatedImageFrameCompression")
    found = venturi("check", "-c", path, plugin=None)
    assert found.returncode == 2
    assert f"{path}:5:" in found.stdout + found.stderr


def test_a_codec_that_nobody_brings_is_a_mistake_with_its_place(tmp_path: Path) -> None:
    path = config(tmp_path, "JPEGLSLossless", "    codec: none-such")
    for verb in ("check", "run"):
        found = venturi(verb, "-c", path)
        assert found.returncode == 2
        assert f"{path}:6:" in found.stdout + found.stderr
        assert "pyjpegls" in found.stdout + found.stderr, "it names those there are"


def test_a_package_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    info = broken / "broken_codecs-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-codecs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[venturi.codecs]\nbroken = broken_codecs:codecs\n")
    path = config(tmp_path, "JPEGLSLossless")
    found = venturi("check", "-c", path, plugin=broken)
    assert found.returncode == 2
    assert "broken_codecs:codecs" in found.stdout + found.stderr


def test_the_engine_writes_and_reads_its_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PLUGIN))
    from deflated_frames import UID, codecs

    from venturi.dataset.syntaxes import EXPLICIT_VR_LITTLE_ENDIAN
    from venturi.model import Proof, Target
    from venturi.transcode.codecs import OURS, Registry
    from venturi.transcode.engine import Engine

    engine = Engine(Registry([*OURS, *codecs()]))
    there, back = tmp_path / "there.dcm", tmp_path / "back.dcm"
    outcome = engine.transcode(CT, Target(UID), there)
    assert outcome.proof is Proof.PIXELS
    outcome = engine.transcode(there, Target(EXPLICIT_VR_LITTLE_ENDIAN), back)
    assert outcome.proof is Proof.PIXELS
    assert np.array_equal(pydicom.dcmread(back).pixel_array, pydicom.dcmread(CT).pixel_array)
