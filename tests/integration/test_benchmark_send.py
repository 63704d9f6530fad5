"""benchmarks/send.py from end to end, with a few images: everything but the figures."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.peers import answers, free_port, need, process

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
VENTURI = ("Venturi, batches of 16", "Venturi, all in one")
STORESCU, DCMSEND, PYNETDICOM = "DCMTK storescu", "DCMTK dcmsend", "pynetdicom storescu"
EVERY = (*VENTURI, STORESCU, DCMSEND, PYNETDICOM)
REFUSING = """\
import sys
from pynetdicom import AE, AllStoragePresentationContexts, evt
statuses = iter([0x0000] + [int(sys.argv[2], 16)] * 1000)
ae = AE()
for context in AllStoragePresentationContexts:
    ae.add_supported_context(context.abstract_syntax, "1.2.840.10008.1.2.1")
ae.start_server(("127.0.0.1", int(sys.argv[1])), evt_handlers=[(evt.EVT_C_STORE, lambda event: next(statuses))])
"""
"""A receiver that takes the first object."""
SEND = """\
import sys
from pathlib import Path
from measure import CommandFailed
from pydicom.data import get_testdata_file
from send_peers import Receiver, Share, send
from venturi.cli.files import parcels_of
parcels, _ = parcels_of([Path(get_testdata_file("CT_small.dcm"))] * 3)
share = Share.make(Path(sys.argv[2]) / sys.argv[3].replace(" ", "-"), parcels)
try:
    send(sys.argv[3], Receiver(int(sys.argv[4]), int(sys.argv[1]), {}), [share])
except CommandFailed as error:
    print(error)
"""


def send(*options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, BENCHMARKS / "send.py", *options]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300, check=False)


def rows(text: str) -> list[list[str]]:
    """The cells of all the tables."""
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if "|" in line]


def test_every_sender_both_ways(tmp_path: Path) -> None:
    need("storescu")
    need("dcmsend")
    options = ["--samples", tmp_path, "--scale", 0.004, "--repeat", 1, "--startups", 1]
    done = send(*options, "--kinds", "CT", "--associations", "1")
    assert done.returncode == 0, done.stderr
    found = rows(done.stdout)
    measured = [row for row in found if len(row) == 11 and row[1] == "1"]
    assert [row[0] for row in measured] == list(EVERY) * 2
    assert all(row[2] == "4" and min(map(float, row[3:5])) > 0 for row in measured)
    assert all(
        float(row[9]) > 0 for row in measured if row[0] in VENTURI
    )  # others may end before they are seen
    aims = {row[0]: row[2] for row in found if row[-1] in ("yes", "no")}
    for how in ("as they come", "delayed acknowledgements taken out"):
        assert re.search(rf"^### CT of [\d,]+ bytes, {how}$", done.stdout, re.MULTILINE)
        for name in VENTURI:
            assert f"CT, {how}: CPU of {name}, less start-up, ms a CT, at most 0.5" in aims
            against = f"CT, {how}: {name} to the faster of DCMTK's, one association at a time"
            assert f"{against}, less start-up, at least 1" in aims
            assert f"{against}, whole commands, at least 1" in aims
    assert "can't be seen" not in done.stderr


def test_several_associations_in_rounds(tmp_path: Path) -> None:
    need("dcmsend")
    names = (VENTURI[0], DCMSEND)
    options = ["--samples", tmp_path, "--repeat", 2, "--startups", 1, "--senders", *names]
    done = send(*options, "--kinds", "LARGE", "--large-bytes", 1_000_000, "--associations", "3")
    assert done.returncode == 0, done.stderr
    measured = [row[:3] for row in rows(done.stdout) if row[0] in names]
    assert measured == [[name, "3", "3"] for name in names] * 2  # one for each
    turns = [line.partition(":")[0].split(", ")[-3:] for line in done.stderr.splitlines()]
    each = [[*name.split(", ")[-1:], "3", f"round {turn}"] for turn in (1, 2) for name in names]
    assert turns == each * 2


@pytest.fixture
def refusing(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[int, int]]:
    port = free_port()
    command = [sys.executable, "-c", REFUSING, str(port), request.param]
    with process(command, port, tmp_path / "log") as running:
        yield running.pid, port


@pytest.mark.parametrize(
    ("refusing", "name"),
    [*(("A700", name) for name in EVERY), *(("B000", name) for name in (VENTURI[0], STORESCU, DCMSEND))],
    indirect=["refusing"],
)
def test_other_statuses_than_0000_are_no_figures(
    tmp_path: Path, refusing: tuple[int, int], name: str
) -> None:
    need("storescu")
    need("dcmsend")
    pid, port = refusing
    assert answers(port)
    done = subprocess.run(
        [sys.executable, "-c", SEND, str(port), tmp_path, name, str(pid)],
        env={**os.environ, "PYTHONPATH": str(BENCHMARKS)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "1 of 3 were answered by 0000" in done.stdout or ": exit code " in done.stdout
