"""Which presentation contexts are accepted, and in which transfer syntax: a pure function of the proposal.

Everything that may be an object to store is taken, in any transfer syntax, known or not: Venturi keeps bytes
and need not understand them. Only what is known *not* to be storage (queries, print, worklists) is rejected, and
what the configuration does not want of a peer.
"""

from collections.abc import Sequence

from pydicom._uid_dict import UID_dictionary

from venturi.config.schema import Accept
from venturi.dataset.syntaxes import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    lookup,
)
from venturi.upper_layer.command import COMMITMENT_PUSH, VERIFICATION

_PLAIN = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
STORAGE_COMMITMENT = "1.2.840.10008.1.20."
MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"
"""Media Storage Directory Storage: a DICOMDIR is never sent by C-STORE (PS3.4 Table B.5-1 lacks it)."""


def is_storage(abstract_syntax: str) -> bool:
    """Whether a SOP class is, or may be, of the Storage Service Class (PS3.4 B.5), private and retired too.

    The dictionary knows every standard UID by name: one that it knows and whose name does not speak of
    storage is another service. What it does not know is private or newer, and taken.
    """
    known = UID_dictionary.get(abstract_syntax)
    if known is None:
        return not abstract_syntax.startswith(STORAGE_COMMITMENT)
    name, kind = known[0], known[1]
    if kind != "SOP Class" or abstract_syntax.startswith((STORAGE_COMMITMENT, MEDIA_DIRECTORY)):
        return False
    return not name or "Storage" in name  # a few retired ones have no name; all of them are storage


def choose(abstract_syntax: str, proposed: Sequence[str], accept: Accept = Accept()) -> str | None:  # noqa: B008  # frozen
    """The transfer syntax to accept for one proposed context, or None to reject it.

    Those that the peer may use, in the order of its configuration; without one the sender's compressed (or unknown)
    syntaxes come first, in its own order, so that what is compressed already travels and stays so; then explicit
    before implicit VR little endian, because implicit loses the VRs of private elements; then big endian and deflated.
    """
    if abstract_syntax in (VERIFICATION, COMMITMENT_PUSH):
        return min((uid for uid in proposed if uid in _PLAIN), key=_rank, default=None)
    if not welcome(abstract_syntax, accept):
        return None
    if order := accept.transfer_syntaxes:
        return min((uid for uid in proposed if uid in order), key=order.index, default=None)
    return min(proposed, key=_rank, default=None)  # min keeps the first of equals: the sender's order


def welcome(abstract_syntax: str, accept: Accept) -> bool:
    """Whether a peer may send objects of a SOP class."""
    return is_storage(abstract_syntax) and (not accept.sop_classes or abstract_syntax in accept.sop_classes)


def _rank(uid: str) -> int:
    if uid == EXPLICIT_VR_LITTLE_ENDIAN:
        return 1
    if uid == IMPLICIT_VR_LITTLE_ENDIAN:
        return 2
    return 3 if lookup(uid).native else 0
