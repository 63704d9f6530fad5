"""What a peer of a real node is told when an object can't be stored, and what is left of it: nothing.

Disks here are small ones of their own, really full, without inodes or with a sync that fails. What a peer is told of
its own mistakes is in ``test_receive``.
"""

import contextlib
import hashlib
import os
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import UID
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import P_DATA

from integration.disks import break_ext4, cut, fill, image, loop, need_root, tmpfs
from integration.nodes import Node, config_text, running
from integration.peers import dataset_bytes, need, run, sample
from integration.test_receive import CT, EXPLICIT, associate, identity, pause, send, until
from venturi.spool.local import LocalSpool

CONGESTION = "Rejected Transient, Source: Service Provider (Presentation Related): Temporary Congestion"
TOO_MANY = "Rejected Transient, Source: Service Provider (Presentation Related): Local Limit Exceeded"


def text(limits: str = "min_free: 0%", receivers: int = 2) -> str:
    """A configuration with limits."""
    return config_text().replace("receivers: 2", f"receivers: {receivers}\n  limits: {{{limits}}}")


def ct(path: Path, corpus: Path, uid: str, size: int = 128) -> Path:
    """A CT image of so many rows and columns."""
    dataset = pydicom.dcmread(sample(corpus, "CT_small.dcm"))
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(uid)
    dataset.Rows = dataset.Columns = size
    dataset.PixelData = bytes(2 * size * size)
    dataset.save_as(path)
    return path


def storescu(node: Node, *paths: Path) -> list[str]:
    """Send files in one association: the status of each, or why the association was rejected."""
    said = run("storescu", "-d", "-nh", "-aec", "VENTURI", "127.0.0.1", str(node.port), *paths)
    words = said.stdout + said.stderr
    rejected = re.search(r"Result: (.*)\nF: Reason: (.*)", words)
    if rejected:
        return [": ".join(rejected.groups())]
    return re.findall(r"DIMSE Status +: 0x([0-9a-f]{4})", words)


def kept(node: Node) -> Counter[str]:
    """How often each SOP instance is in the spool. All are whole, and there is nothing else."""
    spool = LocalSpool(node.folder / "data" / "spool")
    instances = list(spool.iterate())
    for instance in instances:
        stored = dataset_bytes(spool.materialise(instance))
        assert hashlib.sha256(stored).hexdigest() == instance.sha256
    receivers = node.folder / "data" / "spool" / "receivers"
    files = [path for path in receivers.rglob("*") if path.is_file() and path.name not in {"lock", "swept"}]
    assert len(files) == len(instances), files
    return Counter(instance.envelope.sop_instance_uid for instance in instances)


def partial(node: Node) -> list[Path]:
    """Files of objects that are not committed."""
    return list((node.folder / "data" / "spool" / "receivers").glob("*/incoming/*"))


def recorded(node: Node, count: int) -> None:
    """Wait until the ledger has so many rows: it has nothing more to write then."""
    until(lambda: len(node.instances()) == count)


def events(node: Node) -> list[str]:
    """What its log tells of."""
    return [line["event"] for line in node.said()]


def refused(node: Node) -> list[str]:
    """Why it refused objects."""
    return [line["why"] for line in node.said() if line["event"] == "object refused"]


def tell_the_rest(association: Association, data: bytes) -> int | None:
    """Send the last fragment of an object that ``send`` has begun; the status."""
    pause(association)
    fragment = P_DATA()
    fragment.presentation_data_value_list.append((1, b"\2" + data))
    association.dul.send_pdu(fragment)
    _, answer = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    return getattr(answer, "Status", None)


# --- no room -----------------------------------------------------------------------------------------------------


def test_below_the_watermark_new_associations_are_rejected_and_running_ones_store_on(
    tmp_path: Path, corpus: Path
) -> None:
    data = tmp_path / "data"
    sent = ct(tmp_path / "ct.dcm", corpus, "1.2.1")
    with tmpfs(data, "size=64m"), running(tmp_path, text("min_free: 40%"), "receive") as node:
        there = [associate(node.port, [(CT, [EXPLICIT])]) for _ in range(4)]
        assert storescu(node, sent) == ["0000"]
        filler = fill(data, leave=0.2)
        until(lambda: storescu(node, sent) == [CONGESTION] and events(node).count("intake stops") == 2)
        assert [storescu(node, sent) for _ in range(6)] == [[CONGESTION]] * 6
        assert "nothing new is taken: less than 40% of the spool is free" in node.command("status").stdout
        uids = [f"1.2.2.{number}" for number in range(8)]
        for uid, one in zip(uids, [*there, *there], strict=True):
            assert send(one, identity(CT, uid) + bytes(10_000), sop_instance=uid) == 0x0000
        filler.unlink()
        until(lambda: storescu(node, sent) == ["0000"] and events(node).count("intake goes on") == 2)
        assert "nothing new is taken" not in node.command("status").stdout
        assert [storescu(node, sent) for _ in range(6)] == [["0000"]] * 6
        for one in there:
            one.release()
        found = kept(node)
        assert found.pop("1.2.1") >= 1 + 6
        assert found == dict.fromkeys(uids, 1)


