"""When and how fast a destination is delivered to."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venturi.config.values import Rate, Window, rate_of, window_of
from venturi.deliver.breaker import Breaker
from venturi.deliver.pace import Pace
from venturi.deliver.retry import Backoff


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("5/s", Rate(5.0)),
        ("30/min", Rate(0.5)),
        ("100 Mbit/s", Rate(None, 12.5e6)),
        ("512kbit/s", Rate(None, 64e3)),
        ("1 Gbit/s, 3600/h", Rate(1.0, 125e6)),
    ],
)
def test_rates(text: str, rate: Rate) -> None:
    assert rate_of(text) == rate


@pytest.mark.parametrize("text", ["", "5", "0/s", "100 MB/s", "5/day", "-1/s", "5/s;6/s", "1e3/s"])
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(ValueError, match="is not a rate: write 5/s"):
        rate_of(text)


@given(st.integers(0, 1439), st.integers(0, 1440), st.integers(0, 1439))
def test_a_window_and_the_rest_of_the_day_are_a_day(start: int, end: int, minute: int) -> None:
    if start == end or (start, end) == (0, 1440):
        return
    window = Window(start, end)
    rest = Window(end % 1440, start or 1440)
    assert window_of(str(window)) == window
    assert window.holds(minute) != rest.holds(minute)


@pytest.mark.parametrize(
    "text", ["", "20:00", "20-6", "24:00-06:00", "20:60-06:00", "06:00-06:00", "06:00-24:01"]
)
def test_what_is_no_window(text: str) -> None:
    with pytest.raises(ValueError, match=r"write FROM-TO such as 20:00-06:00"):
        window_of(text)


def test_a_pace_keeps_its_callers_to_it_and_saves_nothing_up() -> None:
    pace = Pace(objects_per_s=50)
    time.sleep(0.2)
    began = time.monotonic()
    for _ in range(6):
        pace.object()
    assert time.monotonic() - began >= 5 / 50
    pace = Pace(bytes_per_s=1e6)
    began = time.monotonic()
    for _ in range(5):
        pace.bytes(20_000)
    assert time.monotonic() - began >= 4 * 0.02


def test_a_pace_that_is_stopped_keeps_nobody() -> None:
    pace = Pace(objects_per_s=0.01, bytes_per_s=1)
    pace.stop()
    began = time.monotonic()
    for _ in range(10):
        pace.object()
        pace.bytes(1 << 20)
    assert time.monotonic() - began < 5


def test_a_breaker_opens_longer_each_time_and_closes_when_something_arrives() -> None:
    breaker = Breaker("pacs", Backoff(first_s=1, ceiling_s=100))
    assert (breaker.closed, breaker.wait_s()) == (True, 0)
    waits = []
    for _ in range(12):
        breaker.failed("unreachable")
        waits.append(breaker.wait_s())
        assert not breaker.closed
    assert 0 < waits[0] <= 1
    assert waits[4] > 7
    assert 29 < max(waits) <= 60, "a destination that is back is noticed within a minute"
    breaker.worked()
    assert (breaker.closed, breaker.wait_s()) == (True, 0)
