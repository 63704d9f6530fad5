"""The tables of transcode.py: Markdown, and the list of what was aimed at with the figure beside it."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from statistics import median

from measure import Usage
from raw_codecs import Rate

COMMANDS = ("script", "proven", "unproven")
J2K, HTJ2K, RLE, JPEG_LS = "JPEG2000Lossless", "HTJ2KLossless", "RLELossless", "JPEGLSLossless"
SMALL = ("CT", "MR")

OF_RAW, HTJ2K_OF_J2K = 0.9, 4.5
OF_SCRIPT = ((RLE, "proven", 1.0), (JPEG_LS, "proven", 0.8), (JPEG_LS, "unproven", 1.1))
"""How many times the script's rate is aimed at."""


@dataclass(slots=True)
class Row:
    """All that was measured for one kind of object and one transfer syntax."""

    syntax: str
    kind: str
    files: int
    mb: float
    """Of native pixels."""
    raw: list[Rate] = field(default_factory=list)
    plugin: list[Rate] = field(default_factory=list)
    commands: dict[str, list[Usage]] = field(default_factory=dict)


@dataclass(slots=True)
class Report:
    machine: list[str]
    jobs: int
    clock: str
    startup: dict[str, list[Usage]] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    large: list[Row] = field(default_factory=list)

    def plain(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)

    def _seconds(self, usages: Iterable[Usage]) -> float:
        if self.clock == "cpu":
            return median(usage.cpu_s for usage in usages) / self.jobs
        return median(usage.wall_s for usage in usages)

    def rate(self, rows: Iterable[Row], contender: str, *, started: bool = False) -> float | None:
        """MB/s over all the rows' bytes; ``started``: as if starting took no time. None where it was not measured.

        The script can't make HTJ2K: beside that stands its JPEG 2000.
        """
        if contender == "script":
            rows = [self._beside(row) for row in rows]
        mb = seconds = 0.0
        for row in rows:
            if contender in COMMANDS:
                if contender not in row.commands:
                    return None
                took = self._seconds(row.commands[contender])
                seconds += max(0.001, took - self._seconds(self.startup[contender])) if started else took
            else:
                calls, name = contender.split()
                if self.clock == "cpu":
                    name += "_cpu"
                rates = row.raw if calls == "raw" else row.plugin
                if not rates:
                    return None
                seconds += row.mb / median(getattr(rate, name) for rate in rates)
            mb += row.mb
        return mb / seconds if seconds else None

    def _beside(self, row: Row) -> Row:
        same = (each for each in self.rows if (each.syntax, each.kind) == (J2K, row.kind))
        return next(same, row) if row.syntax == HTJ2K else row

    def ratio(self, rows: list[Row], one: str, other: str, *, started: bool = False) -> float | None:
        ours, theirs = self.rate(rows, one, started=started), self.rate(rows, other, started=started)
        return ours / theirs if ours and theirs else None

    def table(self, syntax: str) -> str:
        """One line a kind, and one for all."""
        rows = [row for row in self.rows if row.syntax == syntax]
        script = "script (JPEG 2000)" if syntax == HTJ2K else "script"
        lines = [
            f"### {syntax}\n",
            "| | files | MB | raw encode | raw enc+dec | plugin encode | plugin enc+dec "
            f"| {script} | proven | unproven "
            "| proven / raw enc+dec | proven / plugin enc+dec | unproven / raw encode "
            "| proven / script | unproven / script | RSS script | RSS proven | RSS unproven |",
            "|---|" + "--:|" * 17,
        ]
        each = [[row] for row in rows]
        for some in [*each, rows] if len(rows) > 1 else each:
            name = some[0].kind if len(some) == 1 else "all"
            cells = [name, f"{sum(r.files for r in some)}", f"{sum(r.mb for r in some):.0f}"]
            for contender in ("raw encode", "raw both", "plugin encode", "plugin both", *COMMANDS):
                cells.append(_number(self.rate(some, contender), 1))
            for pair in (("proven", "raw both"), ("proven", "plugin both"), ("unproven", "raw encode")):
                cells.append(_number(self.ratio(some, *pair), 2))
            for contender in ("proven", "unproven"):
                cells.append(_number(self.ratio(some, contender, "script"), 2))
            cells += [_memory(some, contender) for contender in COMMANDS]
            lines.append("| " + " | ".join(cells) + " |")
        spread = max(
            (_spread(usages, self.clock) for row in rows for usages in row.commands.values()), default=0
        )
        lines.append(
            f"\nMB/s of native pixels; RSS: peak MB of the largest worker / of the parent. "
            f"The repeats of one contender lie up to {spread:.0%} apart.\n"
        )
        return "\n".join(lines)

    def large_table(self) -> str:
        lines = [
            f"### One object of {self.large[0].mb:.0f} MB\n" if self.large else "",
            "| | contender | MB/s | seconds | cores used | RSS worker | RSS parent |",
            "|---|---|" + "--:|" * 5,
        ]
        for row in self.large:
            for contender, usages in row.commands.items():
                usage = usages[0]
                lines.append(
                    f"| {row.syntax} | {contender} | {row.mb / usage.wall_s:.1f} | {usage.wall_s:.1f} "
                    f"| {usage.cpu_s / usage.wall_s:.2f} | {usage.worker_mb:.0f} | {usage.parent_mb:.0f} |"
                )
        return "\n".join(lines) + "\n"

    def startup_line(self) -> str:
        parts = [f"{name} {self._seconds(usages):.2f} s" for name, usages in self.startup.items()]
        return f"A folder of one small file takes: {', '.join(parts)}. This is in all the figures above.\n"

    def targets(self) -> str:
        """What was aimed at, and whether it was met, by the figures with start-up."""
        lines = ["| aimed at | measured | without start-up | met |", "|---|--:|--:|---|"]
        for syntax in dict.fromkeys(row.syntax for row in self.rows):
            rows = [row for row in self.rows if row.syntax == syntax]
            for some, name in [(rows, "all kinds"), *(([row], row.kind) for row in rows)]:
                for calls in ("raw", "plugin"):
                    if self.rate(some, f"{calls} both"):
                        words = f"{syntax}, {name}: proven at least {OF_RAW} of {calls} enc+dec"
                        lines.append(self._target(words, OF_RAW, some, "proven", f"{calls} both"))
        for syntax, contender, least in OF_SCRIPT:
            rows = [row for row in self.rows if row.syntax == syntax]
            if rows:
                words = f"{syntax}, all kinds: {contender} at least {least} times the script"
                lines.append(self._target(words, least, rows, contender, "script"))
        for kind in SMALL:
            rows = [row for row in self.rows if (row.syntax, row.kind) == (HTJ2K, kind)]
            if self.ratio(rows, "proven", "script"):
                words = f"{HTJ2K}, {kind}: proven at least {HTJ2K_OF_J2K} times the script's {J2K}"
                lines.append(self._target(words, HTJ2K_OF_J2K, rows, "proven", "script"))
        return "\n".join(lines)

    def _target(self, words: str, least: float, rows: list[Row], one: str, other: str) -> str:
        whole, started = (self.ratio(rows, one, other, started=flag) for flag in (False, True))
        met = "yes" if whole and whole >= least else "no"
        return f"| {words} | {_number(whole, 2)} | {_number(started, 2)} | {met} |"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _memory(rows: list[Row], contender: str) -> str:
    usages = [usage for row in rows for usage in row.commands.get(contender, ())]
    if not usages:
        return "-"
    return f"{max(usage.worker_mb for usage in usages):.0f} / {max(usage.parent_mb for usage in usages):.0f}"


def _spread(usages: list[Usage], clock: str) -> float:
    seconds = [usage.cpu_s if clock == "cpu" else usage.wall_s for usage in usages]
    return (max(seconds) - min(seconds)) / median(seconds)
