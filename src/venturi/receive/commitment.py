"""Storage Commitment on an association that a peer has opened (PS3.4 J, PS3.7 10.1.1, 10.1.4).

A request (N-ACTION) is recorded before it is answered; whether what it asks for is stored for good is looked at
elsewhere, and it is told (N-EVENT-REPORT) here, if the peer keeps its association open that long. What a peer reports
of requests of ours is recorded, too, before it is answered.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from venturi.dataset.commitment import read_request, read_result, write_result
from venturi.errors import Malformed, Temporary, VenturiError
from venturi.ledger.port import Commitment, Commitments, Doorbell, Role
from venturi.log import get_logger
from venturi.upper_layer import command

log = get_logger()

REQUEST_BYTES = 1 << 22
"""The longest dataset of a request or report."""
WAIT_S = 600.0
"""How long a peer that has asked may be silent, if it waits for its answer."""
AGAIN_S = 60.0
"""After a peer did not want to be told."""
RESEND_S = 30.0
"""After a peer said that it does not have what it got."""
LEASE_S = 120.0
LEAST_BYTES = 1024
"""A peer that takes no PDU as long as that is told on an association of ours, if at all: here it costs too much."""

PROCESSING_FAILURE, NO_SUCH_INSTANCE, NO_SUCH_EVENT, INVALID_ARGUMENT = 0x0110, 0x0112, 0x0113, 0x0115
NO_SUCH_CLASS, NO_SUCH_ACTION, RESOURCE_LIMITATION = 0x0118, 0x0123, 0x0213
"""PS3.7 Annex C."""


@dataclass(frozen=True, slots=True)
class Partner:
    """Who is at the other end."""

    peer: str
    calling_ae: str
    called_ae: str


class CommitmentHandler:
    """One for each receiver process, used by all its associations at once."""

    def __init__(self, known: Commitments, doorbell: Doorbell, within_s: float, owner: str) -> None:
        """``within_s``: how long an answer may take. ``owner`` names this process where it has claimed something."""
        self._known, self._doorbell, self._within_s = known, doorbell, within_s
        self.owner = owner

    def requested(self, data: bytes, transfer_syntax: str, partner: Partner) -> int:
        """Take the dataset of an N-ACTION; the status. Never raises."""

        def record() -> int:
            request = read_request(data, transfer_syntax)
            until = time.time() + self._within_s
            fresh = self._known.requested(request, partner.peer, partner.calling_ae, partner.called_ae, until)
            if not fresh:
                log.warning(
                    "storage commitment asked for other instances under a UID that is in use",
                    peer=partner.peer,
                )
                return INVALID_ARGUMENT
            log.info("storage commitment asked for", peer=partner.peer, instances=len(request.references))
            self._doorbell.ring(Role.DELIVER)
            return 0

        return self._guarded(record, partner)

    def reported(self, data: bytes, transfer_syntax: str, partner: Partner) -> int:
        """Take the dataset of an N-EVENT-REPORT; the status. Never raises."""

        def record() -> int:
            result = read_result(data, transfer_syntax)
            found = self._known.reported(result, partner.peer, time.time() + RESEND_S)
            if found is None:
                log.warning("storage commitment reported that was not asked for", peer=partner.peer)
                return INVALID_ARGUMENT
            tell = log.error if result.failed else log.info
            tell("storage commitment reported", peer=partner.peer, instances=found, failed=len(result.failed))
            if result.failed:
                self._doorbell.ring(Role.DELIVER)
            return 0

        return self._guarded(record, partner)

    def to_tell(self, partner: Partner, owner: str) -> Commitment | None:
        """Claim what a peer is to be told, if there is anything. Never raises."""
        try:
            return self._known.claim_report(partner.peer, partner.calling_ae, owner, LEASE_S)
        except VenturiError as error:
            log.error("storage commitments can't be looked up", error=type(error).__name__)
            return None

    def told(self, commitment: Commitment, owner: str, failure: str, due_at: float) -> None:
        """Record that a peer was told, or why not. Never raises."""
        try:
            self._known.told(commitment.id, owner, failure, due_at)
        except VenturiError as error:  # the lease runs out, and it is told again
            log.error("storage commitment told, but not recorded", error=type(error).__name__)

    def _guarded(self, record: Callable[[], int], partner: Partner) -> int:
        try:
            return record()
        except Malformed as error:
            log.warning("storage commitment refused", why=str(error), peer=partner.peer)
            return INVALID_ARGUMENT
        except Temporary as error:
            log.error("storage commitment not recorded", error=type(error).__name__, peer=partner.peer)
            return RESOURCE_LIMITATION
        except Exception as error:  # the peer must get an answer, and not a promise
            log.error("storage commitment not recorded", error=type(error).__name__, peer=partner.peer)
            return PROCESSING_FAILURE


class Incoming:
    """A ``Store`` for the dataset of a request or report: collected, since it is small, and handed on."""

    def __init__(self, take: Callable[[bytes], int] | None, status: int = 0) -> None:
        """``take`` gives the status; without it, that is ``status``, and the dataset is only heard."""
        self._take, self._status = take, status
        self._data = bytearray()
        self._left = REQUEST_BYTES

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take some bytes. Raises Malformed where they are too many."""
        self._left -= len(data)
        if self._left < 0:
            raise Malformed(f"a request of more than {REQUEST_BYTES} bytes")
        if self._take is not None:
            self._data += data

    def finish(self) -> int:
        """Hand it on; the status."""
        return self._status if self._take is None else self._take(bytes(self._data))

    def abandon(self) -> None:
        """Forget it."""


