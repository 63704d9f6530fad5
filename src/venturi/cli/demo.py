"""``venturi demo``: a whole node in a temporary folder, fed with sample images over the network."""

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom.data
from rich.markup import escape
from rich.progress import track

from venturi import destinations, node
from venturi.cli.files import parcels_of
from venturi.cli.tables import as_json, aside, console, saving, short, size, table
from venturi.config.load import load
from venturi.config.schema import Config
from venturi.console.port import done
from venturi.deliver.port import Ending
from venturi.errors import Temporary
from venturi.ledger.port import DeliveryRow, Filter

NAME = "demo"
HELP = "run a whole node in a temporary folder, send it sample images over C-STORE, show what became of them"
EXAMPLE = """\
examples:
  venturi demo                        pydicom's sample images
  venturi demo --keep /tmp/venturi    keep the node's folder, to look at the files
  venturi demo ~/images               your own files instead; nothing leaves this machine
"""

CONFIG = """\
node:
  ae_title: VENTURI
  listen: 127.0.0.1:0
  data: ./data
console: off
peers:
  demo: {ae_title: "*", host: 127.0.0.1}
rules:
  - name: fast viewing
    when: {destination: viewer}
    transfer_syntax: HTJ2KLossless
  - name: grey images
    when: {SamplesPerPixel: 1}
    transfer_syntax: JPEGLSLossless
  - name: colour images
    when: {SamplesPerPixel: 3}
    transfer_syntax: JPEG2000Lossless
  - name: the rest
    transfer_syntax: as-received
destinations:
  archive: {folder: ./archive}
  viewer: {folder: ./viewer}
routes:
  - to: [archive]
  - when: {Modality: [CT, MR, US]}
    to: [viewer]
"""
SAMPLES = (
    "CT_small.dcm",
    "MR_small.dcm",
    "MR_small_implicit.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_RLE.dcm",
    "JPEGLSNearLossless_16.dcm",
    "SC_rgb_small_odd.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
    "examples_rgb_color.dcm",
    "examples_palette.dcm",
    "examples_overlay.dcm",
    "rtdose.dcm",
    "rtplan.dcm",
    "liver_1frame.dcm",
    "test-SR.dcm",
    "waveform_ecg.dcm",
)
READY_S = 60.0
SETTLED_S = 600.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.epilog = EXAMPLE
    parser.add_argument(
        "files", metavar="FILE", type=Path, nargs="*", help="files and folders instead of the samples"
    )
    parser.add_argument(
        "--keep", metavar="FOLDER", type=Path, help="use this empty folder, and leave it there"
    )
    parser.add_argument("--json", action="store_true", help="JSON instead of a table")


def run(args: argparse.Namespace) -> int:
    """Run it; 1 where an image sent is not accounted for."""
    with contextlib.ExitStack() as stack:
        if args.keep:
            folder = args.keep.resolve()
            folder.mkdir(parents=True, exist_ok=True)
            if any(folder.iterdir()):
                print(f"{folder} is not empty: name a new folder", file=sys.stderr)
                return 2
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="venturi-demo-")))
        path = folder / "venturi.yaml"
        path.write_text(CONFIG)
        aside.print(f"[dim]a node in[/] {folder}")
        config = stack.enter_context(running(path))
        names = send(
            config, args.files or [Path(str(pydicom.data.get_testdata_file(name))) for name in SAMPLES]
        )
        rows = settle(config, len(names))
        if args.json:
            print(as_json(rows))
        else:
            show(rows, names)
            if args.keep:
                console.print(f"[dim]look at[/] {folder}, or: venturi status -c {path}")
        return 0 if {(row.sop_instance_uid, row.source_syntax) for row in rows} >= set(names) else 1


