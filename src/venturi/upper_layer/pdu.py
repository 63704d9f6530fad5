"""The PDUs of an association, but for P-DATA-TF: read strictly, and written (PS3.8 9.3, Annex D; PS3.7 Annex D).

By hand, because pynetdicom takes 9 ms for a request of 128 presentation contexts and its answer, and many modalities
open an association for each image; and because these are the bytes that anybody may send. The work is linear in
their number. What is wrong raises Malformed, whatever the bytes are.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from venturi.dataset.uids import tolerable_uid
from venturi.errors import Malformed

REQUEST, ACCEPT, REJECT, P_DATA_TF, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)
"""Types of PDUs."""

HEADER = struct.Struct(">BxI")
"""Type and length of a PDU."""
VALUE = struct.Struct(">IBB")
"""Length, presentation context and message control header of a presentation data value (PS3.8 9.3.5.1, E.2)."""

ABORT_BY_USER, ABORT_BY_PROVIDER = 0, 2
NOT_SPECIFIED, UNRECOGNIZED_PDU, UNEXPECTED_PDU = 0, 1, 2
UNRECOGNIZED_PARAMETER, UNEXPECTED_PARAMETER, INVALID_PARAMETER = 4, 5, 6
"""Reasons of an A-ABORT by the provider (PS3.8 Table 9-26)."""

ACCEPTED, ABSTRACT_SYNTAX_NOT_SUPPORTED, TRANSFER_SYNTAXES_NOT_SUPPORTED = 0, 3, 4
"""What becomes of a proposed context (PS3.8 Table 9-18)."""

APPLICATION_CONTEXT = b"1.2.840.10008.3.1.1.1"
_APPLICATION_CONTEXT, _PROPOSED, _RESULT, _ABSTRACT, _TRANSFER, _USER = 0x10, 0x20, 0x21, 0x30, 0x40, 0x50
_MAXIMUM_LENGTH, _CLASS, _WINDOW, _ROLE, _VERSION, _EXTENDED = range(0x51, 0x57)
_IDENTITY, _IDENTITY_ANSWER = 0x58, 0x59
_MOST_CONTEXTS = 128
_MOST_UID = 64

_FIXED = struct.Struct(">H2x16s16s32x")
_ITEM = struct.Struct(">BxH")
_SHORT = struct.Struct(">H")
_LONG = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class Proposed:
    """A presentation context that is proposed. What is no UID is left out: such a context can't be accepted."""

    id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(slots=True)
class User:
    """The user information of a request (PS3.7 Annex D.3.3)."""

    most_bytes: int = 0
    """The longest P-DATA-TF PDU that the peer takes; 0: any."""
    window: bool = False
    """Whether it proposes an asynchronous operations window."""
    roles: list[tuple[bytes, int, int]] = field(default_factory=list)
    """SOP class UID, SCU role, SCP role."""
    extended: list[tuple[bytes, bytes]] = field(default_factory=list)
    """SOP class UID, its application information."""
    identified: bool = False
    """Whether it says who its user is. What it says is not kept."""
    identity_answered: bool = False
    """Whether it asks for an answer to that."""


@dataclass(frozen=True, slots=True)
class Request:
    """An A-ASSOCIATE-RQ. Texts are Latin-1: they may be anything."""

    calling_ae: str
    called_ae: str
    version_1: bool
    """Whether the peer knows protocol version 1, the only one."""
    application_context: bytes
    contexts: tuple[Proposed, ...]
    user: User


@dataclass(frozen=True, slots=True)
class Answer:
    """What an A-ASSOCIATE-AC says beside what it repeats."""

    contexts: tuple[tuple[int, int, str], ...]
    """Id, result, transfer syntax."""
    most_bytes: int
    implementation_class: str
    implementation_version: str
    roles: tuple[tuple[bytes, int, int], ...] = ()
    extended: tuple[tuple[bytes, bytes], ...] = ()


def read_request(body: bytes) -> Request:
    """Read the body of an A-ASSOCIATE-RQ (PS3.8 9.3.2). Raises Malformed."""
    if len(body) < _FIXED.size:
        raise Malformed(f"an A-ASSOCIATE-RQ of {len(body)} bytes")
    version, called, calling = _FIXED.unpack_from(body)
    application_context = b""
    contexts: dict[int, Proposed] = {}
    user = b""
    for kind, item in _items(body, _FIXED.size):
        if kind == _APPLICATION_CONTEXT:
            application_context = item.rstrip(b"\0")
        elif kind == _PROPOSED:
            proposed = _proposed(item)
            if proposed.id in contexts:
                raise Malformed(f"presentation context {proposed.id} is proposed twice")
            contexts[proposed.id] = proposed
        elif kind == _USER:
            user = item
        # Whatever else there is says nothing that is known (PS3.8 9.3.1: unrecognized items are ignored).
    if not contexts:
        raise Malformed("no presentation context is proposed")
    return Request(
        calling_ae=calling.decode("latin-1").strip("\0 "),
        called_ae=called.decode("latin-1").strip("\0 "),
        version_1=bool(version & 1),
        application_context=application_context,
        contexts=tuple(contexts.values()),
        user=_user(user),
    )


