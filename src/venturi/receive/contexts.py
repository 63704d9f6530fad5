"""Which presentation contexts are accepted, and in which transfer syntax: a pure function of the proposal.

Everything that may be an object to store is taken, in any transfer syntax, known or not: Venturi keeps bytes
and need not understand them. Only what is known *not* to be storage (queries, print, worklists) is rejected.
"""

from pydicom._uid_dict import UID_dictionary

from venturi.dataset.syntaxes import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    lookup,
)

VERIFICATION = "1.2.840.10008.1.1"
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


def choose(abstract_syntax: str, proposed: list[str]) -> str | None:
    """The transfer syntax to accept for one proposed context, or None to reject its abstract syntax.

    The sender's compressed (or unknown) syntaxes come first, in its own order, so that what is compressed
    already travels and stays so; then explicit before implicit VR little endian, because implicit loses the
    VRs of private elements; then big endian and deflated.
    """
    if abstract_syntax == VERIFICATION:
        native = [uid for uid in proposed if lookup(uid).native]
        return min(native, key=_rank, default=None)
    if not proposed or not is_storage(abstract_syntax):
        return None
    return min(proposed, key=_rank)  # min keeps the first of equals: the sender's order


def _rank(uid: str) -> int:
    if uid == EXPLICIT_VR_LITTLE_ENDIAN:
        return 1
    if uid == IMPLICIT_VR_LITTLE_ENDIAN:
        return 2
    return 3 if lookup(uid).native else 0
