"""One association as acceptor: pynetdicom's negotiation and state machine, with our own way for the data.

pynetdicom would collect each dataset in memory or in a temporary file; here every P-DATA fragment goes
straight into the ``Store`` that the handler began, so an object is written once, and an abort in mid-object
abandons it. The socket keeps the limits that the stock one lacks: no PDU longer than promised, and a deadline
for each PDU.
"""

import contextlib
import select
import socket
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog
from pynetdicom import AE, _config, evt
from pynetdicom._globals import MODE_ACCEPTOR
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_CANCEL_RQ, C_ECHO_RQ, C_STORE_RQ, DIMSEMessage
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AddressInformation, AssociationSocket

from venturi.dataset.uids import printable
from venturi.errors import Malformed
from venturi.receive.c_store import is_uid
from venturi.receive.contexts import VERIFICATION, choose
from venturi.receive.port import Store, StoreRequest

if TYPE_CHECKING:
    from venturi.receive.pynetdicom_scp import Receiver

_config.LOG_HANDLER_LEVEL = "none"  # its event handlers would put every command set into strings for a log
_config.VALIDATORS["UI"] = lambda _: (True, "")  # what an invalid UID gets is a status, not an abort

log = structlog.get_logger()

REQUEST_BYTES = 65536
"""The largest PDU before an association is accepted."""
COMMAND_BYTES = 65536
"""The largest command set."""
NO_DATASET = 0x0101
"""Command Data Set Type (0000,0800) where none follows (PS3.7 E.1)."""


class DeadlineSocket(AssociationSocket):
    """Reads no PDU that is longer than promised, and none that takes longer than the timeout."""

    def __init__(
        self, association: "Acceptor", client: socket.socket, pdu_bytes: int, timeout_s: float
    ) -> None:
        super().__init__(association, client_socket=client)
        self._pdu_bytes, self._timeout_s = pdu_bytes, timeout_s
        self._deadline = 0.0
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.settimeout(timeout_s)

    @property
    def ready(self) -> bool:
        """Whether there is something to read: by poll(2), since select(2) ends at descriptor 1,024."""
        if self.socket is None or not self._is_connected:
            return False
        try:
            poller = select.poll()
            poller.register(self.socket, select.POLLIN)
            return bool(poller.poll(0))
        except (OSError, ValueError):
            self.event_queue.put("Evt17")
            return False

    def recv(self, nr_bytes: int) -> bytearray:
        """Read a PDU's 6 byte header, or its rest; fewer bytes say that the connection is over or too slow.

        Raises Malformed for a PDU that is too long, which ends the association with an A-ABORT before it is
        read.
        """
        client = self.socket
        if client is None:
            return bytearray()
        if nr_bytes == 6:  # the header starts the clock; a rest of 6 bytes merely starts it again
            self._deadline = time.monotonic() + self._timeout_s
        limit = self._pdu_bytes if self.assoc.is_established else REQUEST_BYTES
        if nr_bytes > limit:
            raise Malformed(f"a PDU of {nr_bytes} bytes was announced; {limit} are allowed")
        data = bytearray(nr_bytes)
        view, got = memoryview(data), 0
        try:
            while got < nr_bytes:
                left_s = self._deadline - time.monotonic()
                if left_s <= 0:
                    break
                client.settimeout(left_s)
                count = client.recv_into(view[got:])
                if count == 0:
                    break
                got += count
                # Many senders leave Nagle on and so wait for our acknowledgement; the option does not last.
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            client.settimeout(self._timeout_s)
        except OSError:
            pass  # too short an answer tells the caller the same
        view.release()
        del data[got:]
        return data


@dataclass(slots=True)
class Arrived:
    """A C-STORE whose dataset is complete, on its way from the reading thread to the answering one."""

    message_id: int
    request: StoreRequest
    store: Store


