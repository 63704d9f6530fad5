"""Venturi's folder compression beside the bare codec calls and the script of pydicom's tutorial, in one run.

    python benchmarks/transcode.py                        the whole of it: about a quarter of an hour on two cores
    python benchmarks/transcode.py --scale 0.02 --repeat 1 --kinds CT,US --syntaxes HTJ2KLossless

Every contender gets all cores and starts as fresh processes, in turns, on files that are in the page cache, and writes
to a folder that is made for it. Of the repeats the median counts. The time of a command is all of it, from its start
to its end. Every output must be there, in the transfer syntax asked for; pixels of some are compared. JPEG 2000 gets
fewer files than the others, because it is so slow; the figures are MB/s of native pixels.
"""

import argparse
import json
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import measure
import numpy as np
import pydicom.uid
import raw_codecs
import samples
import transcode_tables as tables
import tutorial
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.filereader import read_file_meta_info
from pydicom.pixels import pixel_array

HERE = Path(__file__).parent
SYNTAXES = ("RLELossless", "JPEGLSLossless", "JPEG2000Lossless", "HTJ2KLossless")
SLOW = "JPEG2000Lossless"
SLOW_SHARE = {"CT": 0.5, "MR": 0.25, "DX": 0.25, "MG": 0.4}
"""Of the files, for JPEG 2000."""
LARGE = ("HTJ2KLossless", "JPEGLSLossless")
COMPARED = 5


@dataclass(frozen=True, slots=True)
class Bench:
    """What this run is."""

    outputs: Path
    """Nothing in here is removed before the end: see README.md on ext4."""
    jobs: int
    compress: Sequence[str]
    """The command that is Venturi's."""

    def command(self, contender: str, source: Path, out: Path, syntax: str) -> list[str | Path]:
        jobs = ["--to", syntax, "-j", str(self.jobs)]
        if contender == "script":
            return [sys.executable, HERE / "tutorial.py", source, out, *jobs]
        unproven = ["--prove", "none"] if contender == "unproven" else []
        return [*self.compress, source, out, *jobs, *unproven]

    def raw(self, calls: str, source: Path, syntax: str, seconds: float) -> raw_codecs.Rate:
        command = [sys.executable, HERE / "raw_codecs.py", source, "--to", syntax, "--calls", calls]
        return raw_codecs.Rate(
            **json.loads(measure.output([*command, "-j", self.jobs, "--seconds", seconds]))
        )

    def run(self, contender: str, source: Path, syntax: str, compared: int = 0) -> measure.Usage:
        """One fresh run into a fresh folder, which is checked."""
        out = Path(tempfile.mkdtemp(dir=self.outputs)) / "out"
        os.sync()  # nobody pays for what the one before has written
        usage = measure.run(self.command(contender, source, out, syntax))
        check(source, out, syntax, compared)
        return usage


