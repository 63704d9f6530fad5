"""Sizes in words: ``10MB``, ``512KiB``. Pure; raises ValueError with what to write instead."""

import re

_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)\s*([A-Za-z]*)")
_FACTORS = {
    "": 1, "b": 1,
    "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40,
}  # fmt: skip


def size_bytes(text: str) -> int:
    """Bytes from ``4096``, ``10MB`` (10^6) or ``512KiB`` (2^10); the case of the unit does not count."""
    match = _SIZE.fullmatch(text.strip())
    factor = _FACTORS.get(match[2].lower()) if match else None
    if not match or factor is None:
        raise ValueError(f"{text!r} is not a size: write bytes, or for instance 10MB, 512KiB, 4GiB")
    return round(float(match[1]) * factor) if "." in match[1] else int(match[1]) * factor
