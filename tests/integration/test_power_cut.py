"""Loss of power: everything that was acknowledged is there.

A loop-mounted ext4 or xfs is shut down by its ioctl, with NOLOGFLUSH: that drops all that was not synced, as a power
cut does. The control is the same node with every sync made a no-op: it must lose something, or else the test could not
tell.

Power is lost right after the last 0000 of one association, when nobody else's sync can help; and in the middle of
eight, with spool, ledger and archive on that disk.
"""

import contextlib
import hashlib
import os
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from integration.disks import cut, image, loop, need_root
from integration.nodes import Node, config_text, running
from integration.peers import dataset_bytes, sample
from integration.test_receive import CT, EXPLICIT, associate, send
from venturi.deliver.association import Context, Object
from venturi.deliver.dicom_scu import NotAssociated, Requestor
from venturi.deliver.wire import Lost
from venturi.spool.local import LocalSpool

OBJECTS = 40
SENDERS, BEFORE_CUT = 8, 160
"""How many associations send at once, and how many objects are acknowledged to them before the cut."""
UID = "1.3.6.1.4.1.5962.1.1.1.1.1.20040119072730.12322"
AS_RECEIVED = "  - {name: all, transfer_syntax: as-received}\n"


def kept(tmp_path: Path, corpus: Path, file_system: str, *, syncs: bool) -> tuple[set[str], set[str]]:
    """SOP instances that were acknowledged before the cut, and those that are whole after it."""
    need_root()
    disk, where = image(tmp_path / "disk", file_system, 400), tmp_path / "mnt"
    data = dataset_bytes(sample(corpus, "CT_small.dcm"))
    acknowledged = set()
    with loop(where, disk), started(tmp_path / "node", where, syncs=syncs) as node:
        association = associate(node.port, [(CT, [EXPLICIT])])
        for number in range(OBJECTS):
            uid, renamed = renamed_to(number, data)
            if send(association, renamed, sop_instance=uid) == 0:
                acknowledged.add(uid)
        cut(where)
    with loop(where, disk):
        return acknowledged, set(whole_objects(where))


def renamed_to(number: int, data: bytes) -> tuple[str, bytes]:
    """The same object under another SOP Instance UID of the same length."""
    uid = UID[:-5] + str(20000 + number)
    return uid, data.replace(UID.encode(), uid.encode())


@contextlib.contextmanager
def started(folder: Path, where: Path, *, syncs: bool = True) -> Iterator[Node]:
    """A node that has all it writes on a disk; killed in the end."""
    folder.mkdir(exist_ok=True)
    text = config_text(rules=AS_RECEIVED).replace("folder: ./archive", f"folder: {where}/archive")
    text = text.replace("data: ./data", f"data: {where}/data\n  limits: {{min_free: 1%}}")
    (where / "data").mkdir(mode=0o700)
    (folder / "data").symlink_to(where / "data")  # where the test looks for what the node says of itself
    node = Node(folder, text)
    with pytest.MonkeyPatch.context() as patched:
        if not syncs:
            (folder / "sitecustomize.py").write_text("import os\nos.fsync = os.fdatasync = lambda _: None\n")
            patched.setenv("PYTHONPATH", str(folder))
        node.start()
    try:
        yield node
    finally:
        node.process.kill()
        node.process.wait()


def whole_objects(where: Path) -> dict[str, str]:
    """SOP Instance UID and SHA-256 of all objects in the spool whose bytes are what their names say."""
    spool = LocalSpool(where / "data" / "spool")
    return {
        one.envelope.sop_instance_uid: one.sha256
        for one in spool.iterate()
        if hashlib.sha256(dataset_bytes(spool.materialise(one))).hexdigest() == one.sha256
    }


@pytest.mark.parametrize("file_system", ["ext4", "xfs"])
def test_what_was_acknowledged_survives_a_power_cut_and_the_control_does_not(
    tmp_path: Path, corpus: Path, file_system: str
) -> None:
    acknowledged, whole = kept(tmp_path, corpus, file_system, syncs=True)
    assert len(acknowledged) == OBJECTS
    assert acknowledged <= whole
    (tmp_path / "control").mkdir()
    acknowledged, whole = kept(tmp_path / "control", corpus, file_system, syncs=False)
    assert len(acknowledged) == OBJECTS
    assert not acknowledged <= whole, "the control has lost nothing: this test can't tell"


