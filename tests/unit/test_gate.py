"""Alone means alone, for a time; nobody waits for ever."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from hypothesis import given, settings
from hypothesis import strategies as st

from venturi.transcode.gate import Gate

LONG_S = 20.0


@contextmanager
def inside(gate: Gate, *, alone: bool = False) -> Iterator[threading.Event]:
    """Another thread that goes in and stays until the block ends; the event says that it is in."""
    leave, entered = threading.Event(), threading.Event()

    def go() -> None:
        with gate.enter(alone=alone):
            entered.set()
            leave.wait(LONG_S)

    thread = threading.Thread(target=go)
    thread.start()
    try:
        yield entered
    finally:
        leave.set()
        thread.join(LONG_S)
        assert not thread.is_alive()


def waiting(gate: Gate, count: int) -> None:
    """Wait until so many stand before the gate."""
    until = time.monotonic() + LONG_S
    while len(gate._waiting) != count:
        assert time.monotonic() < until
        time.sleep(0.001)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=6), min_size=1, max_size=5))
def test_whoever_is_alone_is_alone_and_everybody_gets_in(visits: list[list[bool]]) -> None:
    gate = Gate(LONG_S, LONG_S)
    lock, inside_now, wrong = threading.Lock(), [], []

    def visit(alones: list[bool]) -> None:
        for alone in alones:
            with gate.enter(alone=alone):
                with lock:
                    inside_now.append(alone)
                    if len(inside_now) > 1 and any(inside_now):
                        wrong.append(list(inside_now))
                time.sleep(0.0005)
                with lock:
                    inside_now.remove(alone)

    threads = [threading.Thread(target=visit, args=(alones,)) for alones in visits]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG_S)
        assert not thread.is_alive()
    assert wrong == []


def test_many_go_in_side_by_side() -> None:
    gate = Gate(LONG_S, LONG_S)
    with inside(gate) as first, inside(gate) as second:
        assert first.wait(LONG_S)
        assert second.wait(LONG_S)


def test_who_comes_later_waits_behind_who_wants_to_be_alone() -> None:
    gate = Gate(LONG_S, LONG_S)
    with gate.enter():
        alone = inside(gate, alone=True)
        late = inside(gate)
        lonely = alone.__enter__()
        waiting(gate, 1)
        later = late.__enter__()
        waiting(gate, 2)
        assert not lonely.is_set()
        assert not later.is_set()
    assert lonely.wait(LONG_S)
    waiting(gate, 1)
    assert not later.is_set()
    alone.__exit__(None, None, None)
    assert later.wait(LONG_S)
    late.__exit__(None, None, None)


def test_who_waits_too_long_to_be_alone_goes_in_beside_the_others() -> None:
    gate = Gate(0.05, LONG_S)
    with inside(gate) as first:
        assert first.wait(LONG_S)
        with inside(gate, alone=True) as second, inside(gate) as third:
            assert second.wait(LONG_S)
            assert third.wait(LONG_S)


def test_who_is_alone_too_long_is_joined_by_the_others() -> None:
    gate = Gate(LONG_S, 0.05)
    with inside(gate, alone=True) as first:
        assert first.wait(LONG_S)
        with inside(gate) as second:
            assert second.wait(LONG_S)


def test_an_error_inside_lets_the_next_in() -> None:
    gate = Gate(LONG_S, LONG_S)
    try:
        with gate.enter(alone=True):
            raise OSError
    except OSError:
        pass
    with inside(gate) as next_one:
        assert next_one.wait(LONG_S)
