"""How the C library hands out memory in a worker: what is freed is kept for the next frame.

By default glibc gives large blocks back to the kernel as soon as they are freed, and codecs ask for the same ones again
for every frame: the kernel clears and maps each page anew. For a mammogram that took a seventh of all its time.
"""

import ctypes

KEPT_BYTES = 1 << 27
"""So much is kept at the end of the heap at most; whatever is free there beyond goes back at once.

What is free below something that lives stays too; a crew replaces workers that hold too much (``bench.LEAK_BYTES``).
"""
LARGEST_BYTES = 1 << 25
"""Blocks of more are given back at once, as ever: it is the most that glibc takes for this."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Of mallopt(3)."""


def keep_freed() -> None:
    """Set this process's allocator so; does nothing with a C library that is not glibc."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, LARGEST_BYTES)
