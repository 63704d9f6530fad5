"""The upper layer's state machine of an acceptor, as the table it is in the standard (PS3.8 9.2, Table 9-10).

States that pass within one call of ours are left out: what is asked of a person or of a service user there (Sta3,
Sta8) is decided at once. So are those of a requestor, and those of a release that we would ask for: this side aborts.
"""

from enum import Enum


class State(Enum):
    """Of an association, by the standard's numbers."""

    IDLE = 1
    """No connection any more."""
    AWAITING_REQUEST = 2
    ESTABLISHED = 6
    AWAITING_CLOSE = 13
    """All is said; the peer is to close the connection."""


class Event(Enum):
    """What happens, by the standard's numbers."""

    ACCEPT_RECEIVED = 3
    REJECT_RECEIVED = 4
    REQUEST_RECEIVED = 6
    P_DATA_RECEIVED = 10
    RELEASE_REQUEST_RECEIVED = 12
    RELEASE_RESPONSE_RECEIVED = 13
    ABORT_ASKED = 15
    """By ourselves."""
    ABORT_RECEIVED = 16
    CONNECTION_CLOSED = 17
    TIMER_EXPIRED = 18
    INVALID_PDU = 19


class Action(Enum):
    """What is done (PS3.8 Tables 9-6 to 9-9)."""

    DECIDE = "AE-6"
    """On a request: accept (AE-7) or reject (AE-8)."""
    TAKE_DATA = "DT-2"
    RELEASE = "AR-2"
    """And at once AR-4: confirm, and wait for the end."""
    CLOSED_AS_AGREED = "AR-5"
    ABORT = "AA-1"
    """As its user, and wait for the end."""
    CLOSE = "AA-2"
    ABORTED = "AA-3"
    """By the peer: close."""
    LOST = "AA-4"
    """The connection, in the middle of everything."""
    GONE = "AA-5"
    """The connection, before there was an association."""
    IGNORE = "AA-6"
    ABORT_AGAIN = "AA-7"
    ABORT_FOR_FAULT = "AA-8"
    """As its provider, and wait for the end."""


_STATES = (State.AWAITING_REQUEST, State.ESTABLISHED, State.AWAITING_CLOSE)
_A = Action
_ROWS: dict[Event, tuple[Action | None, Action | None, Action | None]] = {
    Event.ACCEPT_RECEIVED: (_A.ABORT, _A.ABORT_FOR_FAULT, _A.IGNORE),
    Event.REJECT_RECEIVED: (_A.ABORT, _A.ABORT_FOR_FAULT, _A.IGNORE),
    Event.REQUEST_RECEIVED: (_A.DECIDE, _A.ABORT_FOR_FAULT, _A.ABORT_AGAIN),
    Event.P_DATA_RECEIVED: (_A.ABORT, _A.TAKE_DATA, _A.IGNORE),
    Event.RELEASE_REQUEST_RECEIVED: (_A.ABORT, _A.RELEASE, _A.IGNORE),
    Event.RELEASE_RESPONSE_RECEIVED: (_A.ABORT, _A.ABORT_FOR_FAULT, _A.IGNORE),
    Event.ABORT_ASKED: (None, _A.ABORT, None),
    Event.ABORT_RECEIVED: (_A.CLOSE, _A.ABORTED, _A.CLOSE),
    Event.CONNECTION_CLOSED: (_A.GONE, _A.LOST, _A.CLOSED_AS_AGREED),
    Event.TIMER_EXPIRED: (_A.CLOSE, None, _A.CLOSE),
    Event.INVALID_PDU: (_A.ABORT, _A.ABORT_FOR_FAULT, _A.ABORT_AGAIN),
}
TABLE: dict[tuple[Event, State], Action] = {
    (event, state): action
    for event, row in _ROWS.items()
    for state, action in zip(_STATES, row, strict=True)
    if action is not None
}
"""What is missing can't happen."""
