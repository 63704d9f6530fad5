"""One association as requestor: pynetdicom's negotiation and state machine, with our own way to send a dataset.

pynetdicom would put a whole dataset into its queue of outgoing PDUs; here a file is read no faster than the
network takes it. The socket has Nagle switched off and a deadline, and the wait for an answer grows with the
object.
"""

import contextlib
import hashlib
import logging
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pynetdicom import AE, _config
from pynetdicom.association import Association
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.transport import T_CONNECT, AddressInformation, AssociationSocket

from venturi import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from venturi.dataset.uids import printable
from venturi.errors import Permanent, Temporary

_config.LOG_HANDLER_LEVEL = "none"  # its event handlers would put every command set into strings for a log
logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)  # what happens is told by receipts, once

VERIFICATION = "1.2.840.10008.1.1"
QUEUED_PDUS = 8
"""P-DATA waiting to be sent: the bound on memory, times the PDU size."""
PDU_BYTES = 131072
"""The largest PDU sent, whatever the peer allows."""
ANSWER_BYTES_PER_S = 1 << 20
"""How fast a peer is trusted to store what it received: a large object gets more time to be answered."""


class NotAssociated(Temporary):
    """There is no association: ``status`` says why in a word, ``permanent`` whether the peer meant it to last."""

    def __init__(self, status: str, words: str, permanent: bool = False) -> None:
        super().__init__(words)
        self.status, self.permanent = status, permanent


class Lost(Temporary):
    """The association ended before the answer came: whether the peer has the object is not known."""

    def __init__(self, status: str, words: str) -> None:
        super().__init__(words)
        self.status = status


class FileDamaged(Permanent):
    """The file is not what it was; it was not sent."""


@dataclass(frozen=True, slots=True)
class Context:
    """A presentation context of one transfer syntax (PS3.8 7.1.1.13)."""

    sop_class_uid: str
    transfer_syntax: str


@dataclass(frozen=True, slots=True)
class Object:
    """What one C-STORE sends."""

    path: Path
    offset: int
    """Where its dataset begins in the file."""
    size_bytes: int
    sha256: str
    context: Context
    sop_instance_uid: str


class _Socket(AssociationSocket):
    """A connection without Nagle, with a deadline for each send, that remembers why it could not be made."""

    def connect(self, primitive: T_CONNECT) -> None:
        """Connect; the result goes into the primitive."""
        client = self.socket
        assert client is not None  # noqa: S101 - made by the constructor
        try:
            client.settimeout(self.assoc.connection_timeout)
            client.connect(primitive.address_info.as_tuple)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.assoc.requestor.address_info = AddressInformation.from_tuple(client.getsockname())
            self._is_connected = True
            primitive.result = "Evt2"
        except OSError as error:
            self.assoc.connect_error = error.strerror or "timed out"  # type: ignore[attr-defined]  # ours, below
            client.close()
            self.socket = None
            primitive.result = "Evt17"
        finally:
            self.provider_queue.put(primitive)
            self._ready.set()

    def recv(self, nr_bytes: int) -> bytearray:
        """Read, and acknowledge at once: a peer with Nagle on waits for that with the rest of its answer."""
        data = super().recv(nr_bytes)
        if self.socket is not None:
            with contextlib.suppress(OSError):  # gone meanwhile: the wait for the answer will tell
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return data


class _Entity(AE):
    """An application entity whose connections are ours."""

    def _create_socket(self, assoc: Association, address: AddressInformation, tls_args: object) -> _Socket:
        del tls_args
        return _Socket(assoc, address=address)


class Requestor:
    """Opens associations to one peer."""

    def __init__(self, host: str, port: int, called_ae: str, calling_ae: str, timeout_s: float) -> None:
        self._host, self._port, self._called_ae, self._timeout_s = host, port, called_ae, timeout_s
        self._ae = _Entity(ae_title=calling_ae)
        self._ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        self._ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        self._ae.acse_timeout = self._ae.dimse_timeout = self._ae.connection_timeout = timeout_s
        self._ae.network_timeout = (
            None  # it counts from the last byte received, and a large object takes long to send
        )

    def associate(self, proposed: Sequence[Context]) -> "OpenAssociation":
        """Open an association that proposes these contexts, at most 128. Raises NotAssociated."""
        contexts = [build_context(one.sop_class_uid, one.transfer_syntax) for one in proposed]
        return OpenAssociation(self._open(contexts), self._timeout_s)

    def echo(self) -> int:
        """Open an association, ask for a C-ECHO and release it: the status. Raises NotAssociated, Lost."""
        association = self._open([build_context(VERIFICATION)])
        answer = association.send_c_echo()
        if association.is_established:
            association.release()
        if "Status" not in answer:
            raise Lost("aborted", "no answer to the C-ECHO")
        return int(answer.Status)

    def _open(self, contexts: list[PresentationContext]) -> Association:
        where = f"{self._host}:{self._port}"
        try:
            association = self._ae.associate(self._host, self._port, contexts, ae_title=self._called_ae)
        except OSError as error:
            raise NotAssociated("unreachable", f"{where}: {error.strerror or error}") from error
        if association.is_established:
            return association
        connect_error = getattr(association, "connect_error", None)
        if connect_error is not None:
            raise NotAssociated("unreachable", f"{where}: {connect_error}")
        answer = association.acceptor.primitive
        if association.is_rejected and answer is not None:
            numbers = f"{answer.result}/{answer.result_source}/{answer.diagnostic}"
            words = f"{where} rejected the association ({numbers}): {answer.reason_str}"
            raise NotAssociated("rejected", words, permanent=answer.result == 1)
        if association.rejected_contexts and not association.accepted_contexts:
            syntaxes = len(association.rejected_contexts)
            words = f"{where} accepted none of {syntaxes} presentation contexts"
            raise NotAssociated("no-context", words, permanent=True)
        raise NotAssociated("aborted", f"{where} did not answer the association request, or broke it off")


