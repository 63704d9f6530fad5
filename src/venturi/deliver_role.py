"""The deliver role: couriers for each destination, storage commitment both ways, and the house kept.

Built from the configuration here, beside ``node`` and ``roles``, for it is made of many parts.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict

from venturi.config.schema import Config, DicomDestination, FolderDestination, GroupDestination
from venturi.deliver.breaker import Breaker, Trouble
from venturi.deliver.commitment_scp import Answering
from venturi.deliver.commitment_scu import Asking
from venturi.deliver.commitment_talk import ask, tell
from venturi.deliver.courier import Courier
from venturi.deliver.dicom import requestor
from venturi.deliver.dicom_scu import Requestor
from venturi.deliver.housekeeping import adopt, put_right
from venturi.deliver.promise import Keeping
from venturi.deliver.reread import Where
from venturi.deliver.retention import UNTIL_COMMITTED, sweep_once
from venturi.deliver.retry import Backoff
from venturi.destinations import GroupParts, destination_of, is_open, pace_of
from venturi.ledger.port import Commitment, Role
from venturi.log import get_logger
from venturi.model import CommitmentRequest, CommitmentResult
from venturi.node import bell_of, hurried_at, ledger_of, spool_of

log = get_logger()

JANITOR_S = 60.0
WAKE_S = 5.0
LINGER_S = 5.0
"""How long a peer may take to report on the association on which it was asked for storage commitment."""


class DeliverRole:
    """Everything of the role's process."""

    def __init__(self, config: Config, owner: str) -> None:
        """Raises ConfigError; what the ledger raises."""
        self._config, self._owner = config, owner
        self._ledger, self._spool = ledger_of(config), spool_of(config)
        self._bell = bell_of(config, Role.DELIVER)
        self._paces = {name: pace_of(config, name) for name in config.destinations}
        self._breakers: list[Breaker] = []
        self._couriers = [courier for name in config.destinations for courier in self._couriers_of(name)]
        places, talk = Places(config), Talking(config)
        self._answering = Answering(self._ledger, places.where, talk, owner)
        asking = [
            Asking(name, self._ledger, places.where, talk, config.node.commitment_s)
            for name in config.destinations
            if places.commits(name, "")
        ]
        self._parts: list[Courier | Answering | Asking] = [*self._couriers, self._answering, *asking]
        self._commits, self._gave_up = places.commits, talk.stopped

    def start(self, stop: threading.Event) -> None:
        """Begin; the house is kept until ``stop`` is set."""
        wanted = [name for name in self._config.destinations if self._commits(name, "")]
        if given_up := self._ledger.commitments.want(wanted):
            log.warning(
                "nobody is asked any more whether it stores for good: the configuration has no such destinations",
                deliveries=given_up,
            )
        for part in self._parts:
            part.start()
        threading.Thread(target=self._keep_house, args=(stop,), name="janitor", daemon=True).start()

    def run(self, stop: threading.Event) -> None:
        """Wake who sleeps when there is something to do, until ``stop`` is set; then let all of them end."""
        told: list[Trouble] | None = None
        hurried = hurried_at(self._config)
        while not stop.is_set():
            rung = self._bell.wait(WAKE_S)
            if (at := hurried_at(self._config)) != hurried:
                hurried = at
                for breaker in self._breakers:
                    breaker.hurry()
            if rung:
                for courier in self._couriers:
                    courier.wake()
                self._answering.wake()
            troubles = [found for breaker in self._breakers if (found := breaker.trouble()) is not None]
            if troubles != told:
                self._tell(troubles)
                told = troubles
        self._gave_up.set()
        for part in self._parts:
            part.stop()
        for pace in self._paces.values():
            pace.stop()
        for part in self._parts:
            part.join()
        self._ledger.release(self._owner)

    def _couriers_of(self, name: str) -> Iterator[Courier]:
        """Those that deliver to one destination, with its breakers. Raises ConfigError."""
        config, ledger = self._config, self._ledger
        wanted, backoff = config.destinations[name], Backoff()
        breaker = Breaker(name, backoff)
        members = getattr(wanted, "members", ())
        group = GroupParts(
            {each: Breaker(f"{name}/{each}", backoff) for each in members}, self._paces, ledger
        )
        self._breakers += (breaker, *group.breakers.values())

        def hours() -> bool:
            return any(is_open(config, each) for each in members or (name,))

        for number in range(getattr(wanted, "associations", len(members) or 1)):
            destination = destination_of(config, name, self._paces[name], group, ledger.learn)
            owner = f"{self._owner}{name}/{number}"
            yield Courier(
                *(name, destination, ledger, self._spool, owner, backoff, breaker, hours),
                commits=lambda member: self._commits(name, member),
                undecided=lambda: self._bell.ring(Role.TRANSCODE),
            )

    def _keep_house(self, stop: threading.Event) -> None:
        while not stop.wait(JANITOR_S):
            try:
                if adopt(self._ledger, self._spool):
                    self._bell.ring(Role.TRANSCODE)
                put_right(self._ledger, tuple(self._config.destinations))
                sweep_once(self._ledger, self._spool, self._config.node.retain)
            except Exception:  # whatever it is, the house needs its keeper
                log.exception("housekeeping failed; it goes on in a minute")

    def _tell(self, troubles: Sequence[Trouble]) -> None:
        """Leave word of destinations that take nothing, for ``destinations.troubles_of``."""
        path = self._config.node.data / "run" / "destinations.json"
        written = path.with_suffix(".part")
        try:
            written.write_text(json.dumps([asdict(trouble) for trouble in troubles]))
            written.replace(path)
        except OSError as error:
            log.error("status not written", error=str(error))


