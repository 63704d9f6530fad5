"""What every spool must do, for each engine; then what only files on a disk can show."""

import hashlib
import os
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.data import get_testdata_file

from venturi.dataset import part10
from venturi.errors import Damaged, Malformed, SpoolFailed, SpoolFull, Temporary
from venturi.model import AS_RECEIVED, Envelope, Instance, Target
from venturi.spool import naming
from venturi.spool.local import LocalSpool
from venturi.spool.memory import MemorySpool
from venturi.spool.port import Intake, Spool

JPEG_LS = Target("1.2.840.10008.1.2.4.80")
HTJ2K = Target("1.2.840.10008.1.2.4.201")


def source() -> tuple[bytes, Envelope]:
    """A real CT's dataset bytes, and an envelope for them."""
    with Path(str(get_testdata_file("CT_small.dcm"))).open("rb") as file:
        meta, _ = part10.read(file)
        return file.read(), Envelope(
            sop_class_uid=meta.sop_class_uid,
            sop_instance_uid=meta.sop_instance_uid,
            transfer_syntax=meta.transfer_syntax,
            calling_ae="CT1",
            called_ae="VENTURI",
            peer="ct",
            address="10.1.0.7",
            received_at=1_700_000_000.125,
        )


CT, CT_ENVELOPE = source()


@pytest.fixture(params=["local", "memory"])
def spool(request: pytest.FixtureRequest, tmp_path: Path) -> Spool:
    return LocalSpool(tmp_path / "spool") if request.param == "local" else MemorySpool()


@pytest.fixture
def local(tmp_path: Path) -> LocalSpool:
    return LocalSpool(tmp_path / "spool")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def intake(spool: Spool) -> Iterator[Intake]:
    intake = spool.intake()
    yield intake
    intake.close()


def keep(intake: Intake, data: bytes = CT, envelope: Envelope = CT_ENVELOPE) -> Instance:
    draft = intake.create(envelope)
    draft.write(data)
    return draft.commit()


def dataset_of(path: Path) -> bytes:
    with path.open("rb") as file:
        part10.read(file)
        return file.read()


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and path.name != "lock")


# --- every engine ---


def test_the_dataset_is_kept_verbatim_behind_a_file_meta_group(spool: Spool, intake: Intake) -> None:
    path = spool.materialise(keep(intake))
    assert dataset_of(path) == CT
    assert dcmread(path).PixelData == dcmread(str(get_testdata_file("CT_small.dcm"))).PixelData


def test_commit_says_what_was_kept(intake: Intake) -> None:
    instance = keep(intake)
    assert instance.sha256 == hashlib.sha256(CT).hexdigest()
    assert instance.size_bytes == len(CT)
    assert instance.envelope == CT_ENVELOPE


def test_bytes_may_come_in_any_pieces_and_types(spool: Spool, intake: Intake) -> None:
    draft = intake.create(CT_ENVELOPE)
    draft.write(CT[:1])
    draft.write(bytearray(CT[1:7]))
    draft.write(b"")
    draft.write(memoryview(CT)[7:])
    assert dataset_of(spool.materialise(draft.commit())) == CT


def test_the_sweep_yields_what_was_committed_and_nothing_else(intake: Intake) -> None:
    kept = [keep(intake), keep(intake)]
    intake.create(CT_ENVELOPE).discard()
    assert list(intake.sweep()) == kept


def test_the_sweep_passes_over_what_is_known(spool: Spool) -> None:
    intake = spool.intake()
    old, new = keep(intake), keep(intake)
    assert list(intake.sweep(lambda ids: {old.id} & set(ids))) == [new]
    intake.close()
    assert spool.adopt(len, lambda ids: {old.id} & set(ids)) == 1


def test_iterate_yields_every_receivers_instances(spool: Spool) -> None:
    intakes = [spool.intake(), spool.intake()]
    kept = [keep(intake) for intake in intakes for _ in range(3)]
    assert list(spool.iterate()) == kept


