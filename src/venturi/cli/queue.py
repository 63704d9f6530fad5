"""``venturi queue``: what waits, is held or was delivered, with reasons; and what a person may do with it."""

import argparse
import getpass
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

from rich.markup import escape
from rich.progress import Progress

from venturi import node
from venturi.cli.common import add_config_option, load_config
from venturi.cli.status import living, show_closed, show_troubles
from venturi.cli.tables import NO_BREAK, PROOFS, as_json, clock, console, lost, moment, saving, short, table
from venturi.config.schema import Config
from venturi.config.values import duration_of
from venturi.console.port import done
from venturi.dataset.syntaxes import lookup
from venturi.deliver.port import Ending
from venturi.ledger.port import DeliveryRow, Filter, InstanceRow, Ledger, State, Verb
from venturi.model import Proof

NAME = "queue"
HELP = "list deliveries, show one; retry, resend, hold, release, drop, decide anew, export"
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
  venturi queue hold --destination pacs          what waits for it waits for you, until
  venturi queue release --destination pacs       ... it may go on; also what a rule holds, as received
  venturi queue redecide --older 1h --dry-run    how many would be decided anew by the rules as they are now
  venturi queue retry --redecide --older 1h      the same, really
  venturi queue drop 17 --yes                    give one up: its bytes go when their time has passed
  venturi queue export /media/usb --study 1.2.840.1 --original
  venturi queue journal                          who did what, and when
  venturi queue ls --state all --sop 2.25.1      what a SOP Instance UID is: the one received, or a lossy copy's

exit codes: 0 done, 1 not all of it could be done, 2 not without saying which
"""
STATES = ("pending", "held", "delivered", "committed", "dropped", "all")
VERBS = {
    Verb.RETRY: ("make held and waiting deliveries due now, and decide held instances anew", "are due now"),
    Verb.RESEND: ("deliver again, delivered ones too", "deliveries will be sent again"),
    Verb.HOLD: ("let what waits wait for a person", "are held"),
    Verb.RELEASE: ("let held deliveries go on, whatever holds them", "go on"),
    Verb.REDECIDE: ("decide anew, by the rules as they are now", "are decided anew"),
    Verb.DROP: ("give up what waits or is held", "are given up"),
}
"""What each does, and what is said of how many."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.epilog = EXAMPLE
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    ls = actions.add_parser("ls", help="list deliveries and held instances")
    add_filter(ls)
    ls.add_argument("--state", choices=STATES, help="default: pending and held")
    ls.add_argument("--limit", type=int, default=100, help="at most so many of each state (default 100)")
    ls.add_argument("--json", action="store_true", help="JSON instead of a table")
    show = actions.add_parser("show", help="one delivery and its attempts")
    show.add_argument("id", type=int, help="the delivery's number, from ls")
    show.add_argument("--json", action="store_true", help="JSON instead of a table")
    for verb, (words, _) in VERBS.items():
        action = actions.add_parser(verb.value, help=words)
        action.add_argument("ids", type=int, nargs="*", help="deliveries' numbers")
        add_filter(action)
        action.add_argument("--state", choices=STATES[:-1], default="", help="only in this state")
        action.add_argument("-n", "--dry-run", action="store_true", help="change nothing, say how many")
        if verb is Verb.RETRY:
            action.add_argument(
                "--redecide", action="store_true", help="by the rules as they are now: redecide"
            )
        if verb is Verb.DROP:
            action.add_argument("--yes", action="store_true", help="really")
        add_config_option(action)
    export = actions.add_parser("export", help="copy objects to a folder; nothing is changed")
    export.add_argument(
        "folder", type=Path, help="where to: STUDY/SERIES/INSTANCE.dcm; made if it is missing"
    )
    export.add_argument("ids", type=int, nargs="*", help="deliveries' numbers")
    add_filter(export)
    export.add_argument("--state", choices=STATES[:-1], default="", help="only in this state")
    export.add_argument("--original", action="store_true", help="as received, not what was made of it")
    journal = actions.add_parser("journal", help="who did what")
    journal.add_argument("--limit", type=int, default=50, help="at most so many (default 50)")
    journal.add_argument("--json", action="store_true", help="JSON instead of a table")
    for action in (ls, show, export, journal):
        add_config_option(action)


