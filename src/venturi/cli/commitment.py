"""``venturi commitment``: who asks whom to store for good, and what became of it."""

import argparse
import sys
import time
from collections import Counter
from dataclasses import asdict

from rich.markup import escape

from venturi import node
from venturi.cli.common import add_config_option, load_config
from venturi.cli.tables import as_json, clock, console, moment, table
from venturi.dataset.commitment import REASONS
from venturi.ledger.port import Commitment

NAME = "commitment"
HELP = "list requests for storage commitment, by peers and by this node, and what became of them"
EXAMPLE = """\
examples:
  venturi commitment                  the latest, newest first
  venturi commitment 17               one, with every instance
  venturi commitment --json | jq '.[] | select(.state == "open")'

states: of a peer's request, open (not all is safe yet), answered (the peer is to be told), reported; of this node's,
asked, done, refused (it is asked again). Exit code 1 means that there is no such request
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.epilog = EXAMPLE
    parser.add_argument("id", type=int, nargs="?", help="a request's number: show it whole")
    parser.add_argument("--limit", type=int, default=50, help="at most so many (default 50)")
    parser.add_argument("--json", action="store_true", help="JSON instead of a table")
    add_config_option(parser)


def run(args: argparse.Namespace) -> int:
    """List, or show one."""
    ledger = node.ledger_of(load_config(args))
    try:
        if args.id is None:
            found = ledger.commitments.recent(args.limit)
        else:
            found = [one for one in [ledger.commitments.one(args.id)] if one is not None]
    finally:
        ledger.close()
    if args.id is not None and not found:
        print(f"there is no request {args.id}: venturi commitment", file=sys.stderr)
        return 1
    if args.json:
        print(as_json([fields(one) for one in found]))
    elif args.id is not None:
        show(found[0])
    elif not found:
        print("nobody has asked for storage commitment")
    else:
        made = table("storage commitment", "id>", "at", "who asks whom", "state", "instances>", "how it went")
        for one in found:
            state = f"[red]{one.state}[/]" if one.state == "refused" else one.state
            made.add_row(
                str(one.id),
                clock(one.at),
                escape(asks(one)),
                state,
                f"{len(one.references):,}",
                escape(how(one)),
            )
        console.print(made)
    return 0


def fields(one: Commitment) -> dict[str, object]:
    """A request as plain fields."""
    references = [
        {**asdict(reference), "reason": None if reason is None else f"{reason:04X}"}
        for _, reference, reason in one.references
    ]
    return {**asdict(one), "references": references}


def asks(one: Commitment) -> str:
    """Who asks whom."""
    return f"we ask {one.destination}" if one.destination else f"{one.peer} ({one.calling_ae}) asks us"


def how(one: Commitment) -> str:
    """What became of its instances, and what went wrong."""
    counts = Counter(word(reason) for _, _, reason in one.references)
    said = ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items()))
    return f"{said}; {one.detail}" if one.detail else said


def word(reason: int | None) -> str:
    """A Failure Reason in words."""
    if reason is None:
        return "not certain yet"
    return "committed" if reason == 0 else f"{reason:04X} {REASONS.get(reason, 'failed')}"


def show(one: Commitment) -> None:
    """Print one."""
    facts = table(f"request {one.id}", "", "")
    for name, value in (
        ("who", asks(one)),
        ("transaction", one.transaction_uid),
        ("state", one.state),
        ("asked", moment(one.at)),
        ("certain by", moment(one.until) + (" (past)" if one.until < time.time() else "")),
        ("tries to tell", str(one.tries) if one.tries else ""),
        ("detail", one.detail),
    ):
        if value:
            facts.add_row(name, escape(value))
    console.print(facts)
    items = table("instances", "SOP instance", "what became of it")
    for _, reference, reason in one.references:
        items.add_row(reference.sop_instance_uid, word(reason))
    console.print(items)