def test_two_intakes_are_apart_and_a_closed_one_is_taken_again(spool: Spool) -> None:
    first, second = spool.intake(), spool.intake()
    mine = keep(first)
    assert list(second.sweep()) == []
    first.close()
    assert list(spool.intake().sweep()) == [mine]


def test_ids_ascend(intake: Intake) -> None:
    ids = [keep(intake, b"\x08\0").id for _ in range(50)]
    assert ids == sorted(set(ids))
    assert all(len(found) == 32 for found in ids)


def test_the_same_bytes_again_are_another_instance(spool: Spool, intake: Intake) -> None:
    first, second = keep(intake), keep(intake)
    spool.delete(first)
    assert dataset_of(spool.materialise(second)) == CT


def test_a_discarded_draft_takes_nothing_more(intake: Intake) -> None:
    draft = intake.create(CT_ENVELOPE)
    draft.discard()
    draft.discard()
    with pytest.raises(SpoolFailed, match="closed"):
        draft.write(CT)
    with pytest.raises(SpoolFailed, match="closed"):
        draft.commit()


def test_a_rendition_is_there_once_it_is_committed(spool: Spool, intake: Intake) -> None:
    instance = keep(intake)
    draft = spool.draft_rendition(instance, JPEG_LS)
    assert not draft.path.exists()
    draft.path.write_bytes(b"made")
    with pytest.raises(Damaged, match=instance.id):
        spool.materialise_rendition(instance, JPEG_LS)
    draft.commit()
    assert spool.materialise_rendition(instance, JPEG_LS).read_bytes() == b"made"
    with pytest.raises(Damaged, match=instance.id):
        spool.materialise_rendition(instance, HTJ2K)


def test_a_rendition_made_again_replaces_the_first(spool: Spool, intake: Intake) -> None:
    instance = keep(intake)
    drafts = [spool.draft_rendition(instance, JPEG_LS) for _ in range(2)]
    for number, draft in enumerate(drafts):
        draft.path.write_bytes(b"%d" % number)
        draft.commit()
    assert spool.materialise_rendition(instance, JPEG_LS).read_bytes() == b"1"


def test_a_discarded_rendition_leaves_nothing(spool: Spool, intake: Intake) -> None:
    draft = spool.draft_rendition(keep(intake), JPEG_LS)
    draft.discard()
    draft.path.write_bytes(b"half")
    draft.discard()
    assert not draft.path.exists()


def test_what_a_dead_process_left_of_a_rendition_can_be_removed_and_what_is_committed_stays(
    spool: Spool, intake: Intake
) -> None:
    instance, other = keep(intake), keep(intake)
    made, half = spool.draft_rendition(instance, JPEG_LS), spool.draft_rendition(instance, HTJ2K)
    others = spool.draft_rendition(other, HTJ2K)
    for draft in (made, half, others):
        draft.path.write_bytes(b"made")
    made.commit()
    spool.abandon_renditions(instance)
    spool.abandon_renditions(instance)
    assert not half.path.exists()
    assert others.path.exists()
    assert spool.materialise_rendition(instance, JPEG_LS).read_bytes() == b"made"


def test_a_rendition_that_was_never_written_cannot_be_committed(spool: Spool, intake: Intake) -> None:
    with pytest.raises(SpoolFailed):
        spool.draft_rendition(keep(intake), JPEG_LS).commit()


def test_delete_removes_original_and_renditions_and_may_be_repeated(spool: Spool, intake: Intake) -> None:
    instance, other = keep(intake), keep(intake)
    for one in (instance, other):
        draft = spool.draft_rendition(one, JPEG_LS)
        draft.path.write_bytes(b"made")
        draft.commit()
    spool.delete(instance)
    spool.delete(instance)
    with pytest.raises(Damaged):
        spool.materialise(instance)
    with pytest.raises(Damaged):
        spool.materialise_rendition(instance, JPEG_LS)
    assert spool.materialise_rendition(other, JPEG_LS).read_bytes() == b"made"
    assert list(spool.iterate()) == [other]


