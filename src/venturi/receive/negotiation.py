"""What an association request is answered: a pure function of the request, and of who was let in.

Any number of storage contexts, one operation at a time, and we are the SCP: who asks to be one is told no, but for
Storage Commitment, where the SCP that we have asked calls us with its answer. Extended
negotiation of a storage class is answered (PS3.4 B.3.1): all attributes are kept, nothing is coerced, nothing is
promised of signatures. User identity is taken and not looked at, or required: who may send is decided by AE title, host
and certificate.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from venturi import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from venturi.config.schema import Accept
from venturi.dataset.syntaxes import IMPLICIT_VR_LITTLE_ENDIAN
from venturi.receive.contexts import choose, is_storage, welcome
from venturi.upper_layer import pdu
from venturi.upper_layer.command import COMMITMENT_PUSH, VERIFICATION

STORAGE_INFORMATION = bytes((2, 0, 0, 0, 0, 0))
"""Level of support 2 (full), of digital signatures 0 (unspecified), element coercion 0 (none)."""

PERMANENT, BY_USER, BY_ACSE = 1, 1, 2
APPLICATION_CONTEXT_NOT_SUPPORTED = (PERMANENT, BY_USER, 2)
PROTOCOL_VERSION_NOT_SUPPORTED = (PERMANENT, BY_ACSE, 2)


_SERVICES = (VERIFICATION, COMMITMENT_PUSH)


@dataclass(frozen=True, slots=True)
class Context:
    """An accepted presentation context."""

    abstract_syntax: str
    transfer_syntax: str


def unsuitable(request: pdu.Request) -> tuple[int, int, int] | None:
    """With which result, source and diagnostic a request is rejected, whoever sends it (PS3.8 Table 9-21)."""
    if not request.version_1:
        return PROTOCOL_VERSION_NOT_SUPPORTED
    if request.application_context != pdu.APPLICATION_CONTEXT:
        return APPLICATION_CONTEXT_NOT_SUPPORTED
    return None


def listens(request: pdu.Request, accepted: Mapping[int, Context]) -> bool:
    """Whether an association is there to be told about storage commitment: nothing can be stored, and it is an SCU."""
    wanted = {context.abstract_syntax for context in accepted.values()} - {VERIFICATION}
    roles = {uid.rstrip(b"\0").decode("latin-1"): scu for uid, scu, _ in request.user.roles}
    return wanted == {COMMITMENT_PUSH} and bool(roles.get(COMMITMENT_PUSH, 1))


def negotiate(
    request: pdu.Request,
    pdu_bytes: int,
    accept: Accept = Accept(),  # noqa: B008  # frozen
) -> tuple[dict[int, Context], bytes]:
    """Accept what is wanted of this peer: the contexts by their ids, and the A-ASSOCIATE-AC."""
    accepted: dict[int, Context] = {}
    results: list[tuple[int, int, str]] = []
    for proposed in request.contexts:
        abstract = proposed.abstract_syntax
        chosen = choose(abstract, proposed.transfer_syntaxes, accept) if abstract else None
        if chosen is not None:
            accepted[proposed.id] = Context(abstract, chosen)
            results.append((proposed.id, pdu.ACCEPTED, chosen))
            continue
        known = bool(abstract) and (abstract in _SERVICES or welcome(abstract, accept))
        result = pdu.TRANSFER_SYNTAXES_NOT_SUPPORTED if known else pdu.ABSTRACT_SYNTAX_NOT_SUPPORTED
        results.append(
            (proposed.id, result, next(iter(proposed.transfer_syntaxes), IMPLICIT_VR_LITTLE_ENDIAN))
        )
    classes = {context.abstract_syntax.encode("latin-1") for context in accepted.values()}
    answer = pdu.Answer(
        contexts=tuple(results),
        most_bytes=pdu_bytes,
        implementation_class=IMPLEMENTATION_CLASS_UID,
        implementation_version=IMPLEMENTATION_VERSION_NAME,
        roles=tuple(
            (uid, scu & 1, scp & 1 if uid.rstrip(b"\0") == COMMITMENT_PUSH.encode() else 0)
            for uid, scu, scp in request.user.roles
            if uid.rstrip(b"\0") in classes
        ),
        extended=tuple(
            (uid, STORAGE_INFORMATION)
            for uid, _ in request.user.extended
            if uid.rstrip(b"\0") in classes and is_storage(uid.rstrip(b"\0").decode("latin-1"))
        ),
    )
    return accepted, pdu.accept(request, answer)
