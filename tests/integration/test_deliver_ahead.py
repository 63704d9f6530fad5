"""What is read and hashed ahead of being sent: it is what is sent, and damage in it harms nothing else."""

import hashlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from integration.delivering import Node, peer, within
from integration.scripted import accept, one_pdu, response, scripted
from unit.associations import CT, EXPLICIT
from venturi.deliver.ahead import PIECE_BYTES, PIECES, ReadAhead
from venturi.deliver.association import Context, FileDamaged, Object
from venturi.deliver.dicom import Dicom
from venturi.deliver.port import Ending, Parcel
from venturi.model import Envelope
from venturi.upper_layer import pdu

LARGE_BYTES = 32 << 20
"""More than sockets and read-ahead hold."""


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert not [thread for thread in threading.enumerate() if thread not in before]


def parcel(node: Node, data: bytes, delivery: int = 0) -> Parcel:
    uid = f"1.2.{delivery}"
    draft = node.intake.create(Envelope(CT, uid, EXPLICIT, "CT1", "VENTURI", "ct", "127.0.0.1", 1.0))
    draft.write(data)
    return node.parcel(draft.commit(), delivery=delivery)


def flip(path: Path) -> None:
    """Change the last byte."""
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


class Peer:
    """Takes every object whole; what it got, association by association."""

    def __init__(self) -> None:
        self.associations: list[list[bytes]] = []
        self.begun: Callable[[], None] = lambda: None
        """Called with the first fragment of each object."""

    def __call__(self, client: socket.socket) -> None:
        accept(client, 0)
        whole: list[bytes] = []
        self.associations.append(whole)
        got = bytearray()
        while True:
            kind, body = one_pdu(client)
            if kind == pdu.RELEASE_RQ:
                client.sendall(pdu.RELEASED)
                return
            if kind == pdu.ABORT:
                return
            for _, of_command, last, data in pdu.fragments(body):
                if of_command:
                    continue
                if not got:
                    self.begun()
                got += data
                if last:
                    whole.append(bytes(got))
                    got.clear()
                    client.sendall(response(message_id=int.from_bytes(whole[-1][:2], "little")))


def numbered(message_id: int, size: int) -> bytes:
    """A dataset of its own kind, which begins with its message's id."""
    return message_id.to_bytes(2, "little") + os.urandom(size - 2)


def test_a_small_damaged_object_is_not_even_begun_and_the_others_share_the_association(node: Node) -> None:
    datas = [numbered(number, 100_000) for number in range(1, 7)]
    parcels = [parcel(node, data, number) for number, data in enumerate(datas)]
    flip(parcels[2].original)
    took = Peer()
    with scripted(took) as port:
        where = Dicom(peer(port), "VENTURI", within(10))
        receipts = list(where.deliver(parcels))
        where.close()
    assert [(one.delivery, one.status) for one in receipts if one.ending is not Ending.DELIVERED] == [
        (2, "damaged")
    ]
    assert took.associations == [datas[:2] + datas[3:]]


def test_the_end_of_a_large_damaged_object_is_never_sent_and_the_others_go_on(node: Node) -> None:
    datas = [numbered(1, 5000), numbered(2, LARGE_BYTES), numbered(1, 5000), numbered(2, 5000)]
    parcels = [parcel(node, data, number) for number, data in enumerate(datas)]
    flip(parcels[1].original)
    took = Peer()
    with scripted(took) as port:
        where = Dicom(peer(port), "VENTURI", within(10))
        receipts = list(where.deliver(parcels))
        where.close()
    assert [one.status for one in receipts] == ["0000", "damaged", "0000", "0000"]
    assert took.associations == [datas[:1], datas[2:]]


