"""A real node for tests: the ``venturi`` command on a configuration in a temporary folder."""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from venturi.cli.status import fields
from venturi.console.port import Glance
from venturi.ledger.port import Filter, InstanceRow
from venturi.ledger.sql import SqlLedger, open_ledger

CONFIG = """\
node:
  ae_title: VENTURI
  listen: 127.0.0.1:0
  data: ./data
  receivers: 2
  workers: 2
console: off
peers:
  any: {{ae_title: "*", hosts: [127.0.0.1]}}
{peers}
rules:
{rules}
destinations:
  archive: {{folder: ./archive}}
{destinations}
routes:
  - to: [archive{to}]
"""
GREY_JPEG_LS = """\
  - name: colour
    when: {SamplesPerPixel: 3}
    transfer_syntax: JPEG2000Lossless
  - name: all else
    transfer_syntax: JPEGLSLossless
"""


def config_text(rules: str = GREY_JPEG_LS, peers: str = "", destinations: str = "", to: str = "") -> str:
    """A configuration with a folder ``archive`` and whatever else is wanted."""
    return CONFIG.format(rules=rules, peers=peers, destinations=destinations, to=to)


def venturi(*args: str | Path, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    command = [sys.executable, "-m", "venturi", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)


class Node:
    """A running node."""

    def __init__(self, folder: Path, text: str, *only: str) -> None:
        """``only``: these roles."""
        self.folder = folder
        self.only = [word for role in only for word in ("--only", role)]
        self.config = folder / "venturi.yaml"
        self.log = folder / "venturi.log"
        self.config.write_text(text)
        self.process: subprocess.Popen[bytes]

    def start(self) -> None:
        """Start it and wait until it is ready."""
        state = self.folder / "data" / "run" / "node.json"
        state.unlink(missing_ok=True)
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "venturi", "run", "-c", str(self.config), *self.only],
                stderr=log,
                stdout=log,
            )
        self.until(lambda: state.exists() or self.process.poll() is not None, 90)
        assert self.process.poll() is None, self.log.read_text()[-3000:]

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Stop it; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(90)

    @property
    def state(self) -> dict[str, Any]:
        """What the supervisor says of itself."""
        said: dict[str, Any] = json.loads((self.folder / "data" / "run" / "node.json").read_text())
        return said

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.state["listen"].rpartition(":")[2])

    def kill_role(self, name: str) -> None:
        """``kill -9`` a role process."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.state["roles"][name], signal.SIGKILL)

    def said(self) -> list[dict[str, Any]]:
        """The log."""
        lines = self.log.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def command(self, verb: str, *args: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        """A verb of the command on this node's configuration."""
        return venturi(*verb.split(), "-c", self.config, *args, timeout_s=timeout_s)

    def status(self) -> dict[str, Any]:
        """What ``venturi status --json`` says; asked in this process, for it is asked often."""
        ledger = self._ledger()
        try:
            return fields(Glance(ledger.totals(), 1.0), self.state)
        finally:
            ledger.close()

    def deliveries(self) -> list[dict[str, Any]]:
        """All deliveries, oldest first."""
        ledger = self._ledger()
        try:
            rows = ledger.deliveries(Filter(limit=1 << 20))
        finally:
            ledger.close()
        return sorted(map(dataclasses.asdict, rows), key=lambda row: row["id"])

    def instances(self, sop_instance_uid: str = "") -> list[InstanceRow]:
        """What the ledger says was received, newest first."""
        ledger = self._ledger()
        try:
            return ledger.instances(Filter(sop_instance_uid=sop_instance_uid, limit=1 << 20))
        finally:
            ledger.close()

    def _ledger(self) -> SqlLedger:
        return open_ledger(f"sqlite:///{self.folder / 'data' / 'ledger.db'}", migrate=False)

    def settle(self, instances: int, timeout_s: float = 240) -> dict[str, Any]:
        """Wait until so many instances are decided (or held) and no delivery is pending; the status then."""
        until = time.monotonic() + timeout_s
        while True:
            status = self.status()
            counts = status["instances"]
            if counts.get("decided", 0) + counts.get("held", 0) >= instances and not status["waiting"]:
                return status
            assert time.monotonic() < until, f"not settled: {status}\n{self.log.read_text()[-3000:]}"
            time.sleep(0.3)

    @staticmethod
    def until(holds: Any, timeout_s: float) -> None:
        """Wait until something holds."""
        end = time.monotonic() + timeout_s
        while not holds():
            assert time.monotonic() < end, "it did not come to pass in time"
            time.sleep(0.05)


@contextlib.contextmanager
def running(folder: Path, text: str | None = None, *only: str) -> Iterator[Node]:
    """A node that runs in a folder while the test does; all of it, or only these roles."""
    node = Node(folder, text or config_text(), *only)
    node.start()
    try:
        yield node
    finally:
        if node.process.poll() is None:
            node.stop()
