"""``venturi echo``: whether a peer answers a C-ECHO, and what it accepted when something was last sent to it."""

import argparse
from collections.abc import Sequence

from rich.markup import escape

from venturi import destinations, node
from venturi.cli.common import add_config_option, load_config
from venturi.cli.tables import as_json, clock, console, short, table
from venturi.dataset.dictionary import uid_name
from venturi.model import Acceptance

NAME = "echo"
HELP = "ask a peer for a C-ECHO, as the node would; show what it accepted last"
EXAMPLE = """\
examples:
  venturi echo pacs -c /etc/venturi.yaml      pacs is a name under peers:
  venturi echo pacs --renew                   it was changed: ask it again what it accepts
  venturi echo pacs --json

What a peer accepted is learnt when the node sends to it, and shown with the time of the latest answer. It counts in
decisions for a day. --renew proposes all that was ever proposed to it anew, sends nothing, and remembers the answers;
"venturi queue retry --redecide" then decides anew what waits or is held.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.epilog = EXAMPLE
    add_config_option(parser)
    parser.add_argument("peer", metavar="PEER", help="the peer's name in the configuration")
    parser.add_argument("--renew", action="store_true", help="ask again what it accepts, and remember that")
    parser.add_argument("--json", action="store_true", help="JSON instead of text")


def run(args: argparse.Namespace) -> int:
    """Ask, and say what it answered; 1 where it did not."""
    config = load_config(args)
    answer = destinations.echo(config, args.peer)
    if args.renew and answer.ok:
        node.renew(config, args.peer)
    to = destinations.destinations_at(config, args.peer)
    known = [each for each in node.acceptances(config) if each.destination in to]
    if args.json:
        print(as_json({"peer": args.peer, "echo": answer, "acceptances": known}))
        return 0 if answer.ok else 1
    print(f"{args.peer}: {answer.detail} ({answer.duration_s * 1000:.0f} ms)")
    if known:
        show(known)
    return 0 if answer.ok else 1


def show(known: Sequence[Acceptance]) -> None:
    """Print what was accepted and refused, a line for each SOP class of a destination."""
    made = table("accepted last", "destination", "SOP class", "taken", "refused", "when")
    of_one: dict[tuple[str, str], list[Acceptance]] = {}
    for each in known:
        of_one.setdefault((each.destination, each.sop_class_uid), []).append(each)
    for (destination, uid), answers in of_one.items():
        taken, refused = (
            ", ".join(short(each.transfer_syntax) for each in answers if each.accepted is accepted)
            for accepted in (True, False)
        )
        when = clock(max(each.at for each in answers))
        made.add_row(destination, escape(uid_name(uid)), escape(taken), escape(refused), when)
    console.print(made)
