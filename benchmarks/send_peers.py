"""The senders that send.py compares, each as commands, and the receiver that they send to."""

import contextlib
import functools
import os
import pickle
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import ingest_usage as usage
from ingest_peers import answers, free_port, process, started
from measure import CommandFailed, Usage, run
from send_venturi import TOOK

from venturi.deliver.courier import BATCH
from venturi.deliver.port import Parcel

VENTURI, ONE = f"Venturi, batches of {BATCH}", "Venturi, all in one"
STORESCU, DCMSEND, PYNETDICOM = "DCMTK storescu", "DCMTK dcmsend", "pynetdicom storescu"
NODELAY = "TCP_NODELAY"
SETTLE_S = 0.1
"""From a sender's end until the receiver's processor time is read."""


@dataclass(frozen=True)
class Share:
    """What one association at a time takes: a folder of files, and the same as pickled parcels."""

    files: Path
    parcels: Path
    count: int
    size_bytes: int
    """Of all its datasets."""

    @classmethod
    def make(cls, folder: Path, parcels: Sequence[Parcel]) -> "Share":
        """Lay out parcels of Part 10 files: few files may be there under many names."""
        files = folder / "files"
        files.mkdir(parents=True)
        named = []
        for number, parcel in enumerate(parcels):
            path = files / f"{number:05}.dcm"
            path.symlink_to(parcel.original.resolve())
            named.append(Parcel(number, parcel.instance, parcel.outcome, path, path))
        (folder / "parcels").write_bytes(pickle.dumps(named))
        size_bytes = sum(parcel.instance.size_bytes for parcel in parcels)
        return cls(files, folder / "parcels", len(parcels), size_bytes)


@dataclass(frozen=True)
class Sent:
    """What one burst took."""

    wall_s: float
    """From the start of the first command to the end of the last."""
    cpu_s: float
    peak_mb: float
    """The sum over the commands."""
    receiver_cpu_s: float
    read_bytes: int
    """By the receiver; 0 where that can't be seen."""
    own: tuple[float, float] | None
    """Venturi by its own clock: seconds, and seconds of processor time."""


@dataclass(frozen=True)
class Receiver:
    """DCMTK's storescp as it runs; it stores nothing."""

    pid: int
    port: int
    environment: dict[str, str]
    """Its own, and that of the senders."""

    def cpu_s(self) -> float:
        """Of all its processes."""
        return sum(usage.cpu_ms(self.pid).values()) / 1000

    def read_bytes(self) -> int:
        """How much all its processes have read so far, mostly of the network; 0 where that can't be seen."""
        try:
            return sum(int(Path(f"/proc/{one}/io").read_text().split()[1]) for one in usage.family(self.pid))
        except OSError:
            return 0


def dcmtk(program: str) -> str | None:
    """Where DCMTK's program is: pynetdicom installs some of the same names."""
    own = Path(sys.executable).parent
    folders = [each for each in os.get_exec_path() if Path(each) != own]
    return shutil.which(program, path=os.pathsep.join(folders))


@functools.cache
def version(program: str) -> str:
    """What it calls itself."""
    words = subprocess.run(
        [dcmtk(program) or program, "--version"], capture_output=True, text=True, check=True
    )
    return words.stdout.splitlines()[0].strip("$ ")


@contextlib.contextmanager
def receiver(folder: Path, *, delays: bool) -> Iterator[Receiver]:
    """The one that all send to, with or without Nagle's algorithm."""
    program = dcmtk("storescp")
    assert program is not None
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if name != NODELAY}
    environment["OPENBLAS_NUM_THREADS"] = (
        "1"  # as the node's roles have it: else its threads begin by spinning
    )
    if not delays:
        environment[NODELAY] = "1"
    command = ["env", "-u", NODELAY, *([] if delays else [f"{NODELAY}=1"]), program]
    # -dhl: each child would look up where a connection comes from, 1 ms an association.
    command += ["--ignore", "--fork", "-dhl", "+xa", "-pdu", "131072", str(port)]
    log = folder / f"receiver-{port}.log"
    with process(command, log) as running:
        started(lambda: answers(port), running, log)
        yield Receiver(running.pid, port, environment)


def _venturi(batch: int) -> Callable[[int, Sequence[Share]], list[list[str]]]:
    script = str(Path(__file__).with_name("send_venturi.py"))

    def commands(port: int, shares: Sequence[Share]) -> list[list[str]]:
        return [[sys.executable, script, str(port), str(batch), *(str(share.parcels) for share in shares)]]

    return commands


def _each(*words: str) -> Callable[[int, Sequence[Share]], list[list[str]]]:
    def commands(port: int, shares: Sequence[Share]) -> list[list[str]]:
        return [[*words, "127.0.0.1", str(port), str(share.files)] for share in shares]

    return commands


# -v: each status is printed; that costs too little to be seen. -xe: else it deflates.
SENDERS: dict[str, Callable[[int, Sequence[Share]], list[list[str]]]] = {
    VENTURI: _venturi(BATCH),
    ONE: _venturi(0),
    STORESCU: _each(dcmtk("storescu") or "storescu", "-v", "+sd"),
    DCMSEND: _each(dcmtk("dcmsend") or "dcmsend", "-v", "+sd"),
    PYNETDICOM: _each(sys.executable, "-m", "pynetdicom", "storescu", "-v", "-xe"),
}

TAKEN = {
    VENTURI: re.compile(r"^(\d+) x delivered 0000$", re.MULTILINE),
    ONE: re.compile(r"^(\d+) x delivered 0000$", re.MULTILINE),
    STORESCU: re.compile(r"^I: Received Store Response \(Success\)$", re.MULTILINE),
    DCMSEND: re.compile(r"^I: Received C-STORE Response \(Success\)$", re.MULTILINE),
    PYNETDICOM: re.compile(r"^I: Received Store Response \(Status: 0x0000 - Success\)$", re.MULTILINE),
}
"""What each prints for a status 0000."""


def missing(name: str) -> str:
    """What a contender needs that is not here, or nothing."""
    needed = {STORESCU: ["storescu"], DCMSEND: ["dcmsend"]}.get(name, [])
    return "" if all(map(dcmtk, [*needed, "storescp"])) else "DCMTK is not installed"


def taken(name: str, said: str) -> int:
    """How many objects were answered by 0000, as a sender tells."""
    return sum(int(found[1]) if found.re.groups else 1 for found in TAKEN[name].finditer(said))


def send(name: str, to: Receiver, shares: Sequence[Share]) -> Sent:
    """Send each share by an association of its own, or one after another, all shares at once.

    Raises CommandFailed where not all was answered by 0000, or a sender says that it failed.
    """
    commands = SENDERS[name](to.port, shares)
    before, read = to.cpu_s(), to.read_bytes()
    began = time.perf_counter()
    with ThreadPoolExecutor(len(commands)) as pool:
        used: list[Usage] = list(pool.map(lambda command: run(command, to.environment), commands))
    wall_s = time.perf_counter() - began
    wanted = sum(share.count for share in shares)
    said = "".join(each.said for each in used)
    if (found := taken(name, said)) != wanted:
        raise CommandFailed(f"{name}: {found} of {wanted} were answered by 0000\n{said[-1000:]}")
    time.sleep(SETTLE_S)
    own = re.search(rf"^{TOOK} (\S+) (\S+)$", said, re.MULTILINE)
    return Sent(
        wall_s,
        sum(each.cpu_s for each in used),
        sum(each.parent_mb for each in used),
        to.cpu_s() - before,
        to.read_bytes() - read,
        (float(own[1]), float(own[2])) if own else None,
    )
