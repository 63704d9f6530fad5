"""Child processes of ours: how one is started, given its work, and told to stop.

A child is ``python -m venturi.roles NAME FD``, so that ``ps`` shows what it is. Over the socket pair behind FD the
parent sends its first message (what to do) and both speak pickled messages; nothing but our own processes can reach
it. When the parent dies, however it dies, the child reads the end of the stream and stops: no orphan keeps a port.
"""

import contextlib
import ctypes
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1"}
"""numpy's linear algebra, which nobody uses here, starts a thread a core that spins for a while."""


class Child:
    """A running child process, as its parent sees it."""

    def __init__(self, name: str, start: Any, fds: Sequence[int] = (), nice: int = 0) -> None:
        """Start it and send ``start``. ``fds`` stay open in it under the same numbers."""
        ours, theirs = socket.socketpair()
        self.name = name
        with theirs:
            command = [sys.executable, "-m", "venturi.roles", name, str(theirs.fileno())]
            # A group of its own keeps a Ctrl-C at the terminal for the supervisor, which drains in order. No session of
            # its own: Linux shares the processor out among sessions first, and ``nice`` counts only within one
            # (sched(7), autogroup).
            self.process = subprocess.Popen(  # noqa: S603 - our own interpreter and module, no shell
                command,
                pass_fds=(theirs.fileno(), *fds),
                stdin=subprocess.DEVNULL,
                process_group=0,
                env=os.environ | _ENVIRONMENT,
            )
        self.connection = Connection(ours.detach())
        if nice:
            with contextlib.suppress(ProcessLookupError):  # it died at once; whoever waits for it will see
                os.setpriority(os.PRIO_PROCESS, self.process.pid, nice)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the same
            self.connection.send(start)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def alive(self) -> bool:
        """Whether it runs still."""
        return self.process.poll() is None

    def terminate(self) -> None:
        """Ask it to finish what it has in hand and stop."""
        self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it now and wait until it is gone."""
        self.process.kill()
        self.process.wait()
        self.connection.close()

    def ending(self) -> str:
        """How it ended, in words."""
        code = self.process.poll()
        if code is None:
            return "running"
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def adopt(fd: int) -> Connection:
    """In a child: the connection to the parent, and the habits of every child of ours.

    No core dump (it would hold pixels and names), files and folders closed to others, and never stopped for writing a
    log to a terminal whose foreground is another's (``stty tostop``).
    """
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o077)
    return Connection(fd)


def die_with_parent() -> None:
    """In a child: be killed when the thread that started it ends, even while it hangs (PR_SET_PDEATHSIG, prctl(2)).

    For a worker only: a codec that hangs never sees the end of the stream. Raises OSError.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")


def lives(pid: int) -> bool:
    """Whether a process of ours has this pid: neither gone, nor a zombie, nor somebody else with a reused number."""
    try:
        return b"venturi" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


def stop_event() -> threading.Event:
    """An event that SIGTERM sets. A Ctrl-C is the supervisor's business."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return stop


def watch_parent(connection: Connection, stop: threading.Event) -> None:
    """Set ``stop`` when the parent is gone."""

    def watch() -> None:
        with contextlib.suppress(EOFError, OSError):  # both mean that the parent is gone
            while True:
                connection.recv()
        stop.set()

    threading.Thread(target=watch, name="lifeline", daemon=True).start()
