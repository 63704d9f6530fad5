"""Small disks for tests that fill them, break them or cut their power: file systems of their own, for root alone."""

import contextlib
import fcntl
import os
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.peers import need, run

SHUTDOWN, NOLOGFLUSH = 0x8004587D, 2
"""EXT4_IOC_SHUTDOWN, and XFS_IOC_GOINGDOWN, which is the same number."""
UNMOUNT_S = 30.0


def need_root() -> None:
    """Mounting, and tracing what is not one's child, are root's. The test is skipped; under ``CI=true`` it fails."""
    if os.geteuid() != 0:
        _missing("only root can mount a file system and trace a process")


def _missing(words: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(words)
    pytest.skip(words)


@contextlib.contextmanager
def mounted(where: Path, *options: str | Path) -> Iterator[None]:
    """Mount something while the test runs."""
    need_root()
    where.mkdir(mode=0o700, exist_ok=True)
    command = ["mount", *map(str, options), str(where)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        _missing(f"it can't be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        until = time.monotonic() + UNMOUNT_S
        while subprocess.run(["umount", str(where)], capture_output=True, check=False).returncode:
            if time.monotonic() > until:  # somebody holds it: take it away from under them
                subprocess.run(["umount", "-l", str(where)], check=True)
                pytest.fail(f"{where} was still in use")
            time.sleep(0.05)


@contextlib.contextmanager
def tmpfs(where: Path, options: str) -> Iterator[None]:
    """A file system in memory."""
    with mounted(where, "-t", "tmpfs", "-o", f"mode=700,{options}", "tmpfs"):
        yield


def image(path: Path, kind: str, size_mb: int, *options: str) -> Path:
    """A file with a new file system in it."""
    program = need(f"mkfs.{kind}")
    with path.open("wb") as file:
        file.truncate(size_mb << 20)
    subprocess.run([program, "-q", *options, str(path)], check=True)
    return path


@contextlib.contextmanager
def loop(where: Path, file: Path) -> Iterator[None]:
    """The file system in a file."""
    with mounted(where, "-o", "loop", file):
        yield
    until = time.monotonic() + UNMOUNT_S
    while run(
        "losetup", "-j", file
    ).stdout:  # or else the next mount would find it as it is now, and not the disk
        assert time.monotonic() < until, "it is unmounted here, and somebody holds it still"
        time.sleep(0.05)


def fill(where: Path, leave: float) -> Path:
    """Take all space but so much of the whole; the file that takes it."""
    status = os.statvfs(where)
    taken = int((status.f_bavail / status.f_blocks - leave) * status.f_blocks) * status.f_frsize
    filler = where / "filler"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, taken)
    return filler


def cut(where: Path) -> None:
    """Cut the power of a mounted file system: what was not synced is lost."""
    descriptor = os.open(where, os.O_RDONLY)
    try:
        fcntl.ioctl(descriptor, SHUTDOWN, struct.pack("I", NOLOGFLUSH))
    finally:
        os.close(descriptor)


def break_ext4(where: Path) -> None:
    """Have a mounted ext4 find an error in itself."""
    device = Path(run("findmnt", "-n", "-o", "SOURCE", where).stdout.strip()).name
    try:
        Path("/sys/fs/ext4", device, "trigger_fs_error").write_text("broken by a test")
    except OSError as error:
        _missing(f"an ext4 can't be broken here: {error}")
