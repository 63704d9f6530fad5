"""Ids and names of the spool: ours alone, ordered by time, and never made from what the network says.

    id          12 hexadecimal digits: milliseconds since 1970; 4: a counter; 16: random
    original    <id>-<sha256>-<size>.dcm    the dataset's SHA-256 and its length in bytes
    rendition   <id>-<target digest>.dcm
    bucket      the id's first digits: a folder holds minutes of intake, never millions of files

Within one process ids ascend strictly, even when the clock steps back.
"""

import os
import re
import threading
import time
from dataclasses import dataclass

from venturi.model import Instance, Target

ORIGINAL_BUCKET_DIGITS = 7
"""2^20 ms, about 17 minutes."""
RENDITION_BUCKET_DIGITS = 8
"""2^16 ms, about a minute: finding all renditions of an instance lists one such folder."""

_ORIGINAL = re.compile(r"([0-9a-f]{32})-([0-9a-f]{64})-(0|[1-9][0-9]{0,18})\.dcm", re.ASCII)
_COUNTER_BITS = 16


class _Clock:
    """Milliseconds and a counter as one number that never repeats or falls."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def tick(self) -> int:
        now = time.time_ns() // 1_000_000 << _COUNTER_BITS
        with self._lock:
            self._last = max(now, self._last + 1)
            return self._last


_clock = _Clock()


def new_id() -> str:
    """Make an id: 32 hexadecimal digits, above all that this process made before."""
    return f"{_clock.tick():016x}{os.urandom(8).hex()}"


def made_at(instance_id: str) -> float:
    """When an id was made, seconds since 1970-01-01 UTC."""
    return int(instance_id[:12], 16) / 1000


def bucket_ends_at(bucket: str) -> float:
    """When the last id of a bucket was made, seconds since 1970-01-01 UTC."""
    return ((int(bucket, 16) + 1) << 4 * (12 - len(bucket))) / 1000


@dataclass(frozen=True, slots=True)
class OriginalName:
    """What the name of an original's file says."""

    id: str
    sha256: str
    size_bytes: int

    def __str__(self) -> str:
        return f"{self.id}-{self.sha256}-{self.size_bytes}.dcm"


def original_name(instance: Instance) -> str:
    """Name the original's file."""
    return str(OriginalName(instance.id, instance.sha256, instance.size_bytes))


def parse_original(name: str) -> OriginalName | None:
    """Take a file name apart; None where it is not the name of an original."""
    match = _ORIGINAL.fullmatch(name)
    return match and OriginalName(match[1], match[2], int(match[3]))


def rendition_name(instance: Instance, target: Target) -> str:
    """Name the file of one rendition."""
    return f"{instance.id}-{target.digest}.dcm"
