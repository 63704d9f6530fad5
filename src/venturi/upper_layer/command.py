"""Command sets by hand: Storage, Verification and Storage Commitment (PS3.7 6.3, 9.3.1, 9.3.5, 10.3.1, 10.3.4, E.1).

A command set is in implicit VR little endian, all of group 0000. pynetdicom reads and writes one as a pydicom
dataset, which costs more than everything else that is done about a small image.
"""

import struct

from venturi.errors import Malformed
from venturi.upper_layer import pdu

VERIFICATION = "1.2.840.10008.1.1"
"""The SOP class of a C-ECHO (PS3.4 A.4)."""
COMMITMENT_PUSH = "1.2.840.10008.1.20.1"
"""Storage Commitment Push Model (PS3.4 J.3)."""
COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1.1"
"""Its well-known SOP instance (PS3.4 J.3.5)."""
REQUEST_COMMITMENT, ALL_COMMITTED, SOME_FAILED = 1, 1, 2
"""Action Type ID, and Event Type IDs (PS3.4 J.3.2, J.3.3)."""

SOP_CLASS, FIELD, MESSAGE_ID, RESPONDED_TO = 0x0002, 0x0100, 0x0110, 0x0120
DATASET_TYPE, STATUS, SOP_INSTANCE = 0x0800, 0x0900, 0x1000
REQUESTED_SOP_CLASS, REQUESTED_SOP_INSTANCE = 0x0003, 0x1001
C_STORE_RQ, C_STORE_RSP, C_ECHO_RQ, C_ECHO_RSP, C_CANCEL_RQ = 0x0001, 0x8001, 0x0030, 0x8030, 0x0FFF
N_ACTION_RQ, N_ACTION_RSP = 0x0130, 0x8130
N_EVENT_REPORT_RQ, N_EVENT_REPORT_RSP = 0x0100, 0x8100
EVENT_TYPE, ACTION_TYPE = 0x1002, 0x1008
PRIORITY, ERROR_COMMENT = 0x0700, 0x0902
A_DATASET, NO_DATASET = 0x0001, 0x0101
"""Command Data Set Type (0000,0800) where a dataset follows, and where none does."""

_ELEMENT = struct.Struct("<HHI")
_NUMBER = struct.Struct("<H")


def parse(data: bytes | bytearray) -> dict[int, bytes]:
    """Take a command set apart: values by element number. Raises Malformed."""
    found: dict[int, bytes] = {}
    at = 0
    while at < len(data):
        if at + 8 > len(data):
            raise Malformed("a command set ends in the middle of an element")
        group, element, length = _ELEMENT.unpack_from(data, at)
        at += 8
        if group != 0 or at + length > len(data):
            raise Malformed("a command set with an element that is not one of a command set's, or too long")
        found[element] = bytes(data[at : at + length])
        at += length
    return found


def number(command: dict[int, bytes], element: int) -> int:
    """Read a value of VR US. Raises Malformed where it is missing, or not one number."""
    value = command.get(element, b"")
    if len(value) != 2:
        raise Malformed(f"a command set without a proper (0000,{element:04X})")
    return int(_NUMBER.unpack(value)[0])


def uid(command: dict[int, bytes], element: int) -> str:
    """Read a UID, without its padding, whatever its characters; empty where it is missing."""
    return command.get(element, b"").decode("latin-1").rstrip("\0 ")


def response(field: int, message_id: int, status: int, sop_class: str, sop_instance: str) -> bytes:
    """Make a response without a dataset (PS3.7 9.3.1.2, 10.3.1.2, 10.3.4.2).

    UIDs are ASCII; empty ones are left out.
    """
    return _set(_response(sop_class, field, message_id, status) + _text(SOP_INSTANCE, sop_instance))


