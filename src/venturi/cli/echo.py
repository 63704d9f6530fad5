"""``venturi echo``: whether a peer answers a C-ECHO."""

import argparse

from venturi import node
from venturi.cli.common import add_config_option, load_config

NAME = "echo"
HELP = "ask a peer for a C-ECHO, as the node would"
EXAMPLE = """\
examples:
  venturi echo pacs -c /etc/venturi.yaml      pacs is a name under peers:
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.epilog = EXAMPLE
    add_config_option(parser)
    parser.add_argument("peer", metavar="PEER", help="the peer's name in the configuration")


def run(args: argparse.Namespace) -> int:
    """Ask, and say what it answered; 1 where it did not."""
    config = load_config(args)
    answer = node.echo(config, args.peer)
    print(f"{args.peer}: {answer.detail} ({answer.duration_s * 1000:.0f} ms)")
    return 0 if answer.ok else 1
