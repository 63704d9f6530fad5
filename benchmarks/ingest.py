"""C-STORE in to rendition stored: Venturi beside Orthanc with IngestTranscoding, on this machine, in one run.

    python benchmarks/ingest.py                       the whole table, as docs/performance.md has it
    python benchmarks/ingest.py --count 40 --contenders jpeg-ls orthanc-jpeg-ls

Both get the same CT images (512 x 512, each with a SOP Instance UID of its own) from the same sender, which is shown
to be no bottleneck, at 1 and 4 associations. The time runs from the first byte sent until the last rendition is
stored: at Orthanc, which transcodes before it answers, until the last response; at Venturi until the last file has
its name in the destination. Every response must be 0000, every object must be counted by the receiver itself, and
some are read back and their pixels compared. Whoever prints the table names the machine and keeps it quiet.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from statistics import median

import ingest_peers as peers
import ingest_usage as usage
import numpy as np
import pydicom
import samples
from ingest_nothing import against_nothing
from ingest_peers import Contender
from ingest_sender import Sample, send, uid
from measure import machine

CONTENDERS = {
    "orthanc-jpeg-ls": Contender("Orthanc, JPEG-LS", "orthanc", "JPEGLSLossless"),
    "jpeg-ls": Contender("Venturi, JPEG-LS, unproven", "venturi", "JPEGLSLossless"),
    "jpeg-ls-proven": Contender("Venturi, JPEG-LS, proven", "venturi", "JPEGLSLossless", proven=True),
    "orthanc-j2k": Contender("Orthanc, JPEG 2000", "orthanc", "JPEG2000Lossless"),
    "j2k": Contender("Venturi, JPEG 2000, unproven", "venturi", "JPEG2000Lossless"),
    "j2k-proven": Contender("Venturi, JPEG 2000, proven", "venturi", "JPEG2000Lossless", proven=True),
    "htj2k-proven": Contender("Venturi, HTJ2K, proven", "venturi", "HTJ2KLossless", proven=True),
}
BESIDE = {
    "jpeg-ls": "orthanc-jpeg-ls",
    "jpeg-ls-proven": "orthanc-jpeg-ls",
    "j2k": "orthanc-j2k",
    "j2k-proven": "orthanc-j2k",
    "htj2k-proven": "orthanc-j2k",
}
"""Which Orthanc each is compared with."""
RATES = {"jpeg-ls": 1.0, "j2k": 1.0, "htj2k-proven": 4.0}
"""How many times Orthanc's rate is aimed at."""
RESPONSE = 1 / 3
"""Of Orthanc's p99: how long the slowest hundredth of responses may take."""
ASSOCIATIONS = (1, 4)
DISTINCT = 100
"""Different images; a burst sends each several times, under other UIDs."""
COMPARED = 8
"""Images of a burst that are read back and compared."""
TIMEOUT_S = 300.0


@dataclass
class Measured:
    """What several bursts of one kind showed."""

    rates: list[float] = field(default_factory=list)
    responses_s: list[float] = field(default_factory=list)
    cpu_ms: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    peak_mb: tuple[float, float] = (0.0, 0.0)

    @property
    def rate(self) -> float:
        """Objects a second: the median of the bursts."""
        return median(self.rates)

    def response_ms(self, quantile: float) -> float:
        """How long responses took."""
        return float(np.quantile(self.responses_s, quantile)) * 1000

    def cpu(self) -> dict[str, float]:
        """Milliseconds of processor time an object, by role."""
        return {role: median(each) for role, each in self.cpu_ms.items()}