class OpenAssociation:
    """An established association, used by one thread."""

    def __init__(self, association: Association, timeout_s: float) -> None:
        self._association = association
        self._timeout_s = timeout_s
        self._message_id = 0
        self._ids = {
            Context(str(one.abstract_syntax), str(one.transfer_syntax[0])): int(one.context_id or 0)
            for one in association.accepted_contexts
            if one.as_scu
        }

    @property
    def accepted(self) -> tuple[Context, ...]:
        """The contexts that the peer accepted."""
        return tuple(self._ids)

    @property
    def alive(self) -> bool:
        """Whether it can be used still."""
        return self._association.is_established

    def store(self, item: Object) -> tuple[int, str]:
        """Send one object: the peer's status and comment. Raises Lost, FileDamaged; then it is not alive."""
        association = self._association
        self._message_id = self._message_id % 65535 + 1
        request = C_STORE()
        request.MessageID = self._message_id
        request.Priority = 0
        request.AffectedSOPClassUID = item.context.sop_class_uid
        request.AffectedSOPInstanceUID = item.sop_instance_uid
        message = C_STORE_RQ()
        message.primitive_to_message(request)
        message.command_set.CommandDataSetType = 1  # a dataset follows; it is not in the message
        message.data_set = None
        context_id = self._ids[item.context]
        association._reactor_checkpoint.clear()  # its own thread must not take our answer
        while not association._is_paused and association.is_alive():
            time.sleep(0.0001)
        try:
            for fragment in message.encode_msg(context_id, association.dimse.maximum_pdu_size):
                self._send(fragment)
            self._send_dataset(item, context_id)
            association.dimse_timeout = self._timeout_s + item.size_bytes / ANSWER_BYTES_PER_S
            _, answer = association.dimse.get_msg(block=True)
        except OSError as error:
            self._abort()
            raise Lost("unreadable", f"the file can't be read: {error.strerror}") from error
        finally:
            association._reactor_checkpoint.set()
        if not isinstance(answer, C_STORE) or not answer.is_valid_response:
            gone = association.acse.is_aborted() or not association.dul.is_alive()
            self._abort()
            if gone:
                raise Lost("aborted", "the peer ended the association before it answered")
            raise Lost("timeout", "the peer did not answer in time")
        return int(answer.Status or 0), printable(str(answer.ErrorComment or ""))

    def end(self) -> None:
        """Release the association, or abort it where it is broken."""
        if self._association.is_established:
            self._association.release()

    def _send_dataset(self, item: Object, context_id: int) -> None:
        limit = self._association.dimse.maximum_pdu_size or PDU_BYTES
        chunk_bytes = (
            min(limit, PDU_BYTES) - 6 & ~1
        )  # 6 for the PDV's header; fragments are even (PS3.7 6.3.1)
        digest, left = hashlib.sha256(), item.size_bytes
        with item.path.open("rb", buffering=0) as file:
            file.seek(0, 2)
            if file.tell() - item.offset != item.size_bytes or not item.size_bytes:
                self._abort()
                raise FileDamaged(f"{item.sop_instance_uid}: the file has not the size it had")
            file.seek(item.offset)
            while left:
                data = file.read(min(chunk_bytes, left))
                digest.update(data)
                left -= len(data)
                if not data or (not left and digest.hexdigest() != item.sha256):
                    self._abort()  # before the last fragment: the peer never has the whole of it
                    raise FileDamaged(f"{item.sop_instance_uid}: the file has not the SHA-256 it had")
                fragment = P_DATA()
                fragment.presentation_data_value_list.append((context_id, (b"\0" if left else b"\2") + data))
                self._send(fragment)

    def _send(self, fragment: P_DATA) -> None:
        """Queue a fragment once there is room. Raises Lost."""
        dul = self._association.dul
        deadline = time.monotonic() + self._timeout_s
        while dul.to_provider_queue.qsize() >= QUEUED_PDUS:
            if time.monotonic() > deadline:
                self._abort()
                raise Lost("timeout", "the peer takes no more data")
            if not dul.is_alive() or self._association.acse.is_aborted():
                break
            time.sleep(0.0005)
        if not dul.is_alive() or self._association.acse.is_aborted():
            self._abort()
            raise Lost("aborted", "the peer ended the association in mid-object")
        dul.send_pdu(fragment)

    def _abort(self) -> None:
        """End the association without ceremony; its threads are not waited for long."""
        association = self._association
        association.is_established = False
        dul_socket = association.dul.socket
        connection = dul_socket.socket if dul_socket is not None else None
        thread = threading.Thread(target=association.abort, daemon=True)
        thread.start()
        thread.join(2.0)
        if thread.is_alive() and connection is not None:
            with contextlib.suppress(OSError):  # closed already
                connection.shutdown(socket.SHUT_RDWR)
