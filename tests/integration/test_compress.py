"""``venturi compress`` by the real command: trees, stopped in every way, and nothing lost, touched or done twice."""

import contextlib
import hashlib
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.pixels import pixel_array

from integration.nodes import config_text, venturi
from integration.peers import need
from renditions import bundled, read

TEST_FILES = bundled("CT_small.dcm").parent
OWN = ".venturi-compress"
HTJ2K = "1.2.840.10008.1.2.4.201"


def states(folder: Path) -> dict[str, tuple[str, int]]:
    """Every file of a tree, with what must not change."""
    return {
        str(path.relative_to(folder)): (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.stat().st_mtime_ns,
        )
        for path in folder.rglob("*")
        if path.is_file() and OWN not in path.parts
    }


def hashes(folder: Path) -> dict[str, str]:
    return {path: state[0] for path, state in states(folder).items()}


def compress(source: Path, output: Path, *words: str | Path, code: int = 0) -> dict[str, Any]:
    """The report of a run that ends with that exit code."""
    ended = venturi("compress", source, output, "--json", *words)
    assert ended.returncode == code, ended.stderr
    report: dict[str, Any] = json.loads(ended.stdout)
    assert report["exit_code"] == code
    return report


def tree(folder: Path, *names: str) -> Path:
    """A tree of pydicom's files."""
    for number, name in enumerate(names):
        path = folder / f"series-{number % 2}" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(bundled(name), path)
    return folder


def figures(report: dict[str, Any], key: str) -> dict[str, int]:
    name = "to" if key == "transcoded" else "reason"
    return {row[name]: row["files"] for row in report[key]}


def test_a_tree_keeps_its_shape_and_its_pixels_and_is_not_touched(tmp_path: Path) -> None:
    source, output = (
        tree(tmp_path / "in", "CT_small.dcm", "MR_small.dcm", "rtdose.dcm", "test-SR.dcm"),
        tmp_path / "out",
    )
    (source / "empty").mkdir()
    before = states(source)
    report = compress(source, output, "--to", "JPEGLSLossless")
    assert states(source) == before
    assert hashes(output).keys() == before.keys()
    assert figures(report, "transcoded") == {"JPEGLSLossless": 2}
    for name in ("series-0/CT_small.dcm", "series-1/MR_small.dcm"):
        made = pydicom.dcmread(output / name)
        assert made.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.80"
        assert np.array_equal(made.pixel_array, pydicom.dcmread(source / name).pixel_array)
    assert figures(report, "passed_on") == {"bit-depth-not-for-codec": 1, "no-pixel-data": 1}
    assert {row["path"]: row["copied"] for row in report["details"]} == {
        "series-0/rtdose.dcm": True,
        "series-1/test-SR.dcm": True,
    }
    for name in ("series-0/rtdose.dcm", "series-1/test-SR.dcm"):
        assert (output / name).read_bytes() == (source / name).read_bytes()
    assert report["bytes_after"] == sum(path.stat().st_size for path in output.glob("series-*/*"))
    assert [path.name for path in (output / OWN).iterdir()] == ["journal.jsonl"]


@pytest.mark.parametrize("keyword", ["RLELossless", "JPEGLSLossless", "JPEG2000Lossless"])
def test_it_does_what_the_script_of_pydicoms_tutorial_does(keyword: str, tmp_path: Path) -> None:
    """Each file by itself, where pydicom's own compress() makes something right of it."""
    report = compress(TEST_FILES, tmp_path, "--to", keyword, code=1)
    reasons = {row["path"]: row["reason"] for row in report["details"]}
    compared = 0
    for path in TEST_FILES.rglob("*"):
        name = str(path.relative_to(TEST_FILES))
        if not path.is_file() or name in reasons:
            continue
        theirs = pydicom.dcmread(path)
        swapped = theirs.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRBigEndian
        ours = pydicom.dcmread(tmp_path / name)
        assert ours.SOPInstanceUID == theirs.SOPInstanceUID
        assert ours.file_meta.TransferSyntaxUID.keyword == keyword
        original = pixel_array(theirs, raw=True)
        assert np.array_equal(pixel_array(ours, raw=True), original), name
        try:
            theirs.compress(getattr(pydicom.uid, keyword), generate_instance_uid=False)
        except Exception:  # what pydicom does not compress, it says in many ways
            continue
        same = np.array_equal(pixel_array(theirs, raw=True), original)
        assert same or swapped, name  # of big endian samples, it encodes the bytes as they lie
        compared += same
    assert compared >= (
        5 if keyword == "JPEG2000Lossless" else 25
    )  # OpenJPEG, as it is called there, takes no small ones
    assert sum(row["files"] for row in report["transcoded"]) >= 40


