"""What a worker's death costs: the object its compression, and nobody anything else. Real worker processes die here."""

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pydicom.data
import pytest

from integration.dangerous import LIMITS, Crew, Danger, notes
from integration.nodes import running
from integration.peers import dataset_bytes, run
from venturi.config.load import load
from venturi.ledger.database import open_database
from venturi.ledger.doorbell import UnixDoorbell
from venturi.ledger.port import Filter, Role
from venturi.ledger.sql import SqlLedger, open_ledger
from venturi.model import Envelope, Target
from venturi.spool.local import LocalSpool
from venturi.spool.naming import RENDITION_BUCKET_DIGITS
from venturi.transcode.foreman import Foreman
from venturi.transcode.sandbox import Limits

CONFIG = """\
node: {listen: "127.0.0.1:0", data: ./data}
console: off
peers: {any: {ae_title: "*", hosts: [127.0.0.1]}}
rules: [{name: all, transfer_syntax: JPEGLSLossless}]
destinations: {archive: {folder: ./archive}}
routes: [{to: [archive]}]
"""
CT = Path(str(pydicom.data.get_testdata_file("CT_small.dcm")))


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
        self.ringer.ring(Role.TRANSCODE)

    def run_until_decided(self, count: int, workers: int = 1, limits: Limits = LIMITS) -> None:
        """Let the foreman work until so many are decided or held."""

        def decided() -> bool:
            counts = self.ledger.totals().instances
            return counts.get("decided", 0) + counts.get("held", 0) >= count

        self.run_until(decided, workers, limits)

    def run_until(self, done: Callable[[], bool], workers: int, limits: Limits = LIMITS) -> None:
        """Let the foreman work until something holds, then drain it: it has left nothing half done."""
        foreman = Foreman(
            ledger=self.ledger,
            spool=self.spool,
            start_worker=lambda: Crew(self.folder),
            workers=workers,
            owner="test/",
            bells=(self.bell, self.ringer),
            limits_for=lambda _: limits,
        )
        stop = threading.Event()
        thread = threading.Thread(target=foreman.run, args=(stop,))
        thread.start()
        until = time.monotonic() + 90
        try:
            while not done() and time.monotonic() < until:
                time.sleep(0.05)
        finally:
            stop.set()
            thread.join(60)
        assert not thread.is_alive()
        assert list((self.config.node.data / "spool" / "renditions" / "incoming").iterdir()) == []

    def reasons(self) -> dict[str, str]:
        """By SOP instance, why it is as received; empty where it was transcoded."""
        return {row.sop_instance_uid: row.reason for row in self.ledger.deliveries(Filter(limit=1 << 20))}

    def detail(self, uid: str) -> str:
        """The reason in words."""
        return next(
            row.reason_detail
            for row in self.ledger.deliveries(Filter(limit=1 << 20))
            if row.sop_instance_uid == uid
        )

    def begun(self) -> Counter[str]:
        """How often each image was begun."""
        return Counter(uid for uid, what, _ in notes(self.folder) if what == "begun")


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    room = Room(tmp_path)
    yield room
    room.ledger.close()
    room.bell.close()
    room.ringer.close()


@pytest.mark.parametrize(
    ("danger", "how"),
    [
        (Danger.CRASHES, "killed by SIGSEGV"),
        (Danger.ABORTS, "killed by SIGABRT"),
        (Danger.EXITS, "exit code 3"),
        (Danger.IS_KILLED, "killed by SIGKILL"),
        (Danger.BURNS, "killed by SIGXCPU"),
        (Danger.LIES, "its answer is none to what it was asked"),
    ],
)
def test_an_image_that_ends_workers_goes_on_as_received_and_the_others_are_transcoded(
    room: Room, danger: Danger, how: str
) -> None:
    room.receive("1.2.3.1", danger, "1.2.3.2")
    room.run_until_decided(3)
    assert room.reasons() == {"1.2.3.1": "", danger: "worker-died", "1.2.3.2": ""}
    assert room.detail(danger) == f"it ended two workers: {how}; {how}"
    assert room.begun() == {"1.2.3.1": 1, danger: 2, "1.2.3.2": 1}
    assert {reason: count for (_, reason, _), count in room.ledger.totals().renditions.items()} == {
        "": 2,
        "worker-died": 1,
    }