@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_an_object_that_finds_no_room_is_A700_and_a_smaller_one_after_it_is_stored(  # noqa: N802
    tmp_path: Path, corpus: Path, kind: str
) -> None:
    data = tmp_path / "data"
    need_root()
    disk = tmpfs(data, "size=64m") if kind == "tmpfs" else loop(data, image(tmp_path / "disk", kind, 64))
    first = ct(tmp_path / "first.dcm", corpus, "1.2.1")
    large = ct(tmp_path / "large.dcm", corpus, "1.2.2", 2048)
    small = ct(tmp_path / "small.dcm", corpus, "1.2.3")
    with disk, running(tmp_path, text(), "receive") as node:
        assert storescu(node, first) == ["0000"]
        recorded(node, 1)
        filler = fill(data, leave=0.08)
        assert storescu(node, large, small) == ["a700", "0000"]
        assert [why.rpartition(": ")[2] for why in refused(node)] == ["No space left on device"]
        assert kept(node) == {"1.2.1": 1, "1.2.3": 1}
        filler.unlink()
        assert storescu(node, large) == ["0000"]
        assert kept(node) == {"1.2.1": 1, "1.2.2": 1, "1.2.3": 1}


@pytest.mark.parametrize("left", [0, 1], ids=["none", "one, and its folder needs another"])
def test_an_object_that_finds_no_inode_is_A700(tmp_path: Path, corpus: Path, left: int) -> None:  # noqa: N802
    data = tmp_path / "data"
    need_root()
    disk = image(tmp_path / "disk", "ext4", 16, "-N", "64")
    sent = ct(tmp_path / "ct.dcm", corpus, "1.2.1")
    with loop(data, disk), running(tmp_path, text(receivers=1), "receive") as node:
        if not left:
            assert storescu(node, sent) == ["0000"]
            recorded(node, 1)
        before = kept(node)
        fillers = [data / f"filler-{number}" for number in range(os.statvfs(data).f_favail - left)]
        for filler in fillers:
            filler.touch()
        assert os.statvfs(data).f_favail == left
        assert storescu(node, sent, sent) == ["a700", "a700"]
        assert [why.rpartition(": ")[2] for why in refused(node)] == ["No space left on device"] * 2
        assert kept(node) == before
        assert os.statvfs(data).f_favail == left
        for filler in fillers:
            filler.unlink()
        assert storescu(node, sent, sent) == ["0000", "0000"]
        assert kept(node) == {"1.2.1": sum(before.values()) + 2}


# --- a disk that fails -------------------------------------------------------------------------------------------


@contextlib.contextmanager
def failing(call: str, pid: int, folder: Path) -> Iterator[None]:
    """A process whose every thread is told EIO the first time that it makes a system call."""
    need_root()
    inject = ["-e", f"trace={call}", "-e", f"inject={call}:error=EIO:when=1", "-o", str(folder / "calls")]
    with (folder / "strace").open("w") as said:
        tracing = subprocess.Popen([need("strace"), "-f", *inject, "-p", str(pid)], stderr=said)
    try:
        until(lambda: "attached" in (folder / "strace").read_text() or tracing.poll() is not None)
        assert tracing.poll() is None, (folder / "strace").read_text()
        yield
    finally:
        tracing.terminate()
        tracing.wait(30)
    assert "INJECTED" in (folder / "calls").read_text()