def _items(data: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    while at < len(data):
        if at + 4 > len(data):
            raise Malformed("an item ends in its header")
        kind, length = _ITEM.unpack_from(data, at)
        at += 4
        if at + length > len(data):
            raise Malformed(f"an item {kind:02X}H of {length} bytes, which are not there")
        yield kind, data[at : at + length]
        at += length


def _proposed(item: bytes) -> Proposed:
    if len(item) < 4:
        raise Malformed("a presentation context without an id")
    number, abstract, transfer = item[0], "", list[str]()
    if number % 2 == 0:
        raise Malformed(f"a presentation context with the even id {number}")
    for kind, value in _items(item, 4):
        text = value.decode("latin-1").rstrip("\0 ")
        if kind == _ABSTRACT and tolerable_uid(text):
            abstract = text
        elif kind == _TRANSFER and tolerable_uid(text):
            transfer.append(text)
    return Proposed(number, abstract, tuple(transfer))


def _user(item: bytes) -> User:
    found = User()
    for kind, value in _items(item, 0):
        if kind == _MAXIMUM_LENGTH:
            if len(value) != 4:
                raise Malformed("a maximum length that is not one number")
            (found.most_bytes,) = _LONG.unpack(value)
        elif kind == _WINDOW:
            found.window = True
        elif kind == _ROLE:
            uid, rest = _counted(value)
            if len(rest) >= 2:
                found.roles.append((uid, rest[0], rest[1]))
        elif kind == _EXTENDED:
            found.extended.append(_counted(value))
        elif kind == _IDENTITY:
            found.identified = len(value) > 4 and any(value[2:4])  # a primary field that is not empty
            found.identity_answered = value[1:2] == b"\1"
    if max(len(found.roles), len(found.extended)) > _MOST_CONTEXTS:
        raise Malformed("more negotiation items than there can be contexts")
    return found


def _counted(value: bytes) -> tuple[bytes, bytes]:
    """A UID behind its length, and what follows."""
    length = _SHORT.unpack_from(value)[0] if len(value) >= 2 else _MOST_UID + 1
    if length > _MOST_UID or 2 + length > len(value):
        raise Malformed("a negotiation item with a UID that is not there")
    return value[2 : 2 + length], value[2 + length :]


def accept(request: Request, answer: Answer) -> bytes:
    """Make the A-ASSOCIATE-AC (PS3.8 9.3.3): AE titles are those of the request."""
    parts = [_item(_APPLICATION_CONTEXT, APPLICATION_CONTEXT)]
    for number, result, syntax in answer.contexts:
        head = bytes((number, 0, result, 0))
        parts.append(_item(_RESULT, head + _item(_TRANSFER, syntax.encode("latin-1"))))
    user = [
        _item(_MAXIMUM_LENGTH, _LONG.pack(answer.most_bytes)),
        _item(_CLASS, answer.implementation_class.encode()),
    ]
    if request.user.window:
        user.append(_item(_WINDOW, b"\0\1\0\1"))  # one at a time each way
    user += [_item(_ROLE, _SHORT.pack(len(uid)) + uid + bytes((scu, scp))) for uid, scu, scp in answer.roles]
    user.append(_item(_VERSION, answer.implementation_version.encode()))
    user += [_item(_EXTENDED, _SHORT.pack(len(uid)) + uid + said) for uid, said in answer.extended]
    if request.user.identity_answered:
        user.append(_item(_IDENTITY_ANSWER, b"\0\0"))
    parts.append(_item(_USER, b"".join(user)))
    called, calling = (
        title.encode("latin-1").ljust(16)[:16] for title in (request.called_ae, request.calling_ae)
    )
    body = _FIXED.pack(1, called, calling) + b"".join(parts)
    return HEADER.pack(ACCEPT, len(body)) + body


def _item(kind: int, value: bytes) -> bytes:
    return _ITEM.pack(kind, len(value)) + value


def reject(result: int, source: int, diagnostic: int) -> bytes:
    """Make an A-ASSOCIATE-RJ (PS3.8 9.3.4)."""
    return HEADER.pack(REJECT, 4) + bytes((0, result, source, diagnostic))


def abort(source: int, reason: int) -> bytes:
    """Make an A-ABORT (PS3.8 9.3.8)."""
    return HEADER.pack(ABORT, 4) + bytes((0, 0, source, reason))


RELEASE = HEADER.pack(RELEASE_RQ, 4) + bytes(4)
RELEASED = HEADER.pack(RELEASE_RP, 4) + bytes(4)
"""An A-RELEASE-RQ and -RP (PS3.8 9.3.6, 9.3.7)."""


def fragment(context_id: int, length: int, *, of_command: bool, last: bool) -> bytes:
    """The headers of a P-DATA-TF of one fragment of a message, whose ``length`` bytes follow (PS3.8 9.3.5, E.2)."""
    control = of_command | last << 1
    return HEADER.pack(P_DATA_TF, length + VALUE.size) + VALUE.pack(length + 2, context_id, control)


def fragments(body: bytes) -> Iterator[tuple[int, bool, bool, bytes]]:
    """Those in the body of a P-DATA-TF: context, whether of a command, whether its last, bytes. Raises Malformed."""
    at = 0
    while at < len(body):
        if at + VALUE.size > len(body):
            raise Malformed("a presentation data value ends in its header")
        length, context_id, control = VALUE.unpack_from(body, at)
        end = at + 4 + length
        if length < 2 or end > len(body):
            raise Malformed("a presentation data value of a length that can't be")
        yield context_id, bool(control & 1), bool(control & 2), body[at + VALUE.size : end]
        at = end
