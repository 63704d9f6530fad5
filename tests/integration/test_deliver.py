"""Delivering to real peers and to a folder: what is said to be delivered is there, byte for byte."""

import contextlib
import errno
import hashlib
import json
import os
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread
from pynetdicom import AE, evt
from pynetdicom.presentation import AllStoragePresentationContexts

from integration.delivering import (
    JPEG_LS,
    NEAR_LOSSLESS,
    Node,
    as_received,
    courier,
    folder_of,
    jpeg_ls_of,
    peer,
    read_meta,
    until,
    within,
)
from integration.peers import dataset_bytes, free_port, orthanc, process, run, sample, storescp
from venturi.config.schema import FolderDestination, Retain
from venturi.deliver.dicom import Dicom, echo
from venturi.deliver.folder import Folder
from venturi.deliver.port import Destination, Ending, Parcel
from venturi.deliver.retention import sweep_once
from venturi.ledger.port import Filter, State
from venturi.model import Envelope, Instance, Target

# --- folder ---


def test_a_file_in_the_folder_has_the_dataset_and_a_fresh_meta(
    tmp_path: Path, corpus: Path, node: Node
) -> None:
    source = sample(corpus, "CT_small.dcm")
    instance = node.receive(source)
    (receipt,) = folder_of(tmp_path / "archive").deliver([node.parcel(instance)])
    assert receipt.ending is Ending.DELIVERED
    written = tmp_path / "archive" / receipt.detail
    reference = dcmread(source)
    assert receipt.detail == (
        f"{reference.StudyInstanceUID}/{reference.SeriesInstanceUID}/{reference.SOPInstanceUID}.dcm"
    )
    assert dataset_bytes(written) == dataset_bytes(source)
    meta = dcmread(written).file_meta
    assert meta.MediaStorageSOPInstanceUID == reference.SOPInstanceUID
    assert meta.SourceApplicationEntityTitle == "CT1"
    assert "PrivateInformation" not in meta
    assert "SourcePresentationAddress" not in meta
    assert run("dcmftest", written).returncode == 0
    assert written.stat().st_mode & 0o777 == 0o600
    assert list((tmp_path / "archive" / ".incoming").iterdir()) == []


def test_the_same_bytes_again_are_already_there(tmp_path: Path, corpus: Path, node: Node) -> None:
    source = sample(corpus, "CT_small.dcm")
    where = folder_of(tmp_path / "archive")
    parcels = [node.parcel(node.receive(source)), node.parcel(node.receive(source))]
    first, second = where.deliver(parcels)
    assert (first.ending, second.ending) == (Ending.DELIVERED, Ending.DELIVERED)
    assert second.detail == f"{first.detail} (already there)"
    assert len(list((tmp_path / "archive").rglob("*.dcm"))) == 1


def other_bytes(source: Path, folder: Path) -> Path:
    """The same UIDs with other bytes."""
    changed = dcmread(source)
    changed.SeriesDescription = "OTHER"
    changed.save_as(folder / "other.dcm")
    return folder / "other.dcm"


def test_other_bytes_of_the_same_name_are_kept_beside(tmp_path: Path, corpus: Path, node: Node) -> None:
    source = sample(corpus, "CT_small.dcm")
    second = node.receive(other_bytes(source, tmp_path))
    where = folder_of(tmp_path / "archive", on_conflict="keep-both")
    first, other, again = where.deliver(
        [node.parcel(node.receive(source)), node.parcel(second), node.parcel(second)]
    )
    names = sorted(path.name for path in (tmp_path / "archive").rglob("*.dcm"))
    uid = dcmread(source).SOPInstanceUID
    assert names == sorted([f"{uid}.dcm", f"{uid}.{second.sha256[:8]}.dcm"])
    assert "other bytes" in other.detail
    assert "already there" in again.detail
    assert first.detail.endswith(f"{uid}.dcm")
    beside = next((tmp_path / "archive").rglob(f"*{second.sha256[:8]}.dcm"))
    assert hashlib.sha256(dataset_bytes(beside)).hexdigest() == second.sha256


