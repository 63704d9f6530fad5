"""The command line: one module a verb, each with NAME, HELP, ``configure(parser)`` and ``run(args) -> exit code``.

Exit codes: 0 done; 1 it did not work (the reason is on standard error); 2 the command line or the configuration is
wrong. Tables go to a terminal, JSON to ``--json``.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from venturi import __version__
from venturi.errors import ConfigError, VenturiError

VERBS = (
    "run",
    "demo",
    "check",
    "explain",
    "compress",
    "codecs",
    "status",
    "queue",
    "reconcile",
    "commitment",
    "echo",
    "send",
    "ledger",
)

DESCRIPTION = (
    "A DICOM router: compresses on receipt, proves that no pixel changed, loses nothing it acknowledged."
)
EXAMPLES = """\
examples:
  venturi demo                              see it work on sample images, in a temporary folder
  venturi check -c config/venturi.yaml      is the configuration right, and what does it mean
  venturi run -c config/venturi.yaml        run the node
  venturi explain image.dcm                 what would become of this file, and why
  venturi compress IN OUT --to HTJ2KLossless   a whole folder tree, with all cores
  venturi codecs --try                      which images this machine compresses, and to what

exit codes: 0 done, 1 it did not work, 2 the command line or the configuration is wrong
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; its exit code."""
    parser = argparse.ArgumentParser(
        "venturi",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"venturi {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    asked = [name for name in (sys.argv[1:] if argv is None else argv)[:1] if name in VERBS]
    for name in asked or VERBS:  # all are imported only where all are to be listed
        verb = import_module(f"venturi.cli.{name}")
        verb_parser = verbs.add_parser(
            verb.NAME,
            help=verb.HELP,
            description=verb.HELP,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        verb.configure(verb_parser)
        verb_parser.set_defaults(verb=verb)
    args = parser.parse_args(argv)
    try:
        code: int = args.verb.run(args)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    except VenturiError as error:
        print(f"venturi: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # `venturi queue ls | head`
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        return 130
    return code
