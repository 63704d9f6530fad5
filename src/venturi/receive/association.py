"""One association as acceptor: pynetdicom's negotiation and state machine, with our own way for the data.

pynetdicom would collect each dataset in memory or in a temporary file, and hand each PDU through three queues;
here every P-DATA fragment goes straight into the ``Store`` that the handler began, so an object is written once, and
an abort in mid-object abandons it. The thread that has read the last one commits and answers. The socket keeps the
limits that the stock one lacks: no PDU longer than promised, and a deadline for each PDU.
"""

import contextlib
import queue
import select
import socket
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pynetdicom import AE, _config, evt
from pynetdicom._globals import MODE_ACCEPTOR
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import DIMSEMessage
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AddressInformation, AssociationSocket

from venturi.dataset.uids import printable
from venturi.errors import Malformed
from venturi.log import get_logger
from venturi.receive import command
from venturi.receive.c_store import is_uid
from venturi.receive.contexts import VERIFICATION, choose
from venturi.receive.port import Store, StoreRequest

if TYPE_CHECKING:
    from venturi.receive.pynetdicom_scp import Receiver

_config.LOG_HANDLER_LEVEL = "none"  # its event handlers would put every command set into strings for a log
_config.VALIDATORS["UI"] = lambda _: (True, "")  # what an invalid UID gets is a status, not an abort

log = get_logger()

REQUEST_BYTES = 65536
"""The largest PDU before an association is accepted."""
COMMAND_BYTES = 65536
"""The largest command set."""
LOOK_S = 0.002
"""How long the two threads of an association wait for what concerns them before they look for something else."""
P_DATA_TF = b"\x04"


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
        """Whether there is something to read, or soon is: by poll(2), since select(2) ends at descriptor 1,024."""
        if self.socket is None or not self._is_connected:
            time.sleep(LOOK_S)  # until the association's other thread has noticed, too
            return False
        try:
            poller = select.poll()
            poller.register(self.socket, select.POLLIN)
            return bool(poller.poll(LOOK_S * 1000))
        except (OSError, ValueError):
            self.event_queue.put("Evt17")
            return False

    def p_data_next(self) -> bool:
        """Whether the PDU that is there to be read is a P-DATA-TF."""
        try:
            return self.socket is not None and self.socket.recv(1, socket.MSG_PEEK) == P_DATA_TF
        except OSError:
            return False  # whoever reads it finds out what that is

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
    """A C-STORE from its command to its answer."""

    message_id: int
    context_id: int
    request: StoreRequest
    store: Store


class StreamingDul(DULServiceProvider):
    """Gives P-DATA-TF PDUs to ``StreamingDimse`` as they are read, as the state machine does in Sta6 (PS3.8 9.2.3)."""

    assoc: "Acceptor"

    def __init__(self, association: "Acceptor") -> None:
        super().__init__(association)
        self._run_loop_delay = 0.0  # the socket's ``ready`` waits
        self._taking = False

    def idle_timer_expired(self) -> bool:
        """Whether the peer has been silent for too long; while an object is synced, it is the peer who waits."""
        return not self._taking and super().idle_timer_expired()

    def _read_pdu_data(self) -> None:
        """Read a PDU. Raises Malformed for one that is too long: see ``DeadlineSocket.recv``."""
        source = self.socket
        if (
            not isinstance(source, DeadlineSocket)
            or self.state_machine.current_state != "Sta6"
            or not source.p_data_next()
        ):
            super()._read_pdu_data()
            return
        header = source.recv(6)
        length = int.from_bytes(header[2:6], "big")
        body = source.recv(length) if len(header) == 6 else header
        if len(header) < 6 or len(body) < length:
            self.event_queue.put("Evt17")
        else:
            self._taking = True
            self.assoc.streaming.take(body)
            self._idle_timer.restart()
            self._taking = False


