"""``venturi explain``: what would become of a file, and why; really encoded, nothing kept."""

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.markup import escape

from venturi import node
from venturi.cli.common import add_config_option, load_config
from venturi.cli.files import instance_of, walk
from venturi.cli.tables import PROOFS, as_json, console, lost, saving, size
from venturi.config.schema import Config
from venturi.dataset.facts import read_header
from venturi.dataset.syntaxes import lookup
from venturi.errors import ConfigError, Malformed
from venturi.ledger.port import TRUSTED_S, holds
from venturi.model import Acceptance, Instance, Outcome, Target
from venturi.rules.condition import Seen
from venturi.rules.decide import Explanation
from venturi.rules.decide import explain as explain_rules
from venturi.rules.facts import Facts
from venturi.rules.fit import known_of, settle

NAME = "explain"
HELP = "say what would become of a file, for each destination, which rule decides, and why the others do not"
EXAMPLE = """\
examples:
  venturi explain image.dcm
  venturi explain image.dcm --calling CT1 --called VENTURI -c /etc/venturi.yaml
  venturi explain study/ --json

The image is really encoded and proven, in a temporary folder; nothing is stored or sent. Values of the header are
shown on the terminal where a rule looks at them. What a peer has refused since yesterday counts, as it does in the
node: then something else than the rule's is said to go, and why.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.epilog = EXAMPLE
    add_config_option(parser)
    parser.add_argument("files", metavar="FILE", type=Path, nargs="+", help="files and folders")
    parser.add_argument("--calling", default="", metavar="AE", help="as if sent by this AE title")
    parser.add_argument(
        "--called", default="", metavar="AE", help="as if sent to this AE title (default: the first)"
    )
    parser.add_argument("--peer", default="", help="as if sent by this peer of the configuration")
    parser.add_argument("--json", action="store_true", help="JSON instead of text")


def run(args: argparse.Namespace) -> int:
    """Explain each; 1 where one is no DICOM file."""
    config = load_config(args)
    acceptances = node.acceptances(config, time.time() - TRUSTED_S)
    called = args.called or config.node.ae_title[0]
    if args.peer and args.peer not in config.peers:
        known = ", ".join(config.peers) or "none"
        raise ConfigError([f"{config.path}: there is no peer {args.peer!r} (there is: {known})"])
    peer = args.peer or node.peer_of_title(config, args.calling)
    code, told = 0, []
    for path in walk(args.files):
        try:
            instance = instance_of(path, args.calling, called, peer)
        except (Malformed, OSError) as error:
            code = 1
            told.append({"file": str(path), "error": str(error)})
            if not args.json:
                console.print(f"[bold]{path}[/]\n  [red]not DICOM:[/] {error}", soft_wrap=True)
            continue
        explanation, outcomes = explain(config, path, instance, acceptances)
        if args.json:
            told.append(fields(path, explanation, outcomes))
        else:
            show(path, instance, explanation, outcomes)
    if args.json:
        print(as_json(told))
    return code


def explain(
    config: Config, path: Path, instance: Instance, acceptances: Sequence[Acceptance] = ()
) -> tuple[Explanation, dict[str, tuple[Outcome, float]]]:
    """Ask the rules and make each target; outcomes and seconds by target digest."""
    engine = node.engine()
    envelope = instance.envelope
    of_its_class = [each for each in acceptances if each.sop_class_uid == envelope.sop_class_uid]
    known = known_of(of_its_class, config.groups)
    with read_header(path) as header:
        facts = Facts(header, instance.envelope, instance.size_bytes)
        explanation = explain_rules(config.rules, config.routes, facts, known)
    outcomes = {}
    with tempfile.TemporaryDirectory(prefix="venturi-explain-") as folder:

        def make(target: Target) -> Outcome:
            begun = time.perf_counter()
            outcome = engine.transcode(path, target, Path(folder) / "rendition.dcm")
            outcomes[target.digest] = (outcome, time.perf_counter() - begun)
            (Path(folder) / "rendition.dcm").unlink(missing_ok=True)
            return outcome

        asked = explanation.destinations
        decisions, _ = settle(
            [reason.decision for reason in asked], envelope.transfer_syntax, known, make, holds
        )
    settled = (replace(reason, decision=decision) for reason, decision in zip(asked, decisions, strict=True))
    return replace(explanation, destinations=tuple(settled)), outcomes


def became(outcome: Outcome, sop_instance_uid: str = "") -> str:
    """What a target became, in words with figures; the UID is the original's."""
    if outcome.transcoded:
        before, after = outcome.pixel_bytes_before, outcome.pixel_bytes_after
        proof = PROOFS[outcome.proof]
        if outcome.lossy:
            proof += f" ({lost(outcome.lossy, sop_instance_uid)})"
        detail = f"; {outcome.detail}" if outcome.detail else ""
        if not before:
            return f"{lookup(outcome.transfer_syntax)}: every value proven equal; there are no pixels{detail}"
        return (
            f"{lookup(outcome.transfer_syntax)}: pixel data {size(before)} -> {size(after)} ({saving(before, after)}, "
            f"{before / max(after, 1):.2f}:1), {outcome.frames} frames, {proof} [{outcome.codec}]{detail}"
        )
    detail = f": {outcome.detail}" if outcome.detail else ""
    return f"as received ({lookup(outcome.transfer_syntax)}), because {outcome.reason}{detail}"


