"""Receiving from real senders: what is acknowledged is in the spool, byte for byte, and nothing else is."""

import hashlib
import re
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_network
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import UID
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at run time

from integration.peers import answers, dataset_bytes, run, sample, storescp
from integration.receiving import receiving
from unit.associations import request_pdu, store
from venturi.config.schema import Limits, Peer
from venturi.errors import SpoolFailed
from venturi.model import Instance
from venturi.receive.listener import UNASSOCIATED_PER_HOST
from venturi.spool.intake import LocalDraft

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
JPEG_LS = "1.2.840.10008.1.2.4.80"


def associate(
    port: int, contexts: list[tuple[str, list[str]]], calling: str = "TEST", called: str = "VENTURI"
) -> Association:
    ae = AE(calling)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 20
    for abstract, syntaxes in contexts:
        ae.add_requested_context(abstract, syntaxes)
    return ae.associate("127.0.0.1", port, ae_title=called)


def pause(association: Association) -> None:
    """Keep the association's own thread from taking what the peer answers."""
    association._reactor_checkpoint.clear()
    while not association._is_paused and association.is_alive():
        time.sleep(0.001)


def send(
    association: Association,
    dataset: bytes,
    sop_class: str = CT,
    sop_instance: str = "1.2.3",
    whole: bool = True,
    context_id: int = 1,
) -> int | None:
    """One C-STORE of raw bytes; the status, or None where none came."""
    request = C_STORE()
    request.MessageID, request.Priority = 1, 0
    request.AffectedSOPClassUID = UID(sop_class)
    request.AffectedSOPInstanceUID = UID(sop_instance)
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    message.command_set.CommandDataSetType = 1
    message.data_set = None
    pause(association)
    try:
        for fragment in message.encode_msg(context_id, 16384):
            association.dul.send_pdu(fragment)
        for at in range(0, len(dataset) or 1, 16000):
            last = whole and at + 16000 >= len(dataset)
            fragment = P_DATA()
            fragment.presentation_data_value_list.append(
                (context_id, (b"\2" if last else b"\0") + dataset[at : at + 16000])
            )
            association.dul.send_pdu(fragment)
        if not whole:
            while not association.dul.to_provider_queue.empty():
                time.sleep(0.01)
            return None
        _, answer = association.dimse.get_msg(block=True)
    finally:
        association._reactor_checkpoint.set()
    return None if answer is None else int(answer.Status)  # type: ignore[union-attr]  # a C-STORE-RSP


def until(holds: object, timeout_s: float = 15) -> None:
    end = time.monotonic() + timeout_s
    while not holds():  # type: ignore[operator]  # a function
        assert time.monotonic() < end, "it did not come to pass in time"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("CT_small.dcm", "-xe"),
        ("MR_small_implicit.dcm", "-xi"),
        ("MR_small_bigendian.dcm", "-xb"),
        ("MR_small_RLE.dcm", "-xr"),
        ("JPEG-LL.dcm", "-xs"),
        ("MR2_J2KR.dcm", "-xv"),
        ("JLSL_16_15_1_1F.dcm", "-xt"),
        ("SC_rgb_jpeg_gdcm.dcm", "-xs"),
        ("image_dfl.dcm", "-xd"),
    ],
)
def test_storescu_stores_the_exact_bytes_in_each_syntax(
    tmp_path: Path, corpus: Path, name: str, option: str
) -> None:
    path = sample(corpus, name)
    with storescp(tmp_path / "reference", "+B", "+xa") as port:
        run("storescu", "-aec", "VENTURI", option, "127.0.0.1", str(port), path)
    (reference,) = (tmp_path / "reference").iterdir()
    with receiving(tmp_path) as receiver:
        sent = run("storescu", "-v", "-aec", "VENTURI", option, "127.0.0.1", str(receiver.port), path)
        assert "Success" in sent.stderr + sent.stdout, sent.stderr + sent.stdout
        (instance,) = receiver.instances()
        stored = receiver.dataset(instance)
    assert (
        instance.envelope.transfer_syntax
        == dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID
    )
    # what DCMTK's sender puts on the wire is not always the file's bytes, but its receiver keeps it as it came
    assert stored == dataset_bytes(reference)
    assert instance.sha256 == hashlib.sha256(stored).hexdigest()


