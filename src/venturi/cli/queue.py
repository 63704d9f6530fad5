"""``venturi queue``: what waits, is held or was delivered, with reasons; try again, send again."""

import argparse
import getpass
import sys
from dataclasses import replace

from rich.markup import escape

from venturi import node
from venturi.cli.common import add_config_option, load_config
from venturi.cli.tables import NO_BREAK, PROOFS, as_json, clock, console, lost, moment, saving, short, table
from venturi.console.port import done
from venturi.dataset.syntaxes import lookup
from venturi.ledger.port import DeliveryRow, Filter, InstanceRow, Ledger, State
from venturi.model import Proof

NAME = "queue"
HELP = "list deliveries, show one, try held ones again, send delivered ones again"
EXAMPLE = """\
examples:
  venturi queue ls                               what waits or is held, newest first
  venturi queue ls --state all --limit 20        delivered ones too
  venturi queue show 17                          one delivery, with every attempt
  venturi queue retry --destination pacs         try all that wait or are held for it, now
  venturi queue retry                            everything that waits, and decide held instances (no-route) anew
  venturi queue retry 17                         also what a rule holds (on_failure: hold, beyond: hold): it is sent
                                                 as received
  venturi queue resend 17 18                     send again what was delivered
  venturi queue resend --study 1.2.840.1 --destination pacs
  venturi queue ls --state all --sop 2.25.1      what a SOP Instance UID is: the one received, or a lossy copy's
"""
STATES = ("pending", "held", "delivered", "committed", "all")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.epilog = EXAMPLE
    actions = parser.add_subparsers(dest="action", metavar="ls|show|retry|resend", required=True)
    ls = actions.add_parser("ls", help="list deliveries and held instances")
    add_filter(ls)
    ls.add_argument("--state", choices=STATES, help="default: pending and held")
    ls.add_argument("--limit", type=int, default=100, help="at most so many of each state (default 100)")
    ls.add_argument("--json", action="store_true", help="JSON instead of a table")
    show = actions.add_parser("show", help="one delivery and its attempts")
    show.add_argument("id", type=int, help="the delivery's number, from ls")
    show.add_argument("--json", action="store_true", help="JSON instead of a table")
    retry = actions.add_parser(
        "retry", help="make held and waiting deliveries due now, and decide held instances anew"
    )
    retry.add_argument("ids", type=int, nargs="*", help="deliveries' numbers")
    add_filter(retry)
    resend = actions.add_parser("resend", help="deliver again, delivered ones too")
    resend.add_argument("ids", type=int, nargs="*", help="deliveries' numbers")
    add_filter(resend)
    for action in (ls, show, retry, resend):
        add_config_option(action)


def add_filter(parser: argparse.ArgumentParser) -> None:
    """Options that choose deliveries."""
    parser.add_argument("--destination", default="", help="only to this destination")
    parser.add_argument("--study", default="", metavar="UID", help="only of this study")
    parser.add_argument("--sop", default="", metavar="UID", help="only this SOP Instance, or this lossy copy")


def run(args: argparse.Namespace) -> int:
    """Do the action."""
    config = load_config(args)
    ledger = node.ledger_of(config)
    try:
        code: int = {"ls": ls, "show": show, "retry": again, "resend": again}[args.action](ledger, args)
        if args.action in {"retry", "resend"} and code == 0:
            node.wake(config)
        return code
    finally:
        ledger.close()


def ls(ledger: Ledger, args: argparse.Namespace) -> int:
    """List."""
    # Held ones first, and each state with a limit of its own: a backlog must not hide what waits for a person.
    states = {None: ("held", "pending"), "all": ("",)}.get(args.state, (args.state,))
    meant = Filter(study_instance_uid=args.study, sop_instance_uid=args.sop, limit=args.limit)
    rows = [
        row
        for state in states
        for row in ledger.deliveries(replace(meant, destination=args.destination, state=state))
    ]
    held = []
    if not args.destination and args.state in {None, "held", "all"}:
        held = ledger.instances(replace(meant, state="held"))
    if args.json:
        print(as_json({"deliveries": rows, "held_instances": held}))
        return 0
    if not rows and not held:
        print("nothing waits and nothing is held")
    if rows:
        console.print(delivery_table(rows))
    if held:
        console.print(held_table(held))
    return 0


