"""The composition root: builds the parts from the configuration, and runs them as role processes.

``run`` is the daemon: a supervisor over the roles. ``python -m venturi.node ROLE FD`` is what the supervisor (and
the foreman, for workers) starts; see ``process.py``. Concrete parts are imported where they are built, so that a role
loads only what it runs: a worker no database, a receiver no codec.

    receive x R     moves bytes from the network to the spool; nothing else runs there
    transcode       claims instances, has T workers decide, encode and prove, records it (niced)
    deliver         one courier for each destination; removes what retention allows (niced)
    console         status page and metrics
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from venturi import log as logs
from venturi.compress.port import Order, Run
from venturi.deliver.port import Destination, Parcel, Receipt
from venturi.errors import ConfigError, Permanent, Temporary
from venturi.ledger.doorbell import UnixDoorbell
from venturi.ledger.port import Job, Ledger, Role
from venturi.log import get_logger
from venturi.model import Instance
from venturi.notify import listening_socket
from venturi.process import Child, adopt, die_with_parent, lives, stop_event, watch_parent
from venturi.spool.port import Spool
from venturi.transcode.port import Answer, CodecRow, Crew, Transcoder
from venturi.transcode.port import Job as CrewJob

if TYPE_CHECKING:
    from venturi.config.schema import Config, Peer
    from venturi.console.port import Reconciled
    from venturi.deliver.breaker import Breaker
    from venturi.deliver.courier import Courier
    from venturi.deliver.dicom import EchoResult
    from venturi.deliver.pace import Pace
    from venturi.supervisor import RoleSpec, Start
    from venturi.transcode.worker import Do

log = get_logger()

ROLES = ("receive", "transcode", "deliver", "console")
BACKLOG = 4096
NICE = 10
JANITOR_S = 60.0
WAKE_S = 5.0
STORAGE_RETRY_S = 2.0
"""How often a receiver whose storage has failed looks whether it works again."""


def ledger_url(config: Config) -> str:
    """Where the facts are."""
    return f"sqlite:///{config.node.data / 'ledger.db'}"


def ledger_of(config: Config, migrate: bool = False) -> Ledger:
    """The ledger of a node. Raises LedgerNewer, Permanent (it is older and ``migrate`` is False)."""
    from venturi.ledger.sql import open_ledger

    return open_ledger(ledger_url(config), migrate=migrate)


def spool_of(config: Config) -> Spool:
    """The spool of a node."""
    from venturi.spool.local import LocalSpool

    return LocalSpool(config.node.data / "spool")


def free_fraction(config: Config) -> float:
    """Of the spool's space or inodes, whichever is scarcer; a disk that can't be written is no obstacle."""
    from venturi.spool import local

    return local.free_fraction(config.node.data)


def owner_name(role: str, pid: int | None = None) -> str:
    """Whose leases these are: this machine's role process."""
    return f"{socket.gethostname()}/{role}/{pid or os.getpid()}/"


def bell_of(config: Config, role: Role | None = None) -> UnixDoorbell:
    """The doorbell of a role, or one that can only ring others."""
    return UnixDoorbell(config.node.data / "run", role)


def wake(config: Config) -> None:
    """Ring for all roles: something has changed in the ledger."""
    bell = bell_of(config)
    for role in Role:
        bell.ring(role)
    bell.close()


def rebuild(config: Config) -> int:
    """Record every instance of the spool that the ledger does not know; how many."""
    from venturi.ledger.rebuild import rebuild as rebuild_ledger

    ledger = ledger_of(config, migrate=True)
    try:
        return rebuild_ledger(ledger, spool_of(config))
    finally:
        ledger.close()


def reconcile(config: Config, study_instance_uid: str = "") -> Reconciled:
    """Account for everything received: ledger beside spool. Whoever has no study yet is looked at only without one."""
    from venturi.console.reconcile import reconcile as account

    ledger = ledger_of(config)
    try:
        return account(ledger, spool_of(config), study_instance_uid)
    finally:
        ledger.close()


