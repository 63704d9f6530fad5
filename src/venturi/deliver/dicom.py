"""C-STORE to a peer, streamed from the spool's files byte for byte (PS3.7 9.1.1, PS3.4 B).

One association for as long as there is something to send and its contexts are enough. The rendition goes where the peer
takes its transfer syntax; otherwise the original goes as it is, if the peer takes that. Nothing is converted here:
both uncompressed syntaxes are proposed beside, so that it is known which other rendition the peer would take.

Each file is hashed before it is sent: the last fragment of one that is not what it was is never sent. What the
peer or the network does is answered by the status in the receipt; nothing but a mistake in this file raises.
"""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from venturi.config.schema import Node, Peer
from venturi.dataset import part10
from venturi.dataset.syntaxes import lookup
from venturi.deliver.acceptances import Acceptances, Pair
from venturi.deliver.ahead import ReadAhead
from venturi.deliver.association import Context, FileDamaged, Object, OpenAssociation
from venturi.deliver.dicom_scu import NotAssociated, Requestor, Secured
from venturi.deliver.pace import Pace
from venturi.deliver.port import Ending, Parcel, Receipt
from venturi.deliver.status import judge
from venturi.deliver.wire import Lost
from venturi.errors import ConfigError, Malformed
from venturi.model import Reason
from venturi.rules.fit import UNCOMPRESSED
from venturi.upper_layer import tls

CONTEXTS = 128
"""In one association: the odd numbers to 255 (PS3.8 9.3.2.2)."""
NO_CONTEXT = "no-context"


@dataclass(frozen=True, slots=True)
class EchoResult:
    """How a C-ECHO went."""

    ok: bool
    detail: str
    duration_s: float


@dataclass(frozen=True, slots=True)
class _Plan:
    """One parcel, with what may be sent for it, in order of preference."""

    parcel: Parcel
    rendition: Object
    original: Object
    contexts: tuple[Context, ...]


