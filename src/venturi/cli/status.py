"""``venturi status``: the node at a glance."""

import argparse
import json
import time
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from rich.markup import escape

from venturi import destinations, node
from venturi.cli.common import add_config_option, load_config
from venturi.cli.tables import as_json, console, moment, saving, size, table
from venturi.config.schema import Config, GroupDestination
from venturi.console.port import Glance, done
from venturi.dataset.syntaxes import lookup
from venturi.process import lives

NAME = "status"
HELP = "show what runs, what was received, what became of it, and what waits"
EXAMPLE = """\
examples:
  venturi status -c /etc/venturi.yaml
  venturi status --json | jq .held

exit code 1 means that the node is not running
"""

OVERDUE_S = 86400.0
"""So much longer than asked originals may be kept before that is said."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.epilog = EXAMPLE
    add_config_option(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")


def run(args: argparse.Namespace) -> int:
    """Print it; 1 where no node runs."""
    config = load_config(args)
    running = living(config.node.data)
    if not (config.node.data / "ledger.db").exists():
        print("nothing here yet: the node has not run on", config.node.data)
        return 1
    ledger = node.ledger_of(config)
    glance = Glance(ledger.totals(), node.free_fraction(config))
    ledger.close()
    if args.json:
        troubles = destinations.troubles_of(config) if delivers(running) else []
        print(as_json({**fields(glance, running), "troubles": troubles}))
    else:
        show(glance, running)
        least = config.node.limits.min_free
        if glance.free_fraction < least:
            console.print(
                f"[red]nothing new is taken[/]: less than {least:.0%} of the spool is free (node.limits.min_free), "
                "and every association is rejected. What has been delivered goes sooner with a shorter "
                "node.retain.after, at SIGHUP",
                soft_wrap=True,
            )
        show_troubles(config, running)
        since, retain = glance.totals.oldest_kept_at, config.node.retain
        if since is not None and since + retain.after_s + OVERDUE_S < time.time():
            console.print(
                f"originals are kept since {moment(since)}, longer than node.retain asks "
                f"({retain.original}): nothing is committed of them, or they wait, or are held. venturi reconcile",
                soft_wrap=True,
            )
        show_closed(config, config.destinations)
    return 0 if running else 1


def show_troubles(config: Config, running: dict[str, Any], only: Collection[str] | None = None) -> None:
    """A line for each destination, or each of these, that takes nothing, and for members of groups; why."""
    for trouble in destinations.troubles_of(config) if delivers(running) else ():
        if only is not None and trouble.destination.partition("/")[0] not in only:
            continue
        console.print(
            f"[red]{trouble.destination} takes nothing[/] since {moment(trouble.since)} "
            f"({trouble.failures} tries): {escape(trouble.why)}",
            soft_wrap=True,
        )


def show_closed(config: Config, names: Iterable[str]) -> None:
    """A line for each of these destinations that gets nothing at this hour."""
    for name in names:
        wanted = config.destinations[name]
        if not isinstance(wanted, GroupDestination) and not wanted.open_at(time.localtime()):
            hours = ", ".join(map(str, wanted.between))
            console.print(f"{name} gets nothing now: between {hours} only")


def living(data: Path) -> dict[str, Any]:
    """What the running supervisor left in ``run/node.json``; empty where it does not run."""
    try:
        state: dict[str, Any] = json.loads((data / "run" / "node.json").read_text())
    except FileNotFoundError:
        return {}
    return state if lives(state["pid"]) else {}


def delivers(running: dict[str, Any]) -> bool:
    """Whether it has the role whose word on destinations counts."""
    return "deliver" in running.get("roles", {})


def fields(glance: Glance, running: dict[str, Any]) -> dict[str, Any]:
    """The same as plain fields."""
    totals = glance.totals
    return {
        "running": running,
        "instances": totals.instances,
        "deliveries": [
            {"destination": destination, "state": state, "count": count}
            for (destination, state), count in totals.deliveries.items()
        ],
        "renditions": [
            {
                "transfer_syntax": uid,
                "name": str(lookup(uid)),
                "reason": reason,
                "proof": proof,
                "count": count,
            }
            for (uid, reason, proof), count in totals.renditions.items()
        ],
        "bytes_received": totals.bytes_received,
        "pixel_bytes_before": totals.bytes_before,
        "pixel_bytes_after": totals.bytes_after,
        "waiting": glance.waiting,
        "held": glance.held,
        "conflicts": totals.conflicts,
        "oldest_kept_at": totals.oldest_kept_at,
        "commitments": [
            {"destination": destination, "state": state, "count": count}
            for (destination, state), count in totals.commitments.items()
        ],
        "free_fraction": round(glance.free_fraction, 4),
    }


def show(glance: Glance, running: dict[str, Any]) -> None:
    """Print tables."""
    totals = glance.totals
    if running:
        roles = "  ".join(f"{name} {pid}" for name, pid in running["roles"].items())
        console.print(f"[green]running[/] on {running['listen']}, pid {running['pid']}  [dim]({roles})[/]")
    else:
        console.print("[red]not running[/]")
    console.print(f"{sum(totals.instances.values())} instances, {size(totals.bytes_received)} received; "
                  f"{glance.free_fraction:.0%} of the spool free")  # fmt: skip
    if totals.bytes_before:
        change = saving(totals.bytes_before, totals.bytes_after)
        console.print(f"pixel data {size(totals.bytes_before)} -> {size(totals.bytes_after)} ({change})")
    if totals.oldest_pending_at is not None:
        console.print(f"oldest waiting since {moment(totals.oldest_pending_at)}")
    if totals.deliveries:
        deliveries = table("deliveries", "destination", "state", "count>")
        for (destination, state), count in sorted(totals.deliveries.items()):
            deliveries.add_row(destination, f"[red]{state}[/]" if state == "held" else state, f"{count:,}")
        console.print(deliveries)
    if totals.renditions:
        renditions = table("renditions", "transfer syntax", "what was done", "count>")
        for (uid, reason, proof), count in sorted(totals.renditions.items(), key=lambda item: -item[1]):
            renditions.add_row(str(lookup(uid)), done(reason, proof), f"{count:,}")
        console.print(renditions)
    if totals.commitments:
        said = ", ".join(
            f"{count:,} {state} ({f'we asked {destination}' if destination else 'by peers'})"
            for (destination, state), count in sorted(totals.commitments.items())
        )
        console.print(f"requests for storage commitment: {said}", soft_wrap=True)
    if totals.conflicts:
        console.print(
            f"[red]{totals.conflicts} instances[/] share their SOP Instance UID with other bytes: "
            "venturi queue ls --state all --conflict"
        )
    if glance.held:
        console.print(f"[red]{glance.held} held[/]: venturi queue ls --state held")
