"""Files get their names without replacing or following anything that is not ours."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from venturi.compress.place import Output, Taken
from venturi.compress.run import check_apart
from venturi.errors import ConfigError


def part(output: Output, data: bytes = b"new") -> str:
    output.unfinished()
    path = output.part(1)
    Path(path).write_bytes(data)
    return path


def no_links(*_: Any) -> None:
    raise OSError(errno.EPERM, "no hard links here")


@pytest.mark.parametrize("links", [True, False])
def test_a_name_is_given_once(links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    output = Output(tmp_path / "deep" / "out")
    output.place(part(output), "a/b.dcm", replace=False)
    with pytest.raises(Taken):
        output.place(part(output, b"other"), "a/b.dcm", replace=False)
    assert (output.root / "a" / "b.dcm").read_bytes() == b"new"
    output.place(part(output, b"third"), "a/b.dcm", replace=True)
    assert (output.root / "a" / "b.dcm").read_bytes() == b"third"
    output.close()
    assert list(output.own.iterdir()) == []


def test_a_folder_that_is_a_link_or_a_file_is_not_gone_through(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    output = Output(tmp_path / "out")
    (output.root / "link").symlink_to(tmp_path / "in")
    (output.root / "file").write_bytes(b"")
    for path in ("link/x", "link/deep/x", "file/x", "file/deep/x"):
        with pytest.raises(Taken):
            output.place(part(output), path, replace=True)
    assert list((tmp_path / "in").iterdir()) == []


def test_a_link_in_a_files_place_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"old")
    output = Output(tmp_path / "out")
    (output.root / "x").symlink_to(tmp_path / "precious")
    assert output.size_of("x") == -1
    with pytest.raises(Taken):
        output.place(part(output), "x", replace=False)
    output.place(part(output), "x", replace=True)
    assert (tmp_path / "precious").read_bytes() == b"old"
    assert (output.root / "x").read_bytes() == b"new"


def test_a_part_that_has_its_name_already_goes(tmp_path: Path) -> None:
    output = Output(tmp_path / "out")
    made = part(output)
    (output.root / "x").hardlink_to(made)
    output.place(made, "x", replace=False)
    assert (output.root / "x").read_bytes() == b"new"
    assert output.unfinished() == set()


def test_our_own_folder_may_not_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".venturi-compress").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Taken):
        Output(tmp_path / "out")


def test_source_and_output_must_be_apart(tmp_path: Path) -> None:
    source = tmp_path / "in"
    (source / "below").mkdir(parents=True)
    (source / "x.dcm").write_bytes(b"")
    (tmp_path / "to-in").symlink_to(source)
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "x.dcm").symlink_to(source / "x.dcm")
    refused = {
        (source, source): "IN itself",
        (source, tmp_path / "to-in"): "IN itself",
        (source, source / "below"): "inside IN",
        (source, source / "new" / "one"): "inside IN",
        (source, tmp_path / "to-in" / "new"): "inside IN",
        (tmp_path / "to-in", source / "new"): "inside IN",
        (source, tmp_path): "inside OUT",
        (source / "below", tmp_path / "to-in"): "inside OUT",
        (source / "x.dcm", source): "where IN itself is",
        (tmp_path / "links" / "x.dcm", tmp_path / "links"): "where IN itself is",
        (tmp_path / "links" / "x.dcm", source): "where IN itself is",
        (source, tmp_path / "file"): "not a folder",
        (tmp_path / "gone", tmp_path / "out"): "there is no",
    }
    for (given, output), words in refused.items():
        with pytest.raises(ConfigError, match=words):
            check_apart(given, output)
    check_apart(source, tmp_path / "out")
    check_apart(source, tmp_path / "in2")
    check_apart(source / "x.dcm", source / "below")
