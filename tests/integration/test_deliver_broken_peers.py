"""Peers that stall, break off, or say what no peer should: each parcel gets its receipt in time, nothing stays open."""

import os
import socket
import struct
import threading
import time
from pathlib import Path

import pytest

from integration.delivering import Node, peer, within
from integration.scripted import Script, accept, exactly, one_pdu, response, scripted, whole_message
from unit.associations import CT, EXPLICIT
from venturi.dataset.commitment import write_result
from venturi.deliver import dicom
from venturi.deliver.commitment_talk import ask
from venturi.deliver.dicom import Dicom, echo
from venturi.deliver.pace import Pace
from venturi.deliver.port import Ending
from venturi.deliver.wire import Lost
from venturi.model import CommitmentRequest, CommitmentResult, Envelope, Reference
from venturi.upper_layer import command, pdu

TIMEOUT_S = 1.0


REFERENCE = Reference(CT, "1.2.3")


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def then(*words: bytes, dripping_s: float = 0.0, stay_s: float = 5.0) -> Script:
    """Accept, read an object, and say that."""

    def script(client: socket.socket) -> None:
        accept(client)
        whole_message(client)
        for word in words:
            for at in range(len(word)) if dripping_s else (0,):
                client.sendall(word[at : at + 1] if dripping_s else word)
                time.sleep(dripping_s)
        client.settimeout(stay_s)
        while client.recv(65536):
            pass

    return script


def instead(*words: bytes, stay_s: float = 5.0) -> Script:
    """Say that instead of an A-ASSOCIATE-AC."""

    def script(client: socket.socket) -> None:
        one_pdu(client)
        for word in words:
            client.sendall(word)
        client.settimeout(stay_s)
        while client.recv(65536):
            pass

    return script


def in_the_middle(of: int, how: str) -> Script:
    """Accept, read so many bytes, and then: abort, reset, close, or stall."""

    def script(client: socket.socket) -> None:
        accept(client, most_bytes=0)
        exactly(client, of)
        if how == "abort":
            client.sendall(pdu.abort(pdu.ABORT_BY_USER, 0))
        if how == "reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if how == "stall":
            time.sleep(TIMEOUT_S + 1.5)

    return script


def garbage_accept(client: socket.socket) -> None:
    request = pdu.read_request(one_pdu(client)[1])
    whole = pdu.accept(request, pdu.Answer(((1, 0, EXPLICIT),), 16384, "1.2.3", "TEST"))
    client.sendall(whole[:80] + b"\xff" * (len(whole) - 80))


