"""What one part of the configuration says about another: mistakes and warnings that no single value shows.

``check`` looks at the file's plain data and skips the parts that are wrong by themselves (the schema reports those),
so that one run shows everything. Errors: what can't work or can't be meant (unknown names, a rule that can never win).
Warnings: what works, and is probably not meant or not safe.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from venturi.config.base import Finding
from venturi.config.rule_checks import check_codecs, check_rules
from venturi.config.schema import (
    Config,
    Console,
    Destination,
    DicomDestination,
    FolderDestination,
    GroupDestination,
    Node,
    Peer,
    Route,
    Rule,
)
from venturi.config.template import PathTemplate
from venturi.config.values import Source
from venturi.config.yaml_lines import Data, Path
from venturi.dataset.dictionary import tags
from venturi.rules.condition import Clause, Condition, Fact, Operator
from venturi.rules.keys import suggestion
from venturi.rules.parse import ConditionError, parse

T = TypeVar("T")

_PHI = frozenset(
    (
        "PatientName", "PatientID", "OtherPatientIDs", "PatientBirthDate", "PatientAddress", "AccessionNumber",
        "PatientMotherBirthName", "InstitutionName", "ReferringPhysicianName", "StudyID",
    )
)  # fmt: skip


_BEFORE_DESTINATIONS: dict[str | int, str] = {
    "routes": "a route chooses destinations, so it can't ask for one: move this to a rule",
    "peers": "what is denied has no destination yet: move this to a rule or a route",
}
"""Where conditions can't ask for a destination, and why."""


@dataclass(slots=True)
class _Parts:
    """What of the file could be read. Names are None where the section itself is missing or no mapping."""

    peer_names: list[str] | None
    destination_names: list[str] | None
    node: Node | None = None
    console: Console | None = None
    peers: dict[str, Peer] = field(default_factory=dict)
    destinations: dict[str, Destination] = field(default_factory=dict)
    conditions: dict[Path, Condition] = field(default_factory=dict)
    """Every ``when`` that could be read, also of rules and routes that could not."""
    rules: dict[int, Rule] = field(default_factory=dict)
    routes: dict[int, Route] = field(default_factory=dict)


def check(data: dict[str, Data], source: Source) -> list[Finding]:
    """All findings, in no order. Raises what ``source.codecs`` raises."""
    parts = _read(data, source)
    return [
        *_references(parts),
        *_peers(parts),
        *_destinations(parts),
        *check_rules(parts.rules),
        *(check_codecs(data, source.codecs) if source.codecs else ()),
        *_facts(parts),
        *_routes(parts, "routes" in data),
        *_exposure(parts),
    ]


def _read(data: dict[str, Data], source: Source) -> _Parts:
    def section(name: str) -> dict[str, Data]:
        value = data.get(name)
        return value if isinstance(value, dict) else {}

    def each(name: str) -> Iterator[tuple[int, Data]]:
        value = data.get(name)
        yield from enumerate(value) if isinstance(value, list) else ()

    def one(kind: type[T], value: Data) -> T | None:
        try:
            return _adapter(kind).validate_python(value, context=source)
        except ValidationError:
            return None

    def field_of(name: str, value: Data) -> Any:
        try:
            return _FIELDS[name].validate_python(value, context=source)
        except ValidationError:
            return None

    parts = _Parts(
        list(section("peers")) if isinstance(data.get("peers"), dict) else None,
        list(section("destinations")) if isinstance(data.get("destinations"), dict) else None,
        node=one(Node, data.get("node", {})),
        console=one(Console, data.get("console", {})),
    )
    for name, value in section("peers").items():
        if peer := one(Peer, value):
            parts.peers[name] = peer
    for name, value in section("destinations").items():
        if found := field_of("destinations", {name: value}):
            parts.destinations |= found
    for index, value in each("rules"):
        if made := field_of("rules", [value]):
            parts.rules[index] = made[0]
        parts.conditions |= _when(value, ("rules", index, "when"))
    for index, value in each("routes"):
        if route := one(Route, value):
            parts.routes[index] = route
        parts.conditions |= _when(value, ("routes", index, "when"))
    for name, value in section("peers").items():
        accept = value.get("accept") if isinstance(value, dict) else None
        parts.conditions |= _when(accept, ("peers", name, "accept", "deny"))
    return parts


def _when(entry: Data, path: Path) -> dict[Path, Condition]:
    key = path[-1]
    try:
        return {path: parse(entry[key])} if isinstance(entry, dict) and key in entry else {}
    except ConditionError as error:
        return {path: error.partial}


_ADAPTERS: dict[type, TypeAdapter[Any]] = {kind: TypeAdapter(kind) for kind in (Node, Console, Peer, Route)}
_FIELDS: dict[str, TypeAdapter[Any]] = {
    name: TypeAdapter(Config.__annotations__[name]) for name in ("destinations", "rules")
}


