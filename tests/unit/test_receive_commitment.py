"""Storage commitment on an association, byte by byte: what is recorded, refused, and ends it."""

import struct
import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unit.associations import CT, EXPLICIT, Host, command_pdu, data_pdu, play, request_pdu
from venturi.config.schema import Accept
from venturi.dataset.commitment import write_request, write_result
from venturi.errors import Temporary
from venturi.ledger.port import Commitment, Role
from venturi.model import CommitmentRequest, CommitmentResult, Reference
from venturi.receive.commitment import REQUEST_BYTES, CommitmentHandler, Conversation, Partner
from venturi.receive.negotiation import listens, negotiate
from venturi.upper_layer import command, pdu

PUSH = command.COMMITMENT_PUSH
REQUEST = CommitmentRequest("1.9.1", (Reference(CT, "1.2.3"),))
RESULT = CommitmentResult("1.9.1", (Reference(CT, "1.2.3"),))
CONTEXTS = [(CT, (EXPLICIT,)), (PUSH, (EXPLICIT,))]


class Known:
    """A ledger that takes everything, or raises."""

    def __init__(self, raises: Exception | None = None, *, knows: bool = True) -> None:
        self.requests: list[tuple[CommitmentRequest, str, str, str]] = []
        self.results: list[tuple[CommitmentResult, str]] = []
        self.rung = 0
        self._raises, self._knows = raises, knows

    def requested(
        self, request: CommitmentRequest, peer: str, calling_ae: str, called_ae: str, until: float
    ) -> bool:
        if self._raises:
            raise self._raises
        self.requests.append((request, peer, calling_ae, called_ae))
        return self._knows

    def reported(self, result: CommitmentResult, peer: str, retry_at: float) -> int | None:
        if self._raises:
            raise self._raises
        self.results.append((result, peer))
        return 1 if self._knows else None

    def claim_report(self, *_: object) -> None:
        return None

    def ring(self, role: Role) -> None:
        self.rung += 1


def host(known: Known) -> Host:
    made: Any = Host()
    made.commitment = CommitmentHandler(known, known, 60, "here/")  # type: ignore[arg-type]  # as much as it uses
    return made  # type: ignore[no-any-return]


def message(said: bytes, dataset: bytes, context_id: int = 3) -> bytes:
    size = 16000
    parts = [dataset[at : at + size] for at in range(0, len(dataset), size)] or [b""]
    return command_pdu(said, context_id) + b"".join(
        data_pdu(part, context_id, last=at == len(parts) - 1) for at, part in enumerate(parts)
    )


def statuses(said: bytes) -> list[int]:
    """Of the responses; 0xABABAB where it ended by an A-ABORT."""
    found, at = [], 0
    while at < len(said):
        kind, length = pdu.HEADER.unpack_from(said, at)
        body = said[at + pdu.HEADER.size : at + pdu.HEADER.size + length]
        if kind == pdu.P_DATA_TF:
            for _, _, _, data in pdu.fragments(body):
                found.append(command.number(command.parse(data), command.STATUS))
        elif kind == pdu.ABORT:
            found.append(0xABABAB)
        at += pdu.HEADER.size + length
    return found


def asked(known: Known, *messages: bytes) -> list[int]:
    stream = request_pdu(CONTEXTS) + b"".join(messages) + pdu.RELEASE
    return statuses(play(host(known), stream, (1000,)))


ACTION = message(command.action_request(7), write_request(REQUEST, EXPLICIT))
REPORT = message(command.event_report_request(8, command.ALL_COMMITTED), write_result(RESULT, EXPLICIT))


def test_a_request_is_recorded_before_it_is_answered() -> None:
    known = Known()
    assert asked(known, ACTION) == [0]
    assert known.requests == [(REQUEST, "ct", "CT1", "VENTURI")]
    assert known.rung == 1


def test_a_report_is_recorded_before_it_is_answered() -> None:
    known = Known()
    assert asked(known, REPORT, ACTION) == [0, 0]
    assert known.results == [(RESULT, "ct")]


@pytest.mark.parametrize(
    ("known", "status"),
    [
        (Known(Temporary("locked")), 0x0213),
        (Known(RuntimeError("a mistake")), 0x0110),
        (Known(knows=False), 0x0115),
    ],
)
def test_what_can_not_be_recorded_is_not_promised(known: Known, status: int) -> None:
    assert asked(known, ACTION, REPORT) == [status, status]


def test_without_anybody_who_takes_it_nothing_is_promised() -> None:
    stream = request_pdu(CONTEXTS) + ACTION + REPORT + pdu.RELEASE
    assert statuses(play(Host(), stream)) == [0x0110, 0x0110]


@pytest.mark.parametrize(
    ("found", "other", "status"),
    [
        (command.COMMITMENT_INSTANCE.encode(), b"1.2.840.10008.1.20.1.2", 0x0112),
        (b"\x08\x10\x02\x00\x00\x00\x01\x00", b"\x08\x10\x02\x00\x00\x00\x02\x00", 0x0123),
        (
            b"\x03\x00\x14\x00\x00\x001.2.840.10008.1.20.1\0",
            b"\x03\x00\x14\x00\x00\x001.2.840.10008.1.20.9\0",
            0x0118,
        ),
        (b"1.9.1", b"1.9.x", 0x0115),
        (b"\x08\x00\x99\x11", b"\x08\x00\x9a\x11", 0x0115),
    ],
)
def test_what_is_no_such_request_is_refused(found: bytes, other: bytes, status: int) -> None:
    assert found in ACTION
    known = Known()
    assert asked(known, ACTION.replace(found, other), ACTION) == [status, 0]
    assert len(known.requests) == 1


