"""``venturi send``: send files to a peer by C-STORE, byte for byte as they are."""

import argparse
from pathlib import Path

from rich.markup import escape

from venturi import destinations
from venturi.cli.common import add_config_option, load_config
from venturi.cli.files import parcels_of
from venturi.cli.tables import console
from venturi.deliver.port import Ending

NAME = "send"
HELP = "send DICOM files to a peer by C-STORE, byte for byte as they are"
EXAMPLE = """\
examples:
  venturi send pacs image.dcm study/ -c /etc/venturi.yaml      pacs is a name under peers:

exit code 1 means that not every file was taken; files that are not DICOM are named and passed over
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.epilog = EXAMPLE
    add_config_option(parser)
    parser.add_argument("peer", metavar="PEER", help="the peer's name in the configuration")
    parser.add_argument("files", metavar="FILE", type=Path, nargs="+", help="files and folders")


def run(args: argparse.Namespace) -> int:
    """Send; 1 where a file was not taken."""
    config = load_config(args)
    destinations.peer_of(config, args.peer)  # before files are read
    parcels, passed_over = parcels_of(args.files)
    for path, why in passed_over:
        console.print(f"[dim]passed over[/] {escape(str(path))}: {escape(why)}", soft_wrap=True)
    taken = 0
    for receipt in destinations.send(config, args.peer, parcels):
        done = receipt.ending is Ending.DELIVERED
        taken += done
        word = "[green]taken[/]" if done else f"[red]{receipt.ending}[/]"
        console.print(
            f"{word} {parcels[receipt.delivery].rendition} {receipt.status} {receipt.detail}", soft_wrap=True
        )
    print(f"{taken} of {len(parcels)} taken by {args.peer}")
    return 0 if taken == len(parcels) else 1
