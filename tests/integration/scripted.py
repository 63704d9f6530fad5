"""A peer by script: what it does with each connection."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

from unit.associations import CT
from venturi.upper_layer import command, pdu

Script = Callable[[socket.socket], None]


@contextlib.contextmanager
def scripted(script: Script) -> Iterator[int]:
    """A peer that does that with each connection; its port."""

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client, contextlib.suppress(OSError):
                script(client)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)
            assert not thread.is_alive()


def exactly(client: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = client.recv(count - len(data))
        if not part:
            raise ConnectionResetError
        data += part
    return data


def one_pdu(client: socket.socket) -> tuple[int, bytes]:
    kind, length = pdu.HEADER.unpack(exactly(client, 6))
    return kind, exactly(client, length)


def accept(client: socket.socket, most_bytes: int = 16384) -> None:
    """Accept every context that is proposed."""
    request = pdu.read_request(one_pdu(client)[1])
    contexts = tuple((one.id, 0, one.transfer_syntaxes[0]) for one in request.contexts)
    client.sendall(pdu.accept(request, pdu.Answer(contexts, most_bytes, "1.2.3", "TEST")))


def whole_message(client: socket.socket) -> None:
    """Read a C-STORE-RQ with its dataset."""
    while True:
        kind, body = one_pdu(client)
        assert kind == pdu.P_DATA_TF
        if any(last and not of_command for _, of_command, last, _ in pdu.fragments(body)):
            return


def response(message_id: int = 1, status: int = 0, field: int = command.C_STORE_RSP) -> bytes:
    return command.p_data_tf(1, command.response(field, message_id, status, CT, "1.2.3"))
