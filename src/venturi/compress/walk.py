"""Finds the files of a tree, and looks at how each begins. Nothing is written, no special file is opened.

Files behind links are files; links to folders are not followed, so there are no loops. Only one folder's listing is
open at a time, and what is found is told at once: a folder of a million files needs no memory.
"""

import io
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from venturi.compress.port import Left
from venturi.dataset import part10
from venturi.errors import Malformed

JOURNAL_FOLDER = ".venturi-compress"
"""Where a run keeps its notes and what is not finished, in the output."""
MEDIA_STORAGE_DIRECTORY = "1.2.840.10008.1.3.10"
_HEAD_BYTES = 2048
_SPECIAL = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_SYNTAX = re.compile(
    rb"\x02\0\x02\0UI..(?!1\.2\.840\.10008\.1\.3\.10[^0-9.])[0-9.]+\0?"
    rb"\x02\0\x03\0UI..[0-9.]+\0?\x02\0\x10\0UI..([0-9.]+)\0?\x02\0\x12\0",
    re.DOTALL,
)
"""Media Storage SOP Class UID (no DICOMDIR's), its Instance UID, Transfer Syntax UID: nearly every file begins so."""
_GROUPS = (b"\x08\0", b"\0\x08", b"\x02\0")
"""With what a dataset begins that has no preamble: group 0008, or 0002."""


@dataclass(frozen=True, slots=True)
class Found:
    """One entry of the tree that is no folder."""

    path: str
    """Relative to the root; bytes that are not UTF-8 as surrogate escapes (PEP 383)."""
    size_bytes: int = 0
    mtime_ns: int = 0
    left: Left | None = None
    """Why it is not looked into."""
    detail: str = ""


def walk(source: Path) -> Iterator[Found]:
    """Yield what is in a folder, in no order; or the one file."""
    if not source.is_dir():
        yield _found(source.name, source.lstat(), os.fspath(source))
        return
    root = os.path.join(source, "")
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(root + folder) as entries:
                for entry in entries:
                    path = f"{folder}{entry.name}"
                    if path == JOURNAL_FOLDER:
                        yield Found(path, left=Left.JOURNAL, detail="notes of an earlier run")
                    elif entry.is_dir(follow_symlinks=False):
                        folders.append(f"{path}/")
                    else:
                        yield _entry(path, entry)
        except OSError as error:
            yield Found(folder or ".", left=Left.UNREADABLE, detail=f"a folder: {said(error)}")


def _entry(path: str, entry: os.DirEntry[str]) -> Found:
    try:
        return _found(path, entry.stat(follow_symlinks=False), entry.path)
    except OSError as error:
        return Found(path, left=Left.UNREADABLE, detail=said(error))


def _found(path: str, status: os.stat_result, where: str) -> Found:
    if stat.S_ISLNK(status.st_mode):
        try:
            status = os.stat(where)
        except OSError as error:
            return Found(path, left=Left.UNREADABLE, detail=f"a link: {said(error)}")
        if stat.S_ISDIR(status.st_mode):
            return Found(path, left=Left.LINK_TO_FOLDER, detail="links to folders are not followed")
    if not stat.S_ISREG(status.st_mode):
        words = _SPECIAL.get(stat.S_IFMT(status.st_mode), "no file")
        return Found(path, left=Left.SPECIAL_FILE, detail=words)
    return Found(path, status.st_size, status.st_mtime_ns)


def said(error: OSError) -> str:
    """What the system says, without a path."""
    return error.strerror or type(error).__name__


@dataclass(frozen=True, slots=True)
class Beginning:
    """How a file begins."""

    transfer_syntax: str = ""
    """The UID; empty where the file meta group can't be read."""
    left: Left | None = None
    """Why it is no image file."""
    detail: str = ""


def look(path: str) -> Beginning:
    """Read a file's preamble and meta group (PS3.10 7.1). Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with open(descriptor, "rb", buffering=0) as file:
        head = file.read(_HEAD_BYTES) or b""
        if head[128:132] != b"DICM":
            if head[:2] in _GROUPS and len(head) > 8:
                words = "a dataset without a file meta group, it seems: give it one, for example with dcmconv"
                return Beginning(left=Left.NO_FILE_META, detail=words)
            return Beginning(left=Left.NOT_DICOM, detail="no DICM at offset 128")
        if plain := _SYNTAX.search(head, 132):
            return Beginning(plain[1].decode())
        try:
            meta = _meta(head, file)
        except Malformed:
            return Beginning()
    if meta.sop_class_uid == MEDIA_STORAGE_DIRECTORY:
        words = "it says in which transfer syntax each file is: make one anew for the output, for example with dcmmkdir"
        return Beginning(meta.transfer_syntax, Left.DICOMDIR, words)
    return Beginning(meta.transfer_syntax)


def _meta(head: bytes, file: io.FileIO) -> part10.FileMeta:
    try:
        return part10.read(io.BytesIO(head))[0]
    except Malformed:  # or longer than what was read
        return part10.read(io.BufferedReader(file))[0]
