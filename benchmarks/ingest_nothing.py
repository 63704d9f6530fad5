"""A receiver that does nothing: it shows how fast the sender itself is."""

import multiprocessing
import socket
import struct
from collections.abc import Sequence

from ingest_pdus import CONTEXT, EXPLICIT, PDU_BYTES, element, exactly, item, p_data, receive_pdu
from ingest_sender import Burst, Sample, send


def _serve(connection: socket.socket) -> None:
    buffer = bytearray(1 << 20)
    view = memoryview(buffer)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    _, request = receive_pdu(connection)
    accept = (
        request[:68]
        + item(0x10, b"1.2.840.10008.3.1.1.1")
        + item(0x21, bytes([CONTEXT, 0, 0, 0]) + item(0x40, EXPLICIT.encode()))
        + item(0x50, item(0x51, struct.pack(">I", PDU_BYTES)) + item(0x52, b"1.2.826.0.1.3680043.10.1"))
    )
    connection.sendall(struct.pack(">BBI", 2, 0, len(accept)) + accept)
    body = (
        element(0, 0x0100, struct.pack("<H", 0x8001))
        + element(0, 0x0120, struct.pack("<H", 1))
        + element(0, 0x0800, struct.pack("<H", 0x0101))
        + element(0, 0x0900, struct.pack("<H", 0))
    )
    response = p_data(element(0, 0x0000, struct.pack("<I", len(body))) + body, 3)
    while True:
        kind, _, length = struct.unpack(">BBI", exactly(connection, 6))
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


def _accept(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        with connection:
            _serve(connection)


def against_nothing(
    samples: Sequence[Sample], uids: Sequence[str], associations: int, *, alone: bool = False
) -> list[Burst]:
    """Send to a receiver that reads and answers, and does nothing else."""
    context = multiprocessing.get_context("fork")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        receivers = [
            context.Process(target=_accept, args=(listener,), daemon=True) for _ in range(associations)
        ]
        for receiver in receivers:
            receiver.start()
        try:
            port = listener.getsockname()[1]
            return send(port, "NOTHING", samples, uids, associations, alone=alone)
        finally:
            for receiver in receivers:
                receiver.terminate()
            for receiver in receivers:
                receiver.join()