class Places:
    """How destinations keep what they get, as the configuration says."""

    def __init__(self, config: Config) -> None:
        self._destinations = config.destinations
        self._verify_files = config.node.retain.original == UNTIL_COMMITTED

    def where(self, name: str, member: str) -> Where:
        """Tell how a destination, or a member of a group, keeps; one that is no longer there: not at all."""
        match self._destinations.get(member or name):
            case FolderDestination(commit=True) as folder:
                return Where(Keeping.AS_FILE, folder.folder, folder.mount)
            case DicomDestination(commit=True) as dicom:
                return Where(Keeping.BY_PEER, peer=dicom.dicom)
            case GroupDestination() as group if any(self._keeps(each) for each in group.members):
                return Where(Keeping.OPEN)
        return Where(Keeping.NOT)

    def commits(self, name: str, member: str) -> bool:
        """Whether is to be found out that what it took is there for good: files only where retention waits for that."""
        if not member:
            members = getattr(self._destinations[name], "members", ())
            return any(self.commits(name, each) for each in members) if members else self._wanted(name)
        return self._wanted(member)

    def _keeps(self, member: str) -> bool:
        return self.where(member, "").keeping is not Keeping.NOT

    def _wanted(self, name: str) -> bool:
        keeping = self.where(name, "").keeping
        return keeping is Keeping.BY_PEER or (keeping is Keeping.AS_FILE and self._verify_files)


class Talking:
    """Associations for storage commitment."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self.stopped = threading.Event()

    def ask(
        self,
        destination: str,
        member: str,
        request: CommitmentRequest,
        take: Callable[[CommitmentResult], int],
    ) -> int:
        """Ask the peer of a destination; see ``commitment_talk.Talk``."""
        wanted = self._config.destinations[member or destination]
        assert isinstance(wanted, DicomDestination)  # noqa: S101  # no others have peers
        calling = wanted.calling_ae or self._config.node.ae_title[0]
        return ask(self._to(wanted.dicom, calling), request, take, LINGER_S)

    def tell(self, commitment: Commitment) -> int | None:
        """Tell who asked, where it listens; see ``commitment_talk.Talk``."""
        asker = self._config.peers.get(commitment.peer)
        if asker is None or not asker.host:
            return None
        requestor = self._to(commitment.peer, commitment.called_ae, commitment.calling_ae)
        return tell(requestor, commitment.result)

    def _to(self, name: str, calling_ae: str, called: str | None = None) -> Requestor:
        node = self._config.node
        return requestor(self._config.peers[name], calling_ae, node, self.stopped.is_set, called)
