"""Destinations as the configuration says: each is built here, for the couriers and for verbs that need no node.

Concrete parts are imported where they are built, so that whoever needs one of them loads no other.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from venturi.deliver.port import Destination, Parcel, Receipt
from venturi.errors import ConfigError
from venturi.ledger.port import Ledger

if TYPE_CHECKING:
    from venturi.config.schema import Config, DicomDestination, Peer
    from venturi.deliver.acceptances import Acceptances, Learn, Pair
    from venturi.deliver.breaker import Breaker, Trouble
    from venturi.deliver.dicom import EchoResult
    from venturi.deliver.pace import Pace


def peer_of(config: Config, name: str) -> Peer:
    """The peer of that name, one that listens. Raises ConfigError."""
    peer = config.peers.get(name)
    if peer is None or not peer.host:
        listening = ", ".join(name for name, peer in config.peers.items() if peer.host) or "none"
        raise ConfigError(
            [f"{config.path}: there is no peer {name!r} with a host; those with one: {listening}"]
        )
    return peer


def pace_of(config: Config, name: str) -> Pace:
    """How fast a destination is delivered to; a group is as fast as what is in it."""
    from venturi.deliver.pace import Pace

    return Pace(*getattr(config.destinations[name], "rate", ()))


def is_open(config: Config, name: str) -> bool:
    """Whether a destination may get anything now; a group is as open as what is in it."""
    wanted = config.destinations[name]
    return wanted.open_at(time.localtime()) if hasattr(wanted, "open_at") else True


class GroupParts(NamedTuple):
    """What all that serve a group share."""

    breakers: Mapping[str, Breaker]
    paces: Mapping[str, Pace]
    memory: Ledger


def destination_of(
    config: Config,
    name: str,
    pace: Pace | None = None,
    group: GroupParts | None = None,
    learn: Learn | None = None,
) -> Destination:
    """The destination of that name; a group needs its parts. Raises ConfigError.

    ``learn`` is told what a peer accepts; that of a group's member is the member's.
    """
    from venturi.config.schema import DicomDestination, FolderDestination, GroupDestination
    from venturi.deliver.folder import Folder

    match config.destinations[name]:
        case FolderDestination() as wanted:
            return Folder(wanted, pace)
        case DicomDestination() as wanted:
            from venturi.deliver.acceptances import Acceptances

            calling_ae = wanted.calling_ae or config.node.ae_title[0]
            acceptances = Acceptances(name, learn) if learn else None
            return peer_destination(config, wanted.dicom, calling_ae, pace, acceptances)
        case GroupDestination() as wanted:
            from venturi.deliver.group import Group

            assert group is not None  # noqa: S101  # only couriers deliver to groups
            members = {
                each: destination_of(config, each, group.paces[each], learn=learn) for each in wanted.members
            }
            return Group(
                name,
                members,
                group.breakers,
                group.memory,
                lambda member: is_open(config, member),
                spread=bool(wanted.spread),
            )


def peer_destination(
    config: Config,
    name: str,
    calling_ae: str,
    pace: Pace | None = None,
    acceptances: Acceptances | None = None,
) -> Destination:
    """A peer as a destination. Raises ConfigError."""
    from venturi.deliver.dicom import Dicom

    return Dicom(peer_of(config, name), calling_ae, config.node, pace, acceptances)


def echo(config: Config, name: str) -> EchoResult:
    """Ask a peer for a C-ECHO. Raises ConfigError."""
    from venturi.deliver import dicom

    return dicom.echo(peer_of(config, name), config.node.ae_title[0], config.node)


def destinations_at(config: Config, name: str) -> dict[str, DicomDestination]:
    """Those destinations that are a peer, by name."""
    from venturi.config.schema import DicomDestination

    wanted = config.destinations.items()
    return {each: to for each, to in wanted if isinstance(to, DicomDestination) and to.dicom == name}


def accepted(config: Config, destination: DicomDestination, pairs: Sequence[Pair]) -> set[Pair]:
    """Ask the peer of a destination what it accepts of these. Raises ConfigError, NotAssociated."""
    from venturi.deliver import dicom

    calling_ae = destination.calling_ae or config.node.ae_title[0]
    return dicom.accepted(dicom.requestor(peer_of(config, destination.dicom), calling_ae, config.node), pairs)


def send(config: Config, name: str, parcels: Sequence[Parcel]) -> Iterator[Receipt]:
    """Send parcels to a peer, outside any queue. Raises ConfigError."""
    destination = peer_destination(config, name, config.node.ae_title[0])
    try:
        yield from destination.deliver(parcels)
    finally:
        destination.close()


def troubles_of(config: Config) -> list[Trouble]:
    """What the role that delivers has left word of last, which may have ended since."""
    from venturi.deliver.breaker import Trouble

    try:
        found = json.loads((config.node.data / "run" / "destinations.json").read_text())
    except (OSError, ValueError):
        return []
    return [Trouble(**one) for one in found]