def test_the_bytes_of_a_dataset_arrive_as_they_were_sent(tmp_path: Path, corpus: Path) -> None:
    path = sample(corpus, "CT_small.dcm")
    data, meta = dataset_bytes(path), dcmread(path).file_meta
    with receiving(tmp_path) as receiver:
        association = associate(receiver.port, [(CT, [EXPLICIT])])
        uid = meta.MediaStorageSOPInstanceUID
        assert send(association, data, sop_instance=uid) == 0x0000
        association.release()
        (instance,) = receiver.instances()
        assert receiver.dataset(instance) == data
        assert instance.envelope.peer == "local"
        assert instance.envelope.address == "127.0.0.1"
        assert instance.envelope.calling_ae == "TEST"
        assert instance.envelope.sop_instance_uid == uid
        until(lambda: receiver.rows() == [instance.id])


def test_dcmsend_sends_a_mixed_batch(tmp_path: Path, corpus: Path) -> None:
    names = (
        "CT_small.dcm",
        "MR_small_RLE.dcm",
        "JPEG2000.dcm",
        "rtplan.dcm",
        "reportsi.dcm",
        "waveform_ecg.dcm",
    )
    with receiving(tmp_path) as receiver:
        paths = [sample(corpus, name) for name in names]
        sent = run(
            "dcmsend", "-v", "-aec", "VENTURI", "127.0.0.1", str(receiver.port), "--decompress-never", *paths
        )
        assert sent.returncode == 0, sent.stderr + sent.stdout
        assert len(receiver.instances()) == len(names)
        until(lambda: len(receiver.rows()) == len(names))


def test_echoscu_is_answered(tmp_path: Path) -> None:
    with receiving(tmp_path) as receiver:
        assert run("echoscu", "-aec", "VENTURI", "127.0.0.1", str(receiver.port)).returncode == 0


@pytest.mark.parametrize(
    ("calling", "called", "hosts", "reason"),
    [
        ("CT1", "OTHER", "127.0.0.0/8", "Called AE Title Not Recognized"),
        ("CT2", "VENTURI", "127.0.0.0/8", "Calling AE Title Not Recognized"),
        ("CT1", "VENTURI", "192.0.2.0/24", "Calling AE Title Not Recognized"),
    ],
)
def test_a_stranger_is_rejected_with_the_right_reason(
    tmp_path: Path, calling: str, called: str, hosts: str, reason: str
) -> None:
    peers = {"ct": Peer(ae_title=("CT1",), hosts=(ip_network(hosts),))}
    with receiving(tmp_path, peers) as receiver:
        said = run("echoscu", "-aet", calling, "-aec", called, "127.0.0.1", str(receiver.port))
    assert said.returncode != 0
    assert "Rejected Permanent" in said.stderr + said.stdout
    assert reason in said.stderr + said.stdout


def test_many_associations_at_once_lose_nothing(tmp_path: Path, corpus: Path) -> None:
    path = sample(corpus, "CT_small.dcm")
    data = dataset_bytes(path)
    uid = dcmread(path).SOPInstanceUID

    def one(_: int) -> int | None:
        association = associate(receiver.port, [(CT, [EXPLICIT])])
        status = [send(association, data, sop_instance=uid) for _ in range(3)]
        association.release()
        return max(answer if answer is not None else 0xFFFF for answer in status)

    with receiving(tmp_path, limits=Limits(min_free=0.0, timeout_s=20), servers=2) as receiver:
        with ThreadPoolExecutor(12) as pool:
            assert list(pool.map(one, range(12))) == [0] * 12
        assert len(receiver.instances()) == 36
        assert {instance.size_bytes for instance in receiver.instances()} == {len(data)}


