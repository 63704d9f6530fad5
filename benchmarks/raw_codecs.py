"""The codec calls alone, on frames that are in memory already, in one process a core: what everything else adds to.

``ours``: the registry's default encoder and the decoder it is proven by. ``plugin``: what pydicom's plugins of the
tutorial's script call. Each process goes round and round over the same frames for some seconds and counts its
bytes, so nobody waits for the last one; neither start-up nor reading is in the figures.

    python benchmarks/raw_codecs.py FOLDER --to RLELossless [--calls plugin]
"""

import argparse
import itertools
import json
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import jpeg_ls
import numpy as np
import openjpeg.utils
import pydicom.uid
import rle.rle
import rle.utils

from venturi.transcode import allocator
from venturi.transcode.codecs import registry
from venturi.transcode.codecs.contract import Options
from venturi.transcode.dataset_file import open_dataset
from venturi.transcode.frames import Frame, pixels
from venturi.transcode.image import Image
from venturi.transcode.original import open_original

MOST_BYTES = 100_000_000
"""Of frames in memory."""
MOST_FRAMES = 128


@dataclass(frozen=True, slots=True)
class Calls:
    encode: Callable[[Frame, Image], Any]
    decode: Callable[[Any, Image], Any]


@dataclass(frozen=True, slots=True)
class Rate:
    """MB/s of native pixels over all processes."""

    encode: float
    both: float
    """Encoding and decoding, one after the other."""
    encode_cpu: float
    """The same in processor time: what it would be if nobody else took the cores."""
    both_cpu: float


def ours(transfer_syntax: str) -> Calls:
    encoder = registry().encoders()[transfer_syntax][0]
    return Calls(lambda frame, image: encoder.encode(frame, image, Options()), encoder.decode)


def _plugin_rle_encode(frame: Frame, image: Image) -> Any:
    return rle.utils.encode_pixel_data(
        frame.tobytes(),
        rows=image.rows,
        columns=image.columns,
        samples_per_pixel=image.samples,
        bits_allocated=image.bits_allocated,
        byteorder="<",
    )


def _plugin_rle_decode(codestream: bytes, image: Image) -> Any:
    return rle.rle.decode_frame(bytes(codestream), image.rows * image.columns, image.bits_allocated, "<")


def _plugin_jpeg_ls_encode(frame: Frame, image: Image) -> Any:
    more = {} if image.samples == 1 else {"planar_configuration": 0}
    return jpeg_ls.encode_pixel_data(
        frame.tobytes(),
        lossy_error=0,
        rows=image.rows,
        columns=image.columns,
        samples_per_pixel=image.samples,
        bits_stored=image.bits_stored,
        **more,
    )


def _plugin_jpeg_ls_decode(codestream: bytes, image: Image) -> Any:
    return jpeg_ls.decode_pixel_data(bytes(codestream))


def _plugin_jpeg_2000_encode(frame: Frame, image: Image) -> Any:
    return openjpeg.utils.encode_buffer(
        frame.tobytes(),
        image.columns,
        image.rows,
        image.samples,
        image.bits_stored,
        image.signed,
        photometric_interpretation=1 if image.samples == 3 else 2,
        use_mct=False,  # pydicom's plugin transforms no colour of what is RGB
    )


def _plugin_jpeg_2000_decode(codestream: bytes, image: Image) -> Any:
    return openjpeg.utils.decode_pixel_data(bytes(codestream), version=2)


PLUGIN = {
    pydicom.uid.RLELossless: Calls(_plugin_rle_encode, _plugin_rle_decode),
    pydicom.uid.JPEGLSLossless: Calls(_plugin_jpeg_ls_encode, _plugin_jpeg_ls_decode),
    pydicom.uid.JPEG2000Lossless: Calls(_plugin_jpeg_2000_encode, _plugin_jpeg_2000_decode),
}


def frames(folder: Path) -> list[tuple[Frame, Image]]:
    """Read frames from all over a folder, as many as may be in memory."""
    paths = sorted(folder.glob("*.dcm"))
    first = open_original(open_dataset(paths[0]), None, folder).image
    most = min(MOST_FRAMES, max(2, MOST_BYTES // first.frame_bytes))
    found = []
    for path in paths[:: -(-len(paths) * first.frames // most)]:
        original = open_original(open_dataset(path), None, folder)
        image = original.image
        for index in range(min(image.frames, most)):
            found.append((np.array(pixels(original.pixels.frame(index), image)), image))
    return found


def work(
    loaded: list[tuple[Frame, Image]], calls: Calls, first: int, seconds: float, together: Barrier
) -> Rate:
    allocator.keep_freed()  # as a worker does
    frame, image = loaded[first]
    calls.decode(calls.encode(frame, image), image)  # what is loaded or allocated at the first call
    together.wait()
    begun = time.perf_counter()
    done = encode_s = encode_cpu_s = both_cpu_s = 0.0
    for frame, image in itertools.islice(itertools.cycle(loaded), first, None):
        at, cpu = time.perf_counter(), time.process_time()
        codestream = calls.encode(frame, image)
        encode_s += time.perf_counter() - at
        encode_cpu_s += time.process_time() - cpu
        calls.decode(codestream, image)
        both_cpu_s += time.process_time() - cpu
        done += image.frame_bytes / 1e6
        if time.perf_counter() - begun >= seconds:
            break
    return Rate(done / encode_s, done / (time.perf_counter() - begun), done / encode_cpu_s, done / both_cpu_s)


def _child(connection: Any, *arguments: Any) -> None:
    connection.send(work(*arguments))


def measure(folder: Path, calls: Calls, jobs: int, seconds: float) -> Rate:
    """The sum over ``jobs`` processes."""
    loaded = frames(folder)
    context = multiprocessing.get_context("fork")  # the frames are shared
    together, ends = context.Barrier(jobs), []
    for number in range(jobs):
        end, theirs = context.Pipe(duplex=False)
        # An odd distance, because neighbours may be cut from different images.
        first = (number * (len(loaded) // jobs) | 1) % len(loaded) if number else 0
        context.Process(
            target=_child, args=(theirs, loaded, calls, first, seconds, together), daemon=True
        ).start()
        theirs.close()
        ends.append(end)
    rates = [end.recv() for end in ends]
    return Rate(*(sum(getattr(rate, name) for rate in rates) for name in Rate.__slots__))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--to", required=True, help="the transfer syntax, by pydicom's keyword")
    parser.add_argument("--calls", choices=("ours", "plugin"), default="ours")
    parser.add_argument("-j", "--jobs", type=int, default=multiprocessing.cpu_count())
    parser.add_argument("--seconds", type=float, default=2.5)
    arguments = parser.parse_args()
    uid = getattr(pydicom.uid, arguments.to)
    calls = ours(uid) if arguments.calls == "ours" else PLUGIN[uid]
    rate = measure(arguments.folder, calls, arguments.jobs, arguments.seconds)
    print(json.dumps({name: getattr(rate, name) for name in Rate.__slots__}))


if __name__ == "__main__":
    main()
