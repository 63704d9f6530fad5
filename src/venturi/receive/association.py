"""One association as acceptor, in one thread: the state machine, and P-DATA straight from the socket to the handler.

Nothing is collected but the request: one buffer, small until a peer fills it, filled by ``recv_into`` and parsed as it
comes, is for everything. A deadline is absolute for each phase: the request must be complete so soon after the
connection, each PDU so soon after it began, the next one must begin so soon after the last, and a peer that is to close
must do so. What is announced too long, comes out of its time or can't be read ends the association before it is read
(PS3.8 9.2).
"""

import contextlib
import socket
import ssl
import struct
import threading
import time
from typing import Protocol

from venturi.dataset.uids import printable
from venturi.errors import Malformed
from venturi.log import get_logger
from venturi.receive.admission import Admitted
from venturi.receive.commitment import CommitmentHandler, Conversation, Partner
from venturi.receive.messages import Caller, Messages
from venturi.receive.negotiation import listens, negotiate, unsuitable
from venturi.receive.p_data import PData
from venturi.receive.port import StoreHandler
from venturi.receive.states import TABLE, Action, Event, State
from venturi.upper_layer import pdu
from venturi.upper_layer.tls import fingerprint

log = get_logger()

FIRST_BYTES, BUFFER_BYTES = 1 << 14, 1 << 18
"""What an association begins with, and what it gets when there is more to read than that holds."""
REQUEST_BYTES = 1 << 18
"""The longest request: 120 storage classes with every transfer syntax that pynetdicom knows take 148 kB."""
CONTROL_BYTES = 65536
"""The longest other PDU that is no P-DATA-TF."""
LOOK_S = 1.0
"""How often a thread that waits for its peer looks at its deadline."""
CLOSE_S = 5.0
"""How long a peer may take to close the connection when all is said."""

_EVENTS = {
    pdu.REQUEST: Event.REQUEST_RECEIVED,
    pdu.ACCEPT: Event.ACCEPT_RECEIVED,
    pdu.REJECT: Event.REJECT_RECEIVED,
    pdu.P_DATA_TF: Event.P_DATA_RECEIVED,
    pdu.RELEASE_RQ: Event.RELEASE_REQUEST_RECEIVED,
    pdu.RELEASE_RP: Event.RELEASE_RESPONSE_RECEIVED,
    pdu.ABORT: Event.ABORT_RECEIVED,
}
_TIMEVAL = struct.Struct("@ll")


class Host(Protocol):
    """What an association needs of whoever accepted the connection."""

    handler: StoreHandler
    pdu_bytes: int
    """The longest P-DATA-TF PDU that is taken."""
    timeout_s: float
    """For each phase."""
    tls: ssl.SSLContext | None
    """With which peers must speak TLS."""
    commitment: CommitmentHandler | None
    """Who takes requests for storage commitment, and reports."""

    def admit(self, association: "Association") -> Admitted | tuple[int, int, int]:
        """Let it in, or say with which result, source and diagnostic it is rejected."""

    def may_begin(self) -> bool:
        """Whether another object may be begun."""

    def leaves(self, association: "Association") -> None:
        """It is over, but for the end of the connection."""

    def ended(self, association: "Association") -> None:
        """Nothing is left of it."""


class _Fault(Exception):
    """The peer broke the protocol: ``reason`` is that of the A-ABORT (PS3.8 Table 9-26)."""

    def __init__(self, why: str, reason: int) -> None:
        super().__init__(why)
        self.reason = reason


