"""Receiving alone: Venturi beside DCMTK's storescp, Orthanc and pynetdicom's storescp, on this machine, in one run.

    python benchmarks/receive.py                          all kinds by 1, 4 and 8 associations
    python benchmarks/receive.py --kinds CT,MG,LARGE --associations 1,4 --repeat 3

``venturi run --only receive`` is as durable as always; ``without syncs`` is the same under libeatmydata, which makes
every fsync return at once, to be compared with DCMTK and pynetdicom, which sync nothing. Orthanc has SyncStorageArea
(its default) and transcodes nothing. The sender has all P-DATA ready and takes delayed acknowledgements out of the
comparison (see ``ingest_sender``); its own rate, to a receiver that does nothing, is printed. ``as they come`` is
DCMTK's storescu with its defaults. CONTEXTS are CT, each by an association of its own that proposes 128 contexts, so
many of these at once. Every response must be 0000, and every object be counted by what the receiver has stored. Each
burst has UIDs of its own, and begins when the disk has everything of the one before.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import ingest_usage as usage
import numpy as np
import samples
from ingest_nothing import against_nothing
from ingest_sender import Burst, Sample, send, uid
from measure import machine
from receive_peers import CONTENDERS, Receiver, missing
from receive_tables import CONTEXTS, LARGE, Measured, Results, aims

COUNTS = {"CT": 2000, "MR": 4000, CONTEXTS: 500, "MG": 40, LARGE: 2}
REMOVED = ("MG", LARGE)
"""Kinds of few files: what one contender has stored is removed before the next one."""
LARGE_BYTES = 500_000_000
DISTINCT = 100
AS_THEY_COME = {"CT": 60, "MR": 60}
SETTLE_S = 0.3
"""From the last response until processor time is read: some of the work is done behind it."""


def objects(kind: str, folder: Path, count: int, large_bytes: int) -> list[Sample]:
    """What is sent; few distinct ones, under many UIDs."""
    if kind == LARGE:
        path = folder / LARGE / f"{large_bytes}.dcm"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            samples.make_large(path, large_bytes)
        return [Sample.read(path)]
    made = next(each for each in samples.KINDS if each.name == ("CT" if kind == CONTEXTS else kind))
    distinct = min(made.count, DISTINCT, count)
    found = samples.make(folder, (made,), distinct / made.count)
    read = [Sample.read(path) for _, path in list(found)[:distinct]]
    # All by one context: some of MG are cut from images of another SOP class.
    return [each for each in read if each.sop_class == read[0].sop_class]


def rate(bursts: list[Burst], count: int) -> float:
    """Objects a second."""
    return count / (max(each.ended for each in bursts) - min(each.began for each in bursts))


def sender_ms(bursts: list[Burst], count: int) -> float:
    """Of the sender's processor time, an object."""
    return sum(each.cpu_s for each in bursts) * 1000 / count


def stored(receiver: Receiver, wanted: int) -> None:
    """Wait until a receiver has so many. Raises RuntimeError after 30 s."""
    until = time.monotonic() + 30
    while (found := receiver.stored()) != wanted:
        if time.monotonic() > until:
            raise RuntimeError(f"{found} objects are stored, not {wanted}")
        time.sleep(0.05)


def _spent(
    before: dict[str, tuple[float, float]], after: dict[str, tuple[float, float]], role: str, count: int
) -> tuple[float, float]:
    began, ended = before.get(role, (0.0, 0.0)), after.get(role, (0.0, 0.0))
    return (ended[0] - began[0]) / count, (ended[1] - began[1]) / count


def burst(receiver: Receiver, kind: str, sent: list[Sample], count: int, n: int, into: Measured) -> None:
    """Send a burst by ``n`` associations. Raises RuntimeError where an association failed."""
    os.sync()
    root = f"2.25.{int.from_bytes(os.urandom(8), 'big')}"
    uids = [uid(root, number) for number in range(count)]
    before = usage.split_ms(receiver.pid)
    bursts = send(receiver.port, receiver.called, sent, uids, n, alone=kind == CONTEXTS)
    time.sleep(SETTLE_S)
    after = usage.split_ms(receiver.pid)
    # A process that ended has its time in its parent's since: the roles of before count, too.
    into.cpu_ms.append({role: _spent(before, after, role, count) for role in before | after})
    p50, p99 = np.quantile([each for one in bursts for each in one.responses_s], (0.5, 0.99)) * 1000
    into.rates.append(rate(bursts, count))
    into.p50_ms.append(float(p50))
    into.p99_ms.append(float(p99))
    into.sender_ms.append(sender_ms(bursts, count))
    into.peak_mb = max(into.peak_mb, usage.peak_mb(receiver.pid)[1])


