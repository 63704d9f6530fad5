"""One association as requestor, once it is established: a socket, a buffer, and nothing in between.

What is sent comes in pieces (see ``ahead.py``); each goes with the headers of its fragments by one system call. What
the peer says is acknowledged at once, since it may wait for that with the rest of its answer, and every wait has a
deadline; that for an answer grows with the object.
"""

import contextlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from venturi.dataset.uids import printable, tolerable_uid
from venturi.deliver.pace import MOST_BYTES
from venturi.deliver.wire import ANSWER_BYTES, Lost, Wire
from venturi.errors import Malformed, Permanent
from venturi.upper_layer import command, pdu

FRAGMENT_BYTES = 131066
"""Of a dataset in one PDU at most, whatever the peer takes: 128 KiB with the header (PS3.8 9.3.5.1)."""
ANSWER_BYTES_PER_S = 1 << 20
"""How fast a peer is trusted to store what it received: a large object gets more time to be answered."""
DATASET_BYTES = 1 << 22
"""The longest that comes with a request of the peer."""
HEAR_S = 0.5
"""How often who waits for a word of the peer looks whether anybody waits still."""
RELEASE_S = 5.0
"""How long a peer may take to release."""


class FileDamaged(Permanent):
    """The file is not what it was; it was not sent."""


@dataclass(frozen=True, slots=True)
class Context:
    """A presentation context of one transfer syntax (PS3.8 7.1.1.13)."""

    sop_class_uid: str
    transfer_syntax: str


@dataclass(frozen=True, slots=True)
class Object:
    """What one C-STORE sends."""

    path: Path
    offset: int
    """Where its dataset begins in the file."""
    size_bytes: int
    sha256: str
    context: Context
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class Hear:
    """A request that the peer may make."""

    field: int
    """Its Command Field."""
    take: Callable[[bytes, Context], int]
    """Takes its dataset, and gives the status that it is answered."""


