"""What pydicom's tutorial on compression does with a folder: a Pool, and dcmread, compress() and save_as() in it.

The tutorial ("Compressing Pixel Data", its part on multiprocessing) maps over the files of a folder and writes each in
place; here they go to another folder, which is otherwise the same work. Nothing is proven or synced to disk.

    python benchmarks/tutorial.py IN OUT --to RLELossless
"""

import argparse
from functools import partial
from multiprocessing import Pool, cpu_count
from pathlib import Path

import pydicom.uid
from pydicom import dcmread

PLUGINS = {"RLELossless": "pylibjpeg", "JPEG2000Lossless": "pylibjpeg", "JPEGLSLossless": "pyjpegls"}
"""By transfer syntax: those that ``Dataset.compress()`` knows."""


def compress(path: Path, out: Path, to: str) -> None:
    dataset = dcmread(path)
    dataset.compress(getattr(pydicom.uid, to), encoding_plugin=PLUGINS[to])
    dataset.save_as(out / path.name, enforce_file_format=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--to", required=True, choices=PLUGINS)
    parser.add_argument("-j", "--jobs", type=int, default=cpu_count())
    arguments = parser.parse_args()
    arguments.out.mkdir(exist_ok=True)
    with Pool(processes=arguments.jobs) as pool:
        pool.map(partial(compress, out=arguments.out, to=arguments.to), arguments.source.glob("*.dcm"))


if __name__ == "__main__":
    main()
