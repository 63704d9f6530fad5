"""Frames between their native bytes and the arrays codecs work on (PS3.5 8.1, PS3.3 C.7.6.3.1.3).

One frame at a time, as a view of the memory map where that can be: memory does not grow with the number of
frames.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from venturi.transcode.image import Image

Frame = NDArray[np.integer[Any]]
"""(rows, columns) or (rows, columns, samples), colour by pixel, in the type of the container."""


def container(image: Image) -> np.dtype[Any]:
    """Give the little-endian type of one native sample."""
    return np.dtype(f"<{'i' if image.signed else 'u'}{image.bits_allocated // 8}")


def shape(image: Image) -> tuple[int, ...]:
    """Give the shape of one frame as an array."""
    return (image.rows, image.columns) + ((image.samples,) if image.samples > 1 else ())


def pixels(frame: NDArray[np.uint8], image: Image) -> Frame:
    """Native bytes of one frame as an array, colour by pixel whatever the Planar Configuration was."""
    samples: Frame = frame.view(container(image))
    if image.samples == 1:
        return samples.reshape(image.rows, image.columns)
    if image.planar:
        planes = samples.reshape(image.samples, image.rows, image.columns)
        return np.ascontiguousarray(planes.transpose(1, 2, 0))
    return samples.reshape(image.rows, image.columns, image.samples)


def rebuild(frame: Frame, image: Image) -> NDArray[np.uint8]:
    """Give the native bytes of an array: the inverse of ``pixels``.

    Raises ValueError where the array has not the shape and the type that ``pixels`` gives.
    """
    if frame.shape != shape(image) or frame.dtype != container(image):
        raise ValueError(f"{frame.shape} of {frame.dtype}, not {shape(image)} of {container(image)}")
    if image.planar:
        frame = frame.transpose(2, 0, 1)
    return np.ascontiguousarray(frame).reshape(-1).view(np.uint8)


def unused_bits_are_clean(frame: Frame, image: Image) -> bool:
    """Whether the bits above Bits Stored are all zero (unsigned), or all the sign bit (signed).

    Otherwise they carry an overlay or garbage, which a codec of Bits Stored bits would lose.
    """
    if image.bits_stored == image.bits_allocated:
        return True
    low, high = int(frame.min()), int(frame.max())
    if image.signed:
        half = 1 << (image.bits_stored - 1)
        return -half <= low and high < half
    return high < 1 << image.bits_stored


def as_rgb(frame: Frame) -> Frame:
    """YBR_FULL as RGB, 8 bits a sample: the inverse of the matrix in PS3.3 C.7.6.3.1.2, rounded and clipped."""
    y, cb, cr = (frame[..., index].astype(np.float64) for index in range(3))
    cb, cr = cb - 128, cr - 128
    red = y + 1.402 * cr
    green = y - (0.114 * 1.772 * cb + 0.299 * 1.402 * cr) / 0.587
    blue = y + 1.772 * cb
    return np.stack((red, green, blue), axis=-1).round().clip(0, 255).astype(np.uint8)