def test_what_is_done_is_not_done_again_and_what_changed_is(tmp_path: Path) -> None:
    source, output = tree(tmp_path / "in", "CT_small.dcm", "MR_small.dcm", "test-SR.dcm"), tmp_path / "out"
    compress(source, output, "--to", "RLELossless")
    first = states(output)
    assert compress(source, output, "--to", "RLELossless")["files_done_before"] == 3
    assert states(output) == first
    changed = source / "series-0" / "CT_small.dcm"
    dataset = pydicom.dcmread(changed)
    dataset.PatientComments = "changed"
    dataset.save_as(changed)
    (output / "series-1" / "MR_small.dcm").unlink()  # as after a power cut that took its name
    with (output / OWN / "journal.jsonl").open("ab") as journal:
        journal.write(b'{"path":"torn')
    report = compress(source, output, "--to", "RLELossless")
    assert report["files_done_before"] == 1
    assert figures(report, "transcoded") == {"RLELossless": 2}
    again = states(output)
    assert again["series-0/test-SR.dcm"] == first["series-0/test-SR.dcm"]
    assert again["series-1/MR_small.dcm"][0] == first["series-1/MR_small.dcm"][0]
    assert pydicom.dcmread(output / "series-0" / "CT_small.dcm").PatientComments == "changed"
    assert compress(source, output, "--to", "RLELossless")["files_done_before"] == 3


# --- stopped -----------------------------------------------------------------------------------------------------

SLOW = ("--to", "JPEG2000Lossless", "-j", "2")
MANY = 120


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree that takes some seconds."""
    folder = tmp_path_factory.mktemp("many")
    dataset = read("CT_small.dcm")
    tiled = np.tile(dataset.pixel_array, (4, 4))
    dataset.Rows, dataset.Columns = tiled.shape
    for number in range(MANY):
        dataset.PixelData = np.roll(tiled, number, axis=1).tobytes()
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}"
        path = folder / f"{number % 7}" / f"{number}.dcm"
        path.parent.mkdir(exist_ok=True)
        dataset.save_as(path)
    return folder


@pytest.fixture(scope="module")
def whole(many: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What an uninterrupted run makes of it."""
    output = tmp_path_factory.mktemp("whole")
    assert figures(compress(many, output, *SLOW), "transcoded") == {"JPEG2000Lossless": MANY}
    return hashes(output)