def test_one_association_too_many_is_rejected_as_transient(tmp_path: Path) -> None:
    with receiving(tmp_path, limits=Limits(associations=2, min_free=0.0, timeout_s=5)) as receiver:
        open_ones = [associate(receiver.port, [(str(Verification), [IMPLICIT])]) for _ in range(2)]
        assert all(one.is_established for one in open_ones)
        third = associate(receiver.port, [(str(Verification), [IMPLICIT])])
        assert third.is_rejected
        answer = third.acceptor.primitive
        assert answer is not None
        assert (answer.result, answer.result_source, answer.diagnostic) == (2, 3, 2)
        for one in open_ones:
            one.release()

        def admitted() -> bool:
            again = associate(receiver.port, [(str(Verification), [IMPLICIT])])
            again.release()
            return again.is_released

        until(admitted)


def test_below_the_watermark_associations_are_rejected_as_transient(tmp_path: Path) -> None:
    with receiving(tmp_path, limits=Limits(min_free=0.99999, timeout_s=5)) as receiver:
        refused = associate(receiver.port, [(CT, [EXPLICIT])])
    answer = refused.acceptor.primitive
    assert answer is not None
    assert (answer.result, answer.result_source, answer.diagnostic) == (2, 3, 1)


def test_an_abort_in_mid_object_leaves_nothing(tmp_path: Path) -> None:
    with receiving(tmp_path) as receiver:
        association = associate(receiver.port, [(CT, [EXPLICIT])])
        send(association, bytes(200_000), whole=False)
        until(lambda: len(receiver.partial()) == 1)
        association.abort()
        until(lambda: not receiver.partial())
        assert receiver.instances() == []


def test_a_connection_that_breaks_in_mid_object_leaves_nothing(tmp_path: Path) -> None:
    with receiving(tmp_path) as receiver:
        association = associate(receiver.port, [(CT, [EXPLICIT])])
        send(association, bytes(200_000), whole=False)
        until(lambda: len(receiver.partial()) == 1)
        wrapped = association.dul.socket
        assert wrapped is not None
        assert wrapped.socket is not None
        wrapped.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wrapped.socket.close()
        until(lambda: not receiver.partial())
        assert receiver.instances() == []


def element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", group, number, vr, len(value)) + value


def identity(sop_class: str, sop_instance: str) -> bytes:
    def padded(uid: str) -> bytes:
        return uid.encode() + b"\0" * (len(uid) % 2)

    return element(8, 0x16, b"UI", padded(sop_class)) + element(8, 0x18, b"UI", padded(sop_instance))


@pytest.mark.parametrize(
    ("dataset", "sop_class", "sop_instance", "status"),
    [
        (identity(CT, "1.2.3"), CT, "1.2.3", 0x0000),
        (identity(CT, "1.2.4"), CT, "1.2.3", 0xA900),
        (identity("1.2.840.10008.5.1.4.1.1.4", "1.2.3"), CT, "1.2.3", 0xA900),
        (identity("1.2.840.10008.5.1.4.1.1.4", "1.2.3"), "1.2.840.10008.5.1.4.1.1.4", "1.2.3", 0xA900),
        (b"not DICOM at all, but bytes", CT, "1.2.3", 0x0000),
        (b"", CT, "1.2.3", 0xC000),
        (identity(CT, "1.2.3"), CT, "../../../etc/passwd", 0x0117),
    ],
    ids=[
        "as it should be",
        "another instance",
        "another class",
        "not the context's class",
        "unreadable",
        "empty",
        "not a UID",
    ],
)
def test_what_the_sender_is_told(
    tmp_path: Path, dataset: bytes, sop_class: str, sop_instance: str, status: int
) -> None:
    with receiving(tmp_path) as receiver:
        association = associate(receiver.port, [(CT, [EXPLICIT])])
        assert send(association, dataset, sop_class, sop_instance) == status
        association.release()
        assert len(receiver.instances()) == (status == 0)
        assert receiver.partial() == []