def as_they_come(receiver: Receiver, path: Path, count: int) -> float:
    """DCMTK's storescu with its defaults: images a second."""
    command = ["storescu", "+II", "-aec", receiver.called, "127.0.0.1", str(receiver.port)]
    began = time.monotonic()
    subprocess.run([*command, *[str(path)] * count], check=True, capture_output=True)
    return count / (time.monotonic() - began)


def measure(name: str, folder: Path, sent: list[Sample], results: Results) -> None:
    """Run a contender once, and send it all bursts of a kind."""
    folder.mkdir()
    with CONTENDERS[name](folder) as receiver:
        total = 0
        for n, count in results.count.items():
            into = results.measured.setdefault((name, n), Measured())
            try:
                burst(receiver, results.kind, sent, count, n, into)
                total += count
                stored(receiver, total)
            except RuntimeError as error:
                into.failed = str(error)
                return
            print(f"{results.kind}, {name}, {n}: {into.rates[-1]:.1f}/s", file=sys.stderr)
        if results.unmodified and shutil.which("storescu"):
            came = as_they_come(receiver, sent[0].path, results.unmodified)
            results.defaults.setdefault(name, []).append(came)
            stored(receiver, total + results.unmodified)


def needed_bytes(all_results: list[Results], contenders: int, repeat: int) -> int:
    """What is stored at most at once."""
    kept = at_once = 0
    for each in all_results:
        one = (sum(each.count.values()) + each.unmodified) * each.size_bytes
        if each.kind in REMOVED:
            at_once = max(at_once, one)
        else:
            kept += one * contenders * repeat
    return kept + at_once


def compare(results: Results, sent: list[Sample], work: Path, names: list[str], repeat: int) -> None:
    """Measure one kind, all contenders in turns."""
    for n, count in results.count.items():
        uids = [uid("2.25.1", number) for number in range(count)]
        bare = against_nothing(sent, uids, n, alone=results.kind == CONTEXTS)
        results.sender[n] = rate(bare, count), sender_ms(bare, count)
    for turn in range(repeat):
        for name in names:
            folder = work / f"{results.kind}-{name.replace(' ', '-')}-{turn}"
            measure(name, folder, sent, results)
            if results.kind in REMOVED:
                shutil.rmtree(folder)
    print(f"{results.table()}\n{results.split()}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--kinds", type=lambda text: text.split(","), default=list(COUNTS), help=",".join(COUNTS)
    )
    parser.add_argument(
        "--associations", type=lambda text: [int(n) for n in text.split(",")], default=[1, 4, 8]
    )
    parser.add_argument("--scale", type=float, default=1.0, help="so many times the usual number of objects")
    parser.add_argument("--large-bytes", type=int, default=LARGE_BYTES, help="how long a multi-frame is")
    parser.add_argument(
        "--repeat", type=int, default=1, help="rounds over all contenders, each started afresh; medians"
    )
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument(
        "--samples", type=Path, default=Path(tempfile.gettempdir()) / "venturi-benchmarks" / "receive"
    )
    parser.add_argument("--folder", type=Path, help="where receivers store: the disk that is measured")
    options = parser.parse_args()
    names = []
    for name in options.contenders:
        if why := missing(name):
            print(f"{name} is left out: {why}", file=sys.stderr)
        else:
            names.append(name)
    # What is stored of small objects stays until the end: see benchmarks/README.md on ext4.
    work = Path(tempfile.mkdtemp(prefix="venturi-receive-", dir=options.folder))
    try:
        every: list[tuple[Results, list[Sample]]] = []
        for kind in options.kinds:
            # At least one object for each association.
            count = {n: max(2, n, round(COUNTS[kind] * options.scale)) for n in options.associations}
            sent = objects(kind, options.samples, max(count.values()), options.large_bytes)
            unmodified = min(AS_THEY_COME.get(kind, 0), max(count.values()))
            every.append((Results(kind, count, sent[0].size_bytes, unmodified), sent))
        needed = needed_bytes([results for results, _ in every], len(names), options.repeat)
        disk = shutil.disk_usage(work)
        if needed > disk.free - disk.total // 50:
            print(f"{needed / 1e9:.0f} GB are stored, and {disk.free / 1e9:.0f} are free", file=sys.stderr)
            return 2
        print(*machine(work), "", sep="\n")
        for results, sent in every:
            compare(results, sent, work, names, options.repeat)
        print(aims([results for results, _ in every]))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return int(any(found.failed for results, _ in every for found in results.measured.values()))


if __name__ == "__main__":
    sys.exit(main())
