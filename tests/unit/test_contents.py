"""A file's bytes are the same, read or mapped, and so is the digest of a dataset in it."""

import hashlib
import mmap
from pathlib import Path

import pytest

from venturi.dataset import part10
from venturi.dataset.contents import FEW_BYTES, contents
from venturi.errors import Malformed
from venturi.transcode.dataset_file import digest, open_dataset


@pytest.mark.parametrize(("size_bytes", "kind"), [(FEW_BYTES, bytes), (FEW_BYTES + 1, mmap.mmap)])
def test_few_bytes_are_read_and_more_are_mapped(size_bytes: int, kind: type, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * (size_bytes // 256) + b"x" * (size_bytes % 256))
    found = contents(path)
    assert isinstance(found, kind)
    assert found[:] == path.read_bytes()


def test_an_empty_file_is_malformed_and_a_missing_one_an_error(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(Malformed, match="empty"):
        contents(path)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        contents(path)


@pytest.mark.parametrize("size_bytes", [0, 1, FEW_BYTES, (16 << 20) - 1, (33 << 20) + 5])
def test_the_digest_is_that_of_the_dataset_alone(size_bytes: int, tmp_path: Path) -> None:
    path = tmp_path / "file"
    head = part10.encode(part10.FileMeta("1.2.3", "1.2.4", "1.2.840.10008.1.2.1", source_ae="A"))
    dataset = bytes(range(251)) * (size_bytes // 251 + 1)
    path.write_bytes(head + dataset[:size_bytes])
    found = open_dataset(path)
    assert (found.offset, found.size_bytes) == (len(head), size_bytes)
    assert found.sha256 == digest(path, found.offset) == hashlib.sha256(dataset[:size_bytes]).hexdigest()
    assert "data" not in repr(found), "nothing of a patient in a log"
