"""The queue with a thousand and with a million deliveries that wait: claiming, recording, listing, and its memory.

    python benchmarks/queued.py
    python benchmarks/queued.py --counts 1000,100000

Each row waits for one destination. Claims are of 16, as couriers make them, with their record; ``queue ls`` is the
command itself, with its start.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from measure import machine

from venturi.ledger.port import Attempt, State
from venturi.ledger.rows import instance_values, rendition_values
from venturi.ledger.sql import open_ledger
from venturi.ledger.tables import deliveries, instances, renditions
from venturi.model import AS_RECEIVED, Envelope, Instance, Outcome, Reason

EXPLICIT = "1.2.840.10008.1.2.1"
CONFIG = """\
node: {data: ./data}
console: off
peers: {any: {ae_title: "*", hosts: [127.0.0.1]}}
destinations: {pacs: {folder: ./archive}}
routes: [{to: [pacs]}]
"""
ROUNDS = 200


def fill(folder: Path, count: int) -> None:
    """Make a ledger with so many deliveries."""
    (folder / "data").mkdir()
    (folder / "venturi.yaml").write_text(CONFIG)
    ledger = open_ledger(f"sqlite:///{folder / 'data' / 'ledger.db'}", migrate=True)
    for first in range(0, count, 10_000):
        made = []
        for number in range(first, min(count, first + 10_000)):
            uid = f"1.2.826.0.1.{number}"
            envelope = Envelope(
                "1.2.840.10008.5.1.4.1.1.2", uid, EXPLICIT, "CT1", "VENTURI", "ct", "10.1.0.7", number
            )
            made.append(Instance(f"{number:032x}", f"{number:064x}", 525_000, envelope))
        outcome = Outcome(AS_RECEIVED, EXPLICIT, 525_000, "a" * 64, Reason.ASKED)
        with ledger._database.write() as connection:  # a million claims would take minutes
            connection.execute(
                instances.insert(),
                [
                    {**instance_values(each), "state": "decided", "study_instance_uid": f"1.2.{at // 300}"}
                    for at, each in enumerate(made, first)
                ],
            )
            connection.execute(
                renditions.insert(),
                [
                    {"id": at + 1, **rendition_values(each.id, outcome, False, 1.0)}
                    for at, each in enumerate(made, first)
                ],
            )
            connection.execute(
                deliveries.insert(),
                [
                    {
                        "instance_id": each.id,
                        "rendition_id": at + 1,
                        "destination": "pacs",
                        "rule": "all",
                        "state": "pending",
                        "status": "",
                        "detail": "",
                        "sent_original": False,
                        "tries": 0,
                        "created_at": 1.0,
                        "due_at": 1.0,
                        "lease_until": 0.0,
                    }
                    for at, each in enumerate(made, first)
                ],
            )
    ledger.close()


def measure(folder: Path) -> str:
    """A line of the table."""
    ledger = open_ledger(f"sqlite:///{folder / 'data' / 'ledger.db'}", migrate=False)
    claims, records = [], []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        jobs = ledger.claim_deliveries("pacs", "bench", 16, 60)
        claims.append(time.perf_counter() - began)
        began = time.perf_counter()
        ended = [Attempt(job.id, State.PENDING, time.time(), 0.1, "A700", due_at=2.0) for job in jobs]
        ledger.record(ended, "bench")
        records.append(time.perf_counter() - began)
    ledger.close()
    listed = []
    for _ in range(5):
        began = time.perf_counter()
        command = [
            sys.executable,
            "-m",
            "venturi",
            "queue",
            "ls",
            "-c",
            str(folder / "venturi.yaml"),
            "--limit",
            "20",
        ]
        subprocess.run(command, check=True, capture_output=True)
        listed.append(time.perf_counter() - began)
    claim, record = (np.quantile(each, (0.5, 0.99)) * 1000 for each in (claims, records))
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    return (
        f"{claim[0]:.2f} / {claim[1]:.2f} | {record[0]:.2f} / {record[1]:.2f} | "
        f"{np.median(listed):.2f} | {peak_mb:.0f}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--counts", type=lambda text: [int(n) for n in text.split(",")], default=[1000, 1_000_000]
    )
    parser.add_argument("--of", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.of is not None:
        print(measure(options.of))
        return 0
    with tempfile.TemporaryDirectory(prefix="venturi-queue-") as work:
        print(*machine(Path(work)), "", sep="\n")
        print("| waiting | claim 16, p50 / p99 ms | record 16, p50 / p99 ms | queue ls, s | peak RSS, MB |")
        print("|--:|--:|--:|--:|--:|")
        for count in options.counts:
            folder = Path(work) / str(count)
            folder.mkdir()
            fill(folder, count)
            line = subprocess.run(
                [sys.executable, __file__, "--of", str(folder)], check=True, capture_output=True, text=True
            )
            print(f"| {count:,} | {line.stdout.strip()} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
