"""A receiver for tests: the real handler on the real spool and ledger, served in a thread of this process."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path

from venturi.config.schema import Limits, Node, Peer, Tls
from venturi.ledger.port import Filter, Role
from venturi.ledger.sql import open_ledger
from venturi.model import Instance
from venturi.receive.admission import Admission
from venturi.receive.c_store import CStore
from venturi.receive.listener import serve
from venturi.receive.recorder import Recorder
from venturi.receive.seats import Seats
from venturi.spool.local import LocalSpool

LOCAL = Peer(ae_title=("*",), hosts=(ip_network("127.0.0.0/8"),))


@dataclass
class Bell:
    """A doorbell that counts."""

    rung: list[Role] = field(default_factory=list)

    def ring(self, role: Role) -> None:
        self.rung.append(role)

    def wait(self, timeout_s: float) -> bool:
        raise AssertionError("nobody waits for it")

    def close(self) -> None:
        pass


@dataclass
class Receiving:
    """A running receiver."""

    port: int
    folder: Path
    spool: LocalSpool
    handler: CStore
    recorder: Recorder
    stop: threading.Event
    server: threading.Thread

    def instances(self) -> list[Instance]:
        """What is durable in the spool."""
        return list(self.spool.iterate())

    def dataset(self, instance: Instance) -> bytes:
        """The dataset bytes of a spool object."""
        from integration.peers import dataset_bytes

        return dataset_bytes(self.spool.materialise(instance))

    def partial(self) -> list[Path]:
        """Files of objects that are not committed."""
        return list((self.folder / "spool" / "receivers").glob("*/incoming/*"))

    def rows(self) -> list[str]:
        """Ids in the ledger, after the recorder was flushed."""
        ledger = open_ledger(f"sqlite:///{self.folder / 'ledger.db'}", migrate=False)
        try:
            return [row.instance.id for row in ledger.instances(Filter(limit=10000))]
        finally:
            ledger.close()


@contextlib.contextmanager
def receiving(
    folder: Path,
    peers: dict[str, Peer] | None = None,
    limits: Limits | None = None,
    ae_title: tuple[str, ...] = ("VENTURI",),
    servers: int = 1,
    tls: Tls | None = None,
) -> Iterator[Receiving]:
    """A receiver on a free port of loopback; ``servers`` accept loops share the socket."""
    node = Node(ae_title=ae_title, limits=limits or Limits(min_free=0.0, timeout_s=5), tls=tls)
    spool = LocalSpool(folder / "spool")
    intake = spool.intake()
    recorder = Recorder(open_ledger(f"sqlite:///{folder / 'ledger.db'}", migrate=True), Bell())
    recorder.recover(intake.sweep())
    recorder.start()
    known = peers if peers is not None else {"local": LOCAL}
    handler = CStore(
        intake, recorder, spool, node.limits, {name: peer.accept for name, peer in known.items()}
    )
    admission = Admission(node, known)
    seats = Seats(
        None,
        node.limits.associations,
        {name: most for name, peer in known.items() if (most := peer.accept.associations)},
    )
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as sock:
        threads = [
            threading.Thread(target=serve, args=(sock, handler, admission, node, stop, seats))
            for _ in range(servers)
        ]
        for thread in threads:
            thread.start()
        try:
            yield Receiving(sock.getsockname()[1], folder, spool, handler, recorder, stop, threads[0])
        finally:
            stop.set()
            for thread in threads:
                thread.join(30)
            recorder.stop()
            intake.close()
    assert not any(thread.is_alive() for thread in threads)
