"""P-DATA-TF taken apart, however it is cut."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from venturi.errors import Malformed
from venturi.receive.p_data import PData


class Heard:
    """What a message handler is told; pieces of one fragment and of one dataset are joined."""

    def __init__(self) -> None:
        self.messages: list[tuple[int, str, bytes]] = []
        self._context = 0
        self._now = b""
        self.pieces = 0

    def begin_fragment(self, context_id: int, *, of_command: bool) -> None:
        self._context = context_id

    def take_command(self, data: memoryview) -> None:
        self._now += bytes(data)

    def take_dataset(self, data: memoryview) -> None:
        self._now += bytes(data)
        self.pieces += 1

    def end_command(self) -> None:
        self._end("command")

    def end_dataset(self) -> None:
        self._end("dataset")

    def _end(self, kind: str) -> None:
        self.messages.append((self._context, kind, self._now))
        self._now = b""


FRAGMENTS = st.lists(st.binary(max_size=40), min_size=1, max_size=5)
MESSAGES = st.lists(st.tuples(st.booleans(), FRAGMENTS), min_size=1, max_size=5)


def values(messages: list[tuple[bool, list[bytes]]]) -> list[bytes]:
    """One presentation data value for each fragment."""
    return [
        struct.pack(">IBB", len(data) + 2, 1, is_command + 2 * (at == len(fragments) - 1)) + data
        for is_command, fragments in messages
        for at, data in enumerate(fragments)
    ]


def feed(heard: Heard, pdus: list[bytes], sizes: list[int]) -> None:
    """Give PDUs' bodies through a buffer, so many bytes at a time, as an association does."""
    data = PData(heard)  # type: ignore[arg-type]  # as much of Messages as it uses
    view, turn = memoryview(bytearray(64)), 0
    for body in pdus:
        data.left, given, rest = len(body), 0, 0
        while data.left:
            size = min(sizes[turn % len(sizes)], len(body) - given, len(view) - rest)
            assert size, "it waits for more than there is"
            view[rest : rest + size] = body[given : given + size]
            start = data.take(view, 0, rest + size)
            view[: rest + size - start] = bytes(view[start : rest + size])
            given, rest, turn = given + size, rest + size - start, turn + 1
        assert (given, rest) == (len(body), 0)


@settings(deadline=None)
@given(MESSAGES, st.lists(st.integers(1, 64), min_size=1, max_size=6), st.integers(1, 4))
def test_what_is_told_does_not_depend_on_where_it_is_cut(
    messages: list[tuple[bool, list[bytes]]], sizes: list[int], together: int
) -> None:
    parts = values(messages)
    pdus = [b"".join(parts[at : at + together]) for at in range(0, len(parts), together)]
    heard = Heard()
    feed(heard, pdus, sizes)
    assert heard.messages == [
        (1, "command" if is_command else "dataset", b"".join(fragments)) for is_command, fragments in messages
    ]


def test_a_datasets_fragments_that_lie_together_are_given_in_one_piece() -> None:
    heard = Heard()
    body = b"".join(values([(False, [bytes([n]) * 5 for n in range(4)])]))
    data = PData(heard)  # type: ignore[arg-type]  # as much of Messages as it uses
    data.left = len(body)
    assert data.take(memoryview(bytearray(body)), 0, len(body)) == len(body)
    assert heard.messages == [(1, "dataset", b"".join(bytes([n]) * 5 for n in range(4)))]
    assert heard.pieces == 1


@pytest.mark.parametrize(
    "body",
    [
        b"\0\0\0\1\1\2",
        b"\0\0\0\0\1\2",
        b"\0\0\0\7\1\2abcd",
        b"\xff\xff\xff\xff\1\2",
        b"\0\0\0\3\1",
        b"\0\0\0\3\1\2a\0\0",
    ],
    ids=[
        "shorter than its header",
        "empty",
        "longer than the PDU",
        "4 GiB",
        "cut off",
        "a rest that is none",
    ],
)
def test_a_value_that_can_not_be_is_malformed(body: bytes) -> None:
    data = PData(Heard())  # type: ignore[arg-type]  # as much of Messages as it uses
    data.left = len(body)
    with pytest.raises(Malformed):
        data.take(memoryview(bytearray(body)), 0, len(body))
