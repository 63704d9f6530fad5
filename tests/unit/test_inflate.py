"""A deflated dataset is inflated whole, within a limit, or refused."""

import contextlib
import io
import struct
import tracemalloc
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file

from venturi.dataset import part10
from venturi.dataset.explicit import TooLong
from venturi.dataset.inflate import inflate
from venturi.dataset.scan import scan
from venturi.errors import Malformed


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def inflated(data: bytes, offset: int = 0, most_bytes: int = 1 << 24) -> bytes:
    out = io.BytesIO()
    assert inflate(data, offset, out, most_bytes) == len(out.getvalue())
    return out.getvalue()


@settings(deadline=None)
@given(st.lists(st.binary(max_size=200), max_size=4), st.sampled_from([1, 50, 1000]), st.booleans())
def test_what_was_deflated_comes_back(parts: list[bytes], times: int, padded: bool) -> None:
    data = b"".join(part * times for part in parts)
    assert inflated(b"before" + deflated(data) + b"\0" * padded, 6) == data


def test_a_public_deflated_file_inflates_to_a_dataset() -> None:
    path = Path(str(get_testdata_file("image_dfl.dcm")))
    with path.open("rb") as file:
        _, offset = part10.read(file)
    data = inflated(path.read_bytes(), offset)
    assert 0x7FE00010 in [element.tag for element in scan(data)]


REAL = deflated(Path(str(get_testdata_file("CT_small.dcm"))).read_bytes())


@settings(deadline=None, max_examples=50)
@given(st.integers(0, len(REAL) - 1))
def test_a_truncated_stream_is_refused(length: int) -> None:
    with pytest.raises(Malformed, match="truncated"):
        inflated(REAL[:length])


def test_the_trailer_of_a_gzip_file_must_be_right() -> None:
    data = b"dataset"
    trailer = struct.pack("<LL", zlib.crc32(data), len(data))
    assert inflated(deflated(data) + trailer) == inflated(deflated(data) + trailer + b"\0") == data
    for place in range(8):
        wrong = bytearray(trailer)
        wrong[place] ^= 1
        with pytest.raises(Malformed, match="8 bytes follow"):
            inflated(deflated(data) + wrong)
    with pytest.raises(Malformed, match="10 bytes follow"):
        inflated(deflated(data) + trailer + b"\0\0")


@pytest.mark.parametrize("trailer", [b"x", b"\0\0", b"\0x", REAL])
def test_anything_but_a_pad_byte_behind_the_stream_is_refused(trailer: bytes) -> None:
    with pytest.raises(Malformed, match="follow the deflated dataset"):
        inflated(REAL + trailer)


def test_bytes_that_are_no_deflate_stream_are_refused() -> None:
    with pytest.raises(Malformed, match="corrupt"):
        inflated(b"\xff" * 100)


@settings(deadline=None, max_examples=100)
@given(st.integers(0, len(REAL) - 1), st.integers(1, 255))
def test_hostile_bytes_are_refused_or_inflated_within_the_limit(place: int, flip: int) -> None:
    data = bytearray(REAL)
    data[place] ^= flip
    out = io.BytesIO()
    with contextlib.suppress(Malformed, TooLong):
        inflate(data, 0, out, 1 << 17)
    assert len(out.getvalue()) <= 1 << 17


def test_a_bomb_stops_at_the_limit_and_in_little_memory() -> None:
    bomb = deflated(bytes(64 << 20))

    class Nowhere(io.BytesIO):
        length = 0

        def write(self, data: bytes) -> int:  # type: ignore[override]  # bytes is all it gets
            self.length += len(data)
            return len(data)

    out = Nowhere()
    tracemalloc.start()
    try:
        with pytest.raises(TooLong):
            inflate(bomb, 0, out, 60 << 20)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert out.length <= 60 << 20
    assert peak < 1 << 20


def test_exactly_the_limit_is_allowed() -> None:
    assert inflated(deflated(bytes(1000)), most_bytes=1000) == bytes(1000)
    with pytest.raises(TooLong):
        inflated(deflated(bytes(1000)), most_bytes=999)
