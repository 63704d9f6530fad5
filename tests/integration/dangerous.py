"""A worker whose transcoder copies images, but whom some images crash, hang, or have eat what there is.

Started as ``dangerous.py FOLDER FD`` by ``Crew``; what it does when, it notes in ``FOLDER/notes`` for all to see.
"""

import ctypes
import itertools
import json
import mmap
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from enum import StrEnum
from multiprocessing.connection import Connection
from pathlib import Path

from venturi.config.load import load
from venturi.dataset import part10
from venturi.model import Outcome, Proof, Reason, Target
from venturi.process import Child
from venturi.spool.local import LocalSpool
from venturi.transcode import allocator, sandbox
from venturi.transcode.judge import Judging
from venturi.transcode.shares import Done, Share, Spread
from venturi.transcode.worker import serve

MIB = 1 << 20
LIMITS = sandbox.Limits(wall_s=60.0, cpu_s=1.0, memory_bytes=256 * MIB, file_bytes=64 * MIB)


class Danger(StrEnum):
    """What an image does, by its SOP Instance UID."""

    CRASHES = "1.2.826.0.1.3680043.8.498.66.1"
    ABORTS = "1.2.826.0.1.3680043.8.498.66.2"
    EXITS = "1.2.826.0.1.3680043.8.498.66.3"
    IS_KILLED = "1.2.826.0.1.3680043.8.498.66.4"
    HANGS = "1.2.826.0.1.3680043.8.498.66.5"
    BURNS = "1.2.826.0.1.3680043.8.498.66.6"
    ALLOCATES = "1.2.826.0.1.3680043.8.498.66.7"
    WRITES = "1.2.826.0.1.3680043.8.498.66.8"
    MAPS = "1.2.826.0.1.3680043.8.498.66.9"
    CRASHES_ONCE = "1.2.826.0.1.3680043.8.498.66.10"
    CRASHES_IN_COMPANY = "1.2.826.0.1.3680043.8.498.66.11"
    LIES = "1.2.826.0.1.3680043.8.498.66.12"


class Dangerous:
    """The transcoder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.leaked: list[bytearray] = []

    def share(self, share: Share) -> Done:
        """Copies are made whole."""
        raise NotImplementedError

    def let_go(self) -> None:
        """Nothing is kept."""

    def transcode(self, source: Path, target: Target, output: Path, spread: Spread | None = None) -> Outcome:
        """Copy the image, if it lets one."""
        with source.open("rb") as file:
            meta, offset = part10.read(file)
        shutil.copyfile(source, output)
        size_bytes = output.stat().st_size - offset
        self.note(meta.sop_instance_uid, "begun")
        try:
            self.meet(meta.sop_instance_uid, output)
        except MemoryError:
            output.unlink()
            syntax = meta.transfer_syntax
            return Outcome(target, syntax, size_bytes, "0" * 64, Reason.TOO_LARGE, "no memory")
        self.note(meta.sop_instance_uid, "done")
        return Outcome(target, str(target.transfer_syntax), size_bytes, "0" * 64, proof=Proof.PIXELS)

    def meet(self, uid: str, output: Path) -> None:
        """Do what the image makes one do."""
        self.leaked.append(bytearray(8 * MIB))
        match uid:
            case Danger.CRASHES:
                crash()
            case Danger.ABORTS:
                os.abort()
            case Danger.EXITS:
                os._exit(3)
            case Danger.IS_KILLED:
                os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does, when it has no memory left
            case Danger.HANGS:
                time.sleep(3600)
            case Danger.BURNS:
                threading.Thread(target=lambda: sum(itertools.repeat(0))).start()
                time.sleep(3600)
            case Danger.ALLOCATES:
                self.leaked = [bytearray(MIB) for _ in itertools.count()]
            case Danger.WRITES:
                with output.open("wb") as file:
                    file.writelines(itertools.repeat(bytes(MIB)))
            case Danger.MAPS:
                with output.open("r+b") as file:
                    file.truncate(60 * MIB)
                    deque(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) for _ in itertools.count())
            case Danger.CRASHES_ONCE if self.seen(uid) == 1:
                crash()
            case Danger.CRASHES_IN_COMPANY:
                self.wait_for_company(uid)
            case Danger.LIES:
                os.write(int(sys.argv[2]), b"\0\0\0\x04" + b"cos\n")  # by the protocol of a Connection
                time.sleep(3600)

    def wait_for_company(self, uid: str) -> None:
        """Crash as soon as another worker begins something; the second time only wait a while for one."""
        before = len(notes(self.folder))
        first = self.seen(uid) == 1
        until = time.monotonic() + (60 if first else 0.5)
        while time.monotonic() < until:
            if any(what == "begun" for _, what, _ in notes(self.folder)[before:]):
                crash()
            time.sleep(0.01)

    def seen(self, uid: str) -> int:
        """How often an image was begun."""
        return sum((noted, what) == (uid, "begun") for noted, what, _ in notes(self.folder))

    def note(self, uid: str, what: str) -> None:
        """Add a line to what all workers note."""
        with (self.folder / "notes").open("a") as file:
            file.write(json.dumps([uid, what, os.getpid()]) + "\n")


def notes(folder: Path) -> list[tuple[str, str, int]]:
    """What the workers have noted, in its order: SOP Instance UID, ``begun`` or ``done``, and who."""
    path = folder / "notes"
    return [tuple(json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []


def crash() -> None:
    """Read where nothing is."""
    ctypes.string_at(0)


class Crew(Child):
    """Such a worker, as its foreman sees it."""

    def __init__(self, folder: Path) -> None:
        ours, theirs = socket.socketpair()
        self.name = "worker"
        with theirs:
            command = [sys.executable, __file__, str(folder), str(theirs.fileno())]
            self.process = subprocess.Popen(command, pass_fds=(theirs.fileno(),), stderr=subprocess.DEVNULL)
        self.connection = Connection(ours.detach())


def main(folder: Path, descriptor: int) -> None:
    """Be such a worker, as ``node.worker`` is one."""
    config = load(folder / "venturi.yaml")
    transcoder = Dangerous(folder)
    judge = Judging(config, LocalSpool(config.node.data / "spool"), transcoder).judge
    allocator.keep_freed()
    sandbox.enter()
    serve(Connection(descriptor), judge, transcoder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