def delivery_table(rows: list[DeliveryRow]) -> object:
    """Deliveries, a line each, readable at 80 columns."""
    made = table("deliveries", "id>", "received", "what", "to", "state", "how it went")
    for row in rows:
        tries = f", {row.tries} tries" if row.tries > 1 else ""
        state = f"{row.state}{tries}".replace(" ", NO_BREAK)
        made.add_row(
            str(row.id),
            clock(row.received_at),
            f"{row.modality or 'object'} from {row.peer}",
            row.destination,
            f"[red]{state}[/]" if row.state == State.HELD else state,
            escape(how(row)),
        )
    return made


def how(row: DeliveryRow) -> str:
    """How it went, or what goes, in few words."""
    if row.state in {State.HELD, State.PENDING} and row.status:
        return f"{row.status} {row.detail}".strip()
    if row.reason:
        return done(row.reason, row.proof)
    if row.sent_original:
        return f"as received: not taken as {short(row.transfer_syntax)}"
    mark = {Proof.BOUND: ", lossy", Proof.NONE: ", not proven"}.get(Proof(row.proof), "")
    return f"{short(row.transfer_syntax)} {saving(row.size_before, row.size_after)}{mark}"


def held_table(rows: list[InstanceRow]) -> object:
    """Held instances, a line each."""
    made = table("held instances", "id", "received", "from", "what", "why")
    for row in rows:
        envelope = row.instance.envelope
        made.add_row(
            row.instance.id, moment(envelope.received_at), envelope.peer, row.modality, f"[red]{row.held}[/]"
        )
    return made


def show(ledger: Ledger, args: argparse.Namespace) -> int:
    """Show one."""
    rows = ledger.deliveries(Filter(ids=(args.id,)))
    if not rows:
        print(f"there is no delivery {args.id}: venturi queue ls --state all", file=sys.stderr)
        return 1
    attempts = ledger.attempts(args.id)
    if args.json:
        print(as_json({"delivery": rows[0], "attempts": attempts}))
        return 0
    row = rows[0]
    facts = table(f"delivery {row.id}", "", "")
    for name, value in (
        ("state", f"{row.state}, {row.tries} tries"),
        ("instance", row.instance_id),
        ("SOP instance", row.sop_instance_uid),
        ("study", row.study_instance_uid),
        ("received", f"{moment(row.received_at)} from {row.peer}"),
        ("as", str(lookup(row.source_syntax))),
        ("to", f"{row.destination} by rule {row.rule!r}"),
        ("encoded", f"{lookup(row.transfer_syntax)}, {PROOFS[Proof(row.proof)]}"),
        ("lossy", lost(row.lossy, row.sop_instance_uid) if row.lossy else ""),
        ("as received because", row.reason),
        ("in words", row.reason_detail),
        ("sent", "the original: the destination does not take what was encoded" if row.sent_original else ""),
        ("size", f"{row.size_before:,} -> {row.size_after:,} bytes"),
        ("status", row.status),
        ("detail", row.detail),
        ("next try", moment(row.due_at) if row.state == "pending" else ""),
    ):
        if value:
            facts.add_row(name, value)
    console.print(facts)
    tries = table("attempts", "at", "took>", "ended", "status", "detail")
    for attempt in attempts:
        ended = f"{attempt.state}, as the original" if attempt.sent_original else str(attempt.state)
        tries.add_row(
            moment(attempt.at), f"{attempt.duration_s:.2f} s", ended, attempt.status, attempt.detail
        )
    console.print(tries)
    return 0


def again(ledger: Ledger, args: argparse.Namespace) -> int:
    """Retry or resend, and say how many."""
    which = Filter(
        ids=tuple(args.ids),
        destination=args.destination,
        study_instance_uid=args.study,
        sop_instance_uid=args.sop,
        limit=1 << 30,
    )
    everything = not (args.ids or args.destination or args.study or args.sop)
    who = getpass.getuser()
    if args.action == "resend":
        if everything:
            print("say which: numbers, --destination, --study or --sop", file=sys.stderr)
            return 2
        print(f"{ledger.resend(which, who)} deliveries will be sent again")
        return 0
    print(f"{ledger.retry(which, who)} are due now")
    return 0