def test_a_file_that_becomes_shorter_while_it_is_sent_is_damaged_and_the_others_go_on(node: Node) -> None:
    datas = [numbered(1, LARGE_BYTES), numbered(1, 5000)]
    parcels = [parcel(node, data, number) for number, data in enumerate(datas)]
    took = Peer()
    took.begun = lambda: os.truncate(parcels[0].original, LARGE_BYTES - 100)
    with scripted(took) as port:
        where = Dicom(peer(port), "VENTURI", within(10))
        receipts = list(where.deliver(parcels))
        where.close()
    assert [one.status for one in receipts] == ["damaged", "0000"]
    assert took.associations == [[], datas[1:]]


def test_who_stops_in_the_middle_leaves_no_thread_and_the_association_is_good(node: Node) -> None:
    parcels = [parcel(node, numbered(number + 1, 3000), number) for number in range(2 * PIECES)]
    took = Peer()
    with scripted(took) as port:
        where = Dicom(peer(port), "VENTURI", within(10))
        receipts = where.deliver(parcels)
        assert next(iter(receipts)).status == "0000"
        receipts.close()  # type: ignore[attr-defined]  # it is a generator
        assert [one.status for one in where.deliver(parcels[1:])] == ["0000"] * (len(parcels) - 1)
        where.close()
    assert [len(whole) for whole in took.associations] == [len(parcels)]


def objects(folder: Path, *datas: bytes) -> list[Object]:
    made = []
    for number, data in enumerate(datas):
        path = folder / str(number)
        path.write_bytes(b"meta" + data)
        digest = hashlib.sha256(data).hexdigest()
        made.append(Object(path, 4, len(data), digest, Context(CT, EXPLICIT), f"1.2.{number}"))
    return made


@pytest.mark.parametrize("count", [1, 2, 3])
def test_what_is_given_out_is_what_is_there_whatever_fits_a_piece(tmp_path: Path, count: int) -> None:
    datas = [os.urandom(size) for size in (1, 9, 10, 11, 20, 25, 100, 2)]
    items = objects(tmp_path, *datas)
    ahead = ReadAhead(count, 10)
    ahead.begin(items)
    for item, data in zip(items, datas, strict=True):
        pieces = [(bytes(piece), last) for piece, last in ahead.pieces(item)]
        assert b"".join(piece for piece, _ in pieces) == data
        assert [last for _, last in pieces] == [False] * (len(pieces) - 1) + [True]
    ahead.close()


@pytest.mark.parametrize("count", [1, 3])
def test_whatever_is_wrong_with_one_is_told_in_its_turn(tmp_path: Path, count: int) -> None:
    items = objects(tmp_path, *(os.urandom(25) for _ in range(5)), b"")
    items[0].path.unlink()
    flip(items[2].path)
    items[3].path.write_bytes(bytes(5))
    ahead = ReadAhead(count, 10)
    ahead.begin(items)
    got = []
    for item in items:
        try:
            got.append(sum(len(piece) for piece, _ in ahead.pieces(item)))
        except (FileDamaged, FileNotFoundError) as error:
            got.append(type(error))
    ahead.close()
    assert got == [FileNotFoundError, 25, FileDamaged, FileDamaged, 25, FileDamaged]


def test_what_was_begun_and_given_up_does_not_touch_what_follows(tmp_path: Path) -> None:
    datas = [os.urandom(100) for _ in range(3)]
    items = objects(tmp_path, *datas)
    ahead = ReadAhead(3, 10)
    for _ in range(5):
        ahead.begin(items)
        given_up = ahead.pieces(items[0])
        next(given_up)
    ahead.begin(items[1:])
    got = [b"".join(bytes(piece) for piece, _ in ahead.pieces(item)) for item in items[1:]]
    ahead.close()
    assert got == datas[1:]


def test_another_object_than_the_next_is_never_given_out(tmp_path: Path) -> None:
    items = objects(tmp_path, b"one", b"two")
    ahead = ReadAhead(2, 10)
    ahead.begin(items)
    with pytest.raises(RuntimeError, match=r"1\.2\.0 was read, 1\.2\.1 is sent"):
        next(ahead.pieces(items[1]))
    ahead.close()


def test_large_objects_are_never_in_memory_as_a_whole() -> None:
    assert PIECES * PIECE_BYTES < 4 << 20
