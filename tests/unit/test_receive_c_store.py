"""The C-STORE handler, without a network."""

import struct
import time
import zlib
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.errors import InvalidDicomError
from structlog.testing import capture_logs

from venturi.config.schema import Accept, Limits
from venturi.dataset.part10 import read
from venturi.errors import Malformed, Temporary
from venturi.model import Instance
from venturi.receive.c_store import CStore
from venturi.receive.peek import LIMIT_BYTES, Peek
from venturi.receive.port import StoreRequest
from venturi.receive.recorder import Recorder
from venturi.receive.seats import Seats
from venturi.rules.parse import parse as condition
from venturi.spool.local import LocalSpool
from venturi.spool.memory import MemorySpool

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
CT = "1.2.840.10008.5.1.4.1.1.2"
REQUEST = StoreRequest(CT, "1.2.3", CT, EXPLICIT, "CT1", "VENTURI", "ct", "10.1.0.9")


CT_REQUEST = replace(REQUEST, sop_instance_uid="1.3.6.1.4.1.5962.1.1.1.1.1.20040119072730.12322")


class Rows:
    """The one method of a ledger that a recorder uses; it can fail."""

    def __init__(self) -> None:
        self.added: list[str] = []
        self.failing = False

    def add(self, instances: list[Instance]) -> int:
        if self.failing:
            raise Temporary("database is locked")
        self.added += [instance.id for instance in instances]
        return len(instances)


class Bell:
    def __init__(self) -> None:
        self.rung = 0

    def ring(self, role: object) -> None:
        self.rung += 1


class Parts:
    """A handler with all it needs."""

    def __init__(
        self,
        capacity_bytes: int | None = None,
        limits: Limits | None = None,
        policy: Accept | None = None,
    ) -> None:
        self.spool = MemorySpool() if capacity_bytes is None else MemorySpool(capacity_bytes=capacity_bytes)
        self.rows, self.bell = Rows(), Bell()
        self.recorder = Recorder(self.rows, self.bell)  # type: ignore[arg-type]  # as much of them as it uses
        policies = {} if policy is None else {"ct": policy}
        limits = limits or Limits(min_free=0.0)
        self.handler = CStore(self.spool.intake(), self.recorder, self.spool, limits, policies)

    def store(self, data: bytes, request: StoreRequest = REQUEST) -> int:
        store = self.handler.begin(request)
        for at in range(0, len(data), 100):
            store.write(data[at : at + 100])
        return store.finish()


@pytest.fixture(scope="module")
def ct() -> bytes:
    """The dataset of a CT, explicit VR little endian."""
    data = Path(str(get_testdata_file("CT_small.dcm"))).read_bytes()
    return data[read(BytesIO(data))[1] :]


@pytest.fixture
def parts() -> Iterator[Parts]:
    made = Parts()
    made.recorder.start()
    yield made
    made.recorder.stop(1)


def until(holds: object) -> None:
    end = time.monotonic() + 10
    while not holds():  # type: ignore[operator]  # a function
        assert time.monotonic() < end
        time.sleep(0.01)


def test_success_means_that_the_spool_has_it_and_a_row_follows(parts: Parts) -> None:
    assert parts.store(bytes(1000)) == 0x0000
    (instance,) = parts.spool.iterate()
    assert instance.size_bytes == 1000
    until(lambda: parts.rows.added == [instance.id])
    until(lambda: parts.bell.rung == 1)


def test_an_abandoned_object_leaves_nothing(parts: Parts) -> None:
    store = parts.handler.begin(REQUEST)
    store.write(bytes(1000))
    store.abandon()
    assert list(parts.spool.iterate()) == []


def test_what_is_not_a_uid_does_not_get_into_the_log(parts: Parts) -> None:
    with capture_logs() as logs:
        assert parts.store(b"x", replace(REQUEST, sop_instance_uid="1.2.DOE^JANE.3")) == 0x0117
        assert parts.store(b"x", replace(REQUEST, sop_class_uid="DOE^JANE")) == 0x0118
    assert [(line["sop_class_uid"], line["sop_instance_uid"]) for line in logs] == [
        (CT, "1.2.????????.3"),
        ("????????", "1.2.3"),
    ]


