"""Who may send: default deny, decided before a presentation context is looked at.

A caller is admitted where one configured peer names its AE title (or ``*``) *and* the host it calls from, and
where it calls us by one of our own titles. Policy only: no socket and no state but a short-lived cache of
host names.

Guarantees: what no peer entry allows is refused, and every refusal is logged with its reason; text from the
network is escaped in the log. A name that can't be resolved admits nobody, and is answered as transient, so
that a name server's trouble does not look like a wrong configuration to the sender.
"""

import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address

from venturi.config.schema import Accept, Node, Peer
from venturi.dataset.uids import printable
from venturi.log import get_logger
from venturi.upper_layer.tls import bound, fingerprint

Address = IPv4Address | IPv6Address
Resolver = Callable[[str], frozenset[Address]]

log = get_logger()

REJECTED_PERMANENT = 1
REJECTED_TRANSIENT = 2
SOURCE_SERVICE_USER = 1
SOURCE_PRESENTATION = 3
"""Result and source of an A-ASSOCIATE-RJ (PS3.8 9.3.4, Table 9-21)."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """The association may be negotiated."""

    peer: str
    """The peer's name in the configuration."""
    accept: Accept = field(default_factory=Accept)
    """What it may send."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The association is rejected with these three numbers (PS3.8 Table 9-21)."""

    result: int
    source: int
    diagnostic: int
    why: str
    """In words, for our own log; the caller only gets the numbers."""


CALLING_AE_NOT_RECOGNIZED = (REJECTED_PERMANENT, SOURCE_SERVICE_USER, 3)
CALLED_AE_NOT_RECOGNIZED = (REJECTED_PERMANENT, SOURCE_SERVICE_USER, 7)
PERMANENT_NO_REASON = (REJECTED_PERMANENT, SOURCE_SERVICE_USER, 1)
TRANSIENT_NO_REASON = (REJECTED_TRANSIENT, SOURCE_SERVICE_USER, 1)
TEMPORARY_CONGESTION = (REJECTED_TRANSIENT, SOURCE_PRESENTATION, 1)
LOCAL_LIMIT_EXCEEDED = (REJECTED_TRANSIENT, SOURCE_PRESENTATION, 2)


def resolve(name: str) -> frozenset[Address]:
    """All addresses of a host name, by the system's resolver. Raises OSError where there are none."""
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return frozenset(parse_address(str(entry[4][0])) for entry in found)


def parse_address(text: str) -> Address:
    """An IP address as a socket gives it: a scope (``%eth0``) is dropped, an IPv4-mapped one becomes IPv4.

    Raises ValueError.
    """
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


class CachedResolver:
    """Keeps what a resolver said for ``fresh_s`` seconds, and beyond that while the resolver fails."""

    def __init__(self, ask: Resolver = resolve, fresh_s: float = 60.0, failed_s: float = 5.0) -> None:
        self._ask, self._fresh_s, self._failed_s = ask, fresh_s, failed_s
        self._known: dict[str, tuple[float, frozenset[Address]]] = {}
        self._lock = threading.Lock()

    def __call__(self, name: str) -> frozenset[Address]:
        """The addresses of a name; none where it was never resolved yet."""
        now = time.monotonic()
        with self._lock:
            until, addresses = self._known.get(name, (0.0, frozenset()))
            if now < until:
                return addresses
            if addresses:  # one asks; the others do with what is known, for a name server can take its time
                self._known[name] = (now + self._failed_s, addresses)
        try:
            addresses, keep_s = self._ask(name), self._fresh_s
        except OSError as error:
            keep_s = self._failed_s
            log.warning("host name not resolved", host=name, error=str(error), stale=len(addresses))
        with self._lock:
            self._known[name] = (now + keep_s, addresses)
        return addresses


class Admission:
    """The policy of one node. Safe to use from many threads."""

    def __init__(self, node: Node, peers: Mapping[str, Peer], resolver: Resolver | None = None) -> None:
        """Raises ConfigError where a peer's certificate can't be read."""
        self._bound = bound(peers)
        self._ours = frozenset(title.strip() for title in node.ae_title)
        self._peers = dict(peers)
        self._resolver = resolver if resolver is not None else CachedResolver()

    def admit(
        self,
        calling_ae: str,
        called_ae: str,
        address: str,
        certificate: bytes = b"",
        *,
        identified: bool = False,
    ) -> Admitted | Refused:
        """Decide about one A-ASSOCIATE-RQ; ``certificate`` (DER) is the one that the caller has shown, if it has.

        ``identified``: whether it says who its user is.

        A peer that names the AE title itself is preferred to one that says ``*``; among equals the
        configuration's order decides. Never raises.
        """
        answer = self._decide(calling_ae.strip(" "), called_ae.strip(" "), address, certificate)
        if isinstance(answer, Admitted) and answer.accept.user_identity == "required" and not identified:
            answer = Refused(*PERMANENT_NO_REASON, f"peer {answer.peer} must say who its user is")
        if isinstance(answer, Refused):
            log.warning(
                "association refused",
                why=answer.why,
                answer=f"{answer.result}/{answer.source}/{answer.diagnostic}",
                calling_ae=printable(calling_ae),
                called_ae=printable(called_ae),
                address=printable(address),
            )
        return answer

    def _decide(
        self, calling_ae: str, called_ae: str, address: str, certificate: bytes
    ) -> Admitted | Refused:
        if called_ae not in self._ours:
            return Refused(*CALLED_AE_NOT_RECOGNIZED, "the called AE title is none of ours")
        try:
            host = parse_address(address)
        except ValueError:
            return Refused(*CALLING_AE_NOT_RECOGNIZED, "the caller's address is not an IP address")
        exact = [name for name, peer in self._peers.items() if calling_ae in _titles(peer)]
        wild = [name for name, peer in self._peers.items() if "*" in peer.ae_title and name not in exact]
        if not exact and not wild:
            return Refused(*CALLING_AE_NOT_RECOGNIZED, "no peer has this AE title")
        shown = fingerprint(certificate) if certificate else ""
        unresolved = ""
        for names in (exact, wild):
            another = ""
            for name in names:
                at_home = self._at_home(name, host)
                if at_home and self._bound.get(name, shown) == shown:
                    return Admitted(name, self._peers[name].accept)
                another = another or (name if at_home else "")
                unresolved = unresolved or (name if at_home is None else "")
            if another:  # nor may it come in as one of any title
                return Refused(
                    *CALLING_AE_NOT_RECOGNIZED, f"it has not shown the certificate of peer {another}"
                )
            if unresolved:
                return Refused(*TRANSIENT_NO_REASON, f"the host of peer {unresolved} can't be resolved now")
        return Refused(*CALLING_AE_NOT_RECOGNIZED, "the AE title is known, but not from this host")

    def _at_home(self, name: str, host: Address) -> bool | None:
        """Whether a peer calls from there; None where its host can't be resolved now."""
        peer = self._peers[name]
        if any(host in network for network in peer.hosts):
            return True
        addresses = self._addresses(peer.host) if peer.host is not None else frozenset((host,))
        return None if not addresses else peer.host is not None and host in addresses

    def _addresses(self, host: str) -> frozenset[Address]:
        try:
            return frozenset((parse_address(host.strip("[]")),))
        except ValueError:
            return self._resolver(host)


def _titles(peer: Peer) -> tuple[str, ...]:
    return tuple(title.strip() for title in peer.ae_title if title != "*")
