"""One association as requestor: negotiated with pynetdicom's PDUs, then a socket, a buffer, and nothing in between.

What is sent comes in pieces (see ``ahead.py``); each goes with the headers of its fragments by one system call. Nagle's
algorithm is off, what the peer says is acknowledged at once, since it may wait for that with the rest of its answer,
and every wait has a deadline; that for an answer grows with the object.
"""

import contextlib
import errno
import logging
import os
import select
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
)
from pynetdicom.presentation import build_context, build_role

from venturi import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from venturi.dataset.syntaxes import IMPLICIT_VR_LITTLE_ENDIAN
from venturi.dataset.uids import printable, tolerable_uid
from venturi.deliver.pace import MOST_BYTES
from venturi.deliver.wire import ANSWER_BYTES, LOOK_S, Lost, Wire
from venturi.errors import Malformed, Permanent, Temporary
from venturi.upper_layer import command, pdu
from venturi.upper_layer.tls import fingerprint

logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)  # what happens is told by receipts, once

FRAGMENT_BYTES = 131066
"""Of a dataset in one PDU at most, whatever the peer takes: 128 KiB with the header (PS3.8 9.3.5.1)."""
LEAST_BYTES = 1024
"""A peer that takes no PDU as long as this would cost more than all others."""
ANSWER_BYTES_PER_S = 1 << 20
"""How fast a peer is trusted to store what it received: a large object gets more time to be answered."""
DATASET_BYTES = 1 << 22
"""The longest that comes with a request of the peer."""
HEAR_S = 0.1
"""How often is looked whether the peer has begun to say something."""
RELEASE_S = 5.0
"""How long a peer may take to release."""


class NotAssociated(Temporary):
    """There is no association: ``status`` says why in a word."""

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


@dataclass(frozen=True, slots=True)
class Secured:
    """How TLS is spoken with a peer."""

    context: ssl.SSLContext
    fingerprint: str = ""
    """Of the certificate that it must show, if it must show a certain one."""


