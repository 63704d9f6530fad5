"""A C-STORE sender that is no bottleneck; ``ingest_nothing`` has what shows so.

One process an association. Every object's P-DATA stands ready before the burst, as views of its mapped file: only its
SOP Instance UID is put in, at its two places, and the kernel gets all with one call for each 64 MB. Nagle is off, and
each acknowledgement goes out at once (TCP_NODELAY, TCP_QUICKACK): neither side waits for the other's timers. The next
object is sent when the last one's response has come and says 0000.

Or one object an association, one association after another, each of which proposes 128 contexts.
"""

import dataclasses
import json
import mmap
import multiprocessing
import os
import socket
import struct
import time
from collections.abc import Callable, Sequence
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pydicom
from ingest_pdus import (
    EXPLICIT,
    TIMEOUT_S,
    associate,
    command,
    many_contexts,
    p_data,
    p_data_header,
    proposal,
    receive_pdu,
    release,
    status_of,
)
from numpy.typing import NDArray
from pydicom.filereader import read_preamble

UID_CHARACTERS = 64
AT_ONCE = 1024
"""Buffers in one call: IOV_MAX."""


@dataclasses.dataclass(frozen=True)
class Sample:
    """An object to send, with a gap where its SOP Instance UID belongs."""

    sop_class: str
    study: str
    series: str
    before: bytes
    after: memoryview
    path: Path

    @property
    def size_bytes(self) -> int:
        """Of the dataset as it is sent."""
        return len(self.before) + UID_CHARACTERS + len(self.after)

    def pixels(self) -> NDArray[Any]:
        """The image."""
        return pydicom.dcmread(self.path).pixel_array

    def touch(self) -> None:
        """Have all of it in memory, and in this process's page table."""
        bytes(self.after[:: mmap.PAGESIZE])

    @classmethod
    def read(cls, path: Path) -> "Sample":
        """Map a Part 10 file in explicit VR little endian."""
        header = pydicom.dcmread(path, stop_before_pixels=True)
        with path.open("rb") as file:
            read_preamble(file, force=False)
            pydicom.filereader._read_file_meta_info(file)
            start = file.tell()
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        tag = data.find(b"\x08\x00\x18\x00UI", start)
        end = tag + 8 + struct.unpack_from("<H", data, tag + 6)[0]
        element = data[start : tag + 6] + struct.pack("<H", UID_CHARACTERS)
        names = (header.SOPClassUID, header.StudyInstanceUID, header.SeriesInstanceUID)
        return cls(*names, element, memoryview(data)[end:], path)


@dataclasses.dataclass
class Burst:
    """What one association sent: seconds on the system's monotonic clock."""

    began: float
    ended: float
    responses_s: list[float]
    """Of one image an association: of the whole association."""
    cpu_s: float


def uid(root: str, number: int) -> str:
    """A UID of 64 characters for the ``number``-th object under ``root``."""
    return f"{root}.1{number:0{UID_CHARACTERS - len(root) - 2}}"


class Prepared:
    """A sample as what goes on the wire, ready but for its UID."""

    def __init__(self, sample: Sample, pdu_bytes: int) -> None:
        gap = b"9" * UID_CHARACTERS
        step = pdu_bytes - 6
        first = step - len(sample.before) - len(gap)
        assert first >= 0, "the SOP Instance UID does not lie in the first PDU"
        self._head = bytearray(
            p_data(command(sample.sop_class, gap.decode()), 3)
            + p_data_header(min(step, sample.size_bytes), 0 if len(sample.after) > first else 2)
            + sample.before
            + gap
        )
        self._gaps = (self._head.index(gap), len(self._head) - len(gap))
        pieces: list[bytes | bytearray | memoryview] = [self._head, sample.after[:first]]
        whole = p_data_header(step, 0)
        for start in range(first, len(sample.after), step):
            data = sample.after[start : start + step]
            pieces += [p_data_header(len(data), 2) if start + step >= len(sample.after) else whole, data]
        self._calls = [
            (pieces[n : n + AT_ONCE], sum(map(len, pieces[n : n + AT_ONCE])))
            for n in range(0, len(pieces), AT_ONCE)
        ]

    def send(self, connection: socket.socket, uid_text: str) -> None:
        """Send it under a UID."""
        for gap in self._gaps:
            self._head[gap : gap + UID_CHARACTERS] = uid_text.encode()
        for buffers, length in self._calls:
            if connection.sendmsg(buffers) != length:
                raise RuntimeError(f"the receiver took nothing for {TIMEOUT_S} s")


def _store(connection: socket.socket, prepared: Prepared, text: str) -> None:
    prepared.send(connection, text)
    kind, body = receive_pdu(connection)
    if kind != 4 or (status := status_of(body)) != 0:
        raise RuntimeError(f"{text}: PDU type {kind}" if kind != 4 else f"{text}: status {status:04X}")


def _timed(each: Callable[[str, Prepared], None], prepared: list[Prepared], uids: Sequence[str]) -> Burst:
    responses = []
    cpu = time.process_time()
    began = time.monotonic()
    for index, text in enumerate(uids):
        sent = time.monotonic()
        each(text, prepared[index % len(prepared)])
        responses.append(time.monotonic() - sent)
    ended = time.monotonic()
    return Burst(began, ended, responses, time.process_time() - cpu)


def _send(
    port: int,
    called: str,
    samples: Sequence[Sample],
    uids: Sequence[str],
    ready: Barrier,
    out: int,
    alone: bool,
) -> None:
    for sample in samples:
        sample.touch()
    sop_class = samples[0].sop_class
    request = many_contexts(called, sop_class) if alone else proposal(called, [(sop_class, (EXPLICIT,))])
    connection, longest = associate(port, request)
    prepared = [Prepared(sample, longest) for sample in samples]

    def one_association(text: str, prepared: Prepared) -> None:
        own, _ = associate(port, request)
        _store(own, prepared, text)
        release(own)

    if alone:
        release(connection)
        ready.wait(120)
        burst = _timed(one_association, prepared, uids)
    else:
        ready.wait(120)
        burst = _timed(lambda text, prepared: _store(connection, prepared, text), prepared, uids)
        release(connection)
    with os.fdopen(out, "w") as pipe:
        json.dump(dataclasses.astuple(burst), pipe)


def send(
    port: int,
    called: str,
    samples: Sequence[Sample],
    uids: Sequence[str],
    associations: int,
    *,
    alone: bool = False,
) -> list[Burst]:
    """Send one object for each UID, spread over so many associations; the k-th UID's pixels are of sample k.

    ``alone``: each object by an association of its own with CONTEXTS contexts, so many of them at once.

    Raises RuntimeError where an association failed, or anything was answered by other than 0000.
    """
    context = multiprocessing.get_context("fork")
    ready = context.Barrier(associations)
    shares = [range(index, len(uids), associations) for index in range(associations)]
    # Sample k belongs to UID k (modulo their number): a share's samples are in the order of its UIDs.
    running = []
    for share in shares:
        mine = [samples[index % len(samples)] for index in share[: len(samples)]]
        read, write = os.pipe()
        process = context.Process(
            target=_send, args=(port, called, mine, [uids[i] for i in share], ready, write, alone)
        )
        process.start()
        os.close(write)
        running.append((process, read))
    bursts = []
    for process, read in running:
        with os.fdopen(read) as pipe:
            text = pipe.read()
        process.join()
        if process.exitcode != 0:
            for other, _ in running:
                other.terminate()
            raise RuntimeError("an association failed")
        bursts.append(Burst(*json.loads(text)))
    return bursts
