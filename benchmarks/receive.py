"""Receiving alone: Venturi beside DCMTK's storescp, Orthanc and pynetdicom's storescp, on this machine, in one run.

    python benchmarks/receive.py                          the whole table: CT, MR, 1, 4 and 8 associations
    python benchmarks/receive.py --kinds CT,MG,LARGE --associations 1,4

``venturi run --only receive`` is as durable as always; ``without syncs`` is the same under libeatmydata, which makes
every fsync return at once, to be compared with DCMTK and pynetdicom, which sync nothing. Orthanc has SyncStorageArea
(its default) and transcodes nothing. The sender has all P-DATA ready and takes delayed acknowledgements out of the
comparison (see ``ingest_sender``); its own rate, to a receiver that does nothing, is printed. ``as they come`` is
DCMTK's storescu with its defaults. Every response must be 0000, and every object be counted by what the receiver has
stored. Each burst has UIDs of its own.
"""

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import ingest_usage as usage
import numpy as np
import samples
from ingest_peers import answers, free_port, orthanc_program, process, started
from ingest_sender import Sample, against_nothing, send, uid
from measure import machine

COUNTS = {"CT": 2000, "MR": 4000, "MG": 40, "LARGE": 2}
LARGE_BYTES = 500_000_000
AS_THEY_COME = 60
PRELOAD = "/usr/lib/x86_64-linux-gnu/libeatmydata.so"

CONFIG = """\
node:
  listen: 127.0.0.1:{port}
  data: ./data
  limits: {{min_free: 1%}}
console: off
peers: {{any: {{ae_title: "*", hosts: [127.0.0.1]}}}}
rules: [{{name: all, transfer_syntax: as-received}}]
destinations: {{archive: {{folder: ./archive}}}}
routes: [{{to: [archive]}}]
"""


@dataclass(frozen=True)
class Receiver:
    """One that runs."""

    pid: int
    port: int
    called: str
    stored: Callable[[], int]


def _files(folder: Path, pattern: str = "*") -> int:
    return sum(1 for path in folder.rglob(pattern) if path.is_file())


@contextlib.contextmanager
def venturi(folder: Path, *, syncs: bool) -> Iterator[Receiver]:
    port = free_port()
    (folder / "venturi.yaml").write_text(CONFIG.format(port=port))
    command = [
        sys.executable,
        "-m",
        "venturi",
        "run",
        "--only",
        "receive",
        "-c",
        str(folder / "venturi.yaml"),
    ]
    if not syncs:
        command = ["env", f"LD_PRELOAD={PRELOAD}", *command]
    state = folder / "data" / "run" / "node.json"
    with process(command, folder / "log") as running:
        started(state.exists, running, folder / "log")
        spool = folder / "data" / "spool" / "receivers"
        yield Receiver(running.pid, port, "VENTURI", lambda: _files(spool, "*.dcm"))


@contextlib.contextmanager
def storescp(folder: Path, *command: str) -> Iterator[Receiver]:
    port, out = free_port(), folder / "out"
    out.mkdir()
    words = [word.format(port=port, out=out) for word in command]
    with process(words, folder / "log") as running:
        started(lambda: answers(port), running, folder / "log")
        yield Receiver(running.pid, port, "ANY", lambda: _files(out))


@contextlib.contextmanager
def orthanc(folder: Path) -> Iterator[Receiver]:
    port, http = free_port(), free_port()
    settings = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "DicomPort": port,
        "HttpPort": http,
        "DicomAet": "ORTHANC",
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowStore": True,
        "MaximumPduLength": 131072,
        "Plugins": [],
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    program = orthanc_program()
    assert program is not None

    def stored() -> int:
        with urllib.request.urlopen(f"http://127.0.0.1:{http}/statistics", timeout=60) as answer:
            return int(json.load(answer)["CountInstances"])

    with process([program, str(folder / "orthanc.json")], folder / "log") as running:
        started(lambda: answers(http) and answers(port), running, folder / "log")
        yield Receiver(running.pid, port, "ORTHANC", stored)


DCMTK = ("storescp", "+B", "+xa", "--fork", "-pdu", "131072", "-od", "{out}", "{port}")
PYNETDICOM = (sys.executable, "-m", "pynetdicom", "storescp", "{port}", "-od", "{out}", "-q")
CONTENDERS: dict[str, Callable[[Path], contextlib.AbstractContextManager[Receiver]]] = {
    "Venturi, durable": lambda folder: venturi(folder, syncs=True),
    "Venturi, without syncs": lambda folder: venturi(folder, syncs=False),
    "DCMTK storescp +B": lambda folder: storescp(folder, *DCMTK),
    "Orthanc": orthanc,
    "pynetdicom storescp": lambda folder: storescp(folder, *PYNETDICOM),
}


