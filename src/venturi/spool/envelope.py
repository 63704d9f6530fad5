"""An ``Envelope`` as file meta information, and back, without loss.

Standard elements say what they can (PS3.10 7.1): the calling AE as Source and Sending AE, the called AE as
Receiving AE, the sender's address as Source and Sending Presentation Address. JSON in Private Information
(0002,0102) says the rest: the peer, its certificate's SHA-256, the time of receipt, and every value that its element
can't hold exactly.
"""

import json

from venturi import IMPLEMENTATION_CLASS_UID
from venturi.dataset.part10 import FileMeta
from venturi.errors import Malformed
from venturi.model import Envelope

_LIMITS = {  # characters an element may have (PS3.5 6.2); an address is an IP address, so short
    "sop_class_uid": 64,
    "sop_instance_uid": 64,
    "transfer_syntax": 64,
    "calling_ae": 16,
    "called_ae": 16,
    "address": 256,
}


def to_meta(envelope: Envelope) -> FileMeta:
    """Make file meta information of an envelope. Raises Malformed where there is no transfer syntax."""
    values: dict[str, str] = {}
    rest: dict[str, object] = {"peer": envelope.peer, "received_at": envelope.received_at}
    if envelope.certificate:
        rest["certificate"] = envelope.certificate
    for name, limit in _LIMITS.items():
        whole: str = getattr(envelope, name)
        value = _writable(whole)[:limit].rstrip("\0 ")
        values[name] = value
        if value.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape") != whole:
            rest[name] = whole
    if not values["transfer_syntax"]:
        raise Malformed("an object without a transfer syntax can't be kept")
    information = json.dumps(rest).encode()
    return FileMeta(
        sop_class_uid=values["sop_class_uid"],
        sop_instance_uid=values["sop_instance_uid"],
        transfer_syntax=values["transfer_syntax"],
        source_ae=values["calling_ae"],
        sending_ae=values["calling_ae"],
        receiving_ae=values["called_ae"],
        source_address=values["address"],
        sending_address=values["address"],
        private_creator=IMPLEMENTATION_CLASS_UID,
        private_information=information + b" " * (len(information) % 2),
    )


def from_meta(meta: FileMeta, received_at: float) -> Envelope:
    """Make an envelope of file meta information; where it has no word of ours, ``received_at`` stands.

    Raises Malformed where our private information is not what we write.
    """
    rest: dict[str, object] = {}
    if meta.private_creator == IMPLEMENTATION_CLASS_UID:
        try:
            found = json.loads(meta.private_information)
        except ValueError as error:
            raise Malformed(f"the private information (0002,0102) is not JSON: {error}") from error
        if not isinstance(found, dict):
            raise Malformed("the private information (0002,0102) is not a JSON object")
        rest = found
    at = rest.get("received_at", received_at)
    if not isinstance(at, int | float):
        raise Malformed("received_at in the private information (0002,0102) is not a number")
    return Envelope(
        sop_class_uid=str(rest.get("sop_class_uid", meta.sop_class_uid)),
        sop_instance_uid=str(rest.get("sop_instance_uid", meta.sop_instance_uid)),
        transfer_syntax=str(rest.get("transfer_syntax", meta.transfer_syntax)),
        calling_ae=str(rest.get("calling_ae", meta.source_ae)),
        called_ae=str(rest.get("called_ae", meta.receiving_ae)),
        peer=str(rest.get("peer", "")),
        address=str(rest.get("address", meta.source_address)),
        received_at=float(at),
        certificate=str(rest.get("certificate", "")),
    )


def _writable(text: str) -> str:
    """Put "?" for what UTF-8 with surrogate escapes can't say."""
    if text.isascii():
        return text
    return "".join(
        "?" if "\ud800" <= char < "\udc80" or "\udcff" < char <= "\udfff" else char for char in text
    )
