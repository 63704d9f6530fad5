"""Sending alone: Venturi's sender beside DCMTK's storescu and dcmsend and pynetdicom's storescu, in one run.

    python benchmarks/send.py                                        all kinds by 1 and 4 associations at once
    python benchmarks/send.py --kinds CT,MR --associations 1 --repeat 5

All send to the same DCMTK storescp, which reads everything and stores nothing: once as they come, and once with
delayed acknowledgements taken out, that is with TCP_NODELAY=1 in the environment of the receiver and of DCMTK's
senders. Venturi's and pynetdicom's senders have no such switch; they are the same both times. Venturi's is what the
node has, by an association for each batch as a courier claims it, and in one association; its parcels stand ready, as
the ledger has them. Several associations at once are threads of one process there, and processes elsewhere.

What is sent are few distinct files under many names: the receiver does not look at UIDs. Every object must be
answered by 0000, each command must end with 0, and the receiver must have read as much as was sent. Commands are
measured from start to end, whatever they read or import first. "Less start-up" takes off what one small object takes
without delays, association and all; Venturi's sender, which starts once for all in a node, tells its own: from before
its first association until after its last.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median

import pydicom.data
from measure import CommandFailed, machine
from receive import LARGE_BYTES, objects
from send_peers import (
    DCMSEND,
    PYNETDICOM,
    SENDERS,
    STORESCU,
    Receiver,
    Sent,
    Share,
    missing,
    receiver,
    send,
    version,
)
from send_tables import Measured, Results, aims

from venturi.cli.files import parcels_of
from venturi.deliver.port import Parcel

COUNTS = {"CT": 1000, "MR": 2000, "MG": 20, "LARGE": 2}
SLOW = {"CT": 200, "MR": 200}
"""At most so many are sent by pynetdicom, and by DCMTK as it comes: some take 50 ms for each."""
STARTUPS = 5
SMALL = "CT_small.dcm"


def count_of(name: str, kind: str, whole: int, associations: int, *, delays: bool) -> int:
    """How many objects a sender gets, at least one an association."""
    slow = name == PYNETDICOM or (delays and name in (STORESCU, DCMSEND))
    return max(associations, min(whole, SLOW.get(kind, whole)) if slow else whole)


def startups(to: Receiver, names: list[str], small: Share, turns: int) -> dict[str, Sent]:
    """What each takes for one small object: medians."""
    found = {}
    for name in names:
        runs = sorted((send(name, to, [small]) for _ in range(turns)), key=lambda each: each.wall_s)
        found[name] = Sent(
            median(each.wall_s for each in runs),
            median(each.cpu_s for each in runs),
            runs[-1].peak_mb,
            runs[-1].receiver_cpu_s,
            min(each.read_bytes for each in runs),
            None,
        )
    return found


def lay_out(folder: Path, parcels: list[Parcel], count: int, associations: int) -> list[Share]:
    """Spread so many objects over associations."""
    many = [parcels[number % len(parcels)] for number in range(count)]
    return [Share.make(folder / str(n), many[n::associations]) for n in range(associations)]


def burst(name: str, to: Receiver, shares: list[Share], into: Measured, *, counts_bytes: bool) -> None:
    """Send once. Raises CommandFailed."""
    sent = send(name, to, shares)
    size_bytes = sum(share.size_bytes for share in shares)
    if counts_bytes and sent.read_bytes < size_bytes:
        raise CommandFailed(f"{name}: the receiver read {sent.read_bytes} bytes of {size_bytes}")
    into.bursts.append(sent)


def compare(
    to: Receiver,
    results: Results,
    parcels: list[Parcel],
    whole: int,
    started: dict[str, Sent],
    options: argparse.Namespace,
    work: Path,
    *,
    counts_bytes: bool,
) -> None:
    """Measure one kind, all senders in turns."""
    made: dict[tuple[int, int], list[Share]] = {}
    for turn in range(options.repeat):
        for n in options.associations:
            for name, startup in started.items():
                count = count_of(name, results.kind, whole, n, delays=results.delays)
                if (count, n) not in made:
                    made[count, n] = lay_out(work / f"{count}-{n}", parcels, count, n)
                shares = made[count, n]
                size_bytes = sum(share.size_bytes for share in shares) // count
                into = results.measured.setdefault((name, n), Measured(count, size_bytes, startup))
                if into.failed:
                    continue
                try:
                    burst(name, to, shares, into, counts_bytes=counts_bytes)
                except CommandFailed as error:
                    print(error, file=sys.stderr)
                    into.failed = "failed"
                    continue
                words = f"{results.kind}, {results.how}, {name}, {n}, round {turn + 1}"
                print(f"{words}: {count / into.bursts[-1].wall_s:.1f}/s", file=sys.stderr)
    print(results.table(), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--kinds", type=lambda text: text.split(","), default=list(COUNTS), help=",".join(COUNTS)
    )
    parser.add_argument("--associations", type=lambda text: [int(n) for n in text.split(",")], default=[1, 4])
    parser.add_argument("--scale", type=float, default=1.0, help="so many times the usual number of objects")
    parser.add_argument("--large-bytes", type=int, default=LARGE_BYTES, help="how long a multi-frame is")
    parser.add_argument("--repeat", type=int, default=3, help="rounds over all senders; medians")
    parser.add_argument("--startups", type=int, default=STARTUPS, help="how often one small object is sent")
    parser.add_argument("--senders", nargs="+", choices=SENDERS, default=list(SENDERS))
    parser.add_argument(
        "--samples", type=Path, default=Path(tempfile.gettempdir()) / "venturi-benchmarks" / "receive"
    )
    options = parser.parse_args()
    names = []
    for name in options.senders:
        if why := missing(name):
            print(f"{name} is left out: {why}", file=sys.stderr)
        else:
            names.append(name)
    if not names:
        return 2  # nothing can receive
    work = Path(tempfile.mkdtemp(prefix="venturi-send-"))
    every: list[Results] = []
    try:
        print(*machine(work), f"to {version('storescp')}", "", sep="\n")
        kinds = {}
        for kind in options.kinds:
            whole = max(2, round(COUNTS[kind] * options.scale))
            sent = objects(kind, options.samples, whole, options.large_bytes)
            parcels, _ = parcels_of(each.path for each in sent)
            kinds[kind] = whole, parcels
        bundled = pydicom.data.get_testdata_file(SMALL, download=False)
        small = Share.make(work / "small", parcels_of([Path(str(bundled))])[0])
        with receiver(work, delays=True) as usual, receiver(work, delays=False) as undelayed:
            started = startups(undelayed, names, small, options.startups)
            counts_bytes = all(each.read_bytes >= small.size_bytes for each in started.values())
            if not counts_bytes:
                words = "what the receiver reads can't be seen here: statuses alone are counted"
                print(words, file=sys.stderr)
            for to, delays in ((usual, True), (undelayed, False)):
                for kind, (whole, parcels) in kinds.items():
                    results = Results(kind, delays, parcels[0].instance.size_bytes)
                    every.append(results)
                    folder = work / f"{kind}-{delays}"
                    compare(to, results, parcels, whole, started, options, folder, counts_bytes=counts_bytes)
        print(aims(every))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return int(any(found.failed for results in every for found in results.measured.values()))


if __name__ == "__main__":
    sys.exit(main())