def check(source: Path, out: Path, syntax: str, compared: int) -> None:
    """Every object is there in its new syntax, and the first frames of some have the same pixels."""
    names = sorted(path.name for path in source.glob("*.dcm"))
    if sorted(path.name for path in out.glob("*.dcm")) != names:
        raise SystemExit(f"{out}: not the {len(names)} files of {source}")
    for name in names:
        found = read_file_meta_info(out / name).TransferSyntaxUID
        if found != getattr(pydicom.uid, syntax):
            raise SystemExit(f"{out / name}: {found.name}, not {syntax}")
    for name in names[:: max(1, len(names) // compared)] if compared else ():
        index = None if "NumberOfFrames" not in dcmread(out / name, stop_before_pixels=True) else 0
        before, after = (pixel_array(folder / name, index=index) for folder in (source, out))
        if not np.array_equal(before, after):
            raise SystemExit(f"{out / name}: other pixels than in {source}")


def cached(folder: Path) -> tuple[int, float]:
    """Read a folder into the page cache; how many files, and MB of native pixels."""
    paths = sorted(folder.glob("*.dcm"))
    for path in paths:
        with path.open("rb") as file:
            while file.read(1 << 24):
                pass
    header = dcmread(paths[0], stop_before_pixels=True)
    samples_each = (
        header.Rows * header.Columns * header.SamplesPerPixel * int(header.get("NumberOfFrames", 1))
    )
    return len(paths), len(paths) * samples_each * header.BitsAllocated / 8e6


def share(folder: Path, part: float, into: Path) -> Path:
    """Hard links to that part of a folder's files, from all over it."""
    paths = sorted(folder.glob("*.dcm"))
    count = max(1, round(len(paths) * part))
    into.mkdir(parents=True)
    for number in range(count):
        os.link(paths[number * len(paths) // count], into / f"{number:05}.dcm")
    return into


def compare(bench: Bench, name: str, folder: Path, syntax: str, options: argparse.Namespace) -> tables.Row:
    """All contenders for one kind and one syntax, in turns."""
    files, mb = cached(folder)
    contenders = [c for c in tables.COMMANDS if c != "script" or syntax in tutorial.PLUGINS]
    row = tables.Row(syntax, name, files, mb)
    for turn in range(options.repeat):
        row.raw.append(bench.raw("ours", folder, syntax, options.raw_seconds))
        for place in range(len(contenders)):
            contender = contenders[(turn + place) % len(contenders)]
            usage = bench.run(contender, folder, syntax, compared=0 if turn else COMPARED)
            row.commands.setdefault(contender, []).append(usage)
    if syntax in tutorial.PLUGINS:
        row.plugin.append(bench.raw("plugin", folder, syntax, options.raw_seconds))
    return row


def large(bench: Bench, path: Path, options: argparse.Namespace) -> list[tables.Row]:
    """One object of many frames, once each."""
    rows = []
    files, mb = cached(path.parent)
    for syntax in [syntax for syntax in LARGE if syntax in options.syntaxes]:
        row = tables.Row(syntax, "large", files, mb)
        for contender in ("proven", "unproven"):
            row.commands[contender] = [bench.run(contender, path.parent, syntax)]
        if syntax in tutorial.PLUGINS and not options.no_large_script:
            row.commands["script"] = [bench.run("script", path.parent, syntax)]
        rows.append(row)
    return rows


def main() -> None:
    try:
        compare_all(parsed())
    except measure.CommandFailed as error:
        sys.exit(str(error))


def compare_all(options: argparse.Namespace) -> None:
    options.work.mkdir(parents=True, exist_ok=True)
    for line in measure.machine(options.work):
        print(line)
    print(
        f"{options.jobs} jobs; median of {options.repeat}; load average {os.getloadavg()[0]:.1f} at the start\n"
    )
    with tempfile.TemporaryDirectory(dir=options.work) as temporary:
        report = reported(options, Bench(Path(temporary), options.jobs, options.compress))
    print(report.startup_line())
    print(report.targets())
    if options.json:
        options.json.write_text(json.dumps(report.plain(), indent=1))


def reported(options: argparse.Namespace, bench: Bench) -> tables.Report:
    kinds = [kind for kind in samples.KINDS if kind.name in options.kinds]
    source = options.work / f"samples-{options.scale:g}"
    for _ in samples.make(source, tuple(kinds), options.scale):
        pass
    one = bench.outputs / "one"
    one.mkdir()
    shutil.copy(str(get_testdata_file("CT_small.dcm", download=False)), one)
    report = tables.Report(measure.machine(options.work), options.jobs, options.clock)
    for contender in tables.COMMANDS:
        report.startup[contender] = [bench.run(contender, one, "RLELossless") for _ in range(options.repeat)]
    for syntax in options.syntaxes:
        for kind in kinds:
            folder = source / kind.name
            if syntax == SLOW and kind.name in SLOW_SHARE:
                folder = share(folder, SLOW_SHARE[kind.name], bench.outputs / kind.name)
            report.rows.append(compare(bench, kind.name, folder, syntax, options))
        print(report.table(syntax), flush=True)
    if options.large_gb:
        path = options.work / f"large-{options.large_gb:g}" / "large.dcm"
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            samples.make_large(path, round(options.large_gb * 1e9))
        report.large = large(bench, path, options)
        print(report.large_table(), flush=True)
    return report


def parsed() -> argparse.Namespace:
    names = [kind.name for kind in samples.KINDS]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kinds", type=lambda text: text.split(","), default=names, help=",".join(names))
    parser.add_argument(
        "--syntaxes",
        type=lambda text: text.split(","),
        default=list(SYNTAXES),
        help=f"{','.join(SYNTAXES)}; also JPEGLosslessSV1",
    )
    parser.add_argument("--scale", type=float, default=1.0, help="so many times the usual number of files")
    parser.add_argument("--repeat", type=int, default=3, help="how often each is run; the median counts")
    parser.add_argument("--raw-seconds", type=float, default=2.5, help="how long the bare calls are repeated")
    parser.add_argument("--large-gb", type=float, default=2.0, help="the one large object; 0: without it")
    parser.add_argument("--no-large-script", action="store_true", help="the script needs twice its memory")
    parser.add_argument("-j", "--jobs", type=int, default=os.cpu_count())
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="cpu: processor time spread over all cores, where the machine is not quiet",
    )
    parser.add_argument(
        "--work",
        type=Path,
        default=Path(tempfile.gettempdir()) / "venturi-benchmarks",
        help="where samples are kept and output goes: %(default)s",
    )
    venturi = str(Path(sys.executable).parent / "venturi")
    parser.add_argument(
        "--compress", type=shlex.split, default=[venturi, "compress"], help="the command to measure"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="all figures, not rounded")
    return parser.parse_args()


if __name__ == "__main__":
    main()