def _adapter(kind: type[T]) -> TypeAdapter[T]:
    return _ADAPTERS[kind]


def _unknown(kind: str, name: str, known: list[str]) -> str:
    names = ", ".join(known) or "none"
    return f"there is no {kind} {name!r}{suggestion(name, known)} (there is: {names})"


def _clauses(parts: _Parts) -> Iterator[tuple[Path, Clause]]:
    for at, condition in parts.conditions.items():
        for path, clause in condition.located():
            yield (*at, *path), clause


def _references(parts: _Parts) -> Iterator[Finding]:
    for path, clause in _clauses(parts):
        if clause.subject is Fact.DESTINATION and path[0] in _BEFORE_DESTINATIONS:
            yield Finding(path, _BEFORE_DESTINATIONS[path[0]], at_key=True)
            continue
        names = {Fact.DESTINATION: parts.destination_names, Fact.PEER: parts.peer_names}
        known = names.get(clause.subject) if isinstance(clause.subject, Fact) else None
        if clause.operator is Operator.IS and known is not None:
            for name in clause.operands:
                if name not in known:
                    yield Finding(path, _unknown(str(clause.subject), name, known))
    for index, route in parts.routes.items():
        for position, name in enumerate(route.to):
            if parts.destination_names is not None and name not in parts.destination_names:
                words = _unknown("destination", name, parts.destination_names)
                yield Finding(("routes", index, "to", position), words)


def _peers(parts: _Parts) -> Iterator[Finding]:
    for name, peer in parts.peers.items():
        path = ("peers", name)
        if not peer.hosts and peer.host is None:
            words = (
                f"peer {name!r}: say where it sends from, hosts: [10.1.0.0/24], or where it is, host: NAME "
                "(hosts: [0.0.0.0/0] is anywhere)"
            )
            yield Finding(path, words, at_key=True)
        anywhere = [network for network in peer.hosts if network.prefixlen == 0]
        if "*" in peer.ae_title and anywhere:
            yield Finding(path, f"peer {name!r} admits any AE title from anywhere", warning=True, at_key=True)
    if parts.peer_names == []:
        yield Finding(("peers",), "no peers: nobody may send", warning=True, at_key=True)


def _template(path: tuple[str, str], destination: FolderDestination) -> Iterator[Finding]:
    try:
        template = PathTemplate(destination.path)
    except ValueError as error:
        yield Finding((*path, "path"), str(error))
        return
    if destination.on_conflict == "replace" and "SOPInstanceUID" not in template.keywords:
        words = f"{destination.path!r}: with on_conflict: replace, it must have {{SOPInstanceUID}}"
        yield Finding((*path, "path"), words)
    if phi := sorted(name for name in _PHI if f"{tags()[name]:08x}" in template.shown):
        words = f"{', '.join(phi)} in paths: whoever may list the folder can read them"
        yield Finding((*path, "path"), words, warning=True)


def _destinations(parts: _Parts) -> Iterator[Finding]:
    folders: dict[object, str] = {}
    replacing = {
        name
        for name, destination in parts.destinations.items()
        if isinstance(destination, FolderDestination) and destination.on_conflict == "replace"
    }
    for name, destination in parts.destinations.items():
        path = ("destinations", name)
        if isinstance(destination, DicomDestination):
            yield from _dicom(parts, name, destination)
            continue
        if isinstance(destination, GroupDestination):
            yield from _group(parts, name, destination)
            continue
        yield from _template(path, destination)
        if destination.folder in folders:
            words = f"destinations {folders[destination.folder]!r} and {name!r} share one folder"
            if {name, folders[destination.folder]} & replacing:
                words += (
                    ": what one delivers is replaced by the other, lossless by lossy too; keep-both would not"
                )
            yield Finding((*path, "folder"), words, warning=True)
        folders.setdefault(destination.folder, name)
        data = parts.node.data if parts.node else None
        if data and (destination.folder.is_relative_to(data) or data.is_relative_to(destination.folder)):
            words = "this folder and node.data are inside each other: give the node's own data a folder of its own"
            yield Finding((*path, "folder"), words, warning=True)


def _group(parts: _Parts, name: str, group: GroupDestination) -> Iterator[Finding]:
    key = "first_of" if group.first_of else "spread"
    if bool(group.first_of) == bool(group.spread) or len(set(group.members)) < 2:
        words = f"destination {name!r}: name two destinations or more, either in first_of or in spread"
        yield Finding(("destinations", name), words, at_key=True)
    for position, member in enumerate(group.members):
        path = ("destinations", name, key, position)
        if parts.destination_names is not None and member not in parts.destination_names:
            yield Finding(path, _unknown("destination", member, parts.destination_names))
        elif isinstance(parts.destinations.get(member), GroupDestination):
            yield Finding(path, f"{member!r} is a group itself: name what is in it")