def add_filter(parser: argparse.ArgumentParser) -> None:
    """Options that choose deliveries."""
    parser.add_argument("--destination", default="", help="only to this destination")
    parser.add_argument("--study", default="", metavar="UID", help="only of this study")
    parser.add_argument("--sop", default="", metavar="UID", help="only this SOP Instance, or this lossy copy")
    parser.add_argument(
        "--conflict", action="store_true", help="only where another instance has the same UID and other bytes"
    )
    parser.add_argument(
        "--older", type=_age, metavar="AGE", help="only what came longer ago, such as 2h or 7d"
    )
    parser.add_argument("--newer", type=_age, metavar="AGE", help="only what came since")


def _age(text: str) -> float:
    try:
        return duration_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def meant(args: argparse.Namespace, limit: int = 1 << 30) -> Filter:
    """The filter that the options say."""
    now = time.time()
    return Filter(
        ids=tuple(getattr(args, "ids", ())),
        destination=args.destination,
        state=args.state or "",
        study_instance_uid=args.study,
        sop_instance_uid=args.sop,
        conflict=args.conflict,
        received_before=None if args.older is None else now - args.older,
        received_after=None if args.newer is None else now - args.newer,
        limit=limit,
    )


def run(args: argparse.Namespace) -> int:
    """Do the action."""
    config = load_config(args)
    ledger = node.ledger_of(config)
    try:
        if args.action in set(Verb):
            verb = Verb.REDECIDE if getattr(args, "redecide", False) else Verb(args.action)
            code = act(config, ledger, verb, args)
            if code != 2 and not args.dry_run:
                node.wake(config, hurry=args.action == Verb.RETRY)
            return code
        if args.action == "export":
            return export(config, ledger, args)
        if args.action == "ls":
            return ls(config, ledger, args)
        return {"show": show, "journal": show_journal}[args.action](ledger, args)
    finally:
        ledger.close()


def ls(config: Config, ledger: Ledger, args: argparse.Namespace) -> int:
    """List."""
    # Held ones first, and each state with a limit of its own: a backlog must not hide what waits for a person.
    states = {None: ("held", "pending"), "all": ("",)}.get(args.state, (args.state,))
    limit = max(args.limit, 0)
    which = replace(meant(args, limit + 1), state="")
    found = [ledger.deliveries(replace(which, state=state)) for state in states]
    rows = [row for some in found for row in some[:limit]]
    held = []
    if not args.destination and args.state in {None, "held", "all"}:
        held = ledger.instances(replace(which, state="held"))
    more = [state or "all" for state, some in zip(states, found, strict=True) if len(some) > limit]
    more += ["held instances"] * (len(held) > limit)
    held = held[:limit]
    if args.json:
        print(as_json({"deliveries": rows, "held_instances": held}))
    else:
        if not rows and not held and not more:
            print(
                "nothing waits and nothing is held"
                if which == Filter(limit=which.limit) and args.state is None
                else "nothing of that kind"
            )
        if rows:
            console.print(delivery_table(rows))
        if held:
            console.print(held_table(held))
        tell_why(config, {row.destination for row in rows if row.state == State.PENDING})
    if more:
        print(f"not all: more than {limit} of {', '.join(more)}; --limit shows more", file=sys.stderr)
    if not rows and (words := unknown(config, args.destination)):
        print(words, file=sys.stderr)
    return 0


def tell_why(config: Config, waiting: set[str]) -> None:
    """Say which of these destinations, or members of theirs, take nothing, and why."""
    running = living(config.node.data)
    if waiting and not running:
        console.print("[red]not running[/]: nothing is delivered")
    show_troubles(config, running, waiting)
    members = {each for name in waiting for each in config.groups.get(name, ())}
    show_closed(config, sorted((waiting | members) & set(config.destinations)))


