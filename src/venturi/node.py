"""The composition root: builds the parts from the configuration, for the command line and for the roles.

``run`` is the daemon: a supervisor over the role processes (``roles.py``). Concrete parts are imported where they are
built, so that whoever needs one of them loads no other.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from venturi import log as logs
from venturi.compress.port import Order, Run
from venturi.deliver.port import Receipt
from venturi.errors import Permanent, Temporary
from venturi.ledger.doorbell import UnixDoorbell
from venturi.ledger.port import Job, Ledger, Role
from venturi.log import get_logger
from venturi.model import Acceptance, Instance
from venturi.notify import listening_socket
from venturi.process import Child, lives
from venturi.spool.port import Spool
from venturi.transcode.port import Answer, CodecRow, Crew, Transcoder
from venturi.transcode.port import Job as CrewJob

if TYPE_CHECKING:
    from venturi.config.schema import Config
    from venturi.console.port import Reconciled
    from venturi.supervisor import RoleSpec

log = get_logger()

ROLES = ("receive", "transcode", "deliver", "console")
BACKLOG = 4096
NICE = 10
HURRY = "hurry"
"""An empty file in ``run``: its time is when a person last said that destinations are back."""


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


def wake(config: Config, hurry: bool = False) -> None:
    """Ring for all roles: something has changed in the ledger.

    ``hurry``: a person says that what took nothing is back, so it is asked without waiting for its pause to end.
    """
    bell = bell_of(config)
    if hurry:
        with contextlib.suppress(FileNotFoundError):  # without the folder nobody runs who could hurry
            (config.node.data / "run" / HURRY).touch()
    for role in Role:
        bell.ring(role)
    bell.close()


def hurried_at(config: Config) -> int:
    """When a person last did so; 0: never."""
    try:
        return (config.node.data / "run" / HURRY).stat().st_mtime_ns
    except OSError:
        return 0


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


def acceptances(config: Config, since: float = 0.0) -> list[Acceptance]:
    """What destinations' peers accepted, as far as the node has learnt it since then; nothing where it never ran.

    Raises what the ledger raises: whoever explains a decision must not leave out what it rests on.
    """
    if not (config.node.data / "ledger.db").exists():
        return []
    with contextlib.closing(ledger_of(config)) as ledger:
        return ledger.learnt(since)


def renew(config: Config, name: str) -> None:
    """Propose to a peer what was proposed before, by each destination that it is, and remember what it accepts now.

    Raises ConfigError, NotAssociated, what the ledger raises.
    """
    from venturi.destinations import accepted, destinations_at

    names = destinations_at(config, name)
    known = [each for each in acceptances(config) if each.destination in names]
    new: list[Acceptance] = []
    for destination, wanted in names.items():
        pairs = [(one.sop_class_uid, one.transfer_syntax) for one in known if one.destination == destination]
        taken, now = accepted(config, wanted, pairs), time.time()
        new += [Acceptance(destination, *pair, pair in taken, now) for pair in pairs]
    if new:
        with contextlib.closing(ledger_of(config)) as ledger:
            ledger.learn(new)


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
    from venturi.destinations import destination_of

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