def _dicom(parts: _Parts, name: str, destination: DicomDestination) -> Iterator[Finding]:
    path = ("destinations", name, "dicom")
    if parts.peer_names is not None and destination.dicom not in parts.peer_names:
        yield Finding(path, _unknown("peer", destination.dicom, parts.peer_names))
    peer = parts.peers.get(destination.dicom)
    if peer is None:
        return
    if peer.host is None:
        yield Finding(path, f"peer {destination.dicom!r} has no host: to connect to: add one to it")
    elif peer.port == 0:
        yield Finding(("peers", destination.dicom, "port"), "0 is no port to connect to")
    if peer.ae_title[0] == "*":
        yield Finding(
            path, f"peer {destination.dicom!r} has the AE title *, which can't be called: name one first"
        )


def _facts(parts: _Parts) -> Iterator[Finding]:
    """Tests that can never hold."""
    titles = {title for peer in parts.peers.values() for title in peer.ae_title}
    all_known = (
        parts.peer_names is not None and len(parts.peers) == len(parts.peer_names) and "*" not in titles
    )
    ours = set(parts.node.ae_title) if parts.node else set()
    for path, clause in _clauses(parts):
        if clause.operator is not Operator.IS:
            continue
        for operand in clause.operands:
            if clause.subject is Fact.CALLED_AE and ours and operand not in ours:
                yield Finding(
                    path, f"{operand!r} is none of node.ae_title, so nobody is admitted who calls it", True
                )
            elif clause.subject is Fact.CALLING_AE and all_known and operand not in titles:
                yield Finding(
                    path, f"no peer has the AE title {operand!r}, so nobody is admitted with it", True
                )
            elif clause.vr == "CS" and not re.fullmatch(r"[A-Z0-9 _]{0,16}", operand):
                words = f"{clause.key} is a code string: up to 16 capitals, digits, spaces and _; case counts"
                yield Finding(path, words, True)


def _routes(parts: _Parts, written: bool) -> Iterator[Finding]:
    if not parts.routes and not written:
        yield Finding((), "no routes: everything is received and held (no-route)", warning=True)
    for index, route in parts.routes.items():
        kept = [n for n, other in parts.routes.items() if other.to and route.when.implies(other.when)]
        if not route.to and kept:
            words = f"this discards nothing: whatever it matches, route {kept[0] + 1} delivers (every match applies)"
            yield Finding(("routes", index, "to"), words, warning=True, at_key=True)
    yield from _kept_for_ever(parts)
    named = {name for route in parts.routes.values() for name in route.to}
    for name in list(named):
        match parts.destinations.get(name):
            case GroupDestination() as group:
                named |= set(group.members)
    for name in parts.destinations:
        if written and name not in named:
            words = f"no route names the destination {name!r}: nothing is delivered to it"
            yield Finding(("destinations", name), words, warning=True, at_key=True)


def _kept_for_ever(parts: _Parts) -> Iterator[Finding]:
    """Routes to nobody who ever has anything for good, where originals wait for that."""
    if parts.node is None or parts.node.retain.original != "until-committed":
        return

    def commits(name: str) -> bool:
        match parts.destinations.get(name):
            case GroupDestination() as group:
                return any(commits(member) for member in group.members)
            case FolderDestination(commit=commit) | DicomDestination(commit=commit):
                return commit
        return True  # it is not there, or can't be read: that is said elsewhere

    for index, route in parts.routes.items():
        if route.to and not any(map(commits, route.to)):
            words = (
                "node.retain.original is until-committed, and none of these commits itself (commit: true): "
                "originals that go nowhere else are kept for ever"
            )
            yield Finding(("routes", index, "to"), words, warning=True, at_key=True)


def _exposure(parts: _Parts) -> Iterator[Finding]:
    if parts.node and parts.node.tls is None and not _loopback(parts.node.listen.host):
        words = "DICOM in plaintext beyond this machine: whoever shares the network can read and forge"
        yield Finding(("node", "listen"), words, warning=True)
    for name, peer in parts.peers.items():
        if parts.node and parts.node.tls is None and peer.tls:
            words = "there is no node.tls, which says what certificate we show this peer"
            yield Finding(("peers", name, "tls"), words, at_key=True)
        if parts.node and parts.node.tls is None and peer.certificate is not None:
            words = "there is no node.tls: this peer can't show its certificate, and is refused"
            yield Finding(("peers", name, "certificate"), words, warning=True, at_key=True)
    if parts.console and not _loopback(parts.console.listen.host):
        words = "the status page has no login: whoever can reach this address can read it"
        yield Finding(("console", "listen"), words, warning=True)


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