def peer_of(config: Config, name: str) -> Peer:
    """The peer of that name, one that listens. Raises ConfigError."""
    peer = config.peers.get(name)
    if peer is None or not peer.host:
        listening = ", ".join(name for name, peer in config.peers.items() if peer.host) or "none"
        raise ConfigError(
            [f"{config.path}: there is no peer {name!r} with a host; those with one: {listening}"]
        )
    return peer


def peer_of_title(config: Config, calling_ae: str) -> str:
    """The name of the first peer that has an AE title by name, else of one that has any, or empty."""
    named = (name for name, peer in config.peers.items() if calling_ae in peer.ae_title)
    any_title = (name for name, peer in config.peers.items() if "*" in peer.ae_title)
    return next(named, next(any_title, ""))


def engine() -> Transcoder:
    """What makes renditions."""
    from venturi.transcode.engine import Engine

    return Engine()


def crew(config: Config | None, workers: int, finish: Callable[[CrewJob, Answer | Exception], None]) -> Crew:
    """Workers for jobs of the kind ``Compress``; ``config`` has the rules for those without a target."""
    from venturi.transcode import crew as crews

    return crews.Crew(lambda: Child("compressor", config), workers, finish)


def compress(order: Order, config: Config | None, workers: int, *, endings: bool) -> Run:
    """A run over a folder tree; ``config`` has the rules where the order has no target. Raises ConfigError."""
    from venturi.compress.run import TreeRun

    return TreeRun(order, lambda finish: crew(config, workers, finish), endings=endings)


def known_codecs() -> Mapping[str, Mapping[str, Collection[str]]]:
    """The encoders by transfer syntax UID and name, the default first, and the options each takes.

    None for a syntax that is only read. Raises ConfigError where a package that adds codecs is broken.
    """
    from venturi.transcode.codecs import registry

    encoders = registry().encoders()
    made = {uid: {encoder.name: encoder.takes for encoder in found} for uid, found in encoders.items()}
    return {uid: {} for uid in registry().decoded()} | made


def check_packages() -> None:
    """Look whether packages that add codecs can be loaded, where there are any. Raises ConfigError.

    A worker would end over one that can't, again and again.
    """
    from importlib.metadata import entry_points

    if entry_points(group="venturi.codecs"):  # codecs.GROUP, without loading them where there are no others
        known_codecs()


def codec_rows() -> list[CodecRow]:
    """What is read and made, the default codec of each syntax first. Raises ConfigError as ``known_codecs`` does."""
    from venturi.transcode.codecs.listing import rows

    return rows()


def echo(config: Config, name: str) -> EchoResult:
    """Ask a peer for a C-ECHO. Raises ConfigError."""
    from venturi.deliver import dicom

    return dicom.echo(peer_of(config, name), config.node.ae_title[0], config.node)


def send(config: Config, name: str, parcels: Sequence[Parcel]) -> Iterator[Receipt]:
    """Send parcels to a peer, outside any queue. Raises ConfigError."""
    destination = peer_destination(config, name, config.node.ae_title[0])
    try:
        yield from destination.deliver(parcels)
    finally:
        destination.close()


def export(
    config: Config, folder: Path, jobs: Sequence[Job], held: Sequence[Instance], *, original: bool
) -> Iterator[Receipt]:
    """Copy deliveries, and instances that have none, to a folder; receipts of the latter have the number 0."""
    from venturi.config.schema import FolderDestination
    from venturi.deliver.export import parcel_of
    from venturi.deliver.folder import Folder

    spool = spool_of(config)
    destination = Folder(FolderDestination(folder=folder.absolute()))
    try:
        wanted: list[Job | Instance] = [*jobs, *held]
        for each in wanted:
            parcel = parcel_of(each, spool, original=original)
            if isinstance(parcel, Receipt):
                yield parcel
            else:
                yield from destination.deliver([parcel])
    finally:
        destination.close()


# --- the daemon ------------------------------------------------------------------------------------------------------


