"""The supervisor: starts the role processes, restarts what dies, drains on SIGTERM, reloads on SIGHUP.

It binds the listening socket once (or takes it from systemd) and hands it to every receiver, so that the restart of
a receiver resets nobody. It parses nothing from the network and holds no image. Nothing that fails in it (a full
disk, no more processes) ends it, for with it the whole node would end. A reload starts a second set of
roles with the new configuration and lets the first set finish what it has in hand: either the whole new
configuration is in force, or nothing has changed.
"""

import json
import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from venturi.config.schema import Config
from venturi.errors import ConfigError
from venturi.log import get_logger
from venturi.notify import notify, reloading, watchdog_interval_s
from venturi.process import Child

log = get_logger()

TICK_S = 0.1
DRAIN_S = 60.0
"""How long a role may take to finish what it has in hand; then it is killed, which loses nothing."""
BACKOFF_MAX_S = 30.0
STEADY_S = 60.0
"""A role that lived so long is restarted at once the next time it dies."""


@dataclass(frozen=True, slots=True)
class RoleSpec:
    """A role process to keep running."""

    name: str
    nice: int = 0
    needed: bool = True
    """Whether the node is ready only when this role is."""


@dataclass(slots=True)
class Place:
    """One role process's place: the child in it, and when the next may start."""

    spec: RoleSpec
    config: Config
    child: Child | None = None
    started: float = 0.0
    failures: int = 0
    start_at: float = 0.0
    ready: bool = False

    def wait(self, now: float) -> float:
        """Put the next start off, the longer the more have failed; for how many seconds."""
        delay_s = min(BACKOFF_MAX_S, 2.0 ** (self.failures - 1) - 1) if self.failures else 0.0
        self.start_at = now + delay_s
        return delay_s


@dataclass(frozen=True, slots=True)
class Start:
    """The first message to a role."""

    config: Config
    listener: int
    """The listening socket's file descriptor, or -1."""


@dataclass(slots=True)
class Supervisor:
    """Keeps a set of roles running until told to stop."""

    specs: Callable[[Config], list[RoleSpec]]
    """Which roles a configuration wants."""
    load: Callable[[], Config]
    """Reads the configuration anew; raises ConfigError."""
    released: Callable[[str, int], None]
    """Called with the name and pid of each role that ended, to free its leases; must neither raise nor wait."""
    listener: socket.socket | None
    places: list[Place] = field(default_factory=list)
    leaving: list[tuple[Child, float]] = field(default_factory=list)
    _signals: list[int] = field(default_factory=list)
    _said_ready: bool = False

    def run(self, config: Config) -> int:
        """Run until SIGTERM or SIGINT; the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda received, _: self._signals.append(received))
        self._occupy(config)
        watchdog_s = watchdog_interval_s()
        barked = 0.0
        while True:
            if signal.SIGTERM in self._signals or signal.SIGINT in self._signals:
                return self._drain()
            if signal.SIGHUP in self._signals:
                self._signals.remove(
                    signal.SIGHUP
                )  # and nothing else: a SIGTERM may have come since we looked
                self._reload()
            self._tend()
            if watchdog_s is not None and time.monotonic() - barked >= watchdog_s / 2:
                notify("WATCHDOG=1")
                barked = time.monotonic()
            time.sleep(TICK_S)

    def _occupy(self, config: Config) -> None:
        self.places = [Place(spec, config) for spec in self.specs(config)]
        self._said_ready = False
        self._tend()

    def _tend(self) -> None:
        now = time.monotonic()
        for place in self.places:
            child = place.child
            if child is None:
                if now >= place.start_at:
                    self._start(place, now)
            elif not child.alive():
                self._bury(child)
                place.child, place.ready = None, False
                place.failures = 0 if now - place.started > STEADY_S else place.failures + 1
                delay_s = place.wait(now)
                log.error(
                    "role ended", name=child.name, pid=child.pid, how=child.ending(), restart_in_s=delay_s
                )
            elif not place.ready:
                place.ready = self._heard_ready(child)
        self._leave(now)
        if not self._said_ready and all(place.ready for place in self.places if place.spec.needed):
            self._said_ready = True
            self._announce()

    def _start(self, place: Place, now: float) -> None:
        fd = (
            self.listener.fileno()
            if self.listener is not None and place.spec.name.startswith("receive")
            else -1
        )
        fds = (fd,) if fd >= 0 else ()
        place.started = now
        try:
            place.child = Child(place.spec.name, Start(place.config, fd), fds, place.spec.nice)
        except OSError as error:  # no memory, processes or descriptors left
            place.failures += 1
            delay_s = place.wait(now)
            log.error("role not started", name=place.spec.name, error=str(error), again_in_s=delay_s)
            return
        log.info("role started", name=place.spec.name, pid=place.child.pid)
        if self._said_ready:
            self._record()

    @staticmethod
    def _heard_ready(child: Child) -> bool:
        try:
            return child.connection.poll() and child.connection.recv() == "ready"
        except (EOFError, OSError):
            return False  # it died; the next look at it says so

    def _bury(self, child: Child) -> None:
        child.connection.close()
        self.released(child.name, child.pid)

    def _leave(self, now: float) -> None:
        staying = []
        for child, until in self.leaving:
            if child.alive() and now > until:
                log.warning("role did not finish in time: killed", name=child.name, pid=child.pid)
                child.process.kill()
                child.process.wait()
            if child.alive():
                staying.append((child, until))
            else:
                self._bury(child)
        self.leaving = staying

    def _announce(self) -> None:
        config = self.places[0].config
        self._record()
        log.info("ready", listen=self._where(), ae_title=list(config.node.ae_title), config=str(config.path))
        notify("READY=1", f"STATUS=listening on {self._where()}")

    def _where(self) -> str:
        if self.listener is None:
            return ""
        host, port = self.listener.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def _record(self) -> None:
        config = self.places[0].config
        state = {
            "pid": os.getpid(),
            "listen": self._where(),
            "config": str(config.path),
            "config_digest": config.digest,
            "roles": {place.spec.name: place.child.pid for place in self.places if place.child is not None},
        }
        try:
            write_state(config, state)
        except OSError as error:  # the disk is full, most likely
            log.error("run/node.json not written: venturi status is behind", error=str(error))

    def _reload(self) -> None:
        old = self.places[0].config
        try:
            new = self.load()
        except ConfigError as error:
            log.error("reload refused: nothing has changed", problems=error.problems)
            return
        fixed = [name for name in ("listen", "data") if getattr(old.node, name) != getattr(new.node, name)]
        if fixed:
            log.error(
                "reload refused: nothing has changed", problems=[f"node.{n} needs a restart" for n in fixed]
            )
            return
        reloading()
        log.info("reloading", config_digest=new.digest)
        self._retire()
        self._occupy(new)

    def _retire(self) -> None:
        until = time.monotonic() + DRAIN_S
        for place in self.places:
            if place.child is not None:
                place.child.terminate()
                self.leaving.append((place.child, until))  # one that is dead is buried with them
        self.places = []

    def _drain(self) -> int:
        log.info("draining")
        notify("STOPPING=1", "STATUS=finishing what is in hand")
        self._retire()
        while self.leaving:
            self._leave(time.monotonic())
            time.sleep(TICK_S / 2)
        log.info("stopped")
        return 0


def write_state(config: Config, state: dict[str, Any]) -> None:
    """Leave ``run/node.json`` for ``venturi status``: pids, the address, the configuration."""
    folder = config.node.data / "run"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = folder / "node.json.new"
    temporary.write_text(json.dumps(state, indent=1) + "\n")
    temporary.replace(folder / "node.json")