def test_an_object_over_the_limit_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with receiving(tmp_path, limits=Limits(object_bytes=100_000, min_free=0.0, timeout_s=5)) as receiver:
        association = associate(receiver.port, [(CT, [EXPLICIT])])
        assert send(association, bytes(100_001)) == 0xA700
        assert send(association, bytes(100_000)) == 0x0000
        association.release()
        assert [instance.size_bytes for instance in receiver.instances()] == [100_000]
        assert receiver.partial() == []


def test_a_failing_storage_stops_intake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> None:
        raise SpoolFailed("fsync: Input/output error")

    with receiving(tmp_path) as receiver:
        association = associate(receiver.port, [(CT, [EXPLICIT])])
        monkeypatch.setattr("venturi.spool.intake.LocalDraft.commit", broken)
        assert send(association, bytes(1000)) == 0xA700
        monkeypatch.undo()
        assert send(association, bytes(1000)) == 0xA700
        association.release()
        refused = associate(receiver.port, [(CT, [EXPLICIT])])
        answer = refused.acceptor.primitive
        assert answer is not None
        assert (answer.result, answer.result_source, answer.diagnostic) == (2, 3, 1)
        assert receiver.instances() == []


def test_the_senders_compressed_syntax_comes_first_then_explicit(tmp_path: Path) -> None:
    with receiving(tmp_path) as receiver:
        j2k, rle = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5"
        proposals = [
            (CT, [IMPLICIT, EXPLICIT, JPEG_LS, j2k]),
            ("1.2.840.10008.5.1.4.1.1.4", [IMPLICIT, "1.2.840.10008.1.2.2", EXPLICIT]),
            ("1.2.840.113619.4.27", ["1.2.840.113619.5.2", IMPLICIT]),
            ("1.2.840.10008.5.1.1.29", [IMPLICIT, rle]),
            (str(Verification), [EXPLICIT, IMPLICIT]),
            ("1.2.840.10008.5.1.4.1.2.2.1", [IMPLICIT]),
        ]
        association = associate(receiver.port, proposals)
        accepted = {
            str(one.abstract_syntax): str(one.transfer_syntax[0]) for one in association.accepted_contexts
        }
        rejected = [str(one.abstract_syntax) for one in association.rejected_contexts]
        association.release()
    assert accepted == {
        CT: JPEG_LS,
        "1.2.840.10008.5.1.4.1.1.4": EXPLICIT,
        "1.2.840.113619.4.27": "1.2.840.113619.5.2",
        "1.2.840.10008.5.1.1.29": rle,
        str(Verification): EXPLICIT,
    }
    assert rejected == ["1.2.840.10008.5.1.4.1.2.2.1"]


def test_a_private_sop_class_is_stored(tmp_path: Path) -> None:
    with receiving(tmp_path) as receiver:
        private = "1.2.840.113619.4.27"
        association = associate(receiver.port, [(private, [IMPLICIT])])
        assert send(association, bytes(8), private) == 0x0000
        association.release()


def test_another_service_on_a_storage_context_ends_the_association(tmp_path: Path) -> None:
    with receiving(tmp_path) as receiver:
        association = associate(receiver.port, [(CT, [EXPLICIT])])
        fragment = P_DATA()
        command = struct.pack("<HHLH", 0, 0x0100, 2, 0x0020) + struct.pack("<HHLH", 0, 0x0800, 2, 1)
        fragment.presentation_data_value_list.append((1, b"\3" + command))
        association.dul.send_pdu(fragment)
        until(lambda: association.is_aborted)


def test_nothing_is_stored_on_a_context_for_verification(tmp_path: Path) -> None:
    with receiving(tmp_path) as receiver:
        association = associate(receiver.port, [(str(Verification), [EXPLICIT]), (CT, [EXPLICIT])])
        assert send(association, bytes(8), str(Verification)) == 0x0122
        assert send(association, bytes(100000), CT) == 0x0122
        assert send(association, bytes(8), CT, context_id=3) == 0x0000
        association.release()
        assert len(receiver.instances()) == 1


