"""What the elements of one level say about signs: which of "US or SS" a VR is, where it is not written (PS3.5 A.1).

Pixel Representation decides; but on what a VOI LUT maps, the output of the modality transformation does, where there is
one (PS3.3 C.11.2.1.1): CT numbers are signed, however they are stored.
"""

import math

_BITS_STORED, _PIXEL_REPRESENTATION = 0x00280101, 0x00280103
_RESCALE_INTERCEPT, _RESCALE_SLOPE = 0x00281052, 0x00281053
_MODALITY_LUT_SEQUENCE = 0x00283000
DECIDING = frozenset(
    (_BITS_STORED, _PIXEL_REPRESENTATION, _RESCALE_INTERCEPT, _RESCALE_SLOPE, _MODALITY_LUT_SEQUENCE)
)
VOI_LUT_SEQUENCE, LUT_DESCRIPTOR = 0x00283010, 0x00283002


class Signs:
    """Of one level, as far as it was seen."""

    def __init__(self) -> None:
        self.stored: bool | None = None
        """Whether stored values are signed; None where the level does not say so."""
        self._bits_stored = 16
        self._slope: float | None = None
        self._intercept: float | None = None
        self._lut = False

    def see(self, tag: int, value: bytes) -> None:
        """Take note of the little endian value of one of the elements that are ``DECIDING``."""
        if tag == _PIXEL_REPRESENTATION:
            self.stored = value == b"\1\0"
        elif tag == _BITS_STORED:
            self._bits_stored = min(32, int.from_bytes(value[:2], "little"))
        elif tag == _RESCALE_INTERCEPT:
            self._intercept = _number(value)
        elif tag == _RESCALE_SLOPE:
            self._slope = _number(value)
        elif tag == _MODALITY_LUT_SEQUENCE:
            self._lut = True

    @property
    def mapped(self) -> bool | None:
        """Whether what a VOI LUT maps may be negative; None where the level does not say so."""
        if self._lut:
            return False
        if self._intercept is None:
            return self.stored
        span = 1 << self._bits_stored
        lowest = -(span >> 1) if self.stored else 0
        slope = 1.0 if self._slope is None else self._slope
        return min(lowest * slope, (lowest + span - 1) * slope) + self._intercept < 0


def _number(value: bytes) -> float | None:
    try:
        number = float(value.strip(b" \0"))
    except ValueError:
        return None
    return number if math.isfinite(number) else None
