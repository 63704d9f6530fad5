"""``venturi check``: is the configuration right, and what does it mean.

Prints who may send, where it goes and what each destination gets; every mistake goes to standard error as
``file:line:column: message``, and then the exit code is 2.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from venturi import node
from venturi.cli.common import add_config_option, load_config
from venturi.cli.tables import as_json, console, table
from venturi.config.schema import Accept, Config, FolderDestination, GroupDestination, Node, Peer, Rule
from venturi.dataset.dictionary import uids
from venturi.dataset.syntaxes import lookup
from venturi.errors import ConfigError
from venturi.model import OnFailure, Target
from venturi.rules.condition import AnyOf, Clause, Condition, Fact, Operator
from venturi.rules.decide import DEFAULT_RULE

NAME = "check"
HELP = "validate the configuration and say in words what it means"
EXAMPLE = """\
examples:
  venturi check
  venturi check -c /etc/venturi.yaml
  venturi check --json | jq .warnings

exit codes: 0 the configuration can be used (warnings are shown), 2 it can't: every mistake is on standard error as
file:line:column: message
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.epilog = EXAMPLE
    add_config_option(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")


def run(args: argparse.Namespace) -> int:
    """Load it and print what it means; 2 where it has mistakes."""
    try:
        node.check_packages()
        config = load_config(args)
        node.check_certificates(config)
    except ConfigError as error:
        print(error, file=sys.stderr)
        if args.json:
            print(as_json({"ok": False, "problems": error.problems}))
        return 2
    if args.json:
        print(as_json(fields(config)))
    else:
        console.print(summary(config))
    return 0


def summary(config: Config) -> RenderableType:
    """The whole configuration in words."""
    parts: list[RenderableType] = [
        head(config),
        Text(),
        senders(config),
        Text(),
        routes(config),
    ]
    for name in config.destinations:
        parts += [Text(), outcomes(config, name)]
    parts.append(Text())
    if config.warnings:
        count = len(config.warnings)
        parts.append(Text(f"{count} warning{'s' if count > 1 else ''}", style="bold yellow"))
        parts += [Text(warning, style="yellow") for warning in config.warnings]
    else:
        parts.append(Text("no warnings", style="green"))
    return Group(*parts)


def head(config: Config) -> RenderableType:
    """The node itself."""
    node = config.node
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    rows = {
        "configuration": f"{config.path} ({config.digest})",
        "AE title": ", ".join(node.ae_title),
        "listens on": f"{_address(node)}, {'TLS' if node.tls else 'plaintext'}",
        "status page": f"http://{_host(config.console.listen.host)}:{config.console.listen.port}/"
        if config.console
        else "off",
        "data": str(node.data),
        "limits": f"{node.limits.associations} associations; none new below {node.limits.min_free:.0%} free space",
        "keeps": f"originals {_days(node.retain.after_s)} after {_kept_until(node)}, "
        f"history {_days(node.retain.rows_s)}",
        "commitment": f"answered within {_days(node.commitment_s)}",
        "processes": f"{node.receivers} receivers, {node.workers} transcoding workers",
    }
    for label, value in rows.items():
        grid.add_row(label, Text(value))
    return grid


def senders(config: Config) -> RenderableType:
    """Who may send."""
    made = _table("peer", "AE title", "from", "it may send")
    for name, peer in config.peers.items():
        titles = ", ".join("any" if title == "*" else title for title in peer.ae_title)
        made.add_row(Text(name), Text(titles), Text(", ".join(_origins(peer))), Text(_accepted(peer.accept)))
    return Group(Text("Who may send (nobody else)", style="bold"), made)


def routes(config: Config) -> RenderableType:
    """Where it goes."""
    made = _table("if", "to")
    for route in config.routes:
        made.add_row(Text(_words(route.when)), Text(", ".join(route.to) or "nowhere: discarded"))
    return Group(_title("Where it goes", "every route that matches; what no route matches is held"), made)


def outcomes(config: Config, destination: str) -> RenderableType:
    """What one destination gets: the rules that can win for it, in their order."""
    made = _table("rule", "if", "it becomes")
    for rule in relevant(config, destination):
        made.add_row(
            Text(rule.name),
            Text(_words(for_destination(rule.when))),
            Text(becomes(rule.target, rule.on_failure)),
        )
    if not any(_always(rule) for rule in relevant(config, destination)):
        made.add_row(Text(DEFAULT_RULE), Text("no rule above matches"), Text("as received"))
    return Group(_title(f"What {destination} gets", where(config, destination)), made)


def where(config: Config, name: str) -> str:
    """Where a destination is."""
    destination = config.destinations[name]
    if isinstance(destination, FolderDestination):
        return f"folder {destination.folder}" + ("" if destination.commit else ", nothing is promised of it")
    if isinstance(destination, GroupDestination):
        names = ", ".join(destination.members)
        return (
            f"the first of {names} that works" if destination.first_of else f"spread over {names}, by study"
        )
    peer = config.peers[destination.dicom]
    asked = ", asked for storage commitment" if destination.commit else ""
    return f"DICOM to {peer.ae_title[0]} at {_host(peer.host or '')}:{peer.port}{asked}"


def relevant(config: Config, destination: str) -> Iterator[Rule]:
    """The rules that can win for a destination: up to one that always does, without those that ask for others."""
    for rule in config.rules:
        if not _excludes(rule.when, destination):
            yield rule
            if _always(rule):
                return


def for_destination(when: Condition) -> Condition:
    """A condition without what it says about the destination."""
    return Condition(tuple(clause for clause in when.clauses if not _about_destination(clause)))


def becomes(target: Target, on_failure: OnFailure = OnFailure.KEEP) -> str:
    """A target in words."""
    if target.transfer_syntax is None:
        return "as received"
    words = str(lookup(target.transfer_syntax))
    parameters = dict(target.parameters)
    shown = [
        f"{name} {_value(value)}"
        for name, value in parameters.items()
        if name not in ("from", "prove") and not name.startswith("lossy_")
    ]
    if isinstance(taken := parameters.get("from"), tuple):
        kinds = [entry for entry in taken if entry != "uncompressed" or "lossless" not in taken]
        shown.append(f"from {', '.join(str(lookup(str(kind))) for kind in kinds)}")
    if shown:
        words += f" ({', '.join(shown)})"
    if target.min_saving:
        words += f" if that saves {target.min_saving:.0%}"
    if "lossy_max_error" in parameters:
        words += _lossy_words(parameters)
    if parameters.get("prove") == "none":
        words += ", NOT PROVEN"
    return words + ("; held if it fails" if on_failure is OnFailure.HOLD else "")


def fields(config: Config) -> dict[str, Any]:
    """The same as plain fields."""
    node, listen = config.node, config.console and config.console.listen
    return {
        "ok": True,
        "file": config.path,
        "digest": config.digest,
        "node": {
            "ae_title": node.ae_title,
            "listen": _address(node),
            "tls": node.tls is not None,
            "data": node.data,
            "console": f"{_host(listen.host)}:{listen.port}" if listen else None,
        },
        "peers": {
            name: {
                "ae_title": peer.ae_title,
                "from": _origins(peer),
                "accept": {
                    **peer.accept.model_dump(exclude={"deny"}),
                    "deny": None if peer.accept.deny is None else peer.accept.deny.words(),
                },
            }
            for name, peer in config.peers.items()
        },
        "routes": [{"when": route.when.words(), "to": route.to} for route in config.routes],
        "destinations": {
            name: {
                "where": where(config, name),
                "rules": [
                    {
                        "name": rule.name,
                        "when": rule.when.words(),
                        "transfer_syntax": rule.target.transfer_syntax,
                        "parameters": dict(rule.target.parameters),
                        "min_saving": rule.target.min_saving,
                        "on_failure": rule.on_failure,
                    }
                    for rule in relevant(config, name)
                ],
            }
            for name in config.destinations
        },
        "warnings": config.warnings,
    }


def _excludes(when: Condition, destination: str) -> bool:
    return any(
        isinstance(clause, Clause)
        and _about_destination(clause)
        and (destination in clause.operands) == clause.negated
        for clause in when.clauses
    )


def _always(rule: Rule) -> bool:
    """Whether a relevant rule holds whatever the object is."""
    return all(_about_destination(clause) for clause in rule.when.clauses)


def _about_destination(clause: Clause | AnyOf) -> bool:
    return (
        isinstance(clause, Clause) and clause.subject is Fact.DESTINATION and clause.operator is Operator.IS
    )


def _title(text: str, note: str) -> Text:
    return Text.assemble((text, "bold"), (f" ({note})", "dim"))


def _table(*columns: str) -> Table:
    made = table("", *columns)
    made.title = None
    return made


def _words(when: Condition) -> str:
    return when.words().replace(" and ", "\nand ") if when.clauses else "always"


def _origins(peer: Peer) -> list[str]:
    return [
        *(str(net).removesuffix("/32").removesuffix("/128") for net in peer.hosts),
        *([peer.host] if peer.host else []),
    ]


def _accepted(accept: Accept) -> str:
    if accept.deny is not None and not accept.deny.clauses:
        return "nothing: all is denied"
    keywords = {uid: keyword for keyword, uid in uids().items()}
    words = [", ".join(keywords.get(uid, uid) for uid in accept.sop_classes) or "any storage class"]
    if accept.transfer_syntaxes:
        words.append("in " + ", ".join(str(lookup(uid)) for uid in accept.transfer_syntaxes))
    if accept.associations is not None:
        words.append(f"{accept.associations} associations")
    if accept.user_identity == "required":
        words.append("with a user identity")
    if accept.deny is not None:
        words.append(f"not if {accept.deny.words()}")
    if accept.unreadable == "refuse":
        words.append("nothing unreadable")
    return "; ".join(words)


def _address(node: Node) -> str:
    return f"{_host(node.listen.host)}:{node.listen.port}"


def _host(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _kept_until(node: Node) -> str:
    committed = node.retain.original == "until-committed"
    return "delivery and commitment" if committed else "delivery"


def _days(seconds: float) -> str:
    return f"{seconds / 86400:g} days" if seconds >= 86400 else f"{seconds:g} s"


def _lossy_words(parameters: Mapping[str, object]) -> str:
    bound, beyond = _value(parameters["lossy_max_error"]), parameters.get("lossy_beyond", "lossless")
    otherwise = {"lossless": "without loss", "as-received": "as received", "hold": "held"}[str(beyond)]
    uid = "the same" if parameters.get("lossy_uid") == "keep" else "a new"
    also = f", {_value(parameters['lossy_also'])} too" if "lossy_also" in parameters else ""
    return f", lossy{also}: no sample more than {bound} off, or else {otherwise}; {uid} SOP Instance UID"


def _value(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(_value, value))
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
