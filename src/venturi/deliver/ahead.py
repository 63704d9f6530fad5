"""Reads and hashes what is to be sent, some pieces ahead of who sends it.

Hashing takes as long as all the rest of sending, so a thread of its own does it. While one piece is on its way, and
while the peer thinks about its answer, the next ones are hashed: of the same object, or of those that follow. Reading,
hashing and sending all leave the interpreter to others. A few pieces are in memory, whatever the size of the objects.

The bytes that are hashed are those that are sent: nobody reads a file twice. An object's last piece is given out only
if the whole of it has the SHA-256 it should have.
"""

import hashlib
import os
import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from io import FileIO
from queue import SimpleQueue

from venturi.deliver.association import FRAGMENT_BYTES, FileDamaged, Object

PIECE_BYTES = 8 * FRAGMENT_BYTES
"""Read, hashed and sent at once: a CT is one, and handing it over costs little beside the rest."""
PIECES = 3
"""One is sent, one is hashed, one waits."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """Some of an object's dataset, or why there is no more of it."""

    item: Object
    digest: "hashlib._Hash"
    """Of all of the object until here, as soon as the thread has had it."""
    buffer: memoryview
    count: int = 0
    """Bytes of the buffer that are filled."""
    last: bool = False
    error: Exception | None = None


class ReadAhead:
    """The datasets of some objects, one after another. Used by one thread, which must close it."""

    def __init__(self, pieces: int = PIECES, piece_bytes: int = PIECE_BYTES) -> None:
        """``pieces``: how many of them may be in memory."""
        self._room = [memoryview(bytearray(piece_bytes)) for _ in range(pieces)]
        self._free = list(self._room)
        self._pieces = self._read(())
        self._hashing: SimpleQueue[_Piece | None] = SimpleQueue()
        self._hashed: SimpleQueue[_Piece] = SimpleQueue()
        self._under_way = 0
        """Pieces that are in one of the queues, or between them."""
        self._thread: threading.Thread | None = None

    def begin(self, items: Sequence[Object]) -> None:
        """Say what will be asked for, in this order."""
        self.drop()
        self._pieces = self._read(items)

    def pieces(self, item: Object) -> Iterator[tuple[memoryview, bool]]:
        """Give out the dataset of the next object: each piece, and whether it is the last.

        A piece is good until the next is asked for. Raises FileDamaged, OSError; then the next object is next.
        """
        self._go_on()
        last = False
        while not last:
            piece = self._hashed.get()
            self._under_way -= 1
            if piece.item is not item:
                raise RuntimeError(f"{piece.item.sop_instance_uid} was read, {item.sop_instance_uid} is sent")
            if piece.error is None:
                last = piece.last
                yield piece.buffer[: piece.count], last
            self._free.append(piece.buffer)
            self._go_on()  # before anybody waits for the peer's answer
            if piece.error is not None:
                raise piece.error

    def drop(self) -> None:
        """Forget what was not asked for, and close its file."""
        while self._under_way:
            self._hashed.get()
            self._under_way -= 1
        self._pieces.close()
        self._free = list(self._room)

    def close(self) -> None:
        """Drop everything, and end the thread; it is started anew when there is something to hash."""
        self.drop()
        if self._thread is not None:
            self._hashing.put(None)
            self._thread.join()
            self._thread = None

    def _go_on(self) -> None:
        """Read into all buffers that are free."""
        while self._free and (piece := next(self._pieces, None)) is not None:
            if self._thread is None:
                self._thread = threading.Thread(target=self._hash, name="hash ahead", daemon=True)
                self._thread.start()
            self._hashing.put(piece)
            self._under_way += 1

    def _read(self, items: Sequence[Object]) -> Generator[_Piece, None, None]:
        """The pieces of all objects, each in a buffer that is free when it is asked for."""
        for item in items:
            digest = hashlib.sha256()
            try:
                with FileIO(item.path) as file:
                    size_bytes = os.fstat(file.fileno()).st_size - item.offset
                    if not item.size_bytes or size_bytes != item.size_bytes:
                        raise FileDamaged(f"{item.sop_instance_uid}: the file has not the size it had")
                    file.seek(item.offset)
                    left = item.size_bytes
                    while left:
                        count = _fill(file, self._free[-1][:left])
                        if not count:
                            raise FileDamaged(f"{item.sop_instance_uid}: the file has become shorter")
                        left -= count
                        yield _Piece(item, digest, self._free.pop(), count, not left)
            except (FileDamaged, OSError) as error:
                yield _Piece(item, digest, self._free.pop(), error=error)

    def _hash(self) -> None:
        while (piece := self._hashing.get()) is not None:
            try:
                piece.digest.update(piece.buffer[: piece.count])
                if piece.last and piece.digest.hexdigest() != piece.item.sha256:
                    raise FileDamaged(f"{piece.item.sop_instance_uid}: the file has not the SHA-256 it had")
            except Exception as error:  # whatever it is, who waits must hear of it
                piece = replace(piece, error=error)
            self._hashed.put(piece)


def _fill(file: FileIO, view: memoryview) -> int:
    """Read until the view is full or the file ends; how many bytes."""
    count = 0
    while count < len(view) and (read := file.readinto(view[count:])):
        count += read
    return count
