"""A tree is found whole, without loops, and nothing special in it is opened."""

import os
import socket
from pathlib import Path

import pytest

from renditions import bundled
from venturi.compress.port import Left
from venturi.compress.walk import JOURNAL_FOLDER, Beginning, Found, look, walk


def found(source: Path) -> dict[str, Left | None]:
    entries = list(walk(source))
    assert len({entry.path for entry in entries}) == len(entries)
    return {entry.path: entry.left for entry in entries}


def test_files_are_found_with_their_lengths_and_times(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "empty").mkdir()
    (tmp_path / "a" / "b" / "x.dcm").write_bytes(b"12345")
    (tmp_path / "y").write_bytes(b"")
    x, y = (tmp_path / "a" / "b" / "x.dcm").stat(), (tmp_path / "y").stat()
    assert sorted(walk(tmp_path), key=lambda entry: entry.path) == [
        Found("a/b/x.dcm", 5, x.st_mtime_ns),
        Found("y", 0, y.st_mtime_ns),
    ]


def test_one_file_is_found(tmp_path: Path) -> None:
    (tmp_path / "x.dcm").write_bytes(b"1")
    assert found(tmp_path / "x.dcm") == {"x.dcm": None}


def test_links_to_files_are_files_and_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "file").write_bytes(b"123")
    (tmp_path / "tree" / "to-file").symlink_to(tmp_path / "file")
    (tmp_path / "tree" / "loop").symlink_to(tmp_path / "tree")
    (tmp_path / "tree" / "itself").symlink_to("itself")
    (tmp_path / "tree" / "nowhere").symlink_to("gone")
    assert found(tmp_path / "tree") == {
        "to-file": None,
        "loop": Left.LINK_TO_FOLDER,
        "itself": Left.UNREADABLE,
        "nowhere": Left.UNREADABLE,
    }
    assert {entry.size_bytes for entry in walk(tmp_path / "tree")} == {0, 3}


def test_special_files_are_named_and_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # whoever opened it would wait for ever
    (tmp_path / "to-pipe").symlink_to("pipe")
    (tmp_path / "null").symlink_to("/dev/null")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        details = {entry.path: entry.detail for entry in walk(tmp_path)}
        assert set(found(tmp_path).values()) == {Left.SPECIAL_FILE}
    assert details == {
        "pipe": "a named pipe",
        "to-pipe": "a named pipe",
        "null": "a device",
        "socket": "a socket",
    }


def test_a_name_that_is_no_text_is_found(tmp_path: Path) -> None:
    name = os.fsdecode(b"M\xfcller.dcm")
    (tmp_path / name).write_bytes(b"")
    assert found(tmp_path) == {name: None}


def test_the_notes_of_a_run_are_passed_over_at_the_top_alone(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "below"):
        (folder / JOURNAL_FOLDER).mkdir(parents=True)
        (folder / JOURNAL_FOLDER / "x").write_bytes(b"")
    assert found(tmp_path) == {JOURNAL_FOLDER: Left.JOURNAL, f"below/{JOURNAL_FOLDER}/x": None}


@pytest.mark.parametrize(
    ("name", "beginning"),
    [
        ("CT_small.dcm", Beginning("1.2.840.10008.1.2.1")),
        ("MR_small_RLE.dcm", Beginning("1.2.840.10008.1.2.5")),
        ("no_meta_group_length.dcm", Beginning("1.2.840.10008.1.2")),
        ("meta_missing_tsyntax.dcm", Beginning("")),
    ],
)
def test_a_beginning_tells_the_transfer_syntax(name: str, beginning: Beginning) -> None:
    assert look(os.fspath(bundled(name))) == beginning


def test_a_long_file_meta_group_is_read_whole(tmp_path: Path) -> None:
    data = bundled("CT_small.dcm").read_bytes()
    at = data.index(b"\x02\0\x10\0UI")
    private = b"\x02\0\x05\0UN\0\0" + (5000).to_bytes(4, "little") + bytes(5000)
    (tmp_path / "x").write_bytes(data[:132] + private + data[at:])
    assert look(os.fspath(tmp_path / "x")).transfer_syntax == "1.2.840.10008.1.2.1"


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("DICOMDIR", Left.DICOMDIR),
        ("DICOMDIR-implicit", Left.DICOMDIR),
        ("ExplVR_LitEndNoMeta.dcm", Left.NO_FILE_META),
        ("ExplVR_BigEndNoMeta.dcm", Left.NO_FILE_META),
        ("README.txt", Left.NOT_DICOM),
        ("zipMR.gz", Left.NOT_DICOM),
    ],
)
def test_what_is_no_image_file_is_told_apart(name: str, left: Left) -> None:
    folder = bundled("CT_small.dcm").parent
    path = folder / name if (folder / name).exists() else folder / "dicomdirtests" / name
    assert look(os.fspath(path)).left is left


def test_an_empty_file_is_not_dicom(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    assert look(os.fspath(tmp_path / "empty")).left is Left.NOT_DICOM