def missing(name: str) -> str:
    if "without" in name and not Path(PRELOAD).exists():
        return "libeatmydata is not installed (Debian: apt-get install libeatmydata1)"
    if name == "Orthanc" and orthanc_program() is None:
        return "Orthanc is not installed"
    return "" if "DCMTK" not in name or shutil.which("storescp") else "DCMTK is not installed"


def objects(kind: str, folder: Path) -> list[Sample]:
    """What is sent; few distinct ones, under many UIDs."""
    if kind == "LARGE":
        path = folder / "large" / "large.dcm"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            samples.make_large(path, LARGE_BYTES)
        return [Sample.read(path)]
    made = next(each for each in samples.KINDS if each.name == kind)
    distinct = min(made.count, 100, COUNTS[kind])
    return [
        Sample.read(path) for _, path in list(samples.make(folder, (made,), distinct / made.count))[:distinct]
    ]


def burst(receiver: Receiver, sent: list[Sample], count: int, associations: int, before: int) -> str:
    """Send a burst; one cell of the table. Raises RuntimeError where not all is stored."""
    root = f"2.25.{int.from_bytes(os.urandom(8), 'big')}"
    used = usage.cpu_ms(receiver.pid)
    bursts = send(receiver.port, receiver.called, sent, [uid(root, n) for n in range(count)], associations)
    took_s = max(each.ended for each in bursts) - min(each.began for each in bursts)
    cpu_ms = (sum(usage.cpu_ms(receiver.pid).values()) - sum(used.values())) / count
    until = time.monotonic() + 30
    while (found := receiver.stored()) != before + count:
        if time.monotonic() > until:
            raise RuntimeError(f"{found} objects are stored, not {before + count}")
        time.sleep(0.05)
    p50, p99 = np.quantile([each for one in bursts for each in one.responses_s], (0.5, 0.99)) * 1000
    peak = usage.peak_mb(receiver.pid)[1]
    rate = count / took_s
    return f"{rate:.0f} | {rate * sent[0].size_bytes / 1e6:.0f} | {p50:.1f} / {p99:.1f} | {cpu_ms:.2f} | {peak:.0f}"


def as_they_come(receiver: Receiver, path: Path, before: int) -> str:
    """DCMTK's storescu with its defaults: images a second."""
    command = ["storescu", "+II", "-aec", receiver.called, "127.0.0.1", str(receiver.port)]
    began = time.monotonic()
    subprocess.run([*command, *[str(path)] * AS_THEY_COME], check=True, capture_output=True)
    took_s = time.monotonic() - began
    if receiver.stored() != before + AS_THEY_COME:
        raise RuntimeError("not all that storescu sent is stored")
    return f"{AS_THEY_COME / took_s:.0f}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--kinds", type=lambda text: text.split(","), default=["CT", "MR"], help=",".join(COUNTS)
    )
    parser.add_argument(
        "--associations", type=lambda text: [int(n) for n in text.split(",")], default=[1, 4, 8]
    )
    parser.add_argument("--scale", type=float, default=1.0, help="so many times the usual number of objects")
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument(
        "--samples", type=Path, default=Path(tempfile.gettempdir()) / "venturi-benchmarks" / "receive"
    )
    parser.add_argument("--folder", type=Path, help="where receivers store: the disk that is measured")
    options = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="venturi-receive-", dir=options.folder))
    try:
        print(*machine(work), "", sep="\n")
        for kind in options.kinds:
            compare(kind, work, options)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return 0


def compare(kind: str, work: Path, options: argparse.Namespace) -> None:
    """Print the table of one kind."""
    sent, count = objects(kind, options.samples), max(2, round(COUNTS[kind] * options.scale))
    uids = [uid("2.25.1", n) for n in range(count)]
    bare = against_nothing(sent, uids, 1)
    rate = count / (max(each.ended for each in bare) - min(each.began for each in bare))
    print(f"### {kind}: {count} of {sent[0].size_bytes:,} bytes; the sender alone: {rate:,.0f}/s\n")
    print("| receiver | associations | objects/s | MB/s | response p50 / p99, ms | CPU ms | peak RSS, MB |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    came = []
    for name in options.contenders:
        if why := missing(name):
            print(f"{name} is left out: {why}", file=sys.stderr)
            continue
        folder = work / f"{kind}-{name.replace(' ', '-')}"
        folder.mkdir()
        with CONTENDERS[name](folder) as receiver:
            stored = 0
            for associations in options.associations:
                print(
                    f"| {name} | {associations} | {burst(receiver, sent, count, associations, stored)} |",
                    flush=True,
                )
                stored += count
            if kind in ("CT", "MR") and shutil.which("storescu"):
                came.append(f"{name} {as_they_come(receiver, sent[0].path, stored)}")
    if came:
        print(f"\nUnmodified storescu, one association, images/s: {', '.join(came)}.")
    print()


if __name__ == "__main__":
    sys.exit(main())
