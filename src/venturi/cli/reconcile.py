"""``venturi reconcile``: everything that was received, and what became of it, study by study."""

import argparse
import csv
import sys
from dataclasses import asdict

from venturi import node
from venturi.cli.common import add_config_option, load_config
from venturi.cli.tables import as_json, clock, console, moment, table
from venturi.console.port import Reconciled
from venturi.ledger.port import StudyRow

NAME = "reconcile"
HELP = "account for everything received: what was transcoded, delivered where, committed, and what is unaccounted for"
EXAMPLE = """\
examples:
  venturi reconcile -c /etc/venturi.yaml
  venturi reconcile --study 1.2.840.1
  venturi reconcile --csv > studies.csv

exit code 1 means that something is unaccounted for: its id is named
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.epilog = EXAMPLE
    add_config_option(parser)
    parser.add_argument("--study", default="", metavar="UID", help="only this study")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="a line for each study, destination and state")
    form.add_argument("--json", action="store_true", help="JSON instead of a table")


def run(args: argparse.Namespace) -> int:
    """Account for it; 1 where something is unaccounted for."""
    found = node.reconcile(load_config(args), args.study)
    if args.json:
        print(as_json(fields(found)))
    elif args.csv:
        write_csv(found)
    else:
        show(found)
    for words, ids in (
        ("in the ledger, but its bytes are not in the spool", [instance.id for instance in found.missing]),
        ("in the spool, but not in the ledger (venturi ledger rebuild)", found.unrecorded),
    ):
        for each in ids:
            print(f"unaccounted for: {each}: {words}", file=sys.stderr)
    return 1 if found.unaccounted else 0


def fields(found: Reconciled) -> dict[str, object]:
    """The same as plain fields."""
    return {
        "studies": [
            {
                **{name: value for name, value in asdict(row).items() if name != "deliveries"},
                "deliveries": [
                    {"destination": destination, "state": state, "count": count}
                    for (destination, state), count in sorted(row.deliveries.items())
                ],
            }
            for row in found.studies
        ],
        "missing": [instance.id for instance in found.missing],
        "unrecorded": found.unrecorded,
        "unaccounted": found.unaccounted,
    }


def show(found: Reconciled) -> None:
    """Print a table."""
    if not found.studies:
        print("nothing was received")
        return
    made = table("studies", "study", "last", "received>", "transcoded>", "what became of it")
    for row in found.studies:
        study = row.study_instance_uid or "[dim](without, or not read yet)[/]"
        made.add_row(study, clock(row.last_at), f"{row.received:,}", f"{row.transcoded:,}", words(row))
    console.print(made)
    console.print(
        f"[red]{found.unaccounted:,} unaccounted for[/]"
        if found.unaccounted
        else "nothing is unaccounted for"
    )


def words(row: StudyRow) -> str:
    """What became of a study's instances."""
    said = []
    for name, count in (
        ("not decided yet", row.waiting),
        ("[red]held[/]", row.held),
        ("discarded", row.discarded),
        ("removed after delivery", row.gone),
        ("[red]same UID, other bytes[/]", row.conflicts),
    ):
        if count:
            said.append(f"{name}: {count:,}")
    for (destination, state), count in sorted(row.deliveries.items()):
        shown = f"[red]{state}[/]" if state == "held" else state
        said.append(f"{destination}: {count:,} {shown}")
    return "\n".join(said)


def write_csv(found: Reconciled) -> None:
    """A line for each study and each destination and state."""
    out = csv.writer(sys.stdout)
    counts = ("received", "transcoded", "waiting", "held", "discarded", "gone", "conflicts")
    out.writerow(["study_instance_uid", "first", "last", *counts, "destination", "state", "deliveries"])
    for row in found.studies:
        head = [row.study_instance_uid, moment(row.first_at), moment(row.last_at)]
        head += [getattr(row, name) for name in counts]
        for (destination, state), count in sorted(row.deliveries.items()) or [(("", ""), 0)]:
            out.writerow([*head, destination, state, count])