@contextlib.contextmanager
def running(path: Path) -> Iterator[Config]:
    """A node on this configuration; yields the configuration with the port that it really listens on."""
    config = load(path)
    log = path.with_name("venturi.log")
    with log.open("w") as errors:
        process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", "venturi", "run", "-c", str(path)], stderr=errors, start_new_session=True
        )
    try:
        port = int(ready(process, config)["listen"].rpartition(":")[2])
        peer = config.peers["demo"].model_copy(update={"ae_title": ("VENTURI",), "port": port})
        yield config.model_copy(update={"peers": {"demo": peer}})
    finally:
        process.terminate()
        process.wait()


def ready(process: subprocess.Popen[bytes], config: Config) -> dict[str, Any]:
    """Wait until the node listens; what it says of itself. Raises Temporary where it does not start."""
    state = config.node.data / "run" / "node.json"
    until = time.monotonic() + READY_S
    while time.monotonic() < until and process.poll() is None:
        if state.exists():
            said: dict[str, Any] = json.loads(state.read_text())
            return said
        time.sleep(0.05)
    said_last = config.path.with_name("venturi.log").read_text()[-2000:]
    raise Temporary(f"the node did not start; the end of its log:\n{said_last}")


def send(config: Config, paths: list[Path]) -> dict[tuple[str, str], str]:
    """Send each DICOM file by C-STORE; the names of those that were taken, by SOP instance and syntax."""
    parcels, passed_over = parcels_of(paths)
    for path, why in passed_over:
        aside.print(f"[dim]passed over[/] {path.name}: {escape(why)}")
    names = {}
    receipts = destinations.send(config, "demo", parcels)
    for receipt in track(receipts, "sending by C-STORE", len(parcels), console=aside, transient=True):
        parcel = parcels[receipt.delivery]
        if receipt.ending is Ending.DELIVERED:
            names[(parcel.envelope.sop_instance_uid, parcel.envelope.transfer_syntax)] = parcel.original.name
        else:
            aside.print(
                f"[red]not taken[/] {parcel.original.name}: {receipt.status} {escape(receipt.detail)}"
            )
    return names


def settle(config: Config, count: int) -> list[DeliveryRow]:
    """Wait until every instance sent is decided and nothing is pending; all deliveries."""
    ledger = node.ledger_of(config)
    try:
        until = time.monotonic() + SETTLED_S
        while time.monotonic() < until:
            totals = ledger.totals()
            decided = totals.instances.get("decided", 0) + totals.instances.get("held", 0)
            if decided >= count and not any(state == "pending" for _, state in totals.deliveries):
                break
            time.sleep(0.05)
        return sorted(ledger.deliveries(Filter(limit=1 << 20)), key=lambda row: row.id)
    finally:
        ledger.close()


def show(rows: list[DeliveryRow], names: dict[tuple[str, str], str]) -> None:
    """The table: what came, which rule, bytes before and after, proven, where it is now."""
    made = table(
        "what became of them", "file", "came as", "to", "rule", "became", "before>", "after>", "", "where"
    )
    for row in rows:
        where = row.detail.split(" (")[0].rpartition("/")[2]
        made.add_row(
            names.get((row.sop_instance_uid, row.source_syntax), row.sop_instance_uid),
            short(row.source_syntax),
            row.destination,
            row.rule,
            f"[dim]{done(row.reason, row.proof)}[/]"
            if row.reason
            else f"{short(row.transfer_syntax)} [green]proven[/]",
            size(row.size_before),
            size(row.size_after),
            "" if row.reason else saving(row.size_before, row.size_after),
            f"…{where[-12:]}"
            if row.state == "delivered"
            else f"[red]{row.state} {row.status}[/] {row.detail}",
        )
    console.print(made)
    before, after = sum(row.size_before for row in rows), sum(row.size_after for row in rows)
    proven = sum(not row.reason for row in rows)
    console.print(
        f"{len(names)} instances, {len(rows)} deliveries: {proven} transcoded and proven, {len(rows) - proven} as "
        f"received; {size(before)} -> {size(after)} ({saving(before, after)})"
    )
