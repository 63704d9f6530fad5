"""``venturi ledger rebuild``: make the ledger anew from the spool."""

import argparse

from venturi import node
from venturi.cli.common import add_config_option, load_config

NAME = "ledger"
HELP = "make the ledger anew from the spool (losing the ledger loses no image)"
EXAMPLE = """\
examples:
  venturi ledger rebuild -c /etc/venturi.yaml     record every instance of the spool that the ledger does not know

Instances that were delivered before the ledger was lost are decided and delivered again: at least once, never less.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.epilog = EXAMPLE
    add_config_option(parser)
    parser.add_argument("action", choices=("rebuild",), help="what to do")


def run(args: argparse.Namespace) -> int:
    """Do it, and say how many were found."""
    config = load_config(args)
    node.prepare(config)
    print(f"{node.rebuild(config)} instances recorded that the ledger did not know")
    node.wake(config)
    return 0
