"""A short run of the fuzzer; ``make fuzz`` is the long one."""

import pytest

from fuzz.receive import CHUNK, run


@pytest.mark.parametrize("seed", range(5))
def test_no_stream_makes_an_association_do_what_it_should_not(seed: int) -> None:
    assert CHUNK == 2000
    assert run(seed) == (seed, "")