def test_an_image_that_hangs_a_worker_goes_on_as_received(room: Room) -> None:
    room.receive(Danger.HANGS, "1.2.3.1")
    room.run_until_decided(2, limits=replace(LIMITS, wall_s=3.0))
    assert room.reasons() == {Danger.HANGS: "worker-died", "1.2.3.1": ""}
    assert room.detail(Danger.HANGS) == "it ended two workers: no answer in 3 s; no answer in 3 s"
    assert room.begun()[Danger.HANGS] == 2


@pytest.mark.parametrize("danger", [Danger.ALLOCATES, Danger.WRITES, Danger.MAPS])
def test_an_image_that_meets_a_limit_goes_on_as_received_and_costs_no_worker(
    room: Room, danger: Danger
) -> None:
    room.receive("1.2.3.1", danger, "1.2.3.2")
    room.run_until_decided(3)
    assert room.reasons() == {"1.2.3.1": "", danger: "too-large", "1.2.3.2": ""}
    assert len({pid for _, _, pid in notes(room.folder)}) == 1


def test_an_image_that_ended_one_worker_by_chance_is_transcoded_by_the_next(room: Room) -> None:
    room.receive(Danger.CRASHES_ONCE)
    room.run_until_decided(1)
    assert room.reasons() == {Danger.CRASHES_ONCE: ""}
    assert room.begun() == {Danger.CRASHES_ONCE: 2}


def test_an_image_that_ended_a_worker_is_tried_again_alone(room: Room) -> None:
    room.receive("1.2.3.1", Danger.CRASHES_IN_COMPANY)
    others = (f"1.2.4.{number}" for number in itertools.count())

    def others_come_and_it_is_done() -> bool:
        room.receive(next(others))
        return (str(Danger.CRASHES_IN_COMPANY), "done") in [note[:2] for note in notes(room.folder)]

    room.run_until(others_come_and_it_is_done, workers=3)
    said = [note[:2] for note in notes(room.folder)]
    (first, second) = (at for at, note in enumerate(said) if note == (Danger.CRASHES_IN_COMPANY, "begun"))
    assert "begun" in [what for _, what in said[first + 1 : second]], "it had company and crashed"
    assert said[second + 1] == (Danger.CRASHES_IN_COMPANY, "done"), "nothing was begun or done beside it"
    begun, done = ({uid for uid, what in said[:second] if what == word} for word in ("begun", "done"))
    assert begun - done == {Danger.CRASHES_IN_COMPANY}
    assert room.reasons()[Danger.CRASHES_IN_COMPANY] == ""


def test_images_that_end_workers_and_hang_them_on_every_bench_stall_nobody(room: Room) -> None:
    room.receive(Danger.CRASHES, Danger.HANGS, "1.2.3.1", Danger.CRASHES, Danger.EXITS, "1.2.3.2")
    room.run_until_decided(6, workers=3, limits=replace(LIMITS, wall_s=3.0))
    assert Counter(row.reason for row in room.ledger.deliveries(Filter())) == {"": 2, "worker-died": 4}
    assert room.ledger.owners() == []


def test_of_several_that_a_worker_is_given_only_the_one_it_dies_over_is_not_encoded(room: Room) -> None:
    """It is tried twice; those before it are not done again, and those behind it are."""
    fine = [f"1.2.3.{number}" for number in range(6)]
    room.receive(*fine[:3], Danger.CRASHES, *fine[3:])
    room.run_until_decided(7)
    assert room.reasons() == {**dict.fromkeys(fine, ""), Danger.CRASHES: "worker-died"}
    begun = Counter(uid for uid, what, _ in notes(room.folder) if what == "begun")
    assert begun == {**dict.fromkeys(fine, 1), Danger.CRASHES: 2}
    workers = {uid: pid for uid, what, pid in notes(room.folder) if what == "done"}
    assert len({workers[uid] for uid in fine[:3]}) == 1
    assert workers[fine[2]] != workers[fine[3]]


