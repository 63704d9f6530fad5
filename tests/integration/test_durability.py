"""What was acknowledged is there after a kill; what could not be made durable is refused and leaves nothing."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from venturi.dataset import part10
from venturi.errors import SpoolFull
from venturi.model import AS_RECEIVED, Envelope
from venturi.spool.local import LocalSpool

SOURCE = Path(__file__).parents[2] / "src"
ENVELOPE = Envelope(
    "1.2.840.10008.5.1.4.1.1.2", "1.2.3.4", "1.2.840.10008.1.2.1", "CT", "V", "ct", "10.0.0.1", 1.0
)

WRITER = """
import hashlib, os, sys, threading
from pathlib import Path
from venturi.model import Envelope
from venturi.spool.local import LocalSpool

intake = LocalSpool(Path(sys.argv[1])).intake()
envelope = Envelope("1.2.840.10008.5.1.4.1.1.2", "1.2.3.4", "1.2.840.10008.1.2.1", "CT", "V", "ct", "10.0.0.1", 1.0)

def receive():
    while True:
        data = os.urandom(300_000)
        draft = intake.create(envelope)
        for start in range(0, len(data), 16_384):
            draft.write(memoryview(data)[start:start + 16_384])
        instance = draft.commit()
        os.write(1, f"{instance.id} {hashlib.sha256(data).hexdigest()}\\n".encode())

for _ in range(3):
    threading.Thread(target=receive).start()
"""

ONE = """
import sys
from pathlib import Path
from venturi.errors import SpoolFailed
from venturi.model import Envelope
from venturi.spool.local import LocalSpool

intake = LocalSpool(Path(sys.argv[1])).intake()
envelope = Envelope("1.2.840.10008.5.1.4.1.1.2", "1.2.3.4", "1.2.840.10008.1.2.1", "CT", "V", "ct", "10.0.0.1", 1.0)
print("ready", flush=True)
draft = intake.create(envelope)
draft.write(b"x" * 100_000)
try:
    print(draft.commit().id)
except SpoolFailed as error:
    print("SpoolFailed", error)
try:
    intake.create(envelope)
    print("goes on")
except SpoolFailed:
    print("refuses")
