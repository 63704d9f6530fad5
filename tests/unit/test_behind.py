"""Work done in batches behind those who bring it."""

import threading
import time
from collections.abc import Sequence

import pytest

from venturi.behind import Behind


def test_everything_is_done_once_and_in_order_when_the_context_ends() -> None:
    done: list[int] = []
    with Behind[int](done.extend, lambda: None, 60) as behind:
        for number in range(100):
            behind.put(number)
    assert done == list(range(100))


def test_what_comes_during_a_batch_goes_together_in_the_next() -> None:
    batches: list[list[int]] = []
    begun, go = threading.Event(), threading.Event()

    def do(batch: Sequence[int]) -> None:
        batches.append(list(batch))
        begun.set()
        go.wait(30)

    with Behind[int](do, lambda: None, 60) as behind:
        behind.put(0)
        assert begun.wait(30)
        for number in range(1, 5):
            behind.put(number)
        go.set()
    assert batches == [[0], [1, 2, 3, 4]]


def test_a_failure_is_raised_at_the_end_and_nothing_more_is_done() -> None:
    done: list[int] = []

    def do(batch: Sequence[int]) -> None:
        done.extend(batch)
        raise OSError("full")

    def use() -> None:
        with Behind[int](do, lambda: None, 60) as behind:
            behind.put(1)
            until = time.monotonic() + 30
            while not behind.failed and time.monotonic() < until:
                time.sleep(0.01)
            assert behind.failed
            behind.put(2)

    with pytest.raises(OSError, match="full"):
        use()
    assert done == [1]


@pytest.mark.parametrize("busy", [False, True])
def test_meanwhile_is_called_again_and_again(busy: bool) -> None:
    calls = threading.Semaphore(0)
    with Behind[int](lambda _: None, calls.release, 0.05) as behind:
        for _ in range(3):
            if busy:
                behind.put(1)
            assert calls.acquire(timeout=30)
