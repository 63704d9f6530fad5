"""What all tests share: where the public DICOM files are."""

import os
from pathlib import Path

import pydicom.data
import pytest

ROOT = Path(__file__).parents[1]


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
