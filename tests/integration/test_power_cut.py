"""Loss of power right after the last 0000: everything that was acknowledged is there.

A loop-mounted ext4 or xfs is shut down by its ioctl, with NOLOGFLUSH: that drops all that was not synced, as a power
cut does. The control is the same node with every sync made a no-op: it must lose something, or else the test could not
tell.
"""

import contextlib
import fcntl
import hashlib
import os
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.nodes import Node, config_text
from integration.peers import dataset_bytes, need, sample
from integration.test_receive import CT, EXPLICIT, associate, send
from venturi.spool.local import LocalSpool

SHUTDOWN, NOLOGFLUSH = 0x8004587D, 2
"""EXT4_IOC_SHUTDOWN, and XFS_IOC_GOINGDOWN, which is the same number."""
OBJECTS = 40


@contextlib.contextmanager
def mounted(image: Path, where: Path) -> Iterator[None]:
    where.mkdir(exist_ok=True)
    done = subprocess.run(
        ["mount", "-o", "loop", str(image), str(where)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        words = f"a loop device can't be mounted here: {done.stderr.strip()}"
        pytest.skip(words)
    try:
        yield
    finally:
        Node.until(
            lambda: subprocess.run(["umount", str(where)], capture_output=True, check=False).returncode == 0,
            30,
        )


def cut(where: Path) -> None:
    """Cut the power of a mounted file system."""
    descriptor = os.open(where, os.O_RDONLY)
    try:
        fcntl.ioctl(descriptor, SHUTDOWN, struct.pack("I", NOLOGFLUSH))
    finally:
        os.close(descriptor)


def kept(tmp_path: Path, corpus: Path, file_system: str, *, syncs: bool) -> tuple[set[str], set[str]]:
    """SOP instances that were acknowledged before the cut, and those that are whole after it."""
    image, where = tmp_path / "disk", tmp_path / "mnt"
    with image.open("wb") as file:
        file.truncate(400 << 20)
    subprocess.run([need(f"mkfs.{file_system}"), "-q", str(image)], check=True)
    data = dataset_bytes(sample(corpus, "CT_small.dcm"))
    mark = data.index(b"1.3.6.1.4.1.5962.1.1.1.1.1.20040119072730.12322")
    acknowledged = set()
    with mounted(image, where):
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
    with mounted(image, where):
        spool = LocalSpool(where / "data" / "spool")
        whole = {
            one.envelope.sop_instance_uid
            for one in spool.iterate()
            if hashlib.sha256(dataset_bytes(spool.materialise(one))).hexdigest() == one.sha256
        }
    return acknowledged, whole


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a file system and cut its power")
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