def test_hold_refuses_a_name_that_is_taken(tmp_path: Path, corpus: Path, node: Node) -> None:
    source = sample(corpus, "CT_small.dcm")
    second = node.receive(other_bytes(source, tmp_path))
    where = folder_of(tmp_path / "archive", on_conflict="hold")
    first, other = where.deliver([node.parcel(node.receive(source)), node.parcel(second)])
    assert (other.ending, other.status) == (Ending.REFUSED, "conflict")
    assert dataset_bytes(tmp_path / "archive" / first.detail) == dataset_bytes(source)


def test_replace_puts_the_new_bytes_in_place(tmp_path: Path, corpus: Path, node: Node) -> None:
    source = sample(corpus, "CT_small.dcm")
    earlier, second = node.receive(source), node.receive(other_bytes(source, tmp_path))
    where = folder_of(tmp_path / "archive", on_conflict="replace")
    first, other = where.deliver([node.parcel(earlier), node.parcel(second)])
    assert other.detail == f"{first.detail} (replaced)"
    (late,) = where.deliver([node.parcel(earlier)])  # a delivery that was tried again and came late
    assert late.ending is Ending.DELIVERED
    assert late.detail == f"{first.detail} (not replaced: a later receipt is there)"
    (only,) = (tmp_path / "archive").rglob("*.dcm")
    assert hashlib.sha256(dataset_bytes(only)).hexdigest() == second.sha256


def test_a_lossy_copy_has_a_file_of_its_own_name(tmp_path: Path, corpus: Path, node: Node) -> None:
    instance = node.receive(sample(corpus, "MR_small.dcm"))
    outcome = node.transcode(instance, NEAR_LOSSLESS)
    assert outcome.lossy is not None
    new, old = outcome.lossy.sop_instance_uid, instance.envelope.sop_instance_uid
    where = folder_of(tmp_path / "archive", path="{SOPInstanceUID}.dcm", on_conflict="hold")
    copy, original, again = where.deliver(
        [node.parcel(instance, outcome), node.parcel(instance), node.parcel(instance, outcome)]
    )
    assert (copy.detail, original.detail) == (f"{new}.dcm", f"{old}.dcm")
    assert again.detail == f"{new}.dcm (already there)"
    written = dcmread(tmp_path / "archive" / copy.detail)
    assert written.SOPInstanceUID == written.file_meta.MediaStorageSOPInstanceUID == new
    assert written.SourceImageSequence[0].ReferencedSOPInstanceUID == old
    assert written.LossyImageCompression == "01"
    assert dcmread(tmp_path / "archive" / original.detail).SOPInstanceUID == old
    assert run("dcmftest", tmp_path / "archive" / copy.detail).returncode == 0


def test_a_lossy_copy_that_keeps_its_uid_is_kept_beside_the_original(
    tmp_path: Path, corpus: Path, node: Node
) -> None:
    instance = node.receive(sample(corpus, "MR_small.dcm"))
    keep = Target(NEAR_LOSSLESS.transfer_syntax, (*NEAR_LOSSLESS.parameters, ("lossy_uid", "keep")))
    outcome = node.transcode(instance, keep)
    where = folder_of(tmp_path / "archive", path="{SOPInstanceUID}.dcm")
    original, copy = where.deliver([node.parcel(instance), node.parcel(instance, outcome)])
    assert original.detail == f"{instance.envelope.sop_instance_uid}.dcm"
    assert copy.detail.startswith(
        f"{instance.envelope.sop_instance_uid}.{outcome.sha256[:8]}.dcm (the name was"
    )


@pytest.mark.parametrize("harm", ["a flipped bit", "a lost end", "added bytes"])
@pytest.mark.parametrize("kind", ["folder", "dicom"])
def test_a_damaged_spool_file_is_never_delivered(
    tmp_path: Path, corpus: Path, node: Node, harm: str, kind: str
) -> None:
    instance = node.receive(sample(corpus, "CT_small.dcm"))
    parcel = node.parcel(instance)
    data = bytearray(parcel.original.read_bytes())
    if harm == "a flipped bit":
        data[-100] ^= 1
    elif harm == "a lost end":
        del data[-100:]
    else:
        data += bytes(100)
    parcel.original.write_bytes(data)
    with storescp(tmp_path / "peer", "+B") as port:
        where: Destination = (
            folder_of(tmp_path / "archive") if kind == "folder" else Dicom(peer(port), "VENTURI", within(10))
        )
        (receipt,) = where.deliver([parcel])
    assert (receipt.ending, receipt.status) == (Ending.REFUSED, "damaged")
    assert list((tmp_path / "archive").rglob("*.dcm")) == []
    assert list((tmp_path / "peer").iterdir()) == []


