"""The tables of send.py: Markdown, and the list of what was aimed at."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from statistics import median

from send_peers import DCMSEND, ONE, STORESCU, VENTURI, Sent

CPU_MS = 0.5
"""Of the sender, for a CT."""


@dataclass
class Measured:
    """What bursts of one kind by one sender, by so many associations at once, showed."""

    count: int
    size_bytes: int
    """Of one object."""
    startup: Sent
    """One small object by the same sender, without delays."""
    bursts: list[Sent] = field(default_factory=list)
    failed: str = ""

    def _median(self, of: Callable[[Sent], float]) -> float:
        return median(of(burst) for burst in self.bursts)

    @property
    def rate(self) -> float:
        """Objects a second of the whole command."""
        return self.count / self._median(lambda burst: burst.wall_s)

    @property
    def rate_alone(self) -> float:
        """The same without start-up: by the sender's own clock, or less what one small object takes."""
        small_s = self.startup.wall_s
        return self.count / self._median(
            lambda burst: burst.own[0] if burst.own else max(burst.wall_s - small_s, burst.wall_s / 10)
        )

    @property
    def cpu_ms(self) -> float:
        """Of the sender, an object."""
        return self._median(lambda burst: burst.cpu_s) * 1000 / self.count

    def cpu_alone_ms(self, commands: int) -> float:
        """The same without the start-up of so many commands."""
        small_s = self.startup.cpu_s * commands
        spent_s = self._median(lambda burst: burst.own[1] if burst.own else max(0.0, burst.cpu_s - small_s))
        return spent_s * 1000 / self.count

    def cells(self, commands: int) -> list[str]:
        """A row of the table, but for its first two cells."""
        return [
            str(self.count),
            _number(self.rate),
            _number(self.rate_alone),
            f"{self.rate_alone * self.size_bytes / 1e6:.0f}",
            f"{self.cpu_ms:.2f}",
            f"{self.cpu_alone_ms(commands):.2f}",
            f"{self._median(lambda burst: burst.receiver_cpu_s) * 1000 / self.count:.2f}",
            f"{max(burst.peak_mb for burst in self.bursts):.0f}",
            f"{self.startup.wall_s:.2f} / {self.startup.cpu_s:.2f}",
        ]


@dataclass
class Results:
    """Of one kind, with or without delayed acknowledgements."""

    kind: str
    delays: bool
    size_bytes: int
    measured: dict[tuple[str, int], Measured] = field(default_factory=dict)

    @property
    def how(self) -> str:
        """In words."""
        return "as they come" if self.delays else "delayed acknowledgements taken out"

    def table(self) -> str:
        lines = [
            f"### {self.kind} of {self.size_bytes:,} bytes, {self.how}\n",
            "| sender | associations | objects | objects/s | less start-up: objects/s | MB/s "
            "| CPU ms | less start-up: CPU ms | receiver's CPU ms | peak RSS, MB | start-up, s / CPU s |",
            "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
        ]
        for (name, n), each in self.measured.items():
            cells = [each.failed, *[""] * 8] if each.failed else each.cells(commands(name, n))
            lines.append("| " + " | ".join([name, str(n), *cells]) + " |")
        return "\n".join(lines) + "\n"

    def aims(self) -> Iterator[str]:
        """Rows of the last table: what was aimed at, the figure, and whether it was reached."""
        where = f"{self.kind}, {self.how}"
        theirs = [found for name in (STORESCU, DCMSEND) if (found := self._of(name))]
        for name in (VENTURI, ONE):
            ours = self._of(name)
            if ours is None:
                continue
            if theirs:
                words = f"{where}: {name} to the faster of DCMTK's, one association at a time"
                times = ours.rate_alone / max(each.rate_alone for each in theirs)
                yield _aim(f"{words}, less start-up, at least", times, 1.0)
                times = ours.rate / max(each.rate for each in theirs)
                yield _aim(f"{words}, whole commands, at least", times, 1.0)
            if self.kind == "CT":
                words = f"{where}: CPU of {name}, less start-up, ms a CT, at most"
                yield _aim(words, ours.cpu_alone_ms(1), CPU_MS, most=True)

    def _of(self, name: str) -> Measured | None:
        found = self.measured.get((name, 1))
        return found if found and found.bursts and not found.failed else None


def commands(name: str, associations: int) -> int:
    """How many commands send by so many associations at once."""
    return 1 if name in (VENTURI, ONE) else associations


def aims(results: list[Results]) -> str:
    """The list of what was aimed at, with the figures beside it."""
    rows = [row for each in results for row in each.aims()]
    return "\n".join(["| aim | measured | reached |", "|---|--:|---|", *rows])


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _aim(words: str, found: float, limit: float, *, most: bool = False) -> str:
    reached = found <= limit if most else found >= limit
    return f"| {words} {limit:g} | {found:.{0 if found >= 100 else 2}f} | {'yes' if reached else 'no'} |"
