"""PDUs by hand, beside pynetdicom's, and under bytes that are none."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import UID
from pynetdicom.pdu import A_ABORT_RQ, A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ, A_RELEASE_RP
from pynetdicom.pdu_primitives import (
    A_ABORT,
    A_ASSOCIATE,
    A_P_ABORT,
    A_RELEASE,
    AsynchronousOperationsWindowNegotiation,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)
from pynetdicom.presentation import PresentationContext

from venturi import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from venturi.dataset.uids import tolerable_uid
from venturi.errors import Malformed
from venturi.receive.negotiation import STORAGE_INFORMATION, negotiate, unsuitable
from venturi.upper_layer import pdu

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
VERIFICATION, FIND = "1.2.840.10008.1.1", "1.2.840.10008.5.1.4.1.2.2.1"
EXPLICIT, IMPLICIT, JPEG_LS = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.4.80"

SYNTAXES = st.lists(
    st.sampled_from([EXPLICIT, IMPLICIT, JPEG_LS, "1.2.3.4"]), min_size=1, max_size=4, unique=True
)
CONTEXTS = st.lists(
    st.tuples(st.sampled_from([CT, MR, VERIFICATION, FIND, "1.2.840.113619.4.27"]), SYNTAXES),
    min_size=1,
    max_size=128,
)


def proposal(
    contexts: list[tuple[str, list[str]]], extra: tuple[object, ...] = (), calling: str = "CT1"
) -> bytes:
    """The body of an A-ASSOCIATE-RQ as pynetdicom writes it."""
    request = A_ASSOCIATE()
    request.application_context_name = UID("1.2.840.10008.3.1.1.1")
    request.calling_ae_title, request.called_ae_title = calling, "VENTURI"
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received = 16382
    implementation.implementation_class_uid = UID("1.2.3")
    request.user_information = [length, implementation, *extra]
    proposed = []
    for number, (abstract, syntaxes) in enumerate(contexts):
        context = PresentationContext()
        context.context_id, context.abstract_syntax = 2 * number + 1, UID(abstract)
        context.transfer_syntax = [UID(syntax) for syntax in syntaxes]
        proposed.append(context)
    request.presentation_context_definition_list = proposed
    encoder = A_ASSOCIATE_RQ()
    encoder.from_primitive(request)
    encoded: bytes = encoder.encode()
    return encoded[6:]


def accepted(data: bytes) -> A_ASSOCIATE_AC:
    """An A-ASSOCIATE-AC as pynetdicom reads it."""
    decoder = A_ASSOCIATE_AC()
    decoder.decode(data)
    return decoder


@given(CONTEXTS)
@settings(max_examples=50, deadline=None)
def test_a_request_of_pynetdicom_is_read_and_its_answer_is_read_by_pynetdicom(
    contexts: list[tuple[str, list[str]]],
) -> None:
    request = pdu.read_request(proposal(contexts))
    assert (request.calling_ae, request.called_ae, request.version_1) == ("CT1", "VENTURI", True)
    assert request.user.most_bytes == 16382
    assert [(one.abstract_syntax, list(one.transfer_syntaxes)) for one in request.contexts] == contexts
    assert unsuitable(request) is None
    taken, answer = negotiate(request, 131072)
    read = accepted(answer)
    primitive = read.to_primitive()
    assert (read.called_ae_title, read.calling_ae_title) == ("VENTURI", "CT1")
    assert primitive.maximum_length_received == 131072
    assert primitive.implementation_class_uid == IMPLEMENTATION_CLASS_UID
    assert read.user_information.implementation_version_name == IMPLEMENTATION_VERSION_NAME
    results = {one.context_id: one for one in primitive.presentation_context_definition_results_list}
    assert sorted(results) == [one.id for one in request.contexts]
    for one in request.contexts:
        result = results[one.id]
        if one.id in taken:
            assert (result.result, str(result.transfer_syntax[0])) == (0, taken[one.id].transfer_syntax)
            assert taken[one.id].transfer_syntax in one.transfer_syntaxes
        else:
            assert result.result == (3 if one.abstract_syntax == FIND else 4)


def test_roles_windows_and_extended_negotiation_are_answered() -> None:
    window, role = AsynchronousOperationsWindowNegotiation(), SCP_SCU_RoleSelectionNegotiation()
    window.maximum_number_operations_invoked = window.maximum_number_operations_performed = 8
    role.sop_class_uid, role.scu_role, role.scp_role = UID(CT), True, True
    other = SCP_SCU_RoleSelectionNegotiation()
    other.sop_class_uid, other.scu_role, other.scp_role = UID(FIND), True, False
    extended = SOPClassExtendedNegotiation()
    extended.sop_class_uid, extended.service_class_application_information = UID(CT), b"\x02\0\x03\0\x01\0"
    identity = UserIdentityNegotiation()
    identity.user_identity_type, identity.positive_response_requested = 2, True
    identity.primary_field, identity.secondary_field = b"jane", b"secret"
    body = proposal([(CT, [EXPLICIT]), (FIND, [IMPLICIT])], (window, role, other, extended, identity))
    request = pdu.read_request(body)
    assert request.user.identity_answered
    assert request.user.identified
    assert b"jane" not in repr(request).encode()
    assert b"secret" not in repr(request).encode()
    answer = accepted(negotiate(request, 16384)[1]).user_information
    assert (answer.async_ops_window.maximum_number_operations_invoked,) == (1,)
    assert (answer.async_ops_window.maximum_number_operations_performed,) == (1,)
    assert {uid: (one.scu_role, one.scp_role) for uid, one in answer.role_selection.items()} == {CT: (1, 0)}
    assert [(one.sop_class_uid, one.service_class_application_information) for one in answer.ext_neg] == [
        (CT, STORAGE_INFORMATION)
    ]
    assert answer.user_identity.server_response == b""


def test_nothing_is_answered_that_was_not_asked() -> None:
    answer = accepted(negotiate(pdu.read_request(proposal([(CT, [EXPLICIT])])), 16384)[1]).user_information
    assert (answer.async_ops_window, answer.user_identity) == (None, None)
    assert (answer.role_selection, answer.ext_neg) == ({}, [])


def test_another_protocol_is_rejected() -> None:
    body = bytearray(proposal([(CT, [EXPLICIT])]))
    body[1] = 2
    assert unsuitable(pdu.read_request(bytes(body))) == (1, 2, 2)
    other = proposal([(CT, [EXPLICIT])]).replace(b"1.2.840.10008.3.1.1.1", b"1.2.840.10008.3.1.1.2")
    assert unsuitable(pdu.read_request(other)) == (1, 1, 2)


def test_the_short_ones_are_byte_for_byte_pynetdicoms() -> None:
    rejected = A_ASSOCIATE()
    rejected.result, rejected.result_source, rejected.diagnostic = 2, 3, 1
    reject = A_ASSOCIATE_RJ()
    reject.from_primitive(rejected)
    assert pdu.reject(2, 3, 1) == reject.encode()
    aborted, by_provider, by_user = A_ABORT_RQ(), A_P_ABORT(), A_ABORT()
    by_provider.provider_reason = 2
    aborted.from_primitive(by_provider)
    assert pdu.abort(pdu.ABORT_BY_PROVIDER, pdu.UNEXPECTED_PDU) == aborted.encode()
    by_user.abort_source = 0
    aborted = A_ABORT_RQ()
    aborted.from_primitive(by_user)
    assert pdu.abort(pdu.ABORT_BY_USER, pdu.NOT_SPECIFIED) == aborted.encode()
    release = A_RELEASE()
    release.result = "affirmative"
    released = A_RELEASE_RP()
    released.from_primitive(release)
    assert released.encode() == pdu.RELEASED


PROPOSALS = [
    proposal([(CT, [EXPLICIT, JPEG_LS]), (VERIFICATION, [IMPLICIT])]),
    proposal([(MR, [IMPLICIT])] * 128),
]


@given(st.binary(max_size=400))
def test_any_bytes_are_a_request_or_malformed(body: bytes) -> None:
    for data in (body, PROPOSALS[0][:68] + body):
        with suppress(Malformed):
            negotiate(pdu.read_request(data), 16384)


@given(st.sampled_from(PROPOSALS), st.data())
@settings(deadline=None)
def test_so_are_a_requests_bytes_with_some_of_them_changed(body: bytes, data: st.DataObject) -> None:
    changed = bytearray(body)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(changed)))
    for part in (bytes(changed), bytes(changed[:cut])):
        with suppress(Malformed):
            taken, _ = negotiate(pdu.read_request(part), 16384)
            assert all(
                tolerable_uid(one.abstract_syntax) and tolerable_uid(one.transfer_syntax)
                for one in taken.values()
            )


def item(kind: int, value: bytes) -> bytes:
    return bytes((kind, 0)) + len(value).to_bytes(2, "big") + value


def context(number: int, abstract: bytes = CT.encode(), transfer: bytes = EXPLICIT.encode()) -> bytes:
    return item(0x20, bytes((number, 0, 0, 0)) + item(0x30, abstract) + item(0x40, transfer))


@pytest.mark.parametrize(
    ("items", "why"),
    [
        (b"", "no presentation context"),
        (context(2), "even id"),
        (context(1) + context(1), "twice"),
        (context(1)[:-1], "which are not there"),
        (context(1) + b"\x50\0", "ends in its header"),
        (context(1) + item(0x50, item(0x51, b"\0\0")), "not one number"),
        (context(1) + item(0x50, item(0x54, b"\0\xff1.2")), "not there"),
        (context(1) + item(0x50, item(0x56, b"\0\3" + b"1.2") * 200), "more negotiation items"),
    ],
)
def test_what_is_wrong_with_a_request_is_said(items: bytes, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        pdu.read_request(PROPOSALS[0][:68] + items)


@pytest.mark.parametrize(
    "odd",
    [
        item(0x20, b"\3\0\0\0" + item(0x30, CT.encode())),
        item(0x20, b"\3\0\0\0" + item(0x40, EXPLICIT.encode())),
        context(3, b"1" * 65),
        context(3, b"DOE^JANE"),
        context(3, transfer=b""),
        context(3, transfer=b"not a UID"),
    ],
    ids=["no transfer syntax", "no abstract syntax", "too long", "no UID", "empty", "no UID of a syntax"],
)
def test_an_odd_context_is_rejected_and_the_others_are_not(odd: bytes) -> None:
    request = pdu.read_request(PROPOSALS[0][:68] + item(0x10, pdu.APPLICATION_CONTEXT) + odd + context(1))
    taken, answer = negotiate(request, 16384)
    assert sorted(taken) == [1]
    results = accepted(answer).to_primitive().presentation_context_definition_results_list
    assert {one.context_id: one.result == 0 for one in results} == {1: True, 3: False}
