"""A log line that can't be written costs the line, and nothing else."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"
LOGS = """
from venturi import log
log.configure("receive-0")
logger = log.get_logger()
logger.info("one")
try:
    raise OSError("no room")
except OSError:
    logger.exception("two")
print("goes on")
"""


def output_of(stderr: str) -> str:
    with Path(stderr).open("w") as log:
        run = subprocess.run(
            [sys.executable, "-c", LOGS],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
        )
    return run.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_log_on_a_full_disk_does_not_end_what_logs() -> None:
    assert output_of("/dev/full") == "goes on\n"


def test_a_log_that_can_be_written_is(tmp_path: Path) -> None:
    assert output_of(str(tmp_path / "log")) == "goes on\n"
    assert [line.split('"event": "')[1][:3] for line in (tmp_path / "log").read_text().splitlines()] == [
        "one",
        "two",
    ]


FROM_THE_NETWORK = """
from pydicom.dataelem import DataElement
from pynetdicom import utils
from venturi import log
log.configure("receive-0")
DataElement(0x00080018, "UI", "DOE^JANE")
try:
    utils.set_ae("DOE^JANE\\x1b[31m", "Calling AE Title")
except ValueError as error:
    utils.LOGGER.exception(error)
def parse(name):
    raise KeyError
try:
    parse("DOE^JANE")
except KeyError:
    log.get_logger().exception("unreadable")
"""


@pytest.mark.parametrize("terminal", [False, True])
def test_no_text_from_the_network_gets_into_a_log(terminal: bool) -> None:
    reader, writer = pty.openpty() if terminal else os.pipe()
    with os.fdopen(reader, "rb", buffering=0) as out:
        command = [sys.executable, "-c", FROM_THE_NETWORK]
        subprocess.run(command, stderr=writer, check=True, env={**os.environ, "PYTHONPATH": str(SOURCE)})
        text = out.read(1 << 16).decode()
        os.close(writer)
    assert "pynetdicom.utils at utils.py:" in text
    assert "ValueError" in text
    assert "unreadable" in text
    assert "KeyError" in text
    assert "WARNING" not in text
    assert "JANE" not in text


def test_a_thread_that_ends_unexpectedly_is_told_of_without_what_its_exception_says(tmp_path: Path) -> None:
    code = """
import threading
from venturi import log
log.configure("receive-0")
def fail(): raise ValueError("DOE^JANE")
thread = threading.Thread(target=fail)
thread.start(); thread.join()
"""
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )
    assert '"error": "ValueError"' in run.stderr
    assert "DOE" not in run.stderr


@pytest.mark.parametrize(("lazily", "loaded"), [(False, True), (True, False)])
def test_only_a_worker_imports_structlog_when_it_is_used(lazily: bool, loaded: bool) -> None:
    """Whoever has no descriptors left can't import it any more."""
    code = f"""
import sys
from venturi import log
log.configure("receive-0", lazily={lazily})
print("structlog" in sys.modules)
log.get_logger().info("one")
print("structlog" in sys.modules)
"""
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )
    assert run.stdout.split() == [str(loaded), "True"]
    assert '"role": "receive-0"' in run.stderr
