"""``venturi run``: the daemon."""

import argparse
import sys

from venturi import node
from venturi.cli.common import add_config_option, config_path

NAME = "run"
HELP = "run the node until it is told to stop (SIGTERM drains, SIGHUP reloads)"
EXAMPLE = """\
examples:
  venturi run                          the configuration is ./venturi.yaml or ./config/venturi.yaml
  venturi run -c /etc/venturi.yaml
  venturi run --only transcode         just the workers, beside a node that runs elsewhere on the same data
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.epilog = EXAMPLE
    add_config_option(parser)
    parser.add_argument(
        "--only",
        action="append",
        choices=node.ROLES,
        metavar="ROLE",
        default=[],
        help=f"run just this role: {', '.join(node.ROLES)} (repeatable)",
    )


def run(args: argparse.Namespace) -> int:
    """Run until SIGTERM."""
    try:
        return node.run(config_path(args), tuple(args.only))
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        print(f"venturi: the node can't start: {error.strerror or error}{where}", file=sys.stderr)
        return 1