class StreamingDimse(DIMSEServiceProvider):
    """Takes P-DATA apart: commands as pynetdicom does, datasets of C-STORE straight into the handler's Store.

    ``receive_primitive`` runs in the association's reading thread, which is also the one that writes to disk:
    a slow disk slows the sender by TCP's own means.
    """

    assoc: "Acceptor"

    def __init__(self, association: "Acceptor") -> None:
        super().__init__(association)
        self._command_bytes = 0
        self._current: Arrived | None = None
        self._context_id = 0
        self._lock = threading.Lock()
        self.open_store: Store | None = None
        """Begun and not yet finished."""
        self.idle_since: float | None = time.monotonic()
        """When the last object was answered; None while one is in hand, from its command to its answer."""

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take one P-DATA. What breaks the protocol ends the association (PS3.8 AA-8)."""
        try:
            for context_id, data in primitive.presentation_data_value_list:
                if data[0] & 1:
                    self._take_command(context_id, data)
                else:
                    self._take_dataset(context_id, data)
        except Malformed as error:
            self._break(str(error))
        except Exception as error:  # a command set that can't be read can raise anything in the parser
            self._break(f"unreadable command set: {type(error).__name__}")

    def abandon(self) -> None:
        """The association is over: leave no trace of an object in progress."""
        with self._lock:
            store, self.open_store = self.open_store, None
        if store is not None:
            log.warning("association ended in mid-object", **self.assoc.identity())
            store.abandon()

    def finish(self, arrived: Arrived) -> int:
        """The status of a complete object."""
        with self._lock:
            mine, self.open_store = self.open_store is arrived.store, None
        return arrived.store.finish() if mine else 0xA700

    def _break(self, why: str) -> None:
        log.warning("association aborted", why=why, **self.assoc.identity())
        self.dul.event_queue.put("Evt19")

    def _take_command(self, context_id: int, data: bytes) -> None:
        if self._current is not None:
            raise Malformed("a command began in the middle of a dataset")
        self._command_bytes += len(data)
        if self._command_bytes > COMMAND_BYTES:
            raise Malformed(f"a command set of more than {COMMAND_BYTES} bytes")
        if self.message is None:
            self.message = DIMSEMessage()
        fragment = P_DATA()
        fragment.presentation_data_value_list.append((context_id, data))
        self.message.decode_msg(fragment, self.assoc)
        if not data[0] & 2:
            return
        message, self.message, self._command_bytes = self.message, None, 0
        has_dataset = message.command_set.CommandDataSetType != NO_DATASET
        if isinstance(message, C_STORE_RQ):
            self._begin(message, context_id, has_dataset)
        elif isinstance(message, C_ECHO_RQ) and not has_dataset:
            self.msg_queue.put((context_id, message.message_to_primitive()))  # type: ignore[arg-type]  # a C_ECHO
        elif not isinstance(message, C_CANCEL_RQ):  # there is nothing that could be cancelled
            raise Malformed(f"{type(message).__name__} is not served here")

    def _begin(self, message: DIMSEMessage, context_id: int, has_dataset: bool) -> None:
        if self.open_store is not None:
            raise Malformed("a C-STORE-RQ before the last one was answered")
        context = self.assoc.context(context_id)
        if context is None:
            raise Malformed(f"presentation context {context_id} was not accepted")
        if context.abstract_syntax == VERIFICATION:
            raise Malformed("a C-STORE-RQ on a presentation context for Verification")
        if not self.assoc.receiver.may_begin():
            raise Malformed("this receiver is stopping")
        command = message.command_set
        request = StoreRequest(
            sop_class_uid=str(command.get("AffectedSOPClassUID", "")),
            sop_instance_uid=str(command.get("AffectedSOPInstanceUID", "")),
            abstract_syntax=str(context.abstract_syntax),
            transfer_syntax=str(context.transfer_syntax[0]),
            calling_ae=self.assoc.calling_ae,
            called_ae=self.assoc.called_ae,
            peer=self.assoc.peer,
            address=self.assoc.address,
        )
        self.idle_since = None
        store = self.assoc.receiver.handler.begin(request)
        self.open_store = store
        arrived = Arrived(int(command.MessageID), request, store)
        if has_dataset:
            self._current, self._context_id = arrived, context_id
        else:
            self.msg_queue.put((context_id, arrived))  # type: ignore[arg-type]  # ours takes it out

    def _take_dataset(self, context_id: int, data: bytes) -> None:
        arrived = self._current
        if arrived is None or context_id != self._context_id:
            raise Malformed("a dataset without its command")
        arrived.store.write(memoryview(data)[1:])
        if data[0] & 2:
            self._current = None
            self.msg_queue.put((context_id, arrived))  # type: ignore[arg-type]  # ours takes it out


class Acceptor(Association):
    """An association that a peer asked for, from the accepted connection to its end."""

    def __init__(self, ae: AE, receiver: "Receiver", client: socket.socket) -> None:
        """Raises OSError where the peer has gone already."""
        super().__init__(ae, MODE_ACCEPTOR)
        self.name = "association"
        self.receiver = receiver
        self.requestor.address_info = AddressInformation.from_tuple(client.getpeername())
        self.acceptor.address_info = AddressInformation.from_tuple(client.getsockname())
        self.address = self.requestor.address_info.address
        self.calling_ae = self.called_ae = self.peer = ""
        self.began_at = time.monotonic()
        self._seat: int | None = None
        limits = receiver.node.limits
        self.acceptor.maximum_length = limits.pdu_bytes
        self.acceptor.ae_title = ae.ae_title
        self.acceptor.implementation_class_uid = ae.implementation_class_uid
        self.acceptor.implementation_version_name = ae.implementation_version_name
        self.acceptor.supported_contexts = []  # until the request is known, nothing is
        self.streaming = StreamingDimse(self)
        self.dimse = self.streaming
        self.set_socket(DeadlineSocket(self, client, limits.pdu_bytes, limits.timeout_s))
        self.client = client
        self.bind(evt.EVT_REQUESTED, self._requested)

    def identity(self) -> dict[str, str]:
        """Who this is, for a log: no text from the network unescaped."""
        return {
            "peer": self.peer,
            "calling_ae": printable(self.calling_ae),
            "called_ae": printable(self.called_ae),
            "address": self.address,
        }

    def context(self, context_id: int) -> PresentationContext | None:
        """The accepted presentation context of this id."""
        return self._accepted_cx.get(context_id)

    @property
    def admitted(self) -> bool:
        """Whether the caller was let in."""
        return self._seat is not None

    def idle_s(self) -> float:
        """For how long it has had no object in hand, seconds."""
        since = self.streaming.idle_since
        return 0.0 if since is None else time.monotonic() - since

    def hang_up(self) -> None:
        """Close the connection under the association: its threads end by themselves."""
        with contextlib.suppress(OSError):  # closed already
            self.client.shutdown(socket.SHUT_RDWR)

    def run_reactor(self) -> None:
        """Run until the association is over, and leave nothing behind, however it ended."""
        try:
            super().run_reactor()
        finally:
            self.streaming.abandon()
            self.hang_up()
            self.client.close()
            if self._seat is not None:
                self.receiver.seats.free(self._seat)
            self.receiver.ended(self)

    def _requested(self, _event: evt.Event) -> None:
        """Decide on an A-ASSOCIATE-RQ: reject it, or say which contexts are supported."""
        try:
            answer = self._decide()
        except Exception:  # default deny: what can't be decided is not let in
            log.exception("association refused: the request could not be judged", address=self.address)
            answer = (2, 1, 1)
        if answer is not None:
            self.acse.send_reject(*answer)
            self.kill()

    def _decide(self) -> tuple[int, int, int] | None:
        request: Any = self.requestor.primitive
        self.calling_ae, self.called_ae = request.calling_ae_title.strip(), request.called_ae_title.strip()
        admitted = self.receiver.admit(self.calling_ae, self.called_ae, self.address)
        if isinstance(admitted, tuple):
            return admitted
        self.peer, self._seat = admitted.peer, admitted.seat
        supported: dict[str, list[str]] = {}
        for context in request.presentation_context_definition_list:
            abstract = str(context.abstract_syntax)
            chosen = choose(abstract, [str(uid) for uid in context.transfer_syntax])
            if chosen is not None:
                context.transfer_syntax = [chosen]
                supported.setdefault(abstract, []).append(chosen)
        for abstract, syntaxes in supported.items():
            context = PresentationContext()
            context.abstract_syntax = abstract
            context.transfer_syntax = list(syntaxes)
            self.acceptor.supported_contexts.append(context)
        return None

    def _serve_request(self, msg: Any, context_id: int) -> None:
        """Answer a complete command; runs in the association's own thread."""
        if not isinstance(msg, Arrived):
            super()._serve_request(msg, context_id)
            return
        response = C_STORE()
        response.MessageIDBeingRespondedTo = msg.message_id
        if is_uid(msg.request.sop_class_uid) and is_uid(msg.request.sop_instance_uid):
            response.AffectedSOPClassUID = msg.request.sop_class_uid
            response.AffectedSOPInstanceUID = msg.request.sop_instance_uid
        response.Status = self.streaming.finish(msg)
        self.dimse.send_msg(response, context_id)
        self.streaming.idle_since = time.monotonic()
