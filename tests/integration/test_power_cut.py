"""Loss of power right after the last 0000: everything that was acknowledged is there.

A loop-mounted ext4 or xfs is shut down by its ioctl, with NOLOGFLUSH: that drops all that was not synced, as a power
cut does. The control is the same node with every sync made a no-op: it must lose something, or else the test could not
tell.
"""

import hashlib
from pathlib import Path

import pytest

from integration.disks import cut, image, loop, need_root
from integration.nodes import Node, config_text
from integration.peers import dataset_bytes, sample
from integration.test_receive import CT, EXPLICIT, associate, send
from venturi.spool.local import LocalSpool

OBJECTS = 40


def kept(tmp_path: Path, corpus: Path, file_system: str, *, syncs: bool) -> tuple[set[str], set[str]]:
    """SOP instances that were acknowledged before the cut, and those that are whole after it."""
    need_root()
    disk, where = image(tmp_path / "disk", file_system, 400), tmp_path / "mnt"
    data = dataset_bytes(sample(corpus, "CT_small.dcm"))
    mark = data.index(b"1.3.6.1.4.1.5962.1.1.1.1.1.20040119072730.12322")
    acknowledged = set()
    with loop(where, disk):
        folder = tmp_path / "node"
        folder.mkdir()
        text = config_text().replace("data: ./data", f"data: {where}/data\n  limits: {{min_free: 1%}}")
        (where / "data").mkdir(mode=0o700)
        (folder / "data").symlink_to(where / "data")  # where the test looks for what the node says of itself
        node = Node(folder, text)
        with pytest.MonkeyPatch.context() as patched:
            if not syncs:
                (folder / "sitecustomize.py").write_text(
                    "import os\nos.fsync = os.fdatasync = lambda _: None\n"
                )
                patched.setenv("PYTHONPATH", str(folder))
            node.start()
        try:
            association = associate(node.port, [(CT, [EXPLICIT])])
            for number in range(OBJECTS):
                uid = f"1.3.6.1.4.1.5962.1.1.1.1.1.20040119072730.{20000 + number}"
                if (
                    send(association, data[:mark] + uid.encode() + data[mark + len(uid) :], sop_instance=uid)
                    == 0
                ):
                    acknowledged.add(uid)
            cut(where)
        finally:
            node.process.kill()
            node.process.wait()
    with loop(where, disk):
        spool = LocalSpool(where / "data" / "spool")
        whole = {
            one.envelope.sop_instance_uid
            for one in spool.iterate()
            if hashlib.sha256(dataset_bytes(spool.materialise(one))).hexdigest() == one.sha256
        }
    return acknowledged, whole


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