ENDLESS = pdu.fragment(1, 60000, of_command=True, last=False) + bytes(60000)
DATASET = pdu.fragment(1, 2, of_command=False, last=True) + bytes(2)
AC_HEAD = pdu.HEADER.pack(pdu.ACCEPT, 4 << 20)
BROKEN: dict[str, Script] = {
    "takes only the smallest of PDUs": lambda client: accept(client, 8),
    "closes at once": lambda client: None,
    "half an answer to the request": instead(b"\2\0\0\0"),
    "4 MiB of an answer announced": instead(AC_HEAD),
    "an answer that is none": instead(pdu.HEADER.pack(pdu.ACCEPT, 70) + bytes(70)),
    "an answer of broken items": garbage_accept,
    "an unknown PDU": instead(b"\x63\0\0\0\0\4abcd"),
    "data before an answer": instead(response()),
    "aborts the request": instead(pdu.abort(0, 0)),
    "silent": instead(),
    "no response": then(),
    "half a response": then(response()[:30]),
    "a dripping response": then(response(), dripping_s=0.2),
    "4 GiB announced": then(b"\4\0\xff\xff\xff\xff"),
    "a fragment longer than its PDU": then(b"\4\0\0\0\0\6\0\0\0\x20\1\3"),
    "no command set": then(pdu.fragment(1, 5, of_command=True, last=True) + b"\0\0\0\0\0"),
    "a response to another message": then(response(message_id=2)),
    "another command": then(response(field=command.C_ECHO_RSP)),
    "an endless command": then(*[ENDLESS] * 20),
    "a dataset and nothing else": then(*[DATASET] * 20),
    "releases instead": then(pdu.RELEASE),
    "aborts instead": then(pdu.abort(2, 0)),
    "an A-ASSOCIATE-RJ instead": then(pdu.reject(1, 1, 1)),
    "aborts in mid-object": in_the_middle(100_000, "abort"),
    "resets in mid-object": in_the_middle(100_000, "reset"),
    "closes in mid-object": in_the_middle(100_000, "close"),
    "takes no more": in_the_middle(100_000, "stall"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_peer_that_breaks_off_or_stalls_gets_it_later(node: Node, how: str) -> None:
    size = 8 << 20 if "mid-object" in how or "takes no" in how else 100_000  # more than socket buffers hold
    large = node.intake.create(
        Envelope(CT, "1.2.3", EXPLICIT, "CT1", "VENTURI", "ct", "127.0.0.1", time.time())
    )
    large.write(os.urandom(size))
    parcel = node.parcel(large.commit())
    before, threads = descriptors(), threading.active_count()
    with scripted(BROKEN[how]) as port:
        began = time.monotonic()
        (receipt,) = Dicom(peer(port), "VENTURI", within(TIMEOUT_S)).deliver([parcel])
        took_s = time.monotonic() - began
    assert receipt.ending is Ending.LATER, receipt
    assert receipt.status in {"aborted", "timeout"}, receipt
    assert receipt.detail
    assert took_s < 2 * TIMEOUT_S + 3, "each phase has its deadline, however it is dripped"
    assert descriptors() == before
    assert threading.active_count() == threads


@pytest.mark.parametrize("most_bytes", [1024, 1025, 4096, 16383, 65537, 1 << 20, 0])
def test_fragments_are_even_and_no_longer_than_the_peer_takes(node: Node, most_bytes: int) -> None:
    data = os.urandom(40_002)
    draft = node.intake.create(Envelope(CT, "1.2.3", EXPLICIT, "CT1", "VENTURI", "ct", "127.0.0.1", 1.0))
    draft.write(data)
    parcel = node.parcel(draft.commit())
    got = bytearray()
    lengths: list[int] = []

    def script(client: socket.socket) -> None:
        accept(client, most_bytes)
        last = False
        while not last:
            _, body = one_pdu(client)
            ((_, of_command, last_of_it, part),) = pdu.fragments(body)
            if not of_command:
                lengths.append(len(body))
                got.extend(part)
            last = last_of_it and not of_command
        client.sendall(response())
        assert one_pdu(client)[0] == pdu.RELEASE_RQ
        client.sendall(pdu.RELEASED)

    with scripted(script) as port:
        (receipt,) = Dicom(peer(port), "VENTURI", within(10)).deliver([parcel])
    assert (receipt.ending, receipt.status) == (Ending.DELIVERED, "0000")
    assert bytes(got) == data
    assert all(length % 2 == 0 for length in lengths)
    assert max(lengths) <= min(most_bytes or 131072, 131072)


def test_an_echo_that_is_not_answered_is_not_ok() -> None:
    def script(client: socket.socket) -> None:
        accept(client)
        one_pdu(client)

    with scripted(script) as port:
        said = echo(peer(port), "VENTURI", within(TIMEOUT_S))
    assert not said.ok
    assert "aborted" in said.detail


def test_what_the_peer_accepts_by_another_name_is_not_used(node: Node) -> None:
    """A context that was answered with a transfer syntax that was not proposed (PS3.8 9.3.3.2) can't be meant."""
    draft = node.intake.create(Envelope(CT, "1.2.3", EXPLICIT, "CT1", "VENTURI", "ct", "127.0.0.1", 1.0))
    draft.write(bytes(100))
    parcel = node.parcel(draft.commit())

    def script(client: socket.socket) -> None:
        request = pdu.read_request(one_pdu(client)[1])
        contexts = tuple((one.id, 0, "1.2.840.10008.1.2.4.90") for one in request.contexts)
        client.sendall(pdu.accept(request, pdu.Answer((*contexts, (77, 0, EXPLICIT)), 16384, "1.2.3", "T")))
        one_pdu(client)

    with scripted(script) as port:
        (receipt,) = Dicom(peer(port), "VENTURI", within(TIMEOUT_S)).deliver([parcel])
    assert (receipt.ending, receipt.status) == (Ending.REFUSED, "no-context")


def report(message_id: int) -> bytes:
    """An N-EVENT-REPORT: it has what it was asked about."""
    return command.message(
        1,
        command.event_report_request(message_id, command.ALL_COMMITTED),
        write_result(CommitmentResult("2.25.1", (REFERENCE,), ()), EXPLICIT),
        16384,
    )


TAKEN = command.p_data_tf(
    1, command.response(command.N_ACTION_RSP, 1, 0, command.COMMITMENT_PUSH, command.COMMITMENT_INSTANCE)
)


@pytest.mark.parametrize(
    ("said", "reports"),
    [
        ([report(7), TAKEN], 1),
        ([TAKEN, report(7)], 1),
        ([TAKEN], 0),
        ([TAKEN, b"\xff" * 64], 0),
    ],
)
def test_a_peer_may_report_before_it_answers_that_it_will(said: list[bytes], reports: int) -> None:
    heard: list[CommitmentResult] = []
    answers: list[int] = []

    def take(result: CommitmentResult) -> int:
        heard.append(result)
        return 0

    def script(client: socket.socket) -> None:
        accept(client)
        whole_message(client)
        client.sendall(b"".join(said))
        while (kind := one_pdu(client)[0]) == pdu.P_DATA_TF:
            answers.append(kind)
        if kind == pdu.RELEASE_RQ:
            client.sendall(pdu.RELEASED)

    with scripted(script) as port:
        requestor = dicom.requestor(peer(port), "VENTURI", within(2))
        assert ask(requestor, CommitmentRequest("2.25.1", (REFERENCE,)), take, 0.5) == 0
    assert [one.committed for one in heard] == [(REFERENCE,)] * reports
    assert len(answers) == reports


@pytest.mark.parametrize(
    "said", [[report(7), report(8)], [report(7), response(field=command.C_ECHO_RSP)], [report(7)]]
)
def test_who_reports_and_never_answers_has_not_taken_the_request(said: list[bytes]) -> None:
    def script(client: socket.socket) -> None:
        accept(client)
        whole_message(client)
        client.sendall(b"".join(said))
        while one_pdu(client)[0] == pdu.P_DATA_TF:
            pass

    with scripted(script) as port:
        requestor = dicom.requestor(peer(port), "VENTURI", within(1))
        with pytest.raises(Lost):
            ask(requestor, CommitmentRequest("2.25.1", (REFERENCE,)), lambda _: 0, 0.5)


def test_at_a_rate_slower_than_peers_wait_each_object_gets_an_association(node: Node) -> None:
    """A peer that ends what is idle for longer than its patience would get nothing after the first."""
    parcels = []
    for number in range(3):
        uid = f"1.2.{number}"
        draft = node.intake.create(Envelope(CT, uid, EXPLICIT, "CT1", "VENTURI", "ct", "127.0.0.1", 1.0))
        draft.write(os.urandom(3000))
        parcels.append(node.parcel(draft.commit(), delivery=number))

    def impatient(client: socket.socket) -> None:
        accept(client)
        client.settimeout(0.9)
        number = 0
        while True:
            kind, body = one_pdu(client)
            if kind == pdu.RELEASE_RQ:
                client.sendall(pdu.RELEASED)
                return
            if any(last and not of_command for _, of_command, last, _ in pdu.fragments(body)):
                number += 1
                client.sendall(response(message_id=number))

    with scripted(impatient) as port:
        for pace in (Pace(objects_per_s=0.8), Pace(bytes_per_s=6000)):
            receipts = list(Dicom(peer(port), "VENTURI", within(10), pace).deliver(parcels))
            assert [one.ending for one in receipts] == [Ending.DELIVERED] * 3, (pace.rare, receipts)