def test_a_folder_that_can_not_be_written_is_later(tmp_path: Path, corpus: Path, node: Node) -> None:
    (tmp_path / "archive").write_text("a file where the folder should be")
    (receipt,) = folder_of(tmp_path / "archive").deliver(
        [node.parcel(node.receive(sample(corpus, "CT_small.dcm")))]
    )
    assert receipt.ending is Ending.LATER
    assert receipt.status in ("ENOTDIR", "EEXIST")


def test_a_full_disk_is_later_and_leaves_nothing(tmp_path: Path, corpus: Path, node: Node) -> None:
    (tmp_path / "small").mkdir()
    if (
        os.geteuid() != 0
        or run("mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", tmp_path / "small").returncode
    ):
        pytest.skip("a small file system can't be mounted here")
    try:
        parcel = node.parcel(node.receive(sample(corpus, "CT_small.dcm")))
        (receipt,) = folder_of(tmp_path / "small" / "archive").deliver([parcel])
        assert (receipt.ending, receipt.status) == (Ending.LATER, "ENOSPC")
        assert [path for path in (tmp_path / "small").rglob("*") if path.is_file()] == []
    finally:
        run("umount", tmp_path / "small")


# --- DICOM ---


def test_storescp_gets_the_dataset_byte_for_byte(tmp_path: Path, corpus: Path, node: Node) -> None:
    names = ("CT_small.dcm", "MR_small_implicit.dcm", "MR_small_RLE.dcm", "JPEG2000.dcm", "rtplan.dcm")
    instances = [node.receive(sample(corpus, name)) for name in names]
    with storescp(tmp_path / "peer", "+B", "+xa", "+uf") as port:
        where = Dicom(peer(port), "VENTURI", within(10))
        receipts = list(where.deliver([node.parcel(one, delivery=at) for at, one in enumerate(instances)]))
    assert [receipt.ending for receipt in receipts] == [Ending.DELIVERED] * len(names)
    assert {receipt.status for receipt in receipts} == {"0000"}
    got = {hashlib.sha256(dataset_bytes(path)).hexdigest() for path in (tmp_path / "peer").iterdir()}
    assert got == {instance.sha256 for instance in instances}


def test_a_rendition_goes_where_the_peer_takes_it(tmp_path: Path, corpus: Path, node: Node) -> None:
    source = sample(corpus, "CT_small.dcm")
    instance = node.receive(source)
    _, outcome = node.rendition(instance, jpeg_ls_of(source, tmp_path))
    with storescp(tmp_path / "peer", "+B", "+xa", "+uf") as port:
        (receipt,) = Dicom(peer(port), "VENTURI", within(10)).deliver([node.parcel(instance, outcome)])
    assert (receipt.ending, receipt.sent_original) == (Ending.DELIVERED, False)
    (got,) = (tmp_path / "peer").iterdir()
    assert dcmread(got).file_meta.TransferSyntaxUID == JPEG_LS
    assert hashlib.sha256(dataset_bytes(got)).hexdigest() == outcome.sha256


def test_the_original_goes_where_the_peer_takes_only_uncompressed(
    tmp_path: Path, corpus: Path, node: Node
) -> None:
    source = sample(corpus, "CT_small.dcm")
    instance = node.receive(source)
    _, outcome = node.rendition(instance, jpeg_ls_of(source, tmp_path))
    with storescp(tmp_path / "peer", "+B", "+xe") as port:
        (receipt,) = Dicom(peer(port), "VENTURI", within(10)).deliver([node.parcel(instance, outcome)])
    assert (receipt.ending, receipt.sent_original) == (Ending.DELIVERED, True)
    (got,) = (tmp_path / "peer").iterdir()
    assert hashlib.sha256(dataset_bytes(got)).hexdigest() == instance.sha256


