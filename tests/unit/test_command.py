"""Command sets by hand, beside pynetdicom's and pydicom's."""

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import UID
from pynetdicom.dimse_messages import C_ECHO_RQ, C_STORE_RQ, C_STORE_RSP, DIMSEMessage
from pynetdicom.dimse_primitives import C_ECHO, C_STORE
from pynetdicom.dsutils import decode
from pynetdicom.pdu import P_DATA_TF

from venturi.errors import Malformed
from venturi.upper_layer import command, pdu

UIDS = st.from_regex(r"\A[1-9][0-9]{0,8}(\.[1-9][0-9]{0,8}){1,5}\Z").map(UID)
NUMBERS = st.integers(0, 0xFFFF)


def encoded(message: DIMSEMessage, primitive: C_STORE | C_ECHO) -> bytes:
    """The command set as pynetdicom writes it."""
    message.primitive_to_message(primitive)
    first = next(iter(message.encode_msg(1, 16384)))
    data: bytes = first.presentation_data_value_list[0][1]
    assert data[0] == 3
    return data[1:]


@given(UIDS, UIDS, NUMBERS)
def test_a_request_of_pynetdicom_is_read(sop_class: UID, sop_instance: UID, message_id: int) -> None:
    request = C_STORE()
    request.MessageID = message_id
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = sop_class, sop_instance
    request.Priority = 2
    request.DataSet = BytesIO(b"\0\0")
    found = command.parse(encoded(C_STORE_RQ(), request))
    assert command.number(found, command.FIELD) == command.C_STORE_RQ
    assert command.number(found, command.MESSAGE_ID) == message_id
    assert command.number(found, command.DATASET_TYPE) != command.NO_DATASET
    assert (command.uid(found, command.SOP_CLASS), command.uid(found, command.SOP_INSTANCE)) == (
        sop_class,
        sop_instance,
    )


@given(UIDS, UIDS, st.integers(1, 0xFFFF))
def test_our_requests_are_byte_for_byte_pynetdicoms(
    sop_class: UID, sop_instance: UID, message_id: int
) -> None:
    request = C_STORE()
    request.MessageID, request.Priority = message_id, 0
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = sop_class, sop_instance
    request.DataSet = BytesIO(b"\0\0")
    message = C_STORE_RQ()
    message.command_set.CommandDataSetType = 1
    assert command.store_request(message_id, str(sop_class), str(sop_instance)) == encoded(message, request)
    echo = C_ECHO()
    echo.MessageID = message_id
    echo.AffectedSOPClassUID = UID(command.VERIFICATION)
    assert command.echo_request(message_id) == encoded(C_ECHO_RQ(), echo)


@given(st.binary(max_size=50), st.booleans(), st.booleans(), st.integers(0, 127))
def test_a_fragment_is_what_pynetdicom_reads(data: bytes, of_command: bool, last: bool, number: int) -> None:
    whole = pdu.fragment(2 * number + 1, len(data), of_command=of_command, last=last) + data
    read = P_DATA_TF()
    read.decode(whole)
    (item,) = read.presentation_data_value_items
    assert (item.presentation_context_id, item.presentation_data_value) == (
        2 * number + 1,
        bytes((of_command | last << 1,)) + data,
    )
    body = whole[pdu.HEADER.size :]
    assert list(pdu.fragments(body + body)) == [(2 * number + 1, of_command, last, data)] * 2
    for cut in range(1, len(body)):
        with pytest.raises(Malformed):
            list(pdu.fragments(body[:cut]))


@given(UIDS, UIDS, NUMBERS, st.sampled_from([0x0000, 0xA700, 0xA900, 0xC000, 0x0117]))
def test_a_response_is_byte_for_byte_pynetdicoms(
    sop_class: UID, sop_instance: UID, message_id: int, status: int
) -> None:
    response = C_STORE()
    response.MessageIDBeingRespondedTo = message_id
    response.AffectedSOPClassUID, response.AffectedSOPInstanceUID = sop_class, sop_instance
    response.Status = status
    ours = command.response(command.C_STORE_RSP, message_id, status, str(sop_class), str(sop_instance))
    assert ours == encoded(C_STORE_RSP(), response)


def test_a_response_without_uids_is_readable() -> None:
    found = decode(BytesIO(command.response(command.C_STORE_RSP, 7, 0x0117, "", "")), True, True)
    assert (found.MessageIDBeingRespondedTo, found.Status) == (7, 0x0117)
    assert "AffectedSOPInstanceUID" not in found


@pytest.mark.parametrize(
    "data",
    [
        b"\0\0\0\1\2\0\0",  # ends in a header
        b"\0\0\0\1\2\0\0\0\1",  # ends in a value
        b"\x08\0\x18\0\2\0\0\0\x30\0",  # another group
        b"\0\0\0\1\xff\xff\xff\xff",  # longer than anything
    ],
)
def test_what_is_no_command_set_is_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        command.parse(data)


@given(st.binary(max_size=200))
def test_any_bytes_are_parsed_or_refused(data: bytes) -> None:
    try:
        found = command.parse(data)
    except Malformed:
        return
    assert sum(8 + len(value) for value in found.values()) <= len(data)


def test_a_number_must_be_there_and_be_one() -> None:
    for found in ({}, {command.FIELD: b"\1"}, {command.FIELD: b"\1\0\2\0"}):
        with pytest.raises(Malformed):
            command.number(found, command.FIELD)