def test_a_worker_is_replaced_after_so_many_objects(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("venturi.transcode.crew.MOST_TOGETHER", 1)  # who gets several does all of them
    monkeypatch.setattr("venturi.transcode.bench.JOBS_PER_WORKER", 2)
    room.receive(*(f"1.2.3.{number}" for number in range(5)))
    room.run_until_decided(5)
    assert sorted(Counter(pid for _, what, pid in notes(room.folder) if what == "done").values()) == [1, 2, 2]


def test_a_worker_that_has_leaked_much_memory_is_replaced(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("venturi.transcode.bench.LEAK_BYTES", 20 << 20)
    monkeypatch.setattr("venturi.transcode.crew.MOST_TOGETHER", 1)
    room.receive(*(f"1.2.3.{number}" for number in range(5)))
    room.run_until_decided(5)
    assert len({pid for _, _, pid in notes(room.folder)}) == 2, "each object leaks 8 MiB"


def test_what_a_dead_role_left_half_written_is_removed_when_its_object_is_claimed_again(room: Room) -> None:
    room.receive("1.2.3.1")
    (claim,) = room.ledger.claim_instances("dead/", 1, 60)
    room.spool.draft_rendition(claim.instance, Target("1.2.840.10008.1.2.4.80")).path.write_bytes(b"half")
    room.ledger.release("dead/")
    room.run_until_decided(1)
    assert room.reasons() == {"1.2.3.1": ""}


def test_what_is_in_hand_is_not_begun_again_when_its_lease_has_run_out(room: Room) -> None:
    stepped = threading.Event()
    room.ledger.close()
    room.ledger = SqlLedger(
        open_database(f"sqlite:///{room.config.node.data / 'ledger.db'}", migrate=False),
        clock=lambda: time.time() + (3600 if stepped.is_set() else 0),
    )
    room.receive(Danger.HANGS)

    def the_clock_is_set_and_it_is_decided() -> bool:
        if room.begun():
            stepped.set()
        return room.ledger.totals().instances.get("decided", 0) == 1

    room.run_until(the_clock_is_set_and_it_is_decided, workers=2, limits=replace(LIMITS, wall_s=4.0))
    assert room.begun() == {Danger.HANGS: 2}
    assert room.reasons() == {Danger.HANGS: "worker-died"}


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
    monkeypatch.setattr("venturi.transcode.bench.STARTS", 1000)  # a worker can't start meanwhile
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


def workers_of(role: int) -> list[int]:
    """The worker processes of a transcode role."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended since
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == role and b"worker" in (path / "cmdline").read_bytes():
                found.append(int(path.name))
    return found


@pytest.mark.skipif(
    "Seccomp:" not in Path("/proc/self/status").read_text(), reason="this kernel has no filters"
)
def test_the_workers_of_a_running_node_are_shut_in(tmp_path: Path) -> None:
    with running(tmp_path) as node:
        sent = run("storescu", "-aec", "VENTURI", "127.0.0.1", str(node.port), CT)
        assert sent.returncode == 0, sent.stderr
        node.settle(1)
        (worker, *_) = workers_of(node.state["roles"]["transcode"])
        status = dict(
            line.split(":\t", 1) for line in Path(f"/proc/{worker}/status").read_text().splitlines()
        )
        limits = Path(f"/proc/{worker}/limits").read_text()
        assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", "1")
        assert Path(f"/proc/{worker}/oom_score_adj").read_text() == "1000\n"
    for name in ("cpu time", "file size", "data size", "address space", "open files"):
        (line,) = [line for line in limits.splitlines() if line.startswith(f"Max {name}")]
        assert "unlimited" not in line.split("  ")[1:3], line
    assert not any("not shut in" in said["event"] for said in node.said())
