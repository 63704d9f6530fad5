"""A C-STORE sender that is no bottleneck, and a receiver that does nothing, to show so.

One process an association. Every object's P-DATA stands ready before the burst: only its SOP Instance UID is put in,
at its two places, and the whole goes to the kernel in one call. Nagle is off, and each acknowledgement goes out at
once (TCP_NODELAY, TCP_QUICKACK): neither side waits for the other's timers. The next object is sent when the last
one's response has come and says 0000.
"""

import dataclasses
import json
import multiprocessing
import os
import socket
import struct
import time
from collections.abc import Sequence
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pydicom
from numpy.typing import NDArray
from pydicom.filereader import read_preamble

EXPLICIT = "1.2.840.10008.1.2.1"
UID_CHARACTERS = 64
PDU_BYTES = 131072
"""What this sender says it takes; it sends as long ones as the receiver takes, and no longer ones than this."""
CONTEXT = 1


@dataclasses.dataclass(frozen=True)
class Sample:
    """An object to send, with a gap where its SOP Instance UID belongs."""

    sop_class: str
    study: str
    series: str
    before: bytes
    after: bytes
    path: Path

    @property
    def size_bytes(self) -> int:
        """Of the dataset as it is sent."""
        return len(self.before) + UID_CHARACTERS + len(self.after)

    def pixels(self) -> NDArray[Any]:
        """The image."""
        return pydicom.dcmread(self.path).pixel_array

    @classmethod
    def read(cls, path: Path) -> "Sample":
        """Read a Part 10 file in explicit VR little endian."""
        header = pydicom.dcmread(path, stop_before_pixels=True)
        with path.open("rb") as file:
            read_preamble(file, force=False)
            pydicom.filereader._read_file_meta_info(file)
            data = file.read()
        tag = data.index(b"\x08\x00\x18\x00UI")
        end = tag + 8 + struct.unpack_from("<H", data, tag + 6)[0]
        element = data[: tag + 6] + struct.pack("<H", UID_CHARACTERS)
        names = (header.SOPClassUID, header.StudyInstanceUID, header.SeriesInstanceUID)
        return cls(*names, element, data[end:], path)


@dataclasses.dataclass
class Burst:
    """What one association sent: seconds on the system's monotonic clock."""

    began: float
    ended: float
    responses_s: list[float]
    cpu_s: float


def uid(root: str, number: int) -> str:
    """A UID of 64 characters for the ``number``-th object under ``root``."""
    return f"{root}.1{number:0{UID_CHARACTERS - len(root) - 2}}"


