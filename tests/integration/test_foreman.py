"""What a worker's death costs: the object its compression, and nobody anything else. Real worker processes die here."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pydicom
import pydicom.data
import pytest

from integration.peers import dataset_bytes
from venturi.config.load import load
from venturi.ledger.doorbell import UnixDoorbell
from venturi.ledger.port import Filter, Role
from venturi.ledger.sql import open_ledger
from venturi.model import Envelope, Outcome, Target
from venturi.process import Child
from venturi.spool.local import LocalSpool
from venturi.spool.naming import RENDITION_BUCKET_DIGITS
from venturi.transcode.engine import Engine
from venturi.transcode.foreman import Foreman
from venturi.transcode.worker import Worker, serve

CONFIG = """\
node: {listen: "127.0.0.1:0", data: ./data}
console: off
peers: {any: {ae_title: "*", hosts: [127.0.0.1]}}
rules: [{name: all, transfer_syntax: JPEGLSLossless}]
destinations: {archive: {folder: ./archive}}
routes: [{to: [archive]}]
"""
CT = Path(str(pydicom.data.get_testdata_file("CT_small.dcm")))
CT_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
DEADLY = "1.2.826.0.1.3680043.8.498.666"
HANGING = "1.2.826.0.1.3680043.8.498.667"


class Dangerous(Engine):
    """An engine with a codec that some images kill, and others hang."""

    def transcode(self, source: Path, target: Target, output: Path) -> Outcome:
        uid = str(pydicom.dcmread(source, stop_before_pixels=True).file_meta.MediaStorageSOPInstanceUID)
        if uid == DEADLY:
            os.kill(os.getpid(), signal.SIGSEGV)
        if uid == HANGING:
            time.sleep(3600)
        return super().transcode(source, target, output)


class Crew(Child):
    """A worker process with the dangerous engine."""

    def __init__(self, folder: Path) -> None:
        ours, theirs = socket.socketpair()
        self.name = "worker"
        with theirs:
            command = [sys.executable, __file__, str(folder), str(theirs.fileno())]
            paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
            self.process = subprocess.Popen(
                command, pass_fds=(theirs.fileno(),), stderr=subprocess.DEVNULL, env=environment
            )
        self.connection = Connection(ours.detach())


class Room:
    """A foreman over a spool and a ledger in a folder."""

    def __init__(self, folder: Path) -> None:
        (folder / "venturi.yaml").write_text(CONFIG)
        self.config = load(folder / "venturi.yaml")
        self.config.node.data.mkdir()
        self.spool = LocalSpool(self.config.node.data / "spool")
        self.ledger = open_ledger(f"sqlite:///{self.config.node.data / 'ledger.db'}", migrate=True)
        self.bell = UnixDoorbell(folder / "run", Role.TRANSCODE)
        self.ringer = UnixDoorbell(folder / "run", None)
        self.folder = folder

    def receive(self, *uids: str) -> None:
        """Put images into the spool and the ledger, as a receiver would."""
        intake = self.spool.intake()
        for uid in uids:
            envelope = Envelope(
                "1.2.840.10008.5.1.4.1.1.2",
                uid,
                "1.2.840.10008.1.2.1",
                "CT1",
                "VENTURI",
                "any",
                "127.0.0.1",
                time.time(),
            )
            draft = intake.create(envelope)
            draft.write(dataset_bytes(CT))
            self.ledger.add([draft.commit()])
        intake.close()

    def run_until_decided(self, count: int, workers: int = 1) -> None:
        """Let the foreman work until so many are decided or held."""
        start = lambda: Crew(self.folder)  # noqa: E731 - what the foreman is given
        foreman = Foreman(self.ledger, self.spool, start, workers, "test/", (self.bell, self.ringer))
        stop = threading.Event()
        thread = threading.Thread(target=foreman.run, args=(stop,))
        thread.start()
        until = time.monotonic() + 90
        while time.monotonic() < until:
            counts = self.ledger.totals().instances
            if counts.get("decided", 0) + counts.get("held", 0) >= count:
                break
            time.sleep(0.1)
        stop.set()
        thread.join(60)
        assert not thread.is_alive()

    def reasons(self) -> dict[str, str]:
        """By SOP instance, why it is as received; empty where it was transcoded."""
        return {row.sop_instance_uid: row.reason for row in self.ledger.deliveries(Filter())}


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    room = Room(tmp_path)
    yield room
    room.ledger.close()
    room.bell.close()
    room.ringer.close()


def test_an_image_that_kills_workers_goes_on_as_received_and_the_others_are_transcoded(room: Room) -> None:
    room.receive("1.2.3.1", DEADLY, "1.2.3.2")
    room.run_until_decided(3)
    assert room.reasons() == {"1.2.3.1": "", DEADLY: "worker-died", "1.2.3.2": ""}


def test_an_image_that_hangs_a_worker_goes_on_as_received(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("venturi.transcode.foreman.allowed_s", lambda _: 1.0)
    room.receive(HANGING, "1.2.3.1")
    room.run_until_decided(2)
    assert room.reasons() == {HANGING: "worker-died", "1.2.3.1": ""}


def test_a_damaged_original_is_set_aside_and_held(room: Room) -> None:
    room.receive("1.2.3.1", "1.2.3.2")
    victim = sorted((room.config.node.data / "spool" / "receivers").glob("*/*/*.dcm"))[0]
    data = bytearray(victim.read_bytes())
    data[-1000] ^= 1
    victim.write_bytes(data)
    room.run_until_decided(2)
    assert room.reasons() == {"1.2.3.2": ""}
    assert [row.held for row in room.ledger.held_instances()] == ["damaged"]
    assert [path.name for path in (room.config.node.data / "spool" / "corrupt").iterdir()] == [victim.name]


def test_a_rendition_that_can_not_be_written_is_tried_again_and_not_blamed_on_the_image(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("venturi.transcode.foreman.DISK_WAIT_S", 0.2)
    room.receive("1.2.3.1")
    renditions = room.config.node.data / "spool" / "renditions"
    shutil.rmtree(renditions, ignore_errors=True)
    renditions.write_text("in the way")
    unblock = threading.Timer(4, renditions.unlink)
    unblock.start()
    room.run_until_decided(1)
    unblock.join()
    assert room.reasons() == {"1.2.3.1": ""}


def test_a_rendition_that_can_not_be_kept_is_tried_again_and_not_blamed_on_the_image(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("venturi.transcode.foreman.DISK_WAIT_S", 0.2)
    room.receive("1.2.3.1")
    (claim,) = room.ledger.claim_instances("other", 1, 60)
    room.ledger.release("other")
    bucket = room.config.node.data / "spool" / "renditions" / claim.instance.id[:RENDITION_BUCKET_DIGITS]
    bucket.write_text("in the way")
    unblock = threading.Timer(4, bucket.unlink)
    unblock.start()
    room.run_until_decided(1)
    unblock.join()
    assert room.reasons() == {"1.2.3.1": ""}


def test_leases_of_what_was_not_begun_are_free_after_a_stop(room: Room) -> None:
    room.receive(*(f"1.2.3.{number}" for number in range(1, 8)))
    room.run_until_decided(1)
    assert room.ledger.owners() == []
    assert {claim.tries for claim in room.ledger.claim_instances("other/", 10, 60)} <= {1}


PARENT = """
import sys, time
from pathlib import Path
from venturi.config.load import load
from venturi.process import Child
worker = Child("worker", load(Path(sys.argv[1])))
assert worker.connection.recv() == "ready"
print(worker.pid, flush=True)
time.sleep(3600)
"""


def test_a_worker_that_hangs_ends_with_its_foreman(room: Room) -> None:
    command = [sys.executable, "-c", PARENT, str(room.folder / "venturi.yaml")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        os.kill(worker, signal.SIGSTOP)
        parent.kill()
    until = time.monotonic() + 30
    while alive(worker):
        assert time.monotonic() < until, "the worker has outlived its foreman"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie (proc(5))."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def main(folder: Path, descriptor: int) -> None:
    """Be a dangerous worker."""
    config = load(folder / "venturi.yaml")
    worker = Worker(config, LocalSpool(config.node.data / "spool"), Dangerous())
    serve(Connection(descriptor), worker.judge)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
