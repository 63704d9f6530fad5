"""What the receive room offers to its transports: a handler that takes a C-STORE as a stream of bytes.

A transport (``association``, or pynetdicom) negotiates and moves P-DATA; everything that is decided about an object
is behind these few methods, so that the transport can be replaced without moving the handler.
"""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """The facts of a C-STORE-RQ and the association it came by (PS3.7 9.3.1.1)."""

    sop_class_uid: str
    """Affected SOP Class UID, as sent."""
    sop_instance_uid: str
    """Affected SOP Instance UID, as sent: may be anything, so it never becomes a path."""
    abstract_syntax: str
    """Of the accepted presentation context."""
    transfer_syntax: str
    calling_ae: str
    called_ae: str
    peer: str
    address: str
    certificate: str = ""
    """SHA-256 of what it has shown, hexadecimal; empty: none."""


class Store(Protocol):
    """One C-STORE operation in progress. Exactly one of ``finish`` and ``abandon`` ends it."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take dataset bytes. Never raises for a full or broken spool: ``finish`` then answers with the status."""

    def finish(self) -> int:
        """The C-STORE status: 0x0000 only when the object is durable. Never raises."""

    def abandon(self) -> None:
        """The association ended in mid-object: leave no trace."""


class StoreHandler(Protocol):
    """Begins C-STORE operations; one for each receiver process, used by many threads."""

    def begin(self, request: StoreRequest) -> Store:
        """Never raises: what is wrong with the request is the status that ``finish`` returns."""

    def accepting(self) -> bool:
        """Whether new associations should be admitted at all (watermark, storage failure, ledger failure)."""