def run(path: Path, only: tuple[str, ...] = ()) -> int:
    """Run the node until SIGTERM; the exit code. Raises ConfigError, LedgerNewer, OSError (the port is taken)."""
    from venturi.supervisor import Supervisor

    logs.configure("supervisor")
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something to reload
    wanted = only or ROLES
    config = load_runnable(path)
    for warning in config.warnings:
        log.warning("configuration", problem=warning)
    prepare(config)
    listener = bind(config) if "receive" in wanted else None
    ledger = ledger_of(config, migrate=True)
    release_the_dead(ledger)

    def released(role: str, pid: int) -> None:
        with contextlib.suppress(RuntimeError):  # no more threads: the leases run out by themselves
            threading.Thread(target=release, args=(ledger, owner_name(role, pid))).start()

    supervisor = Supervisor(
        specs=lambda current: role_specs(current, wanted),
        load=lambda: load_runnable(path),
        released=released,
        listener=listener,
    )
    try:
        return supervisor.run(config)
    finally:
        ledger.close()


def release_the_dead(ledger: Ledger) -> None:
    """Free leases of role processes of this machine that are no longer there: after a crash, work goes on at once.

    A living role keeps its own, whoever started it.
    """
    for owner in ledger.owners():
        host, _, rest = owner.partition("/")
        pid = rest.split("/")[1] if rest.count("/") else ""
        if host == socket.gethostname() and pid.isdecimal() and not lives(int(pid)):
            ledger.release(owner)


def release(ledger: Ledger, owner: str) -> None:
    """Free the leases of a role that ended. A ledger that is locked or full keeps them until they run out."""
    try:
        ledger.release(owner)
    except (Temporary, Permanent) as error:
        log.error("leases not freed: they run out by themselves", owner=owner, error=str(error))


def load_runnable(path: Path) -> Config:
    """The configuration, if this version can run all of it. Raises ConfigError."""
    from venturi.config.load import load
    from venturi.config.schema import GroupDestination

    check_packages()
    config = load(path, known_codecs)
    check_certificates(config)
    for name, wanted in config.destinations.items():
        if not isinstance(wanted, GroupDestination):  # what is in one is looked at by itself
            destination_of(config, name).close()
    return config


def check_certificates(config: Config) -> None:
    """Look whether they can be used. Raises ConfigError."""
    from venturi.upper_layer import tls

    if config.node.tls is not None:
        tls.acceptor(config.node.tls)
        tls.requestor(config.node.tls, by_name=True)
    tls.bound(config.peers)


def prepare(config: Config) -> None:
    """Make the node's folders, closed to others."""
    for path in (config.node.data, config.node.data / "run"):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)


def bind(config: Config) -> socket.socket:
    """The listening socket: systemd's, or our own. Raises OSError where the address can't be had."""
    given = listening_socket()
    if given is not None:
        given.setblocking(False)
        return given
    host, port = config.node.listen
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    listener.setblocking(False)  # several processes accept from it: who comes second must not wait
    return listener


def role_specs(config: Config, wanted: tuple[str, ...]) -> list[RoleSpec]:
    """Which role processes a configuration wants."""
    from venturi.supervisor import RoleSpec

    specs = [RoleSpec(f"receive-{number}") for number in range(config.node.receivers)]
    specs += [RoleSpec("transcode", nice=NICE), RoleSpec("deliver", nice=NICE)]
    if config.console is not None:
        specs.append(RoleSpec("console", nice=NICE, needed=False))
    return [spec for spec in specs if spec.name.split("-")[0] in wanted]


# --- the roles -------------------------------------------------------------------------------------------------------


def receive(start: Start, connection: Connection) -> None:
    """Accept associations and store what they send.

    When the storage has failed, reject until it works again, and then end, so as to be started anew.
    """
    from venturi.receive.admission import Admission
    from venturi.receive.c_store import CStore
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
        serve(socket.socket(fileno=start.listener), handler, admission, config.node, stop, seats)
    finally:
        recorder.stop()
        intake.close()