class StreamingDimse(DIMSEServiceProvider):
    """Takes P-DATA apart: datasets of C-STORE go straight into the handler's Store.

    ``take`` runs in the association's reading thread, which is also the one that writes to disk and answers: a slow
    disk slows the sender by TCP's own means.
    """

    assoc: "Acceptor"

    def __init__(self, association: "Acceptor") -> None:
        super().__init__(association)
        self._command = bytearray()
        self._current: Arrived | None = None
        self._lock = threading.Lock()
        self.open_store: Store | None = None
        """Begun and not yet finished."""
        self.idle_since: float | None = time.monotonic()
        """When the last object was answered; None while one is in hand, from its command to its answer."""

    def take(self, body: bytearray) -> None:
        """Take a P-DATA-TF PDU's body. What breaks the protocol ends the association (PS3.8 AA-8)."""
        try:
            with memoryview(body) as view:
                at = 0
                while at < len(view):
                    end = at + 4 + int.from_bytes(view[at : at + 4], "big")
                    if not at + 6 <= end <= len(view):
                        raise Malformed("a presentation data value of a length that can't be")
                    self._take(view[at + 4], view[at + 5], view[at + 6 : end])
                    at = end
        except Malformed as error:
            self._break(str(error))
        except Exception as error:  # a mistake of ours; its own words could be the network's
            self._break(f"P-DATA that can't be handled: {type(error).__name__}")

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take P-DATA that came through the state machine: none in Sta6."""
        self._break("P-DATA out of its time")

    def get_msg(self, block: bool = False) -> Any:
        """Wait a moment for a message, instead of none: see ``LOOK_S``."""
        with contextlib.suppress(queue.Empty):
            return self.msg_queue.get(timeout=LOOK_S)
        return None, None

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

    def _take(self, context_id: int, control: int, data: memoryview) -> None:
        last = bool(control & 2)
        if not control & 1:
            arrived = self._current
            if arrived is None or context_id != arrived.context_id:
                raise Malformed("a dataset without its command")
            arrived.store.write(data)
            if last:
                self._current = None
                self._answer(arrived)
            return
        if self._current is not None:
            raise Malformed("a command began in the middle of a dataset")
        if len(self._command) + len(data) > COMMAND_BYTES:
            raise Malformed(f"a command set of more than {COMMAND_BYTES} bytes")
        self._command += data
        if last:
            whole, self._command = self._command, bytearray()
            self._obey(context_id, whole)

    def _obey(self, context_id: int, whole: bytearray) -> None:
        found = command.parse(whole)
        field = command.number(found, command.FIELD)
        has_dataset = command.number(found, command.DATASET_TYPE) != command.NO_DATASET
        if field == command.C_STORE_RQ:
            arrived = self._begin(found, context_id)
            if has_dataset:
                self._current = arrived
            else:
                self._answer(arrived)
        elif field == command.C_ECHO_RQ and not has_dataset:
            message, fragment = DIMSEMessage(), P_DATA()
            fragment.presentation_data_value_list.append((context_id, b"\x03" + bytes(whole)))
            message.decode_msg(fragment, self.assoc)
            self.msg_queue.put((context_id, message.message_to_primitive()))  # type: ignore[arg-type]  # a C_ECHO
        elif field != command.C_CANCEL_RQ:  # there is nothing that could be cancelled
            raise Malformed(f"the command {field:04X} is not served here")

    def _begin(self, found: dict[int, bytes], context_id: int) -> Arrived:
        context = self.assoc.context(context_id)
        if context is None:
            raise Malformed(f"presentation context {context_id} was not accepted")
        if context.abstract_syntax == VERIFICATION:
            raise Malformed("a C-STORE-RQ on a presentation context for Verification")
        if not self.assoc.receiver.may_begin():
            raise Malformed("this receiver is stopping")
        message_id = command.number(found, command.MESSAGE_ID)
        request = StoreRequest(
            sop_class_uid=command.uid(found, command.SOP_CLASS),
            sop_instance_uid=command.uid(found, command.SOP_INSTANCE),
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
        return Arrived(message_id, context_id, request, store)

    def _answer(self, arrived: Arrived) -> None:
        """Finish a complete object and send its C-STORE-RSP."""
        sop_class, sop_instance = arrived.request.sop_class_uid, arrived.request.sop_instance_uid
        if not (is_uid(sop_class) and is_uid(sop_instance)):
            sop_class = sop_instance = ""
        response = command.store_response(arrived.message_id, self.finish(arrived), sop_class, sop_instance)
        if self.dul.socket is not None:
            self.dul.socket.send(command.p_data_tf(arrived.context_id, response))
        self.idle_since = time.monotonic()


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
        self.dul = StreamingDul(self)
        self.acse_timeout, self.network_timeout = (
            ae.acse_timeout,
            ae.network_timeout,
        )  # its timers know of none yet
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
