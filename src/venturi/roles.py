"""The role processes: what runs in each.

``python -m venturi.roles ROLE FD`` is what the supervisor (and the foreman, for workers) starts; see ``process.py``.
Concrete parts are imported where they are built, so that a role loads only
what it runs: a worker no database, a receiver no codec.

    receive x R     moves bytes from the network to the spool; nothing else runs there
    transcode       claims instances, has T workers decide, encode and prove, records it (niced)
    deliver         couriers for each destination; removes what retention allows (niced)
    console         status page and metrics
"""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from venturi import log as logs
from venturi.errors import Permanent, Temporary
from venturi.ledger.port import Role
from venturi.log import get_logger
from venturi.node import (
    bell_of,
    engine,
    ledger_of,
    owner_name,
    spool_of,
)
from venturi.process import Child, adopt, die_with_parent, stop_event, watch_parent
from venturi.spool.port import Spool
from venturi.transcode.port import Transcoder

if TYPE_CHECKING:
    from venturi.config.schema import Config
    from venturi.supervisor import Start
    from venturi.transcode.worker import Do

log = get_logger()

STORAGE_RETRY_S = 2.0
"""How often a receiver whose storage has failed looks whether it works again."""


def receive(start: Start, connection: Connection) -> None:
    """Accept associations and store what they send.

    When the storage has failed, reject until it works again, and then end, so as to be started anew.
    """
    from venturi.receive.admission import Admission
    from venturi.receive.c_store import CStore
    from venturi.receive.commitment import CommitmentHandler
    from venturi.receive.listener import serve
    from venturi.receive.recorder import Recorder
    from venturi.receive.seats import Seats

    config = start.config
    limits = config.node.limits
    stop = stop_event()
    spool, ledger = spool_of(config), ledger_of(config)
    intake = spool.intake()
    recorder = Recorder(ledger, bell_of(config))
    caps = {name: each for name, peer in config.peers.items() if (each := peer.accept.associations)}
    seats = Seats(config.node.data / "run" / "seats", limits.associations, caps)
    try:
        recorder.recover(intake.sweep(ledger.known))
        recorder.start()
        policies = {name: peer.accept for name, peer in config.peers.items()}
        handler = CStore(intake, recorder, spool, limits, policies)
        admission = Admission(config.node, config.peers)
        threading.Thread(target=end_when_mended, args=(handler.failed, spool, stop), daemon=True).start()
        connection.send("ready")
        watch_parent(connection, stop)
        commitment = CommitmentHandler(
            ledger.commitments, bell_of(config), config.node.commitment_s, owner_name("receive")
        )
        listener = socket.socket(fileno=start.listener)
        serve(listener, handler, admission, config.node, stop, seats, commitment=commitment)
    finally:
        recorder.stop()
        intake.close()


def end_when_mended(failed: threading.Event, spool: Spool, stop: threading.Event) -> None:
    """Wait until the storage has failed and works again, and set ``stop``."""
    failed.wait()
    while not stop.wait(STORAGE_RETRY_S):
        try:
            spool.try_out()
        except (Temporary, Permanent, OSError) as error:
            log.error("storage still fails", error=str(error))
            continue
        log.warning("storage works again: this receiver ends, to be started anew")
        stop.set()


def transcode(start: Start, connection: Connection) -> None:
    """Decide, encode and prove."""
    from venturi.transcode.foreman import Foreman

    config = start.config
    stop = stop_event()
    foreman = Foreman(
        ledger=ledger_of(config),
        spool=spool_of(config),
        start_worker=lambda: Child("worker", config),
        workers=config.node.workers,
        owner=owner_name("transcode"),
        bells=(bell_of(config, Role.TRANSCODE), bell_of(config)),
    )
    connection.send("ready")
    watch_parent(connection, stop)
    ring_at_stop(config, Role.TRANSCODE, stop)
    foreman.run(stop)


def worker(config: Config, connection: Connection) -> None:
    """One expendable worker of the transcode role."""
    from venturi.transcode.judge import Judging

    transcoder = engine()
    work(connection, Judging(config, spool_of(config), transcoder).judge, transcoder)


def compressor(config: Config | None, connection: Connection) -> None:
    """One expendable worker of ``crew``: it has no spool, and the rules of a configuration at most."""
    from venturi.transcode.compress import Compressing

    transcoder = engine()
    work(connection, Compressing(config, transcoder).compress, transcoder)


def work(connection: Connection, do: Do, transcoder: Transcoder) -> None:
    """Do jobs, shut in, until the foreman hangs up."""
    from venturi.transcode import allocator, sandbox
    from venturi.transcode.worker import serve

    die_with_parent()
    allocator.keep_freed()
    for missing in sandbox.enter():
        log.warning("a worker is not shut in as it should be", missing=missing)
    serve(connection, do, transcoder)


def deliver(start: Start, connection: Connection) -> None:
    """Hand renditions over, see to storage commitment, and remove what retention allows."""
    from venturi.deliver_role import DeliverRole

    stop = stop_event()
    role = DeliverRole(start.config, owner_name("deliver"))
    role.start(stop)
    connection.send("ready")
    watch_parent(connection, stop)
    ring_at_stop(start.config, Role.DELIVER, stop)
    role.run(stop)


def ring_at_stop(config: Config, role: Role, stop: threading.Event) -> None:
    """Have who waits for a bell hear at once that it is to stop: a signal does not end that wait."""
    bell = bell_of(config)

    def ring() -> None:
        stop.wait()
        bell.ring(role)

    threading.Thread(target=ring, name="last bell", daemon=True).start()


def console(start: Start, connection: Connection) -> None:
    """Serve the status page and the metrics."""
    from venturi.console.web import serve

    config = start.config
    stop = stop_event()
    connection.send("ready")
    watch_parent(connection, stop)
    if config.console is not None:
        serve(config.console.listen, ledger_of(config), spool_of(config), stop)


MAINS: dict[str, Callable[[Any, Connection], None]] = {
    "receive": receive,
    "transcode": transcode,
    "deliver": deliver,
    "console": console,
    "worker": worker,
    "compressor": compressor,
}


def main(argv: list[str]) -> None:
    """Be the role that the parent asked for."""
    name, fd = argv
    connection = adopt(int(fd))
    logs.configure(name, lazily=name in ("worker", "compressor"))
    start = connection.recv()
    MAINS[name.split("-")[0]](start, connection)


if __name__ == "__main__":
    main(sys.argv[1:])