def test_delete_rendition_leaves_the_original(spool: Spool, intake: Intake) -> None:
    instance = keep(intake)
    draft = spool.draft_rendition(instance, JPEG_LS)
    draft.path.write_bytes(b"made")
    draft.commit()
    spool.delete_rendition(instance, JPEG_LS)
    spool.delete_rendition(instance, JPEG_LS)
    with pytest.raises(Damaged):
        spool.materialise_rendition(instance, JPEG_LS)
    assert dataset_of(spool.materialise(instance)) == CT


def test_what_is_quarantined_is_no_longer_an_instance(spool: Spool, intake: Intake) -> None:
    instance = keep(intake)
    spool.quarantine(instance)
    spool.quarantine(instance)
    assert list(spool.iterate()) == []
    with pytest.raises(Damaged):
        spool.materialise(instance)


def test_what_a_receiver_left_is_adopted_once_it_has_ended(spool: Spool) -> None:
    recorded: list[Instance] = []

    def record(found: Sequence[Instance]) -> int:
        recorded.extend(found)
        return len(found)

    ended, living = spool.intake(), spool.intake()
    left = keep(ended)
    keep(living)
    assert spool.adopt(record) == 0
    ended.close()
    assert spool.adopt(record) == 1
    assert spool.adopt(record) == 0
    assert recorded == [left]
    again = spool.intake()
    keep(again)
    again.close()
    assert spool.adopt(record) == 2
    living.close()


def test_what_could_not_be_recorded_is_adopted_again(spool: Spool) -> None:
    intake = spool.intake()
    keep(intake)
    intake.close()

    def refuse(_: Sequence[Instance]) -> int:
        raise Temporary("the ledger is locked")

    with pytest.raises(Temporary):
        spool.adopt(refuse)
    assert spool.adopt(len) == 1


def test_something_is_free(spool: Spool) -> None:
    assert 0.0 < spool.free_fraction() <= 1.0


def test_an_object_without_transfer_syntax_is_refused_before_it_is_taken(intake: Intake) -> None:
    envelope = Envelope("1.2", "1.3", " ", "A", "B", "p", "10.0.0.1", 0.0)
    with pytest.raises(Malformed, match="transfer syntax"):
        intake.create(envelope)


