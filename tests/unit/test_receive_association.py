"""An association under bytes that nobody should send: it ends, says why, and keeps nothing."""

import gc
import socket
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unit.associations import CT, ECHO, EXPLICIT, Host, Wire, command_pdu, data_pdu, play, request_pdu, store
from venturi.receive import association as associations
from venturi.receive.association import Association
from venturi.upper_layer import command, pdu

RELEASE = pdu.HEADER.pack(pdu.RELEASE_RQ, 4) + bytes(4)
ABORT = pdu.abort(0, 0)


def pdus(said: bytes) -> list[tuple[int, bytes]]:
    """Types and bodies of the PDUs that were said."""
    found, at = [], 0
    while at < len(said):
        kind, length = pdu.HEADER.unpack_from(said, at)
        found.append((kind, said[at + 6 : at + 6 + length]))
        at += 6 + length
    assert at == len(said)
    return found


def kinds(said: bytes) -> list[int]:
    """Their types."""
    return [kind for kind, _ in pdus(said)]


def test_an_object_from_its_request_to_its_release() -> None:
    host = Host()
    said = play(host, request_pdu() + store(b"abc" * 1000, size=700) + RELEASE)
    assert kinds(said) == [pdu.ACCEPT, pdu.P_DATA_TF, pdu.RELEASE_RP]
    assert host.stored == [b"abc" * 1000]
    assert (host.abandoned, host.over) == (0, 1)


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=8), st.integers(1, 3000))
@settings(max_examples=40, deadline=None)
def test_however_the_network_cuts_it(cuts: list[int], size: int) -> None:
    host = Host()
    objects = [bytes([n]) * 4000 for n in range(3)]
    stream = (
        request_pdu()
        + b"".join(store(one, size=size, message_id=n) for n, one in enumerate(objects))
        + RELEASE
    )
    said = play(host, stream, cuts)
    assert kinds(said) == [pdu.ACCEPT, *[pdu.P_DATA_TF] * 3, pdu.RELEASE_RP]
    assert host.stored == objects


@pytest.mark.parametrize("size", range(992, 1009))
def test_the_buffer_grows_while_an_object_comes(size: int) -> None:
    """And wherever that cuts a header."""
    host, data = Host(), bytes(range(256)) * 400
    play(host, request_pdu() + store(data, size=size) + RELEASE)
    assert host.stored == [data]


def test_an_echo_is_answered_on_its_context_only() -> None:
    host = Host()
    verification = request_pdu([("1.2.840.10008.1.1", [EXPLICIT]), (CT, [EXPLICIT])])
    said = play(host, verification + command_pdu(ECHO, 1))
    (answer,) = [body for kind, body in pdus(said) if kind == pdu.P_DATA_TF]
    response = command.parse(answer[6:])
    assert command.number(response, command.FIELD) == command.C_ECHO_RSP
    assert command.number(response, command.RESPONDED_TO) == 7
    assert kinds(play(host, verification + command_pdu(ECHO, 3))) == [pdu.ACCEPT, pdu.ABORT]


AA_8 = [pdu.ACCEPT, pdu.ABORT]


