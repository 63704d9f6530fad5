"""The listening side: connections, admission, limits, and an orderly end.

Several processes may serve the same listening socket: it is not blocking, and a connection that another
process was quicker to accept is simply not there. Nothing that one peer does or fails to do keeps another
waiting here.
"""

import resource
import select
import socket
import sys
import threading
import time

from venturi.config.schema import Node
from venturi.log import get_logger
from venturi.receive.admission import (
    LOCAL_LIMIT_EXCEEDED,
    TEMPORARY_CONGESTION,
    TRANSIENT_NO_REASON,
    Admission,
    Admitted,
    Refused,
)
from venturi.receive.association import Association
from venturi.receive.commitment import CommitmentHandler
from venturi.receive.port import StoreHandler
from venturi.receive.seats import Seats
from venturi.upper_layer.tls import acceptor

log = get_logger()

BACKLOG = 4096
"""Connections the kernel holds until they are accepted, as far as net.core.somaxconn allows: over that it drops
requests, and whoever asked tries again a second later."""
CONNECTIONS = 128
"""Of one process, beside the associations that the node may have."""
DESCRIPTORS, OWN_DESCRIPTORS = 4, 64
"""Of a connection, with its object's file; and of the process for itself."""
UNASSOCIATED_PER_HOST = 16
"""Over that, the oldest of that host is closed."""
TELL_EVERY_S = 60.0
"""How often the log is told of what anybody can have happen without end."""
SILENT, OF_HOST, TOO_MANY, SHUT_OUT = (
    "connections without a word",
    "too many connections of a host that don't associate: its oldest are closed",
    "too many connections: those that don't associate are closed",
    "too many connections: closed",
)
POLL_S = 0.2
"""How soon a stop is noticed."""
STAND_BACK_S, MOST_STAND_BACK_S = 0.0005, 0.005
"""How long a process leaves a new connection to the others, for each that it has: who has least is quickest."""
SWITCH_S = 0.0005
"""How long a thread of this process may keep the others from going on: each system call of an association would
wait out Python's usual 5 ms whenever the recorder, say, is at work."""
CUT_OFF_S = 2.0
"""How long those that are cut off may take to end: they leave nothing half done in the spool."""
RELEASE_S = 0.5
"""After a stop: how long associations with nothing in hand may take to release by themselves."""