def test_a_full_spool_is_A700_and_intake_goes_on() -> None:  # noqa: N802 - the status as the standard writes it
    parts = Parts(capacity_bytes=500)
    assert parts.store(bytes(1000)) == 0xA700
    assert parts.handler.accepting()
    assert parts.store(bytes(100)) == 0x0000


def test_a_failed_sync_stops_intake(parts: Parts) -> None:
    parts.spool.broken = True
    assert parts.store(bytes(100)) == 0xA700
    parts.spool.broken = False
    assert not parts.handler.accepting()
    assert parts.store(bytes(100)) == 0xA700
    assert list(parts.spool.iterate()) == []


def test_an_unexpected_error_of_the_spool_is_never_success(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: object) -> Instance:
        raise ValueError("a mistake")

    monkeypatch.setattr("venturi.spool.memory.MemoryDraft.commit", fails)
    assert parts.store(bytes(100)) == 0xA700


def test_a_ledger_that_takes_no_rows_stops_intake_until_it_does(parts: Parts) -> None:
    parts.rows.failing = True
    assert parts.store(bytes(100)) == 0x0000
    until(lambda: not parts.handler.accepting())
    assert parts.store(bytes(100)) == 0xA700
    parts.rows.failing = False
    until(parts.handler.accepting)
    assert len(parts.rows.added) == 1
    assert parts.store(bytes(100)) == 0x0000


def test_a_stop_writes_the_rows_that_wait() -> None:
    parts = Parts()
    for _ in range(600):
        assert parts.store(bytes(8)) == 0x0000
    parts.recorder.start()
    parts.recorder.stop()
    assert len(parts.rows.added) == 600


def test_what_a_sweep_found_is_recorded_before_serving() -> None:
    parts = Parts()
    parts.store(bytes(8))
    (instance,) = parts.spool.iterate()
    assert parts.recorder.recover([instance]) == 1
    assert parts.rows.added == [instance.id]


def test_below_the_watermark_new_associations_are_not_admitted() -> None:
    parts = Parts(capacity_bytes=1000, limits=Limits(min_free=0.6))
    assert parts.store(bytes(500)) == 0x0000
    assert not parts.handler.accepting()
    assert parts.store(bytes(100)) == 0x0000, "running associations may use the reserve"


@given(st.text(max_size=80))
def test_only_digits_and_dots_name_an_instance(uid: str) -> None:
    parts = Parts()
    request = StoreRequest(CT, uid, CT, EXPLICIT, "CT1", "VENTURI", "ct", "10.1.0.9")
    status = parts.store(bytes(8), request)
    kept = uid.rstrip("\0 ")
    ascii_digits = bool(kept) and all(part.isascii() and part.isdigit() for part in kept.split("."))
    assert status == (0x0000 if ascii_digits and len(kept) <= 64 else 0x0117)


def explicit(tag: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def implicit(tag: int, value: bytes) -> bytes:
    return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(value)) + value


EXPLICIT_HEAD = b"".join(
    (
        explicit(0x80008, b"CS", b"ORIGINAL"),
        explicit(0x80016, b"UI", b"1.2\0"),
        explicit(0x80018, b"UI", b"1.2.3\0"),
    )
)
IMPLICIT_HEAD = implicit(0x80008, b"ORIGINAL") + implicit(0x80016, b"1.2\0") + implicit(0x80018, b"1.2.3\0")


@pytest.mark.parametrize(("syntax", "data"), [(EXPLICIT, EXPLICIT_HEAD), (IMPLICIT, IMPLICIT_HEAD)])
def test_the_uids_are_read_from_a_dataset(syntax: str, data: bytes) -> None:
    peek = Peek(syntax)
    peek.feed(data)
    assert peek.uids() == ("1.2", "1.2.3")