class Association(threading.Thread):
    """From the accepted connection to its end."""

    def __init__(self, host: Host, client: socket.socket, address: str) -> None:
        super().__init__(name="association", daemon=True)
        self.address = address
        self.calling_ae = self.called_ae = self.peer = ""
        self.certificate = b""
        """What the peer has shown (DER), where it speaks TLS."""
        self.identified = False
        """Whether the peer says who its user is."""
        self.seats: tuple[int, ...] | None = None
        """See ``Seats``; its host's business."""
        self.hung_up = False
        """Whether it was told to end by its host."""
        self.silent = False
        """Whether it is over without a word from its peer, who was not told to go."""
        self.began_at = time.monotonic()
        self._host = host
        self._socket = client
        self._state = State.AWAITING_REQUEST
        self._messages: Messages | None = None
        self._data: PData | None = None
        self._heard = self._asked_to_abort = False
        self._deaf = False
        """What follows can't be understood, and need not be."""
        self._until = self.began_at + host.timeout_s
        self._view = memoryview(bytearray(FIRST_BYTES))
        self._rest = 0
        """Bytes at its beginning that are not taken yet: a part of a header."""
        self._kind = 0
        self._left = 0
        """Bytes of a PDU, other than P-DATA-TF in an association, that are still to come."""
        self._body = bytearray()
        """Of the request."""

    # --- for other threads -------------------------------------------------------------------------------------------

    def identity(self) -> dict[str, str]:
        """Who this is, for a log: no text from the network unescaped."""
        return {
            "peer": self.peer,
            "calling_ae": printable(self.calling_ae),
            "called_ae": printable(self.called_ae),
            "address": self.address,
        }

    def idle_s(self) -> float:
        """For how long it has had no object in hand, seconds."""
        messages = self._messages
        return time.monotonic() - self.began_at if messages is None else messages.idle_s()

    def ask_to_abort(self) -> None:
        """Have it abort as soon as it has taken what has come; with TLS, when it looks at its deadline next.

        Before there is an association, it just ends.
        """
        self._asked_to_abort = True
        if self._messages is None:
            self.hang_up()
        elif self._host.tls is None:  # TLS would take that for a broken connection, and not let us say a word
            self._shut(socket.SHUT_RD)

    def hang_up(self) -> None:
        """Close the connection under it: its thread ends by itself."""
        self.hung_up = True
        self._shut(socket.SHUT_RDWR)

    def _shut(self, how: int) -> None:
        client = self._socket
        with contextlib.suppress(OSError):  # closed already
            if isinstance(client, ssl.SSLSocket):
                socket.socket.shutdown(client, how)  # its own would turn it into one without TLS
            else:
                client.shutdown(how)

    # --- its thread --------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Run until it is over, and leave nothing behind, however it ended."""
        try:
            self._prepare()
            if self._host.tls is not None:
                self._shake_hands(self._host.tls)
            while self._state is not State.IDLE:
                self._step()
        except OSError as error:  # the peer has gone, or does not listen, while it is told something
            log.warning("connection lost", error=type(error).__name__, **self.identity())
        except Exception as error:  # a mistake of ours; its own words could be the network's
            log.error("association ended by a mistake", error=type(error).__name__, **self.identity())
        finally:
            try:
                if self._messages is not None and self._messages.abandon():
                    log.warning("association ended in mid-object", **self.identity())
            finally:  # whatever is said or not: nothing stays open, and the seat is free
                self.silent = not self._heard and not self.hung_up
                self.hang_up()
                self._socket.close()
                # They know us, and so would keep the buffer until Python looks for cycles.
                self._messages = self._data = None
                self._host.ended(self)

    def _prepare(self) -> None:
        client, timeout_s = self._socket, self._host.timeout_s
        client.setblocking(True)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # The kernel's own timeouts (socket(7)): Python's would ask poll(2) before each recv(2).
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(min(LOOK_S, timeout_s)))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(timeout_s))

    def _shake_hands(self, tls: ssl.SSLContext) -> None:
        """Begin TLS, until the deadline of the request. A peer that does not is told by an alert, and left."""
        self._socket.settimeout(self._host.timeout_s)
        try:
            self._heard = bool(self._socket.recv(1, socket.MSG_PEEK))
            self._socket.settimeout(max(0.001, self._until - time.monotonic()))
            secured = tls.wrap_socket(self._socket, server_side=True, do_handshake_on_connect=False)
            self._socket = secured
            secured.do_handshake()
        except OSError as error:  # SSLError and TimeoutError, too
            why = (error.reason if isinstance(error, ssl.SSLError) else None) or type(error).__name__
            if self._heard:
                log.warning("TLS refused", why=why, **self.identity())
            self._state = State.IDLE
            return
        self.certificate = secured.getpeercert(binary_form=True) or b""
        secured.settimeout(LOOK_S)

    def _step(self) -> None:
        """Read what there is, and take it."""
        try:
            count = self._socket.recv_into(self._view[self._rest :])
        except (BlockingIOError, TimeoutError):
            if self._state is State.ESTABLISHED:
                self._nothing_came()
            self._look_at_deadline()
            return
        except OSError:  # reset by the peer, or what it sent is no TLS
            count = 0
        if not count:
            asked = self._asked_to_abort and self._state is State.ESTABLISHED
            self._act(Event.ABORT_ASKED if asked else Event.CONNECTION_CLOSED)
            return
        self._heard = True
        # Many senders leave Nagle on and so wait for our acknowledgement; the option does not last.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        between = not self._rest and self._between_pdus()
        end, began = self._rest + count, time.monotonic()
        try:
            start, passed = self._take(end)
        except _Fault as fault:
            self._break(str(fault), fault.reason)
        except Malformed as error:
            self._break(str(error), pdu.INVALID_PARAMETER)
        else:
            self._rest = end - start
            rest = self._view[start:end]
            if end == len(self._view) < BUFFER_BYTES:
                self._view = memoryview(bytearray(BUFFER_BYTES))
            self._view[: self._rest] = rest
            if self._state is State.ESTABLISHED:
                now = time.monotonic()  # what we took is not the peer's time
                self._until = now + self._host.timeout_s if between or passed else self._until + now - began
        self._look_at_deadline()

    def _nothing_came(self) -> None:
        """Not for a moment: abort if that is asked for, or tell the peer what it waits for, which is its right."""
        if self._asked_to_abort:
            self._act(Event.ABORT_ASKED)
        elif self._messages and not self._rest and self._between_pdus() and self._messages.look():
            self._until = time.monotonic() + self._host.timeout_s

    def _look_at_deadline(self) -> None:
        if time.monotonic() < self._until or self._state is State.IDLE:
            return
        if self._state is State.ESTABLISHED:
            self._break("the peer is silent, or too slow", pdu.NOT_SPECIFIED)
        else:
            self._act(Event.TIMER_EXPIRED)

    def _break(self, why: str, reason: int) -> None:
        self._deaf = True
        self._act(Event.INVALID_PDU, reason, why)

    # --- PDUs --------------------------------------------------------------------------------------------------------

    def _between_pdus(self) -> bool:
        return not self._left and not (self._data and self._data.left)

    def _take(self, end: int) -> tuple[int, bool]:
        """Take what is in the buffer up to ``end``: where a header begins that is cut off, and whether a PDU ended.

        Raises _Fault, Malformed.
        """
        start, passed = 0, False
        while start < end:
            if self._deaf or self._state is State.IDLE:
                return end, passed
            if self._left:
                taken = min(self._left, end - start)
                if self._kind == pdu.REQUEST and self._state is State.AWAITING_REQUEST:
                    self._body += self._view[start : start + taken]
                start += taken
                self._left -= taken
                if not self._left:
                    self._act(_EVENTS[self._kind])
            elif self._data and self._data.left:
                before, start = start, self._data.take(self._view, start, end)
                if start == before:
                    break
            elif end - start >= pdu.HEADER.size:
                self._open(*pdu.HEADER.unpack_from(self._view, start))
                start += pdu.HEADER.size
            else:
                break
            passed = passed or self._between_pdus()
        return start, passed

    def _open(self, kind: int, length: int) -> None:
        """A PDU begins: judge it by its header. Raises _Fault."""
        event = _EVENTS.get(kind)
        if event is None:
            raise _Fault(f"a PDU of the unknown type {kind:02X}H", pdu.UNRECOGNIZED_PDU)
        if event is Event.P_DATA_RECEIVED and self._state is State.AWAITING_REQUEST:
            self._act(event)
            self._deaf = True
            return
        limits = {Event.P_DATA_RECEIVED: self._host.pdu_bytes, Event.REQUEST_RECEIVED: REQUEST_BYTES}
        limit = limits.get(event, CONTROL_BYTES)
        if not 4 <= length <= limit:
            words = f"a PDU of {length} bytes was announced; 4 to {limit} are allowed"
            raise _Fault(words, pdu.INVALID_PARAMETER)
        if TABLE[event, self._state] is Action.TAKE_DATA and self._data:
            self._data.left = length
        else:
            self._kind, self._left = kind, length

    # --- what is done ------------------------------------------------------------------------------------------------

    def _act(self, event: Event, reason: int = pdu.UNEXPECTED_PDU, why: str = "") -> None:
        """Do what the table says; ``reason`` is for an A-ABORT, ``why`` for the log."""
        action = TABLE[event, self._state]
        if action in (Action.ABORT, Action.ABORT_FOR_FAULT):
            words = why or f"{event.name} in {self._state.name}"
            log.warning("association aborted", why=words, **self.identity())
        elif event is Event.TIMER_EXPIRED and self._state is State.AWAITING_REQUEST and self._heard:
            log.warning("no association: its request was not complete in time", address=self.address)
        match action:
            case Action.DECIDE:
                self._decide()
            case Action.RELEASE:
                self._say_last(pdu.RELEASED)
            case Action.ABORT:
                self._say_last(pdu.abort(pdu.ABORT_BY_USER, pdu.NOT_SPECIFIED))
            case Action.ABORT_AGAIN | Action.ABORT_FOR_FAULT:
                self._deaf = True  # once is enough
                self._say_last(pdu.abort(pdu.ABORT_BY_PROVIDER, reason))
            case Action.IGNORE | Action.TAKE_DATA:
                pass  # it was taken as it came
            case _:
                self._state = State.IDLE

    def _say_last(self, words: bytes) -> None:
        """Say the last word; now the peer is to close."""
        if self._state is not State.AWAITING_CLOSE:
            self._state = State.AWAITING_CLOSE
            self._host.leaves(self)  # before the peer hears that it is over
            self._until = time.monotonic() + min(CLOSE_S, self._host.timeout_s)
        self._send(words)

    def _decide(self) -> None:
        """Accept or reject (AE-6 to AE-8). Raises Malformed."""
        body, self._body = bytes(self._body), bytearray()
        request = pdu.read_request(body)
        self.calling_ae, self.called_ae = request.calling_ae, request.called_ae
        self.identified = request.user.identified
        refused = unsuitable(request)
        if refused is not None:
            log.warning("association refused", why="another protocol", **self.identity())
            self._say_last(pdu.reject(*refused))
            return
        admitted = self._host.admit(self)
        if isinstance(admitted, tuple):
            self._say_last(pdu.reject(*admitted))
            return
        self.peer = admitted.peer
        contexts, accepted = negotiate(request, self._host.pdu_bytes, admitted.accept)
        shown = fingerprint(self.certificate) if self.certificate else ""
        caller = Caller(self.calling_ae, self.called_ae, self.peer, self.address, shown)
        conversation = None
        if self._host.commitment is not None:
            partner = Partner(self.peer, self.calling_ae, self.called_ae)
            conversation = Conversation(
                self._host.commitment, partner, request.user.most_bytes, listens=listens(request, contexts)
            )
        self._messages = Messages(
            self._host.handler, caller, contexts, self._host.may_begin, self._send, conversation
        )
        self._data = PData(self._messages)
        self._state = State.ESTABLISHED
        self._send(accepted)

    def _send(self, data: bytes) -> None:
        """Send it whole, or raise OSError where the peer takes nothing for too long."""
        if self._host.tls is None:
            self._socket.sendall(data)
            return
        self._socket.settimeout(self._host.timeout_s)
        self._socket.sendall(data)
        self._socket.settimeout(LOOK_S)


def _timeval(seconds: float) -> bytes:
    return _TIMEVAL.pack(int(seconds), int(seconds % 1 * 1e6))