@pytest.mark.parametrize("call", ["fdatasync", "fsync"], ids=["of the object", "of its folder"])
def test_an_object_whose_sync_fails_is_A700_and_its_receiver_is_started_anew(  # noqa: N802
    tmp_path: Path, corpus: Path, call: str
) -> None:
    first, second, third = (ct(tmp_path / str(n), corpus, f"1.2.{n}") for n in (1, 2, 3))
    with running(tmp_path, text(receivers=1), "receive") as node:
        assert storescu(node, first) == ["0000"]
        recorded(node, 1)
        failed = node.state["roles"]["receive-0"]
        with failing(call, failed, tmp_path):
            assert storescu(node, second, third) == ["a700", "a700"]
        assert storescu(node, third) == [CONGESTION]
        assert kept(node) == {"1.2.1": 1}
        (line,) = [line for line in node.said() if line["level"] == "critical"]
        assert line["event"] == "storage failed: this receiver takes nothing more"
        until(lambda: node.state["roles"]["receive-0"] != failed)
        assert storescu(node, second, third) == ["0000", "0000"]
        assert kept(node) == {"1.2.1": 1, "1.2.2": 1, "1.2.3": 1}


def test_on_a_disk_that_has_made_itself_read_only_objects_are_A700_and_then_associations_rejected(  # noqa: N802
    tmp_path: Path, corpus: Path
) -> None:
    data, sent = tmp_path / "data", ct(tmp_path / "ct.dcm", corpus, "1.2.1")
    need_root()
    disk = image(tmp_path / "disk", "ext4", 64, "-e", "remount-ro")
    with loop(data, disk), running(tmp_path, text(), "receive") as node:
        assert storescu(node, sent) == ["0000"]
        recorded(node, 1)
        break_ext4(data)
        answers = [storescu(node, sent) for _ in range(20)]
        assert answers.count(["a700"]) == 2  # each receiver's first
        assert answers.count([CONGESTION]) == 18
        assert "role ended" not in events(node)
    with loop(data, disk):
        assert kept(node) == {"1.2.1": 1}


# --- no more than is allowed -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node with narrow limits."""
    limits = "min_free: 0%, object: 1 MB, associations: 3"
    with running(tmp_path_factory.mktemp("limited"), text(limits), "receive") as node:
        yield node


def test_an_object_over_the_limit_is_A700_and_the_association_lives_on(  # noqa: N802
    limited: Node, tmp_path: Path, corpus: Path
) -> None:
    large = ct(tmp_path / "large.dcm", corpus, "1.2.1.1", 1024)
    small = ct(tmp_path / "small.dcm", corpus, "1.2.1.2")
    assert storescu(limited, large, small) == ["a700", "0000"]
    found = kept(limited)
    assert found["1.2.1.1"] == 0
    assert found["1.2.1.2"] == 1


def test_what_comes_after_the_limit_is_read_and_dropped(limited: Node) -> None:
    association = associate(limited.port, [(CT, [EXPLICIT])])
    send(association, identity(CT, "1.2.1.3") + bytes(900_000), sop_instance="1.2.1.3", whole=False)
    until(lambda: len(partial(limited)) == 1)
    pause(association)
    for _ in range(100):
        more = P_DATA()
        more.presentation_data_value_list.append((1, b"\0" + bytes(100_000)))
        association.dul.send_pdu(more)
    association._reactor_checkpoint.set()
    until(lambda: not partial(limited))
    assert tell_the_rest(association, bytes(1000)) == 0xA700
    assert send(association, identity(CT, "1.2.1.4"), sop_instance="1.2.1.4") == 0x0000
    association.release()
    found = kept(limited)
    assert found["1.2.1.3"] == 0
    assert found["1.2.1.4"] == 1


def test_too_many_associations_are_counted_over_all_receivers(
    limited: Node, tmp_path: Path, corpus: Path
) -> None:
    sent = ct(tmp_path / "ct.dcm", corpus, "1.2.1.5")
    until(lambda: storescu(limited, sent) == ["0000"])  # those of other tests have ended
    there = [associate(limited.port, [(CT, [EXPLICIT])]) for _ in range(3)]
    assert all(one.is_established for one in there)
    assert [storescu(limited, sent) for _ in range(6)] == [[TOO_MANY]] * 6
    there.pop().release()
    until(lambda: storescu(limited, sent) == ["0000"])
    for one in there:
        one.release()


@pytest.mark.parametrize("sop_class", ["1.2.DOE^JANE", "../../../etc/passwd"])
def test_what_is_no_class_is_0118(limited: Node, sop_class: str) -> None:
    association = associate(limited.port, [(CT, [EXPLICIT])])
    before = kept(limited)
    assert send(association, identity(CT, "1.2.1.6"), sop_class, "1.2.1.6") == 0x0118
    assert send(association, identity(CT, "1.2.1.7"), sop_instance="1.2.1.7") == 0x0000
    association.release()
    assert kept(limited) - before == {"1.2.1.7": 1}
    assert sop_class not in limited.log.read_text()


