"""DIMSE messages out of P-DATA (PS3.7 6.3, PS3.8 Annex E): commands are obeyed, datasets go where their command says.

A dataset is never collected: its fragments go straight into the ``Store`` that the handler began. The thread that
reads also commits and answers, so a slow disk slows the sender by TCP's own means. What breaks the protocol raises
Malformed, and then no more may be given.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from venturi.dataset.uids import tolerable_uid
from venturi.errors import Malformed
from venturi.receive.commitment import Conversation
from venturi.receive.contexts import is_storage
from venturi.receive.negotiation import Context
from venturi.receive.port import Store, StoreHandler, StoreRequest
from venturi.upper_layer import command

COMMAND_BYTES = 65536
"""The largest command set."""
OBJECT_BYTES = 1 << 30
"""Of an object that is not taken."""
PROCESSING_FAILURE, SOP_CLASS_NOT_SUPPORTED = 0x0110, 0x0122
"""PS3.7 Annex C."""


_ANSWERS = {
    command.C_STORE_RQ: command.C_STORE_RSP,
    command.N_ACTION_RQ: command.N_ACTION_RSP,
    command.N_EVENT_REPORT_RQ: command.N_EVENT_REPORT_RSP,
}
"""Requests that may have a dataset."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose messages these are."""

    calling_ae: str
    called_ae: str
    peer: str
    address: str
    certificate: str = ""
    """SHA-256 of what it has shown, hexadecimal; empty: none."""


@dataclass(slots=True)
class _Declined:
    """A ``Store`` for what is not taken: it only knows the status, and when it has heard enough."""

    status: int
    left: int

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.left -= len(data)
        if self.left < 0:
            raise Malformed("more of what is not taken than anybody needs to hear")

    def finish(self) -> int:
        return self.status

    def abandon(self) -> None:
        pass


@dataclass(slots=True)
class _Arriving:
    """A request with a dataset from its command to its answer."""

    answer: int
    """Its command field."""
    message_id: int
    context_id: int
    sop_class: str
    sop_instance: str
    store: Store


