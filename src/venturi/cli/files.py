"""DICOM files named on the command line: found in folders, read as instances without a node."""

import hashlib
import mmap
from collections.abc import Iterable, Iterator
from pathlib import Path

from venturi.dataset import part10
from venturi.dataset.facts import FileHeader, read_header
from venturi.deliver.port import Parcel
from venturi.errors import Malformed
from venturi.model import AS_RECEIVED, Envelope, Instance, Outcome, Reason

SOP_CLASS_UID, SOP_INSTANCE_UID = "00080016", "00080018"


def walk(paths: Iterable[Path]) -> Iterator[Path]:
    """Each file, and each file below each folder, in order."""
    for path in paths:
        if path.is_dir():
            yield from sorted(below for below in path.rglob("*") if below.is_file())
        else:
            yield path


def instance_of(path: Path, calling_ae: str = "", called_ae: str = "", peer: str = "") -> Instance:
    """The instance that a Part 10 file would be if it were received.

    The dataset names it where it can be read; file meta groups of copied and edited files are often stale. Raises
    Malformed (no DICOM file), OSError.
    """
    with path.open("rb") as file:
        meta, offset = part10.read(file)
        size_bytes = path.stat().st_size - offset
        if size_bytes <= 0:
            raise Malformed("there is no dataset behind the file meta group")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data, memoryview(data) as view:
            sha256 = hashlib.sha256(view[offset:]).hexdigest()
    with read_header(path) as header:
        sop_class_uid = first(header, SOP_CLASS_UID) or meta.sop_class_uid
        sop_instance_uid = first(header, SOP_INSTANCE_UID) or meta.sop_instance_uid
    envelope = Envelope(
        sop_class_uid=sop_class_uid,
        sop_instance_uid=sop_instance_uid,
        transfer_syntax=meta.transfer_syntax,
        calling_ae=calling_ae,
        called_ae=called_ae,
        peer=peer,
        address="127.0.0.1",
        received_at=path.stat().st_mtime,
    )
    return Instance("0" * 32, sha256, size_bytes, envelope)


def first(header: FileHeader, tag: str) -> str:
    """The first value of an attribute, or nothing."""
    return next(iter(header.values((tag,)) or ()), "")


def parcels_of(paths: Iterable[Path]) -> tuple[list[Parcel], list[tuple[Path, str]]]:
    """Files and folders as parcels to send as they are; and what is no DICOM file, with the reason."""
    parcels: list[Parcel] = []
    passed_over: list[tuple[Path, str]] = []
    for path in walk(paths):
        try:
            instance = instance_of(path)
        except Malformed as error:
            passed_over.append((path, str(error)))
        except OSError as error:
            passed_over.append((path, error.strerror or str(error)))
        else:
            syntax = instance.envelope.transfer_syntax
            outcome = Outcome(AS_RECEIVED, syntax, instance.size_bytes, instance.sha256, reason=Reason.ASKED)
            parcels.append(Parcel(len(parcels), instance, outcome, path, path))
    return parcels, passed_over
