"""Measures a command from outside: wall clock, processor time, and the peak memory of its processes."""

import os
import platform
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

LIBRARIES = ("numpy", "pydicom", "pylibjpeg-rle", "pyjpegls", "pylibjpeg-openjpeg", "imagecodecs")
_EVERY_S = 0.05
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """What one run took."""

    wall_s: float
    """From its start to its end, with everything it imports."""
    cpu_s: float
    """Of it and all its children."""
    parent_cpu_s: float
    """Of the first process alone; looked at often, so a little less than it was."""
    parent_mb: float
    """Its peak resident size (VmHWM, proc(5)), mapped files included."""
    worker_mb: float
    """The same of its largest child; 0 where it has none."""
    said: str
    """What it has printed."""


class CommandFailed(Exception):
    """The command ended with another code than 0."""


def run(command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> Usage:
    """Run a command to its end. Raises CommandFailed with the end of what it said."""
    begun = time.perf_counter()
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
    )
    said: list[bytes] = []
    assert process.stdout
    listener = threading.Thread(target=lambda: said.extend(process.stdout or ()), daemon=True)
    listener.start()
    watcher = _Watcher(process.pid)
    watcher.start()
    _, status, used = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    watcher.stop.set()
    watcher.join()
    listener.join()
    if process.returncode:
        end = b"".join(said[-20:]).decode(errors="replace")
        raise CommandFailed(f"{' '.join(map(str, command))}: exit code {process.returncode}\n{end}")
    peaks = watcher.peaks_kb
    parent = peaks.pop(process.pid, 0)
    return Usage(
        wall_s,
        used.ru_utime + used.ru_stime,
        watcher.parent_ticks / _TICKS,
        parent * 1024 / 1e6,
        max(peaks.values(), default=0) * 1024 / 1e6,
        b"".join(said).decode(errors="replace"),
    )


def output(command: Sequence[object]) -> str:
    """What a command prints. Raises CommandFailed."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandFailed(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stderr}")
    return done.stdout


class _Watcher(threading.Thread):
    """Looks at a process and its descendants until it is stopped."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self.stop = threading.Event()
        self.peaks_kb: dict[int, int] = {}
        self.parent_ticks = 0

    def run(self) -> None:
        while not self.stop.wait(_EVERY_S):
            pids = [self._pid]
            for pid in pids:
                try:
                    pids += _children(pid)
                    self.peaks_kb[pid] = max(_peak_kb(pid), self.peaks_kb.get(pid, 0))
                    if pid == self._pid:
                        self.parent_ticks = sum(map(int, _stat(pid)[11:13]))
                except OSError:
                    continue  # it has ended meanwhile


def _children(pid: int) -> list[int]:
    return [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _peak_kb(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1])
    return 0  # it has ended and waits to be waited for


def machine(folder: Path) -> list[str]:
    """Name the machine and what is measured on it; ``folder`` is where the output goes."""
    cpu = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    memory_gb = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    return [
        time.strftime("%Y-%m-%d"),
        f"{cpu}, {os.cpu_count()} cores, {memory_gb:.0f} GB of memory, output on {_file_system(folder)}",
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        ", ".join(f"{library} {version(library)}" for library in LIBRARIES),
    ]


def _file_system(folder: Path) -> str:
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    above = [mount for mount in mounts if folder.resolve().is_relative_to(mount[0])]
    return max(above, key=lambda mount: len(mount[0]))[1] if above else "an unknown file system"