@given(st.binary(max_size=400), st.sampled_from([EXPLICIT, IMPLICIT, "1.2.840.10008.1.2.2", "1.2.3.4"]))
def test_no_bytes_make_the_peek_fail(data: bytes, syntax: str) -> None:
    peek = Peek(syntax)
    peek.feed(data)
    assert len(peek.uids()) == 2


def test_the_peek_keeps_no_more_than_its_limit() -> None:
    peek = Peek(EXPLICIT)
    for _ in range(10):
        peek.feed(bytes(LIMIT_BYTES // 4))
    assert peek.full
    assert peek.uids() == (None, None)


def test_the_peek_agrees_with_pydicom_on_public_files(corpus: Path) -> None:
    compared = 0
    for path in sorted(corpus.rglob("*.dcm"))[:150]:
        try:
            with path.open("rb") as file:
                meta, _ = read(file)
                head = file.read(LIMIT_BYTES)
            reference = dcmread(path, stop_before_pixels=True)
        except (Malformed, InvalidDicomError):
            continue  # not Part 10 files
        peek = Peek(meta.transfer_syntax)
        peek.feed(head)
        sop_class, instance = peek.uids()
        if instance is not None:
            compared += 1
            found = (reference.get("SOPClassUID"), reference.get("SOPInstanceUID"))
            assert (sop_class, instance) == found, path
    assert compared > 20


def test_seats_are_counted_over_all_who_open_the_file(tmp_path: Path) -> None:
    seats = Seats(tmp_path / "seats", 2)
    assert {seats.take("ct"), seats.take("ct")} == {(0,), (1,)}
    assert seats.take("ct") is None
    seats.free((1,))
    assert seats.take("ct") == (1,)


def test_a_peer_with_seats_of_its_own_takes_no_more_and_leaves_the_node_s_when_it_gets_none(
    tmp_path: Path,
) -> None:
    seats, other = (Seats(tmp_path / name, 3, {"mr": 2, "ct": 1}) for name in ("seats", "none"))
    other.close()
    assert seats.take("ct") == (0, 5)
    assert seats.take("ct") is None
    assert seats.take("mr") == (1, 3)
    assert seats.take("us") == (2,)
    assert seats.take("mr") is None, "the node is full"
    seats.free((0, 5))
    assert seats.take("ct") == (0, 5)


def test_what_a_peer_may_not_send_is_refused_and_nothing_stays(ct: bytes) -> None:
    other = condition({"Modality": "MR"}), condition({"Modality": "CT", "bytes": {"gt": "1 KB"}})
    for deny, status in zip(other, (0x0000, 0x0124), strict=True):
        parts = Parts(policy=Accept(deny=deny))
        assert parts.store(ct, CT_REQUEST) == status
        assert parts.store(ct, replace(CT_REQUEST, peer="another")) == 0x0000
        assert len(list(parts.spool.iterate())) == (2 if status == 0 else 1)


def test_what_cannot_be_read_cannot_be_allowed(ct: bytes) -> None:
    """An element twice, before the one that a policy asks for."""
    at = ct.index(b"\x08\0\x60\0CS")
    twice = ct[:at] + ct[at - 10 : at] + ct[at:]
    for data, request in (
        (twice, CT_REQUEST),
        (ct, replace(CT_REQUEST, transfer_syntax="1.2.840.113619.5.2")),
    ):
        parts = Parts(policy=Accept(deny=condition({"Modality": "MR"})))
        expected = 0x0124 if data is twice else 0x0000
        assert parts.store(data, request) == expected
        assert Parts().store(data, request) == 0x0000


def test_an_object_that_cannot_be_read_is_kept_unless_the_peer_s_policy_says_otherwise(ct: bytes) -> None:
    series = ct.index(b"\x20\0\x0e\0UI")
    rows = ct.index(b"\x28\0\x10\0US")
    for data in (ct[: rows + 3], ct[:series] + ct[series + 8 + ct[series + 6] :], bytes(1000)):
        assert Parts().store(data, CT_REQUEST) == 0x0000
        refusing = Parts(policy=Accept(unreadable="refuse"))
        assert refusing.store(data, CT_REQUEST) == 0xC000
        assert refusing.store(ct, CT_REQUEST) == 0x0000
        assert len(list(refusing.spool.iterate())) == 1


def test_what_is_no_image_needs_no_study_and_an_old_uid_is_one(ct: bytes) -> None:
    protocol = "1.2.840.10008.5.1.4.38.1"
    data = b"".join(
        tag + b"UI" + len(value).to_bytes(2, "little") + value
        for tag, value in (
            (b"\x08\0\x16\0", protocol.encode()),
            (b"\x08\0\x18\0", b"1.2.03"),
        )
    )
    request = replace(REQUEST, sop_class_uid=protocol, abstract_syntax=protocol, sop_instance_uid="1.2.03")
    assert Parts(policy=Accept(unreadable="refuse")).store(data, request) == 0x0000


def test_pixels_are_not_walked_for_a_policy(ct: bytes) -> None:
    """Fragments behind the header may be millions; they are nobody's policy."""
    fragments = b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff" + b"\xfe\xff\0\xe0\0\0\0\0" * 10 + b"broken"
    data = ct[: ct.index(b"\xe0\x7f\x10\0")] + fragments
    policy = Accept(unreadable="refuse", deny=condition({"(7FE1,0010)": {"present": "true"}}))
    request = replace(CT_REQUEST, transfer_syntax="1.2.840.10008.1.2.4.90")
    assert Parts(policy=policy).store(data, request) == 0x0000


@pytest.mark.parametrize("form", ["big endian", "deflated"])
def test_the_dataset_must_name_what_the_command_names_in_every_syntax(form: str) -> None:
    uids = {0x0016: CT.encode() + b"\0", 0x0018: b"1.2.4\0"}
    order = ">" if form == "big endian" else "<"
    data = b"".join(
        struct.pack(order + "HH2sH", 8, element, b"UI", len(uid)) + uid for element, uid in uids.items()
    )
    syntax = {"big endian": "1.2.840.10008.1.2.2", "deflated": "1.2.840.10008.1.2.1.99"}[form]
    if form == "deflated":
        packer = zlib.compressobj(wbits=-15)
        data = packer.compress(data + bytes(1 << 20)) + packer.flush()
    request = replace(REQUEST, transfer_syntax=syntax)
    assert Parts().store(data, replace(request, sop_instance_uid="1.2.4")) == 0x0000
    assert Parts().store(data, replace(request, sop_instance_uid="1.2.5")) == 0xA900


def test_a_free_space_that_cannot_be_told_stops_intake_until_it_can(tmp_path: Path) -> None:
    parts = Parts()
    spool = LocalSpool(tmp_path / "spool")
    handler = CStore(spool.intake(), parts.recorder, spool, Limits(min_free=0.0))
    assert handler.accepting()
    (tmp_path / "spool" / "receivers").rename(tmp_path / "gone")
    handler._free_checked_at = float("-inf")
    assert not handler.accepting()
    assert not handler.accepting()


def test_the_seats_of_a_process_that_dies_are_free_again(tmp_path: Path) -> None:
    import os
    import signal
    import subprocess
    import sys

    code = (
        "import sys, time; from pathlib import Path; from venturi.receive.seats import Seats;"
        "seats = Seats(Path(sys.argv[1]), 2); print(seats.take('ct'), seats.take('ct'), flush=True); time.sleep(60)"
    )
    path = str(tmp_path / "seats")
    with subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "(0,) (1,)\n"
        seats = Seats(tmp_path / "seats", 2)
        assert seats.take("ct") is None
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
        assert seats.take("ct") == (0,)