class Dicom:
    """One peer as a destination."""

    def __init__(
        self,
        peer: Peer,
        calling_ae: str,
        node: Node,
        pace: Pace | None = None,
        acceptances: Acceptances | None = None,
    ) -> None:
        """``acceptances`` hears what the peer accepts.

        Raises ConfigError for a peer without a host, or whose only AE title is ``*``.
        """
        self._acceptances = acceptances
        self._pace = pace if pace is not None else Pace()
        self._requestor = requestor(peer, calling_ae, node, self._pace.stopped)
        self._association: OpenAssociation | None = None
        self._ahead = ReadAhead()
        self._proposed: frozenset[Context] = frozenset()
        """What the open association was asked for."""

    def deliver(self, parcels: Sequence[Parcel]) -> Iterator[Receipt]:
        """Send each parcel; see the port. Receipts come in the parcels' order within each association."""
        plans: list[_Plan] = []
        for parcel in parcels:
            began = time.monotonic()
            try:
                plans.append(_plan(parcel))
            except Malformed as error:
                yield _receipt(parcel, began, Ending.REFUSED, "damaged", f"{parcel.instance.id}: {error}")
            except OSError as error:
                yield _receipt(
                    parcel, began, Ending.LATER, "unreadable", error.strerror or type(error).__name__
                )
        while plans:
            batch = _fitting(plans)
            del plans[: len(batch)]
            if self._pace.rare:
                for plan in batch:
                    self.rest()  # rather than have the peer wait
                    self._pace.object()
                    alone = [plan]
                    while alone:
                        yield from self._associate(alone)
                continue
            while batch:  # an association that is lost takes the parcel in hand with it, and only that
                yield from self._associate(batch)

    def probe(self) -> str:
        """Ask for a C-ECHO; see the port. A peer that associates is there, whatever it says of Verification."""
        try:
            self._requestor.echo()
        except NotAssociated as error:
            return "" if error.status == NO_CONTEXT else f"{error.status}: {error}"
        except Lost as error:
            return f"{error.status}: {error}"
        return ""

    def rest(self) -> None:
        """Release the association that is kept; see the port."""
        self._ahead.close()
        association, self._association = self._association, None
        if association is not None:
            association.end()

    close = rest

    def _kept(self, wanted: Collection[Context]) -> OpenAssociation | None:
        """The association of an earlier batch, if it was asked for all of these and is alive; else it is released."""
        association = self._association
        if association is not None and association.usable() and self._proposed.issuperset(wanted):
            self._association = None
            return association
        self.rest()
        return None

    def _associate(self, batch: list[_Plan]) -> Iterator[Receipt]:
        """Send as much of the batch as one association takes; what got a receipt leaves the batch."""
        began = time.monotonic()
        proposed = list(dict.fromkeys(context for plan in batch for context in plan.contexts))
        association = self._kept(proposed)
        used_before = association is not None
        try:
            if association is None:
                association, self._proposed = self._requestor.associate(proposed), frozenset(proposed)
                self._hear(proposed, association.accepted)
        except NotAssociated as error:
            if error.status == NO_CONTEXT:
                self._hear(proposed, ())
                while batch:
                    yield _no_context(batch.pop(0), began, ())
            while batch:  # who rejects us may have been configured wrongly, and takes all of it tomorrow
                receipt = _receipt(batch.pop(0).parcel, began, Ending.LATER, error.status, str(error))
                yield replace(receipt, there=False)
            return
        chosen = [_chosen(plan, association.accepted) for plan in batch]
        self._ahead.begin([item for item in chosen if item is not None])
        try:
            while batch and association.alive:
                plan, item = batch.pop(0), chosen.pop(0)
                began = time.monotonic()
                if item is None:
                    yield _no_context(plan, began, association.accepted)
                    continue
                try:
                    if not self._pace.rare:
                        self._pace.object()
                    pieces = self._ahead.pieces(item)
                    status, comment = association.store(item, pieces, self._pace.bytes, self._pace.at_once)
                except FileDamaged as error:
                    yield _receipt(plan.parcel, began, Ending.REFUSED, "damaged", str(error))
                except Lost as error:
                    if used_before and error.status == "aborted":
                        batch.insert(0, plan)  # the peer may have ended it at the moment we went on with it
                        return
                    yield _receipt(plan.parcel, began, Ending.LATER, error.status, str(error))
                else:
                    used_before = False
                    original = item is not plan.rendition
                    ending = judge(status)
                    yield _receipt(plan.parcel, began, ending, f"{status:04X}", comment, original)
        finally:
            self._ahead.drop()
            self._association = association
            if not association.alive:
                self.rest()

    def _hear(self, proposed: Collection[Context], accepted: Collection[Context]) -> None:
        if self._acceptances is not None:
            self._acceptances.hear(_pairs(proposed), _pairs(accepted))


def requestor(
    peer: Peer,
    calling_ae: str,
    node: Node,
    given_up: Callable[[], bool] = lambda: False,
    called: str | None = None,
) -> Requestor:
    """Make what opens associations to a peer, until it is ``given_up``. Raises ConfigError.

    ``called``: which of its AE titles; by default the first.
    """
    called = called or next((title for title in peer.ae_title if title != "*"), None)
    if called is None or peer.host is None:
        raise ConfigError(["to send to a peer, it needs a host and an AE title of its own"])
    secured = None
    if peer.tls and node.tls is not None:
        shown = tls.bound({called: peer}).get(called, "")
        secured = Secured(tls.requestor(node.tls, by_name=not shown), shown)
    return Requestor(
        peer.host.strip("[]"), peer.port, called, calling_ae, node.limits.timeout_s, secured, given_up
    )


def echo(peer: Peer, calling_ae: str, node: Node) -> EchoResult:
    """Ask a peer for a C-ECHO (PS3.7 9.1.5). Raises ConfigError."""
    began = time.monotonic()
    try:
        status = requestor(peer, calling_ae, node).echo()
    except (NotAssociated, Lost) as error:
        return EchoResult(False, f"{error.status}: {error}", time.monotonic() - began)
    detail = "C-ECHO answered 0000" if status == 0 else f"C-ECHO answered {status:04X}"
    return EchoResult(status == 0, detail, time.monotonic() - began)


