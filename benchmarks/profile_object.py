"""Where the processor time of one object goes, in milliseconds, by stage.

    python benchmarks/profile_object.py CT MR --to JPEGLSLossless

The codec's calls are timed in place, and so is the whole; the profiler, which makes short calls look longer than they
are, only says in which parts the rest is spent. Then ``venturi compress`` makes the same files: what its parent
and its workers use beyond the engine is the last two lines. Processor time only, so it need not be alone.
"""

import argparse
import cProfile
import pstats
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import measure
import pydicom.uid
import samples

from venturi.model import Target
from venturi.transcode.codecs import Registry, registry
from venturi.transcode.engine import Engine

STAGES = (
    ("codec: encode", ()),
    ("codec: decode", ()),
    ("codec: read the codestream's header", ("codecs/",)),
    ("frames: views, comparison", ("frames.py", "prove.py", "numpy/")),
    (
        "header: scan, describe",
        ("scan.py", "image.py", "original.py", "syntaxes.py", "part10.py", "dataset_file.py"),
    ),
    ("header: splice, write", ("splice.py", "encapsulate.py", "attributes.py", "plan.py")),
    ("header: proof", ("prove_header.py", "agrees.py")),
    ("digests", ("hash",)),
    ("files: open, map, read, write", ("system",)),
    ("all else", ("",)),
)
"""What is in the file's name, or the group of a built-in function; the first that fits."""
_SYSTEM = ("open", "mmap", "read", "write", "unlink", "close", "madvise", "flush", "stat", "seek")


class Timed:
    """An encoder whose calls are timed."""

    def __init__(self, encoder: Any) -> None:
        self._encoder = encoder
        self.spent: dict[str, float] = defaultdict(float)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)

    def encode(self, *arguments: Any) -> Any:
        return self._timed("encode", *arguments)

    def decode(self, *arguments: Any) -> Any:
        return self._timed("decode", *arguments)

    def _timed(self, name: str, *arguments: Any) -> Any:
        begun = time.process_time()
        try:
            return getattr(self._encoder, name)(*arguments)
        finally:
            self.spent[name] += time.process_time() - begun


def stage(function: tuple[str, int, str]) -> str:
    """In which stage a function's own time is counted; empty for a built-in one that says nothing by itself."""
    file, _, name = function
    if file == "~":
        if any(word in name for word in ("sha", "hashlib", "update")):
            file = "hash"
        elif any(f"'{word}'" in name or f".{word}>" in name or f" {word}>" in name for word in _SYSTEM):
            file = "system"
        else:
            return ""
    return next(label for label, parts in STAGES[2:] if any(part in file for part in parts))


def rest(profile: cProfile.Profile) -> dict[str, float]:
    """Seconds by stage of what is not within the codecs' calls."""
    found: dict[str, float] = defaultdict(float)
    for function, (_, _, own, _, callers) in pstats.Stats(profile).stats.items():
        label = stage(function)
        if label:
            found[label] += own
            continue
        for caller, (_, _, part, _) in callers.items():
            found[stage(caller) or "all else"] += part
    return found


def engine_ms(files: list[Path], uid: str, out: Path, repeat: int) -> dict[str, float]:
    """Milliseconds an object by stage, the quickest of some rounds."""
    encoder = Timed(registry().encoders()[uid][0])
    engine = Engine(Registry([encoder]))

    def once() -> float:
        encoder.spent.clear()
        begun = time.process_time()
        for path in files:
            outcome = engine.transcode(path, Target(uid), out / "x")
            if not outcome.transcoded:
                raise SystemExit(f"{path}: {outcome.reason} {outcome.detail}")
            (out / "x").unlink()
        return time.process_time() - begun

    once()
    total, spent = min(((once(), dict(encoder.spent)) for _ in range(repeat)), key=lambda found: found[0])
    by_stage = {f"codec: {name}": seconds for name, seconds in spent.items()}
    other = total - sum(spent.values())
    profiled = rest(_profiled(once, encoder))
    whole = sum(profiled.values())
    by_stage |= {label: other * seconds / whole for label, seconds in profiled.items()}
    return {label: seconds * 1000 / len(files) for label, seconds in by_stage.items()}


def _profiled(once: Callable[[], float], encoder: Timed) -> cProfile.Profile:
    """A profile without what happens inside the codec's calls."""
    profile = cProfile.Profile(time.process_time)
    timed = encoder._timed

    def unseen(*arguments: Any) -> Any:
        profile.disable()
        try:
            return timed(*arguments)
        finally:
            profile.enable()

    encoder._timed = unseen
    profile.enable()
    once()
    profile.disable()
    return profile


def command_ms(folder: Path, to: str, out: Path, repeat: int) -> tuple[float, float]:
    """Milliseconds an object of the command's parent and of its workers; what starting costs is taken off."""
    small = out / "small"
    small.mkdir()
    paths = sorted(folder.glob("*.dcm"))
    shutil.copy(paths[0], small)
    (few_parent, few), (many_parent, many) = (_used(source, to, out, repeat) for source in (small, folder))
    parent = many_parent - few_parent
    workers = many - few - parent
    return parent * 1000 / (len(paths) - 1), workers * 1000 / (len(paths) - 1)


def _used(source: Path, to: str, out: Path, repeat: int) -> tuple[float, float]:
    """Seconds of processor time of the parent, and of all: the least of some runs."""
    runs = []
    for number in range(repeat):
        command = [
            Path(sys.executable).parent / "venturi",
            "compress",
            source,
            out / f"{source.name}-{number}",
        ]
        usage = measure.run([*command, "--to", to])
        runs.append((usage.parent_cpu_s, usage.cpu_s))
    return min(parent for parent, _ in runs), min(both for _, both in runs)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kinds", nargs="*", default=["CT", "MR"])
    parser.add_argument("--to", default="JPEGLSLossless", help="the transfer syntax, by pydicom's keyword")
    parser.add_argument(
        "--count", type=int, default=400, help="files of each kind; few make the last two lines uncertain"
    )
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--no-command", action="store_true", help="the engine alone")
    arguments = parser.parse_args()
    columns = {}
    for kind in samples.KINDS:
        if kind.name in arguments.kinds:
            with tempfile.TemporaryDirectory() as temporary:
                out = Path(temporary)
                some = samples.make(out, (kind,), min(1.0, arguments.count / kind.count))
                files = [path for _, path in some]
                found = engine_ms(files, getattr(pydicom.uid, arguments.to), out, arguments.repeat)
                found["the engine"] = sum(found.values())
                if not arguments.no_command:
                    parent, workers = command_ms(files[0].parent, arguments.to, out, arguments.repeat)
                    found["the worker, beside the engine"] = workers - found["the engine"]
                    found["the parent"] = parent
                columns[kind.name] = found
    labels = [label for label, _ in STAGES] + ["the engine", "the worker, beside the engine", "the parent"]
    print(f"| {arguments.to}: ms an object | " + " | ".join(columns) + " |")
    print("|---|" + "--:|" * len(columns))
    for label in labels:
        if any(label in column for column in columns.values()):
            print(
                f"| {label} | "
                + " | ".join(f"{column.get(label, 0):.2f}" for column in columns.values())
                + " |"
            )


if __name__ == "__main__":
    main()
