"""Waking another role at once: Unix datagram sockets in a folder, one for each process that waits.

``<role>.<pid>-<random>.bell``: a ring goes to every waiting process of the role, for a burst is work for all of
them. A socket that nobody holds any longer is removed by the next ring. A ring may be lost (a full socket, a
process that is starting): whoever waits also looks by itself now and then. Linux only: addresses go through
``/proc/self/fd``, because a socket's path may have no more than 107 bytes and a data folder may have more.
"""

import os
import select
import socket
from contextlib import suppress
from pathlib import Path

from venturi.ledger.port import Role
from venturi.log import get_logger

_log = get_logger()


class UnixDoorbell:
    """Rings any role; waits for ``role``. Threads may ring; one thread waits."""

    def __init__(self, folder: Path, role: Role | None) -> None:
        """Raise OSError where the folder or the socket can't be made."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._out = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._out.setblocking(False)
        self._in: socket.socket | None = None
        self._name = ""
        if role is not None:
            self._name = f"{role.value}.{os.getpid()}-{os.urandom(4).hex()}.bell"
            self._in = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._in.setblocking(False)
            self._in.bind(self._address(self._name))
            os.chmod(self._name, 0o600, dir_fd=self._folder)  # pathlib has no dir_fd

    def ring(self, role: Role) -> None:
        """Wake the role; see the port."""
        try:
            for name in os.listdir(self._folder):  # noqa: PTH208  # of a descriptor
                if name.startswith(f"{role.value}.") and name.endswith(".bell"):
                    self._ring(name)
        except OSError as error:  # the waiting role looks by itself
            _log.warning("doorbell", role=role.value, error=str(error))

    def wait(self, timeout_s: float) -> bool:
        """Sleep until rung or until the time has passed; see the port."""
        if self._in is None:
            raise RuntimeError("this doorbell was made for ringing only")
        poll = select.poll()
        poll.register(self._in, select.POLLIN)
        if not poll.poll(max(0.0, timeout_s) * 1000):
            return False
        with suppress(BlockingIOError):  # all rings so far are answered by one look
            while True:
                self._in.recv(16)
        return True

    def close(self) -> None:
        """Free the sockets and remove our own name; may be repeated."""
        if self._folder < 0:
            return
        if self._in is not None:
            self._in.close()
            with suppress(FileNotFoundError):
                os.unlink(self._name, dir_fd=self._folder)  # pathlib has no dir_fd
        self._out.close()
        os.close(self._folder)
        self._folder = -1

    def _address(self, name: str) -> str:
        return f"/proc/self/fd/{self._folder}/{name}"

    def _ring(self, name: str) -> None:
        try:
            self._out.sendto(b"!", self._address(name))
        except BlockingIOError:
            pass  # rung often enough: it has not yet looked
        except FileNotFoundError:
            pass  # closed since the folder was listed
        except ConnectionRefusedError:  # its process is dead, and names are never used again
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=self._folder)  # pathlib has no dir_fd