class Receiver:
    """One receiver process's network side."""

    def __init__(
        self,
        sock: socket.socket,
        handler: StoreHandler,
        admission: Admission,
        node: Node,
        stop: threading.Event,
        seats: Seats,
        commitment: CommitmentHandler | None = None,
    ) -> None:
        self.handler, self.commitment = handler, commitment
        self.pdu_bytes, self.timeout_s = node.limits.pdu_bytes, node.limits.timeout_s
        self.tls = acceptor(node.tls) if node.tls is not None else None
        self._admission, self._seats = admission, seats
        self._sock, self._stop = sock, stop
        self._most = room(node.limits.associations + CONNECTIONS)
        self._running: set[Association] = set()
        self._lock = threading.Lock()
        self._often: dict[str, tuple[int, str]] = {}
        """What the log is to be told of, how often it was, and from where the last time."""

    def run(self, drain_s: float) -> None:
        """Accept until the stop is set, then let what runs end: see ``serve``."""
        self._sock.setblocking(False)
        self._sock.listen(BACKLOG)
        poller = select.poll()
        poller.register(self._sock, select.POLLIN)
        tell_at = time.monotonic()
        while not self._stop.is_set():
            if poller.poll(POLL_S * 1000):
                self._accept()
            if self._often and time.monotonic() >= tell_at:
                self._tell()
                tell_at = time.monotonic() + TELL_EVERY_S
        self._drain(time.monotonic() + drain_s)
        self._tell()

    def admit(self, association: Association) -> Admitted | tuple[int, int, int]:
        """See ``association.Host``."""
        try:
            return self._admit(association)
        except Exception:  # default deny: what can't be decided is not let in
            log.exception("association refused: it could not be judged", address=association.address)
            return TRANSIENT_NO_REASON

    def _admit(self, association: Association) -> Admitted | tuple[int, int, int]:
        address = association.address
        answer = self._admission.admit(
            association.calling_ae,
            association.called_ae,
            address,
            association.certificate,
            identified=association.identified,
        )
        if isinstance(answer, Refused):
            return answer.result, answer.source, answer.diagnostic
        if self._stop.is_set() or not self.handler.accepting():
            log.warning("association rejected: not accepting", peer=answer.peer, address=address)
            return TEMPORARY_CONGESTION
        association.seats = self._seats.take(answer.peer)
        if association.seats is None:
            log.warning("association rejected: too many", peer=answer.peer, address=address)
            return LOCAL_LIMIT_EXCEEDED
        return answer

    def may_begin(self) -> bool:
        """Whether a running association may begin another object."""
        return not self._stop.is_set()

    def leaves(self, association: Association) -> None:
        """An association is over, and its connection may not be closed yet: its seats are free."""
        with self._lock:
            seats, association.seats = association.seats, () if association.seats else association.seats
        if seats:
            self._seats.free(seats)

    def ended(self, association: Association) -> None:
        """An association is over."""
        self.leaves(association)
        if association.silent:
            self._count(SILENT, association.address)
        with self._lock:
            self._running.discard(association)

    def _count(self, event: str, address: str) -> None:
        with self._lock:
            self._often[event] = (self._often.get(event, (0, ""))[0] + 1, address)

    def _tell(self) -> None:
        with self._lock:
            often, self._often = self._often, {}
        for event, (count, address) in often.items():
            say = log.info if event == SILENT else log.warning
            say(event, count=count, last=address)

    def _accept(self) -> None:
        """Take what connections there are, unless a process that has fewer is quicker."""
        time.sleep(min(len(self._running) * STAND_BACK_S, MOST_STAND_BACK_S))
        for _ in range(BACKLOG):  # then look up, however many there are
            if self._stop.is_set():
                return
            try:
                client, address = self._sock.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return  # another process was quicker, or the peer has gone
            except OSError as error:
                log.error("connection not accepted", error=str(error))
                time.sleep(POLL_S)  # out of descriptors, most likely: the connection is still there
                return
            if _gone(client):
                client.close()
                self._count(SILENT, str(address[0]))
            else:
                self._begin(client, str(address[0]))

    def _begin(self, client: socket.socket, host: str) -> None:
        with self._lock:
            waiting = sorted(
                (one for one in self._running if one.seats is None and not one.hung_up),
                key=lambda one: one.began_at,
            )
            full = len(self._running) >= self._most
        of_host = [one for one in waiting if one.address == host]
        if len(of_host) >= UNASSOCIATED_PER_HOST:
            self._count(OF_HOST, host)
            of_host[0].hang_up()
        elif full and waiting:
            self._count(TOO_MANY, waiting[0].address)
            waiting[0].hang_up()
        elif full:
            self._count(SHUT_OUT, host)
            client.close()
            return
        association = Association(self, client, host)
        with self._lock:
            self._running.add(association)
        try:
            association.start()
        except RuntimeError:  # no more threads: serve the others
            log.exception("connection dropped", address=host)
            client.close()
            self.ended(association)

    def _drain(self, deadline: float) -> None:
        """Let objects in hand be finished, then abort what still runs."""
        idle_at = time.monotonic() + RELEASE_S
        aborted: set[Association] = set()
        while (running := self._snapshot()) and (now := time.monotonic()) < deadline:
            for association in running:
                if now >= idle_at and association.idle_s() >= RELEASE_S and association not in aborted:
                    aborted.add(association)
                    association.ask_to_abort()
            time.sleep(0.02)
        left = self._snapshot()
        for association in left:
            log.warning("association cut off at the deadline", **association.identity())
            association.hang_up()
        until = time.monotonic() + CUT_OFF_S
        for association in left:
            association.join(max(0.0, until - time.monotonic()))

    def _snapshot(self) -> list[Association]:
        with self._lock:
            return list(self._running)


def room(connections: int) -> int:
    """For how many connections, up to so many, this process has descriptors: its soft limit is raised for them."""
    wanted = OWN_DESCRIPTORS + DESCRIPTORS * connections
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < min(wanted, hard):
        soft = min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft < wanted:
        log.warning("too few descriptors for node.limits.associations", has=soft, wants=wanted)
    return min(connections, max(1, (soft - OWN_DESCRIPTORS) // DESCRIPTORS))


def _gone(client: socket.socket) -> bool:
    """Whether the peer has hung up without a word, as load balancers do: that takes no thread."""
    try:
        return not client.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True


def serve(
    sock: socket.socket,
    handler: StoreHandler,
    admission: Admission,
    node: Node,
    stop: threading.Event,
    seats: Seats | None = None,
    drain_s: float = 20.0,
    commitment: CommitmentHandler | None = None,
) -> None:
    """Serve Storage, Verification and (if anybody takes that) Storage Commitment on a bound socket.

    Until ``stop`` is set and all associations have ended.

    ``seats`` counts the node's associations over its processes; by default this process has all of
    ``node.limits.associations`` for itself. After the stop no new object is begun, each association ends
    after the object in hand, and after ``drain_s`` seconds all are cut off. The socket stays open: it is the
    caller's. Raises ConfigError where certificates can't be read, OSError if the socket can't listen.
    """
    sys.setswitchinterval(SWITCH_S)
    own = seats if seats is not None else Seats(None, node.limits.associations)
    Receiver(sock, handler, admission, node, stop, own, commitment).run(drain_s)