@pytest.mark.parametrize(
    ("stream", "said", "reason"),
    [
        (request_pdu() + request_pdu(), AA_8, pdu.UNEXPECTED_PDU),
        (request_pdu() + pdu.reject(1, 1, 1), AA_8, pdu.UNEXPECTED_PDU),
        (request_pdu() + pdu.RELEASED, AA_8, pdu.UNEXPECTED_PDU),
        (request_pdu() + b"\x09\0\0\0\0\4abcd", AA_8, pdu.UNRECOGNIZED_PDU),
        (request_pdu() + b"\x04\0\xff\xff\xff\xff", AA_8, pdu.INVALID_PARAMETER),
        (request_pdu() + b"\x04\0\0\0\0\2ab", AA_8, pdu.INVALID_PARAMETER),
        (request_pdu() + pdu.HEADER.pack(4, 131073), AA_8, pdu.INVALID_PARAMETER),
        (request_pdu() + data_pdu(b"x" * 10, 1), AA_8, pdu.INVALID_PARAMETER),
        (request_pdu() + command_pdu(b"\1\2\3", 1), AA_8, pdu.INVALID_PARAMETER),
        (request_pdu() + command_pdu(ECHO, 99), AA_8, pdu.INVALID_PARAMETER),
        (request_pdu() + command_pdu(b"x" * 70_000, 1), AA_8, pdu.INVALID_PARAMETER),
        (request_pdu() + b"\x05\0\0\1\0\1", AA_8, pdu.INVALID_PARAMETER),
        (pdu.HEADER.pack(1, 1 << 31), [pdu.ABORT], None),
        (b"GET / HTTP/1.1\r\n\r\n", [pdu.ABORT], None),
        (data_pdu(b"x", 1), [pdu.ABORT], None),
        (RELEASE, [pdu.ABORT], None),
        (b"\1\0\0\0\0\4abcd", [pdu.ABORT], None),
        (ABORT, [], None),
        (request_pdu() + ABORT, [pdu.ACCEPT], None),
        (request_pdu() + ABORT + request_pdu(), [pdu.ACCEPT], None),
        (request_pdu() + RELEASE + store(b"late"), [pdu.ACCEPT, pdu.RELEASE_RP], None),
        (request_pdu() + RELEASE + request_pdu(), [pdu.ACCEPT, pdu.RELEASE_RP, pdu.ABORT], None),
        (b"", [], None),
        (request_pdu()[:50], [], None),
    ],
)
def test_what_comes_out_of_its_time_or_can_not_be_read(
    stream: bytes, said: list[int], reason: int | None
) -> None:
    host = Host()
    heard = play(host, stream)
    assert kinds(heard) == said
    aborted = [line for line in host.log.lines if line["event"] == "association aborted"]
    assert len(aborted) == (pdu.ABORT in said and pdu.RELEASE_RP not in said), "once, and with its reason"
    assert all(line["why"] for line in aborted)
    if reason is not None:
        assert heard[-2:] == bytes((pdu.ABORT_BY_PROVIDER, reason))
    assert (host.stored, host.open, host.over) == ([], 0, 1)


@pytest.mark.parametrize(
    "end", [b"", ABORT, RELEASE, b"\x09\0\0\0\0\4abcd"], ids=["lost", "abort", "release", "?"]
)
def test_an_object_that_is_not_finished_is_abandoned(end: bytes) -> None:
    host = Host()
    play(host, request_pdu() + store(b"abc" * 1000, whole=False) + end)
    assert (host.stored, host.abandoned, host.open) == ([], 1, 0)
    assert "association ended in mid-object" in [line["event"] for line in host.log.lines]


def test_who_is_refused_is_told_the_numbers_and_nothing_is_begun() -> None:
    host = Host(answer=(1, 1, 3))
    assert play(host, request_pdu() + store(b"abc")) == pdu.reject(1, 1, 3) + b""
    assert (host.stored, host.open, host.over) == ([], 0, 1)


def test_after_a_stop_nothing_is_begun() -> None:
    host = Host(may_begin=False)
    assert kinds(play(host, request_pdu() + store(b"abc"))) == AA_8


def test_no_text_of_the_peer_gets_into_the_log() -> None:
    host = Host()
    play(host, request_pdu(calling="DOE^JANE\x1b[") + command_pdu(b"DOE^JANE", 1))
    (line,) = [line for line in host.log.lines if line["event"] == "association aborted"]
    assert "JANE" not in line["why"]
    assert line["calling_ae"] == r"DOE^JANE\x1b["


SEEDS = [
    request_pdu() + store(b"abc" * 40, size=50) + RELEASE,
    request_pdu([("1.2.840.10008.1.1", [EXPLICIT])]) + command_pdu(ECHO, 1) + RELEASE,
]


