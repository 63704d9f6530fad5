"""Opens associations as requestor: connects, speaks TLS where that is wanted, and negotiates with pynetdicom's PDUs.

Nagle's algorithm is off, and every wait has a deadline. What an association does then is in ``association.py``.
"""

import errno
import logging
import os
import select
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
from venturi.deliver.association import Context, OpenAssociation
from venturi.deliver.wire import ANSWER_BYTES, LOOK_S, Lost, Wire
from venturi.errors import Temporary
from venturi.upper_layer import command, pdu
from venturi.upper_layer.tls import fingerprint

logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)  # what happens is told by receipts, once

LEAST_BYTES = 1024
"""A peer that takes no PDU as long as this would cost more than all others."""


class NotAssociated(Temporary):
    """There is no association: ``status`` says why in a word."""

    def __init__(self, status: str, words: str) -> None:
        super().__init__(words)
        self.status = status


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

    def associate(self, proposed: Sequence[Context], *, as_scp: bool = False) -> OpenAssociation:
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