class Requestor:
    """Opens associations to one peer."""

    def __init__(
        self,
        host: str,
        port: int,
        called_ae: str,
        calling_ae: str,
        timeout_s: float,
        secured: Secured | None = None,
        given_up: Callable[[], bool] = lambda: False,
    ) -> None:
        """``given_up``: whether nobody waits for an association any more; one that is established is used still."""
        self._given_up = given_up
        self._host, self._port, self._timeout_s = host, port, timeout_s
        self._called_ae, self._calling_ae = called_ae, calling_ae
        self._secured = secured

    @property
    def where(self) -> str:
        """Who is called, for people."""
        return f"{self._host}:{self._port}"

    def associate(self, proposed: Sequence[Context], *, as_scp: bool = False) -> "OpenAssociation":
        """Open an association that proposes these contexts, at most 128. Raises NotAssociated.

        ``as_scp``: who is called is to be the SCU of their SOP classes (PS3.7 D.3.3.4).
        """
        ids = {2 * number + 1: context for number, context in enumerate(proposed)}
        wire = Wire(self._connect(), self._timeout_s)
        try:
            wire.send([self._request(ids, as_scp=as_scp)])
            kind, body = wire.pdu(time.monotonic() + self._timeout_s, self._given_up)
            accepted, most_bytes = self._accepted(kind, body, ids)
        except Lost as error:
            wire.close()
            words = f"{self.where} did not answer the association request, or broke it off: {error}"
            raise NotAssociated("aborted", words) from error
        except NotAssociated:
            wire.close()
            raise
        if 0 < most_bytes < LEAST_BYTES:
            wire.close()
            raise NotAssociated("aborted", f"{self.where} takes PDUs of {most_bytes} bytes at most")
        association = OpenAssociation(wire, accepted, most_bytes, self._timeout_s, self._given_up)
        if not accepted:
            association.end()
            words = f"{self.where} accepted none of {len(ids)} presentation contexts"
            raise NotAssociated("no-context", words)
        return association

    def echo(self) -> int:
        """Open an association, ask for a C-ECHO and release it: the status. Raises NotAssociated, Lost."""
        association = self.associate([Context(command.VERIFICATION, IMPLICIT_VR_LITTLE_ENDIAN)])
        try:
            return association.echo()
        finally:
            association.end()

    def _connect(self) -> socket.socket:
        try:
            client = self._reach()
        except OSError as error:
            raise NotAssociated("unreachable", f"{self.where}: {error.strerror or 'timed out'}") from error
        client.settimeout(self._timeout_s)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._secured is None:
            return client
        try:
            secured = self._secured.context.wrap_socket(client, server_hostname=self._host)
        except OSError as error:  # SSLError and TimeoutError, too
            client.close()
            why = getattr(error, "verify_message", "") or getattr(error, "reason", "") or type(error).__name__
            raise NotAssociated("tls", f"{self.where}: no TLS with it: {why}") from error
        shown = fingerprint(secured.getpeercert(binary_form=True) or b"")
        if self._secured.fingerprint and shown != self._secured.fingerprint:
            secured.close()
            raise NotAssociated("tls", f"{self.where} has shown another certificate than it should")
        return secured

    def _reach(self) -> socket.socket:
        """Connect to the first of its addresses that answers. Raises OSError."""
        until = time.monotonic() + self._timeout_s
        failed: OSError = TimeoutError("timed out")
        for family, kind, protocol, _, address in socket.getaddrinfo(
            self._host, self._port, type=socket.SOCK_STREAM
        ):
            client = socket.socket(family, kind, protocol)
            try:
                client.setblocking(False)
                poller = select.poll()  # select(2) fails past descriptor 1,024
                poller.register(client, select.POLLOUT)
                code = client.connect_ex(address)
                while code == errno.EINPROGRESS:
                    if time.monotonic() >= until or self._given_up():
                        raise TimeoutError("timed out")
                    if poller.poll(LOOK_S * 1000):
                        code = client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code:
                    raise OSError(code, os.strerror(code))
            except OSError as error:
                client.close()
                failed = error
            else:
                return client
        raise failed

    def _request(self, ids: dict[int, Context], *, as_scp: bool) -> bytes:
        """The A-ASSOCIATE-RQ (PS3.8 9.3.2)."""
        asked = A_ASSOCIATE()
        asked.application_context_name = pdu.APPLICATION_CONTEXT.decode()
        asked.calling_ae_title, asked.called_ae_title = self._calling_ae, self._called_ae
        longest, ours, version = (
            MaximumLengthNotification(),
            ImplementationClassUIDNotification(),
            ImplementationVersionNameNotification(),
        )
        longest.maximum_length_received = ANSWER_BYTES
        ours.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        asked.user_information = [longest, ours, version]
        for sop_class in dict.fromkeys(context.sop_class_uid for context in ids.values() if as_scp):
            asked.user_information.append(build_role(sop_class, scu_role=False, scp_role=True))
        contexts = []
        for number, context in ids.items():
            contexts.append(build_context(context.sop_class_uid, context.transfer_syntax))
            contexts[-1].context_id = number
        asked.presentation_context_definition_list = contexts
        request = A_ASSOCIATE_RQ()
        request.from_primitive(asked)
        return bytes(request.encode())

    def _accepted(self, kind: int, body: bytes, ids: dict[int, Context]) -> tuple[dict[Context, int], int]:
        """The accepted contexts, and the longest PDU that the peer takes. Raises NotAssociated."""
        whole = pdu.HEADER.pack(kind, len(body)) + body
        try:
            if kind == pdu.ACCEPT:
                answer = A_ASSOCIATE_AC()
                answer.decode(whole)
                said = answer.to_primitive()
                accepted = {
                    ids[one.context_id]: one.context_id
                    for one in said.presentation_context_definition_results_list
                    if one.result == 0
                    and one.context_id in ids
                    and one.transfer_syntax == [ids[one.context_id].transfer_syntax]
                }
                return accepted, int(said.maximum_length_received or 0)
            if kind == pdu.REJECT:
                refused = A_ASSOCIATE_RJ()
                refused.decode(whole)
                numbers = f"{refused.result}/{refused.source}/{refused.reason_diagnostic}"
                words = f"{self.where} rejected the association ({numbers}): {refused.reason_str}"
                raise NotAssociated("rejected", words)
        except NotAssociated:
            raise
        except Exception as error:  # pynetdicom says in many ways that bytes are not what they should be
            words = f"{self.where} answered the association request with what is no answer"
            raise NotAssociated("aborted", words) from error
        raise NotAssociated("aborted", f"{self.where} broke off the association request")