@given(st.sampled_from(SEEDS), st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_is_changed_in_a_stream_it_ends_and_keeps_nothing_open(
    seed: bytes, data: st.DataObject
) -> None:
    stream = bytearray(seed)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(stream)))
        stream[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    host = Host()
    said = play(host, bytes(stream), [data.draw(st.integers(1, 300))])
    kinds(said)
    assert (host.open, host.over, host.log.mistakes) == (0, 1, [])


@contextmanager
def connected(host: Host) -> Iterator[tuple[socket.socket, Association]]:
    """A real connection to an association in its thread."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as peer,
    ):
        client, address = server.accept()
        running = Association(host, client, str(address[0]))
        running.start()
        try:
            yield peer, running
        finally:
            running.hang_up()
            running.join(5)
            assert not running.is_alive()


def ended_s(running: Association, began: float) -> float:
    running.join(10)
    assert not running.is_alive()
    return time.monotonic() - began


@pytest.mark.parametrize(
    "sent", [b"", b"\1\0\0", request_pdu()[:100]], ids=["nothing", "half a header", "half"]
)
def test_a_request_that_does_not_come_is_waited_for_until_its_deadline(
    sent: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    host, began = Host(timeout_s=0.4), time.monotonic()
    with connected(host) as (peer, running):
        peer.sendall(sent)
        assert 0.3 < ended_s(running, began) < 2
        assert peer.recv(100) == b""
        assert running.silent is not bool(sent)
    said = "".join(capsys.readouterr())
    assert ("its request was not complete in time" in said) is bool(sent), "who says nothing is counted"


def test_a_request_that_drips_is_not_waited_for_longer() -> None:
    host, began = Host(timeout_s=0.5), time.monotonic()
    with connected(host) as (peer, running):

        def drip() -> None:
            for byte in request_pdu():
                try:
                    peer.sendall(bytes([byte]))
                except OSError:
                    return
                time.sleep(0.05)

        dripping = threading.Thread(target=drip)
        dripping.start()
        assert 0.4 < ended_s(running, began) < 3
        dripping.join(15)


@pytest.mark.parametrize("every_s", [0.0, 0.1], ids=["silent", "dripping"])
def test_so_is_an_object_that_stops(every_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(associations, "CLOSE_S", 0.2)
    host = Host(timeout_s=0.6)
    with connected(host) as (peer, running):
        peer.sendall(request_pdu() + store(bytes(50_000), size=40_000)[:30_000])
        began = time.monotonic()
        while every_s and time.monotonic() < began + 1.5:
            try:
                peer.sendall(b"x")
            except OSError:
                break
            time.sleep(every_s)
        assert ended_s(running, began) < 4
    assert (host.abandoned, host.open) == (1, 0)


def test_a_peer_that_does_not_close_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(associations, "CLOSE_S", 0.2)
    host, began = Host(timeout_s=5), time.monotonic()
    with connected(host) as (peer, running):
        peer.sendall(request_pdu() + RELEASE)
        assert ended_s(running, began) < 4


def test_one_that_is_asked_to_abort_says_so() -> None:
    host = Host(timeout_s=5)
    with connected(host) as (peer, running):
        peer.sendall(request_pdu())
        assert peer.recv(6)[0] == pdu.ACCEPT
        running.ask_to_abort()
        heard = b""
        while more := peer.recv(4096):
            heard += more
        assert heard.endswith(pdu.abort(pdu.ABORT_BY_USER, pdu.NOT_SPECIFIED))


def test_one_that_has_not_yet_begun_just_ends() -> None:
    host, began = Host(timeout_s=20), time.monotonic()
    with connected(host) as (peer, running):
        running.ask_to_abort()
        assert ended_s(running, began) < 5
        assert peer.recv(100) == b""
        assert not running.silent, "that was us"


def test_a_peer_that_reads_no_answers_does_not_hold_it_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(timeout_s=0.5)
    with connected(host) as (peer, running):
        peer.sendall(request_pdu())
        peer.settimeout(5)
        one = store(b"x" * 10)
        with suppress(OSError):  # reset, broken pipe or timed out, as it comes
            for _ in range(1_000_000):
                peer.sendall(one * 100)
        running.join(10)
        assert not running.is_alive()


def test_a_wire_of_the_tests_gives_what_it_was_given() -> None:
    wire, view = Wire(b"abcdef", [4]), memoryview(bytearray(10))
    assert [wire.recv_into(view) for _ in range(3)] == [4, 2, 0]


def test_its_buffer_goes_when_it_is_over() -> None:
    """Many modalities open an association for each image: nothing waits for Python to look for cycles."""
    gc.collect()
    gc.disable()
    try:
        tracemalloc.start()
        for _ in range(20):
            play(Host(), request_pdu() + store(bytes(50_000), whole=False) + RELEASE)
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
        gc.enable()
    assert held < 2 * associations.BUFFER_BYTES
