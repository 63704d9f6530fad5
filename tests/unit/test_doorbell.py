"""A ring wakes every process that waits for its role, never fails, and leaves nothing behind."""

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from venturi.ledger.doorbell import UnixDoorbell
from venturi.ledger.port import Role

NOW = 0.0
LONG_S = 30.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "bells"


@pytest.fixture
def waiting(folder: Path) -> Iterator[UnixDoorbell]:
    bell = UnixDoorbell(folder, Role.TRANSCODE)
    yield bell
    bell.close()


@pytest.fixture
def ringer(folder: Path) -> Iterator[UnixDoorbell]:
    bell = UnixDoorbell(folder, None)
    yield bell
    bell.close()


def test_a_ring_wakes_who_waits(waiting: UnixDoorbell, ringer: UnixDoorbell) -> None:
    threading.Timer(0.05, ringer.ring, [Role.TRANSCODE]).start()
    assert waiting.wait(LONG_S)


def test_a_ring_before_the_wait_is_not_lost(waiting: UnixDoorbell, ringer: UnixDoorbell) -> None:
    ringer.ring(Role.TRANSCODE)
    assert waiting.wait(NOW)


def test_many_rings_are_one_waking(waiting: UnixDoorbell, ringer: UnixDoorbell) -> None:
    for _ in range(5):
        ringer.ring(Role.TRANSCODE)
    assert waiting.wait(NOW)
    assert not waiting.wait(NOW)


def test_without_a_ring_the_time_passes(waiting: UnixDoorbell) -> None:
    assert not waiting.wait(0.01)
    assert not waiting.wait(-1.0)


def test_a_ring_for_another_role_wakes_nobody(waiting: UnixDoorbell, ringer: UnixDoorbell) -> None:
    ringer.ring(Role.DELIVER)
    assert not waiting.wait(NOW)


def test_every_process_of_a_role_is_woken(folder: Path, waiting: UnixDoorbell, ringer: UnixDoorbell) -> None:
    second = UnixDoorbell(folder, Role.TRANSCODE)
    ringer.ring(Role.TRANSCODE)
    assert (waiting.wait(NOW), second.wait(NOW)) == (True, True)
    second.close()
    ringer.ring(Role.TRANSCODE)
    assert waiting.wait(NOW)


def test_a_role_may_ring_another_and_itself(folder: Path, waiting: UnixDoorbell) -> None:
    deliver = UnixDoorbell(folder, Role.DELIVER)
    waiting.ring(Role.DELIVER)
    waiting.ring(Role.TRANSCODE)
    assert (deliver.wait(NOW), waiting.wait(NOW)) == (True, True)
    deliver.close()


def test_ringing_where_nobody_waits_is_no_error(ringer: UnixDoorbell) -> None:
    ringer.ring(Role.DELIVER)


def test_a_full_socket_does_not_block_the_ringer(waiting: UnixDoorbell, ringer: UnixDoorbell) -> None:
    for _ in range(2000):
        ringer.ring(Role.TRANSCODE)
    assert waiting.wait(NOW)


def test_a_dead_process_socket_is_removed_and_the_living_are_rung(
    folder: Path, waiting: UnixDoorbell, ringer: UnixDoorbell
) -> None:
    program = (
        "import os, pathlib, sys\n"
        "from venturi.ledger.doorbell import UnixDoorbell\n"
        "from venturi.ledger.port import Role\n"
        "bell = UnixDoorbell(pathlib.Path(sys.argv[1]), Role.TRANSCODE)\n"
        "os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(folder)], check=True)
    assert len(list(folder.iterdir())) == 2
    ringer.ring(Role.TRANSCODE)
    assert len(list(folder.iterdir())) == 1
    assert waiting.wait(NOW)


def test_a_folder_deeper_than_a_socket_address_works(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    waiting, ringer = UnixDoorbell(deep, Role.DELIVER), UnixDoorbell(deep, None)
    ringer.ring(Role.DELIVER)
    assert waiting.wait(NOW)
    waiting.close()
    ringer.close()


def test_closing_removes_the_socket_and_may_be_repeated(folder: Path) -> None:
    bell = UnixDoorbell(folder, Role.DELIVER)
    bell.close()
    bell.close()
    assert list(folder.iterdir()) == []


def test_ringing_a_folder_that_is_gone_is_no_error(folder: Path, ringer: UnixDoorbell) -> None:
    folder.rmdir()
    ringer.ring(Role.DELIVER)


def test_a_closed_bell_rings_nobody_without_an_error(folder: Path) -> None:
    bell = UnixDoorbell(folder, None)
    bell.close()
    bell.ring(Role.DELIVER)


def test_a_bell_made_for_ringing_cannot_wait(ringer: UnixDoorbell) -> None:
    with pytest.raises(RuntimeError, match="ringing only"):
        ringer.wait(NOW)


def test_nobody_else_may_ring(folder: Path, waiting: UnixDoorbell) -> None:
    modes = {stat.S_IMODE(path.stat().st_mode) for path in [folder, *folder.iterdir()]}
    assert modes == {0o700, 0o600}
    assert waiting.wait(NOW) is False
    assert os.access(folder, os.W_OK)