class OpenAssociation:
    """An established association, used by one thread."""

    def __init__(
        self,
        wire: Wire,
        accepted: dict[Context, int],
        most_bytes: int,
        timeout_s: float,
        given_up: Callable[[], bool] = lambda: False,
    ) -> None:
        self._wire, self._given_up = wire, given_up
        self._ids = accepted
        self._timeout_s = timeout_s
        self._message_id = 0
        # 6 for the header of the fragment, which is even (PS3.7 6.3.1); 0 is any
        self._fragment_bytes = min(FRAGMENT_BYTES, (most_bytes or FRAGMENT_BYTES) - 6) & ~1

    @property
    def accepted(self) -> tuple[Context, ...]:
        """The contexts that the peer accepted."""
        return tuple(self._ids)

    @property
    def alive(self) -> bool:
        """Whether it can be used still."""
        return self._wire.open

    def usable(self) -> bool:
        """Whether it can be used still, after it was not for a while."""
        return self._wire.open and self._wire.quiet()

    def echo(self) -> int:
        """Ask for a C-ECHO: the status. Raises Lost."""
        (context_id,) = self._ids.values()
        self._message_id += 1
        self._wire.send([command.p_data_tf(context_id, command.echo_request(self._message_id))])
        status, _ = self._answer(command.C_ECHO_RSP, self._timeout_s)
        return status

    def store(
        self,
        item: Object,
        pieces: Iterable[tuple[memoryview, bool]],
        pace: Callable[[int], None] = lambda _: None,
        at_once: int = MOST_BYTES,
    ) -> tuple[int, str]:
        """Send one object: the peer's status and comment. Raises Lost, FileDamaged.

        ``pieces``: its dataset, and for each piece whether it is the last; what fails before the first of them is sent
        leaves the association alive. ``pace`` is told how many bytes are to be sent, at most ``at_once``, and returns
        when they may.
        """
        self._message_id = self._message_id % 65535 + 1
        context_id = self._ids[item.context]
        request = command.store_request(self._message_id, item.context.sop_class_uid, item.sop_instance_uid)
        out: list[bytes | memoryview] = [command.p_data_tf(context_id, request)]
        begun = False
        try:
            for piece, last in pieces:
                for at in range(0, len(piece), at_once):
                    data = piece[at : at + at_once]
                    out += self._fragments(data, context_id, last=last and at + len(data) == len(piece))
                    pace(len(data))
                    begun = True
                    self._wire.send(out)
                    out = []
        except BaseException as error:
            if begun:
                self.abort()  # before the last fragment: the peer never has the whole of it
            if isinstance(error, OSError):
                raise Lost("unreadable", f"the file can't be read: {error.strerror}") from error
            raise
        return self._answer(command.C_STORE_RSP, self._timeout_s + item.size_bytes / ANSWER_BYTES_PER_S)

    def ask(self, context: Context, make: Callable[[int], bytes], dataset: bytes, answer: int) -> int:
        """Send a command, made with its message id, and a small dataset: the status of its answer. Raises Lost."""
        self._message_id = self._message_id % 65535 + 1
        whole = command.message(self._ids[context], make(self._message_id), dataset, self._fragment_bytes + 6)
        self._wire.send([whole])
        status, _ = self._answer(answer, self._timeout_s, self._given_up)
        return status

    def hear(self, field: int, take: Callable[[bytes, Context], int], within_s: float) -> bool:
        """Wait for a request of the peer, and answer what ``take`` says of its dataset; whether it came. Raises Lost.

        Not longer than that, and not after ``given_up``.
        """
        until = time.monotonic() + within_s
        while self._wire.open and self._wire.quiet():
            if time.monotonic() >= until or self._given_up():
                return False
            time.sleep(HEAR_S)
        try:
            context_id, found, dataset = self._message(time.monotonic() + self._timeout_s, self._given_up)
            context = next((each for each, number in self._ids.items() if number == context_id), None)
            if context is None or command.number(found, command.FIELD) != field:
                raise Malformed("another command than was waited for")
            status, message_id = take(dataset, context), command.number(found, command.MESSAGE_ID)
            uids = command.uid(found, command.SOP_CLASS), command.uid(found, command.SOP_INSTANCE)
            response = command.response(field | 0x8000, message_id, status, *map(_tolerated, uids))
            self._wire.send([command.p_data_tf(context_id, response)])
        except Malformed as error:
            self.abort()
            raise Lost("aborted", f"the peer did not ask as the standard says: {error}") from error
        return True

    def end(self) -> None:
        """Release the association; where it is broken, there is nothing left to do."""
        with contextlib.suppress(Lost):  # it is over in any case
            if self._wire.open:
                self._wire.send([pdu.RELEASE])
                kind, until = 0, time.monotonic() + min(RELEASE_S, self._timeout_s)
                while kind not in (pdu.RELEASE_RP, pdu.ABORT):
                    kind, _ = self._wire.pdu(until)
        self._wire.close()

    def abort(self) -> None:
        """End the association without ceremony."""
        with contextlib.suppress(Lost):  # it is over in any case
            if self._wire.open:
                self._wire.send([pdu.abort(pdu.ABORT_BY_USER, pdu.NOT_SPECIFIED)])
        self._wire.close()

    def _fragments(self, data: memoryview, context_id: int, *, last: bool) -> list[bytes | memoryview]:
        """Cut data in fragments, each behind its headers."""
        out: list[bytes | memoryview] = []
        for at in range(0, len(data), self._fragment_bytes):
            fragment = data[at : at + self._fragment_bytes]
            ends = last and at + len(fragment) == len(data)
            out += (pdu.fragment(context_id, len(fragment), of_command=False, last=ends), fragment)
        return out

    def _answer(
        self, field: int, within_s: float, given_up: Callable[[], bool] = lambda: False
    ) -> tuple[int, str]:
        """Wait for the response to the last request: its status and comment. Raises Lost; then it is not alive."""
        try:
            _, found, _ = self._message(time.monotonic() + within_s, given_up)
            if command.number(found, command.FIELD) != field:
                raise Malformed("another command than a response")
            if command.number(found, command.RESPONDED_TO) != self._message_id:
                raise Malformed("a response to another request")
            comment = command.uid(found, command.ERROR_COMMENT).strip()
            return command.number(found, command.STATUS), printable(comment)
        except Malformed as error:
            self.abort()
            raise Lost("aborted", f"the peer did not answer as the standard says: {error}") from error
        except Lost:
            self.abort()
            raise

    def _message(
        self, until: float, given_up: Callable[[], bool] = lambda: False
    ) -> tuple[int, dict[int, bytes], bytes]:
        """Wait for a message: its context, command set and dataset. Raises Lost, Malformed."""
        said, dataset = bytearray(), bytearray()
        found: dict[int, bytes] | None = None
        while True:
            kind, body = self._wire.pdu(until, given_up)
            if kind == pdu.RELEASE_RQ:
                self._wire.send([pdu.RELEASED])
            if kind != pdu.P_DATA_TF:
                raise Lost("aborted", "the peer ended the association before it answered")
            for context_id, of_command, last, data in pdu.fragments(body):
                if of_command and found is None:
                    said += data
                elif found is not None and not of_command:
                    dataset += data
                if not last or (not of_command and found is None):
                    continue  # a dataset without its command is nobody's
                if of_command:
                    found = command.parse(said)
                if not of_command or command.number(found or {}, command.DATASET_TYPE) == command.NO_DATASET:
                    return context_id, found or {}, bytes(dataset)
            if len(said) > ANSWER_BYTES or len(dataset) > DATASET_BYTES:
                raise Malformed("a message that does not end")


def _tolerated(uid: str) -> str:
    return uid if tolerable_uid(uid) else ""
