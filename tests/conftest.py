"""What all tests share: where the public DICOM files are."""

import os
from pathlib import Path

import pydicom.data
import pytest

ROOT = Path(__file__).parents[1]
TOGETHER = (
    *("test_codec_plugin", "test_codecs_try", "test_commitment", "test_commitment_orthanc", "test_compress"),
    *("test_console", "test_deliver_group", "test_deliver_syntaxes", "test_explicit_dcmtk", "test_node"),
    *("test_pydicom_tutorials", "test_queue", "test_transcode_peers"),
)
"""Files of integration tests that may wait for each other: they measure nothing, have long deadlines, and need
neither the machine's devices nor its limits."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that may run beside others."""
    for item in items:
        if item.path.stem in TOGETHER:
            item.add_marker("together")


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