def _element(group: int, element: int, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HHI", group, element, len(value)) + value


def command(sop_class: str, uid_text: str) -> bytes:
    """A C-STORE-RQ's command set (PS3.7 9.3.1.1), Message ID 1."""
    body = (
        _element(0, 0x0002, sop_class.encode())
        + _element(0, 0x0100, struct.pack("<H", 1))
        + _element(0, 0x0110, struct.pack("<H", 1))
        + _element(0, 0x0700, struct.pack("<H", 0))
        + _element(0, 0x0800, struct.pack("<H", 1))
        + _element(0, 0x1000, uid_text.encode())
    )
    return _element(0, 0x0000, struct.pack("<I", len(body))) + body


def p_data(data: bytes, control: int) -> bytes:
    """One P-DATA-TF PDU with one fragment (PS3.8 9.3.5)."""
    return struct.pack(">BBIIBB", 4, 0, len(data) + 6, len(data) + 2, CONTEXT, control) + data


class Prepared:
    """A sample as the bytes that go on the wire, ready but for its UID."""

    def __init__(self, sample: Sample, pdu_bytes: int) -> None:
        gap = "9" * UID_CHARACTERS
        data = sample.before + gap.encode() + sample.after
        step = pdu_bytes - 6
        parts = [p_data(command(sample.sop_class, gap), 3)]
        for start in range(0, len(data), step):
            parts.append(p_data(data[start : start + step], 2 if start + step >= len(data) else 0))
        self.wire = bytearray(b"".join(parts))
        first = self.wire.index(gap.encode())
        self.gaps = (first, self.wire.index(gap.encode(), first + 1))

    def put(self, uid_text: str) -> bytearray:
        """Put a UID in."""
        for gap in self.gaps:
            self.wire[gap : gap + UID_CHARACTERS] = uid_text.encode()
        return self.wire


def _item(kind: int, data: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(data)) + data


def associate(port: int, sop_class: str, called: str) -> tuple[socket.socket, int]:
    """Negotiate one context for a SOP class in explicit VR little endian; the connection, and the longest PDU."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=120)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    context = _item(0x30, sop_class.encode()) + _item(0x40, EXPLICIT.encode())
    user = _item(0x51, struct.pack(">I", PDU_BYTES)) + _item(0x52, b"1.2.826.0.1.3680043.10.1")
    body = (
        struct.pack(">HH", 1, 0)
        + called.encode().ljust(16)
        + b"BENCHMARK".ljust(16)
        + b"\0" * 32
        + _item(0x10, b"1.2.840.10008.3.1.1.1")
        + _item(0x20, bytes([CONTEXT, 0, 0, 0]) + context)
        + _item(0x50, user)
    )
    connection.sendall(struct.pack(">BBI", 1, 0, len(body)) + body)
    kind, answer = receive_pdu(connection)
    if kind != 2:
        raise RuntimeError(f"the association was not accepted: PDU type {kind}")
    longest, at = PDU_BYTES, 68
    while at + 4 <= len(answer):
        item, _, length = struct.unpack_from(">BBH", answer, at)
        if item == 0x21 and answer[at + 6] != 0:
            raise RuntimeError(f"the presentation context was not accepted: {answer[at + 6]}")
        if item == 0x50:
            length = 0  # the user information's items follow
        elif item == 0x51:
            longest = struct.unpack_from(">I", answer, at + 4)[0] or PDU_BYTES
        at += 4 + length
    return connection, min(longest, PDU_BYTES)


def receive_pdu(connection: socket.socket) -> tuple[int, bytes]:
    """The next PDU's type and body."""
    header = _exactly(connection, 6)
    kind, _, length = struct.unpack(">BBI", header)
    return kind, _exactly(connection, length)


def _exactly(connection: socket.socket, count: int) -> bytes:
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


def _send(
    port: int, called: str, samples: Sequence[Sample], uids: Sequence[str], ready: Barrier, out: int
) -> None:
    connection, longest = associate(port, samples[0].sop_class, called)
    prepared = [Prepared(sample, longest) for sample in samples]
    responses = []
    ready.wait(60)
    cpu = time.process_time()
    began = time.monotonic()
    for index, text in enumerate(uids):
        wire = prepared[index % len(prepared)].put(text)
        sent = time.monotonic()
        connection.sendall(wire)
        kind, body = receive_pdu(connection)
        responses.append(time.monotonic() - sent)
        if kind != 4 or (status := status_of(body)) != 0:
            raise RuntimeError(f"{text}: PDU type {kind}" if kind != 4 else f"{text}: status {status:04X}")
    ended = time.monotonic()
    cpu = time.process_time() - cpu
    connection.sendall(struct.pack(">BBII", 5, 0, 4, 0))
    receive_pdu(connection)
    connection.close()
    with os.fdopen(out, "w") as pipe:
        json.dump([began, ended, responses, cpu], pipe)


def send(
    port: int, called: str, samples: Sequence[Sample], uids: Sequence[str], associations: int
) -> list[Burst]:
    """Send one object for each UID, spread over so many associations; the k-th UID's pixels are of sample k.

    Raises RuntimeError where an association failed, or anything was answered by other than 0000.
    """
    context = multiprocessing.get_context("fork")
    ready = context.Barrier(associations)
    shares = [range(index, len(uids), associations) for index in range(associations)]
    # Sample k belongs to UID k (modulo their number): a share's samples are in the order of its UIDs.
    running = []
    for share in shares:
        mine = [samples[index % len(samples)] for index in share[: len(samples)]]
        read, write = os.pipe()
        process = context.Process(
            target=_send, args=(port, called, mine, [uids[i] for i in share], ready, write)
        )
        process.start()
        os.close(write)
        running.append((process, read))
    bursts = []
    for process, read in running:
        with os.fdopen(read) as pipe:
            text = pipe.read()
        process.join()
        if process.exitcode != 0:
            for other, _ in running:
                other.terminate()
            raise RuntimeError("an association failed")
        bursts.append(Burst(*json.loads(text)))
    return bursts


# --- a receiver that does nothing -------------------------------------------------------------------------------------


def _serve_nothing(connection: socket.socket) -> None:
    buffer = bytearray(1 << 20)
    view = memoryview(buffer)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    _, request = receive_pdu(connection)
    accept = (
        request[:68]
        + _item(0x10, b"1.2.840.10008.3.1.1.1")
        + _item(0x21, bytes([CONTEXT, 0, 0, 0]) + _item(0x40, EXPLICIT.encode()))
        + _item(0x50, _item(0x51, struct.pack(">I", PDU_BYTES)) + _item(0x52, b"1.2.826.0.1.3680043.10.1"))
    )
    connection.sendall(struct.pack(">BBI", 2, 0, len(accept)) + accept)
    body = (
        _element(0, 0x0100, struct.pack("<H", 0x8001))
        + _element(0, 0x0120, struct.pack("<H", 1))
        + _element(0, 0x0800, struct.pack("<H", 0x0101))
        + _element(0, 0x0900, struct.pack("<H", 0))
    )
    response = p_data(_element(0, 0x0000, struct.pack("<I", len(body))) + body, 3)
    while True:
        kind, _, length = struct.unpack(">BBI", _exactly(connection, 6))
        control, left = 0, length
        while left:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            got = connection.recv_into(view[: min(left, len(buffer))])
            if left == length:
                control = buffer[5]
            left -= got
        if kind == 5:
            connection.sendall(struct.pack(">BBII", 6, 0, 4, 0))
            return
        if control == 2:
            connection.sendall(response)


def _accept_nothing(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            _serve_nothing(connection)
            os._exit(0)
        connection.close()


def against_nothing(samples: Sequence[Sample], uids: Sequence[str], associations: int) -> list[Burst]:
    """Send to a receiver that reads and answers, and does nothing else: how fast the sender itself is."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        receiver = multiprocessing.get_context("fork").Process(
            target=_accept_nothing, args=(listener,), daemon=True
        )
        receiver.start()
        try:
            return send(listener.getsockname()[1], "NOTHING", samples, uids, associations)
        finally:
            receiver.terminate()
            receiver.join()