def begun(source: Path, output: Path, *words: str) -> subprocess.Popen[str]:
    """A run that has put something into its output, and is not done."""
    command = [sys.executable, "-m", "venturi", "compress", str(source), str(output), *SLOW, *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while not any(output.glob("*/*.dcm")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)
    return process


def goes_on(source: Path, output: Path, whole: dict[str, str]) -> None:
    """The same command does the rest, and that alone."""
    before = states(output)
    assert 0 < len(before) < MANY
    assert all(whole[path] == state[0] for path, state in before.items()), "nothing half-written has a name"
    report = compress(source, output, *SLOW)
    assert report["files_done_before"] >= len(before)
    assert figures(report, "transcoded") == {"JPEG2000Lossless": MANY}
    after = states(output)
    assert {path: after[path] for path in before} == before, "nothing is done twice"
    assert hashes(output) == whole
    assert list(output.rglob("*.part")) == []


def test_kill_9_loses_nothing_and_nothing_is_done_twice(
    many: Path, whole: dict[str, str], tmp_path: Path
) -> None:
    process = begun(many, tmp_path)
    process.kill()
    process.communicate()
    (tmp_path / OWN / "unfinished" / "killed-1.part").write_bytes(b"one more, that is surely there")
    goes_on(many, tmp_path, whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_first_signal_stops_in_order(
    number: signal.Signals, many: Path, whole: dict[str, str], tmp_path: Path
) -> None:
    process = begun(many, tmp_path, "--json")
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    report = json.loads(out)
    assert report["interrupted"]
    done = len(states(tmp_path))
    assert figures(report, "transcoded") == {"JPEG2000Lossless": done}
    assert f"interrupted: {done} of {MANY} files are done; the same command goes on" in err
    assert list(tmp_path.rglob("*.part")) == []
    goes_on(many, tmp_path, whole)


def test_a_signal_stops_it_when_the_workers_have_been_given_all_that_is_left(tmp_path: Path) -> None:
    source, output, number = tmp_path / "in", tmp_path / "out", 14
    (source / "a").mkdir(parents=True)
    dataset = read("CT_small.dcm")
    tiled = np.tile(dataset.pixel_array, (12, 12))
    dataset.Rows, dataset.Columns = tiled.shape
    for shift in range(number):
        dataset.PixelData = np.roll(tiled, shift, axis=1).tobytes()
        dataset.save_as(source / "a" / f"{shift}.dcm")
    process = begun(source, output, "--json")
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert json.loads(out)["files"] < number


def test_a_second_signal_stops_at_once(many: Path, tmp_path: Path) -> None:
    process = begun(many, tmp_path)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)  # another one: of the same, two are one while Python is busy
    process.communicate(timeout=20)
    assert process.returncode == 130


def test_one_run_at_a_time_in_an_output(many: Path, tmp_path: Path) -> None:
    process = begun(many, tmp_path)
    second = venturi("compress", many, tmp_path, *SLOW)
    process.kill()
    process.communicate()
    assert second.returncode == 1
    assert "another venturi compress is at work" in second.stderr
    assert second.stdout == ""


def test_a_full_disk_stops_it_and_it_goes_on_when_there_is_room(
    many: Path, whole: dict[str, str], tmp_path: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(tmp_path)]
    made = subprocess.run(mount, capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"a tmpfs can't be mounted here: {made.stderr.strip()}")
    try:
        ended = venturi("compress", many, tmp_path, "--json", *SLOW)
        assert ended.returncode == 1
        assert "no space is left for the output; the same command goes on when that is mended" in ended.stderr
        report = json.loads(ended.stdout)
        assert report["stopped"]
        assert report["left_out"] == []
        assert list(tmp_path.rglob("*.part")) == []
        subprocess.run(["mount", "-o", "remount,size=400m", str(tmp_path)], check=True)
        goes_on(many, tmp_path, whole)
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def traced(log: Path, *words: str | Path) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """A run under strace(1): what it did to make files lasting, in order."""
    options = ["-f", "-y", "-e", "trace=chmod,syncfs,fsync,link,linkat", "-e", "signal=none", "-o", str(log)]
    command = [need("strace"), *options, sys.executable, "-m", "venturi", "compress", *map(str, words)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    calls = [line.split(None, 1)[1] for line in log.read_text().splitlines() if "resumed>" not in line]
    return ended, calls


def test_a_file_has_its_name_only_when_it_and_its_line_are_on_disk(tmp_path: Path) -> None:
    source = tree(tmp_path / "in", "CT_small.dcm", "MR_small.dcm", "test-SR.dcm")
    ended, calls = traced(tmp_path / "log", source, tmp_path / "out", "--to", "RLELossless")
    assert ended.returncode == 0, ended.stderr
    links = [index for index, call in enumerate(calls) if call.startswith("link")]
    assert len(links) == 3
    for index in links:
        part = calls[index].split('"')[1]
        written = next(at for at, call in enumerate(calls) if call.startswith("chmod") and part in call)
        synced = next(at for at in range(written, index) if calls[at].startswith("syncfs"))
        assert any("fsync" in call and "journal.jsonl" in call for call in calls[synced:index])
    assert any(call.startswith("syncfs") for call in calls[links[-1] :]), "the names, too"


@pytest.mark.parametrize("call", ["link", "rename"])
def test_what_is_noted_and_has_no_name_yet_gets_it_from_the_next_run(call: str, tmp_path: Path) -> None:
    """Killed between the journal and the names, where files are new (link) and where they replace our own (rename)."""
    source, output = tree(tmp_path / "in", "CT_small.dcm", "MR_small.dcm", "test-SR.dcm"), tmp_path / "out"
    if call == "rename":
        compress(source, output, "--to", "RLELossless")
        for path in source.rglob("*.dcm"):
            dataset = pydicom.dcmread(path)
            dataset.PatientComments = "changed"
            dataset.save_as(path)
    before = hashes(output)
    inject = ["-f", "-e", f"inject=/^{call}(at2?)?$:signal=KILL:retval=0:when=2+", "-o", "/dev/null"]
    command = [need("strace"), *inject, sys.executable, "-B", "-m", "venturi", "compress", source, output]
    subprocess.run([*command, "--to", "RLELossless", "-j", "1"], capture_output=True, check=False)
    journal = (output / OWN / "journal.jsonl").read_text()
    noted = [path for path in output.rglob("*.part") if path.name in journal]
    assert noted
    after = hashes(output)
    assert sum(before.get(name) != digest for name, digest in after.items()) == 1
    inodes = {path.stat().st_ino for path in noted}
    report = compress(source, output, "--to", "RLELossless")
    assert report["files_done_before"] == 1 + len(noted)
    assert inodes < {path.stat().st_ino for path in output.glob("series-*/*")}
    assert list(output.rglob("*.part")) == []
    if call == "rename":
        made = [pydicom.dcmread(output / path.relative_to(source)) for path in source.rglob("*.dcm")]
        assert [dataset.PatientComments for dataset in made] == ["changed"] * 3


def test_a_sync_that_fails_stops_it_and_nothing_has_a_name(tmp_path: Path) -> None:
    source, output = tree(tmp_path / "in", "CT_small.dcm"), tmp_path / "out"
    inject = ["-e", "inject=syncfs:error=EIO", "-e", "trace=syncfs", "-f", "-o", "/dev/null"]
    command = [need("strace"), *inject, sys.executable, "-m", "venturi", "compress", source, output]
    ended = subprocess.run([*command, "--to", "RLELossless"], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "the output can't be kept: Input/output error" in ended.stderr
    assert hashes(output) == {}
    assert figures(compress(source, output, "--to", "RLELossless"), "transcoded") == {"RLELossless": 1}


# --- what is in the way ------------------------------------------------------------------------------------------


def test_a_file_that_is_not_ours_is_not_overwritten_unless_asked(tmp_path: Path) -> None:
    source, output = tree(tmp_path / "in", "CT_small.dcm", "MR_small.dcm"), tmp_path / "out"
    theirs = output / "series-0" / "CT_small.dcm"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"somebody's")
    report = compress(source, output, "--to", HTJ2K, code=1)
    assert theirs.read_bytes() == b"somebody's"
    assert figures(report, "left_out") == {"conflict": 1}
    assert figures(report, "transcoded") == {"HTJ2KLossless": 1}
    assert report["details"][0]["path"] == "series-0/CT_small.dcm"
    again = compress(source, output, "--to", HTJ2K, "--overwrite")
    assert figures(again, "transcoded") == {"HTJ2KLossless": 2}
    theirs.write_bytes(b"changed by somebody")
    assert figures(compress(source, output, "--to", HTJ2K, code=1), "left_out") == {"conflict": 1}
    assert theirs.read_bytes() == b"changed by somebody"


def test_another_target_or_source_in_the_same_output_is_refused(tmp_path: Path) -> None:
    source, output = tree(tmp_path / "in", "CT_small.dcm"), tmp_path / "out"
    compress(source, output, "--to", "RLELossless", "--min-saving", "5%")
    for place, words, said in (
        (source, ["RLELossless"], "--to RLELossless --min-saving 5%"),
        (tree(tmp_path / "in2", "MR_small.dcm"), ["RLELossless", "--min-saving", "5%"], str(source)),
    ):
        ended = venturi("compress", place, output, "--to", *words)
        assert ended.returncode == 2
        assert said in ended.stderr
    assert venturi("compress", source, source / "new", "--to", HTJ2K).returncode == 2
    assert not (source / "new").exists()


def test_links_and_special_files(tmp_path: Path) -> None:
    source, output = tree(tmp_path / "in", "CT_small.dcm"), tmp_path / "out"
    (source / "link.dcm").symlink_to(bundled("MR_small.dcm"))
    (source / "loop").symlink_to(source)
    (source / "nowhere").symlink_to("gone")
    (source / "unreadable").symlink_to("/proc/self/mem")  # root may read everything else
    os.mkfifo(source / "pipe")
    report = compress(source, output, "--to", "RLELossless", code=1)
    assert figures(report, "transcoded") == {"RLELossless": 2}
    assert {row["path"]: row["reason"] for row in report["details"]} == {
        "loop": "link-to-folder",
        "nowhere": "unreadable",
        "pipe": "special-file",
        "unreadable": "unreadable",
    }
    assert not (output / "link.dcm").is_symlink()
    assert hashes(output).keys() == {"series-0/CT_small.dcm", "link.dcm"}


def test_names_that_are_no_text_survive(tmp_path: Path) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    folder = source / os.fsdecode(b"M\xfcller\n")
    folder.mkdir(parents=True)
    shutil.copy(bundled("CT_small.dcm"), folder / os.fsdecode(b"\xff.dcm"))
    shutil.copy(bundled("test-SR.dcm"), folder / "x")
    (folder / os.fsdecode(b"\xfe.txt")).write_bytes(b"other")
    for before in (0, 2):
        report = compress(source, output, "--to", "RLELossless")
        assert report["files_done_before"] == before
    assert {os.fsencode(path.name) for path in (output / folder.name).iterdir()} == {b"x", b"\xff.dcm"}
    told = {os.fsencode(row["path"]) for row in report["details"]}
    assert told == {b"M\xfcller\n/x", b"M\xfcller\n/\xfe.txt"}
    assert venturi("compress", source, output, "--to", "RLELossless").returncode == 0


def test_outputs_follow_the_umask(tmp_path: Path) -> None:
    source, output = tree(tmp_path / "in", "CT_small.dcm", "test-SR.dcm", "MR_small.dcm"), tmp_path / "out"
    for path in source.rglob("*.dcm"):
        path.chmod(0o600 if path.name == "MR_small.dcm" else 0o664)
    command = [sys.executable, "-m", "venturi", "compress", source, output, "--to", "RLELossless"]
    subprocess.run(command, umask=0o027, check=True, capture_output=True)
    modes = {str(path.relative_to(output)): oct(path.stat().st_mode & 0o7777) for path in output.glob("s*/*")}
    assert modes == {
        "series-0/CT_small.dcm": "0o640",
        "series-1/test-SR.dcm": "0o640",
        "series-0/MR_small.dcm": "0o600",
    }
    assert oct((output / "series-0").stat().st_mode & 0o777) == "0o750"


def test_what_is_not_dicom_is_left_out_or_copied_on_request(tmp_path: Path) -> None:
    source, output = tree(tmp_path / "in", "CT_small.dcm"), tmp_path / "out"
    shutil.copy(TEST_FILES / "dicomdirtests" / "DICOMDIR", source)
    shutil.copy(TEST_FILES / "ExplVR_LitEndNoMeta.dcm", source)
    (source / "notes.txt").write_text("notes")
    report = compress(source, output, "--to", "RLELossless", code=1)
    assert figures(report, "left_out") == {"dicomdir": 1, "no-file-meta": 1, "not-dicom": 1}
    assert "dcmmkdir" in next(row["detail"] for row in report["details"] if row["path"] == "DICOMDIR")
    assert hashes(output).keys() == {"series-0/CT_small.dcm"}
    report = compress(source, output, "--to", "RLELossless", "--copy-other")
    assert report["left_out"] == []
    assert figures(report, "passed_on") == {"dicomdir": 1, "no-file-meta": 1, "not-dicom": 1}
    for name in ("DICOMDIR", "ExplVR_LitEndNoMeta.dcm", "notes.txt"):
        assert (output / name).read_bytes() == (source / name).read_bytes()


def test_one_file_into_a_folder(tmp_path: Path) -> None:
    compress(bundled("CT_small.dcm"), tmp_path, "--to", "RLELossless")
    compress(bundled("MR_small.dcm"), tmp_path, "--to", "RLELossless")
    assert hashes(tmp_path).keys() == {"CT_small.dcm", "MR_small.dcm"}


# --- what is asked for -------------------------------------------------------------------------------------------


def test_a_configurations_rules_decide_for_the_destination_that_is_named(tmp_path: Path) -> None:
    rules = """\
  - name: for the viewer
    when: {destination: viewer}
    transfer_syntax: ExplicitVRLittleEndian
  - name: CT
    when: {Modality: CT}
    transfer_syntax: JPEGLSLossless
  - name: strict
    when: {Modality: RTDOSE}
    transfer_syntax: JPEGLSLossless
    on_failure: hold
"""
    config = tmp_path / "venturi.yaml"
    config.write_text(config_text(rules, destinations="  viewer: {folder: ./viewer}", to=", viewer"))
    names = ("CT_small.dcm", "MR_small.dcm", "MR_small_RLE.dcm", "rtdose.dcm")
    source = tree(tmp_path / "in", *names)
    assert venturi("compress", source, tmp_path / "out", "-c", config).returncode == 2
    report = compress(source, tmp_path / "a", "-c", config, "--destination", "archive", code=1)
    assert figures(report, "transcoded") == {"JPEGLSLossless": 1}
    assert figures(report, "passed_on") == {"as-received": 2}
    assert figures(report, "left_out") == {"held": 1}
    assert not (tmp_path / "a" / "series-1" / "rtdose.dcm").exists()
    report = compress(source, tmp_path / "v", "-c", config, "--destination", "viewer")
    assert pydicom.dcmread(tmp_path / "v" / "series-0" / "MR_small_RLE.dcm").file_meta.TransferSyntaxUID == (
        "1.2.840.10008.1.2.1"
    )
    assert sum(figures(report, "transcoded").values()) >= 1


def test_lossy_keeps_its_bound_or_holds(tmp_path: Path) -> None:
    dataset = read("MR_small.dcm")
    dataset.PixelRepresentation = 0
    source = tmp_path / "in"
    source.mkdir()
    dataset.save_as(source / "mr.dcm")
    asked = ("--to", "JPEG2000", "--j2k-cr", "10", "--lossy-max-error")
    report = compress(source, tmp_path / "wide", *asked, "60000")
    assert [row["proof"] for row in report["transcoded"]] == ["bound"]
    made = pydicom.dcmread(tmp_path / "wide" / "mr.dcm")
    assert made.LossyImageCompression == "01"
    assert made.SOPInstanceUID != dataset.SOPInstanceUID
    report = compress(source, tmp_path / "narrow", *asked, "0.5")
    assert [(row["to"], row["proof"]) for row in report["transcoded"]] == [("JPEG2000Lossless", "pixels")]
    report = compress(source, tmp_path / "held", *asked, "0.5", "--beyond", "hold", code=1)
    assert figures(report, "left_out") == {"held": 1}
    assert "error-beyond-bound" in report["details"][0]["detail"]
    assert not (tmp_path / "held" / "mr.dcm").exists()


def test_faults_make_exit_code_1_and_are_copied(tmp_path: Path) -> None:
    source = tree(tmp_path / "in", "MR_truncated.dcm", "CT_small.dcm")
    report = compress(source, tmp_path / "out", "--to", "RLELossless", code=1)
    assert [(row["reason"], row["fault"]) for row in report["passed_on"]] == [("malformed-dataset", True)]
    truncated = "series-0/MR_truncated.dcm"
    assert (tmp_path / "out" / truncated).read_bytes() == (source / truncated).read_bytes()


def test_tables_and_silence(tmp_path: Path) -> None:
    source = tree(tmp_path / "in", "MR_truncated.dcm", "CT_small.dcm")
    told = venturi("compress", source, tmp_path / "a", "--to", "RLELossless")
    assert told.returncode == 1
    for words in (
        "Transcoded",
        "RLELossless",
        "every pixel",
        "Copied as they are",
        "look at: malformed-dataset",
    ):
        assert words in told.stdout
    quiet = venturi("compress", source, tmp_path / "b", "--to", "RLELossless", "--quiet")
    assert quiet.stdout == ""
    assert "series-0/MR_truncated.dcm" in quiet.stderr
    (source / "series-0" / "MR_truncated.dcm").unlink()
    silent = venturi("compress", source, tmp_path / "c", "--to", "RLELossless", "--quiet")
    assert (silent.returncode, silent.stdout, silent.stderr) == (0, "", "")


@contextlib.contextmanager
def terminal() -> Iterator[tuple[int, int]]:
    ours, theirs = pty.openpty()
    try:
        yield ours, theirs
    finally:
        os.close(ours)


def test_at_a_terminal_there_is_a_bar_that_goes_away_and_json_stays_clean(many: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "venturi", "compress", str(many), str(tmp_path), *SLOW, "--json"]
    with terminal() as (ours, theirs):
        environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env=environment, text=True)
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # its end, at a terminal
            while data := os.read(ours, 65536):
                shown += data
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert json.loads(out)["files"] == MANY
    text = shown.decode()
    assert f"/{MANY} files" in text
    assert "to go" in text
    assert text.rstrip().endswith("\x1b[2K"), "the bar was cleared"
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1, "the cursor is shown again"