def fields(
    path: Path, explanation: Explanation, outcomes: dict[str, tuple[Outcome, float]]
) -> dict[str, Any]:
    """The same as plain fields."""
    return {
        "file": str(path),
        "held": explanation.verdict.held,
        "discarded": explanation.verdict.discarded,
        "routes": explanation.routes,
        "destinations": [
            {
                "decision": reason.decision,
                "asked": reason.asked,
                "outcome": outcomes[reason.decision.target.digest][0],
                "held": holds(reason.decision, outcomes[reason.decision.target.digest][0]),
                "seconds": round(outcomes[reason.decision.target.digest][1], 4),
            }
            for reason in explanation.destinations
        ],
    }


def say(text: str, style: str = "") -> None:
    """Print text as it is: what comes from a header is never markup."""
    console.print(escape(text), style=style, soft_wrap=True)


def show(
    path: Path, instance: Instance, explanation: Explanation, outcomes: dict[str, tuple[Outcome, float]]
) -> None:
    """Print it."""
    say(str(path), "bold")
    say(f"  came as {lookup(instance.envelope.transfer_syntax)}, {size(instance.size_bytes)}")
    for route in explanation.routes:
        word = "applies" if route.matched else "does not apply"
        say(
            f"  route {route.number} to {', '.join(route.to) or 'nowhere'} {word}{tests(route.tests)}",
            "" if route.matched else "dim",
        )
    if explanation.verdict.held:
        say(f"  held: {explanation.verdict.held}", "red")
    if explanation.verdict.discarded:
        say("  discarded: the routes that apply name no destination", "yellow")
    for reason in explanation.destinations:
        decision = reason.decision
        outcome, seconds = outcomes[decision.target.digest]
        say(f"  -> {decision.destination}", "bold")
        for asked in reason.asked:
            style = "green" if asked.matched else "dim"
            say(
                f"     rule {asked.rule!r} {'wins' if asked.matched else 'does not match'}{tests(asked.tests)}",
                style,
            )
        if not any(asked.matched for asked in reason.asked):
            say("     no rule matches: as received", "dim")
        if decision.instead:
            say(f"     not by the rule: {decision.instead}", "yellow")
        uid = instance.envelope.sop_instance_uid
        say(f"     {became(outcome, uid)}  ({seconds * 1000:.0f} ms)")
        if holds(decision, outcome):
            say("     held: a person decides whether it is sent as received", "red")


def tests(seen: Sequence[Seen]) -> str:
    """The tests of a condition in words, with what was seen."""
    if not seen:
        return ""
    return ": " + "; ".join(f"{'yes' if test.held else 'NO'} {test.text} (saw {test.saw})" for test in seen)