def test_without_a_context_it_is_refused_with_words(tmp_path: Path, corpus: Path, node: Node) -> None:
    instance = node.receive(sample(corpus, "CT_small.dcm"))
    with storescp(tmp_path / "peer", "+xi") as port:
        (receipt,) = Dicom(peer(port), "VENTURI", within(10)).deliver([node.parcel(instance)])
    assert (receipt.ending, receipt.status) == (Ending.REFUSED, "no-context")
    assert "ExplicitVRLittleEndian" in receipt.detail
    assert "accepted: ImplicitVRLittleEndian" in receipt.detail


def test_a_peer_that_accepts_no_context_at_all_refuses(tmp_path: Path, corpus: Path, node: Node) -> None:
    instance = node.receive(sample(corpus, "MR_small_RLE.dcm"))
    with storescp(tmp_path / "peer", "+xi") as port:
        (receipt,) = Dicom(peer(port), "VENTURI", within(10)).deliver([node.parcel(instance)])
    assert (receipt.ending, receipt.status) == (Ending.REFUSED, "no-context")


def test_nobody_listening_is_later(corpus: Path, node: Node) -> None:
    instance = node.receive(sample(corpus, "CT_small.dcm"))
    (receipt,) = Dicom(peer(free_port()), "VENTURI", within(5)).deliver([node.parcel(instance)])
    assert (receipt.ending, receipt.status) == (Ending.LATER, "unreachable")
    assert "refused" in receipt.detail


@pytest.mark.parametrize("option", ["--abort-after", "--abort-during", "--refuse"])
def test_an_association_that_breaks_is_later(tmp_path: Path, corpus: Path, node: Node, option: str) -> None:
    parcels = [node.parcel(node.receive(sample(corpus, "CT_small.dcm")), delivery=at) for at in range(2)]
    with storescp(tmp_path / "peer", option) as port:
        receipts = list(Dicom(peer(port), "VENTURI", within(10)).deliver(parcels))
    assert sorted(receipt.delivery for receipt in receipts) == [0, 1]
    assert {receipt.ending for receipt in receipts} == {Ending.LATER}
    assert {receipt.there for receipt in receipts} == {option != "--refuse"}


def test_a_peer_that_never_answers_is_later(corpus: Path, node: Node) -> None:
    parcel = node.parcel(node.receive(sample(corpus, "CT_small.dcm")))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        (receipt,) = Dicom(peer(silent.getsockname()[1]), "VENTURI", within(1)).deliver([parcel])
    assert receipt.ending is Ending.LATER


def test_a_lossy_copy_is_sent_under_its_own_uid(corpus: Path, node: Node) -> None:
    instance = node.receive(sample(corpus, "MR_small.dcm"))
    outcome = node.transcode(instance, NEAR_LOSSLESS)
    assert outcome.lossy is not None
    seen: list[bytes] = []
    uids: list[str] = []
    with answering(
        0, seen, uids, syntaxes=[str(NEAR_LOSSLESS.transfer_syntax), "1.2.840.10008.1.2.1"]
    ) as port:
        receipts = list(
            Dicom(peer(port), "VENTURI", within(10)).deliver(
                [node.parcel(instance, outcome), node.parcel(instance)]
            )
        )
    assert [(one.ending, one.sent_original) for one in receipts] == [(Ending.DELIVERED, False)] * 2
    assert uids == [outcome.lossy.sop_instance_uid, instance.envelope.sop_instance_uid]
    for data, uid in zip(seen, uids, strict=True):
        assert uid.encode() in data
    assert hashlib.sha256(seen[0]).hexdigest() == outcome.sha256


def test_a_peer_that_takes_no_lossy_syntax_gets_the_original_under_its_uid(corpus: Path, node: Node) -> None:
    instance = node.receive(sample(corpus, "MR_small.dcm"))
    outcome = node.transcode(instance, NEAR_LOSSLESS)
    seen: list[bytes] = []
    uids: list[str] = []
    node.decide(instance, "there", outcome)
    with (
        answering(0, seen, uids, syntaxes=["1.2.840.10008.1.2.1"]) as port,
        courier(node, Dicom(peer(port), "VENTURI", within(10))),
    ):
        until(lambda: node.states() == [State.DELIVERED])
    assert uids == [instance.envelope.sop_instance_uid]
    assert hashlib.sha256(seen[0]).hexdigest() == instance.sha256
    (row,) = node.ledger.deliveries(Filter())
    assert (row.sent_original, row.lossy) == (True, outcome.lossy)