"""


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(SOURCE)}


def objects(root: Path) -> list[Path]:
    return [path for path in (root / "receivers").rglob("*") if path.is_file() and path.name != "lock"]


def dataset_sha256(path: Path) -> str:
    with path.open("rb") as file:
        part10.read(file)
        return hashlib.sha256(file.read()).hexdigest()


def test_after_a_kill_every_acknowledged_object_is_there_and_nothing_half(tmp_path: Path) -> None:
    acknowledged: dict[str, str] = {}
    for turn in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)],
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.endswith("\n"):
                    acknowledged.update([line.split()])
                if len(acknowledged) >= 30 * (turn + 1):
                    process.send_signal(signal.SIGKILL)
                    break
            rest = process.stdout.read().splitlines(keepends=True)
            acknowledged.update(line.split() for line in rest if line.endswith("\n"))
    spool = LocalSpool(tmp_path)
    swept = {instance.id: instance for instance in spool.intake().sweep()}
    assert len(acknowledged) >= 90
    assert {name: dataset_sha256(spool.materialise(swept[name])) for name in acknowledged} == acknowledged
    assert all(dataset_sha256(spool.materialise(instance)) == instance.sha256 for instance in swept.values())
    assert {path.suffix for path in objects(tmp_path)} == {".dcm"}
    assert list((tmp_path / "corrupt").iterdir()) == []


@pytest.fixture
def strace() -> str:
    found = shutil.which("strace")
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("strace is missing: without it nothing shows what a failed fsync does")
        pytest.skip("strace is not installed")
    return found


def syncs(strace: str, root: Path, log: Path, inject: str = "") -> tuple[list[str], list[str]]:
    """Run ONE under strace: its lines, and the sync calls it made."""
    rules = ["-e", "trace=fsync,fdatasync", *(["-e", inject] if inject else [])]
    command = [strace, "-y", "-o", str(log), *rules, sys.executable, "-c", ONE, str(root)]
    run = subprocess.run(command, capture_output=True, text=True, env=environment(), check=True, timeout=120)
    return run.stdout.splitlines(), [line for line in log.read_text().splitlines() if "sync(" in line]


def test_a_commit_syncs_the_file_its_bucket_and_the_buckets_folder(strace: str, tmp_path: Path) -> None:
    lines, calls = syncs(strace, tmp_path / "spool", tmp_path / "log")
    assert lines[-1] == "goes on"
    assert [call.split("(")[0].split()[-1] for call in calls[-3:]] == ["fdatasync", "fsync", "fsync"]
    before = [Path(call.split("<")[1].split(">")[0]) for call in calls[:-3]]
    spool = tmp_path / "spool"
    assert {tmp_path, spool, spool / "receivers", spool / "receivers" / "r0"} <= set(before)
    assert ".part" in calls[-3]
    assert calls[-2].split(">")[0].endswith("/receivers/r0")
    assert "/receivers/r0/" in calls[-1]


@pytest.mark.parametrize("which", ["file", "bucket's folder", "bucket"])
def test_a_failed_sync_is_refused_leaves_nothing_and_stops_intake(
    strace: str, tmp_path: Path, which: str
) -> None:
    _, calls = syncs(strace, tmp_path / "healthy", tmp_path / "log")
    folders = sum("fsync(" in call for call in calls)
    call, number = {
        "file": ("fdatasync", 1),
        "bucket's folder": ("fsync", folders - 1),
        "bucket": ("fsync", folders),
    }[which]
    inject = f"inject={call}:error=EIO:when={number}"
    lines, failed = syncs(strace, tmp_path / "spool", tmp_path / "log", inject)
    assert lines[1].startswith("SpoolFailed")
    assert lines[2] == "refuses"
    assert objects(tmp_path / "spool") == []
    assert "INJECTED" in failed[-1], "the failed sync was followed by another"
    assert (".part>" in failed[-1]) == (which == "file")
    assert failed[-1].split(">")[0].endswith("/receivers/r0") == (which == "bucket's folder")
    assert list(LocalSpool(tmp_path / "spool").iterate()) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=64", "tmpfs", str(folder)]
    made = subprocess.run(mount, capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"a tmpfs can't be mounted here: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_spool_full_leaves_nothing_and_goes_on_when_there_is_room(small_disk: Path) -> None:
    intake = (spool := LocalSpool(small_disk)).intake()
    first = intake.create(ENVELOPE)
    first.write(bytes(600_000))
    kept = first.commit()
    draft = intake.create(ENVELOPE)
    draft.write(bytes(100_000))
    with pytest.raises(SpoolFull):
        draft.write(bytes(500_000))
    assert len(objects(small_disk)) == 1
    assert spool.free_fraction() < 0.5
    spool.delete(kept)
    again = intake.create(ENVELOPE)
    again.write(bytes(600_000))
    assert [instance.id for instance in (again.commit(), *spool.iterate())] == [again._id] * 2


def test_no_inodes_are_spool_full_and_seen_before(small_disk: Path) -> None:
    spool = LocalSpool(small_disk)
    intake = spool.intake()
    kept = []

    def fill() -> None:
        for _ in range(64):
            draft = intake.create(ENVELOPE)
            draft.write(b"\x08\0")
            kept.append(draft.commit())

    with pytest.raises(SpoolFull):
        fill()
    assert spool.free_fraction() == 0.0
    assert list(spool.iterate()) == kept


def test_a_rendition_that_finds_no_room_leaves_nothing(small_disk: Path) -> None:
    spool = LocalSpool(small_disk)
    draft = spool.intake().create(ENVELOPE)
    draft.write(b"\x08\0")
    rendition = spool.draft_rendition(draft.commit(), AS_RECEIVED)
    with pytest.raises(OSError, match="No space"), rendition.path.open("wb") as file:
        file.write(bytes(2_000_000))
    rendition.discard()
    assert list((small_disk / "renditions").rglob("*.part")) == []
    assert spool.free_fraction() > 0.5