def test_threads_may_create_drafts_of_one_intake(spool: Spool, intake: Intake) -> None:
    kept: list[Instance] = []

    def receive(number: int) -> None:
        for turn in range(10):
            kept.append(keep(intake, CT + b"%d %d" % (number, turn)))

    threads = [threading.Thread(target=receive, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(spool.iterate(), key=lambda i: i.id) == sorted(kept, key=lambda i: i.id)
    assert all(hashlib.sha256(dataset_of(spool.materialise(i))).hexdigest() == i.sha256 for i in kept)


# what a network can say: any bytes, as UTF-8 with escapes or as Latin-1, padding and control characters too
words = st.binary(max_size=80).map(lambda b: b.decode("utf-8", "surrogateescape")) | st.binary(
    max_size=80
).map(lambda b: b.decode("latin-1"))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.builds(
        Envelope,
        sop_class_uid=words,
        sop_instance_uid=words | st.just("../../../etc/passwd") | st.just("1" * 5000),
        transfer_syntax=words.filter(lambda text: text.strip("\0 ")),
        calling_ae=words,
        called_ae=words,
        peer=words,
        address=words,
        received_at=st.floats(0, 1e11),
        certificate=st.just("") | st.just("f" * 64),
    )
)
def test_the_envelope_comes_back_exactly_from_the_files(local: LocalSpool, envelope: Envelope) -> None:
    intake = local.intake()
    instance = keep(intake, b"\x08\0\x18\0", envelope)
    assert list(intake.sweep()) == [instance]
    local.delete(instance)
    intake.close()


# --- memory ---


def test_memory_has_the_capacity_it_is_given() -> None:
    spool = MemorySpool(capacity_bytes=len(CT) + 10)
    intake = spool.intake()
    keep(intake)
    draft = intake.create(CT_ENVELOPE)
    with pytest.raises(SpoolFull):
        draft.write(CT)
    assert spool.free_fraction() < 0.01


def test_memory_breaks_when_told_to() -> None:
    spool = MemorySpool()
    draft = spool.intake().create(CT_ENVELOPE)
    spool.broken = True
    with pytest.raises(SpoolFailed):
        draft.commit()
    assert list(spool.iterate()) == []


# --- files ---


def test_nothing_of_the_network_is_in_a_path(local: LocalSpool, root: Path) -> None:
    hostile = Envelope("../x", "/etc/passwd", "1.2.840.10008.1.2", "../AE", "..", "..", "../..", 1.0)
    instance = keep(local.intake(), CT, hostile)
    assert files(root) == [f"{instance.id}-{instance.sha256}-{instance.size_bytes}.dcm"]


def test_files_and_folders_are_for_their_owner_alone(local: LocalSpool, root: Path) -> None:
    instance = keep(local.intake())
    draft = local.draft_rendition(instance, JPEG_LS)
    draft.path.write_bytes(b"made")
    draft.commit()
    modes = {(p.is_dir(), stat.S_IMODE(p.stat().st_mode)) for p in [root, *root.rglob("*")]}
    assert modes == {(True, 0o700), (False, 0o600)}


def test_an_uncommitted_draft_is_gone_when_the_next_receiver_starts(local: LocalSpool, root: Path) -> None:
    first = local.intake()
    kept = keep(first)
    half = first.create(CT_ENVELOPE)
    half.write(CT[:1000])
    first.close()
    assert len(files(root)) == 2
    assert list(local.intake().sweep()) == [kept]
    assert files(root) == [naming.original_name(kept)]


def test_a_living_receivers_draft_survives_the_start_of_another(local: LocalSpool) -> None:
    first = local.intake()
    draft = first.create(CT_ENVELOPE)
    draft.write(CT)
    list(local.intake().sweep())
    assert dataset_of(local.materialise(draft.commit())) == CT


def test_a_truncated_file_moves_to_corrupt_and_the_sweep_goes_on(local: LocalSpool, root: Path) -> None:
    intake = local.intake()
    short, whole = keep(intake), keep(intake)
    path = local.materialise(short)
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(Damaged, match=str(len(CT) - 1)):
        local.materialise(short)
    assert list(intake.sweep()) == [whole]
    assert [p.name for p in (root / "corrupt").iterdir()] == [path.name]


@pytest.mark.parametrize("content", [b"", b"garbage", bytes(200), part10.encode(part10.FileMeta("", "", ""))])
def test_a_file_that_is_not_part_10_moves_to_corrupt(local: LocalSpool, root: Path, content: bytes) -> None:
    intake = local.intake()
    instance = keep(intake)
    local.materialise(instance).write_bytes(content)
    assert list(local.iterate()) == []
    assert (root / "corrupt" / naming.original_name(instance)).read_bytes() == content


def test_private_information_that_is_not_ours_to_read_moves_to_corrupt(local: LocalSpool, root: Path) -> None:
    instance = keep(local.intake())
    path = local.materialise(instance)
    path.write_bytes(path.read_bytes().replace(b'{"peer"', b'["peer"'))
    assert list(local.iterate()) == []
    assert (root / "corrupt" / path.name).exists()


def test_a_strangers_file_is_left_alone(local: LocalSpool) -> None:
    intake = local.intake()
    kept = keep(intake)
    note = local.materialise(kept).parent / "note.txt"
    note.write_text("do not touch")
    assert list(intake.sweep()) == [kept]
    assert note.exists()


def test_quarantined_bytes_are_kept(local: LocalSpool, root: Path) -> None:
    instance = keep(local.intake())
    local.quarantine(instance)
    assert dataset_of(root / "corrupt" / naming.original_name(instance)) == CT


def test_abandoned_renditions_are_swept_and_young_ones_stay(local: LocalSpool) -> None:
    instance = keep(local.intake())
    old, young = local.draft_rendition(instance, JPEG_LS), local.draft_rendition(instance, HTJ2K)
    for draft in (old, young):
        draft.path.write_bytes(b"half")
    os.utime(old.path, (time.time() - 4000, time.time() - 4000))
    local.intake()
    assert not old.path.exists()
    assert young.path.exists()


def test_an_old_bucket_that_becomes_empty_is_removed_and_comes_back_for_a_late_draft(
    local: LocalSpool, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    intake = local.intake()
    monkeypatch.setattr(naming, "new_id", lambda: "0" * 31 + "1")
    instance = keep(intake)
    bucket = local.materialise(instance).parent
    local.delete(instance)
    assert not bucket.exists()
    assert dataset_of(local.materialise(keep(intake))) == CT


def test_a_young_bucket_stays(local: LocalSpool) -> None:
    instance = keep(local.intake())
    bucket = local.materialise(instance).parent
    local.delete(instance)
    assert bucket.exists()


def test_an_instance_removed_while_others_look_is_no_error(local: LocalSpool) -> None:
    intake = local.intake()
    first, second = keep(intake), keep(intake)
    walk = local.iterate()
    assert next(walk) == first
    local.delete(second)
    assert list(walk) == []


def test_a_full_disk_is_spool_full_and_leaves_nothing(local: LocalSpool, root: Path) -> None:
    intake = local.intake()
    draft = intake.create(CT_ENVELOPE)
    descriptor = os.open("/dev/full", os.O_WRONLY)
    os.dup2(descriptor, draft._descriptor)
    os.close(descriptor)
    with pytest.raises(SpoolFull):
        draft.write(CT)
    assert files(root) == []
    assert keep(intake).size_bytes == len(CT)


def test_after_broken_storage_the_intake_takes_nothing_more(local: LocalSpool, root: Path) -> None:
    intake = local.intake()
    draft = intake.create(CT_ENVELOPE)
    draft.write(CT)
    os.close(draft._descriptor)
    draft._descriptor = os.open("/dev/null", os.O_RDONLY)  # takes no data: the error of broken storage
    with pytest.raises(SpoolFailed):
        draft.write(CT)
    assert files(root) == []
    with pytest.raises(SpoolFailed, match="restarted"):
        intake.create(CT_ENVELOPE)


def test_ids_ascend_over_threads_and_when_the_clock_steps_back(monkeypatch: pytest.MonkeyPatch) -> None:
    before = naming.new_id()
    monkeypatch.setattr(time, "time_ns", lambda: 10**18)
    after = naming.new_id()
    assert before[:16] < after[:16]


@settings(deadline=None)
@given(st.text(max_size=130))
def test_only_names_we_make_are_originals(name: str) -> None:
    found = naming.parse_original(name)
    assert found is None or str(found) == name


@settings(deadline=None)
@given(st.integers(0, 2**128 - 1), st.binary(min_size=32, max_size=32), st.integers(0, 2**62))
def test_names_are_read_back(number: int, digest: bytes, size: int) -> None:
    instance = Instance(f"{number:032x}", digest.hex(), size, CT_ENVELOPE)
    found = naming.parse_original(naming.original_name(instance))
    assert found == naming.OriginalName(instance.id, instance.sha256, size)


def test_the_original_and_as_received_have_no_rendition_in_common() -> None:
    assert AS_RECEIVED.digest != JPEG_LS.digest != HTJ2K.digest
