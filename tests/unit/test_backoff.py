"""When a delivery is tried again, and when it is held."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venturi.deliver.port import Ending
from venturi.deliver.retry import Backoff
from venturi.deliver.status import judge
from venturi.ledger.port import State

tries = st.integers(1, 10**9)
chance = st.floats(0, 1)


@given(tries, chance)
def test_a_wait_is_never_longer_than_the_ceiling_nor_shorter_than_half_the_first(
    count: int, part: float
) -> None:
    policy = Backoff()
    assert policy.first_s / 2 <= policy.delay_s(count, part) <= policy.ceiling_s == 15 * 60


@given(tries, chance)
def test_waits_never_get_shorter_with_more_tries(count: int, part: float) -> None:
    assert Backoff().delay_s(count, part) <= Backoff().delay_s(count + 1, part)


@given(tries)
def test_chance_spreads_a_wait_over_half_of_it(count: int) -> None:
    assert Backoff().delay_s(count, 1.0) == 2 * Backoff().delay_s(count, 0.0)


def test_waits_double() -> None:
    assert [Backoff(first_s=5).delay_s(count, 1.0) for count in range(1, 10)] == [
        5, 10, 20, 40, 80, 160, 320, 640, 900,
    ]  # fmt: skip


@given(st.integers(0, 10**9))
def test_later_is_tried_for_ever(refused: int) -> None:
    assert Backoff().state(Ending.LATER, "A700", refused) is State.PENDING


def test_a_refusal_is_held_after_three() -> None:
    assert [Backoff().state(Ending.REFUSED, "A900", before) for before in range(4)] == [
        State.PENDING,
        State.PENDING,
        State.HELD,
        State.HELD,
    ]


@pytest.mark.parametrize("status", ["damaged", "conflict"])
def test_what_no_repetition_changes_is_held_at_once(status: str) -> None:
    assert Backoff().state(Ending.REFUSED, status, 0) is State.HELD


@given(st.integers(0, 0xFFFF))
def test_only_success_and_warnings_count_as_delivered(status: int) -> None:
    assert (judge(status) is Ending.DELIVERED) == (status == 0 or 0xB000 <= status <= 0xBFFF)