def store_request(message_id: int, sop_class: str, sop_instance: str) -> bytes:
    """Make a C-STORE-RQ of medium priority (PS3.7 9.3.1.1). UIDs are ASCII."""
    return _set(
        b"".join(
            (
                _text(SOP_CLASS, sop_class),
                _short(FIELD, C_STORE_RQ),
                _short(MESSAGE_ID, message_id),
                _short(PRIORITY, 0),
                _short(DATASET_TYPE, A_DATASET),
                _text(SOP_INSTANCE, sop_instance),
            )
        )
    )


def echo_request(message_id: int) -> bytes:
    """Make a C-ECHO-RQ (PS3.7 9.3.5.1)."""
    parts = _short(FIELD, C_ECHO_RQ), _short(MESSAGE_ID, message_id), _short(DATASET_TYPE, NO_DATASET)
    return _set(_text(SOP_CLASS, VERIFICATION) + b"".join(parts))


def echo_response(message_id: int) -> bytes:
    """Make a C-ECHO-RSP that says Success (PS3.7 9.3.5.2)."""
    return _set(_response(VERIFICATION, C_ECHO_RSP, message_id, 0))


def action_request(message_id: int) -> bytes:
    """Make an N-ACTION-RQ that asks for storage commitment (PS3.7 10.3.4.1)."""
    return _set(
        b"".join(
            (
                _text(REQUESTED_SOP_CLASS, COMMITMENT_PUSH),
                _short(FIELD, N_ACTION_RQ),
                _short(MESSAGE_ID, message_id),
                _short(DATASET_TYPE, A_DATASET),
                _text(REQUESTED_SOP_INSTANCE, COMMITMENT_INSTANCE),
                _short(ACTION_TYPE, REQUEST_COMMITMENT),
            )
        )
    )


def event_report_request(message_id: int, event_type: int) -> bytes:
    """Make an N-EVENT-REPORT-RQ that says what became of a request for storage commitment (PS3.7 10.3.1.1)."""
    return _set(
        b"".join(
            (
                _text(SOP_CLASS, COMMITMENT_PUSH),
                _short(FIELD, N_EVENT_REPORT_RQ),
                _short(MESSAGE_ID, message_id),
                _short(DATASET_TYPE, A_DATASET),
                _text(SOP_INSTANCE, COMMITMENT_INSTANCE),
                _short(EVENT_TYPE, event_type),
            )
        )
    )


def _response(sop_class: str, field: int, message_id: int, status: int) -> bytes:
    return b"".join(
        (
            _text(SOP_CLASS, sop_class),
            _short(FIELD, field),
            _short(RESPONDED_TO, message_id),
            _short(DATASET_TYPE, NO_DATASET),
            _short(STATUS, status),
        )
    )


def _set(elements: bytes) -> bytes:
    """A command set, behind its group length."""
    return _ELEMENT.pack(0, 0, 4) + struct.pack("<I", len(elements)) + elements


def p_data_tf(context_id: int, command: bytes) -> bytes:
    """Put a command set that fits one fragment into its PDU (PS3.8 9.3.5)."""
    return pdu.fragment(context_id, len(command), of_command=True, last=True) + command


def message(context_id: int, command: bytes, dataset: bytes, most_bytes: int) -> bytes:
    """Put a command set and a small dataset into P-DATA-TF PDUs (PS3.8 9.3.5).

    ``most_bytes``: of the longest that the peer takes; 0: any.
    """
    size = max(2, ((most_bytes or 1 << 17) - pdu.VALUE.size) & ~1)
    parts = [p_data_tf(context_id, command)]
    for at in range(0, len(dataset), size):
        piece = dataset[at : at + size]
        last = at + size >= len(dataset)
        parts.append(pdu.fragment(context_id, len(piece), of_command=False, last=last) + piece)
    return b"".join(parts)


def _short(element: int, value: int) -> bytes:
    return _ELEMENT.pack(0, element, 2) + _NUMBER.pack(value)


def _text(element: int, value: str) -> bytes:
    if not value:
        return b""
    data = value.encode("ascii")
    data += b"\0" * (len(data) % 2)
    return _ELEMENT.pack(0, element, len(data)) + data
