"""Venturi's sender as a command: what a courier of the node does with claimed deliveries, but for the ledger.

    python benchmarks/send_venturi.py PORT BATCH PARCELS...

Each file of pickled parcels is delivered by a destination and a thread of its own, as each courier of a node has them:
so many parcels an association as BATCH says, or all where it is 0. The parcels have their SHA-256, as a spool's have.
Prints what each receipt says, and how often, and what it took from the first association to the end of the last.
"""

import pickle
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from venturi.config.schema import Node, Peer
from venturi.deliver.dicom import Dicom
from venturi.deliver.port import Parcel

TOOK = "took"
"""Begins the line with seconds and seconds of processor time."""


def deliver(peer: Peer, parcels: Sequence[Parcel], batch: int, found: Counter[str]) -> None:
    """Deliver all; count the receipts."""
    destination = Dicom(peer, "VENTURI", Node())
    for at in range(0, len(parcels), batch or len(parcels)):
        some = parcels[at : at + (batch or len(parcels))]
        found.update(
            f"{receipt.ending} {receipt.status} {receipt.detail}".rstrip()
            for receipt in destination.deliver(some)
        )
    destination.close()


def main() -> int:
    port, batch, *files = sys.argv[1:]
    peer = Peer(ae_title=("ANY",), host="127.0.0.1", port=int(port))
    counts: list[Counter[str]] = [Counter() for _ in files]
    shares = [pickle.loads(Path(file).read_bytes()) for file in files]
    couriers = [
        threading.Thread(target=deliver, args=(peer, parcels, int(batch), found))
        for parcels, found in zip(shares, counts, strict=True)
    ]
    began, cpu = time.perf_counter(), time.process_time()
    for courier in couriers:
        courier.start()
    for courier in couriers:
        courier.join()
    print(TOOK, time.perf_counter() - began, time.process_time() - cpu)
    for words, times in sum(counts, Counter[str]()).items():
        print(f"{times} x {words}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