class Senders:
    """Some associations that send as fast as they can, each until it is not answered by 0000."""

    def __init__(self, port: int, data: bytes) -> None:
        self.sent: dict[str, str] = {}
        """The SHA-256 of each dataset by its SOP Instance UID."""
        self.acknowledged: set[str] = set()
        self._data, self._numbers = data, count()
        self._port = port
        self._each = [0] * SENDERS
        self._enough = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(one,)) for one in range(SENDERS)]

    def __enter__(self) -> "Senders":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for thread in self._threads:
            thread.join()

    def until_enough(self) -> None:
        """Wait until each has sent something, and all together enough."""
        assert self._enough.wait(60), self._each

    def _send(self, which: int) -> None:
        context = Context(CT, EXPLICIT)
        with contextlib.suppress(Lost, NotAssociated):  # that is what a cut looks like
            association = Requestor("127.0.0.1", self._port, "VENTURI", "TEST", 20).associate([context])
            status = 0
            while not status:
                uid, data = renamed_to(next(self._numbers), self._data)
                padding = os.urandom(100_000)  # Data Set Trailing Padding (FFFC,FFFC): no two are alike
                data += b"\xfc\xff\xfc\xffOB\0\0" + len(padding).to_bytes(4, "little") + padding
                self.sent[uid] = digest = hashlib.sha256(data).hexdigest()
                item = Object(Path(), 0, len(data), digest, context, uid)
                status, _ = association.store(item, [(memoryview(data), True)])
                if status == 0:
                    self.acknowledged.add(uid)
                    self._each[which] += 1
                    if len(self.acknowledged) >= BEFORE_CUT and all(self._each):
                        self._enough.set()
            association.abort()


@pytest.mark.parametrize("file_system", ["ext4", "xfs"])
def test_a_power_cut_under_load_loses_nothing_acknowledged_and_shows_nothing_partial(
    tmp_path: Path, corpus: Path, file_system: str
) -> None:
    senders, disk, where = cut_under_load(tmp_path, corpus, file_system, syncs=True)
    wanted = {uid: senders.sent[uid] for uid in senders.acknowledged}
    with (
        loop(where, disk),
        running(tmp_path / "node", (tmp_path / "node" / "venturi.yaml").read_text()) as node,
    ):
        assert wanted.items() <= whole_objects(where).items() <= senders.sent.items()
        node.settle(len(wanted))
        assert {row["state"] for row in node.deliveries()} == {"delivered"}
        archived = {path.stem: path for path in (where / "archive").rglob("*.dcm")}
        shown = {uid: hashlib.sha256(dataset_bytes(path)).hexdigest() for uid, path in archived.items()}
        assert wanted.items() <= shown.items() <= senders.sent.items()
        assert shown == whole_objects(where), "each is there under its own name, and once"
    (tmp_path / "control").mkdir()
    senders, disk, where = cut_under_load(tmp_path / "control", corpus, file_system, syncs=False)
    with loop(where, disk):
        assert not senders.acknowledged <= whole_objects(where).keys(), "this test can't tell"


def cut_under_load(
    tmp_path: Path, corpus: Path, file_system: str, *, syncs: bool
) -> tuple[Senders, Path, Path]:
    """Cut the power of a node while all send: the senders, the disk as it is then, and where it is to be mounted."""
    need_root()
    disk, where = image(tmp_path / "disk", file_system, 600), tmp_path / "mnt"
    data = dataset_bytes(sample(corpus, "CT_small.dcm"))
    with (
        loop(where, disk),
        started(tmp_path / "node", where, syncs=syncs) as node,
        Senders(node.port, data) as senders,
    ):
        senders.until_enough()
        before = set(senders.acknowledged)
        cut(where)
    # Without power nobody says anything; here the node lives on, and a sync that was under way may end well (XFS).
    senders.acknowledged = before
    return senders, disk, where