def end_when_mended(failed: threading.Event, spool: Spool, stop: threading.Event) -> None:
    """Wait until the storage has failed and works again, and set ``stop``."""
    failed.wait()
    while not stop.wait(STORAGE_RETRY_S):
        try:
            spool.intake().close()  # another receiver's part: it makes files and syncs folders
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
    """Hand renditions over, and remove what retention allows."""
    from venturi.deliver.housekeeping import adopt, put_right
    from venturi.deliver.retention import sweep_once

    config = start.config
    stop = stop_event()
    ledger, spool = ledger_of(config), spool_of(config)
    owner = owner_name("deliver")
    paces = {name: pace_of(config, name) for name in config.destinations}
    couriers = [
        courier
        for name in config.destinations
        for courier in couriers_of(config, name, ledger, spool, owner, paces[name])
    ]
    bell = bell_of(config, Role.DELIVER)

    def keep_house() -> None:
        while not stop.wait(JANITOR_S):
            try:
                if adopt(ledger, spool):
                    bell.ring(Role.TRANSCODE)
                put_right(ledger, tuple(config.destinations))
                sweep_once(ledger, spool, config.node.retain)
            except Exception:  # whatever it is, the house needs its keeper
                log.exception("housekeeping failed; it goes on in a minute")

    for courier in couriers:
        courier.start()
    threading.Thread(target=keep_house, name="janitor", daemon=True).start()
    connection.send("ready")
    watch_parent(connection, stop)
    while not stop.is_set():
        if bell.wait(WAKE_S):
            for courier in couriers:
                courier.wake()
    for courier in couriers:
        courier.stop()
    for pace in paces.values():
        pace.stop()
    for courier in couriers:
        courier.join()
    ledger.release(owner)


def couriers_of(
    config: Config, name: str, ledger: Ledger, spool: Spool, owner: str, pace: Pace
) -> Iterator[Courier]:
    """Those that deliver to one destination. Raises ConfigError."""
    from venturi.deliver.breaker import Breaker
    from venturi.deliver.courier import Courier
    from venturi.deliver.retry import Backoff

    wanted = config.destinations[name]
    backoff = Backoff()
    breaker = Breaker(name, backoff)
    members = getattr(wanted, "members", ())
    group = GroupParts({member: Breaker(f"{name}/{member}", backoff) for member in members}, ledger)

    def open_now() -> bool:
        now = time.localtime()
        minute = now.tm_hour * 60 + now.tm_min
        return not wanted.between or any(window.holds(minute) for window in wanted.between)

    for number in range(getattr(wanted, "associations", len(members) or 1)):
        destination = destination_of(config, name, pace, group)
        yield Courier(name, destination, ledger, spool, f"{owner}{name}/{number}", backoff, breaker, open_now)


def pace_of(config: Config, name: str) -> Pace:
    """How fast a destination is delivered to."""
    from venturi.deliver.pace import Pace

    return Pace(*config.destinations[name].rate)


class GroupParts(NamedTuple):
    """What all that serve a group share."""

    breakers: Mapping[str, Breaker]
    memory: Ledger


def destination_of(
    config: Config, name: str, pace: Pace | None = None, group: GroupParts | None = None
) -> Destination:
    """The destination of that name; a group needs its parts. Raises ConfigError."""
    from venturi.config.schema import DicomDestination, FolderDestination, GroupDestination
    from venturi.deliver.folder import Folder

    match config.destinations[name]:
        case FolderDestination() as wanted:
            return Folder(wanted, pace)
        case DicomDestination() as wanted:
            return peer_destination(config, wanted.dicom, wanted.calling_ae or config.node.ae_title[0], pace)
        case GroupDestination() as wanted:
            from venturi.deliver.group import Group

            assert group is not None  # noqa: S101  # only couriers deliver to groups
            members = {member: destination_of(config, member, pace) for member in wanted.members}
            return Group(name, members, group.breakers, group.memory, spread=bool(wanted.spread))


def peer_destination(config: Config, name: str, calling_ae: str, pace: Pace | None = None) -> Destination:
    """A peer as a destination. Raises ConfigError."""
    from venturi.deliver.dicom import Dicom

    return Dicom(peer_of(config, name), calling_ae, config.node, pace)


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
