"""The PDUs that the benchmarks' sender and the receiver that does nothing need, made and read without a library."""

import functools
import socket
import struct
from collections.abc import Sequence

from pynetdicom import StoragePresentationContexts

EXPLICIT = "1.2.840.10008.1.2.1"
UNCOMPRESSED = (EXPLICIT, "1.2.840.10008.1.2.2", "1.2.840.10008.1.2")
PDU_BYTES = 131072
"""What this sender says it takes; it sends as long ones as the receiver takes, and no longer ones than this."""
CONTEXT = 1
CONTEXTS = 128
TIMEOUT_S = 300


def element(group: int, number: int, value: bytes) -> bytes:
    """One in implicit VR little endian."""
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HHI", group, number, len(value)) + value


def command(sop_class: str, uid_text: str) -> bytes:
    """A C-STORE-RQ's command set (PS3.7 9.3.1.1), Message ID 1."""
    body = (
        element(0, 0x0002, sop_class.encode())
        + element(0, 0x0100, struct.pack("<H", 1))
        + element(0, 0x0110, struct.pack("<H", 1))
        + element(0, 0x0700, struct.pack("<H", 0))
        + element(0, 0x0800, struct.pack("<H", 1))
        + element(0, 0x1000, uid_text.encode())
    )
    return element(0, 0x0000, struct.pack("<I", len(body))) + body


def p_data_header(length: int, control: int) -> bytes:
    """What comes before ``length`` bytes of a P-DATA-TF PDU with one fragment (PS3.8 9.3.5)."""
    return struct.pack(">BBIIBB", 4, 0, length + 6, length + 2, CONTEXT, control)


def p_data(data: bytes, control: int) -> bytes:
    """One P-DATA-TF PDU with one fragment (PS3.8 9.3.5)."""
    return p_data_header(len(data), control) + data


def item(kind: int, data: bytes) -> bytes:
    """An item of an association's PDUs."""
    return struct.pack(">BBH", kind, 0, len(data)) + data


def proposal(called: str, contexts: Sequence[tuple[str, Sequence[str]]]) -> bytes:
    """An A-ASSOCIATE-RQ (PS3.8 9.3.2) for SOP classes, each with its transfer syntaxes; the first is CONTEXT."""
    user = item(0x51, struct.pack(">I", PDU_BYTES)) + item(0x52, b"1.2.826.0.1.3680043.10.1")
    body = (
        struct.pack(">HH", 1, 0)
        + called.encode().ljust(16)
        + b"BENCHMARK".ljust(16)
        + b"\0" * 32
        + item(0x10, b"1.2.840.10008.3.1.1.1")
    )
    for number, (sop_class, syntaxes) in enumerate(contexts):
        names = item(0x30, sop_class.encode()) + b"".join(item(0x40, one.encode()) for one in syntaxes)
        body += item(0x20, bytes([CONTEXT + 2 * number, 0, 0, 0]) + names)
    body += item(0x50, user)
    return struct.pack(">BBI", 1, 0, len(body)) + body


def many_contexts(called: str, sop_class: str) -> bytes:
    """A proposal of CONTEXTS storage classes in all that is not compressed, as gateways make it."""
    others = [str(one.abstract_syntax) for one in StoragePresentationContexts]
    classes = dict.fromkeys([sop_class, *others])
    return proposal(called, [(one, UNCOMPRESSED) for one in list(classes)[:CONTEXTS]])


@functools.lru_cache
def _longest(answer: bytes) -> int:
    """How long PDUs may be, by an A-ASSOCIATE-AC that accepts CONTEXT in explicit VR little endian."""
    longest, at, accepted = PDU_BYTES, 68, False
    while at + 4 <= len(answer):
        kind, _, length = struct.unpack_from(">BBH", answer, at)
        if kind == 0x21 and answer[at + 4] == CONTEXT:
            syntax = answer[at + 12 : at + 4 + length].rstrip(b"\0").decode()
            accepted = answer[at + 6] == 0 and syntax == EXPLICIT
        if kind == 0x50:
            length = 0  # the user information's items follow
        elif kind == 0x51:
            longest = struct.unpack_from(">I", answer, at + 4)[0] or PDU_BYTES
        at += 4 + length
    if not accepted:
        raise RuntimeError("the presentation context was not accepted in explicit VR little endian")
    return min(longest, PDU_BYTES)


def associate(port: int, request: bytes) -> tuple[socket.socket, int]:
    """Negotiate what a proposal says; the connection, and the longest PDU."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
    connection.settimeout(None)  # the kernel's timeouts need no poll(2) before each call
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        connection.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", TIMEOUT_S, 0))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(request)
    kind, answer = receive_pdu(connection)
    if kind != 2:
        raise RuntimeError(f"the association was not accepted: PDU type {kind}")
    return connection, _longest(answer)


def release(connection: socket.socket) -> None:
    """End an association in order."""
    connection.sendall(struct.pack(">BBII", 5, 0, 4, 0))
    receive_pdu(connection)
    connection.close()


def receive_pdu(connection: socket.socket) -> tuple[int, bytes]:
    """The next PDU's type and body."""
    header = exactly(connection, 6)
    kind, _, length = struct.unpack(">BBI", header)
    return kind, exactly(connection, length)


def exactly(connection: socket.socket, count: int) -> bytes:
    """So many bytes."""
    data = b""
    while len(data) < count:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        got = connection.recv(count - len(data))
        if not got:
            raise RuntimeError("the receiver closed the connection")
        data += got
    return data


def status_of(body: bytes) -> int:
    """The Status (0000,0900) of a response's P-DATA."""
    at = body.index(b"\0\0\0\x09\x02\0\0\0")
    return int(struct.unpack_from("<H", body, at + 8)[0])
