"""Whatever a worker says, it is an answer, a request, an allowed error, or nothing."""

import builtins
import os
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venturi.errors import ConfigError, Damaged, SpoolFull
from venturi.model import (
    Decision,
    Envelope,
    HeaderSummary,
    Instance,
    Judgement,
    Lossy,
    Outcome,
    Reason,
    Target,
)
from venturi.transcode.messages import answers, is_proper, read
from venturi.transcode.port import Compress, Compressed, Judge
from venturi.transcode.shares import Done, Phase, Request, Share

TARGET = Target(
    "1.2.840.10008.1.2.4.81", (("from", ("lossless",)), ("j2k_cr", (10.0, 5)), ("jls_error", 2)), 0.1
)
INSTANCE = Instance(
    "0" * 32, "f" * 64, 512, Envelope("1.2", "1.3", "1.2.840.10008.1.2.1", "A", "B", "p", "::1", 1.5)
)
OUTCOME = Outcome(
    TARGET, "1.2.840.10008.1.2.1", 512, "f" * 64, Reason.NO_SAVING, lossy=Lossy("1.4", 9.5, 2, None)
)
JUDGEMENT = Judgement(
    INSTANCE, (Decision("here", "all", TARGET),), (OUTCOME,), "", HeaderSummary("1", "2", "CT"), "c"
)
SHARE = Share(0, Phase.ENCODE, "/a", TARGET, "/b.part", 0, 2, 1 << 20, 12)
REQUEST = Request((SHARE, replace(SHARE, number=1, first=2, last=4)), 1000)
JOB = Compress("1", "/a", "/b.part", 1 << 22, TARGET)


@pytest.mark.parametrize(
    "said", [JUDGEMENT, Compressed("1", OUTCOME), REQUEST, Done(3, Reason.FRAMES, "x"), Judgement(INSTANCE)]
)
def test_what_it_may_say_is_heard(said: object) -> None:
    assert read(pickle.dumps(said)) == said


@pytest.mark.parametrize(
    "raised", [Damaged("x"), SpoolFull("y"), FileNotFoundError(2, "no"), OSError(28, "full")]
)
def test_so_is_what_it_may_raise(raised: Exception) -> None:
    heard = read(pickle.dumps(raised))
    assert type(heard) is type(raised)
    assert str(heard) == str(raised)


class Runs:
    """Runs a command where it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("true",)


@pytest.mark.parametrize(
    "said",
    [
        Runs(),
        builtins.eval,
        Path("/a"),
        SHARE,
        INSTANCE,
        JOB,
        ConfigError(["x"]),
        ValueError("x"),
        "ready",
        None,
        (Done(1),),
        Done("1"),  # type: ignore[arg-type]
        Done(1, "no-reason"),  # type: ignore[arg-type]
        Done(True),
        Request([SHARE]),  # type: ignore[arg-type]
        Request((replace(SHARE, target=None),)),  # type: ignore[type-var]
        Request((replace(SHARE, first=0.0),)),  # type: ignore[type-var]
        Request((replace(SHARE, source=b"/a"),)),  # type: ignore[type-var]
        replace(JUDGEMENT, outcomes=(1, 2)),  # type: ignore[arg-type]
        replace(JUDGEMENT, outcomes=(replace(OUTCOME, detail=7),)),  # type: ignore[arg-type]
        replace(
            JUDGEMENT, decisions=(replace(JUDGEMENT.decisions[0], target=replace(TARGET, parameters=("x",))),)
        ),
        Compressed(1, OUTCOME),  # type: ignore[arg-type]
    ],
)
def test_nothing_else_is(said: object) -> None:
    assert read(pickle.dumps(said)) is None


@given(st.binary(max_size=200))
def test_no_bytes_make_it_raise(data: bytes) -> None:
    read(data)


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_nor_does_a_message_with_a_wrong_byte(at: int, value: int) -> None:
    data = bytearray(pickle.dumps(REQUEST))
    data[at % len(data)] = value
    read(bytes(data))


def test_an_answer_is_to_what_was_asked() -> None:
    assert answers(JUDGEMENT, Judge(INSTANCE))
    assert answers(Compressed("1", OUTCOME), JOB)
    assert not answers(JUDGEMENT, Judge(replace(INSTANCE, id="1" * 32)))
    assert not answers(Compressed("2", OUTCOME), JOB)
    assert not answers(JUDGEMENT, JOB)
    assert not answers(Done(1), JOB)
    assert not answers(None, JOB)


def test_a_request_is_for_shares_of_the_job_in_order() -> None:
    one, two = REQUEST.shares
    assert is_proper(REQUEST, JOB)
    assert is_proper(REQUEST, Judge(INSTANCE))
    for wrong in (
        (),
        (one,),
        (two, one),
        (one, one),
        (one, replace(two, source="/etc/passwd")),
        (one, replace(two, rendition="/etc/passwd")),
        (one, replace(two, phase=Phase.PROVE)),
        (one, replace(two, first=4)),
        (one, replace(two, size_bytes=0)),
        (one, replace(two, size_bytes=1 << 42)),
        (one, replace(two, size_bytes=10**400)),
        tuple(replace(one, number=number) for number in range(5000)),
    ):
        assert not is_proper(Request(wrong), JOB)
    other = tuple(replace(share, source="/etc/passwd") for share in REQUEST.shares)
    assert not is_proper(Request(other), JOB)