@pytest.mark.parametrize(
    "garbage",
    [
        b"\1\0\0\0",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\1\0\xff\xff\xff\xff" + bytes(64),
        b"\4\0\0\0\0\x06\0\0\0\2\1\3",
        b"\1\0\0\0\0\x04" + bytes(4),
    ],
    ids=["part of a header", "HTTP", "4 GiB announced", "data first", "an empty request"],
)
def test_garbage_on_the_wire_harms_nobody_else(tmp_path: Path, garbage: bytes) -> None:
    with receiving(tmp_path, limits=Limits(min_free=0.0, timeout_s=1)) as receiver:
        attackers = [socket.create_connection(("127.0.0.1", receiver.port)) for _ in range(20)]
        for attacker in attackers:
            attacker.sendall(garbage)
        association = associate(receiver.port, [(CT, [EXPLICIT])])
        assert send(association, bytes(1000)) == 0
        association.release()
        for attacker in attackers:
            attacker.settimeout(20)
            try:
                while attacker.recv(1000):
                    pass  # an A-ABORT, then the end
            except ConnectionResetError:
                pass
            attacker.close()
        assert len(receiver.instances()) == 1


def test_an_idle_association_is_ended_after_the_configured_timeout(tmp_path: Path) -> None:
    with receiving(tmp_path, limits=Limits(min_free=0.0, timeout_s=1)) as receiver:
        association = associate(receiver.port, [(CT, [EXPLICIT])])
        until(lambda: association.is_aborted)


def test_a_slow_disk_is_not_taken_for_a_silent_peer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = LocalDraft.commit

    def slow(draft: LocalDraft) -> Instance:
        time.sleep(2.5)
        return commit(draft)

    monkeypatch.setattr(LocalDraft, "commit", slow)
    with receiving(tmp_path, limits=Limits(min_free=0.0, timeout_s=1)) as receiver:
        association = associate(receiver.port, [(CT, [EXPLICIT])])
        assert send(association, bytes(1000)) == 0
        assert send(association, bytes(1000), sop_instance="1.2.4") == 0
        association.release()
        assert association.is_released
        assert len(receiver.instances()) == 2


def test_nor_is_one_that_is_slow_in_the_middle_of_a_pdu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, slow = LocalDraft.write, [True]

    def write(draft: LocalDraft, data: bytes | bytearray | memoryview) -> None:
        if slow:
            slow.clear()
            time.sleep(2.0)
        written(draft, data)

    monkeypatch.setattr(LocalDraft, "write", write)
    limits = Limits(min_free=0.0, timeout_s=1, pdu_bytes=1 << 22)
    with (
        receiving(tmp_path, limits=limits) as receiver,
        socket.create_connection(("127.0.0.1", receiver.port)) as peer,
    ):
        stream = request_pdu() + store(bytes(3_000_000), size=1_500_000)
        peer.sendall(stream[:700_000])  # in the middle of the first of two long PDUs
        time.sleep(0.5)
        peer.sendall(stream[700_000:])
        until(lambda: [one.size_bytes for one in receiver.instances()] == [3_000_000])


def test_many_silent_connections_do_not_shut_others_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("venturi.receive.listener.CONNECTIONS", 20)
    monkeypatch.setattr("venturi.receive.listener.UNASSOCIATED_PER_HOST", 1000)
    with receiving(tmp_path, limits=Limits(min_free=0.0, timeout_s=20)) as receiver:
        silent = [socket.create_connection(("127.0.0.1", receiver.port)) for _ in range(60)]
        began = time.monotonic()
        association = associate(receiver.port, [(CT, [EXPLICIT])])
        assert send(association, bytes(1000)) == 0
        association.release()
        assert time.monotonic() - began < 5
        for one in silent:
            one.close()


