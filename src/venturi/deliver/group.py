"""Several destinations as one: each object goes to one of them, and a study stays together.

    first_of   the first that works
    spread     by a hash of the study: who else is there, and in which order, moves no study (rendezvous hashing)

The member that got an object of a study gets the rest of it, as long as it is there: that is remembered beyond a
restart. Who is not there, or takes nothing, is passed over until its pause is over (see ``breaker.py``); outside its
hours a member gets nothing. What a member that is there answers about an object is the answer: "later" is tried again,
there if it takes anything by then, and what it refuses is refused.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from venturi.deliver.breaker import Breaker
from venturi.deliver.port import Destination, Ending, Parcel, Receipt


class Memory(Protocol):
    """Which member has which studies."""

    def member_of(self, destination: str, studies: Sequence[str]) -> dict[str, str]:
        """Look up members by study."""

    def stick(self, destination: str, members: Mapping[str, str]) -> None:
        """Remember members by study."""


class Group:
    """A group as a destination."""

    def __init__(
        self,
        name: str,
        members: Mapping[str, Destination],
        breakers: Mapping[str, Breaker],
        memory: Memory,
        hours: Callable[[str], bool] = lambda _: True,
        *,
        spread: bool,
    ) -> None:
        """``members`` in the order of the configuration; ``breakers`` are theirs, shared by all who serve the group.

        ``hours``: whether a member may get anything now.
        """
        self._name, self._members, self._breakers = name, dict(members), breakers
        self._memory, self._hours = memory, hours
        self._spread = spread

    def deliver(self, parcels: Sequence[Parcel]) -> Iterator[Receipt]:
        """Hand over each to one member; see the port."""
        known = self._memory.member_of(self._name, sorted({parcel.study for parcel in parcels}))
        orders = {parcel.study: self._order(parcel.study, known.get(parcel.study)) for parcel in parcels}
        waiting = {parcel.delivery: parcel for parcel in parcels}
        absent: dict[int, Receipt] = {}
        for turn in range(len(self._members)):
            for member in self._members:
                mine = [parcel for parcel in waiting.values() if orders[parcel.study][turn] == member]
                for receipt in self._by(member, mine) if mine and self._hours(member) else ():
                    if not receipt.there:
                        absent[receipt.delivery] = receipt
                        continue
                    study = waiting.pop(receipt.delivery).study
                    if receipt.ending is Ending.DELIVERED and known.get(study) != member:
                        known[study] = member
                        self._memory.stick(self._name, {study: member})
                    yield receipt
        for delivery in waiting:
            nobody = Receipt(delivery, Ending.LATER, "unreachable", "no member is there", there=False)
            yield absent.get(delivery, nobody)

    def probe(self) -> str:
        """Ask the members, those whose hours it is, until one is there; see the port."""
        said = []
        for name, member in self._members.items():
            why = member.probe() if self._hours(name) else "not at this hour"
            if not why:
                return ""
            said.append(f"{name}: {why}")
        return "; ".join(said)

    def rest(self) -> None:
        """Have all members rest; see the port."""
        for member in self._members.values():
            member.rest()

    def close(self) -> None:
        """Close all members; see the port."""
        for member in self._members.values():
            member.close()

    def _order(self, study: str, known: str | None) -> list[str]:
        """In which order the members are tried for a study: those that are down come last."""
        names = list(self._members)
        if self._spread:
            names.sort(key=lambda name: hashlib.sha256(f"{name}\0{study}".encode()).digest())
        names.sort(key=lambda name: (not self._there(name), name != known))
        return names

    def _there(self, name: str) -> bool:
        return self._breakers[name].closed or not self._breakers[name].wait_s()

    def _by(self, name: str, parcels: Sequence[Parcel]) -> Iterator[Receipt]:
        arrived, why = False, ""
        for receipt in self._members[name].deliver(parcels):
            if receipt.ending is Ending.LATER:
                why = receipt.status
            elif not arrived:  # at once: whoever asked may have enough of them now
                arrived = True
                self._breakers[name].worked()
            yield replace(receipt, member=name, detail=f"{name}: {receipt.detail}".rstrip(": "))
        if why and not arrived:
            self._breakers[name].failed(why)