@contextlib.contextmanager
def answering(
    status: int, seen: list[bytes], uids: list[str] | None = None, syntaxes: list[str] | None = None
) -> Iterator[int]:
    """A peer that answers every C-STORE with one status; ``uids`` are the Affected SOP Instance UIDs it saw."""

    def store(event: evt.Event) -> int:
        seen.append(event.request.DataSet.getvalue())
        if uids is not None:
            uids.append(str(event.request.AffectedSOPInstanceUID))
        return status

    ae = AE("ANY-SCP")
    for context in AllStoragePresentationContexts:
        ae.add_supported_context(context.abstract_syntax, syntaxes or context.transfer_syntax)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    assert server is not None
    try:
        yield server.socket.getsockname()[1]
    finally:
        server.shutdown()


@pytest.mark.parametrize(
    ("status", "ending"),
    [
        (0x0000, Ending.DELIVERED),
        (0xB000, Ending.DELIVERED),
        (0xB006, Ending.DELIVERED),
        (0xB007, Ending.DELIVERED),
        (0xA700, Ending.LATER),
        (0xA7FF, Ending.LATER),
        (0xA900, Ending.REFUSED),
        (0xC000, Ending.REFUSED),
        (0x0122, Ending.REFUSED),
        (0x0124, Ending.REFUSED),
    ],
)
def test_the_status_decides_the_ending(corpus: Path, node: Node, status: int, ending: Ending) -> None:
    seen: list[bytes] = []
    source = sample(corpus, "CT_small.dcm")
    with answering(status, seen) as port:
        (receipt,) = Dicom(peer(port), "VENTURI", within(10)).deliver([node.parcel(node.receive(source))])
    assert (receipt.ending, receipt.status) == (ending, f"{status:04X}")
    assert seen == [dataset_bytes(source)]


def test_more_than_128_contexts_take_more_than_one_association(corpus: Path, node: Node) -> None:
    template = sample(corpus, "CT_small.dcm")
    parcels = []
    for at in range(100):
        uids = (f"1.2.840.113619.4.{at}", f"1.2.3.{at}", "1.2.840.10008.1.2.1")
        envelope = Envelope(*uids, "CT1", "VENTURI", "ct", "127.0.0.1", 1.0)
        draft = node.intake.create(envelope)
        draft.write(dataset_bytes(template))
        parcels.append(node.parcel(draft.commit(), delivery=at))
    with answering(0, []) as port:
        receipts = list(Dicom(peer(port), "VENTURI", within(20)).deliver(parcels))
    assert [receipt.delivery for receipt in receipts] == list(range(100))
    assert {receipt.status for receipt in receipts} == {"no-context"}


def test_orthanc_takes_a_batch_and_shows_it(tmp_path: Path, corpus: Path, node: Node) -> None:
    names = ("CT_small.dcm", "MR_small_RLE.dcm", "JPEG2000.dcm")
    with orthanc(tmp_path / "orthanc") as (dicom, http):
        where = Dicom(peer(dicom, "ORTHANC"), "VENTURI", within(20))
        receipts = list(where.deliver([node.parcel(node.receive(sample(corpus, name))) for name in names]))
        assert [receipt.ending for receipt in receipts] == [Ending.DELIVERED] * 3
        with urllib.request.urlopen(f"http://127.0.0.1:{http}/statistics", timeout=10) as answer:
            assert json.load(answer)["CountInstances"] == 3


def test_echo_says_how_it_went(tmp_path: Path) -> None:
    with storescp(tmp_path / "peer") as port:
        assert echo(peer(port), "VENTURI", within(10)).ok
    nobody = echo(peer(free_port()), "VENTURI", within(5))
    assert not nobody.ok
    assert "unreachable" in nobody.detail


# --- courier ---


