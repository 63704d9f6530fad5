"""Storage Commitment on associations of ours: asking a peer, and telling one (PS3.4 J.3)."""

import contextlib
from collections.abc import Callable
from typing import Protocol

from venturi.dataset.commitment import read_result, write_request, write_result
from venturi.dataset.syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from venturi.deliver.association import Context, Hear
from venturi.deliver.dicom_scu import Requestor
from venturi.deliver.wire import Lost
from venturi.errors import Malformed
from venturi.ledger.port import Commitment
from venturi.model import CommitmentRequest, CommitmentResult
from venturi.upper_layer import command

CONTEXTS = tuple(
    Context(command.COMMITMENT_PUSH, uid) for uid in (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
)
INVALID_ARGUMENT = 0x0115
"""PS3.7 Annex C."""


class Talk(Protocol):
    """Associations with peers."""

    def ask(
        self,
        destination: str,
        member: str,
        request: CommitmentRequest,
        take: Callable[[CommitmentResult], int],
    ) -> int:
        """Ask for storage commitment: the status. Raises NotAssociated, Lost."""

    def tell(self, commitment: Commitment) -> int | None:
        """Tell who asked: the status, or None where it can't be called. Raises NotAssociated, Lost."""


def ask(
    requestor: Requestor, request: CommitmentRequest, take: Callable[[CommitmentResult], int], linger_s: float
) -> int:
    """Ask a peer to store for good: the status of its answer. Raises NotAssociated, Lost.

    What it reports within ``linger_s`` seconds on the same association, ``take`` gets, and gives the status; whatever
    it reports later comes by an association of its own.
    """
    reports = 0

    def read(dataset: bytes, context: Context) -> int:
        nonlocal reports
        reports += 1
        try:
            return take(read_result(dataset, context.transfer_syntax))
        except Malformed:
            return INVALID_ARGUMENT

    heard = Hear(command.N_EVENT_REPORT_RQ, read)
    association = requestor.associate(CONTEXTS)
    try:
        context = association.accepted[0]
        dataset = write_request(request, context.transfer_syntax)
        status = association.ask(context, command.action_request, dataset, command.N_ACTION_RSP, heard)
        if status == 0 and not reports:
            with contextlib.suppress(Lost):  # it has taken the request: where it reports is its choice
                association.hear(heard, linger_s)
        return status
    finally:
        association.end()


def tell(requestor: Requestor, result: CommitmentResult) -> int:
    """Tell a peer what became of its request: the status of its answer. Raises NotAssociated, Lost."""
    association = requestor.associate(CONTEXTS, as_scp=True)
    try:
        context = association.accepted[0]
        event = command.SOME_FAILED if result.failed else command.ALL_COMMITTED
        return association.ask(
            context,
            lambda message_id: command.event_report_request(message_id, event),
            write_result(result, context.transfer_syntax),
            command.N_EVENT_REPORT_RSP,
        )
    finally:
        association.end()