def test_a_stop_lets_the_object_in_hand_be_finished(tmp_path: Path) -> None:
    with receiving(tmp_path) as receiver:
        association = associate(receiver.port, [(CT, [EXPLICIT])])
        idle = associate(receiver.port, [(CT, [EXPLICIT])])
        send(association, bytes(200_000), whole=False)
        until(lambda: len(receiver.partial()) == 1)
        receiver.stop.set()
        until(lambda: idle.is_aborted)
        pause(association)
        rest = P_DATA()
        rest.presentation_data_value_list.append((1, b"\2" + bytes(1000)))
        association.dul.send_pdu(rest)
        _, answer = association.dimse.get_msg(block=True)
        association._reactor_checkpoint.set()
        assert answer is not None
        assert answer.Status == 0x0000  # type: ignore[union-attr]  # a C-STORE-RSP
        association.release()
        receiver.server.join(10)
        assert not receiver.server.is_alive()
        assert [instance.size_bytes for instance in receiver.instances()] == [201_000]


def test_after_a_stop_no_object_is_begun(tmp_path: Path) -> None:
    with receiving(tmp_path) as receiver:
        association = associate(receiver.port, [(CT, [EXPLICIT])])
        receiver.stop.set()
        assert send(association, bytes(1000)) is None
        receiver.server.join(10)
        assert receiver.instances() == []


def test_the_shared_socket_stays_open_for_the_next_receiver(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with receiving(tmp_path / "a") as receiver:
        receiver.stop.set()
        receiver.server.join(10)
        assert answers(receiver.port)


def test_a_receiver_that_starts_records_what_an_earlier_one_left(tmp_path: Path) -> None:
    with receiving(tmp_path) as receiver:
        association = associate(receiver.port, [(CT, [EXPLICIT])])
        assert send(association, bytes(1000)) == 0
        association.release()
        (instance,) = receiver.instances()
    (tmp_path / "ledger.db").unlink()
    for leftover in tmp_path.glob("ledger.db-*"):
        leftover.unlink()
    with receiving(tmp_path) as receiver:
        assert receiver.rows() == [instance.id]


def test_a_connection_that_says_nothing_does_not_keep_others_out(tmp_path: Path) -> None:
    with receiving(tmp_path, limits=Limits(associations=1, min_free=0.0, timeout_s=3)) as receiver:
        silent = [socket.create_connection(("127.0.0.1", receiver.port)) for _ in range(30)]
        association = associate(receiver.port, [(str(Verification), [IMPLICIT])])
        assert association.is_established
        association.release()
        for one in silent:
            one.close()


@pytest.mark.parametrize("every_s", [0.0, 60.0], ids=["while it runs", "at its stop"])
def test_connections_without_a_word_are_counted_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], every_s: float
) -> None:
    def counts() -> list[int]:
        said.append("".join(capsys.readouterr()))
        lines = [line for line in "".join(said).splitlines() if "connections without a word" in line]
        return [int(re.findall(r"count\D*(\d+)", line)[0]) for line in lines]

    said: list[str] = []
    monkeypatch.setattr("venturi.receive.listener.TELL_EVERY_S", every_s)
    with receiving(tmp_path, limits=Limits(min_free=0.0, timeout_s=1)) as receiver:
        for _ in range(20):
            socket.create_connection(("127.0.0.1", receiver.port)).close()
        with socket.create_connection(("127.0.0.1", receiver.port)) as silent:
            silent.settimeout(10)
            assert silent.recv(1) == b""
        if not every_s:
            until(lambda: sum(counts()) == 21)
    assert sum(counts()) == 21
    assert not every_s or len(counts()) <= 2


def test_so_are_those_of_one_host_that_are_too_many(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with receiving(tmp_path, limits=Limits(min_free=0.0, timeout_s=20)) as receiver:
        at, many = ("127.0.0.1", receiver.port), UNASSOCIATED_PER_HOST + 20
        silent = [socket.create_connection(at) for _ in range(many)]
        for one in silent[:20]:
            one.settimeout(10)
            assert one.recv(1) == b""
        for one in silent:
            one.close()
    lines = [line for line in "".join(capsys.readouterr()).splitlines() if "don't associate" in line]
    assert 1 <= len(lines) <= 2