def test_a_dead_peer_is_tried_until_it_is_back(tmp_path: Path, corpus: Path, node: Node) -> None:
    instance = node.receive(sample(corpus, "CT_small.dcm"))
    node.decide(instance, "there", as_received(instance))
    port = free_port()

    class Counted(Dicom):
        asked = 0

        def probe(self) -> str:
            self.asked += 1
            return super().probe()

    where = Counted(peer(port), "VENTURI", within(5))
    with courier(node, where):
        (row,) = node.ledger.deliveries(Filter())
        until(lambda: where.asked >= 3)
        assert node.states() == [State.PENDING]
        assert len(node.ledger.attempts(row.id)) == 1, (
            "while it does not answer, it is asked, and no try is spent"
        )
        with storescp(tmp_path / "peer", "+B", port=port):
            until(lambda: node.states() == [State.DELIVERED])
    (got,) = (tmp_path / "peer").iterdir()
    assert hashlib.sha256(dataset_bytes(got)).hexdigest() == instance.sha256
    attempts = node.ledger.attempts(row.id)
    assert attempts[0].status == "unreachable"
    assert attempts[-1].status == "0000"


def test_what_is_refused_is_held_after_a_few_tries(corpus: Path, node: Node) -> None:
    instance = node.receive(sample(corpus, "CT_small.dcm"))
    node.decide(instance, "there", as_received(instance))
    with answering(0xA900, []) as port, courier(node, Dicom(peer(port), "VENTURI", within(5))):
        until(lambda: node.states() == [State.HELD])
    (row,) = node.ledger.deliveries(Filter())
    assert [attempt.status for attempt in node.ledger.attempts(row.id)] == ["A900"] * 3


def test_a_missing_original_is_held_as_damaged(tmp_path: Path, corpus: Path, node: Node) -> None:
    instance = node.receive(sample(corpus, "CT_small.dcm"))
    node.decide(instance, "there", as_received(instance))
    node.spool.materialise(instance).unlink()
    with courier(node, folder_of(tmp_path / "archive")):
        until(lambda: node.states() == [State.HELD])
    (row,) = node.ledger.deliveries(Filter())
    assert row.status == "damaged"


