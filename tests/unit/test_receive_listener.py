"""Which connections a receiver process takes."""

import resource
import socket
import struct
import threading

import pytest

from unit.associations import Host
from venturi.config.schema import Node
from venturi.receive import listener
from venturi.receive.admission import Admission


@pytest.mark.parametrize(
    ("soft", "hard", "wanted", "room", "set_to"),
    [
        (1024, 4096, 160, 160, None),
        (1024, 1 << 20, 1328, 1328, 5376),
        (1024, 4064, 1328, 1000, 4064),
        (64, 64, 160, 1, None),
    ],
    ids=["enough", "raised", "raised as far as it may be", "none at all"],
)
def test_as_many_connections_as_there_are_descriptors_for(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, wanted: int, room: int, set_to: int | None
) -> None:
    limits = [(soft, hard)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, both: limits.append(both))
    assert listener.room(wanted) == room
    assert set_to is None or limits[-1] == (set_to, hard)


def test_who_has_hung_up_already_gets_no_thread(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begun: list[object] = []
    monkeypatch.setattr(listener.Receiver, "_begin", lambda *these: begun.append(these))
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        for number in range(20):
            with socket.create_connection(server.getsockname()) as peer:
                if number % 2:  # with a reset
                    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        threading.Timer(0.5, stop.set).start()
        listener.serve(server, Host(), Admission(Node(), {}), Node(), stop)
    (line,) = (line for line in "".join(capsys.readouterr()).splitlines() if listener.SILENT in line)
    assert "20" in line
    assert begun == []
