"""What all tests share: where the public DICOM files are."""

import os
from pathlib import Path

import pydicom.data
import pytest

ROOT = Path(__file__).parents[1]
ALONE = (
    *("test_benchmark_ingest", "test_benchmark_receive", "test_benchmark_send", "test_benchmarks"),
    *(
        "test_deliver_courier",
        "test_durability",
        "test_power_cut",
        "test_receive_hostile",
        "test_receive_statuses",
    ),
    *("test_sandbox", "test_supervisor"),
)
"""Files that measure something, or need the machine's devices, limits or both processors for themselves."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that run beside no others."""
    for item in items:
        if item.path.stem in ALONE:
            item.add_marker("alone")


def corpus_folder() -> Path:
    """``VENTURI_CORPUS``, else ``../shared/corpus`` beside the project, else pydicom's own test files."""
    named = os.environ.get("VENTURI_CORPUS")
    if named:
        return Path(named)
    beside = ROOT.parent / "shared" / "corpus"
    return beside if beside.is_dir() else Path(str(pydicom.data.get_testdata_file("CT_small.dcm"))).parent


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The folder of public DICOM files."""
    return corpus_folder()


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's folder."""
    return ROOT
