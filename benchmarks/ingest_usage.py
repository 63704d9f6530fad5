"""What processes have used, from /proc: processor time and peak memory, by role."""

import os
from collections import defaultdict
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def family(pid: int) -> list[int]:
    """A process and all its descendants that live."""
    children = defaultdict(list)
    for entry in os.listdir("/proc"):  # noqa: PTH208  # only names are asked for
        if entry.isdecimal():
            try:
                fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it has ended since
            children[int(fields[1])].append(int(entry))
    found = [pid]
    for one in found:
        found += children[one]
    return found


def role(pid: int) -> str:
    """``receive``, ``transcode``, ``worker``...: what ``venturi.roles`` was asked to be, or the program's name."""
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    if "venturi.roles" in words:
        return words[words.index("venturi.roles") + 1].split("-")[0]
    return "supervisor" if "run" in words else Path(words[0]).name


def split_ms(pid: int) -> dict[str, tuple[float, float]]:
    """Milliseconds of processor time, user and system, by role since each process began.

    What ended children used counts as theirs.
    """
    used: dict[str, tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))
    for one in family(pid):
        try:
            name = role(one)
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        for who, at in ((name, 11), ("worker" if name == "transcode" else name, 13)):
            user, system = (int(ticks) * 1000 / _TICKS for ticks in fields[at : at + 2])
            used[who] = (used[who][0] + user, used[who][1] + system)
    return dict(used)


def cpu_ms(pid: int) -> dict[str, float]:
    """Milliseconds of processor time by role since each process began; what ended children used counts as theirs."""
    return {name: sum(each) for name, each in split_ms(pid).items()}


def peak_mb(pid: int) -> tuple[float, float]:
    """The sum and the largest of the processes' peak resident sizes (VmHWM), MB."""
    peaks = []
    for one in family(pid):
        try:
            lines = Path(f"/proc/{one}/status").read_text().splitlines()
        except OSError:
            continue
        peaks += [int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM")]
    return sum(peaks), max(peaks, default=0.0)