def test_a_file_that_can_not_be_read_is_later_and_keeps_no_other_waiting(
    tmp_path: Path, corpus: Path, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    ct, mr = (node.receive(sample(corpus, name)) for name in ("CT_small.dcm", "MR_small.dcm"))
    for instance in (ct, mr):
        node.decide(instance, "there", as_received(instance))
    found = node.spool.materialise

    def materialise(instance: Instance) -> Path:
        if instance == ct:
            raise OSError(errno.EIO, "Input/output error")
        return found(instance)

    monkeypatch.setattr(node.spool, "materialise", materialise)
    with courier(node, Folder(FolderDestination(folder=tmp_path / "out", path="{SOPInstanceUID}.dcm"))):
        until(lambda: State.DELIVERED in node.states())
    rows = {row.instance_id: row for row in node.ledger.deliveries(Filter())}
    assert (rows[ct.id].state, rows[ct.id].status) == (State.PENDING, "unreadable")
    assert [attempt.state for attempt in node.ledger.attempts(rows[mr.id].id)] == [State.DELIVERED]


def test_a_courier_survives_a_destination_that_raises(tmp_path: Path, corpus: Path, node: Node) -> None:
    class Flaky(Folder):
        broken = True

        def _store(self, parcel: Parcel) -> tuple[Ending, str, str]:
            if self.broken:
                self.broken = False
                raise RuntimeError("a mistake")
            return super()._store(parcel)

    instance = node.receive(sample(corpus, "CT_small.dcm"))
    node.decide(instance, "there", as_received(instance))
    with courier(node, Flaky(FolderDestination(folder=tmp_path / "archive"))):
        until(lambda: node.states() == [State.DELIVERED])
    (row,) = node.ledger.deliveries(Filter())
    assert [attempt.status for attempt in node.ledger.attempts(row.id)] == ["error", ""]


def test_a_stopped_courier_leaves_the_rest_for_the_next(tmp_path: Path, corpus: Path, node: Node) -> None:
    entered, go_on = threading.Event(), threading.Event()

    class Slow(Folder):
        def _store(self, parcel: Parcel) -> tuple[Ending, str, str]:
            entered.set()
            go_on.wait(20)
            return super()._store(parcel)

    for _ in range(3):
        instance = node.receive(sample(corpus, "CT_small.dcm"))
        node.decide(instance, "there", as_received(instance))
    with courier(node, Slow(FolderDestination(folder=tmp_path / "archive"))) as first:
        assert entered.wait(20)
        first.stop()
        go_on.set()
        first.join(20)
    assert sorted(node.states()) == sorted([State.DELIVERED, State.PENDING, State.PENDING])
    with courier(node, folder_of(tmp_path / "archive")):
        until(lambda: node.states() == [State.DELIVERED] * 3)


@pytest.mark.parametrize("umask", [0o077, 0o000])
def test_files_and_folders_have_the_modes_that_are_asked_for(
    tmp_path: Path, corpus: Path, node: Node, umask: int
) -> None:
    wanted = FolderDestination(
        folder=tmp_path / "archive",
        path="{Modality}/{SOPInstanceUID}.dcm",
        file_mode=0o640,
        folder_mode=0o750,
    )
    before = os.umask(umask)
    try:
        (receipt,) = Folder(wanted).deliver([node.parcel(node.receive(sample(corpus, "CT_small.dcm")))])
    finally:
        os.umask(before)
    assert receipt.ending is Ending.DELIVERED
    (file,) = (tmp_path / "archive").rglob("*.dcm")
    assert [path.stat().st_mode & 0o777 for path in (file, file.parent, tmp_path / "archive")] == [
        0o640,
        0o750,
        0o750,
    ]


def test_nothing_is_written_below_the_watermark_or_where_nothing_is_mounted(
    tmp_path: Path, corpus: Path, node: Node
) -> None:
    parcel = node.parcel(node.receive(sample(corpus, "CT_small.dcm")))
    full = Folder(FolderDestination(folder=tmp_path / "full", min_free=0.999))
    (receipt,) = full.deliver([parcel])
    assert (receipt.ending, receipt.status) == (Ending.LATER, "ENOSPC")
    assert "less than 100% of the space is free" in full.probe()
    missing = Folder(FolderDestination(folder=tmp_path / "mnt" / "archive", mount=tmp_path / "mnt"))
    (receipt,) = missing.deliver([parcel])
    assert (receipt.ending, receipt.status) == (Ending.LATER, "ENODEV")
    assert "nothing is mounted" in missing.probe()
    assert not (tmp_path / "mnt").exists()
    here = Folder(FolderDestination(folder=tmp_path / "archive", mount=Path("/proc"), min_free=0.0001))
    assert here.probe() == ""
    (receipt,) = here.deliver([parcel])
    assert receipt.ending is Ending.DELIVERED


# --- retention ---


def test_delivered_bytes_go_when_their_time_has_passed(tmp_path: Path, corpus: Path, node: Node) -> None:
    source = sample(corpus, "CT_small.dcm")
    delivered, waiting = node.receive(source), node.receive(source)
    target, outcome = node.rendition(delivered, jpeg_ls_of(source, tmp_path))
    node.decide(delivered, "there", outcome)
    with courier(node, folder_of(tmp_path / "archive")):
        until(lambda: node.states() == [State.DELIVERED])
    node.decide(waiting, "elsewhere", as_received(waiting))
    assert sweep_once(node.ledger, node.spool, Retain(after=3600)) == 0
    assert sweep_once(node.ledger, node.spool, Retain(after=3600), time.time() + 7200) == 1
    assert [left.id for left in node.spool.iterate()] == [waiting.id]
    assert list((tmp_path / "spool" / "renditions").rglob("*.dcm")) == []
    assert target.transfer_syntax == JPEG_LS


def test_peers_are_stopped_cleanly(tmp_path: Path) -> None:
    port = free_port()
    with process(
        ["python3", "-m", "http.server", str(port), "--bind", "127.0.0.1"], port, tmp_path / "log"
    ) as server:
        assert server.poll() is None
    assert server.poll() is not None


# --- several at once ---


def test_a_batch_is_stored_with_one_receipt_for_each(tmp_path: Path, corpus: Path, node: Node) -> None:
    names = ("CT_small.dcm", "MR_small.dcm", "JPEG2000.dcm", "examples_rgb_color.dcm")
    parcels = [
        node.parcel(node.receive(sample(corpus, name)), delivery=4 * turn + number)
        for turn in range(3)
        for number, name in enumerate(names)
    ]
    parcels[5].original.write_bytes(parcels[5].original.read_bytes()[:-2])
    receipts = list(folder_of(tmp_path / "archive").deliver(parcels))
    assert sorted(receipt.delivery for receipt in receipts) == list(range(12))
    assert {receipt.delivery for receipt in receipts if receipt.ending is not Ending.DELIVERED} == {5}
    stored = sorted(path.read_bytes()[-100:] for path in (tmp_path / "archive").rglob("*.dcm"))
    assert stored == sorted(parcels[number].original.read_bytes()[-100:] for number in range(4))
    assert list((tmp_path / "archive" / ".incoming").iterdir()) == []


def test_a_batch_of_receipts_of_one_object_leaves_the_last_one(
    tmp_path: Path, corpus: Path, node: Node
) -> None:
    first = sample(corpus, "CT_small.dcm")
    other = tmp_path / "other.dcm"
    other.write_bytes(first.read_bytes()[:-1] + bytes([first.read_bytes()[-1] ^ 1]))
    instances = [node.receive(path) for path in (first, other) * 8]
    parcels = [node.parcel(instance, delivery=number) for number, instance in enumerate(instances)]
    receipts = list(folder_of(tmp_path / "archive", on_conflict="replace").deliver(parcels[::-1]))
    assert {receipt.ending for receipt in receipts} == {Ending.DELIVERED}
    (stored,) = (tmp_path / "archive").rglob("*.dcm")
    meta, offset = read_meta(stored)
    assert meta.private_information.decode() == max(instance.id for instance in instances)
    assert hashlib.sha256(stored.read_bytes()[offset:]).hexdigest() == instances[-1].sha256


def test_of_a_batch_with_one_name_every_file_is_kept_where_there_are_no_hard_links(
    tmp_path: Path, corpus: Path, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder on CIFS, say: a name is reserved by an empty file there, which is replaced a moment later."""

    def no_links(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "no hard links here")

    reserve = os.open

    def slow(path: str | Path, flags: int, *more: int, **named: int) -> int:
        descriptor = reserve(path, flags, *more, **named)
        if flags & os.O_EXCL and str(path).endswith("CT.dcm"):
            time.sleep(0.1)
        return descriptor

    parcels = []
    for number in range(4):
        dataset = dcmread(sample(corpus, "CT_small.dcm"))
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}"
        dataset.save_as(tmp_path / f"{number}.dcm")
        parcels.append(node.parcel(node.receive(tmp_path / f"{number}.dcm"), delivery=number))
    monkeypatch.setattr(os, "link", no_links)
    monkeypatch.setattr(os, "open", slow)
    where = folder_of(tmp_path / "archive", path="{Modality}.dcm", on_conflict="keep-both")
    assert {receipt.ending for receipt in where.deliver(parcels)} == {Ending.DELIVERED}
    kept = {dcmread(path).SOPInstanceUID for path in (tmp_path / "archive").rglob("*.dcm")}
    assert kept == {f"1.2.3.{number}" for number in range(4)}


def test_a_batch_that_is_broken_off_leaves_nothing_half_written(
    tmp_path: Path, corpus: Path, node: Node
) -> None:
    parcels = [
        node.parcel(node.receive(sample(corpus, "CT_small.dcm")), delivery=number) for number in range(40)
    ]
    where = folder_of(tmp_path / "archive", path="{InstanceNumber}-{SOPInstanceUID}.dcm")
    receipts = iter(where.deliver(parcels))
    assert next(receipts).ending is Ending.DELIVERED
    receipts.close()  # type: ignore[attr-defined]  # a generator, as a courier finds out too
    assert list((tmp_path / "archive" / ".incoming").iterdir()) == []
    assert len(list(where.deliver(parcels))) == 40