def compare(running: peers.Running, contender: Contender, objects: list[Sample], uids: list[str]) -> None:
    """Read some renditions back. Raises RuntimeError where one is not what it should be."""
    for index in range(0, len(uids), max(1, len(uids) // COMPARED)):
        sample = objects[index % len(objects)]
        found = pydicom.dcmread(BytesIO(running.rendition(sample.study, sample.series, uids[index])))
        if found.file_meta.TransferSyntaxUID != peers.SYNTAXES[contender.syntax]:
            raise RuntimeError(f"{contender.name}: stored as {found.file_meta.TransferSyntaxUID.name}")
        if found.SOPInstanceUID != uids[index] or not np.array_equal(found.pixel_array, sample.pixels()):
            raise RuntimeError(f"{contender.name}: {uids[index]} has other pixels than were sent")


def measure(
    folder: Path,
    contender: Contender,
    objects: list[Sample],
    counts: dict[int, int],
    into: dict[int, Measured],
) -> None:
    """Run a contender once, and send it a burst over each number of associations."""
    with peers.run(folder, contender) as running:
        sent = 0
        for associations, count in counts.items():
            root = f"2.25.{int.from_bytes(os.urandom(8), 'big')}"
            warm = [uid(root, number) for number in range(4 * associations)]
            uids = [uid(root, len(warm) + number) for number in range(count)]
            send(running.port, running.called, objects, warm, associations)
            sent += len(warm)
            peers.wait_for(running.counted, sent, TIMEOUT_S)
            before = usage.cpu_ms(running.pid)
            bursts = send(running.port, running.called, objects, uids, associations)
            sent += count
            ended = max(burst.ended for burst in bursts)
            if contender.program == "venturi":
                ended = peers.wait_for(running.stored, sent, TIMEOUT_S)
            peers.wait_for(running.counted, sent, TIMEOUT_S)
            result = into[associations]
            result.rates.append(count / (ended - min(burst.began for burst in bursts)))
            result.responses_s += [each for burst in bursts for each in burst.responses_s]
            for role, used in usage.cpu_ms(running.pid).items():
                result.cpu_ms[role].append((used - before.get(role, 0.0)) / count)
            result.peak_mb = max(result.peak_mb, usage.peak_mb(running.pid))
            compare(running, contender, objects, uids)


def table(measured: dict[str, dict[int, Measured]]) -> str:
    """The results as a markdown table."""
    lines = [
        "| receiver | associations | CT/s | times Orthanc | response p50 / p99 / max, ms | CPU ms a CT | of it "
        "| peak RSS, MB: all (largest) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, by_number in measured.items():
        for associations, result in by_number.items():
            other = measured.get(BESIDE.get(name, ""), {}).get(associations)
            cpu = result.cpu()
            roles = ", ".join(f"{role} {ms:.1f}" for role, ms in sorted(cpu.items(), key=lambda one: -one[1]))
            lines.append(
                f"| {CONTENDERS[name].name} | {associations} | {result.rate:.0f} "
                f"| {f'{result.rate / other.rate:.2f}' if other else ''} "
                f"| {' / '.join(f'{result.response_ms(q):.1f}' for q in (0.5, 0.99, 1.0))} "
                f"| {sum(cpu.values()):.1f} | {roles if len(cpu) > 1 else ''} "
                f"| {result.peak_mb[0]:.0f} ({result.peak_mb[1]:.0f}) |"
            )
    return "\n".join(lines)


def targets(measured: dict[str, dict[int, Measured]]) -> str:
    """The aims, with yes or no, for what was measured beside an Orthanc."""
    lines = []
    for name, by_number in measured.items():
        for associations, result in by_number.items():
            other = measured.get(BESIDE.get(name, ""), {}).get(associations)
            if other is None:
                continue
            what = f"{CONTENDERS[name].name}, {associations} association{'s' * (associations > 1)}"
            if name in RATES:
                times = result.rate / other.rate
                aim = f"at least {RATES[name]:g} times {CONTENDERS[BESIDE[name]].name}"
                lines.append(f"| {what}: {aim} | {times:.2f} | {'yes' if times >= RATES[name] else 'no'} |")
            part = result.response_ms(0.99) / other.response_ms(0.99)
            lines.append(
                f"| {what}: p99 at most a third | {part:.2f} | {'yes' if part <= RESPONSE else 'no'} |"
            )
    return "\n".join(["| aim | measured | reached |", "|---|---|---|", *lines])


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--count", type=int, default=400, help="images by one association; by four, twice as many"
    )
    parser.add_argument(
        "--repeat", type=int, default=2, help="rounds over all contenders, each started afresh"
    )
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--samples", type=Path, help="where benchmarks/samples.py keeps its files, or shall")
    parser.add_argument("--folder", type=Path, help="where receivers store: the disk that is measured")
    arguments = parser.parse_args()
    wanted = {}
    for name in arguments.contenders:
        if why := peers.missing(CONTENDERS[name]):
            print(f"{CONTENDERS[name].name} is left out: {why}", file=sys.stderr)
        else:
            wanted[name] = CONTENDERS[name]
    # Nothing in it is removed before the end: see benchmarks/README.md on ext4.
    work = Path(tempfile.mkdtemp(prefix="venturi-ingest-", dir=arguments.folder))
    try:
        kind = samples.CT
        distinct = min(DISTINCT, 2 * arguments.count)
        found = samples.make(arguments.samples or work / "samples", (kind,), distinct / kind.count)
        objects = [Sample.read(path) for _, path in list(found)[:distinct]]
        counts = {number: arguments.count * (1 if number == 1 else 2) for number in ASSOCIATIONS}
        print(*machine(work), f"{objects[0].size_bytes:,} bytes an image\n", sep="\n")
        for number, count in counts.items():
            uids = [uid("2.25.1", index) for index in range(count)]
            bursts = against_nothing(objects, uids, number)
            took_s = max(burst.ended for burst in bursts) - min(burst.began for burst in bursts)
            cpu_ms = sum(burst.cpu_s for burst in bursts) / count * 1000
            print(
                f"The sender, {number} association{'s' * (number > 1)}, to a receiver that does nothing: "
                f"{count / took_s:,.0f} CT/s, {cpu_ms:.2f} ms of its own CPU each."
            )
        measured: dict[str, dict[int, Measured]] = {
            name: {number: Measured() for number in ASSOCIATIONS} for name in wanted
        }
        for turn in range(arguments.repeat):
            for name, contender in wanted.items():
                began = time.monotonic()
                folder = work / f"{name}-{turn}"
                measure(folder, contender, objects, counts, measured[name])
                rates = ", ".join(f"{each.rates[-1]:.0f}" for each in measured[name].values())
                print(f"{contender.name}: {rates} CT/s ({time.monotonic() - began:.0f} s)", file=sys.stderr)
        print(f"\n{table(measured)}\n\n{targets(measured)}")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
