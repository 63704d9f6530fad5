"""For tests of associations: what a peer says, and a host that keeps count."""

import struct
from collections.abc import Sequence

from venturi.receive import association
from venturi.receive.admission import Admitted
from venturi.receive.association import Association
from venturi.receive.port import Store, StoreRequest
from venturi.upper_layer import pdu

ECHO = b"".join(
    struct.pack("<HHIH", 0, element, 2, value)
    for element, value in ((0x0100, 0x0030), (0x0110, 7), (0x0800, 0x0101))
)
"""A C-ECHO-RQ."""
CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"

__all__ = [
    "CT",
    "ECHO",
    "EXPLICIT",
    "Host",
    "Wire",
    "command_pdu",
    "data_pdu",
    "play",
    "request_pdu",
    "store",
]


class Wire:
    """A socket that brings a stream, a piece at a time, and then its end."""

    def __init__(self, stream: bytes, sizes: Sequence[int] = (1 << 20,)) -> None:
        self._stream, self._at = memoryview(stream), 0
        self._sizes, self._turn = sizes, 0
        self.said = bytearray()

    def recv_into(self, view: memoryview) -> int:
        size = min(self._sizes[self._turn % len(self._sizes)], len(view), len(self._stream) - self._at)
        view[:size] = self._stream[self._at : self._at + size]
        self._at, self._turn = self._at + size, self._turn + 1
        return size

    def sendall(self, data: bytes) -> None:
        self.said += data

    def setblocking(self, flag: bool) -> None:
        pass

    def setsockopt(self, level: int, option: int, value: int | bytes) -> None:
        pass

    def shutdown(self, how: int) -> None:
        pass

    def close(self) -> None:
        pass


class _Kept:
    """A ``Store`` in memory."""

    def __init__(self, host: "Host") -> None:
        self._host, self._data = host, b""
        host.open += 1

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._data += bytes(data)

    def finish(self) -> int:
        self._host.open -= 1
        self._host.stored.append(self._data)
        return 0

    def abandon(self) -> None:
        self._host.open -= 1
        self._host.abandoned += 1


class Host:
    """Takes everybody and everything, unless it is told otherwise."""

    pdu_bytes = 131072
    tls = None
    commitment = None

    def __init__(
        self, answer: str | tuple[int, int, int] = "ct", *, may_begin: bool = True, timeout_s: float = 30.0
    ) -> None:
        self.handler = self
        self.timeout_s = timeout_s
        self.stored: list[bytes] = []
        self.open = self.abandoned = self.over = 0
        self.log = Log()
        self._answer, self._may_begin = answer, may_begin

    def begin(self, request: StoreRequest) -> Store:
        return _Kept(self)

    def accepting(self) -> bool:
        return True

    def admit(self, association: Association) -> Admitted | tuple[int, int, int]:
        return Admitted(self._answer) if isinstance(self._answer, str) else self._answer

    def may_begin(self) -> bool:
        return self._may_begin

    def leaves(self, association: Association) -> None:
        pass

    def ended(self, association: Association) -> None:
        self.over += 1


class Log:
    """What an association says to its log."""

    def __init__(self) -> None:
        self.lines: list[dict[str, str]] = []
        self.mistakes: list[str] = []

    def warning(self, event: str, **fields: str) -> None:
        self.lines.append({"event": event, **fields})

    def error(self, event: str, error: str, **fields: str) -> None:
        self.mistakes.append(error)


def play(host: Host, stream: bytes, sizes: Sequence[int] = (1 << 20,)) -> bytes:
    """Run an association over a stream, to its end; what it said. What it logged is the host's ``log``."""
    wire = Wire(stream, sizes)
    running = association.Association(host, wire, "192.0.2.1")  # type: ignore[arg-type]  # as much as it uses
    log, association.log = association.log, host.log  # type: ignore[assignment]  # as much as it uses
    try:
        running.run()
    finally:
        association.log = log
    return bytes(wire.said)


def request_pdu(
    contexts: Sequence[tuple[str, Sequence[str]]] = ((CT, (EXPLICIT,)),), calling: str = "CT1"
) -> bytes:
    """An A-ASSOCIATE-RQ."""

    def item(kind: int, value: bytes) -> bytes:
        return bytes((kind, 0)) + len(value).to_bytes(2, "big") + value

    body = struct.pack(">H2x16s16s32x", 1, b"VENTURI".ljust(16), calling.encode("latin-1").ljust(16))
    body += item(0x10, pdu.APPLICATION_CONTEXT)
    for number, (abstract, syntaxes) in enumerate(contexts):
        transfer = b"".join(item(0x40, syntax.encode()) for syntax in syntaxes)
        body += item(0x20, bytes((2 * number + 1, 0, 0, 0)) + item(0x30, abstract.encode()) + transfer)
    body += item(0x50, item(0x51, (16384).to_bytes(4, "big")))
    return pdu.HEADER.pack(pdu.REQUEST, len(body)) + body


def value_pdu(control: int, data: bytes, context_id: int) -> bytes:
    """A P-DATA-TF of one value."""
    body = pdu.VALUE.pack(len(data) + 2, context_id, control) + data
    return pdu.HEADER.pack(pdu.P_DATA_TF, len(body)) + body


def command_pdu(data: bytes, context_id: int) -> bytes:
    """A whole command set."""
    return value_pdu(3, data, context_id)


def data_pdu(data: bytes, context_id: int, *, last: bool = True) -> bytes:
    """A fragment of a dataset."""
    return value_pdu(2 if last else 0, data, context_id)


def store(data: bytes, *, size: int = 16000, message_id: int = 1, whole: bool = True) -> bytes:
    """A C-STORE-RQ and its dataset, in fragments of a size."""
    elements = [
        (0x0002, CT.encode() + b"\0"),
        (0x0100, b"\1\0"),
        (0x0110, message_id.to_bytes(2, "little")),
        (0x0800, b"\0\0"),
        (0x1000, b"1.2.3\0"),
    ]
    command = b"".join(struct.pack("<HHI", 0, number, len(value)) + value for number, value in elements)
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    return command_pdu(command, 1) + b"".join(
        data_pdu(part, 1, last=whole and at == len(parts) - 1) for at, part in enumerate(parts)
    )
