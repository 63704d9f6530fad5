"""The datasets of Storage Commitment: requests and results, read strictly and written (PS3.4 J.3, PS3.3 C.14).

Read in explicit or implicit VR little endian; in the latter no dictionary is needed, for the elements are known by
their tags. What is wrong raises Malformed, whatever the bytes are; the work is linear.
"""

import struct
from collections.abc import Iterator

from venturi.dataset.scan import Element, Encoding, encoding_of, find, items, scan
from venturi.dataset.syntaxes import lookup
from venturi.dataset.uids import tolerable_uid
from venturi.errors import Malformed
from venturi.model import CommitmentRequest, CommitmentResult, Reference

TRANSACTION_UID = 0x00081195
REFERENCED_CLASS, REFERENCED_INSTANCE = 0x00081150, 0x00081155
FAILURE_REASON, FAILED, REFERENCED = 0x00081197, 0x00081198, 0x00081199
MOST_REFERENCES = 20_000
"""In one request or result: more are refused. A study has some thousand."""

PROCESSING_FAILURE, NO_SUCH_INSTANCE, CLASS_INSTANCE_CONFLICT = 0x0110, 0x0112, 0x0119
DUPLICATE_TRANSACTION, RESOURCE_LIMITATION = 0x0131, 0x0213
"""Failure Reasons (PS3.3 C.14.1.1)."""
REASONS = {
    PROCESSING_FAILURE: "processing failure",
    NO_SUCH_INSTANCE: "no such object instance",
    CLASS_INSTANCE_CONFLICT: "class/instance conflict",
    0x0122: "referenced SOP class not supported",
    DUPLICATE_TRANSACTION: "duplicate transaction UID",
    RESOURCE_LIMITATION: "resource limitation",
}

_EXPLICIT, _EXPLICIT_LONG = struct.Struct("<HH2sH"), struct.Struct("<HH2sHL")
_IMPLICIT = struct.Struct("<HHL")
_ITEM = _IMPLICIT.pack(0xFFFE, 0xE000, 0)[:4]


def read_request(data: bytes, transfer_syntax: str) -> CommitmentRequest:
    """Read an N-ACTION's dataset. Raises Malformed, also where it refers to nothing."""
    level = _Level(data, transfer_syntax)
    references = tuple(reference for reference, _ in level.references(REFERENCED))
    if not references:
        raise Malformed("a storage commitment request that refers to nothing")
    return CommitmentRequest(level.transaction_uid(), references)


def read_result(data: bytes, transfer_syntax: str) -> CommitmentResult:
    """Read an N-EVENT-REPORT's dataset. Raises Malformed. A failure without a reason is a processing failure."""
    level = _Level(data, transfer_syntax)
    failed = tuple(level.references(FAILED))
    committed = tuple(reference for reference, _ in level.references(REFERENCED))
    return CommitmentResult(level.transaction_uid(), committed, failed)


def write_request(request: CommitmentRequest, transfer_syntax: str) -> bytes:
    """Write an N-ACTION's dataset; UIDs are ASCII."""
    write = _Writer(lookup(transfer_syntax).implicit_vr)
    references = [write.reference(reference) for reference in request.references]
    return write.uid(TRANSACTION_UID, request.transaction_uid) + write.sequence(REFERENCED, references)


def write_result(result: CommitmentResult, transfer_syntax: str) -> bytes:
    """Write an N-EVENT-REPORT's dataset; UIDs are ASCII. An empty sequence is left out (type 1C)."""
    write = _Writer(lookup(transfer_syntax).implicit_vr)
    parts = [write.uid(TRANSACTION_UID, result.transaction_uid)]
    if result.failed:
        failed = [
            write.reference(each) + write.number(FAILURE_REASON, reason) for each, reason in result.failed
        ]
        parts.append(write.sequence(FAILED, failed))
    if result.committed:
        parts.append(write.sequence(REFERENCED, [write.reference(each) for each in result.committed]))
    return b"".join(parts)


class _Level:
    """The top level of a dataset."""

    def __init__(self, data: bytes, transfer_syntax: str) -> None:
        self._data = data
        self._encoding = encoding_of(lookup(transfer_syntax))
        self._elements = list(scan(data, encoding=self._encoding))

    def transaction_uid(self) -> str:
        """Its Transaction UID. Raises Malformed."""
        return self._uid(self._elements, TRANSACTION_UID)

    def references(self, sequence: int) -> Iterator[tuple[Reference, int]]:
        """Those of a sequence, with their Failure Reason. Raises Malformed."""
        found = find(self._elements, sequence)
        if found is None:
            return
        for count, (start, end, encoding) in enumerate(items(self._data, found, self._encoding)):
            if count == MOST_REFERENCES:
                raise Malformed(f"more than {MOST_REFERENCES} references in one message")
            elements = list(scan(self._data, start, end, encoding))
            reference = Reference(
                self._uid(elements, REFERENCED_CLASS), self._uid(elements, REFERENCED_INSTANCE)
            )
            yield reference, self._reason(elements, encoding)

    def _uid(self, elements: list[Element], tag: int) -> str:
        text = self._value(elements, tag).decode("latin-1").strip("\0 ")
        if not tolerable_uid(text):
            raise Malformed(f"({tag >> 16:04x},{tag & 0xFFFF:04x}) is missing, or no UID")
        return text

    def _reason(self, elements: list[Element], encoding: Encoding) -> int:
        value = self._value(elements, FAILURE_REASON)
        if len(value) != 2:
            return PROCESSING_FAILURE
        return int.from_bytes(value, "big" if encoding.big_endian else "little")

    def _value(self, elements: list[Element], tag: int) -> bytes:
        found = find(elements, tag)
        return b"" if found is None or found.length is None else self._data[found.value : found.end]


class _Writer:
    """Writes elements; sequences and items have defined lengths."""

    def __init__(self, implicit: bool) -> None:
        self._implicit = implicit

    def uid(self, tag: int, text: str) -> bytes:
        value = text.encode("ascii")
        return self._short(tag, b"UI", value + b"\0" * (len(value) % 2))

    def number(self, tag: int, value: int) -> bytes:
        return self._short(tag, b"US", value.to_bytes(2, "little"))

    def reference(self, reference: Reference) -> bytes:
        return self.uid(REFERENCED_CLASS, reference.sop_class_uid) + self.uid(
            REFERENCED_INSTANCE, reference.sop_instance_uid
        )

    def sequence(self, tag: int, contents: list[bytes]) -> bytes:
        value = b"".join(_ITEM + struct.pack("<L", len(content)) + content for content in contents)
        if self._implicit:
            return _IMPLICIT.pack(tag >> 16, tag & 0xFFFF, len(value)) + value
        return _EXPLICIT_LONG.pack(tag >> 16, tag & 0xFFFF, b"SQ", 0, len(value)) + value

    def _short(self, tag: int, vr: bytes, value: bytes) -> bytes:
        if self._implicit:
            return _IMPLICIT.pack(tag >> 16, tag & 0xFFFF, len(value)) + value
        return _EXPLICIT.pack(tag >> 16, tag & 0xFFFF, vr, len(value)) + value