class OpenAssociation:
    """An established association, used by one thread."""

    def __init__(
        self,
        wire: Wire,
        accepted: dict[Context, int],
        most_bytes: int,
        timeout_s: float,
        given_up: Callable[[], bool] = lambda: False,
    ) -> None:
        self._wire, self._given_up = wire, given_up
        self._ids = accepted
        self._timeout_s = timeout_s
        self._message_id = 0
        # 6 for the header of the fragment, which is even (PS3.7 6.3.1); 0 is any
        self._fragment_bytes = min(FRAGMENT_BYTES, (most_bytes or FRAGMENT_BYTES) - 6) & ~1

    @property
    def accepted(self) -> tuple[Context, ...]:
        """The contexts that the peer accepted."""
        return tuple(self._ids)

    @property
    def alive(self) -> bool:
        """Whether it can be used still."""
        return self._wire.open

    def usable(self) -> bool:
        """Whether it can be used still, after it was not for a while."""
        return self._wire.open and self._wire.quiet()

    def echo(self) -> int:
        """Ask for a C-ECHO: the status. Raises Lost."""
        (context_id,) = self._ids.values()
        self._message_id += 1
        self._wire.send([command.p_data_tf(context_id, command.echo_request(self._message_id))])
        status, _ = self._answer(command.C_ECHO_RSP, self._timeout_s)
        return status

    def store(
        self,
        item: Object,
        pieces: Iterable[tuple[memoryview, bool]],
        pace: Callable[[int], None] = lambda _: None,
        at_once: int = MOST_BYTES,
    ) -> tuple[int, str]:
        """Send one object: the peer's status and comment. Raises Lost, FileDamaged.

        ``pieces``: its dataset, and for each piece whether it is the last; what fails before the first of them is sent
        leaves the association alive. ``pace`` is told how many bytes are to be sent, at most ``at_once``, and returns
        when they may.
        """
        self._message_id = self._message_id % 65535 + 1
        context_id = self._ids[item.context]
        request = command.store_request(self._message_id, item.context.sop_class_uid, item.sop_instance_uid)
        out: list[bytes | memoryview] = [command.p_data_tf(context_id, request)]
        begun = False
        try:
            for piece, last in pieces:
                for at in range(0, len(piece), at_once):
                    data = piece[at : at + at_once]
                    out += self._fragments(data, context_id, last=last and at + len(data) == len(piece))
                    pace(len(data))
                    begun = True
                    self._wire.send(out)
                    out = []
        except BaseException as error:
            if begun:
                self.abort()  # before the last fragment: the peer never has the whole of it
            if isinstance(error, OSError):
                raise Lost("unreadable", f"the file can't be read: {error.strerror}") from error
            raise
        return self._answer(command.C_STORE_RSP, self._timeout_s + item.size_bytes / ANSWER_BYTES_PER_S)

    def ask(
        self,
        context: Context,
        make: Callable[[int], bytes],
        dataset: bytes,
        answer: int,
        heard: Hear | None = None,
    ) -> int:
        """Send a command, made with its message id, and a small dataset: the status of its answer. Raises Lost.

        ``heard`` takes what the peer asks before it answers.
        """
        self._message_id = self._message_id % 65535 + 1
        whole = command.message(self._ids[context], make(self._message_id), dataset, self._fragment_bytes + 6)
        self._wire.send([whole])
        status, _ = self._answer(answer, self._timeout_s, self._given_up, heard)
        return status

    def hear(self, heard: Hear, within_s: float) -> bool:
        """Wait for a request of the peer, and answer it; whether it came. Raises Lost.

        Not longer than that, and not after ``given_up``.
        """
        until = time.monotonic() + within_s
        while self._wire.open and self._wire.quiet(HEAR_S):
            if time.monotonic() >= until or self._given_up():
                return False
        try:
            self._heard(heard, *self._message(time.monotonic() + self._timeout_s, self._given_up))
        except Malformed as error:
            self.abort()
            raise Lost("aborted", f"the peer did not ask as the standard says: {error}") from error
        return True

    def end(self) -> None:
        """Release the association; where it is broken, there is nothing left to do."""
        with contextlib.suppress(Lost):  # it is over in any case
            if self._wire.open:
                self._wire.send([pdu.RELEASE])
                kind, until = 0, time.monotonic() + min(RELEASE_S, self._timeout_s)
                while kind not in (pdu.RELEASE_RP, pdu.ABORT):
                    kind, _ = self._wire.pdu(until)
        self._wire.close()

    def abort(self) -> None:
        """End the association without ceremony."""
        with contextlib.suppress(Lost):  # it is over in any case
            if self._wire.open:
                self._wire.send([pdu.abort(pdu.ABORT_BY_USER, pdu.NOT_SPECIFIED)])
        self._wire.close()

    def _fragments(self, data: memoryview, context_id: int, *, last: bool) -> list[bytes | memoryview]:
        """Cut data in fragments, each behind its headers."""
        out: list[bytes | memoryview] = []
        for at in range(0, len(data), self._fragment_bytes):
            fragment = data[at : at + self._fragment_bytes]
            ends = last and at + len(fragment) == len(data)
            out += (pdu.fragment(context_id, len(fragment), of_command=False, last=ends), fragment)
        return out

    def _heard(self, heard: Hear, context_id: int, found: dict[int, bytes], dataset: bytes) -> None:
        """Answer a request of the peer. Raises Malformed, Lost."""
        context = next((each for each, number in self._ids.items() if number == context_id), None)
        if context is None or command.number(found, command.FIELD) != heard.field:
            raise Malformed("another command than was waited for")
        status, message_id = heard.take(dataset, context), command.number(found, command.MESSAGE_ID)
        uids = command.uid(found, command.SOP_CLASS), command.uid(found, command.SOP_INSTANCE)
        response = command.response(heard.field | 0x8000, message_id, status, *map(_tolerated, uids))
        self._wire.send([command.p_data_tf(context_id, response)])

    def _answer(
        self,
        field: int,
        within_s: float,
        given_up: Callable[[], bool] = lambda: False,
        heard: Hear | None = None,
    ) -> tuple[int, str]:
        """Wait for the response to the last request: its status and comment. Raises Lost; then it is not alive."""
        until = time.monotonic() + within_s
        try:
            context_id, found, dataset = self._message(until, given_up)
            if heard is not None and command.number(found, command.FIELD) == heard.field:  # it was faster
                self._heard(heard, context_id, found, dataset)
                _, found, _ = self._message(until, given_up)
            if command.number(found, command.FIELD) != field:
                raise Malformed("another command than a response")
            if command.number(found, command.RESPONDED_TO) != self._message_id:
                raise Malformed("a response to another request")
            comment = command.uid(found, command.ERROR_COMMENT).strip()
            return command.number(found, command.STATUS), printable(comment)
        except Malformed as error:
            self.abort()
            raise Lost("aborted", f"the peer did not answer as the standard says: {error}") from error
        except Lost:
            self.abort()
            raise

    def _message(
        self, until: float, given_up: Callable[[], bool] = lambda: False
    ) -> tuple[int, dict[int, bytes], bytes]:
        """Wait for a message: its context, command set and dataset. Raises Lost, Malformed."""
        said, dataset = bytearray(), bytearray()
        found: dict[int, bytes] | None = None
        while True:
            kind, body = self._wire.pdu(until, given_up)
            if kind == pdu.RELEASE_RQ:
                self._wire.send([pdu.RELEASED])
            if kind != pdu.P_DATA_TF:
                raise Lost("aborted", "the peer ended the association before it answered")
            for context_id, of_command, last, data in pdu.fragments(body):
                if of_command and found is None:
                    said += data
                elif found is not None and not of_command:
                    dataset += data
                if not last or (not of_command and found is None):
                    continue  # a dataset without its command is nobody's
                if of_command:
                    found = command.parse(said)
                if not of_command or command.number(found or {}, command.DATASET_TYPE) == command.NO_DATASET:
                    return context_id, found or {}, bytes(dataset)
            if len(said) > ANSWER_BYTES or len(dataset) > DATASET_BYTES:
                raise Malformed("a message that does not end")


def _tolerated(uid: str) -> str:
    return uid if tolerable_uid(uid) else ""
