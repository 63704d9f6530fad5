"""A connection to a peer: pieces out, PDUs in, and no wait without an end."""

import select
import socket
import ssl
import time
from collections.abc import Callable, Sequence

from venturi.errors import Temporary
from venturi.upper_layer import pdu

PIECES = 512
"""Given to one system call; IOV_MAX is 1024."""
ANSWER_BYTES = 1 << 17
"""The longest PDU that a peer may answer with."""
READ_BYTES = 4096
"""Read at once: an answer has some hundred."""
LOOK_S = 0.5
"""How often who waits for a peer looks at its deadline, and whether anybody waits still."""


class Lost(Temporary):
    """The association ended before the answer came: whether the peer has the object is not known."""

    def __init__(self, status: str, words: str) -> None:
        super().__init__(words)
        self.status = status


class Wire:
    """A connection: pieces out, PDUs in. Whatever fails closes it."""

    def __init__(self, connected: socket.socket, timeout_s: float) -> None:
        self._socket = connected
        self._timeout_s = timeout_s
        self._together = not isinstance(connected, ssl.SSLSocket)
        self._read_already = bytearray()
        self.open = True

    def quiet(self, within_s: float = 0.0) -> bool:
        """Whether the peer says nothing that is not read yet, its end neither, for so long."""
        poller = select.poll()
        poller.register(self._socket, select.POLLIN)
        return not self._read_already and not poller.poll(within_s * 1000)

    def send(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Send all. Raises Lost."""
        try:
            self._socket.settimeout(self._timeout_s)
            if not self._together:
                for piece in pieces:
                    self._socket.sendall(piece)
                return
            self._send_together(pieces)
        except TimeoutError as error:
            self.close()
            raise Lost("timeout", "the peer takes no more data") from error
        except OSError as error:
            self.close()
            raise Lost("aborted", "the peer ended the association in mid-object") from error

    def pdu(self, until: float, given_up: Callable[[], bool] = lambda: False) -> tuple[int, bytes]:
        """Read the next: its type and body. Raises Lost."""
        kind, length = pdu.HEADER.unpack(self._read(pdu.HEADER.size, until, given_up))
        if length > ANSWER_BYTES:
            self.close()
            raise Lost("aborted", f"the peer announced a PDU of {length} bytes")
        return kind, self._read(length, until, given_up)

    def close(self) -> None:
        """Close it, whatever its state."""
        self.open = False
        self._socket.close()

    def _send_together(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Send by as few system calls as the peer's pace allows; each piece has its own deadline."""
        left, until = list(pieces), time.monotonic() + self._timeout_s
        while left:
            sent = self._socket.sendmsg(left[:PIECES])
            while left and sent >= len(left[0]):
                sent -= len(left.pop(0))
                until = time.monotonic() + self._timeout_s
            if left:
                left[0] = memoryview(left[0])[sent:]
                left_s = until - time.monotonic()
                if left_s <= 0:
                    raise TimeoutError
                self._socket.settimeout(left_s)

    def _read(self, count: int, until: float, given_up: Callable[[], bool]) -> bytes:
        try:
            while len(self._read_already) < count:
                left_s = until - time.monotonic()
                if left_s <= 0 or given_up():
                    raise TimeoutError
                self._socket.settimeout(min(left_s, LOOK_S))
                if self._together:
                    self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
                try:
                    part = self._socket.recv(READ_BYTES)
                except TimeoutError:
                    continue
                if not part:
                    raise ConnectionResetError
                self._read_already += part
        except TimeoutError as error:
            self.close()
            raise Lost("timeout", "the peer did not answer in time") from error
        except OSError as error:
            self.close()
            raise Lost("aborted", "the peer ended the association before it answered") from error
        data = bytes(self._read_already[:count])
        del self._read_already[:count]
        return data