def unknown(config: Config, destination: str) -> str:
    """Why nothing waits for a destination of that name, in words; empty where there is nothing to say."""
    if destination and destination not in config.destinations:
        known = ", ".join(config.destinations) or "none"
        return f"the configuration has no destination {destination!r} (there is: {known})"
    if groups := [name for name, members in config.groups.items() if destination in members]:
        return f"{destination} gets what waits for {', '.join(groups)}, too: that is listed under that name"
    return ""


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
    mark += ", not by the rule" if row.instead else ""
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
        ("not by the rule", row.instead),
        ("sent", "the original: the destination does not take what was encoded" if row.sent_original else ""),
        ("size", f"{row.size_before:,} -> {row.size_after:,} bytes"),
        ("status", row.status),
        ("detail", row.detail),
        ("next try", moment(row.due_at) if row.state == "pending" else ""),
    ):
        if value:
            facts.add_row(name, escape(value))
    console.print(facts)
    tries = table("attempts", "at", "took>", "ended", "status", "detail")
    for attempt in attempts:
        ended = f"{attempt.state}, as the original" if attempt.sent_original else str(attempt.state)
        tries.add_row(
            moment(attempt.at), f"{attempt.duration_s:.2f} s", ended, attempt.status, escape(attempt.detail)
        )
    console.print(tries)
    return 0


def act(config: Config, ledger: Ledger, verb: Verb, args: argparse.Namespace) -> int:
    """Do a verb, and say how many."""
    which = meant(args)
    everything = which == Filter(limit=which.limit)
    if everything and verb is not Verb.RETRY:
        print(
            "say which: numbers, --destination, --state, --study, --sop, --older or --newer", file=sys.stderr
        )
        return 2
    if verb is Verb.DROP and not (args.yes or args.dry_run):
        count = ledger.act(verb, which, getpass.getuser(), dry=True)
        print(f"{count} would be given up, for good: add --yes", file=sys.stderr)
        return 2
    count = ledger.act(verb, which, getpass.getuser(), dry=args.dry_run)
    print(f"{count} {VERBS[verb][1]}" + (" (not really: --dry-run)" if args.dry_run else ""))
    if verb in {Verb.DROP, Verb.REDECIDE} and (left := ledger.under_way(which)):
        print(
            f"{left} are on their way at this moment, and left as they are: say it again when they have ended"
        )
    if verb is Verb.HOLD and not args.dry_run and (left := ledger.under_way(which)):
        print(f"of these, {left} are on their way at this moment, and arrive, or are held then")
    if missing := sorted(set(args.ids) - {row.id for row in known_of(ledger, args.ids)}):
        numbers = ", ".join(map(str, missing))
        print(f"there is no delivery {numbers}: venturi queue ls --state all", file=sys.stderr)
        return 1
    if verb is Verb.RESEND and not count and ledger.deliveries(replace(which, limit=1)):
        print(
            "none of these can be sent again: their bytes have been removed (node.retain), or a person holds or "
            "gave them up (name their numbers): venturi queue ls --state all",
            file=sys.stderr,
        )
        return 1
    if not count and (words := unknown(config, args.destination)):
        print(words, file=sys.stderr)
        return 1
    return 0


def known_of(ledger: Ledger, ids: list[int]) -> list[DeliveryRow]:
    """Those deliveries of these that there are."""
    return ledger.deliveries(Filter(ids=tuple(ids), limit=len(ids))) if ids else []


def export(config: Config, ledger: Ledger, args: argparse.Namespace) -> int:
    """Copy what is meant to a folder; 1 where something could not be."""
    which = meant(args)
    jobs = ledger.jobs(which)
    held = [] if which.ids or which.destination else ledger.instances(replace(which, state="held"))
    copied = 0
    total = len(jobs) + len(held)
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task("copying", total=total)
        for receipt in node.export(
            config, args.folder, jobs, [row.instance for row in held], original=args.original
        ):
            progress.advance(bar)
            if receipt.ending is Ending.DELIVERED:
                copied += 1
            else:
                number = f"delivery {receipt.delivery}" if receipt.delivery else "a held instance"
                console.print(f"[red]not copied[/] {number}: {escape(receipt.detail)}", soft_wrap=True)
    print(f"{copied} of {total} copied to {args.folder}")
    return 0 if copied == total else 1


def show_journal(ledger: Ledger, args: argparse.Namespace) -> int:
    """Show what persons did."""
    entries = ledger.journal(args.limit)
    if args.json:
        print(as_json(entries))
        return 0
    made = table("journal", "at", "who", "did", "to", "how many>")
    for entry in entries:
        fields = {name: value for name, value in asdict(entry.which).items() if value and name != "limit"}
        for name in ("received_before", "received_after"):
            if name in fields:
                fields[name] = moment(fields[name])
        which = ", ".join(f"{name} {value}" for name, value in fields.items()) or "all"
        made.add_row(moment(entry.at), entry.who, entry.verb, which, f"{entry.changed:,}")
    console.print(made)
    return 0