def test_an_event_of_another_type_is_refused() -> None:
    known = Known()
    assert asked(known, message(command.event_report_request(8, 3), write_result(RESULT, EXPLICIT))) == [
        0x0113
    ]
    assert known.results == []


@pytest.mark.parametrize(
    "bad",
    [
        message(command.action_request(7), write_request(REQUEST, EXPLICIT), context_id=1),
        message(command.event_report_request(7, 1), write_result(RESULT, EXPLICIT), context_id=1),
        message(command.action_request(7), write_request(REQUEST, EXPLICIT), context_id=5),
        message(command.action_request(7), bytes(REQUEST_BYTES + 1)),
        command_pdu(command.response(command.N_EVENT_REPORT_RSP, 1, 0, PUSH, command.COMMITMENT_INSTANCE), 3),
    ],
    ids=["on storage", "report on storage", "on nothing", "too long", "an answer to nothing"],
)
def test_what_breaks_the_protocol_ends_the_association(bad: bytes) -> None:
    known = Known()
    assert asked(known, bad)[-1] == 0xABABAB
    assert known.requests == []


@given(st.binary(max_size=400), st.booleans())
def test_whatever_the_dataset_is_it_is_answered(data: bytes, report: bool) -> None:
    said = command.event_report_request(8, 2) if report else command.action_request(7)
    known = Known()
    assert asked(known, message(said, data), ACTION)[-1] == 0
    assert len(known.requests) >= 1


def test_many_references_are_taken_and_too_many_refused() -> None:
    def of(count: int) -> bytes:
        references = tuple(Reference(CT, f"1.2.{number}") for number in range(count))
        return message(
            command.action_request(7), write_request(CommitmentRequest("1.9", references), EXPLICIT)
        )

    known = Known()
    assert asked(known, of(5000), of(20_001)) == [0, 0x0115]
    assert len(known.requests[0][0].references) == 5000


class Waiting(Known):
    """A ledger in which something older is to be told, too."""

    def __init__(self) -> None:
        super().__init__()
        old = Commitment(1, "1.9.7", "", "ct", "CT1", "VENTURI", "answered", 0.0, 0.0, 0, "")
        self.queue = [old]

    def requested(
        self, request: CommitmentRequest, peer: str, calling_ae: str, called_ae: str, until: float
    ) -> bool:
        now = time.time()
        self.queue.append(replace(self.queue[0], id=2, transaction_uid=request.transaction_uid, at=now))
        return True

    def claim_report(self, *_: object) -> Commitment | None:  # type: ignore[override]  # others have nothing
        return self.queue[0] if self.queue else None

    def told(self, *_: object) -> None:
        del self.queue[0]


def conversation(known: Known, most_bytes: int = 16384) -> Conversation:
    handler = CommitmentHandler(known, known, 60, "here/")  # type: ignore[arg-type]  # as much as it uses
    talk = Conversation(handler, Partner("ct", "CT1", "VENTURI"), most_bytes, listens=False)
    asked = talk.begin(command.parse(command.action_request(7)), command.N_ACTION_RQ, EXPLICIT)
    asked.write(write_request(REQUEST, EXPLICIT))
    assert asked.finish() == 0
    return talk


def test_who_asks_is_told_of_that_after_what_is_older() -> None:
    talk, said = conversation(Waiting()), b""
    for number in (1, 2):
        said += talk.tell(3, EXPLICIT)
        talk.answered(
            command.parse(
                command.response(command.N_EVENT_REPORT_RSP, number, 0, PUSH, command.COMMITMENT_INSTANCE)
            )
        )
    assert said.index(b"1.9.7") < said.index(b"1.9.1")
    assert not talk.waits()
    assert talk.tell(3, EXPLICIT) == b""


def test_who_takes_only_tiny_pdus_is_not_told_here() -> None:
    assert conversation(Waiting(), most_bytes=16).tell(3, EXPLICIT) == b""
    assert conversation(Waiting(), most_bytes=0).tell(3, EXPLICIT) != b""


def role(uid: str, scu: int, scp: int) -> bytes:
    value = struct.pack(">H", len(uid)) + uid.encode() + bytes((scu, scp))
    return bytes((0x54, 0)) + struct.pack(">H", len(value)) + value


@pytest.mark.parametrize(
    ("contexts", "roles", "hears"),
    [
        ([(PUSH, (EXPLICIT,))], b"", True),
        ([(PUSH, (EXPLICIT,)), (command.VERIFICATION, (EXPLICIT,))], b"", True),
        (CONTEXTS, b"", False),
        ([(CT, (EXPLICIT,))], b"", False),
        ([(PUSH, (EXPLICIT,))], role(PUSH, 0, 1), False),
        ([(PUSH, (EXPLICIT,))], role(PUSH, 1, 1), True),
    ],
)
def test_who_is_there_to_be_told_something(contexts: list[Any], roles: bytes, hears: bool) -> None:
    body = bytearray(request_pdu(contexts)[pdu.HEADER.size :])
    at = body.rindex(bytes((0x50, 0)))  # the user information comes last
    (length,) = struct.unpack_from(">H", body, at + 2)
    body[at + 2 : at + 4] = struct.pack(">H", length + len(roles))
    request = pdu.read_request(bytes(body) + roles)
    accepted, answer = negotiate(request, 16384, Accept())
    assert listens(request, accepted) is hears
    if roles:
        assert role(PUSH, roles[-2], roles[-1]) in answer
