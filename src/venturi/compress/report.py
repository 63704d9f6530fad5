"""Counts what becomes of the files, and keeps what is to be told of single ones. Threads may count side by side."""

import json
import tempfile
import threading
import time
from collections.abc import Iterator

from venturi.compress.journal import Record
from venturi.compress.port import Ending, Left, Sum
from venturi.model import Proof

_IN_MEMORY = 1 << 22


class Tally:
    """A ``port.Report``."""

    def __init__(self, *, endings: bool) -> None:
        """``endings``: whether to keep what became of each file that was not transcoded, on disk if they are many."""
        self.transcoded: dict[tuple[str, str, str], Sum] = {}
        self.passed_on: dict[str, Sum] = {}
        self.left_out: dict[Left, Sum] = {}
        self.files = self.bytes = self.fresh_bytes = 0
        self.found_files = self.found_bytes = 0
        self.found_all = False
        self.written_before = self.written_after = 0
        self.done_before = 0
        self.interrupted = False
        self.stopped = ""
        self._lock = threading.Lock()
        self._endings = tempfile.SpooledTemporaryFile(_IN_MEMORY, "w+") if endings else None  # noqa: SIM115  # as long as the report
        self._began = time.monotonic()
        self._took_s: float | None = None

    def finish(self) -> None:
        """Stop the clock. A request to stop that came when all was done has interrupted nothing."""
        if self.found_all and self.files == self.found_files:
            self.interrupted = False
        self._took_s = time.monotonic() - self._began

    @property
    def seconds(self) -> float:
        """See the port."""
        return time.monotonic() - self._began if self._took_s is None else self._took_s

    def done(self, record: Record, *, before: bool = False) -> None:
        """Count a file that is in the output; ``before``: an earlier run has put it there."""
        with self._lock:
            if record.reason:
                kept = self.passed_on.setdefault(record.reason, Sum())
                self._keep(Ending(record.path, record.reason, record.detail))
            else:
                key = (record.came_as, record.became, record.proof or Proof.ORIGINAL)
                kept = self.transcoded.setdefault(key, Sum())
            kept.add(record.path, record.size_bytes, record.output_bytes)
            self.written_before += record.size_bytes
            self.written_after += record.output_bytes
            self.done_before += before
            self._one_more(record.size_bytes, fresh=not before)

    def left(self, path: str, why: Left, detail: str, size_bytes: int = 0) -> None:
        """Count a file of which there is nothing in the output."""
        with self._lock:
            self.left_out.setdefault(why, Sum()).add(path, size_bytes, 0)
            self._keep(Ending(path, why, detail, copied=False))
            self._one_more(size_bytes, fresh=False)

    def endings(self) -> Iterator[Ending]:
        """See the port."""
        if self._endings is not None:
            self._endings.seek(0)
            for line in self._endings:
                yield Ending(*json.loads(line))

    def _one_more(self, size_bytes: int, *, fresh: bool) -> None:
        self.files += 1
        self.bytes += size_bytes
        self.fresh_bytes += size_bytes if fresh else 0

    def _keep(self, ending: Ending) -> None:
        if self._endings is not None:
            fields = [ending.path, ending.reason, ending.detail, ending.copied]
            self._endings.write(json.dumps(fields) + "\n")