class Conversation:
    """One association's."""

    def __init__(
        self, handler: CommitmentHandler, partner: Partner, most_bytes: int, *, listens: bool
    ) -> None:
        """``most_bytes``: of the longest PDU that the peer takes; 0: any.

        ``listens``: whether the association is there to be told something. On others a peer is told only what it has
        asked for on it: who sends objects may not understand anything but their answers.
        """
        self._handler, self._partner, self._most_bytes = handler, partner, most_bytes
        self._listens = listens
        self._owner = f"{handler.owner}{id(self):x}"
        self._telling: Commitment | None = None
        self._asked, self._asked_at = 0, 0.0
        """How often the peer has asked and was not told of that yet, and when last."""
        self._first_at = float("inf")
        """When it asked first: seconds since 1970-01-01 UTC."""
        self._message_id = 0

    def begin(self, found: dict[int, bytes], field: int, transfer_syntax: str) -> Incoming:
        """Take a command's request or report: what takes its dataset. Raises Malformed."""
        status = _refusal(found, field)
        if status:
            return Incoming(None, status)
        if field == command.N_EVENT_REPORT_RQ:
            return Incoming(lambda data: self._handler.reported(data, transfer_syntax, self._partner))

        def ask(data: bytes) -> int:
            self._first_at = min(self._first_at, time.time())
            status = self._handler.requested(data, transfer_syntax, self._partner)
            if not status:
                self._asked, self._asked_at = self._asked + 1, time.monotonic()
            return status

        return Incoming(ask)

    def waits(self) -> bool:
        """Whether the peer has asked, and may wait for its answer in silence."""
        return bool(self._asked) and time.monotonic() - self._asked_at < WAIT_S

    def tell(self, context_id: int, transfer_syntax: str) -> bytes:
        """What the peer is to be told now, as P-DATA-TF PDUs; nothing where there is nothing, or it was just told."""
        tiny = 0 < self._most_bytes < LEAST_BYTES
        if tiny or self._telling is not None or not (self._asked or self._listens):
            return b""
        self._telling = self._handler.to_tell(self._partner, self._owner)
        if self._telling is None:
            return b""
        result = self._telling.result
        self._message_id = self._message_id % 65535 + 1
        event = command.SOME_FAILED if result.failed else command.ALL_COMMITTED
        said = command.event_report_request(self._message_id, event)
        return command.message(context_id, said, write_result(result, transfer_syntax), self._most_bytes)

    def answered(self, found: dict[int, bytes]) -> None:
        """Take an N-EVENT-REPORT-RSP. Raises Malformed."""
        telling, self._telling = self._telling, None
        if telling is None or command.number(found, command.RESPONDED_TO) != self._message_id:
            raise Malformed("a response to what was not said")
        status = command.number(found, command.STATUS)
        if telling.at >= self._first_at:  # what was asked before is told first
            self._asked = max(0, self._asked - 1)
        # A warning is no refusal (PS3.7 Annex C): it has heard.
        failure = "" if status == 0 or status & 0xF000 == 0xB000 else f"the peer answered {status:04X}"
        self._handler.told(telling, self._owner, failure, time.time() + AGAIN_S)

    def end(self) -> None:
        """The association is over: what was said and not answered is to be said again."""
        telling, self._telling = self._telling, None
        if telling is not None:
            self._handler.told(telling, self._owner, "the association ended before the answer", time.time())


def _refusal(found: dict[int, bytes], field: int) -> int:
    """With which status a command is refused, whatever its dataset is; 0: it is not. Raises Malformed."""
    report = field == command.N_EVENT_REPORT_RQ
    of_class = command.SOP_CLASS if report else command.REQUESTED_SOP_CLASS
    of_instance = command.SOP_INSTANCE if report else command.REQUESTED_SOP_INSTANCE
    if command.uid(found, of_class) != command.COMMITMENT_PUSH:
        return NO_SUCH_CLASS
    if command.uid(found, of_instance) != command.COMMITMENT_INSTANCE:
        return NO_SUCH_INSTANCE
    if report:
        known = (command.ALL_COMMITTED, command.SOME_FAILED)
        return 0 if command.number(found, command.EVENT_TYPE) in known else NO_SUCH_EVENT
    asked = command.number(found, command.ACTION_TYPE)
    return 0 if asked == command.REQUEST_COMMITMENT else NO_SUCH_ACTION
