"""A worker of a crew with the real engine, small shares, and dangers in some of them.

Started as ``spread_worker.py FOLDER DANGER FD`` by ``Spreader``; which shares it does, it notes in ``FOLDER/notes``.
"""

import contextlib
import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
from enum import StrEnum
from multiprocessing.connection import Connection
from pathlib import Path

from venturi.model import Outcome, Target
from venturi.process import Child
from venturi.transcode import allocator, sandbox, spreading
from venturi.transcode.compress import Compressing
from venturi.transcode.engine import Engine
from venturi.transcode.shares import Done, Phase, Request, Share, Spread
from venturi.transcode.worker import serve

SHARE_BYTES = 1 << 16


class Danger(StrEnum):
    """What happens while an object is spread."""

    NONE = "none"
    NONE_BUT_IT_WAITS = "none-but-it-waits"
    """For help, before it does a share itself."""
    HELPER_IS_KILLED = "helper-is-killed"
    HELPER_IS_KILLED_PROVING = "helper-is-killed-proving"
    HELPER_HANGS = "helper-hangs"
    HELPER_LIES = "helper-lies"
    LEAD_IS_KILLED = "lead-is-killed"
    LEAD_HANGS = "lead-hangs"
    LEAD_LIES = "lead-lies"
    LEAD_ASKS_AND_ASKS = "lead-asks-and-asks"
    LEAD_SAYS_WHAT_IT_MAY_NOT = "lead-says-what-it-may-not"
    DISK_IS_FULL = "disk-is-full"


class Sharing:
    """The engine, and what happens to it."""

    def __init__(self, folder: Path, danger: Danger, connection: Connection) -> None:
        self.folder, self.danger, self.connection = folder, danger, connection
        self.engine = Engine()

    def let_go(self) -> None:
        """See the port."""
        self.engine.let_go()

    def share(self, share: Share) -> Done:
        """Be a helper."""
        self.note("helps", share.number)
        proving = self.danger is Danger.HELPER_IS_KILLED_PROVING
        wanted = Phase.PROVE if proving else Phase.ENCODE
        if share.phase is wanted:
            if self.danger in (Danger.HELPER_IS_KILLED, Danger.HELPER_IS_KILLED_PROVING):
                self.begin(share)
                os.kill(os.getpid(), signal.SIGKILL)
            if self.danger is Danger.HELPER_HANGS:
                self.begin(share)
                time.sleep(3600)
            if self.danger is Danger.HELPER_LIES:
                return Done(share.number + 1)
            if self.danger is Danger.DISK_IS_FULL:
                self.begin(share)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.engine.share(share)

    def begin(self, share: Share) -> None:
        """Leave something half made."""
        if share.phase is Phase.ENCODE:
            share.part.write_bytes(b"half")

    def transcode(self, source: Path, target: Target, output: Path, spread: Spread | None = None) -> Outcome:
        """Be the lead, or alone."""
        self.note("leads" if spread else "is alone", 0)

        def asks(request: Request, do: object) -> tuple[Done, ...]:
            def own(share: Share) -> Done:
                self.note("does", share.number)
                if self.danger not in (Danger.NONE, Danger.DISK_IS_FULL, Danger.HELPER_IS_KILLED_PROVING):
                    self.wait_for_help()
                if self.danger is Danger.LEAD_IS_KILLED:
                    self.begin(share)
                    os.kill(os.getpid(), signal.SIGKILL)
                if self.danger is Danger.LEAD_HANGS:
                    time.sleep(3600)
                if self.danger is Danger.LEAD_LIES:
                    return Done(share.number + 1)
                if self.danger is not Danger.NONE:
                    time.sleep(0.2)  # nobody does all before another has begun
                return do(share)  # type: ignore[operator]

            if self.danger is Danger.LEAD_ASKS_AND_ASKS:
                while True:
                    with contextlib.suppress(FileExistsError):
                        spread(request, do)
            if self.danger is Danger.LEAD_SAYS_WHAT_IT_MAY_NOT:
                self.connection.send(Request((*request.shares[:-1], "no share")))
                time.sleep(3600)
            return spread(request, own)

        return self.engine.transcode(source, target, output, asks if spread else None)

    def wait_for_help(self) -> None:
        """Go on when somebody helps."""
        until = time.monotonic() + 30
        while not any(what == "helps" for what, _, _ in notes(self.folder)) and time.monotonic() < until:
            time.sleep(0.01)

    def note(self, what: str, number: int) -> None:
        """Add a line to what all workers note."""
        with (self.folder / "notes").open("a") as file:
            file.write(json.dumps([what, number, os.getpid()]) + "\n")


def notes(folder: Path) -> list[tuple[str, int, int]]:
    """What they have noted, in its order: what, which share, and who."""
    path = folder / "notes"
    return [tuple(json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []


class Spreader(Child):
    """Such a worker, as its crew sees it."""

    def __init__(self, folder: Path, danger: Danger) -> None:
        ours, theirs = socket.socketpair()
        self.name = "worker"
        with theirs:
            command = [sys.executable, __file__, str(folder), danger, str(theirs.fileno())]
            self.process = subprocess.Popen(command, pass_fds=(theirs.fileno(),))
        self.connection = Connection(ours.detach())


def main(folder: Path, danger: Danger, descriptor: int) -> None:
    """Be such a worker, as ``node.compressor`` is one."""
    spreading.SHARE_BYTES = SHARE_BYTES
    connection = Connection(descriptor)
    transcoder = Sharing(folder, danger, connection)
    allocator.keep_freed()
    sandbox.enter()
    serve(connection, Compressing(None, transcoder).compress, transcoder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Danger(sys.argv[2]), int(sys.argv[3]))