def accepted(requestor: Requestor, pairs: Sequence[Pair]) -> set[Pair]:
    """Ask a peer what it accepts of these, by as many associations as they need. Raises NotAssociated."""
    taken: set[Pair] = set()
    for first in range(0, len(pairs), CONTEXTS):
        try:
            association = requestor.associate([Context(*pair) for pair in pairs[first : first + CONTEXTS]])
        except NotAssociated as error:
            if error.status != NO_CONTEXT:
                raise
            continue
        taken.update(_pairs(association.accepted))
        association.end()
    return taken


def _plan(parcel: Parcel) -> _Plan:
    """Read the file metas of a parcel. Raises Malformed, OSError."""
    outcome, instance, envelope = parcel.outcome, parcel.instance, parcel.envelope
    _, offset = _meta(parcel.original, envelope.transfer_syntax)
    original = Object(
        parcel.original,
        offset,
        instance.size_bytes,
        instance.sha256,
        Context(envelope.sop_class_uid, envelope.transfer_syntax),
        envelope.sop_instance_uid,
    )
    rendition = original
    if outcome.transcoded:
        meta, offset = _meta(parcel.rendition, outcome.transfer_syntax)
        rendition = Object(
            parcel.rendition,
            offset,
            outcome.size_bytes,
            outcome.sha256,
            Context(meta.sop_class_uid, meta.transfer_syntax),
            meta.sop_instance_uid,
        )
    wanted = [rendition.context, original.context]
    wanted += [Context(original.context.sop_class_uid, uid) for uid in UNCOMPRESSED]
    return _Plan(parcel, rendition, original, tuple(dict.fromkeys(wanted)))


def _meta(path: Path, transfer_syntax: str) -> tuple[part10.FileMeta, int]:
    """The file meta and where the dataset begins. Raises Malformed, OSError."""
    with path.open("rb") as file:
        meta, offset = part10.read(file)
    if meta.transfer_syntax != transfer_syntax:
        raise Malformed("the file has another transfer syntax than it had")
    return meta, offset


def _fitting(plans: Sequence[_Plan]) -> list[_Plan]:
    """As many of the first plans as one association has contexts for; at least one."""
    contexts: set[Context] = set()
    for count, plan in enumerate(plans):
        contexts.update(plan.contexts)
        if len(contexts) > CONTEXTS:
            return list(plans[:count])
    return list(plans)


def _chosen(plan: _Plan, accepted: Collection[Context]) -> Object | None:
    """What is sent of a parcel to a peer that accepted these contexts."""
    return next((item for item in (plan.rendition, plan.original) if item.context in accepted), None)


def _pairs(contexts: Collection[Context]) -> list[Pair]:
    return [(context.sop_class_uid, context.transfer_syntax) for context in contexts]


def _no_context(plan: _Plan, began: float, accepted: Collection[Context]) -> Receipt:
    """Refused as it is; it may be taken in another syntax, unless it could not be made in that one."""
    outcome, sop_class_uid = plan.parcel.outcome, plan.rendition.context.sop_class_uid
    taken = [context.transfer_syntax for context in plan.contexts if context in accepted]
    proposed = ", ".join(str(lookup(context.transfer_syntax)) for context in plan.contexts)
    words = ", ".join(str(lookup(uid)) for uid in taken) or "none of them"
    words = f"proposed for SOP class {sop_class_uid}: {proposed}; accepted: {words}"
    if outcome.reason not in (None, Reason.ASKED):
        words += f"; {lookup(outcome.target.transfer_syntax or '')} was not made of it: {outcome.reason}"
        words += f": {outcome.detail}" if outcome.detail else ""
    receipt = _receipt(plan.parcel, began, Ending.REFUSED, NO_CONTEXT, words)
    return replace(receipt, takes_another=bool(taken) and outcome.target.transfer_syntax not in taken)


def _receipt(
    parcel: Parcel, began: float, ending: Ending, status: str, detail: str, sent_original: bool = False
) -> Receipt:
    return Receipt(parcel.delivery, ending, status, detail, sent_original, time.monotonic() - began)