class Messages:
    """Those of one association."""

    def __init__(
        self,
        handler: StoreHandler,
        caller: Caller,
        contexts: Mapping[int, Context],
        may_begin: Callable[[], bool],
        answer: Callable[[bytes], None],
        conversation: Conversation | None = None,
    ) -> None:
        """``may_begin``: whether another object may be begun now. ``answer`` sends a P-DATA-TF PDU.

        ``conversation`` is about storage commitment; without it, nothing is promised.
        """
        self._handler = handler
        self._caller = caller
        self._contexts = contexts
        self._may_begin = may_begin
        self._answer = answer
        self._conversation = conversation
        self._command = bytearray()
        self._context_id = 0
        """Of the message that is arriving."""
        self._arriving: _Arriving | None = None
        self._idle_since: float | None = time.monotonic()
        """When the last object was answered; None while one is in hand, from its command to its answer."""

    def idle_s(self) -> float:
        """For how long there has been no object in hand, seconds; for any thread."""
        since = self._idle_since
        return 0.0 if since is None else time.monotonic() - since

    def begin_fragment(self, context_id: int, *, of_command: bool) -> None:
        """A fragment follows."""
        arriving = self._arriving
        if of_command:
            if arriving is not None:
                raise Malformed("a command began in the middle of a dataset")
            if self._command and context_id != self._context_id:
                raise Malformed("a command in two presentation contexts")
            self._context_id = context_id
        elif arriving is None or context_id != arriving.context_id:
            raise Malformed("a dataset without its command")

    def take_command(self, data: memoryview) -> None:
        """Take some bytes of a command's fragment."""
        if len(self._command) + len(data) > COMMAND_BYTES:
            raise Malformed(f"a command set of more than {COMMAND_BYTES} bytes")
        self._command += data

    def take_dataset(self, data: memoryview) -> None:
        """Take some bytes of a dataset's fragments."""
        assert self._arriving is not None  # noqa: S101  # begin_fragment has looked
        self._arriving.store.write(data)

    def end_command(self) -> None:
        """The command is complete: obey it."""
        whole, self._command = self._command, bytearray()
        found = command.parse(whole)
        field = command.number(found, command.FIELD)
        has_dataset = command.number(found, command.DATASET_TYPE) != command.NO_DATASET
        if field in _ANSWERS:
            self._arriving = self._begin(found, field)
            if not has_dataset:
                self.end_dataset()
        elif field == command.C_ECHO_RQ and not has_dataset:
            if self._contexts.get(self._context_id, Context("", "")).abstract_syntax != command.VERIFICATION:
                raise Malformed("a C-ECHO-RQ on a presentation context that is not for Verification")
            response = command.echo_response(command.number(found, command.MESSAGE_ID))
            self._answer(command.p_data_tf(self._context_id, response))
        elif field == command.N_EVENT_REPORT_RSP and self._conversation and not has_dataset:
            self._conversation.answered(found)
        elif field != command.C_CANCEL_RQ:  # there is nothing that could be cancelled
            raise Malformed(f"the command {field:04X} is not served here")

    def end_dataset(self) -> None:
        """The object is complete: finish it, and send the C-STORE-RSP."""
        arriving, self._arriving = self._arriving, None
        assert arriving is not None  # noqa: S101  # begin_fragment has looked
        sop_class, sop_instance = arriving.sop_class, arriving.sop_instance
        if not (tolerable_uid(sop_class) and tolerable_uid(sop_instance)):
            sop_class = sop_instance = ""
        status = arriving.store.finish()
        response = command.response(arriving.answer, arriving.message_id, status, sop_class, sop_instance)
        self._answer(command.p_data_tf(arriving.context_id, response))
        if self._idle_since is None:
            self._idle_since = time.monotonic()

    def abandon(self) -> bool:
        """The association is over: leave no trace of an object in hand; whether there was one."""
        arriving, self._arriving = self._arriving, None
        if arriving is not None:
            arriving.store.abandon()
        if self._conversation is not None:
            self._conversation.end()
        return arriving is not None

    def look(self) -> bool:
        """Nothing has come for a moment: tell the peer what it waits for; whether it may go on waiting."""
        if self._conversation is None or self._arriving is not None or self._command or not self._may_begin():
            return False
        for context_id, context in self._contexts.items():
            if context.abstract_syntax == command.COMMITMENT_PUSH:
                if said := self._conversation.tell(context_id, context.transfer_syntax):
                    self._answer(said)
                break
        return self._conversation.waits()

    def _begin(self, found: dict[int, bytes], field: int) -> _Arriving:
        context = self._contexts.get(self._context_id)
        if context is None:
            raise Malformed(f"presentation context {self._context_id} was not accepted")
        if not self._may_begin():
            raise Malformed("this receiver is stopping")
        message_id = command.number(found, command.MESSAGE_ID)
        requested = field == command.N_ACTION_RQ
        sop_class = command.uid(found, command.REQUESTED_SOP_CLASS if requested else command.SOP_CLASS)
        sop_instance = command.uid(
            found, command.REQUESTED_SOP_INSTANCE if requested else command.SOP_INSTANCE
        )
        if field != command.C_STORE_RQ:
            if context.abstract_syntax != command.COMMITMENT_PUSH:
                raise Malformed(f"the command {field:04X} on a presentation context that is not for it")
            taken: Store = _Declined(PROCESSING_FAILURE, OBJECT_BYTES)
            if self._conversation is not None:
                taken = self._conversation.begin(found, field, context.transfer_syntax)
            return _Arriving(_ANSWERS[field], message_id, self._context_id, sop_class, sop_instance, taken)
        self._idle_since = None
        store: Store = _Declined(SOP_CLASS_NOT_SUPPORTED, OBJECT_BYTES)
        if is_storage(context.abstract_syntax):
            caller = self._caller
            request = StoreRequest(
                sop_class_uid=sop_class,
                sop_instance_uid=sop_instance,
                abstract_syntax=context.abstract_syntax,
                transfer_syntax=context.transfer_syntax,
                calling_ae=caller.calling_ae,
                called_ae=caller.called_ae,
                peer=caller.peer,
                address=caller.address,
                certificate=caller.certificate,
            )
            store = self._handler.begin(request)
        return _Arriving(command.C_STORE_RSP, message_id, self._context_id, sop_class, sop_instance, store)