# --- the same again ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A whole node."""
    with running(tmp_path_factory.mktemp("whole"), text()) as node:
        yield node


def delivered(node: Node, uid: str, count: int) -> list[str]:
    """Wait until so many receipts of a SOP instance are delivered, each once; what is said of each."""
    until(
        lambda: (
            [row["state"] for row in node.deliveries() if row["sop_instance_uid"] == uid]
            == ["delivered"] * count
        ),
        60,
    )
    rows = [row for row in node.deliveries() if row["sop_instance_uid"] == uid]
    assert len({row["instance_id"] for row in rows}) == count
    return [row["detail"] for row in rows]


def test_the_same_bytes_again_are_another_receipt_and_delivered_again(
    whole: Node, tmp_path: Path, corpus: Path
) -> None:
    sent = ct(tmp_path / "ct.dcm", corpus, uid := "1.2.3.1")
    assert storescu(whole, sent) == ["0000"]
    assert not any("already there" in said for said in delivered(whole, uid, 1))
    assert storescu(whole, sent) == ["0000"]
    assert sum("already there" in said for said in delivered(whole, uid, 2)) == 1
    assert kept(whole)[uid] == 2
    assert [row.conflict for row in whole.instances(uid)] == [False, False]
    assert len(list(whole.folder.glob(f"archive/**/{uid}*"))) == 1


def test_other_bytes_of_the_same_instance_are_kept_too_and_both_are_flagged(
    whole: Node, tmp_path: Path, corpus: Path
) -> None:
    sent = ct(tmp_path / "ct.dcm", corpus, uid := "1.2.3.2")
    other = ct(tmp_path / "other.dcm", corpus, uid, 64)
    assert storescu(whole, sent) == ["0000"]
    delivered(whole, uid, 1)
    assert [row.conflict for row in whole.instances(uid)] == [False]
    assert storescu(whole, other) == ["0000"]
    assert sum("taken by other bytes" in said for said in delivered(whole, uid, 2)) == 1
    assert kept(whole)[uid] == 2
    assert [row.conflict for row in whole.instances(uid)] == [True, True]
    files = whole.folder.glob(f"archive/**/{uid}*.dcm")
    assert sorted(pydicom.dcmread(path).Rows for path in files) == [64, 128]


# --- ended in mid-object -----------------------------------------------------------------------------------------


def begun(node: Node) -> Association:
    """An association in the middle of an object, some of which is in the spool."""
    association = associate(node.port, [(CT, [EXPLICIT])])
    send(association, identity(CT, "1.2.9") + bytes(500_000), sop_instance="1.2.9", whole=False)
    until(lambda: [path.stat().st_size > 400_000 for path in partial(node)] == [True])
    return association


def test_a_receiver_that_is_killed_in_mid_object_leaves_nothing_of_it(tmp_path: Path, corpus: Path) -> None:
    sent = ct(tmp_path / "ct.dcm", corpus, "1.2.1")
    with running(tmp_path, text(receivers=1), "receive") as node:
        assert storescu(node, sent) == ["0000"]
        association = begun(node)
        killed = node.state["roles"]["receive-0"]
        node.kill_role("receive-0")
        until(lambda: node.state["roles"]["receive-0"] != killed)
        until(lambda: not partial(node))
        until(lambda: association.is_aborted)
        assert storescu(node, sent) == ["0000"]
        assert kept(node) == {"1.2.1": 2}


def test_nor_does_a_node_whose_power_is_cut(tmp_path: Path, corpus: Path) -> None:
    need_root()
    data, disk = tmp_path / "data", image(tmp_path / "disk", "ext4", 64)
    sent = ct(tmp_path / "ct.dcm", corpus, "1.2.1")
    node = Node(tmp_path, text(receivers=1), "receive")
    with loop(data, disk):
        node.start()
        try:
            assert storescu(node, sent) == ["0000"]
            association = begun(node)
            receiver = node.state["roles"]["receive-0"]
            (half,) = partial(node)
            for path in (half, half.parent):  # or else it would not be there after the cut
                descriptor = os.open(path, os.O_RDONLY)
                os.fsync(descriptor)
                os.close(descriptor)
            cut(data)
            os.kill(receiver, signal.SIGKILL)
        finally:
            node.process.kill()
            node.process.wait()
        until(lambda: association.is_aborted)
    with loop(data, disk):
        assert partial(node) == [half]
        node.start()
        try:
            assert partial(node) == []
            assert storescu(node, sent) == ["0000"]
            assert kept(node) == {"1.2.1": 2}
        finally:
            node.stop()
